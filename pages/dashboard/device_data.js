// device_data.js - the readings of one device in a window, and those that come. A window that moves with the clock is loaded up to five
// seconds ago, and the stream begins right there (`from` is exclusive, `to` inclusive): nothing is missing between them or there twice.

import { devicePath, getJson, getText } from '/assets/api.js';
import { bounds } from '/assets/range.js';
import { follow } from '/assets/live.js';
import { joinPages } from '/assets/csv.js';
import { now } from '/assets/clock.js';
import { Series } from '/assets/series.js';

const PAGE = 10_000;
const PAGES = 5;
const CSV_PAGES = 100;



const windowQuery = (range) => (range.name === '' ? `from=${range.from}&to=${range.to}` : `from=now-${range.span}s&to=now-5s`);

/**
 * Loads a window into a new Series, newest readings first, and then follows the device where the window moves. on: loaded(series, {more,
 * done}) after each page; changed(); state(live.js); refused(error).
 */
export async function loadDevice(id, range, { signal, loaded, changed, state, refused }) {
    const series = new Series();
    let path = devicePath(id, `/telemetry?${windowQuery(range)}&limit=${PAGE}`);
    let through;
    try {
        for (let page = 0; page < PAGES && path !== undefined; page++) {
            const answer = await getJson(path, { signal });
            series.add(answer.telemetry.reverse(), true);
            through ??= Math.floor(Date.parse(answer.to) / 1000);
            path = answer.nextLink;
            loaded(series, { more: path !== undefined, done: path === undefined || page + 1 === PAGES });
        }
    } catch (error) {
        if (!signal.aborted)
            refused(error);
        return;
    }
    if (range.name === '')
        return;

    const again = new AbortController();
    const stop = () => again.abort(signal.reason);
    signal.addEventListener('abort', stop);
    await follow(devicePath(id, `/telemetry/stream?from=${through}`), {
        signal: again.signal, state, refused,
        reading: (reading) => {
            series.add([reading]);
            series.dropBefore(bounds(range, now())[0]);
            changed(reading);
        },
        resync: () => again.abort(new DOMException('resync', 'AbortError')),
    });
    signal.removeEventListener('abort', stop);
    if (!signal.aborted && again.signal.reason?.message === 'resync')
        await loadDevice(id, range, { signal, loaded, changed, state, refused });
}

const nextPage = (headers) => /<([^>]*)>;\s*rel="?next"?/.exec(headers.get('link') ?? '')?.[1];

/** The window as the server writes CSV, oldest first. Returns {blob, more}: more where it was too long for one file. */
export async function loadCsv(id, range, signal) {
    const [from, to] = bounds(range, Math.floor(now()));
    const pages = [];
    let path = devicePath(id, `/telemetry?from=${from}&to=${to}&order=asc&limit=${PAGE}`);
    for (; path !== undefined && pages.length < CSV_PAGES;) {
        const { text, headers } = await getText(path, { signal, accept: 'text/csv' });
        pages.push(text);
        path = nextPage(headers);
    }
    return { blob: new Blob([joinPages(pages)], { type: 'text/csv' }), more: path !== undefined };
}
