// A renewed certificate is taken while the server runs: within 5 s of SIGHUP, within 20 s of a change of its files, however they
// are replaced; a bad one never is; and no connection is dropped.

import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, renameSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import { startServer, waitFor } from '../support/server.mjs';
import { tempDirectory } from '../support/temp.mjs';
import { Authority } from '../support/tls.mjs';

const LIVEZ = 'GET /livez HTTP/1.1\r\nHost: x\r\n\r\n';
const SIGNAL_MS = 5000;
const CHANGE_MS = 20_000;

const authority = new Authority();

/** The serial number that a new connection is shown. */
const serial = (server, options = {}) => new Promise((resolve, reject) => {
    const socket = tls.connect({ port: server.port, host: '127.0.0.1', ...server.secure, ...options }, () => {
        resolve({ serial: socket.getPeerCertificate().serialNumber, reused: socket.isSessionReused() });
        socket.end();
    });
    socket.on('error', reject);
});

/** A connection that stays open: ask() sends a request on it and resolves to the answer's bytes. */
function keepOpen(server) {
    const socket = tls.connect({ port: server.port, host: '127.0.0.1', ...server.secure });
    return {
        ask: () => new Promise((resolve, reject) => {
            socket.once('data', resolve);
            socket.once('error', reject);
            socket.once('close', () => reject(new Error('the connection was dropped')));
            socket.write(LIVEZ);
        }),
        end: () => socket.destroy(),
    };
}

/** A server whose pair lies in a directory of its own. */
async function start(t, more = {}) {
    const directory = tempDirectory();
    const first = authority.issue();
    const certFile = join(directory, 'tls.crt');
    const keyFile = join(directory, 'tls.key');
    copyFileSync(first.certFile, certFile);
    copyFileSync(first.keyFile, keyFile);
    const server = await startServer({ tls: { certFile, keyFile, ca: authority.ca }, ...more });
    t.after(() => server.stop());
    assert.equal((await serial(server)).serial, first.serial);
    return { server, directory, certFile, keyFile, first };
}

const shows = (server, pair, timeout) => waitFor(async () => (await serial(server)).serial === pair.serial, 'the renewed certificate', timeout);

describe('a renewed certificate', { concurrency: 8 }, () => {
    it('is taken on SIGHUP', async (t) => {
        const { server, certFile, keyFile } = await start(t);
        const open = keepOpen(server);
        t.after(() => open.end());
        await open.ask();
        for (let i = 0; i < 3; i++) {
            const renewed = authority.issue();
            writeFileSync(certFile, renewed.cert);
            writeFileSync(keyFile, renewed.key);
            server.kill('SIGHUP');
            await shows(server, renewed, SIGNAL_MS);
            assert.match((await open.ask()).toString(), /^HTTP\/1\.1 200 /, 'the open connection goes on');
        }
        assert.equal(server.log.filter(({ msg }) => msg === 'certificate in use').length, 4, 'the first, and one line for each');
    });

    it('ends the tickets of the old one', async (t) => {
        const { server, certFile, keyFile } = await start(t);
        const session = await new Promise((resolve, reject) => {
            const socket = tls.connect({ port: server.port, host: '127.0.0.1', ...server.secure }, () => socket.write(LIVEZ));
            socket.on('data', () => {});
            socket.on('error', reject);
            socket.once('session', (ticket) => {
                resolve(ticket);
                socket.end();
            });
        });
        assert.equal((await serial(server, { session })).reused, true);
        const renewed = authority.issue();
        writeFileSync(certFile, renewed.cert);
        writeFileSync(keyFile, renewed.key);
        server.kill('SIGHUP');
        await shows(server, renewed, SIGNAL_MS);
        assert.deepEqual(await serial(server, { session }), { serial: renewed.serial, reused: false });
    });

    // [how the files change, what does it: from the directory and the pair]
    const ways = [
        ['are written again', ({ certFile, keyFile }, pair) => {
            writeFileSync(certFile, pair.cert);
            writeFileSync(keyFile, pair.key);
        }],
        ['are renamed over', ({ directory, certFile, keyFile }, pair) => {
            for (const [file, text] of [[certFile, pair.cert], [keyFile, pair.key]]) {
                writeFileSync(join(directory, 'new'), text);
                renameSync(join(directory, 'new'), file);
            }
        }],
        ['become links to others', ({ directory, certFile, keyFile }, pair) => {
            for (const [file, target] of [[certFile, pair.certFile], [keyFile, pair.keyFile]]) {
                symlinkSync(target, join(directory, 'new'));
                renameSync(join(directory, 'new'), file);
            }
        }],
    ];
    for (const [how, change] of ways) {
        it(`is taken within 20 s when the files ${how}`, async (t) => {
            const at = await start(t);
            const open = keepOpen(at.server);
            t.after(() => open.end());
            await open.ask();
            const renewed = authority.issue();
            change(at, renewed);
            await shows(at.server, renewed, CHANGE_MS);
            assert.match((await open.ask()).toString(), /^HTTP\/1\.1 200 /);
        });
    }

    it('is taken within 20 s when a link on the way to the files is swapped, as Kubernetes does', async (t) => {
        const directory = tempDirectory();
        const revision = (name, pair) => {
            mkdirSync(join(directory, name));
            writeFileSync(join(directory, name, 'tls.crt'), pair.cert);
            writeFileSync(join(directory, name, 'tls.key'), pair.key);
            symlinkSync(name, join(directory, '..data_tmp'));
            renameSync(join(directory, '..data_tmp'), join(directory, '..data'));
        };
        revision('..first', authority.issue());
        symlinkSync('..data/tls.crt', join(directory, 'tls.crt'));
        symlinkSync('..data/tls.key', join(directory, 'tls.key'));
        const server = await startServer({ tls: { certFile: join(directory, 'tls.crt'), keyFile: join(directory, 'tls.key'), ca: authority.ca } });
        t.after(() => server.stop());
        const renewed = authority.issue();
        revision('..second', renewed);
        await shows(server, renewed, CHANGE_MS);
    });

    // [what, what it does to the files, the setting that the log names]
    const bad = [
        ['a key of another pair', ({ keyFile }) => writeFileSync(keyFile, authority.issue().key), /TELEMETRYD_TLS_CERT.*TELEMETRYD_TLS_KEY/],
        ['a certificate of another pair', ({ certFile }) => writeFileSync(certFile, authority.issue().cert), /TELEMETRYD_TLS_CERT/],
        ['half a certificate', ({ certFile }) => truncateSync(certFile, 300), /TELEMETRYD_TLS_CERT/],
        ['an empty key', ({ keyFile }) => truncateSync(keyFile, 0), /TELEMETRYD_TLS_KEY/],
        ['rubbish', ({ certFile, keyFile }) => [certFile, keyFile].forEach((file) => writeFileSync(file, 'rubbish\n')), /TELEMETRYD_TLS_CERT/],
        ['a file that is gone', ({ keyFile, directory }) => renameSync(keyFile, join(directory, 'away')), /TELEMETRYD_TLS_KEY/],
    ];
    for (const [what, spoil, names] of bad) {
        it(`is not taken when it is bad, ${what}: it is told, the old one stays, a good one is taken after it`, async (t) => {
            const at = await start(t);
            const { server, first, certFile, keyFile } = at;
            spoil(at);
            server.kill('SIGHUP');
            const told = () => server.log.filter(({ msg }) => msg === 'certificate files cannot be used');
            await waitFor(() => told().length > 0, 'the log names the fault', SIGNAL_MS);
            assert.match(told()[0].setting, names);
            assert.equal(told()[0].level, 'error');
            assert.ok(!server.stderr.includes('rubbish') && !server.stderr.includes(at.directory), 'no content and no path on the log');
            assert.equal((await serial(server)).serial, first.serial);
            await sleep(6000); // a look of the server's own later
            assert.equal(told().length, 1, 'it is told once');
            const renewed = authority.issue();
            writeFileSync(certFile, renewed.cert);
            writeFileSync(keyFile, renewed.key);
            await shows(server, renewed, CHANGE_MS);
        });
    }

    it('comes with a renewed CA of the clients', async (t) => {
        const [before, after] = [new Authority('before'), new Authority('after')];
        const client = (of) => (({ cert, key }) => ({ cert, key }))(of.issue({ usage: 'clientAuth', names: ['DNS:client'] }));
        const caFile = join(tempDirectory(), 'clients.pem');
        copyFileSync(before.caFile, caFile);
        const tlsFiles = authority.server();
        const server = await startServer({ tls: { ...tlsFiles, ...client(before) }, env: { TELEMETRYD_TLS_CLIENT_CA: caFile } });
        t.after(() => server.stop());
        const open = keepOpen(server);
        t.after(() => open.end());
        await open.ask();
        copyFileSync(after.caFile, caFile);
        server.kill('SIGHUP');
        await waitFor(() => server.log.filter(({ msg }) => msg === 'certificate in use').length === 2, 'the CA is taken', SIGNAL_MS);
        const one = (pair) => new Promise((resolve, reject) => {
            const socket = tls.connect({ port: server.port, host: '127.0.0.1', ...server.secure, ...pair }, () => socket.write(LIVEZ));
            socket.on('data', (bytes) => {
                resolve(bytes.toString());
                socket.end();
            });
            socket.on('error', reject);
        });
        assert.match(await one(client(after)), /^HTTP\/1\.1 200 /);
        await assert.rejects(one(client(before)), /alert/i);
        assert.match((await open.ask()).toString(), /^HTTP\/1\.1 200 /, 'who is in stays in');
    });

    it('is not looked for without TLS: SIGHUP is taken note of', async (t) => {
        const server = await startServer();
        t.after(() => server.stop());
        server.kill('SIGHUP');
        await waitFor(() => server.stderr.includes('SIGHUP'), 'a log line');
        assert.equal((await server.api('/livez')).status, 200);
    });

    it('drops no request, however often it comes under load', async (t) => {
        const { server, certFile, keyFile } = await start(t);
        let over = false;
        let answered = 0;
        const load = Array.from({ length: 8 }, async () => {
            while (!over) {
                assert.equal((await server.api('/livez')).status, 200);
                await serial(server);
                answered++;
            }
        });
        for (let i = 0; i < 10; i++) {
            const pair = authority.issue();
            writeFileSync(certFile, pair.cert);
            writeFileSync(keyFile, pair.key);
            server.kill('SIGHUP');
            await sleep(50);
        }
        over = true;
        await Promise.all(load);
        assert.ok(answered > 10);
    });
});
