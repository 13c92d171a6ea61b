// api.js - asking the server. A view sees an answer, or an ApiError that waiting would not cure (400, 403, 404, ..): a token that is
// asked for (session.js) and trouble that passes (gate.js) are waited for here, until the view's signal aborts.

import { learnTime } from '/assets/clock.js';
import { gate } from '/assets/gate.js';
import { session } from '/assets/session.js';

/** An answer that says no. permission: what a 403 says is missing. */
export class ApiError extends Error {
    constructor(status, problem, permission) {
        super(problem.detail || problem.title || `The server answered ${status}.`);
        this.status = status;
        this.code = problem.code;
        this.permission = permission;
    }
}

const TIMEOUT_MS = 30_000;
const AT_ONCE = 4; // a browser keeps six connections to a server, and a stream takes one for good
const waiting = [];
let busy = 0;

async function takeSlot(signal) {
    if (busy >= AT_ONCE)
        await new Promise((resolve) => waiting.push(resolve));
    else
        busy++;
    if (signal.aborted) {
        giveSlot();
        throw signal.reason;
    }
}

function giveSlot() {
    const next = waiting.shift();
    if (next)
        next();
    else
        busy--;
}

/** Retry-After in milliseconds, kept within a minute. */
function askedWait(response) {
    const seconds = Number(response.headers.get('retry-after') ?? NaN);
    return Number.isFinite(seconds) ? Math.min(60, Math.max(1, seconds)) * 1000 : undefined;
}

/** What an answer other than 2xx means. Returns to have the request repeated, throws what the view has to know. */
async function refused(response, token, started) {
    const problem = await response.json().catch(() => ({}));
    const { status } = response;
    if (status === 401) {
        gate.succeed();
        session.refused(token);
    } else if (status === 429)
        gate.fail('busy', started, { wait: askedWait(response), detail: 'This client has used up its share of requests.' });
    else if (status >= 500)
        gate.fail('upstream', started, { wait: askedWait(response), detail: problem.detail ?? `The server answered ${status}.` });
    else {
        gate.succeed();
        throw new ApiError(status, problem, /scope="([^"]*)"/.exec(response.headers.get('www-authenticate') ?? '')?.[1]);
    }
}

/** One attempt: the 2xx answer, or undefined where it is worth another one. */
async function attempt(path, headers, signal) {
    const token = session.token();
    const started = performance.now();
    let response;
    try {
        response = await fetch(path, { headers: token === null ? headers : { ...headers, authorization: `Bearer ${token}` }, signal, redirect: 'error' });
        learnTime(response);
        if (response.ok) {
            gate.succeed();
            return response;
        }
    } catch (error) {
        failed(error, signal, started);
        return undefined;
    }
    await refused(response, token, started);
    return undefined;
}

function failed(error, signal, started) {
    if (signal.aborted && signal.reason?.name !== 'TimeoutError')
        throw signal.reason;
    gate.fail('gone', started);
}

/** The answer to a request that stays open. headers: more of them. */
export async function open(path, { headers, signal }) {
    for (;;) {
        await gate.open(signal);
        await session.ready(signal);
        const response = await attempt(path, headers, signal);
        if (response)
            return response;
    }
}

/** The whole answer: {text, headers}. */
export async function getText(path, { signal, accept = 'application/json' }) {
    for (;;) {
        await gate.open(signal);
        await session.ready(signal);
        await takeSlot(signal);
        const started = performance.now();
        const limited = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
        try {
            const response = await attempt(path, { accept }, limited);
            if (response)
                return { text: await response.text(), headers: response.headers };
        } catch (error) {
            if (error instanceof ApiError)
                throw error;
            failed(error, signal, started);
        } finally {
            giveSlot();
        }
    }
}

export async function getJson(path, options) {
    return JSON.parse((await getText(path, options)).text);
}

export const devicePath = (id, rest = '') => `/devices/${encodeURIComponent(id)}${rest}`;

/** A problem as a sentence for people. */
export function explain(error) {
    if (error.status === 403)
        return `Your token lacks the permission ${error.permission ?? 'that this needs'}.`;
    return error.message;
}
