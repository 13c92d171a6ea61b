// Server-Sent Events as a strict client reads them (HTML Living Standard, 9.2): what a browser would pass over in silence - a field
// without a meaning, a line that is not UTF-8, an event without data - is an error here, since no server of ours should send it.
//
//   const stream = await openStream(`${server.url}/devices/d1/telemetry/stream`, { headers: { 'last-event-id': id } });
//   for await (const block of stream) ...          // {event, id, data, comment, retry}: one block of lines
//   await stream.next('reading')                    // the next block with this event
//
// A block has only those members that the server sent; `comment` joins its comment lines. `stream.lastEventId` is what a client
// would resume with. The iteration ends when the server ends the stream cleanly, and throws when the connection breaks.

import http from 'node:http';
import https from 'node:https';

const BLOCK_MAX = 4 * 1024 * 1024;

export class SseError extends Error {}

/** Text in pieces to blocks. */
export class SseParser {
    #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
    #rest = '';
    #lines = [];

    /** The blocks that end in these bytes. */
    push(bytes) {
        const blocks = [];
        this.#rest += this.#decoder.decode(bytes, { stream: true });
        if (this.#rest.length > BLOCK_MAX)
            throw new SseError('a line without an end');
        // Ours end their lines with LF alone; a CR inside of one would be an end of line to a browser.
        for (let at; (at = this.#rest.indexOf('\n')) >= 0; this.#rest = this.#rest.slice(at + 1)) {
            const line = this.#rest.slice(0, at);
            if (line.includes('\r') || line.includes('\0'))
                throw new SseError(`a line with CR or NUL: ${JSON.stringify(line.slice(0, 200))}`);
            if (line !== '') {
                this.#lines.push(line);
                continue;
            }
            if (this.#lines.length === 0)
                throw new SseError('a block without a line');
            blocks.push(SseParser.#block(this.#lines));
            this.#lines = [];
        }
        return blocks;
    }

    /** To be called at the end of the stream: nothing may be left over. */
    end() {
        this.#decoder.decode();
        if (this.#rest !== '' || this.#lines.length > 0)
            throw new SseError(`the stream ends within a block: ${JSON.stringify((this.#lines.join('\n') + this.#rest).slice(0, 200))}`);
    }

    static #block(lines) {
        const block = {};
        for (const line of lines) {
            const match = /^([a-z]*)(?:: ?(.*))?$/s.exec(line);
            if (!match)
                throw new SseError(`not a field: ${JSON.stringify(line.slice(0, 200))}`);
            const [, name, value = ''] = match;
            switch (name) {
            case '': block.comment = block.comment === undefined ? value : `${block.comment}\n${value}`; break;
            case 'data': block.data = block.data === undefined ? value : `${block.data}\n${value}`; break;
            case 'event': case 'id':
                if (name in block)
                    throw new SseError(`two fields ${name} in a block`);
                block[name] = value;
                break;
            case 'retry':
                if (!/^\d+$/.test(value))
                    throw new SseError(`retry: ${value}`);
                block.retry = Number(value);
                break;
            default: throw new SseError(`an unknown field: ${name}`);
            }
        }
        if (block.event !== undefined && block.data === undefined)
            throw new SseError(`an event without data, which nobody would see: ${block.event}`);
        return block;
    }
}

/** What a server says to one listener. */
export class SseStream {
    lastEventId = '';
    #blocks = [];
    #waiting = [];
    #end = undefined; // {error} once nothing more will come
    #res;

    constructor(res) {
        const parser = new SseParser();
        this.#res = res;
        /** {status, headers, rawHeaders} */
        this.response = { status: res.statusCode, headers: res.headers, rawHeaders: res.rawHeaders, httpVersion: res.httpVersion };
        const guarded = (work) => {
            try {
                work();
            } catch (error) {
                this.#finish(error);
                res.destroy();
            }
        };
        res.on('data', (bytes) => guarded(() => {
            for (const block of parser.push(bytes)) {
                if (block.id !== undefined)
                    this.lastEventId = block.id;
                this.#blocks.push(block);
            }
            this.#wake();
        }));
        res.on('end', () => guarded(() => {
            if (!res.complete)
                throw new SseError('the connection broke off');
            parser.end();
            this.#finish();
        }));
        res.on('error', (error) => this.#finish(error));
        res.on('close', () => this.#finish(new SseError('the connection broke off')));
    }

    #finish(error) {
        this.#end ??= { error };
        this.#wake();
    }

    #wake() {
        for (const wake of this.#waiting.splice(0))
            wake();
    }

    /** Whether the server has ended it, or the connection broke. */
    get ended() {
        return this.#end !== undefined;
    }

    async *[Symbol.asyncIterator]() {
        for (;;) {
            while (this.#blocks.length > 0)
                yield this.#blocks.shift();
            if (this.#end?.error)
                throw this.#end.error;
            if (this.#end)
                return;
            await new Promise((resolve) => this.#waiting.push(resolve));
        }
    }

    /** The next block, or the next that has this event. Throws after `timeout` ms, and at the end of the stream. */
    async next(event, { timeout = 10_000 } = {}) {
        const until = Date.now() + timeout;
        for (;;) {
            while (this.#blocks.length > 0) {
                const block = this.#blocks.shift();
                if (event === undefined || block.event === event)
                    return block;
            }
            if (this.#end)
                throw this.#end.error ?? new SseError('the stream has ended');
            const left = until - Date.now();
            if (left <= 0)
                throw new SseError(`no ${event ?? 'block'} within ${timeout} ms`);
            let timer;
            await Promise.race([
                new Promise((resolve) => this.#waiting.push(resolve)),
                new Promise((resolve) => (timer = setTimeout(resolve, left))),
            ]);
            clearTimeout(timer);
        }
    }

    /** The next `count` readings: {deviceId, data, timestamp, id}. What is said in between (heartbeats) is passed over. */
    async readings(count, options) {
        const readings = [];
        while (readings.length < count) {
            const block = await this.next(undefined, options);
            if (block.event === 'resync')
                throw new SseError(`resync: ${block.data}`);
            if (block.event === 'reading')
                readings.push({ ...JSON.parse(block.data), id: block.id });
        }
        return readings;
    }

    /** The events that came within the next `ms`. */
    async within(ms) {
        await new Promise((resolve) => setTimeout(resolve, ms));
        return this.#blocks.splice(0).filter((block) => block.event !== undefined);
    }

    /** Stops reading, so that the server's buffers fill up; resume() goes on. */
    pause() {
        this.#res.pause();
    }

    resume() {
        this.#res.resume();
    }

    /** Goes away without a word, as a client does. */
    close() {
        this.#end ??= {};
        this.#res.destroy();
        this.#wake();
    }
}

/**
 * Opens a stream. Options: headers, signal, ca (TLS), timeout of the opening, agent. An answer that is no stream rejects with an
 * SseError that has {status, headers, body}.
 */
export function openStream(url, { headers = {}, signal, ca, timeout = 15_000, agent = false } = {}) {
    const target = new URL(url);
    return new Promise((resolve, reject) => {
        const req = (target.protocol === 'https:' ? https : http).request(target, {
            headers: { accept: 'text/event-stream', ...headers }, signal, ca, agent,
        });
        const timer = setTimeout(() => req.destroy(new SseError(`no answer to GET ${target.pathname} within ${timeout} ms`)), timeout);
        req.on('error', (error) => {
            clearTimeout(timer);
            reject(error);
        });
        req.on('response', (res) => {
            clearTimeout(timer);
            if (res.statusCode === 200 && /^text\/event-stream\b/.test(res.headers['content-type'] ?? '')) {
                resolve(new SseStream(res));
                return;
            }
            const chunks = [];
            res.on('data', (chunk) => chunks.push(chunk));
            res.on('error', reject);
            res.on('end', () => reject(Object.assign(new SseError(`${res.statusCode} to GET ${target.pathname}`), {
                status: res.statusCode, headers: res.headers, body: Buffer.concat(chunks).toString('utf8'),
            })));
        });
        req.end();
    });
}
