// /metrics: alone on an address of its own, or for tokens with Ops.Read.

import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import { checkGeneral, METHODS, openapi } from '../support/contract.mjs';
import { parseAnswers, request, sendRaw } from '../support/http.mjs';
import { parseMetrics } from '../support/metrics.mjs';
import { assertProblem, run, startServer } from '../support/server.mjs';
import { localIssuer } from '../support/tokens.mjs';

const METRICS = { TELEMETRYD_METRICS_LISTEN: '127.0.0.1:0' };
const concrete = (template) => template.replace('{deviceId}', 'd1');

/** The address that the first log line names for the metrics. */
const metricsUrl = (server) => `http://${JSON.parse(server.firstLine).metricsAddress}`.replace('http://http://', 'http://');

async function scrape(server, asked = {}) {
    const response = await request(metricsUrl(server), { path: '/metrics', agent: new http.Agent(), ...asked });
    checkGeneral(response);
    return response;
}

for (const [mode, issuer] of [['without authentication', undefined], ['with tokens', localIssuer()]]) {
    describe(`an address for /metrics, ${mode}`, () => {
        let server;
        before(async () => {
            server = await startServer({ env: { ...METRICS, ...issuer?.env }, ready: true });
        });
        after(() => server?.stop());

        const operator = () => (issuer ? issuer.bearer({ sub: 'operator', roles: ['Ops.Read'] }) : {});

        it('is another one than the main address, and the log says which', () => {
            assert.notEqual(new URL(metricsUrl(server)).port, String(server.port));
        });

        it('serves /metrics to everybody', async () => {
            const response = await scrape(server);
            assert.equal(response.status, 200);
            assert.match(response.header('content-type'), /^text\/plain; version=0\.0\.4/);
            const metrics = parseMetrics(response.text);
            assert.ok(metrics.families.http_server_request_duration_seconds);
            assert.equal((await scrape(server, { headers: { authorization: 'Bearer nonsense' } })).status, 200);
            assert.equal((await scrape(server, { method: 'HEAD' })).status, 200);
            const options = await scrape(server, { method: 'OPTIONS' });
            assert.equal(options.status, 204);
            assert.match(options.header('allow'), /GET/);
            assertProblem(await scrape(server, { method: 'POST', body: 'x' }), 405, 'MethodNotAllowed');
            assertProblem(await scrape(server, { path: '/metrics?x=1' }), 400, 'UnknownParameter');
        });

        it('counts what the main address serves', async () => {
            const count = async () => parseMetrics((await scrape(server)).text).value('http_server_request_duration_seconds_count', { route: '/livez', status: '200' });
            const before = await count();
            for (let i = 0; i < 3; i++)
                await server.api('/livez');
            assert.equal(await count(), before + 3);
        });

        const others = [...Object.keys(openapi.paths).filter((template) => template !== '/metrics').map(concrete), '/', '/nope', '/metrics/', '/Metrics', '/devices/..%2fmetrics'];
        for (const path of others) {
            it(`answers 404 for ${path}`, async () => {
                for (const headers of [{}, operator()]) {
                    assertProblem(await scrape(server, { path, headers }), 404, 'NotFound');
                    assert.equal((await scrape(server, { path, headers, method: 'OPTIONS' })).status, 404);
                    assertProblem(await scrape(server, { path, headers: { ...headers, 'content-type': 'application/json' }, method: 'POST', body: '{"a":1}' }), 404, 'NotFound');
                }
            });
        }

        it('leaves 404 for /metrics on the main address', async () => {
            for (const method of METHODS.map((m) => m.toUpperCase()).filter((m) => m !== 'TRACE'))
                for (const headers of [{}, operator()])
                    assert.equal((await request(server.url, { method, path: '/metrics', headers })).status, 404, method);
            assertProblem(await server.api({ path: '/metrics', headers: operator() }), 404, 'NotFound');
        });

        it('keeps its rules over a connection that is used again', async () => {
            const both = `GET /metrics HTTP/1.1\r\nHost: x\r\n\r\nGET /devices HTTP/1.1\r\nHost: x\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`;
            const { received } = await sendRaw(metricsUrl(server), both);
            assert.deepEqual(parseAnswers(received).map((a) => a.status), [200, 404, 404]);
        });

        it('vets every byte there as well', async () => {
            const { received, closed } = await sendRaw(metricsUrl(server), 'GET /metrics HTTP/1.1\nHost: x\n\n');
            assert.equal(parseAnswers(received)[0].status, 400);
            assert.ok(closed);
        });

        it('stands many scrapes at once', async () => {
            const statuses = await Promise.all(Array.from({ length: 60 }, () => scrape(server).then((r) => r.status)));
            assert.ok(statuses.every((status) => status === 200), String(statuses));
        });
    });
}

describe('the address for /metrics', () => {
    it('may be of IPv6', async (t) => {
        const server = await startServer({ env: { TELEMETRYD_METRICS_LISTEN: '[::1]:0' }, ready: true });
        t.after(() => server.stop());
        assert.match(metricsUrl(server), /^http:\/\/\[::1\]:\d+/);
        assert.equal((await scrape(server)).status, 200);
    });

    it('counts scrapes against nobody', async (t) => {
        const server = await startServer({ env: { ...METRICS, TELEMETRYD_RATE_LIMIT: '3/m' }, ready: true });
        t.after(() => server.stop());
        for (let i = 0; i < 10; i++)
            assert.equal((await scrape(server)).status, 200);
        for (let i = 0; i < 3; i++)
            assert.equal((await server.api('/devices')).status, 200);
        assert.equal((await server.api('/devices')).status, 429);
        assert.equal((await scrape(server)).status, 200);
    });

    it('lets the program end while a connection to it is open', async (t) => {
        const server = await startServer({ env: METRICS, ready: true });
        t.after(() => server.stop());
        const agent = new http.Agent({ keepAlive: true });
        t.after(() => agent.destroy());
        assert.equal((await scrape(server, { agent })).status, 200);
        await server.stop();
    });

    it('that is taken is an error at start', async (t) => {
        const taken = net.createServer();
        taken.listen(0, '127.0.0.1');
        await once(taken, 'listening');
        t.after(() => taken.close());
        const { code, stderr } = await run(['--listen', '127.0.0.1:0'], { TELEMETRYD_DATA: ':memory:', TELEMETRYD_METRICS_LISTEN: `127.0.0.1:${taken.address().port}` });
        assert.equal(code, 1, stderr);
        assert.match(stderr, new RegExp(String(taken.address().port)));
    });
});

describe('/metrics on the main address', () => {
    const issuer = localIssuer();
    let server;
    before(async () => {
        server = await startServer({ env: issuer.env, ready: true });
    });
    after(() => server?.stop());

    // [what, claims (undefined: no token), status, code]
    const cases = [
        ['no token', undefined, 401, 'Unauthorized'],
        ['a token without permissions', {}, 403, 'Forbidden'],
        ['every other permission', { scp: 'Telemetry.Read Telemetry.Write Device.Read Device.Write' }, 403, 'Forbidden'],
        ['a permission that begins like it', { scp: 'Ops.ReadWrite', roles: ['Ops.Read.All'] }, 403, 'Forbidden'],
        ['other letters', { scp: 'ops.read' }, 403, 'Forbidden'],
        ['a token that has expired', { scp: 'Ops.Read', exp: 1_600_000_000 }, 401, 'Unauthorized'],
        ['Ops.Read as a scope', { scp: 'Ops.Read' }, 200],
        ['Ops.Read among scopes', { scp: 'Device.Read Ops.Read' }, 200],
        ['Ops.Read as a role', { roles: ['Ops.Read'] }, 200],
    ];
    for (const [what, claims, status, code] of cases) {
        it(`${what}: ${status}`, async () => {
            const response = await server.api({ path: '/metrics', headers: claims === undefined ? {} : issuer.bearer({ sub: 'operator', ...claims }) });
            if (status === 200)
                return assert.equal(response.status, 200, String(response));
            assertProblem(response, status, code);
            if (status === 403)
                assert.equal(response.header('www-authenticate'), 'Bearer error="insufficient_scope", scope="Ops.Read"');
        });
    }
});
