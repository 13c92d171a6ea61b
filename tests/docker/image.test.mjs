// The container image, as a Docker engine runs it. `./dev docker test` builds it and names it by TELEMETRYD_IMAGE.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import http from 'node:http';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { request } from '../support/http.mjs';
import { waitFor } from '../support/server.mjs';

const image = process.env.TELEMETRYD_IMAGE ?? 'telemetryd';
const base = process.env.TELEMETRYD_BASE_IMAGE ?? 'debian:bookworm-slim';
const run = promisify(execFile);
const docker = async (...args) => (await run('docker', args, { timeout: 120_000 })).stdout.trim();
const inspect = async (what, format) => JSON.parse(await docker('inspect', '--format', `{{json ${format}}}`, what));

const started = [];
after(async () => {
    if (started.length > 0)
        await docker('rm', '--force', '--volumes', ...started);
});

/** Starts a container; {id, url: by its own address, without the engine's proxy in between}. */
async function start(flags, args) {
    const id = await docker('run', '--detach', ...flags, image, ...args);
    started.push(id);
    const networks = await inspect(id, '.NetworkSettings.Networks');
    const url = `http://${Object.values(networks)[0].IPAddress}:8080`;
    await waitFor(async () => (await request(url, { path: '/readyz', agent: false }).catch(() => ({}))).status === 200, `${args} is ready`, 20_000);
    return { id, url };
}

const exitCode = (id) => inspect(id, '.State.ExitCode');

describe('the image', { concurrency: 2 }, () => {
    it('is small: less than 40 MB on top of Debian', async () => {
        const size = await inspect(image, '.Size') - await inspect(base, '.Size');
        assert.ok(size < 40e6, `${size} bytes`);
    });

    it('says what it is', async () => {
        const labels = await inspect(image, '.Config.Labels');
        for (const name of ['title', 'description', 'licenses', 'version', 'revision', 'base.name'])
            assert.ok(labels[`org.opencontainers.image.${name}`], name);
        const { stdout } = await run('docker', ['run', '--rm', image, '--version']);
        assert.equal(stdout.split('\n')[0].split(' ')[1], labels['org.opencontainers.image.version']);
    });

    it('runs as nobody in particular', async () => {
        assert.equal(await inspect(image, '.Config.User'), '10001:10001');
        assert.equal(await docker('run', '--rm', '--entrypoint', 'id', image, '-u'), '10001');
    });

    it('serves nobody by accident: without a word on authentication it does not start, and says why', async () => {
        const failed = await run('docker', ['run', '--rm', image]).catch((error) => error);
        assert.equal(failed.code, 2);
        assert.match(failed.stderr, /TELEMETRYD_AUTH/);
    });

    it('runs on a read-only root without a capability, becomes healthy, and shows the dashboard', async () => {
        const { id, url } = await start(['--read-only', '--cap-drop', 'ALL', '--security-opt', 'no-new-privileges'], ['--demo']);
        assert.match((await request(url, { path: '/' })).text, /<title>/);
        assert.equal((await request(url, { path: '/devices/demo-1/telemetry/latest' })).status, 200);
        await waitFor(async () => await inspect(id, '.State.Health.Status') === 'healthy', 'the health check passes', 40_000);
        await docker('stop', '--time', '20', id);
        assert.equal(await exitCode(id), 0);
    });

    it('keeps its database in the volume', async () => {
        const volume = `telemetryd-test-${process.pid}`;
        const flags = ['--read-only', '--volume', `${volume}:/var/lib/telemetryd`, '--env', 'TELEMETRYD_AUTH=none'];
        try {
            const first = await start(flags, []);
            const stored = await request(first.url, { method: 'POST', path: '/devices/d1/telemetry', headers: { 'content-type': 'application/json' }, body: '{"v":7}' });
            assert.equal(stored.status, 201);
            await docker('kill', first.id);
            const second = await start(flags, []);
            assert.equal((await request(second.url, { path: '/devices/d1/telemetry/latest' })).json.data.v, 7);
            await docker('rm', '--force', first.id, second.id);
        } finally {
            await docker('volume', 'rm', '--force', volume);
        }
    });

    it('stops within its grace period under load, and drops no request', async () => {
        const { id, url } = await start(['--env', 'TELEMETRYD_LOG_LEVEL=warn'], ['--demo']);
        let answered = 0;
        let over = false;
        const dropped = [];
        const ask = async (agent) => {
            const { status } = await request(url, { path: '/devices/demo-1/telemetry?limit=500', agent, timeout: 10_000 });
            assert.equal(status, 200);
            answered++;
        };
        const nobodyThere = ({ code }) => ['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH'].includes(code);
        const client = async () => {
            const kept = new http.Agent({ keepAlive: true, maxSockets: 1 });
            while (!over) {
                // A kept connection may end under a request; whoever keeps connections asks again on a new one.
                const error = await ask(kept).catch((first) => (nobodyThere(first) ? first : ask(false).catch((second) => second)));
                if (error && nobodyThere(error))
                    break;
                if (error)
                    dropped.push(error.message);
            }
            kept.destroy();
        };
        const clients = Array.from({ length: 32 }, client);
        await sleep(1500);
        const began = Date.now();
        await docker('stop', '--time', '20', id);
        const took = Date.now() - began;
        over = true;
        await Promise.all(clients);
        assert.equal(await exitCode(id), 0, 'it ended by itself');
        assert.ok(took < 15_000, `${took} ms`);
        assert.ok(answered > 100, `${answered} requests`);
        assert.deepEqual(dropped, []);
    });
});
