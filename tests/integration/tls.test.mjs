// HTTPS: what a client of any TLS stack sees, and what one that does not play by the rules gets.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import { parseAnswers, request, sendRaw } from '../support/http.mjs';
import { SLOW, run, startServer, waitFor } from '../support/server.mjs';
import { Authority } from '../support/tls.mjs';

const LIVEZ = 'GET /livez HTTP/1.1\r\nHost: x\r\n\r\n';
const CLOSE = 'GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';

/** Connects, asks /livez, and ends. Resolves to {protocol, cipher, alpn, reused, session, serial}, or rejects with what TLS says. */
function visit(server, options = {}) {
    return new Promise((resolve, reject) => {
        const socket = tls.connect({ port: server.port, host: '127.0.0.1', ...server.secure, ...options });
        let session;
        let received = '';
        socket.setTimeout(10_000 * SLOW, () => socket.destroy(new Error('no answer in time')));
        socket.on('session', (ticket) => (session = ticket));
        socket.on('secureConnect', () => socket.write(CLOSE));
        socket.on('data', (chunk) => (received += chunk));
        socket.on('error', reject);
        socket.on('close', () => {
            if (!received.startsWith('HTTP/1.1 200 '))
                return reject(new Error(`closed after ${JSON.stringify(received.slice(0, 80))}`));
            resolve(seen);
        });
        const seen = {};
        socket.on('end', () => Object.assign(seen, {
            protocol: socket.getProtocol(), cipher: socket.getCipher().standardName, alpn: socket.alpnProtocol,
            reused: socket.isSessionReused(), session: session ?? socket.getSession(), serial: socket.getPeerCertificate().serialNumber,
        }));
    });
}

/** Bytes straight to the port. Resolves to {received, ms} when the server closes. */
const raw = (server, bytes, timeout = 25_000) => sendRaw(server.url, bytes, { timeout });

/** A ClientHello as OpenSSL writes it. */
async function clientHello() {
    const bait = net.createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => bait.on('listening', resolve));
    const caught = new Promise((resolve) => bait.once('connection', (socket) => socket.once('data', (bytes) => {
        resolve(bytes);
        socket.destroy();
        bait.close();
    })));
    tls.connect({ port: bait.address().port, host: '127.0.0.1', rejectUnauthorized: false }).on('error', () => {});
    return caught;
}

const cpuSeconds = (pid) => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
};

describe('TLS', { concurrency: 8 }, () => {
    const authority = new Authority();
    let server;
    before(async () => {
        server = await startServer({ tls: authority.server() });
    });
    after(() => server?.stop());

    it('is what the first log line says, and the certificate is named', async () => {
        assert.match(JSON.parse(server.firstLine).address, /^https:\/\/127\.0\.0\.1:\d+$/);
        const named = () => server.log.find(({ msg }) => msg === 'certificate in use');
        await waitFor(named, 'the line about the certificate');
        const line = named();
        assert.match(line.serial, /^[0-9A-F]{32}$/);
        assert.match(line.notAfter, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    });

    const lax = { minVersion: 'TLSv1', ciphers: 'ALL:@SECLEVEL=0' };
    const two = { maxVersion: 'TLSv1.2', minVersion: 'TLSv1.2' };
    // [what, node:tls's options, what comes of it: [protocol, cipher] or a fault]
    const suites = [
        ['a modern client', {}, ['TLSv1.3', /^TLS_AES_256_GCM_SHA384$/]],
        ['TLS 1.3 with AES-128', { ciphers: 'TLS_AES_128_GCM_SHA256' }, ['TLSv1.3', /^TLS_AES_128_GCM_SHA256$/]],
        ['TLS 1.3 with ChaCha20', { ciphers: 'TLS_CHACHA20_POLY1305_SHA256' }, ['TLSv1.3', /CHACHA20/]],
        ['TLS 1.2', two, ['TLSv1.2', /^TLS_ECDHE_ECDSA_WITH_(AES_\d+_GCM|CHACHA20)/]],
        ['TLS 1.2 with AES-128-GCM', { ...two, ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' }, ['TLSv1.2', /AES_128_GCM/]],
        ['TLS 1.2 with ChaCha20', { ...two, ciphers: 'ECDHE-ECDSA-CHACHA20-POLY1305' }, ['TLSv1.2', /CHACHA20/]],
        ['TLS 1.1', { ...lax, maxVersion: 'TLSv1.1' }, /alert|version/i],
        ['TLS 1.0', { ...lax, maxVersion: 'TLSv1' }, /alert|version/i],
        ['TLS 1.2 with AES-CBC', { ...lax, ...two, ciphers: 'ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384:@SECLEVEL=0' }, /alert/i],
        ['TLS 1.2 with CCM', { ...lax, ...two, ciphers: 'ECDHE-ECDSA-AES128-CCM:ECDHE-ECDSA-AES256-CCM8:@SECLEVEL=0' }, /alert/i],
        ['TLS 1.2 without forward secrecy', { ...lax, ...two, ciphers: 'kRSA:@SECLEVEL=0' }, /alert/i],
        ['TLS 1.2 without a certificate', { ...lax, ...two, ciphers: 'aNULL:@SECLEVEL=0' }, /alert/i],
    ];
    for (const [what, options, expected] of suites) {
        if (Array.isArray(expected)) {
            it(`serves ${what}`, async () => {
                const { protocol, cipher } = await visit(server, options);
                assert.equal(protocol, expected[0]);
                assert.match(cipher, expected[1]);
            });
        } else {
            it(`refuses ${what}, with an alert`, () => assert.rejects(visit(server, options), expected));
        }
    }

    it('serves RSA keys, TLS 1.2 and 1.3', async (t) => {
        const rsa = await startServer({ tls: authority.server({ newKey: ['-newkey', 'rsa:2048', '-nodes'] }) });
        t.after(() => rsa.stop());
        assert.match((await visit(rsa, two)).cipher, /^TLS_ECDHE_RSA_WITH_AES_256_GCM/);
        assert.equal((await visit(rsa)).protocol, 'TLSv1.3');
        await assert.rejects(visit(rsa, { ...lax, ...two, ciphers: 'AES128-GCM-SHA256:@SECLEVEL=0' }), /alert/i, 'the key exchange by RSA');
        await assert.rejects(visit(rsa, { ...lax, ...two, ciphers: 'DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0' }), /alert/i, 'DHE');
    });

    it('says http/1.1 by ALPN, and serves who says nothing that it knows', async () => {
        assert.equal((await visit(server, { ALPNProtocols: ['h2', 'http/1.1'] })).alpn, 'http/1.1');
        assert.equal((await visit(server)).alpn, false);
    });

    it('resumes sessions, also on the other worker', async () => {
        for (const version of ['TLSv1.2', 'TLSv1.3']) {
            const options = { minVersion: version, maxVersion: version };
            const { session } = await visit(server, options);
            for (let i = 0; i < 6; i++)
                assert.ok((await visit(server, { ...options, session })).reused, `${version}, visit ${i}`);
        }
    });

    it('sends HSTS with refusals and with errors of every kind', async () => {
        const answers = [];
        for (const bytes of ['nonsense\r\n\r\n', `GET /${'a'.repeat(9000)} HTTP/1.1\r\n`, CLOSE.replace('/livez', '/nope'), CLOSE.replace('GET', 'DELETE'), CLOSE.replace('GET', 'OPTIONS')])
            answers.push(...parseAnswers((await sendRaw(server.url, bytes, { secure: server.secure })).received, ['', '', '', '', 'OPTIONS']));
        assert.deepEqual(answers.map(({ status }) => status), [400, 414, 404, 405, 204]);
        for (const answer of answers)
            assert.deepEqual(answer.values('strict-transport-security'), ['max-age=31536000'], String(answer));
    });

    it('answers pipelined requests in order, and a large one as a whole', async () => {
        const readings = Array.from({ length: 500 }, (_, n) => ({ n, text: 'x'.repeat(100) }));
        for (let i = 0; i < 20; i++)
            await server.post('large', readings);
        const { json, body } = await server.api('/devices/large/telemetry?limit=10000&order=asc');
        assert.equal(json.count, 10_000);
        assert.ok(body.length > 1_000_000);
        assert.ok(json.telemetry.every(({ data }, i) => data.n === i % 500));
        const big = 'GET /devices/large/telemetry?limit=10000 HTTP/1.1\r\nHost: x\r\n\r\n';
        const { received } = await sendRaw(server.url, LIVEZ + big + LIVEZ + big + CLOSE, { secure: server.secure, timeout: 20_000 * SLOW });
        const answers = parseAnswers(received);
        assert.deepEqual(answers.map(({ status }) => status), [200, 200, 200, 200, 200]);
        for (const i of [1, 3])
            assert.equal(answers[i].json.count, 10_000);
    });

    it('waits for a client that takes a large answer in its own time', async () => {
        await server.post('slowly', Array.from({ length: 500 }, (_, n) => ({ n, text: 'x'.repeat(1000) })));
        const received = await new Promise((resolve, reject) => {
            const socket = tls.connect({ port: server.port, host: '127.0.0.1', ...server.secure });
            const chunks = [];
            socket.on('secureConnect', () => socket.write(`GET /devices/slowly/telemetry HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(12) + CLOSE));
            socket.on('data', (chunk) => {
                chunks.push(chunk);
                if (chunks.length % 50 === 0) {
                    socket.pause();
                    setTimeout(() => socket.resume(), 20);
                }
            });
            socket.on('error', reject);
            socket.on('end', () => resolve(Buffer.concat(chunks)));
        });
        const answers = parseAnswers(received);
        assert.equal(answers.length, 13);
        for (const answer of answers.slice(0, 12))
            assert.equal(answer.json.count, 500);
    });

    it('takes a body of 1 MB in records of any size', async () => {
        const reading = JSON.stringify({ text: 'y'.repeat(1_000_000) });
        const head = `POST /devices/body/telemetry HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${reading.length}\r\n\r\n`;
        for (const size of [100, 16_384, 1_000_000]) {
            const text = head + reading;
            const pieces = Array.from({ length: Math.ceil(text.length / size) }, (_, i) => text.slice(i * size, (i + 1) * size));
            const { received } = await sendRaw(server.url, pieces, { secure: server.secure, timeout: 20_000 * SLOW });
            assert.equal(parseAnswers(received)[0].status, 201, `records of ${size}`);
        }
    });

    it('answers a client that closes its half, with close_notify or without', async () => {
        const { received } = await sendRaw(server.url, CLOSE, { secure: server.secure, halfClose: true });
        assert.equal(parseAnswers(received)[0].status, 200);
        const answer = await new Promise((resolve, reject) => {
            const socket = net.connect({ port: server.port, host: '127.0.0.1', allowHalfOpen: true });
            const secure = tls.connect({ socket, ...server.secure });
            const chunks = [];
            secure.on('secureConnect', () => secure.write(CLOSE, () => socket.end()));
            secure.on('data', (chunk) => chunks.push(chunk));
            secure.on('error', reject);
            secure.on('end', () => resolve(Buffer.concat(chunks)));
        });
        assert.equal(parseAnswers(answer)[0].status, 200);
    });

    it('ends each connection with close_notify, so that nobody takes half an answer for a whole one', async () => {
        for (const bytes of [CLOSE, 'nonsense\r\n\r\n']) {
            const { received, closed, reset } = await sendRaw(server.url, bytes, { secure: server.secure });
            assert.ok(closed && !reset);
            assert.ok(received.length > 0);
        }
        // node:tls does not tell; OpenSSL says "unexpected eof while reading".
        const { stdout, stderr } = spawnSync('openssl', ['s_client', '-connect', `127.0.0.1:${server.port}`, '-quiet', '-ign_eof'], { input: CLOSE, encoding: 'utf8' });
        assert.ok(stdout.startsWith('HTTP/1.1 200 '), stderr);
        assert.doesNotMatch(stderr, /eof/i);
    });

    it('refuses to renegotiate', async () => {
        await assert.rejects(new Promise((resolve, reject) => {
            const socket = tls.connect({ port: server.port, host: '127.0.0.1', ...server.secure, ...two });
            socket.on('secureConnect', () => socket.renegotiate({}, (error) => (error ? reject(error) : resolve())));
            socket.on('error', reject);
            socket.on('close', () => reject(new Error('closed')));
        }));
    });

    describe('bytes that are not TLS', { concurrency: 8 }, () => {
        // [what, bytes]
        const bytes = [
            ['a plain request', LIVEZ],
            ['one byte', 'G'],
            ['a record of another type', Buffer.from([0x17, 3, 3])],
            ['a record of another version', Buffer.from([0x16, 2])],
            ['a record that is too long', Buffer.from([0x16, 3, 1, 0xff])],
            ['a handshake that begins with something else', Buffer.from([0x16, 3, 1, 1, 0, 2])],
            ['the hello of SSL 2', Buffer.from([0x80, 0x2e, 1, 0, 2])],
            ['a hello that is rubbish', Buffer.from([0x16, 3, 1, 0, 8, 1, 0, 0, 4, 9, 9, 9, 9])],
        ];
        for (const [what, piece] of bytes) {
            it(`are closed within 5 s: ${what}`, async () => {
                const { closed, received, ms } = await raw(server, piece, 6000);
                assert.ok(closed && ms < 5000, `${ms} ms`);
                assert.ok(!received.includes('HTTP'), 'nothing is answered in plain text');
            });
        }
    });

    describe('a handshake that is not finished', { concurrency: 8 }, () => {
        it('ends within 20 s when nothing comes', async () => {
            const { closed, ms } = await raw(server, '');
            assert.ok(closed && ms > 5000 && ms < 20_000, `${ms} ms`);
        });

        it('ends within 20 s, however it trickles', async () => {
            const hello = await clientHello();
            const trickle = [...hello].flatMap((byte) => [Buffer.from([byte]), 400]);
            const { closed, ms } = await raw(server, trickle);
            assert.ok(closed && ms < 20_000, `${ms} ms`);
        });

        it('ends within 20 s when the client leaves it at its hello', async () => {
            const { closed, received, ms } = await raw(server, await clientHello());
            assert.ok(closed && ms < 20_000, `${ms} ms`);
            assert.equal(received[0], 0x16, 'the server answered the hello');
        });

        it('costs no processor time while it waits', async (t) => {
            const own = await startServer({ tls: authority.server() });
            t.after(() => own.stop());
            const hello = (await clientHello()).subarray(0, 100);
            const waiting = Array.from({ length: 50 }, () => raw(own, hello, 3500));
            await sleep(1000);
            const begin = cpuSeconds(own.pid);
            await sleep(2000);
            const spent = cpuSeconds(own.pid) - begin;
            assert.ok(spent < 0.3 * SLOW, `${spent} s of 2 s`);
            await Promise.all(waiting);
        });

        it('gives way when there are too many connections', async (t) => {
            const own = await startServer({ tls: authority.server(), env: { TELEMETRYD_MAX_CONNECTIONS: '20', TELEMETRYD_WORKERS: '1' } });
            t.after(() => own.stop());
            const hello = (await clientHello()).subarray(0, 100);
            const hung = Array.from({ length: 40 }, () => raw(own, hello, 4000));
            await sleep(500);
            for (let i = 0; i < 20; i++)
                assert.equal((await own.api('/livez')).status, 200);
            const ends = await Promise.all(hung);
            assert.ok(ends.filter(({ closed }) => closed).length >= 20);
        });
    });

    it('drains: what is under way is answered whole, idle connections end with close_notify', async (t) => {
        const own = await startServer({ tls: authority.server() });
        t.after(() => own.stop());
        await own.post('d', Array.from({ length: 500 }, (_, n) => ({ n, text: 'z'.repeat(1500) })));
        const idle = sendRaw(own.url, LIVEZ, { secure: own.secure, timeout: 8000 * SLOW });
        const page = new Promise((resolve, reject) => {
            const socket = tls.connect({ port: own.port, host: '127.0.0.1', ...own.secure });
            const chunks = [];
            socket.on('secureConnect', () => socket.write('GET /devices/d/telemetry HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(8)));
            socket.on('error', reject);
            socket.on('end', () => resolve(parseAnswers(Buffer.concat(chunks))));
            socket.on('data', (chunk) => {
                if (chunks.push(chunk) === 1) {
                    own.kill('SIGTERM');
                    socket.pause();
                    setTimeout(() => socket.resume(), 500);
                }
            });
        });
        const answers = await page;
        assert.ok(answers.length >= 1);
        for (const answer of answers)
            assert.equal(answer.json.count, 500);
        const { received, closed, reset } = await idle;
        assert.equal(parseAnswers(received)[0].status, 200);
        assert.ok(closed && !reset);
        await own.ended();
    });

    describe('client certificates', { concurrency: 4 }, () => {
        const clients = new Authority('telemetryd test clients');
        const stranger = new Authority('telemetryd test stranger');
        const pair = (of, more) => (({ cert, key }) => ({ cert, key }))(of.issue({ usage: 'clientAuth', subject: 'a dashboard', names: ['DNS:dashboard'], ...more }));
        let strict;
        before(async () => {
            strict = await startServer({ tls: { ...authority.server(), ...pair(clients) }, env: { TELEMETRYD_TLS_CLIENT_CA: clients.caFile } });
        });
        after(() => strict?.stop());

        it('serves who shows one of the CA', async () => {
            assert.equal((await strict.api('/livez')).status, 200);
            assert.equal((await visit(strict, two)).protocol, 'TLSv1.2');
        });

        // [what, options]
        const refused = [
            ['none', { cert: undefined, key: undefined }],
            ['one of another CA', pair(stranger)],
            ['one that has expired', pair(clients, { days: -1 })],
            ['a server\'s', pair(clients, { usage: 'serverAuth' })],
            ['one of the server\'s own CA', pair(authority)],
        ];
        for (const [what, options] of refused) {
            for (const version of ['TLSv1.2', 'TLSv1.3']) {
                it(`refuses ${what} over ${version}, with an alert`, () =>
                    assert.rejects(visit(strict, { ...options, minVersion: version, maxVersion: version }), /alert/i));
            }
        }

        it('never resumes: a ticket would outlive the certificate', async () => {
            for (const version of ['TLSv1.2', 'TLSv1.3']) {
                const options = { minVersion: version, maxVersion: version };
                const { session } = await visit(strict, options);
                assert.equal((await visit(strict, { ...options, session })).reused, false);
            }
        });

        it('are not asked for without the setting', async () => {
            assert.equal((await request(server.url, { path: '/livez', secure: server.secure })).status, 200);
        });
    });

    it('serves nothing in plain text on the metrics address', async (t) => {
        const own = await startServer({ tls: authority.server(), env: { TELEMETRYD_METRICS_LISTEN: '127.0.0.1:0' } });
        t.after(() => own.stop());
        const { metricsAddress } = JSON.parse(own.firstLine);
        assert.match(metricsAddress, /^https:/);
        assert.equal((await request(metricsAddress, { path: '/metrics', secure: own.secure })).status, 200);
        assert.equal((await sendRaw(metricsAddress.replace('https', 'http'), LIVEZ)).received.includes('HTTP'), false);
    });

    it('names the setting whose file is at fault, and exits 2', async () => {
        const { certFile, keyFile } = authority.issue();
        const other = authority.issue();
        // [settings, the names in the message]
        const wrong = [
            [{ TELEMETRYD_TLS_CERT: certFile, TELEMETRYD_TLS_KEY: other.keyFile }, ['TELEMETRYD_TLS_CERT', 'TELEMETRYD_TLS_KEY']],
            [{ TELEMETRYD_TLS_CERT: certFile, TELEMETRYD_TLS_KEY: '/nonexistent' }, ['TELEMETRYD_TLS_KEY']],
            [{ TELEMETRYD_TLS_CERT: keyFile, TELEMETRYD_TLS_KEY: keyFile }, ['TELEMETRYD_TLS_CERT']],
            [{ TELEMETRYD_TLS_CERT: certFile }, ['TELEMETRYD_TLS_KEY']],
            [{ TELEMETRYD_TLS_CLIENT_CA: authority.caFile }, ['TELEMETRYD_TLS_CLIENT_CA']],
        ];
        for (const [env, names] of wrong) {
            const { code, stderr } = await run(['--check-config'], env);
            assert.equal(code, 2, stderr);
            for (const name of names)
                assert.ok(stderr.includes(name), stderr);
        }
    });
});
