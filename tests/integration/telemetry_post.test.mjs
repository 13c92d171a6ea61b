// POST telemetry over the embedded store: what is taken, what is refused and how, and that bytes come back as they went in.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { assertProblem, startServer } from '../support/server.mjs';

const json = { 'content-type': 'application/json' };
const nested = (depth) => '{"a":'.repeat(depth - 1) + '{}' + '}'.repeat(depth - 1);
const nestedArray = (depth) => `{"a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`;

describe('POST telemetry', () => {
    let server;
    let devices = 0;
    before(async () => {
        server = await startServer();
    });
    after(() => server?.stop());

    const send = (body, { device = `d${++devices}`, headers = json } = {}) =>
        server.api({ method: 'POST', path: `/devices/${device}/telemetry`, headers, body });

    it('stores one reading and an array, and says how many', async () => {
        assert.deepEqual((await server.post('one', { a: 1 })).json, { deviceId: 'one', stored: 1 });
        assert.deepEqual((await server.post('many', [{ a: 1 }, { a: 2 }])).json, { deviceId: 'many', stored: 2 });
        const most = Array.from({ length: 500 }, (_, n) => ({ n }));
        assert.deepEqual((await server.post('most', most)).json, { deviceId: 'most', stored: 500 });
        const { readings } = await server.readAll('/devices/most/telemetry?order=asc&limit=123');
        assert.deepEqual(readings.map((r) => r.data.n), most.map((r) => r.n));
    });

    // Each text must come back as it stands here: `data` is never parsed and dumped again.
    const texts = [
        ['numbers keep their form', '{"a":1.10,"b":1E5,"c":-0,"d":-0.0,"e":1e-7,"f":33.99,"g":100000000000000000000,"h":0.1e+1}'],
        ['numbers past every machine type', '{"a":1e400,"b":-1E-400,"c":123456789012345678901234567890.123456789012345678901234567890}'],
        ['members keep their order', '{"z":1,"a":2,"m":{"y":1,"b":2}}'],
        ['NUL and lone surrogates as escapes', '{"a":"\\u0000","\\u0000":"b","c":"\\ud800","d":"\\udfff\\ud800"}'],
        ['escapes stay escapes', '{"a":"\\/\\b\\f\\n\\r\\t\\"\\\\\\u00e9\\u20AC"}'],
        ['UTF-8 stays UTF-8', '{"é€😀":"\u{10ffff}\u2028\u2029\ufeff"}'],
        ['an empty object', '{}'],
        ['an empty name', '{"":0}'],
        ['names that mean something elsewhere', '{"__proto__":1,"id":"x","_ts":5,"data":{"data":1},"$ref":"#","ttl":-5}'],
        ['a prototype of every kind', '{"n":null,"t":true,"f":false,"s":"","o":{},"l":[],"i":0}'],
        ['names that differ only by case', '{"a":1,"A":2}'],
        ['one name at different depths', '{"a":{"a":{"a":1}}}'],
    ];
    for (const [name, text] of texts) {
        it(`gives back byte for byte: ${name}`, async () => {
            const device = `bytes${++devices}`;
            await server.post(device, text);
            await server.post(device, `[${text}]`);
            const page = await server.api(`/devices/${device}/telemetry`);
            assert.equal(page.text.split(`{"data":${text},"timestamp":`).length, 3, page.text);
            const latest = await server.api(`/devices/${device}/telemetry/latest`);
            assert.ok(latest.text.includes(`"data":${text},`), latest.text);
        });
    }

    it('takes white space around and within a reading', async () => {
        const device = `space${++devices}`;
        await server.post(device, ' \t\r\n{ "a" : [ 1 , 2.50 ] } \n');
        await server.post(device, ' [ { "b" : 1.0 } , { "c" : 2 } ] ');
        const { readings } = await server.readAll(`/devices/${device}/telemetry?order=asc`);
        assert.deepEqual(readings.map((r) => r.data), [{ a: [1, 2.5] }, { b: 1.0 }, { c: 2 }]);
    });

    const invalidJson = [
        ['nothing', '', 1, 1],
        ['white space', '  ', 1, 3],
        ['a value missing', '{"a":1,\n"b":}', 2, 5],
        ['text after the value', '{"a":1} x', 1, 9],
        ['two values', '{}{}', 1, 3],
        ['a trailing comma', '{"a":1,}', 1, 8],
        ['a trailing comma in an array', '[{},]', 1, 5],
        ['no comma', '[{} {}]', 1, 5],
        ['a name without quotes', '{a:1}', 1, 2],
        ['single quotes', "{'a':1}", 1, 2],
        ['a comment', '{}//', 1, 3],
        ['NaN', '{"a":NaN}', 1, 6],
        ['Infinity', '{"a":Infinity}', 1, 6],
        ['a plus sign', '{"a":+1}', 1, 6],
        ['a leading zero', '{"a":01}', undefined, undefined],
        ['a bare point', '{"a":1.}', undefined, undefined],
        ['a hex number', '{"a":0x1}', undefined, undefined],
        ['a control character in a string', '{"a":"\u0001"}', undefined, undefined],
        ['a line feed in a string', '{"a":"\n"}', undefined, undefined],
        ['an unknown escape', '{"a":"\\x"}', undefined, undefined],
        ['half an escape', '{"a":"\\u00"}', undefined, undefined],
        ['an unfinished string', '{"a":"', undefined, undefined],
        ['an unfinished object on the third line', '{\n"a":1\n', 3, 1],
        ['a byte order mark', '\ufeff{}', 1, 1],
        ['a NUL byte after it', '{}\u0000', 1, 3],
        ['bytes that are not UTF-8', Buffer.from([0x7b, 0x22, 0x61, 0x22, 0x3a, 0x22, 0xff, 0x22, 0x7d]), undefined, undefined],
        ['an overlong form', Buffer.from([0x7b, 0x22, 0xc0, 0xaf, 0x22, 0x3a, 0x31, 0x7d]), undefined, undefined],
        ['a surrogate in UTF-8', Buffer.from([0x7b, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x3a, 0x31, 0x7d]), undefined, undefined],
        ['UTF-16', Buffer.from('{}', 'utf16le'), undefined, undefined],
        ['a member twice', '{"a":1,"a":2}', 1, undefined],
        ['a member twice, one escaped', '{"a":1,"\\u0061":2}', 1, undefined],
        ['a member twice, deep inside', '[{"b":1},\n{"x":[{"y":{"c":1,"d":2,"c":1}}]}]', 2, undefined],
        ['an array that does not end', '[{"a":1}', undefined, undefined],
    ];
    for (const [name, body, line, column] of invalidJson) {
        it(`refuses with InvalidJson: ${name}`, async () => {
            const device = `bad${++devices}`;
            const response = await send(body, { device });
            assertProblem(response, 400, 'InvalidJson');
            const problem = response.json;
            assert.ok(problem.line >= 1 && problem.column >= 1, String(response));
            if (line !== undefined)
                assert.equal(problem.line, line, `line: ${response}`);
            if (column !== undefined)
                assert.equal(problem.column, column, `column: ${response}`);
            assert.equal((await server.api(`/devices/${device}/telemetry`)).status, 404, 'nothing was stored');
        });
    }

    const long = (digits) => `2026-11-23T07:00:00.${'1'.repeat(digits)}Z`;
    const invalidReading = [
        ['a number', '5', undefined],
        ['a string', '"x"', undefined],
        ['null', 'null', undefined],
        ['an empty array', '[]', undefined],
        ['501 readings', JSON.stringify(Array.from({ length: 501 }, () => ({}))), undefined],
        ['an array in an array', '[[]]', 0],
        ['a number among readings', '[{},{},5]', 2],
        ['null among readings', '[null]', 0],
        ['a timestamp that is a number', '{"timestamp":1795417200}', undefined],
        ['a timestamp that is null', '{"timestamp":null}', undefined],
        ['a timestamp without an offset', '{"timestamp":"2026-11-23T07:00:00"}', undefined],
        ['a timestamp that is a date', '{"timestamp":"2026-11-23"}', undefined],
        ['an empty timestamp', '{"timestamp":""}', undefined],
        ['a timestamp on the 30th of February', '[{"a":1},{"timestamp":"2026-02-30T00:00:00Z"}]', 1],
        ['a timestamp with something after it', '{"timestamp":"2026-11-23T07:00:00Z "}', undefined],
        ['a timestamp with a space for the T', '{"timestamp":"2026-11-23 07:00:00Z"}', undefined],
        ['a timestamp of 65 characters', `{"timestamp":"${long(44)}"}`, undefined],
        ['a timestamp with a NUL', '{"timestamp":"2026-11-23T07:00:00Z\\u0000"}', undefined],
        ['a timestamp whose name is escaped', '{"timest\\u0061mp":5}', undefined],
        ['33 levels', nested(33), undefined],
        ['33 levels of arrays', nestedArray(33), undefined],
        ['33 levels in an array of readings', `[{},${nested(33)}]`, 1],
    ];
    for (const [name, body, index] of invalidReading) {
        it(`refuses with InvalidReading: ${name}`, async () => {
            const device = `bad${++devices}`;
            assertProblem(await send(body, { device }), 400, 'InvalidReading', { index });
            assert.equal((await server.api(`/devices/${device}/telemetry`)).status, 404, 'nothing was stored, the good readings beside it neither');
        });
    }

    it('names the first reading at fault', async () => {
        assertProblem(await send('[{},{"timestamp":1},5]'), 400, 'InvalidReading', { index: 1 });
    });

    const taken = [
        ['32 levels', nested(32)],
        ['32 levels of arrays', nestedArray(32)],
        ['32 levels in an array of readings', `[${nested(32)}]`],
        ['a timestamp of 64 characters', `{"timestamp":"${long(43)}"}`],
        ['a timestamp with an offset', '{"timestamp":"2026-11-23T08:00:00.5+01:00"}'],
        ['a lower-case timestamp', '{"timestamp":"2026-11-23t07:00:00z"}'],
        ['a leap second', '{"timestamp":"2016-12-31T23:59:60Z"}'],
        ['a timestamp deeper down is no timestamp', '{"a":{"timestamp":5}}'],
    ];
    for (const [name, body] of taken) {
        it(`takes ${name}`, async () => {
            assert.equal((await send(body)).status, 201);
        });
    }

    it('survives nesting without end', async () => {
        for (const text of ['['.repeat(200_000), `{"a":${'['.repeat(500_000)}`, '{"a":'.repeat(150_000)])
            assert.equal((await send(text)).status, 400);
    });

    it('is not slowed down by names made to collide, nor by many names', async () => {
        const many = `{${Array.from({ length: 60_000 }, (_, i) => `"k${i}":0`).join(',')}}`;
        const started = Date.now();
        assert.equal((await send(many)).status, 201);
        assert.ok(Date.now() - started < 5000, `${Date.now() - started} ms`);
        assertProblem(await send(`${many.slice(0, -1)},"k7":1}`), 400, 'InvalidJson');
    });

    const mediaTypes = [
        ['application/json', 201], ['application/json; charset=utf-8', 201], ['Application/JSON', 201], ['application/json;charset="utf-8"', 201],
        [undefined, 415], ['', 415], ['text/plain', 415], ['application/xml', 415], ['application/jsonx', 415], ['application/x-www-form-urlencoded', 415],
        ['application/merge-patch+json', 415], ['text/json', 415], ['json', 415],
    ];
    for (const [type, status] of mediaTypes) {
        it(`answers ${status} for the content type ${JSON.stringify(type)}`, async () => {
            const response = await send('{"a":1}', { headers: type === undefined ? {} : { 'content-type': type } });
            assert.equal(response.status, status, String(response));
            if (status === 415)
                assertProblem(response, 415, 'UnsupportedMediaType');
        });
    }

    const filled = (size) => `{"a":"${'x'.repeat(size - 8)}"}`;
    it('takes 1 MiB and refuses a byte more, told in advance or not', async () => {
        assert.equal((await send(filled(1024 * 1024))).status, 201);
        assertProblem(await send(filled(1024 * 1024 + 1)), 413, 'PayloadTooLarge');
        const chunked = { ...json, 'transfer-encoding': 'chunked' };
        assert.equal((await send(filled(1024 * 1024), { headers: chunked })).status, 201);
        const device = `big${++devices}`;
        const response = await send(filled(1024 * 1024 + 1), { headers: chunked, device });
        assertProblem(response, 413, 'PayloadTooLarge');
        assert.equal((await server.api(`/devices/${device}/telemetry`)).status, 404);
    });

    it('replaces a reading of the same timestamp instead of doubling it', async () => {
        const at = '2026-11-23T07:00:00Z';
        await server.post('again', { timestamp: at, v: 1 });
        await server.post('again', { timestamp: at, v: 2 });
        assert.deepEqual((await server.readAll('/devices/again/telemetry')).readings.map((r) => r.data.v), [2]);
        const both = await server.post('again', [{ timestamp: at, v: 3 }, { v: 'x' }, { timestamp: at, v: 4 }]);
        assert.equal(both.json.stored, 3, 'stored counts both');
        const values = (await server.readAll('/devices/again/telemetry')).readings.map((r) => r.data.v);
        assert.deepEqual([...values].sort(), [4, 'x']);
        await server.post('again-elsewhere', { timestamp: at, v: 9 });
        assert.equal((await server.readAll('/devices/again/telemetry')).readings.length, 2, 'another device has ids of its own');
    });

    it('tells timestamps apart by their text', async () => {
        await server.post('text', [{ timestamp: '2026-11-23T07:00:00Z' }, { timestamp: '2026-11-23T07:00:00.0Z' }, { timestamp: '2026-11-23T08:00:00+01:00' }]);
        assert.equal((await server.readAll('/devices/text/telemetry')).readings.length, 3);
        await server.post('text', '{"timestamp":"2026-11-23T07:00:00\\u005a","v":1}');
        const { readings } = await server.readAll('/devices/text/telemetry');
        assert.equal(readings.length, 3, 'an escaped Z is a Z');
    });

    it('moves a replaced reading to the time of its last delivery', async () => {
        await server.post('moved', { timestamp: '2026-11-23T07:00:00Z', v: 'first' });
        await server.post('moved', { timestamp: '2026-11-23T07:00:01Z', v: 'second' });
        await server.post('moved', { timestamp: '2026-11-23T07:00:00Z', v: 'first again' });
        assert.equal((await server.api('/devices/moved/telemetry/latest')).json.data.v, 'first again');
        assert.deepEqual((await server.readAll('/devices/moved/telemetry?order=asc&limit=1')).readings.map((r) => r.data.v), ['second', 'first again']);
    });

    it('never confuses a reading without a timestamp with another one', async () => {
        await server.post('random', Array.from({ length: 300 }, () => ({ same: 1 })));
        await server.post('random', Array.from({ length: 300 }, () => ({ same: 1 })));
        assert.equal((await server.readAll('/devices/random/telemetry')).readings.length, 600);
    });

    it('takes no query parameter', async () => {
        const response = await server.api({ method: 'POST', path: '/devices/d/telemetry?limit=1', headers: json, body: '{}' });
        assertProblem(response, 400, 'UnknownParameter', { target: 'limit' });
    });

    it('lets readings expire by TELEMETRYD_TTL at once', async () => {
        const shortLived = await startServer({ env: { TELEMETRYD_TTL: '2s' } });
        try {
            await shortLived.post('brief', { a: 1 });
            assert.equal((await shortLived.api('/devices/brief/telemetry')).json.count, 1);
            await new Promise((resolve) => setTimeout(resolve, 3100));
            const gone = await shortLived.api('/devices/brief/telemetry');
            assert.equal(gone.status, 200, 'the registry still knows the device');
            assert.equal(gone.json.count, 0);
            assertProblem(await shortLived.api('/devices/brief/telemetry/latest'), 404, 'DeviceNotFound');
        } finally {
            await shortLived.stop();
        }
    });
});
