// format.js - numbers, ages, times and units as text. Pure: no document, no clock of its own, no imports.

const STEPS = [[60, 1, 's'], [3600, 60, 'min'], [86400, 3600, 'h'], [Infinity, 86400, 'd']];

/** Seconds as the largest whole unit: 42 s, 5 min, 3 h, 12 d. Clocks differ a little: what lies ahead is now. */
export function span(seconds) {
    const whole = Math.max(0, Math.floor(seconds));
    const [, size, unit] = STEPS.find(([limit]) => whole < limit);
    return `${Math.floor(whole / size)} ${unit}`;
}

/** How long ago. at and now: epoch seconds; at may be null. */
export function age(at, now) {
    if (at === null || at === undefined)
        return 'never';
    return now - at < 2 ? 'just now' : `${span(now - at)} ago`;
}

const plain = new Intl.NumberFormat('en', { maximumSignificantDigits: 5, useGrouping: false });

/** A measured value: five significant digits, an exponent where it would be long otherwise. */
export function number(value) {
    const size = Math.abs(value);
    if (size !== 0 && (size >= 1e9 || size < 1e-4))
        return value.toExponential(3).replace('e+', 'e');
    // Whole numbers are counters as often as not: all their digits matter.
    return (Number.isInteger(value) ? String(value) : plain.format(value)).replace('-', '\u2212');
}

export const count = (n) => n.toLocaleString('en');

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

const two = (n) => String(n).padStart(2, '0');

/** Epoch seconds in the reader's time zone: 2026-11-24 02:41:20. */
export function dateTime(seconds) {
    const d = new Date(seconds * 1000);
    return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

/** The form that <input type="datetime-local" step="1"> reads and writes. */
export const inputTime = (seconds) => dateTime(seconds).replace(' ', 'T');

/** Any JSON value as one line of text. */
export function text(value) {
    if (value === null || value === undefined)
        return '\u2013';
    if (typeof value === 'number')
        return number(value);
    return typeof value === 'string' ? value : JSON.stringify(value);
}

const UNITS = {
    c: '°C', celsius: '°C', f: '°F', fahrenheit: '°F', k: 'K', kelvin: 'K', percent: '%', pct: '%', rh: '% RH',
    pa: 'Pa', hpa: 'hPa', kpa: 'kPa', mbar: 'mbar', bar: 'bar', psi: 'psi', v: 'V', mv: 'mV', volts: 'V', a: 'A', ma: 'mA', amps: 'A',
    w: 'W', kw: 'kW', watts: 'W', wh: 'Wh', kwh: 'kWh', hz: 'Hz', khz: 'kHz', mhz: 'MHz', rpm: 'rpm', m: 'm', mm: 'mm', cm: 'cm', km: 'km',
    kmh: 'km/h', mps: 'm/s', ms: 'ms', s: 's', seconds: 's', min: 'min', minutes: 'min', ppm: 'ppm', ppb: 'ppb', lux: 'lx', db: 'dB', dbm: 'dBm',
    deg: '°', degrees: '°', kg: 'kg', g: 'g', l: 'l', liters: 'l', litres: 'l', lpm: 'l/min', bytes: 'B', kb: 'kB', mb: 'MB', gb: 'GB',
};

/**
 * What a field is called and measured in, as far as its own name says so: temperature_c and temperatureC are temperature in °C, plain
 * temperature has no unit, for nobody said which. Returns {label, unit}, unit '' where none is named.
 */
export function field(name) {
    // Camel case: what begins with the last capital that follows a small letter.
    const word = (/[_\- ]([A-Za-z]+)$/.exec(name) ?? /^.*[a-z0-9)]([A-Z][A-Za-z]*)$/.exec(name))?.[1];
    const unit = word && Object.hasOwn(UNITS, word.toLowerCase()) ? UNITS[word.toLowerCase()] : '';
    if (unit === '')
        return { label: name, unit };
    return { label: name.slice(0, name.length - word.length).replace(/[_\- ]$/, ''), unit };
}

/** A value with the unit of its field. */
export const measured = (value, unit) => (unit === '' ? number(value) : `${number(value)}${unit === '%' || unit === '°' ? '' : '\u202f'}${unit}`);
