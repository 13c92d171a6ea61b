// The way to Azure with Entra tokens: Cosmos DB and IoT Hub fakes that take nothing else, and each source of tokens.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, it } from 'node:test';
import { startCosmos } from '../fakes/cosmos.mjs';
import { errorBody, faults, startEntra, wire } from '../fakes/entra.mjs';
import { startIotHub } from '../fakes/iothub.mjs';
import { parseMetrics } from '../support/metrics.mjs';
import { SLOW, assertProblem, startServer, waitFor } from '../support/server.mjs';
import { tempDirectory } from '../support/temp.mjs';
import { makeTls } from '../support/tls.mjs';

const HUB = 'https://iothubs.azure.net';
const ANY_ACCOUNT = 'https://cosmos.azure.com';
const SOURCES = ['secret', 'workload', 'appservice', 'imds'];

/** Everything that must not show up in a log. */
const secretsOf = (entra) => [entra.clientSecret, encodeURIComponent(entra.clientSecret), entra.identityHeader, entra.assertion, ...entra.tokens];

/** The three fakes and a server on them. prepare(fakes): before the server starts. */
async function boot(t, { source = 'secret', env = {}, prepare, tls, secretsAsked = true } = {}) {
    const tokenFile = join(tempDirectory(), 'token');
    const entra = await startEntra({ tls });
    const cosmos = await startCosmos({ entra, tls });
    const hub = await startIotHub({ entra, tls });
    const fakes = { entra, cosmos, hub, tokenFile };
    writeFileSync(tokenFile, `\n ${entra.assertion} \r\n`);
    hub.put('d1', { reported: { status: 'online' } });
    cosmos.put('d1', { data: { v: 1 } });
    await prepare?.(fakes);
    const server = await startServer({ env: { ...entra.env(source, { tokenFile }), ...cosmos.entraEnv, ...hub.entraEnv, ...env } });
    t.after(async () => {
        await server.stop();
        await Promise.all([entra, cosmos, hub].map((fake) => fake.stop()));
        if (secretsAsked) {
            for (const secret of secretsOf(entra))
                assert.ok(!server.stderr.includes(secret), 'a secret stands in the log');
            assert.doesNotMatch(server.stderr, /Trace ID|Correlation/, 'the authority\'s text stands in the log');
        }
    });
    return {
        ...fakes, server,
        telemetry: () => server.api('/devices/d1/telemetry'),
        status: () => server.api('/devices/d1/status'),
        ready: async () => (await server.api('/readyz')).status === 200,
        violations: () => [...entra.violations, ...cosmos.violations, ...hub.violations],
    };
}

const ok = (response) => assert.equal(response.status, 200, String(response));

describe('Entra credentials', { concurrency: 6 }, () => {
    for (const source of SOURCES) {
        it(`of each source reach both services, and are asked for once: ${source}`, async (t) => {
            const { entra, cosmos, hub, server, telemetry, status, violations } = await boot(t, { source });
            ok(await server.api('/readyz'));
            for (let i = 0; i < 5; i++) {
                ok(await telemetry());
                ok(await status());
            }
            ok(await server.api('/devices'));
            ok(await server.api('/devices/d1/telemetry/latest'));
            await server.post('d1', [{ data: { v: 2 } }]);
            assert.deepEqual(violations(), []);
            assert.equal(entra.fetches(HUB).length, 1);
            assert.equal(entra.fetches(cosmos.url()).length, 1);
            assert.equal(entra.fetches().length, 2);
            assert.ok(cosmos.requests.every((r) => r.headers.authorization.startsWith('type=aad&ver=1.0&sig=ey') && r.headers['x-ms-date'] && r.headers['x-ms-version']));
            assert.ok(hub.requests.every((r) => r.headers.authorization.startsWith('Bearer ey')));
            const [request] = entra.fetches();
            assert.equal(request.kind, { secret: 'secret', workload: 'assertion' }[source]);
            assert.match(server.firstLine, /"telemetry":"cosmos","registry":"iothub"/);
            const metrics = parseMetrics((await server.api('/metrics')).text);
            assert.equal(metrics.value('telemetryd_upstream_request_duration_seconds_count', { upstream: 'entra', operation: 'token', status: '200' }), 2);
        });
    }

    it('are escaped in the form byte by byte', async (t) => {
        const { entra, telemetry } = await boot(t);
        ok(await telemetry());
        const [{ bodyText }] = entra.fetches();
        assert.match(bodyText, /^[A-Za-z0-9._~%&=-]+$/);
        assert.ok(bodyText.includes(`client_secret=${encodeURIComponent(entra.clientSecret)}`));
    });

    it('may come from a file', async (t) => {
        const secretFile = join(tempDirectory(), 'secret');
        const { telemetry } = await boot(t, {
            prepare: ({ entra }) => writeFileSync(secretFile, `${entra.clientSecret}\n`), env: { AZURE_CLIENT_SECRET: undefined, AZURE_CLIENT_SECRET_FILE: secretFile },
        });
        ok(await telemetry());
    });

    it('reach an authority and services over TLS, with AZURE_CA_FILE', async (t) => {
        const tls = makeTls();
        const { telemetry, status } = await boot(t, { tls, env: { AZURE_CA_FILE: tls.caFile } });
        ok(await telemetry());
        ok(await status());
    });

    it('are of the managed identity that AZURE_CLIENT_ID names, also where there is a tenant without a secret', async (t) => {
        for (const source of ['appservice', 'imds']) {
            let id;
            const { entra, telemetry } = await boot(t, {
                source, env: { AZURE_TENANT_ID: 'contoso.onmicrosoft.com', AZURE_CLIENT_ID: '6f2c1d6e-0000-4000-8000-1234567890ab' },
                prepare: ({ entra: e }) => (e.clientId = id = '6f2c1d6e-0000-4000-8000-1234567890ab'),
            });
            ok(await telemetry());
            assert.ok(entra.fetches().every((r) => r.op === source && r.url.searchParams.get('client_id') === id));
        }
    });

    it('take a file\'s new assertion with the next fetch', async (t) => {
        const { entra, tokenFile, telemetry } = await boot(t, { source: 'workload', prepare: ({ entra: e }) => (e.lifetime = 4) });
        ok(await telemetry());
        const before = entra.fetches().length;
        entra.assertion = 'eyJh.bmV3.YXNzZXJ0aW9u';
        writeFileSync(tokenFile, entra.assertion);
        await waitFor(() => entra.fetches().slice(before).some((r) => r.form.get('client_assertion') === entra.assertion), 'the new assertion is sent');
        ok(await telemetry());
        assert.deepEqual(entra.violations, []);
    });

    describe('of an account that the directory does not know', { concurrency: 3 }, () => {
        for (const source of SOURCES) {
            it(`are those for all accounts, and the detour is made once: ${source}`, async (t) => {
                const { entra, cosmos, telemetry, violations } = await boot(t, {
                    source, prepare: (fakes) => {
                        fakes.entra.unknownResources.add(fakes.cosmos.url());
                        fakes.entra.lifetime = 4;
                    },
                });
                ok(await telemetry());
                assert.equal(entra.fetches(cosmos.url()).length, 1);
                await waitFor(() => entra.fetches(ANY_ACCOUNT).length >= 2, 'the token is renewed');
                ok(await telemetry());
                assert.equal(entra.fetches(cosmos.url()).length, 1);
                assert.deepEqual(violations(), []);
            });
        }
        it('are refused where the directory knows neither', async (t) => {
            const { entra, telemetry } = await boot(t, {
                prepare: (fakes) => [fakes.cosmos.url(), ANY_ACCOUNT].forEach((name) => fakes.entra.unknownResources.add(name)),
            });
            assertProblem(await telemetry(), 502, 'UpstreamUnauthorized');
            entra.unknownResources.clear();
            await waitFor(async () => (await telemetry()).status === 200, 'recovery', 10_000 * SLOW);
        });
    });

    const forms = [
        ['expires_in as a string', { expiresIn: 'string' }],
        ['expires_on alone, a number', { expiresIn: 'none', expiresOn: 'number' }],
        ['expires_on alone, a string', { expiresIn: 'none', expiresOn: 'string' }],
        ['expires_on alone, ISO 8601', { expiresIn: 'none', expiresOn: 'iso' }],
        ['a lower-case token type', { tokenType: 'bearer' }],
        ['tokens of 4 kB', { tokenSize: 4096 }],
        ['tokens of 15 kB', { tokenSize: 15_000 }],
    ];
    for (const [name, form] of forms) {
        it(`come in every form that is in use: ${name}`, async (t) => {
            const { entra, telemetry, status, violations } = await boot(t, { source: 'imds', prepare: ({ entra: e }) => Object.assign(e, form) });
            ok(await telemetry());
            ok(await status());
            assert.equal(entra.fetches().length, 2);
            assert.deepEqual(violations(), []);
        });
    }

    const unfit = [
        ['a line break', (token) => `${token}\r\nX-Injected: 1`], ['a blank', (token) => `${token} x`], ['nothing', () => ''],
        ['17 kB', (token) => token + 'x'.repeat(17_000)], ['another type', (token) => token, { token_type: 'pop' }],
        ['no lifetime', (token) => token, { expires_in: undefined }], ['a lifetime that is over', (token) => token, { expires_in: -5 }],
    ];
    for (const [name, change, more = {}] of unfit) {
        it(`are not used when they are not fit to be: ${name}`, async (t) => {
            const { cosmos, hub, telemetry, status } = await boot(t, {
                prepare: ({ entra: e }) => e.fault({
                    op: 'entra', times: Infinity, change: (answer) => {
                        const said = JSON.parse(answer.body);
                        answer.body = JSON.stringify({ ...said, access_token: change(said.access_token), ...more });
                    },
                }),
            });
            assertProblem(await telemetry(), 502, 'UpstreamUnavailable');
            assertProblem(await status(), 502, 'UpstreamUnavailable');
            assert.equal(cosmos.requests.length + hub.requests.length, 0, 'nothing goes out without a token');
        });
    }

    it('are fetched once, however many wait', async (t) => {
        const { entra, telemetry, status } = await boot(t, {
            prepare: ({ entra: e }) => e.fault({ op: 'entra', times: Infinity, delay: 700, change: () => {} }),
        });
        const answers = await Promise.all(Array.from({ length: 80 }, (_, i) => (i % 2 ? telemetry() : status())));
        answers.forEach(ok);
        assert.equal(entra.fetches().length, 2);
    });

    it('are renewed ahead of their end, and nobody waits for that', async (t) => {
        const { entra, telemetry, violations } = await boot(t, { prepare: ({ entra: e }) => (e.lifetime = 6) });
        ok(await telemetry());
        entra.fault({ op: 'entra', times: Infinity, delay: 1000, change: () => {} });
        const before = entra.fetches().length;
        let slowest = 0;
        for (const until = Date.now() + 9000; Date.now() < until; await sleep(30)) {
            const began = Date.now();
            ok(await telemetry());
            slowest = Math.max(slowest, Date.now() - began);
        }
        const renewals = entra.fetches().length - before;
        assert.ok(renewals >= 4 && renewals <= 8, `${renewals} renewals of two tokens that live for 6 s, in 9 s`);
        assert.ok(slowest < 500 * SLOW, `a request took ${slowest} ms`);
        assert.deepEqual(violations(), []);
    });

    it('still serve while they cannot be renewed, and the authority is asked every three seconds', async (t) => {
        const { entra, telemetry } = await boot(t, { prepare: ({ entra: e }) => (e.lifetime = 16) });
        ok(await telemetry());
        const fault = entra.fault({ op: 'entra', times: Infinity, when: (r) => r.resource !== HUB, ...faults.down });
        for (const until = Date.now() + 13_000; Date.now() < until; await sleep(50))
            ok(await telemetry());
        assert.ok(fault.hits >= 1 && fault.hits <= 3, `${fault.hits} fetches from half its life on`);
    });

    describe('that a service refuses', { concurrency: 4 }, () => {
        it('are replaced, and the request succeeds', async (t) => {
            const { entra, cosmos, hub, telemetry, status, server } = await boot(t);
            ok(await telemetry());
            ok(await status());
            entra.revokeAll();
            const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => (i % 2 ? telemetry() : status())));
            answers.forEach(ok);
            assert.equal(entra.fetches().length, 4, 'one new token for each service');
            entra.revokeAll();
            assert.equal((await server.post('d1', [{ data: 1 }])).status, 201);
            assert.equal(entra.fetches().length, 5);
            assert.equal(cosmos.violations.length + hub.violations.length > 0, true);
        });

        for (const [name, side, ask] of [['Cosmos DB', 'cosmos', 'telemetry'], ['IoT Hub', 'hub', 'status']]) {
            it(`for good end in 502 after one new token and one more request: ${name}`, async (t) => {
                const booted = await boot(t);
                ok(await booted[ask]());
                await sleep(1100); // past the pace of fetches
                const fake = booted[side];
                fake.fault({ times: Infinity, status: 401 });
                const [fetches, requests] = [booted.entra.fetches().length, fake.requests.length];
                assertProblem(await booted[ask](), 502, 'UpstreamUnauthorized');
                assert.equal(booted.entra.fetches().length - fetches, 1);
                assert.equal(fake.requests.length - requests, 2);
                const began = Date.now();
                const answers = await Promise.all(Array.from({ length: 60 }, booted[ask]));
                answers.forEach((answer) => assertProblem(answer, 502, 'UpstreamUnauthorized'));
                assert.ok(booted.entra.fetches().length - fetches <= 2 + (Date.now() - began) / 1000, 'the authority is asked once a second at most');
                fake.clearFaults();
                ok(await booted[ask]());
            });
        }

        it('as forbidden (403) are kept: another token would not help', async (t) => {
            const { entra, cosmos, telemetry } = await boot(t);
            ok(await telemetry());
            cosmos.fault({ times: Infinity, status: 403, headers: { 'x-ms-substatus': '5300' }, body: '{"code":"Forbidden"}' });
            assertProblem(await telemetry(), 502, 'UpstreamUnauthorized');
            assert.equal(entra.fetches().length, 2);
        });
    });

    describe('that cannot be had', { concurrency: 6 }, () => {
        const troubles = [
            ['400', 'secret', faults.wrongSecret400, 502, 'UpstreamUnauthorized'],
            ['401', 'secret', faults.wrongSecret, 502, 'UpstreamUnauthorized'],
            ['403', 'appservice', { status: 403, body: errorBody.appService(403, 'x') }, 502, 'UpstreamUnauthorized'],
            ['400 of IMDS', 'imds', { status: 400, body: errorBody.imds('invalid_request', 'Identity not found') }, 502, 'UpstreamUnauthorized'],
            ['500', 'secret', { status: 500 }, 502, 'UpstreamUnavailable'],
            ['503', 'workload', faults.down, 502, 'UpstreamUnavailable'],
            ['404 of IMDS', 'imds', faults.imdsNotThere, 502, 'UpstreamUnavailable'],
            ['410 of IMDS', 'imds', faults.imdsUpdating, 502, 'UpstreamUnavailable'],
            ['a redirect', 'secret', { status: 302, headers: { location: 'https://login.example/' } }, 502, 'UpstreamUnavailable'],
            ['429 without a time', 'secret', { status: 429 }, 503, 'UpstreamThrottled'],
            ['429 with a time', 'secret', faults.throttled(7), 503, 'UpstreamThrottled'],
            ['not JSON', 'secret', faults.garbage, 502, 'UpstreamUnavailable'],
            ['an empty object', 'appservice', { status: 200, body: '{}' }, 502, 'UpstreamUnavailable'],
            ['a reset', 'secret', { wire: wire.reset }, 502, 'UpstreamUnavailable'],
            ['a short body', 'secret', { wire: wire.shortBody }, 502, 'UpstreamUnavailable'],
            ['two members of one name', 'secret', { change: (a) => (a.body = a.body.replace('{', '{"access_token":"a.b.c",')) }, 502, 'UpstreamUnavailable'],
            ['1 MB', 'secret', { wire: wire.huge(1 << 20) }, 502, 'UpstreamUnavailable'],
            ['silence', 'secret', faults.silence, 504, 'UpstreamTimeout'],
        ];
        for (const [name, source, fault, status, code] of troubles) {
            it(`are the request's trouble, and /readyz says so; when it is over, all is well within 10 s: ${name}`, async (t) => {
                const { entra, cosmos, hub, server, telemetry, status: deviceStatus, ready } = await boot(t, {
                    source, env: { TELEMETRYD_REQUEST_TIMEOUT: '4s' }, prepare: ({ entra: e }) => e.fault({ times: Infinity, ...fault }),
                });
                const began = Date.now();
                const answers = await Promise.all([telemetry(), deviceStatus(), telemetry()]);
                answers.forEach((answer) => assertProblem(answer, status, code));
                if (status === 503)
                    answers.forEach((answer) => assert.match(answer.header('retry-after'), name.includes('with a') ? /^[67]$/ : /^[1-3]$/));
                const readiness = await server.api('/readyz');
                assert.equal(readiness.status, 503);
                assert.deepEqual(Object.values(readiness.json.checks).map((check) => check.status), ['unavailable', 'unavailable']);
                assert.equal(cosmos.requests.length + hub.requests.length, 0);
                await Promise.all(Array.from({ length: 20 }, telemetry));
                assert.ok(entra.fetches().length <= 2 * (2 + (Date.now() - began) / 1000), `${entra.fetches().length} fetches in ${Date.now() - began} ms`);
                entra.clearFaults();
                const since = Date.now();
                await waitFor(ready, 'ready again', 20_000 * SLOW);
                assert.ok(Date.now() - since < 10_000 * SLOW, `recovered after ${Date.now() - since} ms`);
                ok(await telemetry());
                ok(await deviceStatus());
            });
        }

        it('from an authority that is down at the start do not keep the server from starting', async (t) => {
            const { entra, server, ready, telemetry } = await boot(t, { prepare: ({ entra: e }) => e.stop() });
            assertProblem(await telemetry(), 502, 'UpstreamUnavailable');
            assert.equal((await server.api('/readyz')).status, 503);
            assert.equal((await server.api('/livez')).status, 200);
            await entra.start();
            const since = Date.now();
            await waitFor(ready, 'ready', 20_000 * SLOW);
            assert.ok(Date.now() - since < 10_000 * SLOW, `recovered after ${Date.now() - since} ms`);
            ok(await telemetry());
            assert.ok(server.log.some((line) => line.msg === 'access token for Azure again'));
        });

        const passing = [
            ['500', 'secret', { status: 500 }, 2], ['429 for a second', 'secret', faults.throttled(1), 1], ['410', 'imds', faults.imdsUpdating, 3],
            ['404', 'imds', faults.imdsNotThere, 1], ['a reset', 'secret', { wire: wire.reset }, 1],
        ];
        for (const [name, source, fault, times] of passing) {
            it(`at the first attempt are asked for again while the request waits: ${times} x ${name}`, async (t) => {
                const { telemetry } = await boot(t, {
                    source, prepare: ({ entra: e, cosmos: c }) => e.fault({ times, when: (r) => r.resource === c.url(), ...fault }),
                });
                ok(await telemetry());
            });
        }

        it('leave one line in the log, with the number of the error and without its text', async (t) => {
            const { server, telemetry } = await boot(t, { env: { AZURE_CLIENT_SECRET: 'not-the-secret-at-all' } });
            assertProblem(await telemetry(), 502, 'UpstreamUnauthorized');
            const lines = server.log.filter((line) => line.msg === 'no access token for Azure');
            assert.ok(lines.length >= 1 && lines.length <= 2, `${lines.length} lines for two resources`);
            for (const line of lines) {
                assert.equal(line.level, 'warn');
                assert.equal(line.source, 'client secret');
                assert.equal(line.status, 401);
                assert.equal(line.aadsts, 7000215);
            }
            assert.ok(!server.stderr.includes('not-the-secret-at-all'));
        });

        it('do not hold up a drain', async (t) => {
            const { server, telemetry } = await boot(t, { prepare: ({ entra: e }) => e.fault({ times: Infinity, ...faults.silence }), env: { TELEMETRYD_REQUEST_TIMEOUT: '2s' } });
            const asked = telemetry();
            await sleep(200);
            const began = Date.now();
            server.kill('SIGTERM');
            assertProblem(await asked, 504, 'UpstreamTimeout');
            await server.ended();
            assert.ok(Date.now() - began < 5000 * SLOW);
        });
    });
});
