// HTTP as the tests need it: nothing is normalized, retried, followed or hidden, and raw bytes can be sent.

import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import tls from 'node:tls';

export const agent = new http.Agent({ keepAlive: true, maxSockets: 256 });
const secureAgent = new https.Agent({ keepAlive: true, maxSockets: 256 });

/**
 * One request. Returns {status, headers, header(name), values(name), body, text, json}; json is a getter.
 * headers: an object; body: string or Buffer; secure: options for node:tls where the base is https.
 */
export function request(base, { method = 'GET', path = '/', headers = {}, body, timeout = 20_000, secure, agent: own = secure ? secureAgent : agent, signal } = {}) {
    const url = new URL(base);
    return new Promise((resolve, reject) => {
        const req = (url.protocol === 'https:' ? https : http).request({
            host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port, method, path, headers, agent: own, signal, ...secure,
        });
        const timer = setTimeout(() => req.destroy(new Error(`no answer to ${method} ${path} within ${timeout} ms`)), timeout);
        req.on('close', () => clearTimeout(timer));
        req.on('error', reject);
        req.on('response', (res) => {
            const chunks = [];
            res.on('data', (chunk) => chunks.push(chunk));
            res.on('error', reject);
            res.on('end', () => {
                if (!res.complete)
                    return reject(new Error(`the answer to ${method} ${path} broke off`));
                resolve(makeResponse(res.statusCode, res.rawHeaders, Buffer.concat(chunks), { method, path }));
            });
        });
        req.end(body);
    });
}

function makeResponse(status, rawHeaders, body, asked) {
    const headers = {};
    for (let i = 0; i < rawHeaders.length; i += 2)
        (headers[rawHeaders[i].toLowerCase()] ??= []).push(rawHeaders[i + 1]);
    return {
        status, body, asked,
        values: (name) => headers[name.toLowerCase()] ?? [],
        header: (name) => headers[name.toLowerCase()]?.[0],
        headerNames: Object.keys(headers),
        get text() {
            return body.toString('utf8');
        },
        get json() {
            try {
                return JSON.parse(body.toString('utf8'));
            } catch (error) {
                throw new Error(`the answer to ${asked.method} ${asked.path} (${status}) is not JSON: ${error.message}: ${this.text.slice(0, 300)}`);
            }
        },
        toString() {
            return `${asked.method} ${asked.path} -> ${status} ${body.toString('utf8').slice(0, 400)}`;
        },
    };
}

/**
 * Sends bytes over a fresh connection and reads until it is closed or `until(received)` says that it is enough.
 * bytes: a string (latin1), a Buffer, or a list of them and of numbers (milliseconds to wait in between).
 * secure: options for node:tls where the bytes go through TLS. Returns {received: Buffer, closed: bool, reset: bool, ms}.
 */
export function sendRaw(base, bytes, { timeout = 5000, until, halfClose = false, secure } = {}) {
    const url = new URL(base);
    const started = Date.now();
    return new Promise((resolve, reject) => {
        const chunks = [];
        let settled = false;
        let reset = false;
        const where = { port: Number(url.port), host: url.hostname.replace(/^\[|\]$/g, '') };
        const socket = secure ? tls.connect({ ...where, ...secure }) : net.connect(where);
        socket.setNoDelay(true);
        const settle = (closed) => {
            if (settled)
                return;
            settled = true;
            clearTimeout(timer);
            socket.destroy();
            resolve({ received: Buffer.concat(chunks), closed, reset, ms: Date.now() - started });
        };
        const timer = setTimeout(() => settle(false), timeout);
        socket.on('data', (chunk) => {
            chunks.push(chunk);
            if (until?.(Buffer.concat(chunks)))
                settle(false);
        });
        socket.on('end', () => settle(true));
        socket.on('close', () => settle(true));
        socket.on('error', (error) => {
            if (error.code === 'ECONNRESET' || error.code === 'EPIPE') {
                reset = true;
                return; // close follows
            }
            settled = true;
            clearTimeout(timer);
            reject(error);
        });
        socket.on(secure ? 'secureConnect' : 'connect', async () => {
            for (const piece of [bytes].flat()) {
                if (settled || socket.destroyed)
                    return;
                if (typeof piece === 'number')
                    await new Promise((done) => setTimeout(done, piece));
                else
                    socket.write(typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece);
            }
            if (halfClose)
                socket.end();
        });
    });
}

/** Splits the bytes that a server sent into its answers. Throws where they are not HTTP/1.x. heads: methods asked, for HEAD. */
export function parseAnswers(received, methods = []) {
    const answers = [];
    let rest = received;
    while (rest.length > 0) {
        const end = rest.indexOf('\r\n\r\n');
        if (end < 0)
            throw new Error(`an answer without the end of its headers: ${rest.toString('latin1').slice(0, 200)}`);
        const [statusLine, ...lines] = rest.subarray(0, end).toString('latin1').split('\r\n');
        const match = /^HTTP\/1\.[01] (\d{3}) /.exec(`${statusLine} `);
        if (!match)
            throw new Error(`not a status line: ${statusLine.slice(0, 200)}`);
        const raw = lines.flatMap((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]);
        const status = Number(match[1]);
        rest = rest.subarray(end + 4);
        const probe = makeResponse(status, raw, Buffer.alloc(0), { method: 'raw', path: '' });
        const method = methods[answers.filter((a) => a.status >= 200).length] ?? 'GET';
        let length = 0;
        if (status >= 200 && status !== 204 && status !== 304 && method !== 'HEAD') {
            length = Number(probe.header('content-length') ?? rest.length);
            if (rest.length < length)
                throw new Error(`an answer broke off: ${rest.length} of ${length} bytes`);
        }
        answers.push(makeResponse(status, raw, rest.subarray(0, length), { method: 'raw', path: '' }));
        rest = rest.subarray(length);
    }
    return answers;
}
