// Swagger UI shows an answer when it is complete, and a stream of events never is. What it gets is the stream's beginning.

const WAIT_MS = 10_000;
const MAX_LENGTH = 65_536;

export const isStream = (url) => new URL(url, location.href).pathname.endsWith('/telemetry/stream');

/** As fetch(), but the answer ends after ten seconds, or 64 KiB, with a comment that says so. */
export async function fetchExcerpt(url, options) {
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(), WAIT_MS);
    try {
        const response = await fetch(url, { ...options, signal: stop.signal });
        const text = await beginning(response.body);
        const ended = response.ok ? `${text}\n: the explorer shows the first ten seconds\n` : text;
        return new Response(ended, { status: response.status, statusText: response.statusText, headers: response.headers });
    } finally {
        clearTimeout(timer);
        stop.abort();
    }
}

async function beginning(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    try {
        for (let part; text.length < MAX_LENGTH && !(part = await reader.read()).done;)
            text += part.value;
    } catch (error) {
        if (error.name !== 'AbortError')
            throw error;
    }
    return text;
}
