// series.js - readings as numbers over time: the numeric fields of a reading, where a line has to break, and fewer points than pixels. Pure.

const DEEPEST = 4;
const MOST_FIELDS = 200;

/** The numeric fields of a reading, nested ones as a.b: [[name, number], ..]. null stands for a field that is there and no number. */
export function numericFields(data, prefix = '', depth = 1, found = []) {
    for (const [key, value] of Object.entries(data ?? {})) {
        if (found.length >= MOST_FIELDS)
            break;
        const name = prefix + key;
        if (typeof value === 'number')
            found.push([name, value]);
        else if (value === null || typeof value !== 'object')
            found.push([name, null]);
        else if (!Array.isArray(value) && depth < DEEPEST)
            numericFields(value, `${name}.`, depth + 1, found);
    }
    return found;
}

/** The columns of a window of readings: a line per field that was ever a number. */
export class Series {
    readings = []; // {data, timestamp}, oldest first
    #fields = new Map();

    /** Adds readings, oldest first. Before those that are here (a page of older ones), or after them. */
    add(readings, before = false) {
        if (before)
            this.readings = readings.concat(this.readings);
        else
            for (const reading of readings)
                this.readings.push(reading);
        if (before)
            this.#rebuild();
        else
            readings.forEach((reading) => this.#note(reading));
    }

    /** Forgets what is older. Readings leave in lots, so that a sliding window costs next to nothing. */
    dropBefore(timestamp) {
        let n = 0;
        while (n < this.readings.length && this.readings[n].timestamp <= timestamp)
            n++;
        if (n < 100 && n < this.readings.length / 8)
            return;
        this.readings.splice(0, n);
        this.#rebuild();
    }

    #rebuild() {
        this.#fields = new Map();
        this.readings.forEach((reading) => this.#note(reading));
    }

    #note({ data, timestamp }) {
        for (const [name, value] of numericFields(data)) {
            let line = this.#fields.get(name);
            if (!line)
                this.#fields.set(name, (line = { times: [], values: [], numbers: 0 }));
            line.times.push(timestamp);
            line.values.push(value);
            line.numbers += value !== null;
        }
    }

    /** Names of the fields with at least one number, in order of first appearance. */
    get names() {
        return [...this.#fields].filter(([, line]) => line.numbers > 0).map(([name]) => name);
    }

    /** {times, values}: values are numbers or null. */
    line(name) {
        return this.#fields.get(name) ?? { times: [], values: [] };
    }
}

const AROUND = 5;

/** Median of intervals[from..to), NaN where there are none. */
function median(intervals, from, to) {
    const some = intervals.slice(Math.max(0, from), Math.max(0, to)).sort((a, b) => a - b);
    return some.length === 0 ? NaN : some[some.length >> 1];
}

/**
 * The same line with a null wherever nothing came for more than three times the usual interval. Usual is what the readings around
 * do, on either side: a device that changes its pace from one a minute to one a second has no gap in either part.
 */
export function withGaps({ times, values }) {
    const intervals = times.slice(1).map((time, i) => time - times[i]);
    const result = { times: [], values: [] };
    for (let i = 0; i < times.length; i++) {
        if (i > 0 && intervals[i - 1] > 3) {
            const usual = [median(intervals, i - 1 - AROUND, i - 1), median(intervals, i, i + AROUND)].filter((x) => !Number.isNaN(x));
            if (usual.length > 0 && intervals[i - 1] > 3 * Math.max(1, ...usual)) {
                result.times.push(times[i - 1] + intervals[i - 1] / 2);
                result.values.push(null);
            }
        }
        result.times.push(times[i]);
        result.values.push(values[i]);
    }
    return result;
}

/**
 * At most about four points a bucket: the first, the lowest, the highest and the last of each, so that no spike is lost; and one null where
 * a gap begins or ends. Returns the line as it is where that is small enough.
 */
export function thin({ times, values }, from, to, buckets) {
    if (times.length <= buckets * 4)
        return { times, values };
    const width = (to - from) / buckets;
    const result = { times: [], values: [] };
    const keep = (i) => {
        result.times.push(times[i]);
        result.values.push(values[i]);
    };
    for (let start = 0; start < times.length;) {
        const bucket = Math.floor((times[start] - from) / width);
        let end = start;
        while (end < times.length && Math.floor((times[end] - from) / width) === bucket && (values[end] === null) === (values[start] === null))
            end++;
        if (values[start] === null)
            keep(start);
        else
            extremes(values, start, end).forEach(keep);
        start = end;
    }
    return result;
}

/** Indices of the first, lowest, highest and last value, ascending, each once. */
function extremes(values, start, end) {
    let low = start;
    let high = start;
    for (let i = start; i < end; i++) {
        if (values[i] < values[low])
            low = i;
        if (values[i] > values[high])
            high = i;
    }
    return [...new Set([start, low, high, end - 1])].sort((a, b) => a - b);
}

/** {last, lowest, highest, count} of the numbers of a line with times in (from, to]; undefined where there is none. */
export function summary({ times, values }, from, to) {
    let result;
    for (let i = 0; i < times.length; i++) {
        const value = values[i];
        if (value === null || times[i] <= from || times[i] > to)
            continue;
        result ??= { last: value, lowest: value, highest: value, count: 0 };
        result.last = value;
        result.lowest = Math.min(result.lowest, value);
        result.highest = Math.max(result.highest, value);
        result.count++;
    }
    return result;
}
