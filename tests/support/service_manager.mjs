// Runs the server as a service manager does: sockets that outlive it, a socket on which it tells how it is, a watchdog.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { root } from './contract.mjs';
import { BINARY, assertBuilt, assertNoSanitizerReport, cleanEnvironment, waitFor } from './server.mjs';
import { tempDirectory } from './temp.mjs';

class ServiceManager {
    events = [];
    stderr = '';
    #child;

    constructor(child) {
        this.#child = child;
        createInterface({ input: child.stdout }).on('line', (line) => this.events.push(JSON.parse(line)));
        child.stderr.setEncoding('utf8').on('data', (text) => (this.stderr += text));
    }

    of(kind) {
        return this.events.filter(({ event }) => event === kind);
    }

    /** What the server told, line by line. */
    get told() {
        return this.of('told').flatMap(({ lines }) => lines.split('\n'));
    }

    get log() {
        return this.stderr.split('\n').filter(Boolean).map((line) => JSON.parse(line));
    }

    /** Writes a command, and waits for the n-th event of a kind, which it returns. */
    async ask(command, kind) {
        const before = this.of(kind).length;
        this.#child.stdin.write(`${command}\n`);
        return this.next(kind, before);
    }

    async next(kind, before = 0) {
        await waitFor(() => this.of(kind).length > before, `${kind} (${this.stderr})`);
        return this.of(kind)[before];
    }

    async stop() {
        this.#child.stdin.end();
        await once(this.#child, 'close');
        assertNoSanitizerReport(this.stderr);
    }
}

/** options: {sockets, watchdog, pid, count}: see service_manager.py. env, args: the server's. The server is not started yet. */
export async function startServiceManager(t, { sockets = [], watchdog, pid, count, env = {}, args = [] } = {}) {
    assertBuilt();
    const settings = { TELEMETRYD_WORKERS: '2', TELEMETRYD_DATA: ':memory:', TELEMETRYD_LISTEN: '127.0.0.1:0', ...env };
    const options = { argv: [BINARY, ...args], sockets, watchdog, pid, count };
    const child = spawn('python3', [join(root, 'tests/support/service_manager.py'), JSON.stringify(options)],
        { env: cleanEnvironment(settings), cwd: tempDirectory(), stdio: 'pipe' });
    const manager = new ServiceManager(child);
    t.after(() => manager.stop());
    const { ports } = await manager.next('listening');
    assert.equal(ports.length, sockets.length);
    manager.ports = ports;
    return manager;
}
