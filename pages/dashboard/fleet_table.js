// fleet_table.js - the fleet's table: a row is made once per device and then only changed, so that nothing jumps and focus stays.

import { h, setText } from '/assets/dom.js';
import { age, dateTime, field, measured } from '/assets/format.js';
import { drawPill, makePill } from '/assets/pill.js';
import { drawSparkline, makeSparkline } from '/assets/sparkline.js';

const COLUMNS = [['device', 'Device'], ['status', 'Status'], ['seen', 'Last seen'], ['firmware', 'Firmware']];

export const deviceHash = (id) => `#/devices/${encodeURIComponent(id)}`;

const cell = (label, name, ...children) => h('td', { role: 'cell', class: name, 'data-label': label }, ...children);

function makeRow(row, fields) {
    const parts = {
        pill: makePill(), seen: h('span', {}), firmware: h('span', {}),
        values: fields.map((name) => ({ name, unit: field(name).unit, text: h('span', { class: 'number' }), line: makeSparkline() })),
    };
    parts.element = h('tr', { role: 'row' },
        h('th', { scope: 'row', role: 'rowheader', class: 'device' }, h('a', { href: deviceHash(row.id) }, row.id)),
        cell('Status', 'status', parts.pill),
        cell('Last seen', 'seen', parts.seen),
        cell('Firmware', 'firmware', parts.firmware),
        parts.values.map(({ name, text, line }) => cell(field(name).label, 'value', text, line)));
    return parts;
}

function drawRow(parts, row, now) {
    drawPill(parts.pill, row.state, row.remark);
    setText(parts.seen, age(row.seenAt, now));
    parts.seen.title = row.seenAt === null ? '' : dateTime(row.seenAt);
    setText(parts.firmware, row.firmware || '\u2013');
    for (const { name, unit, text, line } of parts.values) {
        const known = row.values?.get(name);
        setText(text, known ? measured(known.value, unit) : '\u2013');
        if (row.recent)
            drawSparkline(line, row.recent.line(name, now), now);
    }
}

function makeHead(fields, sorted, onSort) {
    const columns = [...COLUMNS, ...fields.map((name) => [`value:${name}`, field(name).label])];
    return h('tr', { role: 'row' }, columns.map(([id, label]) => {
        const by = sorted.column === id;
        const direction = sorted.descending ? 'descending' : 'ascending';
        return h('th', { scope: 'col', role: 'columnheader', class: id.startsWith('value:') ? 'value' : id, 'aria-sort': by ? direction : 'none' },
            h('button', { type: 'button', 'data-column': id, onclick: () => onSort(id) }, label, h('span', { class: 'arrow', 'aria-hidden': 'true' })));
    }));
}

/** Returns {element, show(rows, fields, sorted, now), draw(rows, now)}: rows as fleet.js has them. */
export function fleetTable(onSort) {
    const head = h('thead', { role: 'rowgroup' });
    const body = h('tbody', { role: 'rowgroup' });
    const made = new Map();
    let drawnHead = '';
    let drawnFields = '';

    function showHead(fields, sorted) {
        const wanted = JSON.stringify([fields, sorted]);
        if (wanted === drawnHead)
            return;
        drawnHead = wanted;
        const focused = head.contains(document.activeElement) ? document.activeElement.dataset.column : undefined;
        head.replaceChildren(makeHead(fields, sorted, onSort));
        if (focused !== undefined)
            [...head.querySelectorAll('button')].find((button) => button.dataset.column === focused)?.focus();
    }

    function show(rows, fields, sorted, now) {
        showHead(fields, sorted);
        if (drawnFields !== fields.join()) {
            drawnFields = fields.join();
            made.clear();
            body.replaceChildren();
        }
        for (const id of made.keys()) {
            if (!rows.some((row) => row.id === id)) {
                made.get(id).element.remove();
                made.delete(id);
            }
        }
        rows.forEach((row, i) => {
            if (!made.has(row.id))
                made.set(row.id, makeRow(row, fields));
            const { element } = made.get(row.id);
            if (body.children[i] !== element)
                body.insertBefore(element, body.children[i] ?? null);
        });
        draw(rows, now);
    }

    function draw(rows, now) {
        for (const row of rows) {
            const parts = made.get(row.id);
            if (parts)
                drawRow(parts, row, now);
        }
    }

    const element = h('table', { class: 'fleet', role: 'table' }, h('caption', { class: 'for-readers' }, 'Devices; the buttons in the head sort'), head, body);
    return { element, show, draw };
}
