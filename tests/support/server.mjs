// Runs the real binary: starts it on a free port, learns the address from its first log line, and at the end holds it to its
// exit status, to well-formed logs without secrets, and to silence of the sanitizers.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import http from 'node:http';
import https from 'node:https';
import { checkContract, checkGeneral, root } from './contract.mjs';
import { request } from './http.mjs';
import { tempDirectory } from './temp.mjs';

export const BINARY = process.env.TELEMETRYD_BIN ?? join(root, 'build', 'telemetryd');

/** How much slower everything may be: sanitizers and valgrind cost time. */
export const SLOW = Number(process.env.TELEMETRYD_TEST_SLOW ?? 1);

const SANITIZER = /AddressSanitizer|LeakSanitizer|ThreadSanitizer|MemorySanitizer|runtime error:|==\d+==\s*(ERROR|WARNING)|SUMMARY: \w+Sanitizer/;
const EXIT_MS = 20_000 * SLOW;
const START_MS = 15_000 * SLOW;

/** Nothing of the caller's environment but what a process needs: a developer's own settings must not leak into tests. */
export function cleanEnvironment(extra = {}) {
    const kept = {};
    for (const name of ['PATH', 'HOME', 'LANG', 'ASAN_OPTIONS', 'UBSAN_OPTIONS', 'LSAN_OPTIONS', 'ASAN_SYMBOLIZER_PATH', 'GCOV_PREFIX']) {
        if (process.env[name] !== undefined)
            kept[name] = process.env[name];
    }
    return { ...kept, ...extra };
}

/** Every form in which a secret of these settings could show up in a text. */
function secretsOf(env) {
    const secrets = [];
    for (const value of Object.values(env)) {
        for (const match of String(value).matchAll(/(?:AccountKey|SharedAccessKey)=([^;]+)/g)) {
            const key = match[1];
            secrets.push(key, encodeURIComponent(key), Buffer.from(key, 'base64').toString('hex'));
        }
    }
    return secrets;
}

/** Authorization values, in any encoding: they are secrets for as long as they are good. */
const TOKENS = /type=master|type%3Dmaster|sig=[A-Za-z0-9%+/]{20}|SharedAccessSignature/i;

export function assertNoSecrets(text, env, where) {
    for (const secret of secretsOf(env))
        assert.ok(!text.includes(secret), `a secret stands in ${where}`);
    assert.doesNotMatch(text, TOKENS, `an authorization token stands in ${where}`);
}

/** Fails with the report itself, not with the log around it. */
export function assertNoSanitizerReport(stderr) {
    const at = stderr.search(SANITIZER);
    assert.ok(at < 0, `sanitizer report:\n${stderr.slice(Math.max(0, stderr.lastIndexOf('\n', at)), at + 4000)}`);
}

export const assertBuilt = () => assert.ok(existsSync(BINARY), `${BINARY} is not built; TELEMETRYD_BIN names another one`);

/** Runs the binary to its end. Returns {code, signal, stdout, stderr}. */
export async function run(args, env = {}, { timeout = 10_000 * SLOW, cwd = tempDirectory() } = {}) {
    assertBuilt();
    const child = spawn(BINARY, args, { env: cleanEnvironment(env), cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    const out = [];
    const err = [];
    child.stdout.on('data', (chunk) => out.push(chunk));
    child.stderr.on('data', (chunk) => err.push(chunk));
    const timer = setTimeout(() => child.kill('SIGKILL'), timeout);
    const [code, signal] = await once(child, 'close');
    clearTimeout(timer);
    const stderr = Buffer.concat(err).toString('utf8');
    assertNoSanitizerReport(stderr);
    assert.notEqual(signal, 'SIGKILL', `telemetryd ${args.join(' ')} did not end within ${timeout} ms:\n${stderr}`);
    return { code, signal, stdout: Buffer.concat(out).toString('utf8'), stderr };
}

/** The address that the first log line names, whatever the member is called. */
function addressIn(line) {
    const match = /"(?:(https?:\/\/))?((?:127\.0\.0\.1|\[::1\]|0\.0\.0\.0|localhost|\[::\]):\d+)\/?"/.exec(line);
    return match && `${match[1] ?? 'http://'}${match[2].replace('0.0.0.0', '127.0.0.1')}`;
}

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

class Server {
    stderr = '';
    exited = undefined;
    #child;
    #expect;
    #exit;
    #env;
    #checked = false;
    #agent = new http.Agent({ keepAlive: true, maxSockets: 256 });

    constructor(child, env, expect, secure) {
        this.#child = child;
        this.#env = env;
        this.#expect = expect;
        this.secure = secure;
        if (secure)
            this.#agent = new https.Agent({ keepAlive: true, maxSockets: 256, ...secure });
        running.add(child);
        this.#exit = once(child, 'close').then(([code, signal]) => {
            running.delete(child);
            return (this.exited = { code, signal });
        });
        child.stderr.setEncoding('utf8');
        child.stderr.on('data', (text) => (this.stderr += text));
        child.stdout.resume();
    }

    get pid() {
        return this.#child.pid;
    }

    get port() {
        return Number(new URL(this.url).port);
    }

    /** The log as objects. */
    get log() {
        return this.stderr.split('\n').filter(Boolean).map((line) => JSON.parse(line));
    }

    async waitForAddress() {
        const until = Date.now() + START_MS;
        for (;;) {
            const end = this.stderr.indexOf('\n');
            if (end >= 0) {
                this.firstLine = this.stderr.slice(0, end);
                this.url = addressIn(this.firstLine);
                if (!this.url)
                    throw new Error(`the first log line names no address: ${this.stderr}`);
                return;
            }
            if (this.exited)
                throw new Error(`telemetryd ended at start (${JSON.stringify(this.exited)}):\n${this.stderr}`);
            if (Date.now() > until)
                throw new Error(`no log line within ${START_MS} ms:\n${this.stderr}`);
            await new Promise((resolve) => setTimeout(resolve, 5));
        }
    }

    /** A request whose answer is held against the contract. what: a path, or {method, path, headers, body, ..}. */
    async api(what, more = {}) {
        const asked = typeof what === 'string' ? { path: what, ...more } : what;
        const response = await request(this.url, { agent: this.#agent, ...asked }).catch((error) => {
            throw this.exited ? new Error(`telemetryd has ended, ${JSON.stringify(this.exited)}: ${this.stderr.slice(-300)}`) : error;
        });
        assertNoSecrets(response.text, this.#env, `the answer to ${asked.path}`);
        const sentId = asked.headers && Object.entries(asked.headers).find(([name]) => name.toLowerCase() === 'x-request-id')?.[1];
        checkGeneral(response, sentId);
        checkContract(response);
        assert.deepEqual(response.values('strict-transport-security'), this.secure ? ['max-age=31536000'] : [], `HSTS: ${response}`);
        return response;
    }

    /** Stores readings and expects it to work. */
    async post(device, readings, more = {}) {
        const response = await this.api({
            method: 'POST', path: `/devices/${encodeURIComponent(device)}/telemetry`,
            headers: { 'content-type': 'application/json' }, body: typeof readings === 'string' ? readings : JSON.stringify(readings), ...more,
        });
        assert.equal(response.status, 201, String(response));
        return response;
    }

    /** Follows nextLink from a path to the end. Returns all readings; each page is checked. */
    async readAll(path, { maxPages = 2000 } = {}) {
        const readings = [];
        const pages = [];
        for (let next = path; next !== undefined;) {
            assert.ok(pages.length < maxPages, `paging ${path} does not end`);
            const response = await this.api(next);
            assert.equal(response.status, 200, String(response));
            const page = response.json;
            assert.equal(page.count, page.telemetry.length, 'count');
            assert.equal(response.header('link'), page.nextLink === undefined ? undefined : `<${page.nextLink}>; rel="next"`, 'Link and nextLink agree');
            pages.push(page);
            readings.push(...page.telemetry);
            next = page.nextLink;
        }
        return { readings, pages };
    }

    kill(signal = 'SIGKILL') {
        this.#child.kill(signal);
    }

    /** Waits until the process has ended, and checks what it leaves behind. */
    async ended(expect = this.#expect) {
        this.#agent.destroy();
        const timer = setTimeout(() => this.#child.kill('SIGKILL'), EXIT_MS);
        const exit = await this.#exit;
        clearTimeout(timer);
        this.#checked = true;
        assertNoSanitizerReport(this.stderr);
        assert.deepEqual(exit, { code: null, signal: null, ...expect }, `exit status; the log's end:\n${this.stderr.slice(-2000)}`);
        for (const line of this.stderr.split('\n').filter(Boolean))
            assert.doesNotThrow(() => JSON.parse(line), `every log line is JSON: ${line}`);
        assertNoSecrets(this.stderr, this.#env, 'the log');
    }

    /** Drains with SIGTERM and expects exit 0. */
    async stop() {
        if (this.#checked)
            return;
        this.#agent.destroy();
        if (this.exited === undefined)
            this.#child.kill('SIGTERM');
        await this.ended();
    }

    async killHard() {
        this.kill('SIGKILL');
        await this.ended({ signal: 'SIGKILL' });
    }
}

/**
 * Starts the binary. options: {env, args, listen, data (default ':memory:', null for the program's own), ready (wait for /readyz),
 * secrets (settings that the program has from elsewhere, whose keys must not show up either), tls ({certFile, keyFile, ca}: serves
 * HTTPS with them; more of node:tls's options, such as a client's cert and key, are for the requests)}.
 * The caller stops it: `t.after(() => server.stop())`.
 */
export async function startServer({ env = {}, args = [], listen = '127.0.0.1:0', data = ':memory:', ready = false, secrets = {}, tls } = {}) {
    assertBuilt();
    const { certFile, keyFile, ...secure } = tls ?? {};
    const pair = tls && { TELEMETRYD_TLS_CERT: certFile, TELEMETRYD_TLS_KEY: keyFile };
    const settings = { TELEMETRYD_WORKERS: '2', ...(data === null ? {} : { TELEMETRYD_DATA: data }), ...pair, ...env };
    const cwd = tempDirectory();
    const child = spawn(BINARY, ['--listen', listen, ...args], { env: cleanEnvironment(settings), cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    const server = new Server(child, { ...settings, ...secrets }, { code: 0 }, tls && secure);
    server.cwd = cwd;
    try {
        await server.waitForAddress();
        if (ready)
            await waitFor(async () => (await request(server.url, { path: '/readyz', secure: server.secure })).status === 200, 'readyz is 200');
    } catch (error) {
        server.kill();
        throw error;
    }
    return server;
}

/** Asks until `check` is true. */
export async function waitFor(check, what, timeout = 15_000 * SLOW) {
    const until = Date.now() + timeout;
    for (;;) {
        if (await check())
            return;
        if (Date.now() > until)
            throw new Error(`${what}: not within ${timeout} ms`);
        await new Promise((resolve) => setTimeout(resolve, 20));
    }
}

/** A problem as a test expects it: status, code, and members that must be there. */
export function assertProblem(response, status, code, members = {}) {
    assert.equal(response.status, status, String(response));
    const problem = response.json;
    assert.equal(problem.code, code, String(response));
    for (const [name, value] of Object.entries(members)) {
        if (value === undefined)
            assert.ok(!(name in problem), `no ${name}: ${response}`);
        else
            assert.deepEqual(problem[name], value, `${name}: ${response}`);
    }
}
