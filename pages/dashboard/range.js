// range.js - which stretch of time a device page shows, as it stands in the address: range=1h|24h|7d, or from=..&to=.. in epoch seconds. Pure.

export const RANGES = [['1h', 3600, 'hour'], ['24h', 86_400, '24 hours'], ['7d', 604_800, '7 days']];

const LONGEST = 8784 * 3600;

/** parameters: URLSearchParams. Returns {name, span, from, to}: a fixed stretch has from and to, one that moves with the clock has a name. */
export function rangeOf(parameters) {
    const from = Number(parameters.get('from') ?? NaN);
    const to = Number(parameters.get('to') ?? NaN);
    if (Number.isInteger(from) && Number.isInteger(to) && from > 0 && to > from)
        return { name: '', span: to - from, from, to };
    const [name, span] = RANGES.find(([id]) => id === parameters.get('range')) ?? RANGES[0];
    return { name, span };
}

/** What two inputs of type datetime-local say: {from, to}, or {error}. */
export function rangeFromInputs(fromText, toText) {
    const from = Math.floor(Date.parse(fromText) / 1000);
    const to = Math.ceil(Date.parse(toText) / 1000);
    if (!Number.isFinite(from) || !Number.isFinite(to))
        return { error: 'Give both a beginning and an end.' };
    if (to <= from)
        return { error: 'The end has to be after the beginning.' };
    if (to - from > LONGEST)
        return { error: 'The range is longer than 366 days.' };
    return { from, to };
}

/** Where the stretch begins and ends at this moment. */
export const bounds = (range, now) => (range.name === '' ? [range.from, range.to] : [now - range.span, now]);
