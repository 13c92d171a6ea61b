// Malformed and ambiguous HTTP, byte by byte. Every case carries a second request behind the first: whatever is answered,
// the connection must be closed and that request must never be carried out.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { checkGeneral } from '../support/contract.mjs';
import { parseAnswers, sendRaw } from '../support/http.mjs';
import { SLOW, startServer } from '../support/server.mjs';
import { Authority } from '../support/tls.mjs';

const HOST = 'Host: x\r\n';
const JSON_TYPE = 'Content-Type: application/json\r\n';

const CODES = {
    400: ['BadRequest'], 404: ['NotFound'], 405: ['MethodNotAllowed'], 408: ['RequestTimeout'], 413: ['PayloadTooLarge'], 414: ['UriTooLong'],
    417: ['ExpectationFailed'], 431: ['HeadersTooLarge'], 501: ['NotImplemented'], 505: ['HttpVersionNotSupported', 'VersionNotSupported'],
};

/** A POST to the device `victim` that is itself at fault. */
const post = (headers, body) => `POST /devices/victim/telemetry HTTP/1.1\r\n${HOST}${JSON_TYPE}${headers}\r\n${body}`;
const get = (headers, line = 'GET /livez HTTP/1.1') => `${line}\r\n${headers}\r\n`;
const smuggled = (device) => `POST /devices/${device}/telemetry HTTP/1.1\r\n${HOST}${JSON_TYPE}Content-Length: 14\r\n\r\n{"smuggled":1}`;

// [what, bytes, statuses that are right]. What follows the bytes is never a request of its own.
const refused = [
    // --- Content-Length and Transfer-Encoding
    ['two Content-Lengths that differ', post('Content-Length: 2\r\nContent-Length: 60\r\n', '{}'), [400]],
    ['two Content-Lengths that agree', post('Content-Length: 2\r\nContent-Length: 2\r\n', '{}'), [400]],
    ['a list of Content-Lengths', post('Content-Length: 2, 2\r\n', '{}'), [400]],
    ['Content-Length and Transfer-Encoding', post('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'), [400]],
    ['Transfer-Encoding and Content-Length', post('Transfer-Encoding: chunked\r\nContent-Length: 5\r\n', '0\r\n\r\n'), [400]],
    ['Content-Length: 0 and Transfer-Encoding', post('Content-Length: 0\r\nTransfer-Encoding: chunked\r\n', '2\r\n{}\r\n0\r\n\r\n'), [400]],
    ['Transfer-Encoding twice', post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', '2\r\n{}\r\n0\r\n\r\n'), [400, 501]],
    ['Transfer-Encoding, then another one', post('Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n', '2\r\n{}\r\n0\r\n\r\n'), [400, 501]],
    ['chunked, chunked', post('Transfer-Encoding: chunked, chunked\r\n', '2\r\n{}\r\n0\r\n\r\n'), [400, 501]],
    ['chunked, identity', post('Transfer-Encoding: chunked, identity\r\n', '2\r\n{}\r\n0\r\n\r\n'), [400, 501]],
    ['identity', post('Transfer-Encoding: identity\r\n', '{}'), [400, 501]],
    ['xchunked', post('Transfer-Encoding: xchunked\r\n', '2\r\n{}\r\n0\r\n\r\n'), [501]],
    ['gzip, chunked', post('Transfer-Encoding: gzip, chunked\r\n', '2\r\n{}\r\n0\r\n\r\n'), [501]],
    ['gzip', post('Transfer-Encoding: gzip\r\n', '{}'), [400, 501]],
    ['chunked with a parameter', post('Transfer-Encoding: chunked;q=1\r\n', '2\r\n{}\r\n0\r\n\r\n'), [400, 501]],
    ['chunked in quotes', post('Transfer-Encoding: "chunked"\r\n', '2\r\n{}\r\n0\r\n\r\n'), [400, 501]],
    ['chunked behind a vertical tab', post('Transfer-Encoding: \u000bchunked\r\n', '2\r\n{}\r\n0\r\n\r\n'), [400, 501]],
    ['an empty Transfer-Encoding', post('Transfer-Encoding:\r\n', '2\r\n{}\r\n0\r\n\r\n'), [400, 501]],
    ['Transfer-Encoding in HTTP/1.0', `POST /devices/victim/telemetry HTTP/1.0\r\n${HOST}${JSON_TYPE}Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n`, [400, 501, 505]],
    ...['+2', '-2', '2 2', '0x2', '2a', 'a', '', '2.0', '2,', '"2"', '2;2', '\u00b2', '1e1'].map((v) =>
        [`Content-Length: ${v || '(empty)'}`, post(`Content-Length: ${v}\r\n`, '{}'), [400]]),
    ...['9223372036854775807', '18446744073709551615', '18446744073709551618', '99999999999999999999'].map((v) =>
        [`Content-Length: ${v}`, post(`Content-Length: ${v}\r\n`, '{}'), [400, 413]]),
    ['Content-Length with a space before the colon', post('Content-Length : 2\r\n', '{}'), [400]],
    ['Content-Length with a tab before the colon', post('Content-Length\t: 2\r\n', '{}'), [400]],
    ['Transfer-Encoding with a space before the colon', post('Transfer-Encoding : chunked\r\n', '2\r\n{}\r\n0\r\n\r\n'), [400]],
    ['Content-Length behind a NUL in its name', post('Content\u0000-Length: 2\r\n', '{}'), [400]],

    // --- chunks
    ['a chunk size that overflows', post('Transfer-Encoding: chunked\r\n', 'ffffffffffffffffff\r\n{}\r\n0\r\n\r\n'), [400, 413]],
    ['a chunk size that overflows to 2', post('Transfer-Encoding: chunked\r\n', '10000000000000002\r\n{}\r\n0\r\n\r\n'), [400, 413]],
    ...['0x2', '-2', '+2', ' 2', 'g', '', '2 2', '2\t', '\u00b2', '2,'].map((size) =>
        [`the chunk size ${JSON.stringify(size)}`, post('Transfer-Encoding: chunked\r\n', `${size}\r\n{}\r\n0\r\n\r\n`), [400]]),
    ['no CRLF behind a chunk', post('Transfer-Encoding: chunked\r\n', '2\r\n{}0\r\n\r\n'), [400]],
    ['a chunk longer than said', post('Transfer-Encoding: chunked\r\n', '2\r\n{ }\r\n0\r\n\r\n'), [400]],
    ['LF behind a chunk size', post('Transfer-Encoding: chunked\r\n', '2\n{}\r\n0\r\n\r\n'), [400]],
    ['LF behind a chunk', post('Transfer-Encoding: chunked\r\n', '2\r\n{}\n0\r\n\r\n'), [400]],
    ['LF behind the last chunk', post('Transfer-Encoding: chunked\r\n', '2\r\n{}\r\n0\n\n'), [400]],
    ['LF within a chunk extension', post('Transfer-Encoding: chunked\r\n', '2;a=b\n\r\n{}\r\n0\r\n\r\n'), [400]],
    ['CR within a chunk extension', post('Transfer-Encoding: chunked\r\n', '2;a\rb\r\n{}\r\n0\r\n\r\n'), [400]],
    ['a chunk extension without end', post('Transfer-Encoding: chunked\r\n', `2;${'a'.repeat(100_000)}\r\n{}\r\n0\r\n\r\n`), [400, 413, 431]],
    ['zeros without end before a chunk size', post('Transfer-Encoding: chunked\r\n', `${'0'.repeat(5000)}2\r\n{}\r\n0\r\n\r\n`), [400, 413]],
    ['a trailer with a space before its colon', post('Transfer-Encoding: chunked\r\n', '2\r\n{}\r\n0\r\nA : b\r\n\r\n'), [400]],
    ['a trailer with LF', post('Transfer-Encoding: chunked\r\n', '2\r\n{}\r\n0\r\nA: b\n\r\n'), [400]],
    ['trailers without end', post('Transfer-Encoding: chunked\r\n', `2\r\n{}\r\n0\r\n${'A: b\r\n'.repeat(20_000)}\r\n`), [400, 413, 431]],

    // --- header lines
    ['a header line that begins with a space', get(` X: y\r\n${HOST}`), [400]],
    ['a folded header', get(`${HOST}X: a\r\n b\r\n`), [400]],
    ['a folded Content-Length', post('Content-Length:\r\n 2\r\n', '{}'), [400]],
    ['a header without a colon', get(`${HOST}X\r\n`), [400]],
    ['a header without a name', get(`${HOST}: x\r\n`), [400]],
    ['a header name with a space', get(`${HOST}X Y: z\r\n`), [400]],
    ['a header name with a parenthesis', get(`${HOST}X(Y): z\r\n`), [400]],
    ['a header name outside ASCII', get(`${HOST}X\u00e9: z\r\n`), [400]],
    ['a NUL in a header', get(`${HOST}X: a\u0000b\r\n`), [400]],
    ['a control character in a header', get(`${HOST}X: a\u0001b\r\n`), [400]],
    ['DEL in a header', get(`${HOST}X: a\u007fb\r\n`), [400]],
    ['a bare CR in a header', get(`${HOST}X: a\rY: b\r\n`), [400]],
    ['a bare LF between headers', get(`Host: x\nX: y\r\n`), [400]],
    ['bare LFs everywhere', `GET /livez HTTP/1.1\nHost: x\n\n`, [400]],
    ['a bare LF at the end of the headers', `GET /livez HTTP/1.1\r\nHost: x\r\n\n`, [400]],
    ['a bare LF behind the request line', `GET /livez HTTP/1.1\nHost: x\r\n\r\n`, [400]],
    ['CR CR LF', `GET /livez HTTP/1.1\r\nHost: x\r\r\n\r\n`, [400]],

    // --- Host
    ['no Host', get(''), [400]],
    ['two Hosts', get(`${HOST}${HOST}`), [400]],
    ['two Hosts that differ', get(`${HOST}Host: y\r\n`), [400]],
    ...['a b', 'a/b', 'u@x', 'x?y', 'x#y', 'x\\y', '[::1', 'x:y:z', 'x:8a', '<x>', '\u00e9'].map((host) => [`Host: ${host}`, get(`Host: ${host}\r\n`), [400]]),

    // --- the request line
    ['a method with a character that no token has', get(HOST, 'G@T /livez HTTP/1.1'), [400]],
    ['a method in parentheses', get(HOST, '(GET) /livez HTTP/1.1'), [400]],
    ['a method with a NUL', get(HOST, 'GE\u0000T /livez HTTP/1.1'), [400]],
    ['a method outside ASCII', get(HOST, 'G\u00c9T /livez HTTP/1.1'), [400]],
    ['a method without end', get(HOST, `${'A'.repeat(50_000)} /livez HTTP/1.1`), [400, 405, 414, 431, 501]],
    ['a space before the method', get(HOST, ' GET /livez HTTP/1.1'), [400]],
    ['two spaces behind the method', get(HOST, 'GET  /livez HTTP/1.1'), [400]],
    ['two spaces behind the target', get(HOST, 'GET /livez  HTTP/1.1'), [400]],
    ['a tab for a space', get(HOST, 'GET\t/livez HTTP/1.1'), [400]],
    ['a space behind the version', get(HOST, 'GET /livez HTTP/1.1 '), [400, 505]],
    ['a space in the target', get(HOST, 'GET /li vez HTTP/1.1'), [400, 505]],
    ['a NUL in the target', get(HOST, 'GET /livez\u0000 HTTP/1.1'), [400]],
    ['a control character in the target', get(HOST, 'GET /livez\u0001 HTTP/1.1'), [400]],
    ['a bare CR in the target', get(HOST, 'GET /livez\r HTTP/1.1'), [400]],
    ['a byte outside ASCII in the target', get(HOST, 'GET /livez\u00ff HTTP/1.1'), [400]],
    ['a fragment in the target', get(HOST, 'GET /livez#x HTTP/1.1'), [400]],
    ['a target without a slash', get(HOST, 'GET livez HTTP/1.1'), [400]],
    ['no target', get(HOST, 'GET HTTP/1.1'), [400, 505]],
    ['an authority for a target', get(HOST, 'GET x:80 HTTP/1.1'), [400]],
    ['CONNECT', get(HOST, 'CONNECT x:80 HTTP/1.1'), [400, 405, 501]],
    ['HTTP/0.9', 'GET /livez\r\n', [400, 505]],
    ['HTTP/2.0', get(HOST, 'GET /livez HTTP/2.0'), [505]],
    ['HTTP/3.0', get(HOST, 'GET /livez HTTP/3.0'), [505]],
    ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', [400, 505]],
    ['HTTP/1.10', get(HOST, 'GET /livez HTTP/1.10'), [400, 505]],
    ['HTTP/11.1', get(HOST, 'GET /livez HTTP/11.1'), [400, 505]],
    ['HTTP/01.1', get(HOST, 'GET /livez HTTP/01.1'), [400, 505]],
    ['HTTP/1', get(HOST, 'GET /livez HTTP/1'), [400, 505]],
    ['http/1.1', get(HOST, 'GET /livez http/1.1'), [400, 505]],
    ['HTTP/1.x', get(HOST, 'GET /livez HTTP/1.x'), [400, 505]],
    ['another protocol', get(HOST, 'GET /livez RTSP/1.0'), [400, 505]],
    ['a TLS handshake', '\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003\r\n\r\n', [400]],

    // --- limits and expectations
    ['an unknown expectation', get(`${HOST}Expect: 200-ok\r\n`), [417]],
    ['an unknown expectation beside 100-continue', post('Expect: 100-continue, x\r\nContent-Length: 2\r\n', '{}'), [417]],
    ['a target of 70,000 bytes', get(HOST, `GET /${'a'.repeat(70_000)} HTTP/1.1`), [414]],
    ['a query of 70,000 bytes', get(HOST, `GET /livez?a=${'a'.repeat(70_000)} HTTP/1.1`), [414]],
    ['a header of 70,000 bytes', get(`${HOST}X: ${'a'.repeat(70_000)}\r\n`), [431]],
    ['a header name of 70,000 bytes', get(`${HOST}${'X'.repeat(70_000)}: a\r\n`), [431]],
    ['1,000 headers', get(HOST + Array.from({ length: 1000 }, (_, i) => `X${i}: y\r\n`).join('')), [431]],
];

// Odd requests that have one plain meaning: [what, bytes, statuses]. The connection stays in step.
const close = 'Connection: close\r\n';
const odd = [
    ['an empty line before the request', `\r\n${get(HOST + close)}`, [200, 400]],
    ['the absolute form', get(HOST + close, 'GET http://x/livez HTTP/1.1'), [200, 400]],
    ['the absolute form of another host', get(HOST + close, 'GET http://y/livez HTTP/1.1'), [200, 400, 404]],
    ['OPTIONS *', get(HOST + close, 'OPTIONS * HTTP/1.1'), [200, 204, 400, 404]],
    ['GET *', get(HOST + close, 'GET * HTTP/1.1'), [400, 404]],
    ['a method in lower case', get(HOST + close, 'get /livez HTTP/1.1'), [400, 405, 501]],
    ['HTTP/1.0 without Host', 'GET /livez HTTP/1.0\r\n\r\n', [200, 400]],
    ['HTTP/1.2', get(HOST + close, 'GET /livez HTTP/1.2'), [200, 400, 505]],
    ['chunked in capitals', post(`Transfer-Encoding: CHUNKED\r\n${close}`, '2\r\n{}\r\n0\r\n\r\n').replace('/victim/', '/odd/'), [201]],
    ['a chunk extension', post(`Transfer-Encoding: chunked\r\n${close}`, '2;a=b\r\n{}\r\n0\r\n\r\n').replace('/victim/', '/odd/'), [201, 400]],
    ['a trailer', post(`Transfer-Encoding: chunked\r\n${close}`, '2\r\n{}\r\n0\r\nA: b\r\n\r\n').replace('/victim/', '/odd/'), [201, 400]],
    ['2,000 chunks of a byte', post(`Transfer-Encoding: chunked\r\n${close}`, `${[...`{"a":"${'x'.repeat(1992)}"}`].map((c) => `1\r\n${c}\r\n`).join('')}0\r\n\r\n`).replace('/victim/', '/odd/'), [201]],
    ['a Content-Length with zeros before it', post(`Content-Length: 002\r\n${close}`, '{}').replace('/victim/', '/odd/'), [201, 400]],
    ['100-continue', post(`Content-Length: 2\r\nExpect: 100-continue\r\n${close}`, '{}').replace('/victim/', '/odd/'), [201]],
    ['GET with a body', `GET /livez HTTP/1.1\r\n${HOST}${close}Content-Length: 2\r\n\r\n{}`, [200, 400]],
    ['dots in the path', get(HOST + close, 'GET /devices/../livez HTTP/1.1'), [400, 404]],
    ['dots before the path', get(HOST + close, 'GET /../livez HTTP/1.1'), [400, 404]],
    ['escaped dots', get(HOST + close, 'GET /devices/%2e%2e/livez HTTP/1.1'), [400, 404]],
    ['an escaped slash between segments', get(HOST + close, 'GET /devices%2Fvictim/telemetry HTTP/1.1'), [400, 404]],
    ['an escaped NUL behind a route', get(HOST + close, 'GET /livez%00 HTTP/1.1'), [400, 404]],
    ['an escaped NUL before a query', get(HOST + close, 'GET /livez%00?x=1 HTTP/1.1'), [400, 404]],
    ['a header of 8,000 bytes', get(`${HOST}${close}X: ${'a'.repeat(8000)}\r\n`), [200]],
    ['50 headers', get(HOST + close + Array.from({ length: 50 }, (_, i) => `X${i}: y\r\n`).join('')), [200]],
];

for (const transport of ['plain', 'TLS']) describe(`framing over ${transport}`, { concurrency: 8 }, () => {
    let server;
    before(async () => {
        server = await startServer({ tls: transport === 'TLS' ? new Authority().server() : undefined });
    });
    after(() => server?.stop());

    const send = (bytes, options) => sendRaw(server.url, bytes, { secure: server.secure, ...options });

    let count = 0;
    const isStored = async (device) => (await server.api(`/devices/${device}/telemetry`)).status !== 404;

    const check = async (name, bytes, statuses, { timeout = 5000 * SLOW } = {}) => {
        const device = `smuggled-${++count}`;
        const { received, closed } = await send([bytes, smuggled(device)].flat(), { timeout });
        assert.ok(closed, `the connection stays open; received ${received.toString('latin1').slice(0, 300)}`);
        assert.ok(received.length > 0, 'closed without an answer');
        const answers = parseAnswers(received);
        assert.equal(answers.length, 1, `one answer, not ${answers.map((a) => a.status)}`);
        assert.ok(statuses.includes(answers[0].status), `${answers[0].status} is not one of ${statuses}: ${answers[0].text}`);
        checkGeneral(answers[0]);
        assert.equal(answers[0].header('strict-transport-security'), server.secure && 'max-age=31536000');
        assert.ok(CODES[answers[0].status].includes(answers[0].json.code), answers[0].text);
        assert.equal(answers[0].header('connection')?.toLowerCase(), 'close', 'the answer says that the connection is closed');
        assert.ok(!await isStored(device), 'the request behind it was carried out');
        assert.ok(!await isStored('victim'), 'the request itself was carried out');
    };

    for (const [name, bytes, statuses] of refused) {
        it(`refuses ${name}: ${statuses.join(' or ')}`, () => check(name, bytes, statuses));
    }

    it('refuses the same when the bytes come one by one', async () => {
        const some = refused.filter(([, bytes]) => bytes.length < 200).filter((_, i) => i % 4 === 0);
        for (const [name, bytes, statuses] of some) {
            const pieces = [...bytes].flatMap((byte, i) => (i % 8 === 7 ? [byte, 0] : [byte]));
            await check(name, pieces, statuses);
        }
    });

    it('refuses what comes behind a good request, and answers the good one', async () => {
        const device = `smuggled-${++count}`;
        const { received, closed } = await send(get(HOST) + get(`${HOST}${HOST}`) + smuggled(device));
        assert.ok(closed);
        assert.deepEqual(parseAnswers(received).map((a) => a.status), [200, 400]);
        assert.ok(!await isStored(device));
    });

    for (const [name, bytes, statuses] of odd) {
        it(`takes for what it is: ${name}`, async () => {
            const device = `smuggled-${++count}`;
            const { received, closed } = await send(bytes + smuggled(device), { timeout: 5000 * SLOW });
            assert.ok(closed, 'Connection: close was asked for');
            const answers = parseAnswers(received).filter((answer) => answer.status !== 100);
            assert.equal(answers.length, 1, `one answer, not ${answers.map((a) => a.status)}`);
            assert.ok(statuses.includes(answers[0].status), `${answers[0].status}: ${answers[0].text}`);
            checkGeneral(answers[0]);
            assert.ok(!await isStored(device), 'what follows Connection: close is not carried out');
        });
    }

    it('carries out pipelined requests with bodies, each once and in order', async () => {
        const one = (n, more = '') => `POST /devices/pipelined/telemetry HTTP/1.1\r\n${HOST}${JSON_TYPE}${more}Content-Length: 7\r\n\r\n{"n":${n}}`;
        const head = `HEAD /devices/pipelined/telemetry HTTP/1.1\r\n${HOST}\r\n`;
        const { received, closed } = await send(one(1) + one(2) + head + one(3) + get(HOST) + one(4, close), { timeout: 5000 * SLOW });
        assert.ok(closed);
        assert.deepEqual(parseAnswers(received, ['POST', 'POST', 'HEAD']).map((a) => a.status), [201, 201, 200, 201, 200, 201]);
        const page = await server.api('/devices/pipelined/telemetry?order=asc');
        assert.deepEqual(page.json.telemetry.map((r) => r.data.n), [1, 2, 3, 4]);
    });

    it('says 100 Continue before it reads the body', async () => {
        const head = `POST /devices/continue/telemetry HTTP/1.1\r\n${HOST}${JSON_TYPE}${close}Content-Length: 2\r\nExpect: 100-continue\r\n\r\n`;
        let told = false;
        const { received } = await send([head, 300, '{}'], { until: (bytes) => (told ||= bytes.toString('latin1').startsWith('HTTP/1.1 100 ')) && false });
        assert.ok(told);
        assert.equal(parseAnswers(received).at(-1).status, 201);
    });

    it('answers a client that has closed its half after the request', async () => {
        const { received } = await send(get(HOST + close), { halfClose: true });
        assert.equal(parseAnswers(received)[0].status, 200);
    });

    it('lets a client that sends far too much read its 413', async () => {
        const body = Buffer.alloc(5 * 1024 * 1024, 0x20);
        const head = `POST /devices/victim/telemetry HTTP/1.1\r\n${HOST}${JSON_TYPE}Content-Length: ${body.length}\r\n\r\n`;
        const { received } = await send([head, body], { timeout: 10_000 * SLOW, until: (bytes) => bytes.includes('PayloadTooLarge') });
        assert.equal(parseAnswers(received)[0].status, 413);
    });

    it('does not execute half a request when its client goes away', async () => {
        await send(`POST /devices/victim/telemetry HTTP/1.1\r\n${HOST}${JSON_TYPE}Content-Length: 20\r\n\r\n{}`, { timeout: 200 });
        await send(`POST /devices/victim/telemetry HTTP/1.1\r\n${HOST}${JSON_TYPE}Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n`, { halfClose: true, timeout: 500 });
        assert.ok(!await isStored('victim'));
    });

    it('answers 408 to a header block that takes longer than 10 s, however it trickles', async () => {
        const trickle = [`GET /livez HTTP/1.1\r\n${HOST}X: `, ...Array.from({ length: 40 }, () => ['a', 400]).flat()];
        const [{ received, closed, ms }, silent] = await Promise.all([
            send(trickle, { timeout: 16_000 }),
            send('GET /li', { timeout: 16_000 }),
        ]);
        assert.ok(closed && silent.closed, 'both are closed');
        assert.ok(ms > 9000 && ms < 13_500, `${ms} ms`);
        assert.ok(silent.ms > 9000 && silent.ms < 13_500, `${silent.ms} ms`);
        const [answer] = parseAnswers(received);
        assert.equal(answer.status, 408);
        assert.equal(answer.json.code, 'RequestTimeout');
        assert.equal(parseAnswers(silent.received)[0].status, 408);
    });

    it('still serves after all of that', async () => {
        assert.equal((await server.api('/livez')).status, 200);
        assert.deepEqual((await server.api('/devices/odd/status')).status, 200);
    });
});
