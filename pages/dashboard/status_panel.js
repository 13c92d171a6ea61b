// status_panel.js - what is known of one device at this moment: its twin's status with every member, and its newest reading.

import { now } from '/assets/clock.js';
import { h, setText } from '/assets/dom.js';
import { remark, stateOf, timeOf } from '/assets/fleet_model.js';
import { age, dateTime, field, text } from '/assets/format.js';
import { drawPill, makePill } from '/assets/pill.js';

const NAMES = { deviceId: 'Device', status: 'Reported status', lastSeen: 'Last heartbeat', firmwareVersion: 'Firmware', connectionState: 'Connection', enabled: 'Enabled' };
const FIELDS = 40;

function member(name, value) {
    if (name === 'lastSeen' && timeOf(value) !== null)
        return dateTime(timeOf(value));
    if (typeof value === 'boolean')
        return value ? 'yes' : 'no';
    return text(value);
}

const list = (pairs) => pairs.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]);

/** Returns {headline, element, showStatus(object), showRefusal(text), showReading(reading), tick()}. */
export function statusPanel() {
    const pill = makePill();
    const seen = h('span', { class: 'summary' });
    const headline = h('p', { class: 'headline' }, pill, seen);
    const twin = h('dl', {}, list([['Status', 'Loading …']]));
    const newest = h('dl', {});
    const newestAt = h('p', { class: 'hint' }, 'None yet.');
    const element = h('aside', { class: 'panel facts-panel', 'aria-label': 'Current status' },
        h('h2', {}, 'Current twin'), twin, h('h2', {}, 'Newest reading'), newestAt, newest);
    let status;
    let reading;

    function tick() {
        const heard = [timeOf(status?.lastSeen ?? null), reading?.timestamp ?? null].filter((at) => at !== null);
        const seenAt = heard.length > 0 ? Math.max(...heard) : null;
        if (!status && seenAt === null)
            return;
        const state = stateOf(status ?? {}, seenAt, now());
        drawPill(pill, state, status ? remark(status, state) : '');
        setText(seen, `Last seen ${age(seenAt, now())}`);
        if (reading)
            setText(newestAt, `${dateTime(reading.timestamp)}, ${age(reading.timestamp, now())}`);
    }

    function showStatus(object) {
        status = object;
        twin.replaceChildren(...list(Object.entries(object).map(([name, value]) => [NAMES[name] ?? name, member(name, value)])));
        tick();
    }

    function showReading(next) {
        if (!next || next === reading)
            return;
        reading = next;
        newest.replaceChildren(...list(Object.entries(next.data).slice(0, FIELDS).map(([name, value]) => {
            const { label, unit } = field(name);
            return [typeof value === 'number' ? label : name, typeof value === 'number' ? [text(value), unit].filter(Boolean).join(' ') : text(value)];
        })));
        tick();
    }

    return { headline, element, tick, showStatus, showReading, showRefusal: (why) => status || twin.replaceChildren(...list([['Status', why]])) };
}
