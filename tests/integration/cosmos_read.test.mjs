// Telemetry read from Cosmos DB: the queries sent, paging over whatever pages come, retries, and answers not to be trusted.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { startCosmos, wire } from '../fakes/cosmos.mjs';
import { assertProblem, startServer } from '../support/server.mjs';

const NOW = Math.floor(Date.now() / 1000);
const charge = (response) => Number(response.header('x-ms-request-charge'));

describe('telemetry from Cosmos DB', () => {
    let fake;
    let server;
    before(async () => {
        fake = await startCosmos();
        for (let i = 0; i < 20; i++) // ten seconds with two readings each
            fake.put('d1', { id: `r${i}`, data: { i }, ts: NOW - 100 + (i >> 1) });
        server = await startServer({ env: { ...fake.env, TELEMETRYD_LOG_LEVEL: 'debug' }, ready: true });
    });
    after(async () => {
        await server?.stop();
        await fake.stop();
    });

    let devices = 0;
    /** A device with `count` readings that no other test uses. */
    const fresh = (count = 3) => {
        const device = `t${++devices}`;
        for (let i = 0; i < count; i++)
            fake.put(device, { id: `${device}-${i}`, data: { i }, ts: NOW - 50 });
        return device;
    };
    const read = (device, query = '') => server.api(`/devices/${device}/telemetry${query}`);
    const asked = (device, op = 'query') => fake.requestsOf(op, device);

    describe('a query', () => {
        it('names the partition, carries values in parameters alone, and is signed', async () => {
            const device = "q'--c.id";
            fake.put(device, { data: { i: 1 }, ts: NOW - 1 });
            const response = await read(encodeURIComponent(device));
            assert.equal(response.json.count, 1);
            const [request] = asked(device);
            assert.equal(request.headers['content-type'], 'application/query+json');
            assert.equal(request.headers['x-ms-documentdb-isquery'], 'True');
            assert.deepEqual(JSON.parse(request.headers['x-ms-documentdb-partitionkey']), [device]);
            assert.equal(request.headers['x-ms-documentdb-query-parallelizecrosspartitionquery'], undefined);
            const { query, parameters } = JSON.parse(request.bodyText);
            assert.ok(!query.includes(device) && !query.includes('--'), query);
            assert.equal(parameters.find((p) => p.value === device)?.name, '@deviceId');
            assert.deepEqual(fake.violations, []);
        });

        it('excludes from and includes to', async () => {
            const numbers = async (from, to) => (await read('d1', `?from=${from}&to=${to}&order=asc`)).json.telemetry.map((r) => r.data.i);
            assert.deepEqual(await numbers(NOW - 100, NOW - 98), [2, 3, 4, 5]);
            assert.deepEqual(await numbers(NOW - 101, NOW - 100), [0, 1]);
        });

        it('costs what the upstream says', async () => {
            const response = await read('d1');
            assert.ok(Math.abs(charge(response) - (2.79 + 20 * 0.03)) < 0.01, response.header('x-ms-request-charge'));
        });
    });

    it('passes stored readings through byte for byte', async () => {
        const texts = ['{"n":1.10,"e":1E5,"z":-0,"big":123456789012345678901234567890,"s":"\\u0000\\ud800é\\/"}', '{}', '[1.50,2]', '"text"', 'null', '3.140'];
        texts.forEach((rawData, i) => fake.put('raw', { rawData, id: `raw${i}`, ts: NOW - 10 }));
        const page = await read('raw', '?order=asc');
        for (const text of texts)
            assert.ok(page.text.includes(`{"data":${text},"timestamp":${NOW - 10}}`), `${text} in ${page.text}`);
        assert.equal(page.json.count, texts.length);
        fake.put('rawlatest', { rawData: texts[0], ts: NOW - 9 });
        const latest = await server.api('/devices/rawlatest/telemetry/latest');
        assert.ok(latest.text.includes(`"data":${texts[0]}`), latest.text);
        assert.ok(charge(latest) > 0);
    });

    describe('paging', () => {
        const plans = {
            'full pages': undefined,
            'one at a time': () => 1,
            'two at a time': () => 2,
            'empty pages in between': (n) => [0, 1, 0, 0, 3, 0][n % 6],
            'many empty pages first': (n) => (n % 12 < 9 ? 0 : 4),
        };
        for (const [name, plan] of Object.entries(plans)) {
            for (const eager of [false, true]) {
                for (const limit of [1, 3, 7, 20, 21]) {
                    it(`yields every reading once with limit ${limit}: ${name}${eager ? ', with a continuation behind the last' : ''}`, async () => {
                        fake.pagePlan = plan;
                        fake.eagerContinuation = eager;
                        try {
                            for (const order of ['asc', 'desc']) {
                                const { readings, pages } = await server.readAll(`/devices/d1/telemetry?limit=${limit}&order=${order}`);
                                const expected = Array.from({ length: 20 }, (_, i) => i);
                                assert.deepEqual(readings.map((r) => r.data.i), order === 'asc' ? expected : expected.reverse());
                                assert.ok(pages.every((page) => page.count <= limit));
                                assert.ok(pages.at(-1).count > 0, 'no empty page: nextLink is there exactly when more remains');
                                assert.deepEqual(fake.violations, []);
                            }
                        } finally {
                            fake.pagePlan = undefined;
                            fake.eagerContinuation = false;
                        }
                    });
                }
            }
        }

        it('carries a long continuation token', async () => {
            fake.continuationPadding = 900;
            try {
                const { readings } = await server.readAll('/devices/d1/telemetry?limit=6');
                assert.equal(readings.length, 20);
            } finally {
                fake.continuationPadding = 0;
            }
        });

        it('refuses cursors that are not its own without asking the upstream', async () => {
            const next = (await read('d1', '?limit=6')).json.nextLink;
            const before = fake.requests.length;
            const cursor = new URL(next, 'http://x').searchParams.get('cursor');
            const bad = [
                next.replace('/d1/', '/d2/'), next.replace('limit=6', 'limit=7'), next.replace(cursor, `${cursor.slice(0, -2)}AA`),
                next.replace(cursor, cursor.slice(0, 10)), next.replace(cursor, 'AAAA'),
                next.replace(cursor, Buffer.from('{"token":"+RID:x#RT:1","range":{"min":"","max":"FF"}}').toString('base64url')),
            ];
            for (const path of bad)
                assertProblem(await server.api(path), 400, 'InvalidCursor', { target: 'cursor' });
            assert.equal(fake.requests.length, before);
        });
    });

    describe('latest', () => {
        it('is the newest reading that has data', async () => {
            fake.put('latest', { id: 'a', data: { i: 1 }, ts: NOW - 30 });
            fake.put('latest', { id: 'b', data: { i: 2 }, ts: NOW - 20 });
            fake.put('latest', { id: 'c', other: 1, ts: NOW - 10 });
            const response = await server.api('/devices/latest/telemetry/latest');
            assert.deepEqual(response.json, { deviceId: 'latest', data: { i: 2 }, timestamp: NOW - 20 });
        });

        it('finds it behind empty pages, and 404 where there is none', async () => {
            fake.pagePlan = (n) => (n % 4 === 3 ? 5 : 0);
            try {
                assert.equal((await server.api('/devices/d1/telemetry/latest')).json.data.i, 19);
            } finally {
                fake.pagePlan = undefined;
            }
            assertProblem(await server.api('/devices/nobody/telemetry/latest'), 404, 'DeviceNotFound');
        });
    });

    it('is 404 for an unknown device, 200 for one that the embedded registry knows', async () => {
        assertProblem(await read('nobody'), 404, 'DeviceNotFound', { detail: 'Device not found' });
        await server.api({ method: 'PATCH', path: '/devices/somebody/reported', headers: { 'content-type': 'application/json' }, body: '{"status":"online"}' });
        const response = await read('somebody');
        assert.deepEqual([response.status, response.json.count], [200, 0]);
    });

    it('leaves out documents without data', async () => {
        const device = fresh(2);
        fake.fault({
            op: 'query', device,
            change: (answer) => {
                answer.body = answer.body.replace('"Documents":[', '"Documents":[{"timestamp":5},').replace('"_count":2', '"_count":3');
            },
        });
        const page = (await read(device)).json;
        assert.deepEqual([page.count, page.telemetry.map((r) => r.data.i)], [2, [1, 0]]);
    });

    // [what, the fault, times it strikes, the answer, most requests upstream]
    const throttled = (ms) => ({ status: 429, headers: { 'x-ms-retry-after-ms': String(ms), 'x-ms-request-charge': '0.5' }, body: '{"code":"429","message":"Request rate is large"}' });
    const status = (code, substatus) => ({ status: code, headers: substatus === undefined ? {} : { 'x-ms-substatus': String(substatus) }, body: `{"code":"E","message":"${'secret query text'}"}` });
    const faults = [
        ['429 three times', throttled(10), 3, 200, 4],
        ['429 for ever', throttled(5), Infinity, [503, 'UpstreamThrottled'], 20],
        ['429 with a wait past the deadline', throttled(60_000), Infinity, [503, 'UpstreamThrottled'], 1],
        ['449 twice', status(449), 2, 200, 3],
        ['410/1002 once', status(410, 1002), 1, 200, 2],
        ['408 once', status(408), 1, 200, 2],
        ['503 once, with one region', status(503), 1, 200, 2],
        ['503 for ever, with one region', status(503), Infinity, [502, 'UpstreamUnavailable'], 2],
        ['500 for ever', status(500), Infinity, [502, 'UpstreamUnavailable'], 3],
        ['502 for ever', status(502), Infinity, [502, 'UpstreamUnavailable'], 3],
        ['401', status(401), Infinity, [502, 'UpstreamUnauthorized'], 1],
        ['404: no such container', status(404, 1003), Infinity, [502, 'UpstreamUnavailable'], 3],
        ['404 without a substatus', status(404), Infinity, [502, 'UpstreamUnavailable'], 3],
        ['400', status(400), Infinity, [502, undefined], 1],
        ['a reset, once', { wire: wire.reset }, 1, 200, 2],
        ['a reset, twice', { wire: wire.reset }, 2, 200, 3],
        ['resets for ever', { wire: wire.reset }, Infinity, [502, 'UpstreamUnavailable'], 3],
        ['closes for ever', { wire: wire.close }, Infinity, [502, 'UpstreamUnavailable'], 3],
        ['dies inside its headers, once', { wire: wire.diesInHeaders }, 1, 200, 2],
        ['dies inside its headers', { wire: wire.diesInHeaders }, Infinity, [502, 'UpstreamUnavailable'], 3],
        ['dies behind its headers', { wire: wire.diesAfterHeaders }, Infinity, [502, 'UpstreamUnavailable'], 3],
        ['a body shorter than said', { wire: wire.shortBody }, Infinity, [502, 'UpstreamUnavailable'], 3],
        ['a cut body with a fitting length', { wire: wire.cutBody }, Infinity, [502, 'UpstreamUnavailable'], 3],
        ['chunks without the last', { wire: wire.cutChunks }, Infinity, [502, 'UpstreamUnavailable'], 3],
        ['two Content-Lengths', { wire: wire.twoLengths }, Infinity, [502, 'UpstreamUnavailable'], 3],
        ['no framing', { wire: wire.untilClose }, Infinity, [502, 'UpstreamUnavailable'], 3],
        ['not HTTP', { wire: wire.garbage }, Infinity, [502, 'UpstreamUnavailable'], 3],
        ['a page of somebody else', { wire: wire.html }, Infinity, [502, 'UpstreamUnavailable'], 3],
        ['40 MB of white space', { wire: wire.huge(40 * 1024 * 1024) }, Infinity, [502, 'UpstreamUnavailable'], 3],
        ['a redirect', { status: 302, headers: { location: 'http://127.0.0.1:1/' } }, Infinity, [502, 'UpstreamUnavailable'], 3],
        ['204', { status: 204 }, Infinity, [502, 'UpstreamUnavailable'], 3],
        ['304', { status: 304 }, Infinity, [502, 'UpstreamUnavailable'], 3],
        ['a status nobody knows', { status: 299, body: '{}' }, Infinity, [502, 'UpstreamUnavailable'], 3],
    ];
    const document = '{"data":{"i":1},"timestamp":1795417200}';
    const bodies = {
        'nothing': '', 'null': 'null', 'an empty object': '{}', 'an array': `[${document}]`, 'no Documents': '{"_rid":"x","_count":0}',
        'no _count': `{"_rid":"x","Documents":[${document}]}`,
        '_count too small': `{"Documents":[${document},${document}],"_count":1}`,
        '_count too large': `{"Documents":[${document}],"_count":2}`,
        '_count as text': `{"Documents":[${document}],"_count":"1"}`,
        'Documents is an object': `{"Documents":${document},"_count":1}`,
        'Documents twice': `{"Documents":[],"Documents":[${document}],"_count":1}`,
        '_count twice': `{"Documents":[${document}],"_count":2,"_count":1}`,
        'a document that is a number': '{"Documents":[5],"_count":1}',
        'a document without a timestamp': '{"Documents":[{"data":{}}],"_count":1}',
        'a timestamp as text': '{"Documents":[{"data":{},"timestamp":"1"}],"_count":1}',
        'a fractional timestamp': '{"Documents":[{"data":{},"timestamp":1.5}],"_count":1}',
        'data twice': '{"Documents":[{"data":{},"data":{},"timestamp":1}],"_count":1}',
        'text behind the end': `{"Documents":[${document}],"_count":1}x`,
        'two answers': `{"Documents":[${document}],"_count":1}{"Documents":[${document}],"_count":1}`,
        'bytes that are not UTF-8': Buffer.concat([Buffer.from('{"Documents":[{"data":{"a":"'), Buffer.from([0xc3, 0x28]), Buffer.from('"},"timestamp":1}],"_count":1}')]),
        'a NUL': `{"Documents":[{"data":{"a":"\u0000"},"timestamp":1}],"_count":1}`,
        'a trailing comma': `{"Documents":[${document},],"_count":1}`,
        'NaN': '{"Documents":[{"data":{"a":NaN},"timestamp":1}],"_count":1}',
        'brackets that cross': `{"Documents":[{"data":{"a":[}],"timestamp":1}],"_count":1}`,
    };
    for (const [name, body] of Object.entries(bodies))
        faults.push([`a body that cannot be trusted: ${name}`, { wire: wire.body(body) }, Infinity, [502, 'UpstreamUnavailable'], 3]);

    describe('when the upstream errs', { concurrency: 4 }, () => {
        for (const [name, fault, times, expected, most] of faults) {
            it(`${name}: ${expected === 200 ? 'the whole answer' : `${expected[0]} ${expected[1] ?? ''}`}`, async () => {
                const device = fresh();
                fake.fault({ op: 'query', device, times, ...fault });
                const response = await read(device);
                if (expected === 200) {
                    assert.equal(response.status, 200, String(response));
                    assert.deepEqual(response.json.telemetry.map((r) => r.data.i), [2, 1, 0]);
                } else {
                    const [code, problem] = expected;
                    assert.equal(response.status, code, String(response));
                    if (problem)
                        assertProblem(response, code, problem);
                    if (code === 503)
                        assert.match(response.header('retry-after'), /^[1-9]\d*$/);
                    assert.ok(!response.text.includes('secret query text') && !response.text.includes('SELECT'), response.text);
                }
                assert.ok(asked(device).length <= most, `${asked(device).length} requests upstream`);
            });
        }

        it('says how long to wait when the wait asked for outlasts the deadline', async () => {
            const device = fresh();
            fake.fault({ op: 'query', device, times: Infinity, ...throttled(42_000) });
            const started = Date.now();
            const response = await read(device);
            assertProblem(response, 503, 'UpstreamThrottled');
            assert.equal(response.header('retry-after'), '42');
            assert.ok(Date.now() - started < 3000);
        });

        it('sums the charge of every attempt', async () => {
            const device = fresh();
            fake.fault({ op: 'query', device, times: 2, ...throttled(5) });
            const response = await read(device);
            assert.ok(Math.abs(charge(response) - (2.79 + 3 * 0.03 + 2 * 0.5)) < 0.01, `${charge(response)} RUs`);
        });

        it('never answers with a part when a later page fails', async () => {
            const device = fresh(9);
            fake.fault({ op: 'query', device, times: Infinity, status: 500, when: (r) => r.headers['x-ms-continuation'] !== undefined });
            fake.pagePlan = () => 3;
            try {
                assertProblem(await read(device), 502, 'UpstreamUnavailable');
            } finally {
                fake.pagePlan = undefined;
            }
        });
    });

    it('counts request units and retries in the metrics', async () => {
        const device = fresh();
        fake.fault({ op: 'query', device, times: 1, ...throttled(5) });
        await read(device);
        const { text } = await server.api('/metrics');
        assert.match(text, /^telemetryd_cosmos_request_units_total(\{[^}]*\})? [1-9]/m);
        assert.match(text, /^telemetryd_upstream_retries_total\{[^}]*\} [1-9]/m);
        assert.match(text, /^telemetryd_upstream_request_duration_seconds_count\{[^}]*upstream="cosmos"[^}]*\} [1-9]/m);
        assert.ok(!text.includes(device) && !text.includes(fake.key), 'neither devices nor keys');
    });

    it('honours the protocol in all of the above, and logs neither queries nor upstream bodies nor readings', () => {
        assert.deepEqual(fake.violations, []);
        for (const text of ['secret query text', 'SELECT', '_count', 'captive portal', '"data"'])
            assert.ok(!server.stderr.includes(text), `${text} in the log`);
    });
});
