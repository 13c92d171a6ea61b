// Clients that take connections and make no use of them, in a thread of their own, so that the time they cost is not taken for the server's.

import net from 'node:net';
import tls from 'node:tls';
import { Worker, isMainThread, workerData } from 'node:worker_threads';

const trickle = (socket, head) => {
    socket.write(head);
    const timer = setInterval(() => socket.write('a'), 1000);
    socket.on('close', () => clearInterval(timer));
};

const POST = 'POST /devices/d/telemetry HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n';

const kinds = {
    'say nothing': () => {},
    'never finish a handshake': (socket) => socket.write(Buffer.from([0x16, 3, 1, 1, 0, 1])),
    'never finish a header': (socket) => trickle(socket, 'GET /livez HTTP/1.1\r\nHost: x\r\nX: '),
    'never finish a body': (socket) => trickle(socket, `${POST}Content-Length: 1000\r\n\r\n{"`),
    'never finish a chunk': (socket) => trickle(socket, `${POST}Transfer-Encoding: chunked\r\n\r\nfff\r\n{"`),
    'never read': (socket, page) => {
        socket.pause();
        socket.write(`GET ${page} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(2));
    },
    'keep connections idle': (socket) => {
        socket.resume();
        socket.write('GET /livez HTTP/1.1\r\nHost: x\r\n\r\n');
    },
};

/** Each connects, does its thing, and comes back half a second after it was thrown out. */
function work({ kind, port, secure, count, ramp, seconds, page }) {
    const connect = () => {
        const where = { port, host: '127.0.0.1' };
        const socket = secure ? tls.connect({ ...where, ...secure }) : net.connect(where);
        socket.on('error', () => {});
        socket.on(secure ? 'secureConnect' : 'connect', () => kinds[kind](socket, page));
        socket.on('close', () => setTimeout(connect, 500));
    };
    for (let i = 0; i < count; i++)
        setTimeout(connect, (i * ramp * 1000) / count);
    setTimeout(() => process.exit(0), seconds * 1000);
}

/** Runs `count` of a kind against the server, which come over `ramp` seconds, and resolves after so many seconds. secure: options for node:tls. */
export function slowClients(kind, { port, secure, count, ramp, seconds, page }) {
    const worker = new Worker(new URL(import.meta.url), { workerData: { kind, port, secure, count, ramp, seconds, page } });
    return new Promise((resolve, reject) => {
        worker.on('error', reject);
        worker.on('exit', resolve);
    });
}

if (!isMainThread && workerData?.kind !== undefined)
    work(workerData);
