// fleet_model.js - what a device's status object says, and how a list of devices is searched, filtered and sorted. Pure.

export const STALE_S = 300;

export const STATES = ['online', 'stale', 'offline', 'unknown'];

/** Epoch seconds of a time as devices report it (RFC 3339, epoch seconds or milliseconds); null for anything else. */
export function timeOf(value) {
    if (typeof value === 'string') {
        const ms = Date.parse(value);
        return Number.isFinite(ms) ? ms / 1000 : null;
    }
    if (typeof value === 'number' && value > 0)
        return value >= 1e11 ? value / 1000 : value;
    return null;
}

const reported = (device) => (typeof device.status === 'string' ? device.status.toLowerCase() : null);

/**
 * One of STATES. What a device says of itself counts for more than the hub's connection state, which knows nothing of devices that come
 * over HTTPS; but nobody is online who was not heard of for five minutes. seenAt: epoch seconds or null.
 */
export function stateOf(device, seenAt, now) {
    const said = reported(device);
    if (said === 'offline' || device.enabled === false)
        return 'offline';
    if (seenAt !== null && now - seenAt > STALE_S)
        return 'stale';
    if (said === 'online')
        return seenAt === null ? 'unknown' : 'online';
    if (said !== null)
        return 'unknown';
    if (device.connectionState === 'Connected')
        return 'online';
    return device.connectionState === 'Disconnected' ? 'offline' : 'unknown';
}

/** What a device reports beyond the state that is shown for it: "degraded", or nothing. */
export function remark(device, state) {
    if (device.enabled === false)
        return 'disabled';
    const said = device.status;
    if (said === null || said === undefined || reported(device) === state)
        return '';
    return typeof said === 'string' ? said : JSON.stringify(said);
}

/** How many there are of each state. rows: [{state}]. */
export function tally(rows) {
    const counts = Object.fromEntries(STATES.map((state) => [state, 0]));
    for (const row of rows)
        counts[row.state]++;
    return counts;
}

/** rows whose id, firmware or state contains every word of the text. state: '' for all. */
export function filter(rows, text, state) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    return rows.filter((row) => (state === '' || row.state === state)
        && words.every((word) => `${row.id} ${row.firmware} ${row.state} ${row.remark}`.toLowerCase().includes(word)));
}

const natural = new Intl.Collator('en', { numeric: true });

/** The key by which a column sorts: a number, a text, or undefined (always last). */
function keyOf(row, column) {
    if (column === 'device')
        return row.id;
    if (column === 'status')
        return STATES.length - STATES.indexOf(row.state);
    if (column === 'seen')
        return row.seenAt ?? undefined;
    if (column === 'firmware')
        return row.firmware || undefined;
    return row.values?.get(column.slice('value:'.length))?.value;
}

/** A sorted copy. Equal ones, and those without a value, stand in the order of their ids. */
export function sort(rows, column, descending) {
    const sign = descending ? -1 : 1;
    return rows.map((row) => [keyOf(row, column), row]).sort(([a, rowA], [b, rowB]) => {
        if (a === undefined || b === undefined)
            return (a === undefined) - (b === undefined) || natural.compare(rowA.id, rowB.id);
        const order = typeof a === 'number' ? a - b : natural.compare(a, b);
        return sign * order || natural.compare(rowA.id, rowB.id);
    }).map(([, row]) => row);
}

/** The fleet in one sentence. */
export function sentence(counts) {
    const present = STATES.filter((state) => counts[state] > 0);
    const total = present.reduce((sum, state) => sum + counts[state], 0);
    if (present.length === 1)
        return total === 1 ? `1 device, ${present[0]}` : `All ${total.toLocaleString('en')} devices are ${present[0]}`;
    return `${total.toLocaleString('en')} devices: ${present.map((state) => `${counts[state].toLocaleString('en')} ${state}`).join(', ')}`;
}
