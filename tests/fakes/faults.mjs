// Scripted faults for the fakes: what an upstream, or the network before it, may do wrong.
//
//   fake.fault({ op: 'query', times: 2, status: 429, headers: { 'x-ms-retry-after-ms': '15' } });
//   fake.fault({ op: 'query', wire: wire.reset });
//
// A fault takes the first `times` requests (default 1, Infinity for all) that fit `op`, `region`, `device` and `when(request)`.
// `status`/`headers`/`body` replace the answer; `change(answer, request)` edits the honest one in place; `wire` writes
// to the socket itself; `delay` waits (ms) before any of it.

import { setTimeout as sleep } from 'node:timers/promises';

export class FaultScript {
    #faults = [];

    add(fault) {
        const entry = { times: 1, ...fault, hits: 0 };
        this.#faults.push(entry);
        return entry;
    }

    clear() {
        this.#faults = [];
    }

    /** The fault for this request, or undefined. request: {op, region, device, ..} */
    take(request) {
        const found = this.#faults.find((fault) =>
            fault.times > 0 &&
            (fault.op === undefined || [fault.op].flat().includes(request.op)) &&
            (fault.region === undefined || fault.region === request.region) &&
            (fault.device === undefined || fault.device === request.device) &&
            (fault.when === undefined || fault.when(request)));
        if (found) {
            found.times--;
            found.hits++;
        }
        return found;
    }
}

/** Sends {status, headers, body} as one honest HTTP/1.1 answer with a Content-Length. */
export function sendAnswer(res, answer) {
    if (res.destroyed || res.socket?.destroyed)
        return;
    const body = Buffer.isBuffer(answer.body) ? answer.body : Buffer.from(answer.body ?? '');
    res.writeHead(answer.status, { ...answer.headers, 'content-length': String(body.length) });
    res.end(body);
}

/** Lets the fault act on this request. honest() makes the true answer, with its effects (a write is then done). */
export async function answerWithFault(fault, request, res, honest) {
    if (fault?.delay)
        await sleep(fault.delay);
    if (fault?.wire)
        return fault.wire(res, honest, request);
    if (fault?.status !== undefined)
        return sendAnswer(res, { status: fault.status, headers: fault.headers ?? {}, body: fault.body ?? '' });
    const answer = honest();
    fault?.change?.(answer, request);
    sendAnswer(res, answer);
}

function head(answer, length) {
    const lines = [`HTTP/1.1 ${answer.status} Said`];
    for (const [name, value] of Object.entries(answer.headers))
        lines.push(`${name}: ${value}`);
    if (length !== undefined)
        lines.push(`Content-Length: ${length}`);
    return lines.join('\r\n') + '\r\n';
}

const bytes = (answer) => Buffer.from(answer.body ?? '');

function endWith(res, text) {
    const socket = res.socket;
    res.detachSocket?.(socket);
    socket.write(text, () => socket.destroy());
}

/** Answers that no HTTP library would send. Each ends the connection. */
export const wire = {
    /** RST before a byte of the answer. */
    reset: (res) => (res.socket._parent ?? res.socket).resetAndDestroy(), // _parent: the TCP socket beneath TLS
    /** FIN before a byte of the answer. */
    close: (res) => res.socket.destroy(),
    /** Nothing at all, until the client gives up. */
    hang: () => {},
    /** Dies inside its header block: libcurl 7.88 calls this a success with an empty body. */
    diesInHeaders: (res) => endWith(res, 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-ms-requ'),
    /** The status line and headers end, the body never comes. */
    diesAfterHeaders: (res, honest) => endWith(res, head(honest(), 5000) + '\r\n'),
    /** The body breaks off before the Content-Length that was promised. */
    shortBody: (res, honest) => {
        const answer = honest();
        const body = bytes(answer);
        endWith(res, Buffer.concat([Buffer.from(head(answer, body.length) + '\r\n'), body.subarray(0, body.length >> 1)]));
    },
    /** The body breaks off, and the Content-Length fits what is left: only a parser can see it. */
    cutBody: (res, honest) => {
        const answer = honest();
        answer.body = bytes(answer).subarray(0, Math.max(1, bytes(answer).length - 9));
        sendAnswer(res, answer);
    },
    /** Chunked, and closed before the last chunk. */
    cutChunks: (res, honest) => {
        const answer = honest();
        const body = bytes(answer);
        endWith(res, Buffer.concat([
            Buffer.from(`${head(answer)}Transfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n')]));
    },
    /** No framing: the body lasts until the connection closes, so nobody can tell whether it is whole. */
    untilClose: (res, honest) => {
        const answer = honest();
        endWith(res, Buffer.concat([Buffer.from(head(answer) + 'Connection: close\r\n\r\n'), bytes(answer)]));
    },
    /** Two Content-Lengths; the last one, which libcurl takes, cuts the body. */
    twoLengths: (res, honest) => {
        const answer = honest();
        const body = bytes(answer);
        endWith(res, Buffer.concat([
            Buffer.from(`${head(answer, body.length)}Content-Length: ${body.length - 1}\r\n\r\n`), body]));
    },
    /** Not HTTP. */
    garbage: (res) => endWith(res, '\u0000\u0001SSH-2.0-OpenSSH_9.2\r\n\r\n'),
    /** 200 with a page of another service. */
    html: (res) => sendAnswer(res, {
        status: 200, headers: { 'content-type': 'text/html' }, body: '<html><body>Welcome to the captive portal</body></html>',
    }),
    /** One byte every `ms`. */
    drip: (ms) => (res, honest) => {
        const answer = honest();
        const socket = res.socket;
        const all = Buffer.concat([Buffer.from(head(answer, bytes(answer).length) + '\r\n'), bytes(answer)]);
        let at = 0;
        const timer = setInterval(() => {
            if (socket.destroyed || at >= all.length)
                return clearInterval(timer);
            socket.write(all.subarray(at, ++at));
        }, ms);
        socket.once('close', () => clearInterval(timer));
    },
    /** The honest answer with its body replaced. */
    body: (text) => (res, honest) => sendAnswer(res, { ...honest(), body: text }),
    /** A valid start, then `size` bytes of white space: an answer without an end in sight. */
    huge: (size) => (res, honest) => sendAnswer(res, { ...honest(), body: Buffer.alloc(size, 0x20) }),
};
