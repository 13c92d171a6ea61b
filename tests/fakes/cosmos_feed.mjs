// The change feed of the fake Cosmos DB (cosmos.mjs): partition key ranges that can be split, and for each the log of its
// items, ordered by `_lsn`, in which an item stands once, with its newest version. What one transaction stored shares an `_lsn`
// and is never cut between two pages. Every answer carries an ETag, also the 304.

import { createHash } from 'node:crypto';

/** Where a partition key lies between '' and 'FF', as the service's hash has it: two bits less than a byte at its start. */
export function effectiveKey(partition) {
    const bytes = createHash('sha256').update(String(partition)).digest().subarray(0, 16);
    bytes[0] &= 0x3f;
    return bytes.toString('hex').toUpperCase();
}

export class ChangeFeed {
    /** At most so many documents in a page, whatever is asked for; a transaction is never cut. */
    pageItems = Infinity;
    /** True: the feed does not show what is stored, as the npm emulator's does not after its first page. */
    stuck = false;

    #ranges = [{ id: '0', min: '', max: 'FF', parents: [], lsn: 100 }];
    #gone = new Map();
    #log = new Map(); // by the item's sequence: {key, lsn, entry}, in the order in which they were stored
    #nextRange = 1;
    #transaction = 0;

    get rangeIds() {
        return this.#ranges.map((range) => range.id);
    }

    rangeOf(partition) {
        const key = effectiveKey(partition);
        return this.#ranges.find((range) => range.min <= key && key < range.max);
    }

    /** Puts a stored entry at the end of its range's log. transaction: any value that is the same for all of one batch. */
    append(partition, entry, transaction) {
        const range = this.rangeOf(partition);
        if (transaction === undefined || range.transaction !== transaction)
            range.lsn++;
        range.transaction = transaction;
        this.#log.delete(entry.sequence);
        this.#log.set(entry.sequence, { key: effectiveKey(partition), lsn: range.lsn, entry });
    }

    remove(entry) {
        this.#log.delete(entry.sequence);
    }

    /** A range becomes two, which go on where it was. Returns their ids. */
    split(id) {
        const at = this.#ranges.findIndex((range) => range.id === id);
        const range = this.#ranges[at];
        const low = BigInt(`0x${range.min.padEnd(32, '0')}`);
        const high = range.max === 'FF' ? 1n << 126n : BigInt(`0x${range.max}`);
        const middle = ((low + high) / 2n).toString(16).toUpperCase().padStart(32, '0');
        const child = (min, max) => ({ id: String(this.#nextRange++), min, max, parents: [...range.parents, range.id], lsn: range.lsn });
        this.#gone.set(id, range);
        this.#ranges.splice(at, 1, child(range.min, middle), child(middle, range.max));
        return this.#ranges.slice(at, at + 2).map((one) => one.id);
    }

    list() {
        return {
            _rid: 'gAACAIAAAAA=',
            PartitionKeyRanges: this.#ranges.map(({ id, min, max, parents }) => ({
                _rid: 'gAACAIAAAAACAAAAAAAAUA==', id, _etag: '"0000"', minInclusive: min, maxExclusive: max, ridPrefix: Number(id), _self: '',
                throughputFraction: 1 / this.#ranges.length, status: 'online', parents, _ts: 1795416000,
            })),
            _count: this.#ranges.length,
        };
    }

    /**
     * One page: {status, etag, entries: [{lsn, entry}]}; or {gone: true} for a range that was split, or {error}.
     * live(entry): whether an entry has not expired.
     */
    read(headers, live) {
        if (!/^incremental feed$/i.test(headers['a-im'] ?? ''))
            return { error: 'a GET of documents without A-IM: Incremental Feed is no change feed' };
        const id = headers['x-ms-documentdb-partitionkeyrangeid'];
        const range = this.#ranges.find((one) => one.id === id);
        if (range === undefined)
            return this.#gone.has(id) ? { gone: true } : { error: `there is no partition key range ${id}` };
        const max = Number(headers['x-ms-max-item-count'] ?? 100);
        if (!Number.isInteger(max) || max === 0 || max < -1)
            return { error: 'x-ms-max-item-count is invalid' };

        const tag = headers['if-none-match'];
        const since = headers['if-modified-since'];
        let after = 0;
        if (tag === '*')
            after = range.lsn;
        else if (tag !== undefined && !/^"\d+"$/.test(tag))
            return { error: `${tag} is not an ETag of this feed` };
        else if (tag !== undefined)
            after = Number(tag.slice(1, -1));
        const from = since !== undefined ? Date.parse(since) / 1000 : -Infinity;
        if (Number.isNaN(from))
            return { error: `If-Modified-Since is no date: ${since}` };
        if (this.stuck)
            return { status: 304, etag: tag === undefined || tag === '*' ? `"${range.lsn}"` : tag, entries: [] };

        const waiting = [...this.#log.values()].filter(({ key, lsn, entry }) =>
            range.min <= key && key < range.max && lsn > after && entry.item._ts > from && live(entry));
        const limit = Math.min(max === -1 ? Infinity : max, this.pageItems);
        const entries = waiting.filter(({ lsn }, i) => i < limit || lsn === waiting[limit - 1].lsn);
        // The ETag of an answer without documents moves with the range, too: whoever drops it reads a long way later.
        return { status: entries.length > 0 ? 200 : 304, etag: `"${entries.at(-1)?.lsn ?? range.lsn}"`, entries };
    }
}
