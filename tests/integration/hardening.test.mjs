// What protects the process from others and others from the process: how the program was linked, what it gives up at its start,
// the user it runs as, and the systemd unit, whose limits must leave it all that it does.

import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, copyFileSync, readFileSync, statSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { root } from '../support/contract.mjs';
import { BINARY, SLOW, cleanEnvironment, run, waitFor } from '../support/server.mjs';
import { tempDirectory } from '../support/temp.mjs';
import { makeTls } from '../support/tls.mjs';

const UNIT = join(root, 'deploy', 'systemd', 'telemetryd.service');
const ENV = join(root, 'deploy', 'systemd', 'telemetryd.env');
const NOBODY = 65534;
const EXPOSURE_MAX = 1.5;

const output = (command, ...args) => execFileSync(command, args, { encoding: 'utf8', maxBuffer: 64 << 20, stdio: ['ignore', 'pipe', 'pipe'] });
const missing = (command, ...args) => (spawnSync(command, args, { stdio: 'ignore' }).status === 0 ? false : `${command} is not here or may not do this`);

const symbols = output('readelf', '-W', '--dyn-syms', BINARY);
const SANITIZED = symbols.includes('__asan_') && 'the program is built with sanitizers';
const NOT_ROOT = process.getuid() !== 0 && 'only root can start it as another user; it runs as an ordinary one in all tests then';

describe('the program file', () => {
    const segments = output('readelf', '-W', '-l', BINARY).split('\n').filter((line) => /^ {2}[A-Z_]+ +0x/.test(line))
        .map((line) => {
            const fields = line.trim().split(/\s+/);
            return { type: fields[0], flags: fields.slice(6, -1).join('') };
        });
    const dynamic = output('readelf', '-W', '-d', BINARY);

    it('is position-independent', () => {
        assert.match(output('readelf', '-h', BINARY), /Type:\s+DYN/);
        assert.match(dynamic, /FLAGS_1\).*\bPIE\b/);
    });
    it('resolves all symbols at its start and makes them read-only (full RELRO)', () => {
        assert.ok(segments.some(({ type }) => type === 'GNU_RELRO'));
        assert.match(dynamic, /\bBIND_NOW\b/);
        assert.doesNotMatch(dynamic, /TEXTREL/);
    });
    it('has no segment that can be written and executed, and no executable stack', () => {
        assert.ok(segments.length > 4, 'segments were read');
        assert.deepEqual(segments.filter(({ flags }) => /W/.test(flags) && /E/.test(flags)), []);
        assert.ok(segments.some(({ type }) => type === 'GNU_STACK'));
    });
    it('keeps code apart from data (separate-code)', () => {
        const code = segments.filter(({ type, flags }) => type === 'LOAD' && flags.includes('E'));
        assert.equal(code.length, 1);
        assert.equal(segments.find(({ type }) => type === 'LOAD').flags, 'R', 'headers and constants are not executable');
    });
    it('has stack protectors', { skip: SANITIZED }, () => assert.match(symbols, /__stack_chk_fail/));
    it('has checked copies (FORTIFY_SOURCE 3: also where a size is known at run time only)', { skip: SANITIZED }, () => {
        for (const name of ['__snprintf_chk', '__memcpy_chk', '__read_chk'])
            assert.ok(symbols.includes(name), name);
    });
    it('is not setuid or setgid', () => assert.equal(statSync(BINARY).mode & 0o6000, 0));
});

/** A place that belongs to `uid`, with a copy of the program: the checkout may be out of another user's sight. */
function place(uid) {
    const directory = tempDirectory();
    const program = join(directory, 'telemetryd');
    copyFileSync(BINARY, program);
    chmodSync(program, 0o755);
    chownSync(directory, uid, uid);
    return { directory, program, data: join(directory, 'telemetryd.db') };
}

function get(url, options = {}) {
    return new Promise((resolve, reject) => {
        const { body, ...rest } = options;
        const req = (url.startsWith('https:') ? https : http).request(url, { agent: false, ...rest }, (res) => {
            const chunks = [];
            res.on('data', (chunk) => chunks.push(chunk));
            res.on('end', () => resolve({ status: res.statusCode, text: Buffer.concat(chunks).toString() }));
        });
        req.on('error', reject);
        req.end(body);
    });
}

/** Starts a command that becomes telemetryd, waits for its address; its own log stays readable in .log. */
async function start(t, command, args, options) {
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'], ...options });
    const server = { child, log: '', ended: new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal }))) };
    child.stderr.setEncoding('utf8').on('data', (text) => (server.log += text));
    t.after(() => child.kill('SIGKILL'));
    await waitFor(() => /"msg":"listening"/.test(server.log) || child.exitCode !== null, 'the first log line');
    server.url = /"address":"(https?:\/\/[^"]+)"/.exec(server.log)?.[1];
    assert.ok(server.url, server.log);
    return server;
}

describe('the process', () => {
    const asNobody = (t, more = []) => {
        const { directory, program, data } = place(NOBODY);
        return start(t, program, ['--listen', '127.0.0.1:0', '--data', data, ...more],
            { cwd: directory, uid: NOBODY, gid: NOBODY, env: cleanEnvironment({ TELEMETRYD_WORKERS: '2' }) });
    };

    it('leaves no core file', async (t) => {
        const server = await start(t, BINARY, ['--listen', '127.0.0.1:0', '--data', ':memory:'], { env: cleanEnvironment() });
        assert.match(readFileSync(`/proc/${server.child.pid}/limits`, 'utf8'), /^Max core file size\s+0\s+0\s/m);
    });

    it('serves as an ordinary user, data and metrics included, and ends with 0', { skip: NOT_ROOT }, async (t) => {
        const server = await asNobody(t);
        assert.match(readFileSync(`/proc/${server.child.pid}/status`, 'utf8'), /^Uid:\t65534\t65534\t65534\t65534$/m);
        const posted = await get(`${server.url}/devices/d1/telemetry`,
            { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"temperature":21.5}' });
        assert.equal(posted.status, 201, posted.text);
        assert.equal((await get(`${server.url}/readyz`)).status, 200);
        const metrics = (await get(`${server.url}/metrics`)).text;
        for (const name of ['process_resident_memory_bytes', 'process_open_fds', 'process_start_time_seconds', 'process_cpu_seconds_total'])
            assert.match(metrics, new RegExp(`^${name} [1-9.]|^${name} 0\\.`, 'm'), name);
        server.child.kill('SIGTERM');
        assert.deepEqual(await server.ended, { code: 0, signal: null }, server.log);
    });

    it('is out of reach for other processes of its user, core pipes included', { skip: NOT_ROOT || SANITIZED }, async (t) => {
        const server = await asNobody(t);
        // What the kernel gives to root in /proc is that of a process that may not be dumped (proc(5), PR_SET_DUMPABLE).
        assert.equal(statSync(`/proc/${server.child.pid}/environ`).uid, 0);
        const read = spawnSync('cat', [`/proc/${server.child.pid}/environ`], { uid: NOBODY, gid: NOBODY });
        assert.notEqual(read.status, 0);
    });
});

/** The unit's directives: name -> values in order. */
function directives() {
    const found = {};
    for (const line of readFileSync(UNIT, 'utf8').split('\n')) {
        const match = /^([A-Za-z]+)=(.*)$/.exec(line);
        if (match)
            (found[match[1]] ??= []).push(match[2]);
    }
    return found;
}

describe('the systemd unit', () => {
    const unit = directives();

    it(`has an exposure of ${EXPOSURE_MAX} or less`, { skip: missing('systemd-analyze', 'security', '--offline=true', UNIT) }, () => {
        const text = output('systemd-analyze', 'security', '--no-pager', '--offline=true', UNIT);
        const exposure = Number(/Overall exposure level[^:]*: ([\d.]+)/.exec(text)?.[1]);
        assert.ok(exposure > 0 && exposure <= EXPOSURE_MAX, text);
    });

    it('has nothing that systemd does not know', { skip: missing('systemd-analyze', '--version') }, () => {
        const { stderr } = spawnSync('systemd-analyze', ['verify', UNIT], { encoding: 'utf8' });
        assert.deepEqual(stderr.split('\n').filter((line) => line && !/\/usr\/local\/bin\/telemetryd is not executable/.test(line)
            && line.includes('telemetryd')), []);
    });

    it('says what an operator counts on', () => {
        for (const [name, value] of Object.entries({
            DynamicUser: 'yes', StateDirectory: 'telemetryd', ExecReload: '/bin/kill -HUP $MAINPID', KillSignal: 'SIGTERM',
            Restart: 'on-failure', RestartPreventExitStatus: '2', LimitCORE: '0', EnvironmentFile: '-/etc/telemetryd/telemetryd.env',
        }))
            assert.deepEqual(unit[name], [value], name);
        for (const name of ['TimeoutStopSec', 'MemoryMax', 'LimitNOFILE', 'TasksMax'])
            assert.match(unit[name]?.[0] ?? '', /^\d+G?$/, name);
    });

    it('names only settings that exist, in the environment file too, and no secret', async () => {
        const table = (await run(['--print-config'])).stdout;
        const known = new Set(table.split('\n').map((line) => line.split(/\s/)[0]).filter(Boolean));
        const inFile = [...readFileSync(ENV, 'utf8').matchAll(/^#?([A-Z][A-Z0-9_]+)=/gm)].map((match) => match[1]);
        const inUnit = [...readFileSync(UNIT, 'utf8').matchAll(/\b((?:TELEMETRYD|COSMOS|IOT_HUB|AZURE)_[A-Z_]+)=/g)].map((match) => match[1]);
        assert.ok(inFile.length > 10 && inUnit.length > 1);
        for (const name of [...inFile, ...inUnit])
            assert.ok(known.has(name) || known.has(name.replace(/_FILE$/, '')), `${name} is no setting`);
        for (const name of inFile)
            assert.doesNotMatch(name, /SECRET|CONNECTION$/, 'secrets are given as credentials');
    });

    /** The names of a set of system calls, sets in it resolved. */
    function systemCalls(set) {
        const names = new Set();
        for (const word of output('systemd-analyze', 'syscall-filter', '--no-pager', set).split('\n').map((line) => line.trim())) {
            if (word.startsWith('@') && word !== set)
                systemCalls(word).forEach((name) => names.add(name));
            else if (/^[a-z_0-9]+$/.test(word))
                names.add(word);
        }
        return names;
    }

    const noTrace = SANITIZED || missing('systemd-analyze', 'syscall-filter', '@system-service') || missing('strace', '-f', '-o', '/dev/null', 'true');
    it('allows every system call, socket and mapping that serving takes', { skip: noTrace }, async (t) => {
        const uid = process.getuid() === 0 ? NOBODY : process.getuid();
        const { directory, program, data } = place(uid);
        const trace = join(directory, 'trace');
        const { caFile, ca } = makeTls();
        const tls = join(caFile, '..');
        for (const name of ['server.pem', 'server.key']) {
            copyFileSync(join(tls, name), join(directory, name));
            chownSync(join(directory, name), uid, uid);
        }
        const settings = {
            TELEMETRYD_WORKERS: '2', TELEMETRYD_DATA: data, TELEMETRYD_LISTEN: '127.0.0.1:0',
            TELEMETRYD_TLS_CERT: join(directory, 'server.pem'), TELEMETRYD_TLS_KEY: join(directory, 'server.key'),
            IOT_HUB_CONNECTION: `HostName=nowhere.invalid;SharedAccessKeyName=service;SharedAccessKey=${Buffer.alloc(32, 7).toString('base64')}`,
        };
        const server = await start(t, 'strace', ['-f', '-qq', '-s', '0', '-e', 'signal=none', '-o', trace, program],
            { cwd: directory, env: cleanEnvironment(settings), ...(process.getuid() === 0 ? { uid, gid: uid } : {}) });
        for (let i = 0; i < 20; i++) {
            const posted = await get(`${server.url}/devices/d1/telemetry`,
                { ca, method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"temperature":21.5}' });
            assert.equal(posted.status, 201, posted.text);
        }
        for (const path of ['/devices/d1/telemetry', '/devices/d1/status', '/devices', '/metrics', '/readyz'])
            await get(server.url + path, { ca });
        const pid = Number(readFileSync(`/proc/${server.child.pid}/task/${server.child.pid}/children`, 'utf8'));
        process.kill(pid, 'SIGHUP');
        await new Promise((resolve) => setTimeout(resolve, 500 * SLOW));
        process.kill(pid, 'SIGTERM');
        await server.ended;

        const lines = readFileSync(trace, 'utf8').split('\n').map((line) => line.replace(/^\d+ +/, ''));
        const used = new Set(lines.map((line) => /^([a-z_0-9]+)\(/.exec(line)?.[1]).filter(Boolean));
        const allowed = new Set();
        for (const filter of unit.SystemCallFilter) {
            const forbids = filter.startsWith('~');
            for (const set of filter.replace('~', '').split(' '))
                systemCalls(set).forEach((name) => (forbids ? allowed.delete(name) : allowed.add(name)));
        }
        assert.ok(used.size > 30 && used.has('accept4'), 'the trace is one of a server');
        used.delete('execve'); // strace's own, which systemd has done before it filters
        assert.deepEqual([...used].filter((name) => !allowed.has(name)), []);

        const families = new Set(unit.RestrictAddressFamilies[0].split(' '));
        const asked = lines.map((line) => /^socket\((\w+)/.exec(line)?.[1]).filter(Boolean);
        assert.ok(asked.includes('AF_INET'));
        assert.deepEqual(asked.filter((family) => !families.has(family)), []);
        // MemoryDenyWriteExecute=
        assert.deepEqual(lines.filter((line) => /^(mmap|mprotect|pkey_mprotect)\(/.test(line) && line.includes('PROT_EXEC')
            && (line.includes('PROT_WRITE') || !line.startsWith('mmap'))), []);
    });
});
