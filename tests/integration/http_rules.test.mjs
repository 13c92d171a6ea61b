// What holds for every route: unknown paths, methods, HEAD, OPTIONS, request ids, probes, metrics, the contract's own routes.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { parse } from 'yaml';
import { METHODS, openapi, openapiText } from '../support/contract.mjs';
import { sendRaw, parseAnswers } from '../support/http.mjs';
import { parseMetrics } from '../support/metrics.mjs';
import { assertProblem, startServer } from '../support/server.mjs';

const json = { 'content-type': 'application/json' };

describe('every route', () => {
    let server;
    before(async () => {
        server = await startServer({ ready: true });
        await server.post('d1', [{ a: 1 }, { a: 2 }]);
    });
    after(() => server?.stop());

    const unknown = ['/nope', '/devices/', '/devices/d1', '/devices/d1/', '/devices/d1/nope', '/devices/d1/telemetry/', '/devices/d1/telemetry/first',
        '/devices/d1/telemetry/latest/', '/Devices', '/DEVICES', '/devicesx', '/livez/', '/livezz', '//livez', '/readyz/x', '/metrics/', '/openapi', '/openapi.json/',
        '/devices/d1/status/x', '/a/b/c/d/e/f/g', '/devices//', '/favicon.ico', '/%6Civez%2f', '/devices/a%2Fb/nope'];
    for (const path of unknown) {
        it(`answers 404 NotFound for ${path}`, async () => {
            assertProblem(await server.api(path), 404, 'NotFound', { title: 'Not Found' });
            assertProblem(await server.api({ method: 'POST', path, headers: json, body: '{}' }), 404, 'NotFound');
            assert.equal((await server.api({ method: 'OPTIONS', path })).status, 404);
        });
    }

    const concrete = (template) => template.replace('{deviceId}', 'd1');
    for (const [template, item] of Object.entries(openapi.paths)) {
        const methods = METHODS.filter((method) => item[method]).map((method) => method.toUpperCase());
        const allowed = [...new Set([...methods, ...(methods.includes('GET') ? ['HEAD'] : []), 'OPTIONS'])].sort();
        const allow = (response) => response.header('allow')?.split(/\s*,\s*/).sort();

        it(`${template}: OPTIONS is 204 with Allow`, async () => {
            const response = await server.api({ method: 'OPTIONS', path: concrete(template) });
            assert.equal(response.status, 204);
            assert.equal(response.body.length, 0);
            assert.deepEqual(allow(response), allowed);
        });

        it(`${template}: other methods are 405 with Allow`, async () => {
            for (const method of ['GET', 'PUT', 'POST', 'PATCH', 'DELETE', 'PROPFIND'].filter((m) => !allowed.includes(m))) {
                const response = await server.api({ method, path: concrete(template), headers: json, body: method === 'GET' || method === 'DELETE' ? undefined : '{}' });
                assertProblem(response, 405, 'MethodNotAllowed');
                assert.deepEqual(allow(response), allowed, method);
            }
        });

        const endless = 'text/event-stream' in (item.get?.responses[200].content ?? {}); // streams.test.mjs has its HEAD
        if (item.get && !endless) {
            it(`${template}: HEAD answers as GET without a body`, async () => {
                const get = await server.api(concrete(template));
                const head = await server.api({ method: 'HEAD', path: concrete(template) });
                assert.equal(head.status, get.status);
                assert.equal(head.body.length, 0);
                for (const name of ['content-type', 'cache-control', 'link'])
                    assert.equal(head.header(name), get.header(name), name);
                if (template !== '/metrics' && head.header('content-length') !== undefined)
                    assert.equal(head.header('content-length'), get.header('content-length'));
            });
        }

        const verb = (methods.includes('GET') ? 'GET' : methods[0]);
        it(`${template}: an unknown parameter is 400, a known one given twice too`, async () => {
            const ask = (query) => server.api({ method: verb, path: concrete(template) + query, headers: json, body: verb === 'GET' ? undefined : '{}' });
            assertProblem(await ask('?colour=red'), 400, 'UnknownParameter', { target: 'colour' });
            assertProblem(await ask('?api-version=2021-04-12'), 400, 'UnknownParameter', { target: 'api-version' });
            const names = (item[verb.toLowerCase()].parameters ?? []).map((p) => p.$ref.split('/').at(-1));
            if (names.includes('cursor'))
                assertProblem(await ask('?limit=5&limit=5'), 400, 'DuplicateParameter', { target: 'limit' });
        });
    }

    it('HEAD of what is not there is the same problem without its body', async () => {
        const response = await server.api({ method: 'HEAD', path: '/devices/nobody/status' });
        assert.equal(response.status, 404);
        assert.equal(response.header('content-type'), 'application/problem+json');
        assert.equal(response.body.length, 0);
    });

    const ids = [
        ['abc', true], ['A-Z.a_9', true], ['x'.repeat(128), true], ['0', true],
        ['x'.repeat(129), false], ['a b', false], ['a/b', false], ['', false], ['{"a":1}', false], ['a,b', false], ['a\tb', false], ['é', false], ['${jndi:x}', false],
    ];
    for (const [id, kept] of ids) {
        it(`${kept ? 'gives back' : 'replaces'} the request id ${JSON.stringify(id.slice(0, 20))}`, async () => {
            for (const path of ['/livez', '/nope', '/devices/d1/telemetry?limit=x']) {
                const response = await server.api({ path, headers: { 'x-request-id': Buffer.from(id).toString('latin1') } });
                const got = response.header('x-request-id');
                if (kept)
                    assert.equal(got, id);
                else
                    assert.notEqual(got, id);
            }
        });
    }

    it('makes request ids that do not repeat', async () => {
        const seen = new Set();
        for (let i = 0; i < 200; i++)
            seen.add((await server.api('/livez')).header('x-request-id'));
        assert.equal(seen.size, 200);
    });

    it('puts the request id into the log', async () => {
        await server.api({ path: '/devices/d1/telemetry', headers: { 'x-request-id': 'find-me-in-the-log' } });
        await new Promise((resolve) => setTimeout(resolve, 200));
        assert.ok(server.stderr.includes('find-me-in-the-log'));
    });

    it('keeps a connection open, and answers pipelined requests in order', async () => {
        const one = (path, more = '') => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`;
        const { received, closed } = await sendRaw(server.url, one('/livez') + one('/nope') + one('/devices/d1/telemetry/latest') + one('/livez', 'Connection: close\r\n'));
        assert.ok(closed);
        assert.deepEqual(parseAnswers(received).map((answer) => answer.status), [200, 404, 200, 200]);
    });

    it('/livez says ok', async () => {
        const response = await server.api('/livez');
        assert.equal(response.status, 200);
        assert.equal(response.text, 'ok');
        assert.match(response.header('content-type'), /^text\/plain/);
    });

    it('/readyz says ok for both sides, with their modes', async () => {
        assert.deepEqual((await server.api('/readyz')).json, {
            status: 'ok', checks: { telemetry: { status: 'ok', mode: 'embedded' }, registry: { status: 'ok', mode: 'embedded' } },
        });
    });

    it('/openapi.yaml and /openapi.json are the contract of this build', async () => {
        const yaml = await server.api('/openapi.yaml');
        assert.equal(yaml.text, openapiText);
        assert.deepEqual((await server.api('/openapi.json')).json, openapi);
        assert.deepEqual(parse(yaml.text), openapi);
    });

    describe('/metrics', () => {
        let metrics;
        before(async () => {
            await server.api('/devices/secret-device/telemetry');
            await server.api('/devices/d1/telemetry?limit=x');
            await server.api({ method: 'PROPFIND', path: '/livez' });
            await server.post('d1', { marker: 'reading-in-metrics' });
            const response = await server.api('/metrics');
            assert.match(response.header('content-type'), /^text\/plain; version=0\.0\.4/);
            metrics = parseMetrics(response.text);
        });

        const families = [
            ['http_server_request_duration_seconds', 'histogram'], ['http_server_active_requests', 'gauge'],
            ['telemetryd_upstream_request_duration_seconds', 'histogram'], ['telemetryd_upstream_retries_total', 'counter'],
            ['telemetryd_cosmos_request_units_total', 'counter'], ['process_cpu_seconds_total', 'counter'],
            ['process_resident_memory_bytes', 'gauge'], ['process_open_fds', 'gauge'], ['process_start_time_seconds', 'gauge'],
        ];
        for (const [name, type] of families) {
            it(`has ${name}, a ${type}`, () => {
                assert.equal(metrics.families[name]?.type, type);
            });
        }

        it('counts requests by method, route template and status', () => {
            const count = (labels) => metrics.value('http_server_request_duration_seconds_count', labels);
            assert.ok(count({ method: 'GET', route: '/devices/{deviceId}/telemetry', status: '404' }) >= 1);
            assert.ok(count({ method: 'GET', route: '/devices/{deviceId}/telemetry', status: '400' }) >= 1);
            assert.ok(count({ method: 'POST', route: '/devices/{deviceId}/telemetry', status: '201' }) >= 2);
            assert.ok(count({ method: '_OTHER', route: '/livez', status: '405' }) >= 1);
        });

        it('names no device and no reading, and bounds its labels', () => {
            for (const text of ['secret-device', 'reading-in-metrics', 'd1"', 'PROPFIND', 'nope'])
                assert.ok(!metrics.text.includes(text), text);
        });

        it('counts no request as active but its own', () => {
            assert.ok(metrics.value('http_server_active_requests') <= 1, String(metrics.value('http_server_active_requests')));
        });

        it('knows the process', () => {
            assert.ok(metrics.value('process_resident_memory_bytes', {}) > 1e6);
            assert.ok(metrics.value('process_open_fds', {}) > 5);
            assert.ok(Math.abs(metrics.value('process_start_time_seconds', {}) - Date.now() / 1000) < 600);
        });
    });
});
