// recent.js - what the fleet's table knows of a device's last hour: the newest value of each numeric field, and a mean for every minute.
// Bounded whatever comes: 60 minutes, FIELDS fields. Pure but for series.js.

import { numericFields } from '/assets/series.js';

const MINUTES = 60;
const FIELDS = 12;

export class Recent {
    newest = -Infinity; // epoch seconds of the newest reading
    through = -Infinity; // readings up to this second have been taken
    fields = new Map(); // name -> {value, at, minutes: Map(minute -> {sum, count})}

    /** Takes a reading, in any order. */
    add({ data, timestamp }) {
        this.newest = Math.max(this.newest, timestamp);
        const minute = Math.floor(timestamp / 60);
        for (const [name, value] of numericFields(data)) {
            let field = this.fields.get(name);
            if (value === null || (!field && this.fields.size >= FIELDS))
                continue;
            if (!field)
                this.fields.set(name, (field = { value, at: -Infinity, minutes: new Map() }));
            if (timestamp >= field.at) {
                field.value = value;
                field.at = timestamp;
            }
            const mean = field.minutes.get(minute) ?? { sum: 0, count: 0 };
            mean.sum += value;
            mean.count++;
            field.minutes.set(minute, mean);
            if (field.minutes.size > MINUTES + 1)
                this.#forget(field, Math.floor(field.at / 60) - MINUTES);
        }
    }

    #forget(field, before) {
        for (const minute of field.minutes.keys()) {
            if (minute < before)
                field.minutes.delete(minute);
        }
    }

    /** The means of the last hour, oldest first: {times (epoch seconds), values}. */
    line(name, now) {
        const oldest = Math.floor(now / 60) - MINUTES;
        const known = [...(this.fields.get(name)?.minutes ?? [])].filter(([minute]) => minute > oldest).sort((a, b) => a[0] - b[0]);
        return { times: known.map(([minute]) => minute * 60 + 30), values: known.map(([, mean]) => mean.sum / mean.count) };
    }
}

/** The fields that most devices have, at most `most`: those of `already` first, for columns do not come and go. */
export function commonFields(recents, most, already = []) {
    const counts = new Map();
    for (const recent of recents) {
        for (const name of recent.fields.keys())
            counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    const others = [...counts].filter(([name]) => !already.includes(name)).sort((a, b) => b[1] - a[1]).map(([name]) => name);
    return [...already, ...others].slice(0, most);
}
