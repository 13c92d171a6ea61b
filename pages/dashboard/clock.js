// clock.js - the server's time. Ages are judged by it, for a reader's own clock may be minutes off and would call a whole fleet stale.

const TOLERATED_S = 2; // a Date field has whole seconds, and an answer takes a while

let offset = 0;

export const now = () => Date.now() / 1000 + offset;

/** Learns from an answer that comes from no cache. */
export function learnTime(response) {
    const date = Date.parse(response.headers.get('date') ?? '');
    if (!Number.isFinite(date) || response.headers.has('age') || /max-age/.test(response.headers.get('cache-control') ?? ''))
        return;
    const difference = date / 1000 + 0.5 - Date.now() / 1000;
    offset = Math.abs(difference) <= TOLERATED_S ? 0 : difference;
}
