// A flood of requests from a thread of its own, so that whoever measures beside it is not slowed down by making it.

import net from 'node:net';
import { fileURLToPath } from 'node:url';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

/**
 * Sends `count` requests over `connections` kept connections, `batch` at a time on each. before, after: texts between which the
 * number of a request stands, base64url-encoded with what `encode` puts around it: {prefix, suffix} (or undefined: as it is).
 * Resolves to {statuses: {401: 100000}, ms}.
 */
export function flood(options) {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: options });
    return new Promise((resolve, reject) => {
        worker.once('message', resolve);
        worker.once('error', reject);
    });
}

async function run({ port, count, connections, batch, before, encode, after }) {
    const statuses = {};
    let next = 0;
    const made = (n) => before + (encode ? Buffer.from(encode.prefix + n + encode.suffix).toString('base64url') : n) + after;
    const one = () => new Promise((resolve, reject) => {
        const socket = net.connect(port, '127.0.0.1');
        let waiting = 0;
        let rest = '';
        const send = () => {
            const requests = [];
            while (requests.length < batch && next < count)
                requests.push(made(next++));
            waiting = requests.length;
            if (waiting === 0)
                socket.end();
            else
                socket.write(requests.join(''));
        };
        socket.setEncoding('latin1');
        socket.on('connect', send);
        socket.on('data', (text) => {
            rest += text;
            // A body cannot hold this: its line feeds are escaped.
            for (let at; waiting > 0 && (at = rest.indexOf('HTTP/1.1 ')) >= 0 && rest.length >= at + 12; waiting--) {
                const status = rest.slice(at + 9, at + 12);
                statuses[status] = (statuses[status] ?? 0) + 1;
                rest = rest.slice(at + 12);
            }
            if (waiting === 0) {
                rest = '';
                send();
            }
        });
        socket.on('error', reject);
        socket.on('close', () => (waiting > 0 ? reject(new Error(`closed with ${waiting} answers missing`)) : resolve()));
    });
    const started = Date.now();
    await Promise.all(Array.from({ length: connections }, one));
    return { statuses, ms: Date.now() - started };
}

if (!isMainThread && workerData?.connections)
    parentPort.postMessage(await run(workerData));
