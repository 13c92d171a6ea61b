// live.js - a stream of readings that stays: it resumes where it was cut (Last-Event-ID), notices silence, and rests while nobody looks,
// for a browser has six connections to a server and every tab holds one.

import { open } from '/assets/api.js';
import { sseParser } from '/assets/sse.js';

const SILENCE_MS = 40_000; // the server's heartbeat comes every 15 s
const HIDDEN_MS = 10_000;
const RETRY_MS = 2000;

const visible = (signal) => new Promise((resolve, reject) => {
    const look = () => {
        if (document.hidden && !signal.aborted)
            return;
        document.removeEventListener('visibilitychange', look);
        signal.removeEventListener('abort', look);
        if (signal.aborted)
            reject(signal.reason);
        else
            resolve();
    };
    document.addEventListener('visibilitychange', look);
    signal.addEventListener('abort', look);
    look();
});

const pause = (ms, signal) => new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => (clearTimeout(timer), reject(signal.reason)), { once: true });
});

/** Reads one connection to its end. Whatever ends it, the position stays in `position`. */
async function readOnce(path, position, signal, handlers) {
    const cut = new AbortController();
    const forward = () => cut.abort(signal.reason);
    let hidden;
    const onVisibility = () => {
        clearTimeout(hidden);
        if (document.hidden)
            hidden = setTimeout(() => cut.abort(new Error('hidden')), HIDDEN_MS);
    };
    let silence;
    const alive = () => {
        clearTimeout(silence);
        silence = setTimeout(() => cut.abort(new Error('silence')), SILENCE_MS);
    };

    signal.addEventListener('abort', forward);
    document.addEventListener('visibilitychange', onVisibility);
    try {
        const headers = { accept: 'text/event-stream' };
        if (position.id !== '')
            headers['last-event-id'] = position.id;
        const response = await open(path, { headers, signal: cut.signal });
        const parser = sseParser(({ event, data }) => {
            if (event === 'reading')
                handlers.reading(JSON.parse(data));
            else if (event === 'resync')
                handlers.resync(JSON.parse(data).reason);
        });
        handlers.state('live');
        alive();
        for (const reader = response.body.getReader();;) {
            const { done, value } = await reader.read();
            if (done)
                return;
            alive();
            parser.push(value);
            position.id = parser.lastEventId || position.id;
            position.retry = parser.retry ?? position.retry;
        }
    } finally {
        clearTimeout(silence);
        clearTimeout(hidden);
        signal.removeEventListener('abort', forward);
        document.removeEventListener('visibilitychange', onVisibility);
        cut.abort(new Error('closed'));
    }
}

/**
 * Follows a stream until the signal aborts. handlers: reading({deviceId, data, timestamp}); resync(reason): something is missing, load it
 * anew; state('connecting' | 'live' | 'reconnecting'); refused(ApiError): the server says no for good.
 */
export async function follow(path, { signal, ...handlers }) {
    const position = { id: '', retry: RETRY_MS };
    handlers.state('connecting');
    while (!signal.aborted) {
        try {
            await visible(signal);
            await readOnce(path, position, signal, handlers);
        } catch (error) {
            if (signal.aborted)
                return;
            if (error.status !== undefined) {
                handlers.refused(error);
                return;
            }
        }
        if (signal.aborted)
            return;
        handlers.state('reconnecting');
        await pause(position.retry * (0.25 + Math.random() / 2), signal).catch(() => {});
    }
}
