// The program as a command: flags, settings, exit statuses, the first log line, addresses and files that are taken, the demo.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { assertNoSecrets, run, startServer } from '../support/server.mjs';
import { tempDirectory } from '../support/temp.mjs';

const KEY = Buffer.alloc(64, 42).toString('base64');
const COSMOS = `AccountEndpoint=https://127.0.0.1:1/;AccountKey=${KEY};`;
const HUB = `HostName=h.azure-devices.net;SharedAccessKeyName=service;SharedAccessKey=${KEY}`;

function file(text) {
    const path = join(tempDirectory(), 'value');
    writeFileSync(path, text);
    return path;
}

describe('the command', { concurrency: 4 }, () => {
    it('--version, --help and --check-config exit 0', async () => {
        const version = await run(['--version']);
        assert.equal(version.code, 0);
        assert.match(version.stdout, /^telemetryd \d+\.\d+\.\d+/);
        const help = await run(['--help']);
        assert.equal(help.code, 0);
        for (const flag of ['--demo', '--listen', '--data', '--workers', '--check-config', '--print-config', '--version', '--help'])
            assert.ok(help.stdout.includes(flag), flag);
        assert.equal((await run(['--check-config'])).code, 0);
    });

    it('--health asks a running server, with the exit status for an answer', async (t) => {
        const server = await startServer({ ready: true });
        t.after(() => server.stop());
        const taken = net.createServer().listen(0, '127.0.0.1'); // accepts and says nothing
        t.after(() => taken.close());
        await once(taken, 'listening');
        const cases = [
            [`${server.url}/readyz`, 0, /^$/],
            [`${server.url}/nowhere`, 1, /: status 404\n$/],
            ['http://127.0.0.1:9/readyz', 1, /^http:\/\/127\.0\.0\.1:9\/readyz: .*connect/],
            [`http://127.0.0.1:${taken.address().port}/`, 1, /timed out/],
            ['file:///etc/passwd', 2, /http:\/\/ or https:\/\//],
            ['', 2, /http:\/\/ or https:\/\//],
        ];
        await Promise.all(cases.map(async ([url, code, stderr]) => {
            const asked = await run(['--health', url]);
            assert.equal(asked.code, code, `${url}: ${asked.stderr}`);
            assert.match(asked.stderr, stderr);
            assert.equal(asked.stdout, '');
        }));
    });

    for (const args of [['--nope'], ['--health'], ['--health', 'a', 'b'], ['--listen'], ['--workers'], ['extra'], ['--workers', 'x'], ['--version=1'], ['-x']]) {
        it(`exits 2 for ${args.join(' ')}`, async () => {
            const { code, stderr } = await run([...args]);
            assert.equal(code, 2);
            assert.ok(stderr.length > 0);
        });
    }

    // [environment, the settings that the message names]
    const wrong = [
        [{ TELEMETRYD_LISTEN: 'nope' }, ['TELEMETRYD_LISTEN']],
        [{ TELEMETRYD_LISTEN: '127.0.0.1' }, ['TELEMETRYD_LISTEN']],
        [{ TELEMETRYD_LISTEN: '127.0.0.1:65536' }, ['TELEMETRYD_LISTEN']],
        [{ TELEMETRYD_LISTEN: '127.0.0.1:-1' }, ['TELEMETRYD_LISTEN']],
        [{ TELEMETRYD_LISTEN: '::1:8080' }, ['TELEMETRYD_LISTEN']],
        [{ TELEMETRYD_WORKERS: '0' }, ['TELEMETRYD_WORKERS']],
        [{ TELEMETRYD_WORKERS: 'many' }, ['TELEMETRYD_WORKERS']],
        [{ TELEMETRYD_WORKERS: '1e1' }, ['TELEMETRYD_WORKERS']],
        [{ TELEMETRYD_WORKERS: '99999999999999999999' }, ['TELEMETRYD_WORKERS']],
        [{ TELEMETRYD_REQUEST_TIMEOUT: '10' }, ['TELEMETRYD_REQUEST_TIMEOUT']],
        [{ TELEMETRYD_REQUEST_TIMEOUT: '10 s' }, ['TELEMETRYD_REQUEST_TIMEOUT']],
        [{ TELEMETRYD_REQUEST_TIMEOUT: '-1s' }, ['TELEMETRYD_REQUEST_TIMEOUT']],
        [{ TELEMETRYD_REQUEST_TIMEOUT: '0s' }, ['TELEMETRYD_REQUEST_TIMEOUT']],
        [{ TELEMETRYD_REQUEST_TIMEOUT: '5w' }, ['TELEMETRYD_REQUEST_TIMEOUT']],
        [{ TELEMETRYD_MAX_BODY: '1MB' }, ['TELEMETRYD_MAX_BODY']],
        [{ TELEMETRYD_MAX_BODY: '1.5MiB' }, ['TELEMETRYD_MAX_BODY']],
        [{ TELEMETRYD_MAX_BODY: '18446744073709551617' }, ['TELEMETRYD_MAX_BODY']],
        [{ TELEMETRYD_MAX_CONNECTIONS: '-5' }, ['TELEMETRYD_MAX_CONNECTIONS']],
        [{ TELEMETRYD_LOG_LEVEL: 'loud' }, ['TELEMETRYD_LOG_LEVEL']],
        [{ TELEMETRYD_TTL: '1y' }, ['TELEMETRYD_TTL']],
        [{ TELEMETRYD_TTL: '0s' }, ['TELEMETRYD_TTL']],
        [{ TELEMETRYD_ALLOW_HTTP_UPSTREAM: 'maybe' }, ['TELEMETRYD_ALLOW_HTTP_UPSTREAM']],
        [{ AZURE_CA_FILE: '/nonexistent/ca.pem' }, ['AZURE_CA_FILE']],
        [{ COSMOS_CONNECTION: 'nope' }, ['COSMOS_CONNECTION']],
        [{ COSMOS_CONNECTION: `AccountKey=${KEY};` }, ['COSMOS_CONNECTION']],
        [{ COSMOS_CONNECTION: 'AccountEndpoint=https://x.documents.azure.com/;' }, ['COSMOS_CONNECTION']],
        [{ COSMOS_CONNECTION: 'AccountEndpoint=https://x.documents.azure.com/;AccountKey=!!!;' }, ['COSMOS_CONNECTION']],
        [{ COSMOS_CONNECTION: `AccountEndpoint=ftp://x/;AccountKey=${KEY};` }, ['COSMOS_CONNECTION']],
        [{ COSMOS_CONNECTION: `AccountEndpoint=http://x.documents.azure.com/;AccountKey=${KEY};` }, ['COSMOS_CONNECTION']],
        [{ COSMOS_CONNECTION: COSMOS, COSMOS_CONNECTION_FILE: file(COSMOS) }, ['COSMOS_CONNECTION', 'COSMOS_CONNECTION_FILE']],
        [{ COSMOS_CONNECTION_FILE: '/nonexistent/secret' }, ['COSMOS_CONNECTION_FILE']],
        [{ COSMOS_CONNECTION: COSMOS, COSMOS_ENDPOINT: 'https://x.documents.azure.com' }, ['COSMOS_CONNECTION', 'COSMOS_ENDPOINT']],
        [{ IOT_HUB_CONNECTION: 'HostName=h' }, ['IOT_HUB_CONNECTION']],
        [{ IOT_HUB_CONNECTION: HUB, IOT_HUB_CONNECTION_FILE: file(HUB) }, ['IOT_HUB_CONNECTION', 'IOT_HUB_CONNECTION_FILE']],
        [{ IOT_HUB_CONNECTION: HUB, IOT_HUB_HOSTNAME: 'h.azure-devices.net' }, ['IOT_HUB_CONNECTION', 'IOT_HUB_HOSTNAME']],
        [{ IOT_HUB_ENDPOINT: 'https://127.0.0.1:1' }, ['IOT_HUB_ENDPOINT']],
        [{ IOT_HUB_CONNECTION: HUB, IOT_HUB_ENDPOINT: 'http://hub.example' }, ['IOT_HUB_ENDPOINT']],
        [{ IOT_HUB_CONNECTION: HUB, IOT_HUB_ENDPOINT: 'nope' }, ['IOT_HUB_ENDPOINT']],
    ];
    for (const [env, names] of wrong) {
        it(`exits 2 and names ${names.join(' and ')} for ${Object.values(env).map((v) => v.replace(KEY, '..').replace(/\/tmp\S+/, 'a file').slice(0, 40)).join(', ')}`, async () => {
            for (const args of [['--check-config'], []]) {
                const { code, stderr, stdout } = await run(args, env);
                assert.equal(code, 2, stderr);
                for (const name of names)
                    assert.ok(stderr.includes(name), stderr);
                assertNoSecrets(stderr + stdout, { COSMOS_CONNECTION: COSMOS }, 'the message');
            }
        });
    }

    it('names every fault at once', async () => {
        const { code, stderr } = await run(['--check-config'], { TELEMETRYD_WORKERS: 'x', TELEMETRYD_TTL: 'y' });
        assert.equal(code, 2);
        assert.ok(stderr.includes('TELEMETRYD_WORKERS') && stderr.includes('TELEMETRYD_TTL'), stderr);
    });

    const right = [
        {}, { COSMOS_CONNECTION: COSMOS }, { COSMOS_CONNECTION_FILE: file(`${COSMOS}\n`) }, { IOT_HUB_CONNECTION: HUB }, { IOT_HUB_CONNECTION_FILE: file(HUB) },
        { COSMOS_CONNECTION: `AccountEndpoint=http://127.0.0.1:8081/;AccountKey=${KEY};` }, { COSMOS_CONNECTION: `AccountKey=${KEY};AccountEndpoint=http://[::1]:8081` },
        { COSMOS_CONNECTION: `AccountEndpoint=http://cosmos.internal/;AccountKey=${KEY}`, TELEMETRYD_ALLOW_HTTP_UPSTREAM: '1' },
        { IOT_HUB_CONNECTION: HUB, IOT_HUB_ENDPOINT: 'https://10.0.0.1:8443' }, { TELEMETRYD_LISTEN: '[::1]:8080' }, { TELEMETRYD_LISTEN: '127.0.0.1:0' },
        { TELEMETRYD_REQUEST_TIMEOUT: '500ms' }, { TELEMETRYD_TTL: '36h' }, { TELEMETRYD_MAX_BODY: '65536' }, { TELEMETRYD_MAX_BODY: '2MiB' }, { TELEMETRYD_LOG_LEVEL: 'debug' },
    ];
    for (const env of right) {
        it(`accepts ${Object.entries(env).map(([n, v]) => `${n}=${v.replace(KEY, '..').replace(/\/tmp\S+/, 'a file')}`).join(' ') || 'nothing set'}`, async () => {
            const { code, stderr } = await run(['--check-config'], env);
            assert.equal(code, 0, stderr);
        });
    }

    it('--print-config shows values and where they came from, and masks secrets', async () => {
        const env = { TELEMETRYD_WORKERS: '3', COSMOS_CONNECTION: COSMOS, TELEMETRYD_LISTEN: '127.0.0.1:1' };
        const { code, stdout, stderr } = await run(['--print-config', '--listen', '127.0.0.1:2'], env);
        assert.equal(code, 0, stderr);
        const line = (name) => stdout.split('\n').find((l) => l.includes(name)) ?? assert.fail(`${name} is missing:\n${stdout}`);
        assert.match(line('TELEMETRYD_LISTEN'), /127\.0\.0\.1:2/);
        assert.match(line('TELEMETRYD_LISTEN'), /flag|--listen/i, 'a flag goes over the environment');
        assert.match(line('TELEMETRYD_WORKERS'), /\b3\b.*env/i);
        assert.match(line('TELEMETRYD_TTL'), /7d.*default/i);
        assertNoSecrets(stdout + stderr, env, '--print-config');
    });

    it('the first log line says address, modes and whether authentication is on', async (t) => {
        const server = await startServer();
        t.after(() => server.stop());
        const line = JSON.parse(server.firstLine);
        assert.ok(Object.keys(line).length >= 4);
        assert.ok(server.firstLine.includes(`127.0.0.1:${server.port}`));
        assert.match(server.firstLine, /auth/i);
        assert.match(server.firstLine, /embedded/);
    });

    it('serves IPv6', async (t) => {
        const server = await startServer({ listen: '[::1]:0' });
        t.after(() => server.stop());
        assert.equal((await server.api('/livez')).status, 200);
    });

    it('exits 1 when the address is taken, by a stranger or by another telemetryd', async (t) => {
        const stranger = net.createServer().unref();
        await new Promise((resolve) => stranger.listen(0, '127.0.0.1', resolve));
        t.after(() => stranger.close());
        const first = await startServer();
        t.after(() => first.stop());
        for (const port of [stranger.address().port, first.port]) {
            const { code, stderr } = await run(['--listen', `127.0.0.1:${port}`, '--data', ':memory:']);
            assert.equal(code, 1, stderr);
            assert.ok(stderr.includes(String(port)), stderr);
        }
        assert.equal((await first.api('/livez')).status, 200);
    });

    it('exits 1 when the address is not of this machine', async () => {
        assert.equal((await run(['--listen', '203.0.113.1:8080', '--data', ':memory:'], { TELEMETRYD_AUTH: 'none' })).code, 1);
    });

    it('can serve again on its port at once after it stopped', async (t) => {
        const first = await startServer();
        const { port } = first;
        for (let i = 0; i < 5; i++)
            await first.api('/livez');
        await first.stop();
        const second = await startServer({ listen: `127.0.0.1:${port}` });
        t.after(() => second.stop());
        assert.equal(second.port, port);
    });

    describe('the embedded database', { concurrency: 4 }, () => {
        const refuse = async (path, what) => {
            const before = (() => {
                try {
                    return readFileSync(path);
                } catch {
                    return undefined;
                }
            })();
            const { code, stderr } = await run(['--listen', '127.0.0.1:0', '--data', path]);
            assert.equal(code, 1, `${what}: ${stderr}`);
            assert.ok(stderr.length > 10);
            if (before)
                assert.deepEqual(readFileSync(path), before, 'the file is untouched');
        };

        it('is not opened where it is not ours', async () => {
            const directory = tempDirectory();
            const at = (name) => join(directory, name);
            writeFileSync(at('text'), 'This is a letter to my aunt.\n'.repeat(100));
            execFileSync('sqlite3', [at('other.db'), 'PRAGMA application_id=12345; CREATE TABLE t(x); INSERT INTO t VALUES(1);']);
            execFileSync('sqlite3', [at('plain.db'), 'CREATE TABLE accounts(x); INSERT INTO accounts VALUES(1);']);
            mkdirSync(at('directory'));
            await refuse(at('text'), 'a text file');
            await refuse(at('other.db'), 'another program\'s database');
            await refuse(at('plain.db'), 'a database without a mark');
            assert.equal((await run(['--listen', '127.0.0.1:0', '--data', at('directory')])).code, 1, 'a directory');
            assert.equal((await run(['--listen', '127.0.0.1:0', '--data', at('missing/x.db')])).code, 1, 'a directory that is not there');
        });

        it('is not shared by two servers', async (t) => {
            const data = join(tempDirectory(), 'shared.db');
            const first = await startServer({ data });
            t.after(() => first.stop());
            const { code, stderr } = await run(['--listen', '127.0.0.1:0', '--data', data]);
            assert.equal(code, 1, stderr);
            await first.post('d', { a: 1 });
        });

        it('of a newer version is refused', async () => {
            const data = join(tempDirectory(), 'newer.db');
            const server = await startServer({ data });
            await server.post('d', { a: 1 });
            await server.stop();
            execFileSync('sqlite3', [data, 'PRAGMA user_version=9999;']);
            await refuse(data, 'a newer version');
        });

        it('keeps readings and reported properties over a restart', async (t) => {
            const data = join(tempDirectory(), 'kept.db');
            const first = await startServer({ data });
            await first.post('kept', [{ v: 1.10 }, { v: 2 }]);
            await first.api({ method: 'PATCH', path: '/devices/kept/reported', headers: { 'content-type': 'application/json' }, body: '{"status":"online"}' });
            const link = (await first.api('/devices/kept/telemetry?limit=1')).json.nextLink;
            await first.stop();
            const second = await startServer({ data });
            t.after(() => second.stop());
            assert.deepEqual((await second.readAll('/devices/kept/telemetry?order=asc')).readings.map((r) => r.data.v), [1.1, 2]);
            assert.equal((await second.api('/devices/kept/status')).json.status, 'online');
            const followed = await second.api(link);
            if (followed.status === 200)
                assert.deepEqual(followed.json.telemetry.map((r) => r.data.v), [1.1], 'an old cursor still points there');
            else
                assert.equal(followed.json.code, 'InvalidCursor');
        });
    });

    describe('--demo', { concurrency: 2 }, () => {
        it('fills five devices with a day of readings, and goes on every second', async (t) => {
            const data = join(tempDirectory(), 'demo.db');
            const server = await startServer({ args: ['--demo'], data });
            t.after(() => server.stop());
            const devices = (await server.api('/devices')).json.value;
            assert.deepEqual(devices.map((d) => d.deviceId), ['demo-1', 'demo-2', 'demo-3', 'demo-4', 'demo-5']);
            assert.deepEqual(devices.map((d) => d.status === 'online'), [true, true, true, true, false]);
            const { readings } = await server.readAll('/devices/demo-3/telemetry?limit=700&order=asc');
            assert.ok(readings.length >= 1435 && readings.length < 1500, `${readings.length} readings`);
            const steps = readings.slice(1, 1400).map((r, i) => r.timestamp - readings[i].timestamp);
            assert.ok(steps.every((s) => s === 60), 'one a minute');
            for (const { data: reading } of readings.slice(0, 50)) {
                assert.equal(typeof reading.temperature, 'number');
                assert.equal(typeof reading.humidity, 'number');
                assert.ok(!Number.isNaN(Date.parse(reading.timestamp)));
            }
            // A known day of readings is there: windows can be counted.
            const inHours = async (query) => (await server.readAll(`/devices/demo-3/telemetry?${query}&limit=10000`)).readings.length;
            const hour = await inHours('from=now-3h&to=now-2h');
            assert.ok(hour >= 59 && hour <= 61, `${hour} in an hour`);
            const half = await inHours(`hours=0.5`);
            assert.ok(half >= 29 && half <= 31 + 30, `${half} in half an hour`);

            const latest = async () => (await server.api('/devices/demo-1/telemetry/latest')).json.timestamp;
            const before = await latest();
            await sleep(2500);
            assert.ok(await latest() >= before + 1, 'a new reading every second');
        });

        it('keeps nothing on disk without --data', async (t) => {
            const server = await startServer({ args: ['--demo'], data: null });
            t.after(() => server.stop());
            assert.equal((await server.api('/devices/demo-2/telemetry/latest')).status, 200);
            assert.deepEqual(readdirSync(server.cwd), []);
        });

        it('goes on where it stopped with --data', async (t) => {
            const data = join(tempDirectory(), 'again.db');
            const first = await startServer({ args: ['--demo'], data });
            const oldest = async (server) => (await server.api('/devices/demo-1/telemetry?order=asc&limit=1&hours=25')).json.telemetry[0];
            const before = await oldest(first);
            await first.stop();
            const second = await startServer({ args: ['--demo'], data });
            t.after(() => second.stop());
            assert.deepEqual(await oldest(second), before, 'the day is not filled anew');
            const { readings } = await second.readAll('/devices/demo-1/telemetry?hours=25&limit=10000');
            assert.equal(new Set(readings.map((r) => r.data.timestamp)).size, readings.length, 'no reading is there twice');
        });
    });
});
