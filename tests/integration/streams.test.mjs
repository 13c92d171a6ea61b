// Streams of readings, as callers see them: what is refused, what is said and in which order, resuming, and how a stream ends. Over
// the embedded database; cosmos_streams.test.mjs has what is different with Cosmos DB.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseMetrics } from '../support/metrics.mjs';
import { SLOW, assertProblem, startServer, waitFor } from '../support/server.mjs';
import { openStream } from '../support/sse.mjs';
import { tempDirectory } from '../support/temp.mjs';
import { Authority } from '../support/tls.mjs';
import { localIssuer } from '../support/tokens.mjs';

const one = (device) => `/devices/${device}/telemetry/stream`;
const several = (...devices) => `/telemetry/stream?devices=${devices.join(',')}`;
const open = (server, path, headers = {}, more = {}) => openStream(new URL(path, server.url), { headers, ...more });
const resume = (server, path, id) => open(server, path, { 'last-event-id': id });
const values = (readings, device) => readings.filter((r) => device === undefined || r.deviceId === device).map((r) => r.data.v);
const upTo = (count, first = 1) => Array.from({ length: count }, (_, i) => first + i);
const metric = async (server, name) => parseMetrics((await server.api('/metrics')).text).value(name);

describe('streams', { concurrency: true }, () => {
    let server;
    before(async () => {
        server = await startServer({ env: { TELEMETRYD_WORKERS: '2' } });
        await server.post('d1', { v: 0 });
    });
    after(() => server.stop());

    describe('are refused', () => {
        const future = new Date(Date.now() + 3600_000).toISOString();
        const cases = [
            ['a device that nobody knows', one('nobody'), 404, 'DeviceNotFound'],
            ['what is no device id', one('a%2Fb'), 400, 'InvalidDeviceId', 'deviceId'],
            ['no devices', '/telemetry/stream', 400, 'InvalidParameter', 'devices'],
            ['an empty list of devices', '/telemetry/stream?devices=', 400, 'InvalidParameter', 'devices'],
            ['an empty device in the list', several('a', '', 'b'), 400, 'InvalidParameter', 'devices'],
            ['a list that ends in a comma', several('a', ''), 400, 'InvalidParameter', 'devices'],
            ['a list with what is no device id', several('a', 'b%2Fc'), 400, 'InvalidParameter', 'devices'],
            ['a list of 101', several(...upTo(101)), 400, 'InvalidParameter', 'devices'],
            ['two lists', `${several('a')}&devices=b`, 400, 'DuplicateParameter', 'devices'],
            ['a list beside the device of the path', `${one('d1')}?devices=a`, 400, 'UnknownParameter', 'devices'],
            ['a time that is none', `${one('d1')}?from=yesterday`, 400, 'InvalidParameter', 'from'],
            ['a time to come', `${one('d1')}?from=${future}`, 400, 'InvalidParameter', 'from'],
            ['and for several', `${several('d1')}&from=${future}`, 400, 'InvalidParameter', 'from'],
            ['an end', `${one('d1')}?to=now`, 400, 'UnknownParameter', 'to'],
        ];
        for (const [rule, path, status, code, target] of cases)
            it(rule, async () => assertProblem(await server.api(path), status, code, { target }));
        it('another method', async () => assertProblem(await server.api({ method: 'POST', path: one('d1') }), 405, 'MethodNotAllowed'));
    });

    it('begin with a head, and with the position of now', async () => {
        const stream = await open(server, one('d1'));
        const { status, headers } = stream.response;
        assert.equal(status, 200);
        assert.equal(headers['content-type'], 'text/event-stream; charset=utf-8');
        assert.equal(headers['cache-control'], 'no-store');
        assert.equal(headers['x-content-type-options'], 'nosniff');
        assert.equal(headers['transfer-encoding'], 'chunked');
        assert.match(headers['x-request-id'], /^[0-9a-f]{32}$/);
        assert.ok(Math.abs(Date.parse(headers.date) - Date.now()) < 5000, headers.date);
        const block = await stream.next();
        assert.deepEqual(Object.keys(block).sort(), ['id', 'retry']);
        assert.equal(block.retry, 2000);
        stream.close();
        await server.post('d1', { v: 1 });
        const again = await resume(server, one('d1'), block.id);
        assert.deepEqual(values(await again.readings(1)), [1]);
        again.close();
    });

    it('show a reading as it was stored', async () => {
        await server.post('shape', '{"v":0}');
        const stream = await open(server, one('shape'));
        await server.post('shape', '{ "v":1.50,\r\n "s":"\\u00e9",\n"é":"x" }');
        const block = await stream.next('reading');
        const { timestamp, ...rest } = JSON.parse(block.data);
        assert.deepEqual(rest, { deviceId: 'shape', data: { v: 1.5, s: 'é', é: 'x' } });
        assert.ok(Math.abs(timestamp - Date.now() / 1000) < 60);
        assert.match(block.data, /"v":1\.50/);
        stream.close();
    });

    it('show a reading at once, in order, each once', async () => {
        const stream = await open(server, several('at-once'));
        for (const v of upTo(50)) {
            const began = performance.now();
            await server.post('at-once', { v });
            assert.deepEqual(values(await stream.readings(1)), [v]);
            assert.ok(performance.now() - began < 500 * SLOW);
        }
        await server.post('at-once', upTo(500).map((v) => ({ v })));
        assert.deepEqual(values(await stream.readings(500)), upTo(500));
        assert.deepEqual(await stream.within(100), []);
        stream.close();
    });

    it('of several devices are silent about those that nobody knows, and take a device named twice as one', async () => {
        const stream = await open(server, several('s-b', 's-nobody', 's-a', 's-b'));
        await Promise.all(['s-a', 's-b', 's-c'].map((device) => server.post(device, upTo(10).map((v) => ({ v })))));
        const readings = await stream.readings(20);
        assert.deepEqual(values(readings, 's-a'), upTo(10));
        assert.deepEqual(values(readings, 's-b'), upTo(10));
        assert.deepEqual(await stream.within(100), []);
        stream.close();
    });

    it('begin after a time', async () => {
        await server.post('from', upTo(700).map((v) => ({ v })).slice(0, 500));
        await server.post('from', upTo(200, 501).map((v) => ({ v })));
        const stream = await open(server, `${one('from')}?from=now-1h`);
        await server.post('from', { v: 701 });
        assert.deepEqual(values(await stream.readings(701)), upTo(701));
        stream.close();
        const late = await open(server, `${one('from')}?from=now`);
        await server.post('from', { v: 702 });
        assert.ok(values(await late.readings(1))[0] >= 701); // of this second, `from` excluded
        late.close();
    });

    it('go on behind the id that a client comes back with, which wins over from', async () => {
        const stream = await open(server, several('back', 'back-2'));
        await server.post('back', upTo(20).map((v) => ({ v })));
        await server.post('back-2', upTo(5).map((v) => ({ v })));
        const readings = await stream.readings(25);
        stream.close();
        for (const cut of [1, 7, 20, 21, 24, 25]) {
            const again = await open(server, `${several('back', 'back-2')}&from=now-1h`, { 'last-event-id': readings[cut - 1].id });
            const rest = await again.readings(25 - cut);
            assert.deepEqual(rest.map(({ deviceId, data }) => [deviceId, data.v]), readings.slice(cut).map(({ deviceId, data }) => [deviceId, data.v]));
            assert.deepEqual(await again.within(50), []);
            again.close();
        }
    });

    for (const [what, id] of [['no position', 'x'], ['a position of somebody else', 'AXpJPdzSt4IGtaGU2AagOPD-jtgG'], ['a very long one', 'A'.repeat(5000)]]) {
        it(`resync whoever comes back with ${what}, once, and go on from now`, async () => {
            await server.post('expired', { v: 0 });
            const stream = await resume(server, one('expired'), id);
            const block = await stream.next('resync');
            assert.deepEqual(JSON.parse(block.data), { reason: 'expired' });
            assert.ok(block.id.length > 0);
            await server.post('expired', { v: what });
            const told = await stream.within(300 * SLOW);
            assert.deepEqual(told.map(({ event }) => event), told.map(() => 'reading'));
            assert.ok(told.some(({ data }) => JSON.parse(data).data.v === what));
            stream.close();
        });
    }

    it('an empty Last-Event-ID is none', async () => {
        const stream = await resume(server, one('d1'), '');
        await sleep(50);
        assert.deepEqual((await stream.within(50)).filter(({ event }) => event === 'resync'), []);
        stream.close();
    });

    it('answer HEAD with their head alone', async () => {
        const response = await server.api({ method: 'HEAD', path: one('d1') });
        assert.equal(response.status, 200);
        assert.equal(response.header('content-type'), 'text/event-stream; charset=utf-8');
        assert.equal((await server.api(one('nobody'))).status, 404);
    });

    it('follow other requests on a connection, whose end they are', async () => {
        const socket = net.connect(server.port, '127.0.0.1');
        let text = '';
        socket.setEncoding('utf8');
        socket.on('data', (chunk) => (text += chunk));
        const get = (path) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
        socket.write(get('/devices/d1/telemetry/latest'));
        await waitFor(() => /"timestamp":\d+\}/.test(text), 'the first answer');
        socket.write(get('/livez') + get(one('d1')) + get('/livez'));
        await waitFor(() => text.includes('retry: 2000'), 'the stream');
        await server.post('d1', { v: 'kept' });
        await waitFor(() => text.includes('"kept"'), 'the reading');
        assert.equal(text.split('HTTP/1.1 ').length, 4, 'no answer to what comes behind it');
        socket.destroy();
    });

    it('speak HTTP/1.0 without chunks', async () => {
        const socket = net.connect(server.port, '127.0.0.1');
        let text = '';
        socket.setEncoding('utf8');
        socket.on('data', (chunk) => (text += chunk));
        socket.write(`GET ${several('old')} HTTP/1.0\r\n\r\n`);
        await waitFor(() => text.includes('retry: 2000'), 'the stream');
        await server.post('old', { v: 1 });
        await waitFor(() => text.includes('"v":1'), 'the reading');
        assert.match(text, /\r\nConnection: close\r\n/i);
        assert.doesNotMatch(text, /Transfer-Encoding/i);
        const [, body] = text.split('\r\n\r\n');
        assert.match(body, /^retry: 2000\nid: \S+\n\nevent: reading\nid: \S+\ndata: \{"deviceId":"old","data":\{"v":1\},"timestamp":\d+\}\n\n$/);
        socket.destroy();
    });

    it('throw away what a listener says, but not for ever', async () => {
        const socket = net.connect(server.port, '127.0.0.1');
        socket.on('error', () => {});
        socket.write(`GET ${several('loud')} HTTP/1.1\r\nHost: x\r\n\r\n`);
        await once(socket, 'data');
        const ended = once(socket, 'close');
        socket.resume();
        const timer = setInterval(() => socket.write(Buffer.alloc(8192, 'x')), 2);
        await ended;
        clearInterval(timer);
    });
});

describe('a stream', { concurrency: true }, () => {
    it('has a heartbeat, whose position does not age', async (t) => {
        const server = await startServer({ env: { TELEMETRYD_STREAM_HEARTBEAT: '150ms' } });
        t.after(() => server.stop());
        const stream = await open(server, several('quiet'));
        await stream.next();
        const began = performance.now();
        for (let i = 0; i < 5; i++)
            assert.equal((await stream.next()).comment, 'heartbeat');
        const took = performance.now() - began;
        assert.ok(took > 5 * 100 && took < 5 * 600 * SLOW, `${took} ms`);
        stream.close();
    });

    it('that nobody listens to any more is given up', async (t) => {
        const server = await startServer();
        t.after(() => server.stop());
        const streams = await Promise.all(upTo(40).map((i) => open(server, several(`d${i}`))));
        assert.equal(await metric(server, 'telemetryd_streams'), 40);
        for (const stream of streams)
            stream.close();
        await waitFor(async () => await metric(server, 'telemetryd_streams') === 0, 'all are given up');
        await waitFor(() => server.log.filter(({ msg }) => msg === 'stream').length === 40, 'each in the log');
        const line = server.log.find(({ msg }) => msg === 'stream');
        assert.deepEqual(Object.keys(line), ['time', 'level', 'msg', 'requestId', 'end', 'durationMs', 'readings', 'bytes']);
        assert.equal(line.end, 'left');
    });

    it('ends at once when the server drains, with a word, and goes on elsewhere', async () => {
        const data = join(tempDirectory(), 'data.db');
        const server = await startServer({ data });
        await server.post('d1', { v: 1 });
        const streams = await Promise.all(upTo(20).map(() => open(server, one('d1'))));
        await server.post('d1', { v: 2 });
        const began = performance.now();
        const said = Promise.all(streams.map(async (stream) => {
            const blocks = [];
            for await (const block of stream)
                blocks.push(block);
            return blocks;
        }));
        await server.stop();
        assert.ok(performance.now() - began < 3000 * SLOW);
        for (const blocks of await said) {
            assert.equal(blocks.at(-1).comment, 'the server is stopping');
            assert.deepEqual(blocks.filter(({ event }) => event).map(({ data: text }) => JSON.parse(text).data.v), [2]);
        }
        const next = await startServer({ data });
        await next.post('d1', { v: 3 });
        const stream = await resume(next, one('d1'), streams[0].lastEventId);
        assert.deepEqual(values(await stream.readings(1)), [3]);
        stream.close();
        await next.stop();
    });

    it('whose reader is slow is resynced, once, and nothing grows', async (t) => {
        const server = await startServer({ env: { TELEMETRYD_STREAM_BUFFER: '64KiB', TELEMETRYD_WORKERS: '1' } });
        t.after(() => server.stop());
        const streams = await Promise.all(upTo(20).map(() => open(server, several('flood'))));
        const fast = await open(server, several('flood'));
        await Promise.all(streams.map((stream) => stream.next()));
        streams.forEach((stream) => stream.pause());
        const pad = 'x'.repeat(10_000);
        const flood = async (first, count) => {
            for (const v of upTo(count, first))
                await server.post('flood', { v, pad });
        };
        const read = fast.readings(1200, { timeout: 30_000 * SLOW });
        await flood(1, 800);
        const before = await metric(server, 'process_resident_memory_bytes');
        await flood(801, 400);
        const grown = await metric(server, 'process_resident_memory_bytes') - before;
        assert.ok(SLOW > 1 || grown < 24 * 1024 * 1024, `${grown} bytes`); // 20 listeners were offered 80 MB more, and 4 MB were stored
        assert.deepEqual(values(await read), upTo(1200), 'who reads is not held up');
        streams.forEach((stream) => stream.resume());
        for (const stream of streams) {
            const vs = [];
            for (let block; (block = await stream.next(undefined, { timeout: 10_000 * SLOW })).event !== 'resync';)
                vs.push(JSON.parse(block.data).data.v);
            assert.deepEqual(vs, upTo(vs.length), 'what it got until then is whole');
            assert.ok(vs.length < 1200);
        }
        await server.post('flood', { v: 'after' });
        for (const stream of streams)
            assert.deepEqual(values(await stream.readings(1)), ['after']);
        assert.equal(await metric(server, 'telemetryd_stream_resyncs_total'), 20);
        assert.ok(await metric(server, 'telemetryd_stream_readings_total') > 1200);
        for (const stream of [fast, ...streams])
            stream.close();
    });

    it('waits with the past for a reader that is slow, and loses nothing of it', async (t) => {
        const server = await startServer({ env: { TELEMETRYD_STREAM_BUFFER: '64KiB' } });
        t.after(() => server.stop());
        const pad = 'x'.repeat(2000);
        for (let first = 1; first < 2000; first += 250)
            await server.post('long', upTo(250, first).map((v) => ({ v, pad })));
        const stream = await open(server, `${several('long')}&from=now-1h`);
        stream.pause();
        await sleep(300);
        stream.resume();
        assert.deepEqual(values(await stream.readings(2000)), upTo(2000));
        stream.close();
    });

    it('may hold a reading that is larger than the buffer', async (t) => {
        const server = await startServer({ env: { TELEMETRYD_STREAM_BUFFER: '4KiB' } });
        t.after(() => server.stop());
        const stream = await open(server, several('large'));
        const text = 'y'.repeat(900_000);
        await server.post('large', { text });
        assert.equal((await stream.readings(1))[0].data.text, text);
        stream.close();
    });

    it('takes a place from nobody: nine tenths of the connections may listen', async (t) => {
        const server = await startServer({ env: { TELEMETRYD_MAX_CONNECTIONS: '20' } });
        t.after(() => server.stop());
        const streams = [];
        for (const i of upTo(18))
            streams.push(await open(server, several(`d${i}`)));
        const refused = await open(server, several('d19')).catch((error) => error);
        assert.equal(refused.status, 503);
        assert.equal(JSON.parse(refused.body).code, 'Overloaded');
        assert.equal(refused.headers['retry-after'], '1');
        assert.equal((await server.api('/livez')).status, 200);
        streams.pop().close();
        await waitFor(async () => {
            const stream = await open(server, several('d19')).catch(() => undefined);
            stream?.close();
            return stream !== undefined;
        }, 'a place is free again');
        streams.forEach((stream) => stream.close());
    });

    it('survives a shower of connections that come and go', async (t) => {
        const server = await startServer({ data: join(tempDirectory(), 'data.db') });
        t.after(() => server.stop());
        await server.post('d1', { v: 0 });
        const stays = await open(server, one('d1'));
        await Promise.all(upTo(50).map(async (n) => {
            for (let i = 0; i < 10; i++) {
                const stream = await open(server, i % 2 ? one('d1') : `${several('d1', `e${n}`)}&from=now-1h`);
                if (i % 3)
                    await stream.next();
                stream.close();
            }
        }));
        await server.post('d1', { v: 1 });
        assert.deepEqual(values(await stays.readings(1)), [1]);
        stays.close();
        await waitFor(async () => await metric(server, 'telemetryd_streams') === 0, 'all are given up');
    });
});

describe('a stream over TLS', () => {
    it('is the same, and ends with a close_notify', async (t) => {
        const authority = new Authority();
        const server = await startServer({ tls: authority.server() });
        t.after(() => server.stop());
        const { ca } = server.secure;
        const streams = await Promise.all(upTo(10).map(() => open(server, several('d1'), {}, { ca })));
        await server.post('d1', upTo(100).map((v) => ({ v, pad: 'x'.repeat(1000) })));
        for (const stream of streams)
            assert.deepEqual(values(await stream.readings(100)), upTo(100));
        const blocks = streams.map(async (stream) => {
            const all = [];
            for await (const block of stream)
                all.push(block);
            return all.at(-1).comment;
        });
        await server.stop();
        assert.deepEqual(await Promise.all(blocks), streams.map(() => 'the server is stopping'));
    });
});

describe('a token and its stream', { concurrency: true }, () => {
    const issuer = localIssuer();
    let server;
    before(async () => {
        server = await startServer({ env: { ...issuer.env, TELEMETRYD_JWT_DEVICES_CLAIM: 'devices' } });
        const writer = issuer.bearer({ scp: 'Telemetry.Write' });
        for (const device of ['mine', 'theirs'])
            await server.post(device, { v: 0 }, { headers: { 'content-type': 'application/json', ...writer } });
    });
    after(() => server.stop());
    const post = (device, v) => server.post(device, { v }, { headers: { 'content-type': 'application/json', ...issuer.bearer({ scp: 'Telemetry.Write' }) } });
    const reader = (claims = {}) => issuer.bearer({ scp: 'Telemetry.Read', ...claims });

    const refusals = [
        ['without a token', {}, several('mine'), 401, 'Unauthorized'],
        ['with one that may not read', issuer.bearer({ scp: 'Device.Read' }), several('mine'), 403, 'Forbidden'],
        ['of a device that the token does not cover', reader({ devices: ['mine'] }), one('theirs'), 404, 'DeviceNotFound'],
    ];
    for (const [rule, headers, path, status, code] of refusals)
        it(`is refused ${rule}`, async () => assertProblem(await server.api({ path, headers }), status, code));

    it('is silent about devices that it does not cover', async () => {
        const stream = await open(server, several('mine', 'theirs'), reader({ devices: ['mine'] }));
        const nobody = await open(server, several('theirs'), reader({ devices: ['mine'] }));
        await post('theirs', 1);
        await post('mine', 2);
        assert.deepEqual(values(await stream.readings(1)), [2]);
        assert.deepEqual(await stream.within(100), []);
        assert.deepEqual(await nobody.within(0), []);
        stream.close();
        nobody.close();
    });

    it('gives nothing of them to a position of somebody who may see them', async () => {
        const all = await open(server, several('mine', 'theirs'), reader());
        const { id } = await all.next();
        all.close();
        await post('theirs', 3);
        const stream = await open(server, several('mine', 'theirs'), { ...reader({ devices: ['mine'] }), 'last-event-id': id });
        assert.deepEqual(values((await stream.within(200)).map(({ data }) => JSON.parse(data)), 'theirs'), []);
        stream.close();
    });

    it('ends when the token does', async () => {
        const now = Math.floor(Date.now() / 1000);
        // A token is good for a minute more than it says, for clocks that differ.
        const stream = await open(server, several('mine'), reader({ exp: now - 60 + 3 }));
        const stays = await open(server, several('mine'), reader());
        const blocks = [];
        for await (const block of stream)
            blocks.push(block);
        assert.equal(blocks.at(-1).comment, 'the token has ended');
        assert.ok(Date.now() / 1000 - now < 6 * SLOW);
        await post('mine', 'later');
        assert.deepEqual(values((await stays.within(200)).map(({ data }) => JSON.parse(data))).at(-1), 'later');
        stays.close();
    });
});

describe('a page of another origin', () => {
    it('may listen where its origin is listed', async (t) => {
        const server = await startServer({ env: { TELEMETRYD_CORS_ORIGINS: 'https://app.example' } });
        t.after(() => server.stop());
        const stream = await open(server, several('d1'), { origin: 'https://app.example' });
        assert.equal(stream.response.headers['access-control-allow-origin'], 'https://app.example');
        stream.close();
        const preflight = await server.api({ method: 'OPTIONS', path: several('d1'), headers: {
            origin: 'https://app.example', 'access-control-request-method': 'GET', 'access-control-request-headers': 'authorization,last-event-id' } });
        assert.match(preflight.header('access-control-allow-headers').toLowerCase(), /last-event-id/);
    });
});
