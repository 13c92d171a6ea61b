// fleet_values.js - what the devices on screen measure: their last hour, then one stream for all of them. The hour ends five seconds ago
// and the stream begins right there (`from` is exclusive, `to` inclusive), so that nothing is missing between them or there twice.

import { devicePath, getJson } from '/assets/api.js';
import { now } from '/assets/clock.js';
import { timeOf } from '/assets/fleet_model.js';
import { follow } from '/assets/live.js';
import { Recent } from '/assets/recent.js';

const PAGES = 4; // of 1,000: an hour of a reading a second
const LONGEST_URL = 6000;
const KEPT = 500; // devices whose last hour is remembered

const recents = new Map(); // over the life of the page: who comes back to the fleet sees it at once

export const recentOf = (id) => recents.get(id);

function remember(id) {
    const recent = recents.get(id) ?? new Recent();
    recents.delete(id);
    recents.set(id, recent); // the youngest last
    if (recents.size > KEPT)
        recents.delete(recents.keys().next().value);
    return recent;
}

/** Loads what is missing of a device's last hour. */
async function loadHour(id, signal) {
    const recent = remember(id);
    if (recent.through >= now() - 6)
        return;
    const known = recent.through > now() - 3600 ? Math.floor(recent.through) : 'now-1h';
    let path = devicePath(id, `/telemetry?from=${known}&to=now-5s&limit=1000`);
    for (let page = 0; page < PAGES && path !== undefined; page++) {
        let answer;
        try {
            answer = await getJson(path, { signal });
        } catch (error) {
            if (error.status === 404) // it is gone
                return;
            throw error;
        }
        answer.telemetry.forEach((reading) => recent.add(reading));
        recent.through = Math.max(recent.through, timeOf(answer.to));
        path = answer.nextLink;
    }
}

/** Ids that one stream can name: in a list a comma separates them, and an address has its length. */
function streamable(ids) {
    let length = 0;
    return ids.filter((id) => !id.includes(',') && (length += encodeURIComponent(id).length + 1) < LONGEST_URL);
}

function take(reading, changed) {
    const recent = recents.get(reading.deviceId);
    // The stream begins with the device that lags most; others have seen some of it.
    if (!recent || reading.timestamp < recent.through)
        return;
    if (reading.timestamp === recent.through && recent.settled)
        return;
    recent.settled = false;
    recent.through = reading.timestamp;
    recent.add(reading);
    changed(reading.deviceId);
}

/**
 * Keeps the values of these devices up to date until the signal aborts. on: changed(id), state(live.js), refused(ApiError).
 */
export async function followValues(ids, { signal, changed, state, refused }) {
    try {
        await Promise.all(ids.map(async (id) => {
            await loadHour(id, signal);
            recents.get(id).settled = true; // the second `through` has been read whole
            changed(id);
        }));
    } catch (error) {
        if (!signal.aborted)
            refused(error);
        return;
    }
    const followed = streamable(ids);
    if (followed.length === 0)
        return;
    const known = followed.map((id) => recents.get(id)?.through ?? -Infinity).filter((through) => through > 0);
    const from = known.length > 0 ? Math.floor(Math.min(...known)) : 'now-5s';
    const again = new AbortController();
    const stop = () => again.abort(signal.reason);
    signal.addEventListener('abort', stop);
    await follow(`/telemetry/stream?devices=${followed.map(encodeURIComponent).join(',')}&from=${from}`, {
        signal: again.signal, state, refused,
        reading: (reading) => take(reading, changed),
        resync: () => again.abort(new DOMException('resync', 'AbortError')),
    });
    signal.removeEventListener('abort', stop);
    if (!signal.aborted && again.signal.reason?.message === 'resync')
        await followValues(ids, { signal, changed, state, refused });
}
