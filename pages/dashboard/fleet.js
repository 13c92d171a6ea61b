// fleet.js - the first page: the fleet in a sentence, then a table of it that is searched, filtered, sorted and paged here. The list comes
// from GET /devices and is read again every 30 seconds; values only for the rows on screen (fleet_values.js).

import { explain, getJson } from '/assets/api.js';
import { now } from '/assets/clock.js';
import { announce, every, h, setText, stateMessage } from '/assets/dom.js';
import { followValues, recentOf } from '/assets/fleet_values.js';
import { fleetTable } from '/assets/fleet_table.js';
import { filter, remark, sentence, sort, stateOf, STATES, tally, timeOf } from '/assets/fleet_model.js';
import { count, plural, text as asText } from '/assets/format.js';
import { stateShape } from '/assets/pill.js';
import { commonFields } from '/assets/recent.js';
import { noteUpdate, setLive } from '/assets/shell.js';

const ROWS = 25;
const FIELDS = 3;
const LIST_PAGE = 1000;
const LIST_PAGES = 5; // a click loads as many more
const POLL_MS = 30_000;
const DRAW_MS = 400;

// Who comes back from a device finds the table as they left it.
const chosen = { text: '', state: '', column: 'device', descending: false, page: 0, listPages: LIST_PAGES, fields: [] };

export function fleetView(main, { signal }) {
    const rows = new Map();
    const view = buildFrame();
    let loaded = false;
    let more = false;
    let onScreen = [];
    let values = new AbortController();
    let followed = '';
    const dirty = new Set();

    // --- the list

    function update(row, at) {
        const recent = recentOf(row.id);
        row.recent = recent;
        row.values = recent?.fields;
        const newest = recent && recent.newest > 0 ? recent.newest : null;
        const reported = timeOf(row.device.lastSeen);
        row.seenAt = newest === null || (reported !== null && reported > newest) ? reported : newest;
        row.firmware = row.device.firmwareVersion === null ? '' : asText(row.device.firmwareVersion);
        row.state = stateOf(row.device, row.seenAt, at);
        row.remark = remark(row.device, row.state);
    }

    async function load() {
        const seen = new Set();
        let path = `/devices?limit=${LIST_PAGE}`;
        for (let page = 0; page < chosen.listPages && path !== undefined; page++) {
            const answer = await getJson(path, { signal });
            for (const device of answer.value) {
                seen.add(device.deviceId);
                const row = rows.get(device.deviceId) ?? { id: device.deviceId };
                row.device = device;
                rows.set(row.id, row);
            }
            path = answer.nextLink;
            loaded = true;
            arrange();
        }
        more = path !== undefined;
        for (const id of rows.keys()) {
            if (!seen.has(id))
                rows.delete(id);
        }
        arrange();
    }

    async function keepLoading() {
        while (!signal.aborted) {
            try {
                await load();
            } catch (error) {
                if (signal.aborted)
                    return;
                view.note.hidden = false;
                view.body.replaceChildren(stateMessage(error.status === 403 ? 'Not allowed' : 'The fleet cannot be shown', explain(error)));
            }
            await new Promise((resolve) => setTimeout(resolve, POLL_MS));
        }
    }

    // --- what is on screen

    /** Puts everything in order: after a list, a choice, or values that bring columns. */
    function arrange() {
        const at = now();
        rows.forEach((row) => update(row, at));
        const all = [...rows.values()];
        const found = sort(filter(all, chosen.text, chosen.state), chosen.column, chosen.descending);
        const pages = Math.max(1, Math.ceil(found.length / ROWS));
        chosen.page = Math.min(chosen.page, pages - 1);
        onScreen = found.slice(chosen.page * ROWS, (chosen.page + 1) * ROWS);
        chosen.fields = commonFields(onScreen.map((row) => row.recent).filter(Boolean), FIELDS, chosen.fields);

        drawSummary(all);
        drawBody(all, found);
        drawFooter(found, pages);
        view.table.show(onScreen, chosen.fields, { column: chosen.column, descending: chosen.descending }, at);
        followOnScreen();
    }

    function drawSummary(all) {
        const counts = tally(all);
        setText(view.summary, all.length === 0 ? '' : `${sentence(counts)}${more ? ' (of those loaded)' : ''}.`);
        for (const state of STATES) {
            const button = view.filters[state];
            button.hidden = counts[state] === 0 && chosen.state !== state;
            button.setAttribute('aria-pressed', String(chosen.state === state));
            setText(button.lastChild, `${count(counts[state])} ${state}`);
        }
    }

    function drawBody(all, found) {
        if (found.length > 0) {
            if (!view.body.contains(view.table.element))
                view.body.replaceChildren(view.table.element);
        } else if (all.length === 0) {
            view.body.replaceChildren(loaded ? emptyFleet() : stateMessage('Loading the fleet …'));
        } else {
            view.body.replaceChildren(stateMessage('No device fits', 'Nothing matches this search and filter.',
                h('button', { type: 'button', onclick: clear }, 'Show all devices')));
        }
    }

    function drawFooter(found, pages) {
        const first = chosen.page * ROWS;
        view.footer.hidden = found.length === 0;
        setText(view.shown, pages > 1 ? `${count(first + 1)}–${count(first + onScreen.length)} of ${count(found.length)}` : plural(found.length, 'device'));
        view.previous.disabled = chosen.page === 0;
        view.next.disabled = chosen.page >= pages - 1;
        view.previous.hidden = view.next.hidden = pages === 1;
        view.more.hidden = !more;
        setText(view.more.firstChild, `Only the first ${count(rows.size)} devices are loaded; there are more. `);
        view.note.hidden = !(chosen.column.startsWith('value:') && pages > 1);
    }

    // --- values

    function followOnScreen() {
        const wanted = onScreen.map((row) => row.id).sort().join('\n');
        if (wanted === followed)
            return;
        followed = wanted;
        values.abort(new DOMException('other rows', 'AbortError'));
        values = new AbortController();
        const mine = values.signal;
        const ids = onScreen.map((row) => row.id);
        // Whoever types in the search passes many sets of rows.
        setTimeout(() => {
            if (mine.aborted || ids.length === 0)
                return;
            followValues(ids, {
                signal: mine,
                changed: (id) => dirty.add(id),
                state: (state) => mine.aborted || setLive(state),
                refused: (error) => {
                    setLive('off');
                    view.values.hidden = false;
                    setText(view.values, `Values are not shown: ${explain(error)}`);
                },
            });
        }, 150);
    }

    function draw() {
        if (dirty.size === 0)
            return;
        const at = now();
        const changed = onScreen.filter((row) => dirty.has(row.id));
        dirty.clear();
        changed.forEach((row) => update(row, at));
        noteUpdate();
        const fields = commonFields(onScreen.map((row) => row.recent).filter(Boolean), FIELDS, chosen.fields);
        if (fields.length !== chosen.fields.length)
            arrange();
        else
            view.table.draw(changed, at);
    }

    /** Ages tick, and a device may turn stale by nothing but time. */
    function tick() {
        const at = now();
        rows.forEach((row) => update(row, at));
        drawSummary([...rows.values()]);
        view.table.draw(onScreen, at);
    }

    // --- choices

    function choose(change) {
        Object.assign(chosen, { page: 0 }, change);
        arrange();
        announce(view.shown.textContent);
    }

    function clear() {
        view.search.value = '';
        choose({ text: '', state: '' });
        view.search.focus();
    }

    function buildFrame() {
        const onSort = (column) => choose({ column, descending: chosen.column === column ? !chosen.descending : column.startsWith('value:') || column === 'seen' });
        const frame = { table: fleetTable(onSort), filters: {} };
        frame.summary = h('p', { class: 'summary', id: 'summary' });
        frame.search = h('input', { type: 'search', id: 'search', placeholder: 'Search devices', 'aria-label': 'Search devices', value: chosen.text, oninput: () => choose({ text: frame.search.value }) });
        for (const state of STATES) {
            frame.filters[state] = h('button', { type: 'button', class: 'chip', 'data-state': state, 'aria-pressed': 'false', hidden: true, onclick: () => choose({ state: chosen.state === state ? '' : state }) },
                stateShape(state), h('span', {}));
        }
        frame.values = h('p', { class: 'notice', hidden: true });
        frame.note = h('p', { class: 'hint', hidden: true }, 'Values are loaded for the rows on screen: others are sorted last until they were seen.');
        frame.body = h('div', { class: 'panel', id: 'fleet' }, stateMessage('Loading the fleet …'));
        frame.shown = h('span', {});
        frame.previous = h('button', { type: 'button', onclick: () => choose({ page: chosen.page - 1 }) }, 'Previous');
        frame.next = h('button', { type: 'button', onclick: () => choose({ page: chosen.page + 1 }) }, 'Next');
        frame.more = h('p', { class: 'notice', hidden: true }, h('span', {}), h('button', { type: 'button', onclick: () => {
            chosen.listPages += LIST_PAGES;
            load();
        } }, 'Load more'));
        frame.footer = h('nav', { class: 'footer', 'aria-label': 'Pages of the fleet', hidden: true }, frame.shown, frame.previous, frame.next);
        return frame;
    }

    main.append(
        h('div', { class: 'head' }, h('h1', { tabindex: '-1' }, 'Fleet'), view.summary),
        h('div', { class: 'tools' }, view.search, h('div', { class: 'chips', role: 'group', 'aria-label': 'Filter by status' }, Object.values(view.filters))),
        view.values, view.more, view.body, view.note, view.footer);
    signal.addEventListener('abort', () => values.abort(signal.reason));
    document.addEventListener('keydown', (event) => {
        if (event.key === '/' && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName)) {
            event.preventDefault();
            view.search.focus();
        }
    }, { signal });
    keepLoading();
    every(1000, signal, tick);
    every(DRAW_MS, signal, draw);
}

const emptyFleet = () => stateMessage('No devices yet', 'A device appears here with its first reading:',
    h('pre', { tabindex: '0' }, h('code', {}, `curl -X POST ${location.origin}/devices/my-device/telemetry \\\n  -H 'content-type: application/json' \\\n  -d '{"temperature":21.5}'`)));
