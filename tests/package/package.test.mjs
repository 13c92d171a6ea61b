// The Debian package in a clean Debian 12 (debootstrap, as root): installed with what it depends on, used, upgraded, removed and purged.
// `./dev package test` makes both: the package is named by TELEMETRYD_PACKAGE, the tree is .cache/bookworm.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { root } from '../support/contract.mjs';
import { request } from '../support/http.mjs';
import { waitFor } from '../support/server.mjs';
import { tempDirectory } from '../support/temp.mjs';

const run = promisify(execFile);
const deb = process.env.TELEMETRYD_PACKAGE;
const kept = join(root, '.cache', 'bookworm');
const PORT = 18_080 + process.pid % 1000;

describe('the Debian package', () => {
    const tree = join(tempDirectory(), 'root');
    const inside = async (command, ...args) => run('chroot', [tree, command, ...args], { timeout: 300_000, env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' } });
    const apt = (...args) => inside('apt-get', '-qq', '-y', '--no-install-recommends', '-o', 'Dpkg::Use-Pty=0', ...args);
    const traces = async () => (await inside('find', '/', '-xdev', '-name', '*telemetryd*', '-not', '-path', '/proc/*', '-not', '-name', '*.deb')).stdout.split('\n').filter(Boolean);
    let untouched;

    before(async () => {
        await run('cp', ['-a', kept, tree]);
        cpSync('/etc/resolv.conf', join(tree, 'etc/resolv.conf'), { dereference: true });
        // Services are not started in a tree without a running systemd.
        writeFileSync(join(tree, 'usr/sbin/policy-rc.d'), '#!/bin/sh\nexit 101\n', { mode: 0o755 });
        cpSync(deb, join(tree, 'telemetryd.deb'));
        await apt('update');
        untouched = await traces();
    });
    after(() => run('rm', ['-rf', tree]));

    it('is installed with what it depends on', async () => {
        await apt('install', '/telemetryd.deb');
        const { stdout } = await inside('dpkg-query', '-W', '-f', '${db:Status-Status}', 'telemetryd');
        assert.equal(stdout, 'installed');
        assert.deepEqual((await inside('dpkg', '--verify', 'telemetryd')).stdout, '');
        assert.match((await inside('ldd', '/usr/bin/telemetryd')).stdout, /libuv/);
    });

    it('enables its service, whose file systemd understands', async () => {
        assert.ok(existsSync(join(tree, 'lib/systemd/system/telemetryd.service')));
        const unit = readFileSync(join(tree, 'lib/systemd/system/telemetryd.service'), 'utf8');
        assert.match(unit, /^ExecStart=\/usr\/bin\/telemetryd$/m);
        assert.match(unit, /^EnvironmentFile=-\/etc\/telemetryd\/telemetryd\.env$/m);
        const names = ['telemetryd.service', 'telemetryd.socket'].map((name) => join(tree, 'lib/systemd/system', name));
        for (const name of names) // what is written for those who install by hand is left out
            assert.doesNotMatch(readFileSync(name, 'utf8'), /\/etc\/systemd|usr\/local/);
    });

    it('checks the settings that it brings, and serves with them', async () => {
        await inside('/bin/sh', '-c', 'set -a; . /etc/telemetryd/telemetryd.env; /usr/bin/telemetryd --check-config');
        const child = spawn('chroot', [tree, '/usr/bin/telemetryd', '--demo', '--listen', `127.0.0.1:${PORT}`], { stdio: 'ignore' });
        try {
            const url = `http://127.0.0.1:${PORT}`;
            await waitFor(async () => (await request(url, { path: '/readyz', agent: false }).catch(() => ({}))).status === 200, 'it is ready');
            assert.equal((await request(url, { path: '/devices/demo-1/telemetry/latest', agent: false })).status, 200);
            await inside('/usr/bin/telemetryd', '--health', `${url}/readyz`);
        } finally {
            child.kill('SIGTERM');
        }
    });

    it('is upgraded without a question, and leaves settings and data alone', async () => {
        const env = join(tree, 'etc/telemetryd/telemetryd.env');
        writeFileSync(env, `${readFileSync(env, 'utf8')}\nTELEMETRYD_RATE_LIMIT=7/s\n`);
        await inside('mkdir', '-p', '/var/lib/private/telemetryd');
        writeFileSync(join(tree, 'var/lib/private/telemetryd/telemetryd.db'), 'data');
        // The next version, with another default in its settings.
        await inside('/bin/sh', '-c', `set -e; dpkg-deb -R /telemetryd.deb /next; sed -i 's/^Version: .*/&+next/' /next/DEBIAN/control
            echo '# new' >>/next/etc/telemetryd/telemetryd.env; dpkg-deb --root-owner-group -b /next /next.deb >/dev/null; rm -rf /next`);
        await inside('/bin/sh', '-c', 'apt-get -qq -y -o Dpkg::Options::=--force-confold install /next.deb');
        assert.match((await inside('dpkg-query', '-W', '-f', '${Version}', 'telemetryd')).stdout, /\+next$/);
        assert.match(readFileSync(env, 'utf8'), /TELEMETRYD_RATE_LIMIT=7\/s/);
        assert.equal(readFileSync(join(tree, 'var/lib/private/telemetryd/telemetryd.db'), 'utf8'), 'data');
        await inside('rm', '-f', '/etc/telemetryd/telemetryd.env.dpkg-dist', '/next.deb');
    });

    it('is removed, but for settings and data', async () => {
        await apt('remove', 'telemetryd');
        assert.ok(!existsSync(join(tree, 'usr/bin/telemetryd')));
        assert.ok(!existsSync(join(tree, 'lib/systemd/system/telemetryd.service')));
        assert.ok(existsSync(join(tree, 'etc/telemetryd/telemetryd.env')));
        assert.ok(existsSync(join(tree, 'var/lib/private/telemetryd/telemetryd.db')));
    });

    it('is purged without a trace', async () => {
        await apt('purge', 'telemetryd');
        assert.deepEqual(await traces(), untouched);
    });
});
