// gate.js - one place that knows whether the server can be asked. While it cannot (gone, too many requests, upstream trouble), the gate
// is closed for a while that doubles with each failure, and everything that wants to ask waits in front of it.

const FIRST_MS = 1000;
const LONGEST_MS = 30_000;

/** Fires 'change' when it closes, opens, or its trouble ends. */
export const gate = new EventTarget();

/** null, or {kind: 'gone' | 'busy' | 'upstream', detail, until (epoch ms), failures}: stays until an answer came. */
gate.trouble = null;

let timer;
let closedAt = -Infinity;

const changed = () => gate.dispatchEvent(new Event('change'));

/**
 * A request that began at `started` (performance.now()) failed. wait: milliseconds that the server asked for. Of several that were under
 * way together only the first counts.
 */
gate.fail = (kind, started, { wait, detail = '' } = {}) => {
    if (started <= closedAt)
        return;
    closedAt = performance.now();
    const failures = (gate.trouble?.failures ?? 0) + 1;
    const backoff = Math.min(LONGEST_MS, FIRST_MS * 2 ** (failures - 1)) * (0.75 + Math.random() / 4);
    const ms = wait ?? backoff;
    gate.trouble = { kind, detail, failures, until: Date.now() + ms, waiting: true };
    clearTimeout(timer);
    timer = setTimeout(gate.retryNow, ms);
    changed();
};

gate.retryNow = () => {
    clearTimeout(timer);
    if (gate.trouble)
        gate.trouble.waiting = false;
    changed();
};

/** An answer came. */
gate.succeed = () => {
    if (gate.trouble === null || gate.trouble.waiting)
        return;
    gate.trouble = null;
    changed();
};

/** Waits until the server may be asked. Rejects when the signal aborts. */
gate.open = (signal) => new Promise((resolve, reject) => {
    const look = () => {
        if (gate.trouble?.waiting && !signal.aborted)
            return;
        gate.removeEventListener('change', look);
        signal.removeEventListener('abort', look);
        if (signal.aborted)
            reject(signal.reason);
        else
            resolve();
    };
    gate.addEventListener('change', look);
    signal.addEventListener('abort', look);
    look();
});

addEventListener('online', () => gate.trouble?.kind === 'gone' && gate.retryNow());
