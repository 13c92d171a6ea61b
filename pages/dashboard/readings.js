// readings.js - the readings of a window as a table, newest first, in pages. The first page moves with what arrives; another one stays as
// it is until it is left, for nobody can read a table that slides away.

import { h, setText } from '/assets/dom.js';
import { count, dateTime, text } from '/assets/format.js';

const ROWS = 50;
const COLUMNS = 40;

/** The members of the readings, in order of first appearance. */
function columnsOf(readings) {
    const names = new Set();
    for (const { data } of readings) {
        for (const name of Object.keys(data ?? {})) {
            if (names.size < COLUMNS)
                names.add(name);
        }
    }
    return [...names];
}

const numeric = (rows, name) => rows.some(({ data }) => typeof data[name] === 'number');

/** Returns {element, show(readings)}: readings oldest first. */
export function readingsTable() {
    const head = h('thead', {});
    const body = h('tbody', {});
    const shown = h('span', {});
    const newer = h('button', { type: 'button', onclick: () => go(-1) }, 'Newer');
    const older = h('button', { type: 'button', onclick: () => go(1) }, 'Older');
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    let page = 0;
    let current = [];
    let frozen = [];

    function go(step) {
        page += step;
        if (page === 0)
            frozen = [];
        else if (frozen.length === 0)
            frozen = current.slice();
        draw();
    }

    function draw() {
        const readings = page === 0 ? current : frozen;
        const end = readings.length - page * ROWS;
        const rows = readings.slice(Math.max(0, end - ROWS), end).reverse();
        const columns = columnsOf(rows);
        head.replaceChildren(h('tr', {}, h('th', { scope: 'col' }, 'Time'), columns.map((name) => h('th', { scope: 'col', class: numeric(rows, name) ? 'number' : '' }, name))));
        body.replaceChildren(...rows.map(({ data, timestamp }) => h('tr', {}, h('th', { scope: 'row' }, dateTime(timestamp)),
            columns.map((name) => h('td', { class: typeof data[name] === 'number' ? 'number' : '' }, Object.hasOwn(data, name) ? text(data[name]) : '')))));
        setText(shown, rows.length === 0 ? 'No readings' : `${count(page * ROWS + 1)}–${count(page * ROWS + rows.length)} of ${count(readings.length)}`);
        newer.disabled = page === 0;
        older.disabled = end - ROWS <= 0;
    }

    function show(readings) {
        current = readings;
        if (page === 0)
            draw();
    }

    const element = h('section', { class: 'readings panel', 'aria-label': 'Readings' },
        h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Table of readings' },
            h('table', {}, h('caption', {}, `Newest first. Times are in ${zone}.`), head, body)),
        h('nav', { class: 'footer', 'aria-label': 'Pages of readings' }, shown, newer, older));
    return { element, show, restart: () => (page = 0, frozen = []) };
}
