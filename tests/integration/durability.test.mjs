// kill -9 under load: whatever was acknowledged is there after the restart, and the database is sound.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import http from 'node:http';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { request } from '../support/http.mjs';
import { startServer } from '../support/server.mjs';
import { tempDirectory } from '../support/temp.mjs';

const ROUNDS = 12;
const WRITERS = 8;

describe('durability', () => {
    it(`keeps every acknowledged reading over ${ROUNDS} kills under load`, async () => {
        const data = join(tempDirectory(), 'storm.db');
        const acknowledged = new Map(); // device -> Set of numbers
        const sent = new Map();
        const mark = (map, device, numbers) => {
            if (!map.has(device))
                map.set(device, new Set());
            numbers.forEach((n) => map.get(device).add(n));
        };
        let next = 0;
        let total = 0;

        for (let round = 0; round < ROUNDS; round++) {
            const server = await startServer({ data });
            const agent = new http.Agent({ keepAlive: true, maxSockets: WRITERS });
            const writers = Array.from({ length: WRITERS }, async (_, w) => {
                for (;;) {
                    const device = `w${w}`;
                    const numbers = Array.from({ length: w % 2 === 0 ? 1 : 7 }, () => next++);
                    mark(sent, device, numbers);
                    const readings = numbers.map((n) => ({ n }));
                    const response = await request(server.url, {
                        method: 'POST', path: `/devices/${device}/telemetry`, headers: { 'content-type': 'application/json' },
                        body: JSON.stringify(numbers.length === 1 ? readings[0] : readings), agent,
                    }).catch(() => undefined);
                    if (response === undefined)
                        return;
                    assert.equal(response.status, 201, String(response));
                    mark(acknowledged, device, numbers);
                    total += numbers.length;
                }
            });
            await sleep(40 + Math.random() * 160);
            await server.killHard();
            await Promise.all(writers);
            agent.destroy();
            // The kernel drops the lock with the process; the database is checked as it was left, write-ahead log included.
            assert.equal(execFileSync('sqlite3', [data, 'PRAGMA integrity_check;']).toString().trim(), 'ok', `round ${round}`);
        }

        const server = await startServer({ data });
        try {
            for (const [device, numbers] of acknowledged) {
                const { readings } = await server.readAll(`/devices/${device}/telemetry?limit=997&order=asc&hours=48`);
                const stored = readings.map((r) => r.data.n);
                const there = new Set(stored);
                const missing = [...numbers].filter((n) => !there.has(n));
                assert.deepEqual(missing, [], `${device} lost acknowledged readings`);
                assert.equal(there.size, stored.length, 'none is there twice');
                assert.ok(stored.every((n) => sent.get(device).has(n)), 'none appears that was not sent');
                if (Number(device.slice(1)) % 2 === 1)
                    assert.equal(stored.length % 7, 0, 'an array is stored whole or not at all');
            }
            assert.ok(total > ROUNDS, `${total} readings were acknowledged`);
        } finally {
            await server.stop();
        }
        assert.equal(execFileSync('sqlite3', [data, 'PRAGMA integrity_check;']).toString().trim(), 'ok');
    });
});
