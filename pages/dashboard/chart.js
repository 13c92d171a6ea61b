// chart.js - one field over time, drawn by uPlot: a caption that says it in words, and a canvas. Charts of one page share their cursor, and
// dragging over one selects a range.

import uPlot from '/assets/uplot.js';
import { h, setText } from '/assets/dom.js';
import { dateTime, field, measured, number } from '/assets/format.js';
import { summary, thin, withGaps } from '/assets/series.js';

const HEIGHT = 180;
const SHORTEST_S = 10; // of a dragged range

/** A custom property as the canvas needs it: a colour, resolved for the theme that is on. */
function colour(element, name) {
    element.style.color = `var(${name})`;
    const resolved = getComputedStyle(element).color;
    element.style.color = '';
    return resolved;
}

const two = (n) => String(n).padStart(2, '0');

/** Ticks: the time, and the date where a day begins or days are all that differ. */
function timeLabels(u, splits, axis, space, step) {
    let day;
    return splits.map((at) => {
        const d = new Date(at * 1000);
        const date = `${two(d.getMonth() + 1)}-${two(d.getDate())}`;
        const time = step < 60 ? `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}` : `${two(d.getHours())}:${two(d.getMinutes())}`;
        const newDay = day !== undefined && day !== date;
        day = date;
        if (step >= 86_400)
            return date;
        return newDay ? `${time}\n${date}` : time;
    });
}

/** Points that have a gap on both sides have no line to show them. */
function alone(u, index) {
    const values = u.data[index];
    const found = [];
    for (let i = 0; i < values.length; i++) {
        if (values[i] !== null && (values[i - 1] ?? null) === null && (values[i + 1] ?? null) === null)
            found.push(i);
    }
    return found;
}

function options(name, unit, holder, width, view) {
    const line = colour(holder, '--series');
    const grid = { stroke: colour(holder, '--grid'), width: 1 };
    const axis = { stroke: colour(holder, '--muted'), grid, ticks: { show: false }, font: '12px system-ui, sans-serif' };
    return {
        width, height: HEIGHT,
        legend: { show: false },
        padding: [6, 18, 0, 0],
        cursor: { drag: { x: true, y: false, setScale: false }, sync: { key: 'device', setSeries: false }, points: { size: 7, fill: line } },
        scales: { x: { time: true, range: () => view.range }, y: { range: (u, low, high) => spread(low, high) } },
        axes: [{ ...axis, values: timeLabels, space: 72, size: (u, labels) => (labels?.some((label) => label.includes('\n')) ? 42 : 26) }, { ...axis, size: 58, space: 34, values: (u, splits) => splits.map((v) => (v === null ? '' : number(v))) }],
        series: [{}, { stroke: line, width: 1.6, spanGaps: false, points: { size: 4, fill: line, filter: alone } }],
        hooks: { setSelect: [view.selected], setCursor: [view.pointed] },
    };
}

/** Some room above and below; a constant has some too. */
function spread(low, high) {
    if (low === null || high === null)
        return [0, 1];
    const room = high === low ? Math.max(Math.abs(high) * 0.05, 0.5) : (high - low) * 0.08;
    return [low - room, high + room];
}

/**
 * A chart of a field. onSelect(from, to): a range was dragged. Returns {element, show(line, from, to, what), redraw(), destroy()}; what: the
 * range in words.
 */
export function fieldChart(name, onSelect) {
    const { label, unit } = field(name);
    const pointed = h('span', { class: 'pointed', 'aria-hidden': 'true' });
    const last = h('span', { class: 'last' });
    const facts = h('span', { class: 'facts' });
    const holder = h('div', { class: 'plot', role: 'img' });
    const element = h('figure', { class: 'chart panel' }, h('figcaption', {}, h('h3', {}, label, unit && h('span', { class: 'unit' }, ` ${unit}`)), last, facts, pointed), holder);
    let plot;
    let shown;

    const view = {
        range: [0, 1],
        selected(u) {
            const { left, width } = u.select;
            if (width < 4)
                return;
            const from = Math.floor(u.posToVal(left, 'x'));
            const to = Math.ceil(u.posToVal(left + width, 'x'));
            u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
            // The other charts select along with this one: whoever is called last asks for the same.
            onSelect(from, Math.max(to, from + SHORTEST_S));
        },
        pointed(u) {
            const i = u.cursor.idx;
            const value = i === null || i === undefined ? null : u.data[1][i];
            setText(pointed, value === null || value === undefined ? '' : `${dateTime(u.data[0][i])}  ${measured(value, unit)}`);
        },
    };

    function draw() {
        const width = Math.floor(holder.clientWidth);
        if (width === 0 || !shown)
            return;
        const { times, values } = thin(shown.line, ...view.range, width);
        if (!plot) {
            plot = new uPlot(options(name, unit, holder, width, view), [times, values], holder);
            return;
        }
        if (plot.width !== width)
            plot.setSize({ width, height: HEIGHT });
        plot.setData([times, values]);
    }

    function show(line, from, to, what) {
        view.range = [from, to];
        shown = { line: withGaps(line) };
        const found = summary(line, from, to);
        setText(last, found ? measured(found.last, unit) : 'no value');
        setText(facts, found ? `low ${number(found.lowest)} · high ${number(found.highest)}` : '');
        holder.setAttribute('aria-label', found
            ? `Chart of ${label}, ${what}: last ${measured(found.last, unit)}, lowest ${measured(found.lowest, unit)}, highest ${measured(found.highest, unit)}, ${found.count} values. The table has them all.`
            : `Chart of ${label}, ${what}: no value.`);
        draw();
    }

    function destroy() {
        plot?.destroy();
        plot = undefined;
    }

    return { element, show, destroy, resize: draw, redraw: () => (destroy(), draw()) };
}
