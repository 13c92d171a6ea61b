// device.js - the page of one device: its state, a chart of each numeric field, the readings as a table, and the window as a file. The
// address holds the range and the view, so that both can be sent to somebody and the browser's back button works.

import { devicePath, explain, getJson } from '/assets/api.js';
import { bounds, rangeFromInputs, rangeOf, RANGES } from '/assets/range.js';
import { fieldChart } from '/assets/chart.js';
import { loadCsv, loadDevice } from '/assets/device_data.js';
import { now } from '/assets/clock.js';
import { announce, every, h, setText, stateMessage } from '/assets/dom.js';
import { count, dateTime, inputTime, plural } from '/assets/format.js';
import { noteUpdate, setLive } from '/assets/shell.js';
import { readingsTable } from '/assets/readings.js';
import { statusPanel } from '/assets/status_panel.js';

const CHARTS = 12; // more on demand: a reading may have hundreds of fields
const STATUS_MS = 15_000;
const DRAW_MS = 250;

export function deviceView(main, { signal, id, parameters }) {
    const range = rangeOf(parameters);
    const asTable = parameters.get('view') === 'table';
    const inWords = range.name === '' ? `${dateTime(range.from)} to ${dateTime(range.to)}` : `the last ${RANGES.find(([name]) => name === range.name)[2]}`;
    const status = statusPanel();
    const table = readingsTable();
    const charts = new Map();
    let mostCharts = CHARTS;
    let series;
    let dirty = false;
    let more = false;
    let absent = false;

    const note = h('p', { class: 'hint', id: 'window' }, `Loading ${inWords} …`);
    const grid = h('div', { class: 'charts' });
    const content = h('div', { class: 'content' }, stateMessage('Loading readings …'));

    function go(changes) {
        const wanted = new URLSearchParams(range.name === '' ? { from: range.from, to: range.to } : { range: range.name });
        if (asTable)
            wanted.set('view', 'table');
        for (const [name, value] of Object.entries(changes)) {
            if (value === null)
                wanted.delete(name);
            else
                wanted.set(name, value);
        }
        location.hash = `#/devices/${encodeURIComponent(id)}?${wanted}`;
    }

    const goRange = (from, to) => go({ range: null, from, to });

    // --- drawing

    function draw() {
        dirty = false;
        if (!series)
            return;
        const [from, to] = bounds(range, now());
        const { readings } = series;
        status.showReading(readings.at(-1));
        describe(readings, from);
        if (asTable) {
            if (!content.contains(table.element))
                content.replaceChildren(table.element);
            const first = readings.findIndex((reading) => reading.timestamp > from);
            table.show(first <= 0 ? readings : readings.slice(first));
            return;
        }
        drawCharts(from, to);
    }

    function drawCharts(from, to) {
        const names = series.names.slice(0, mostCharts);
        if (names.length === 0) {
            const none = series.readings.length === 0;
            content.replaceChildren(stateMessage(none ? 'No readings in this range' : 'Nothing to draw',
                none ? 'Readings appear here as they arrive; an older range may have some.' : 'The readings have no numeric field. The table shows them.'));
            return;
        }
        if (!content.contains(grid))
            content.replaceChildren(grid);
        for (const name of names) {
            if (!charts.has(name)) {
                const chart = fieldChart(name, goRange);
                charts.set(name, chart);
                grid.append(chart.element);
            }
            charts.get(name).show(series.line(name), from, to, inWords);
        }
        const hidden = series.names.length - names.length;
        if (hidden > 0 && !content.querySelector('.more'))
            content.append(h('button', { type: 'button', class: 'more', onclick: (event) => {
                event.target.remove();
                mostCharts = Infinity;
                draw();
            } }, `Show ${plural(hidden, 'more field')}`));
    }

    function describe(readings, from) {
        const inside = readings.length - Math.max(0, readings.findIndex((reading) => reading.timestamp > from));
        setText(note, readings.length === 0 ? `No readings in ${inWords}.`
            : more ? `The newest ${count(readings.length)} readings, back to ${dateTime(readings[0].timestamp)}. Choose a shorter range to see what is older.`
                : `${plural(inside, 'reading')} in ${inWords}.`);
    }

    // --- loading

    const refused = (error) => {
        setLive('off');
        content.replaceChildren(stateMessage(error.status === 404 ? 'No such device' : error.status === 403 ? 'Not allowed' : 'The readings cannot be shown',
            error.status === 404 ? `This server knows no device ${id}, or your token does not cover it.` : explain(error), h('p', {}, h('a', { href: '#/' }, 'Back to the fleet'))));
        setText(note, '');
        absent = error.status === 404;
    };

    loadDevice(id, range, {
        signal, refused,
        state: setLive,
        loaded: (loadedSeries, page) => {
            series = loadedSeries;
            more = page.more;
            table.restart();
            draw();
            noteUpdate();
            if (page.done)
                announce(note.textContent);
        },
        changed: () => {
            dirty = true;
            noteUpdate();
        },
    });
    if (range.name === '')
        setLive('fixed');

    async function loadStatus() {
        if (absent)
            return;
        try {
            status.showStatus(await getJson(devicePath(id, '/status'), { signal }));
        } catch (error) {
            if (!signal.aborted)
                status.showRefusal(explain(error));
        }
    }

    // --- the page

    async function download(event) {
        const button = event.currentTarget;
        button.disabled = true;
        setText(button, 'Preparing …');
        try {
            const { blob, more: cut } = await loadCsv(id, range, signal);
            const link = h('a', { href: URL.createObjectURL(blob), download: `${id.replace(/[^\w.-]/g, '_')}.csv` });
            link.click();
            setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
            announce('The CSV file was downloaded.');
            if (cut)
                setText(note, 'The file ends early: the range is too long for one file.');
        } catch (error) {
            if (!signal.aborted)
                setText(note, `No file: ${explain(error)}`);
        } finally {
            button.disabled = false;
            setText(button, 'Download CSV');
        }
    }

    main.append(
        h('nav', { class: 'crumbs', 'aria-label': 'Back' }, h('a', { href: '#/' }, '\u2190 Fleet')),
        h('div', { class: 'head' }, h('h1', { tabindex: '-1' }, id), status.headline),
        h('div', { class: 'tools' },
            h('div', { class: 'segments', role: 'group', 'aria-label': 'Range' }, RANGES.map(([name]) =>
                h('button', { type: 'button', 'aria-pressed': String(range.name === name), 'aria-label': `Last ${name}`, onclick: () => go({ range: name, from: null, to: null }) }, name))),
            ownRange(range, goRange),
            h('div', { class: 'segments', role: 'group', 'aria-label': 'View' }, [['Charts', false], ['Table', true]].map(([label, value]) =>
                h('button', { type: 'button', 'aria-pressed': String(asTable === value), onclick: () => go({ view: value ? 'table' : null }) }, label))),
            h('button', { type: 'button', class: 'push', onclick: download }, 'Download CSV')),
        note,
        h('div', { class: 'split' }, content, status.element));

    every(STATUS_MS, signal, loadStatus);
    every(1000, signal, () => {
        status.tick();
        if (range.name !== '' && !asTable)
            dirty = true; // the window slides
    });
    every(DRAW_MS, signal, () => dirty && draw());
    const resized = new ResizeObserver(() => charts.forEach((chart) => chart.resize()));
    resized.observe(grid);
    const themed = () => charts.forEach((chart) => chart.redraw());
    document.addEventListener('themechange', themed, { signal });
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', themed, { signal });
    signal.addEventListener('abort', () => {
        resized.disconnect();
        charts.forEach((chart) => chart.destroy());
    });
}

/** A range of one's own without dragging. */
function ownRange(range, goRange) {
    const [first, last] = bounds(range, Math.floor(now()));
    const from = h('input', { type: 'datetime-local', step: '1', id: 'from', value: inputTime(first) });
    const to = h('input', { type: 'datetime-local', step: '1', id: 'to', value: inputTime(last) });
    const fault = h('p', { class: 'fault', role: 'alert' });
    const apply = (event) => {
        event.preventDefault();
        const wanted = rangeFromInputs(from.value, to.value);
        setText(fault, wanted.error ?? '');
        if (!wanted.error)
            goRange(wanted.from, wanted.to);
    };
    return h('details', { class: 'own' }, h('summary', { 'aria-current': range.name === '' ? 'true' : undefined }, range.name === '' ? 'Own range' : 'Own range …'),
        h('form', { onsubmit: apply }, h('label', { for: 'from' }, 'From'), from, h('label', { for: 'to' }, 'To'), to, h('button', { type: 'submit', class: 'primary' }, 'Show'), fault,
            h('p', { class: 'hint' }, 'Dragging over a chart does the same.')));
}

