// Pages of other origins: which of them may read the answers, and what a preflight tells a browser.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { METHODS, openapi } from '../support/contract.mjs';
import { parseAnswers, sendRaw } from '../support/http.mjs';
import { assertProblem, startServer } from '../support/server.mjs';
import { localIssuer } from '../support/tokens.mjs';

const APP = 'https://app.example';
const DEV = 'http://localhost:5173';
const PORT = 'https://app.example:8443';
const ORIGINS = { TELEMETRYD_CORS_ORIGINS: `${APP},${DEV}, ${PORT}` };
const json = { 'content-type': 'application/json' };

const list = (response, name) => response.values(name).flatMap((v) => v.split(',')).map((v) => v.trim()).filter(Boolean);
const lower = (values) => values.map((v) => v.toLowerCase()).sort();
const corsFields = (response) => response.headerNames.filter((name) => name.startsWith('access-control-'));
const concrete = (template) => template.replace('{deviceId}', 'd1');

function assertVaries(response) {
    assert.deepEqual(lower(list(response, 'vary')).filter((name) => name === 'origin'), ['origin'], `Vary: Origin, once: ${response}`);
}

/** A page of this origin may read the answer. */
function assertReadable(response, origin) {
    assertVaries(response);
    assert.deepEqual(response.values('access-control-allow-origin'), [origin], String(response));
    assert.equal(response.header('access-control-allow-credentials'), undefined);
}

/** No page of another origin may. */
function assertUnreadable(response) {
    assertVaries(response);
    assert.deepEqual(corsFields(response), [], String(response));
}

// [what, request, status]: one of every kind of answer.
const answers = [
    ['a page', { path: '/devices/d1/telemetry' }, 200],
    ['a reading', { path: '/devices/d1/telemetry/latest' }, 200],
    ['a list', { path: '/devices' }, 200],
    ['HEAD', { method: 'HEAD', path: '/devices' }, 200],
    ['a stored reading', { method: 'POST', path: '/devices/d2/telemetry', headers: json, body: '{"a":1}' }, 201],
    ['the contract', { path: '/openapi.json' }, 200],
    ['a probe', { path: '/livez' }, 200],
    ['readiness', { path: '/readyz' }, 200],
    ['metrics', { path: '/metrics' }, 200],
    ['OPTIONS', { method: 'OPTIONS', path: '/devices' }, 204],
    ['a device that is not there', { path: '/devices/nobody/status' }, 404],
    ['a route that is not there', { path: '/nope' }, 404],
    ['OPTIONS of a route that is not there', { method: 'OPTIONS', path: '/nope' }, 404],
    ['a parameter that is not known', { path: '/devices?colour=red' }, 400],
    ['a bad device id', { path: '/devices/a%20b/telemetry' }, 400],
    ['a wrong method', { method: 'DELETE', path: '/devices' }, 405],
    ['a wrong type', { method: 'POST', path: '/devices/d2/telemetry', headers: { 'content-type': 'text/plain' }, body: 'x' }, 415],
    ['bad JSON', { method: 'POST', path: '/devices/d2/telemetry', headers: json, body: '{' }, 400],
    ['a body that is too large', { method: 'POST', path: '/devices/d2/telemetry', headers: json, body: `"${'x'.repeat(1 << 20)}"` }, 413],
];

const EXPOSED = ['etag', 'link', 'ratelimit', 'ratelimit-policy', 'retry-after', 'x-request-id'];

describe('origins', () => {
    let server;
    before(async () => {
        server = await startServer({ env: ORIGINS, ready: true });
        await server.post('d1', [{ a: 1 }, { a: 2 }]);
    });
    after(() => server?.stop());

    const from = (origin, asked) => server.api({ ...asked, headers: { ...asked.headers, ...(origin === undefined ? {} : { origin }) } });

    for (const [what, asked, status] of answers) {
        it(`${what} (${status}) may be read by pages of the listed origins only`, async () => {
            for (const origin of [APP, DEV, PORT]) {
                const response = await from(origin, asked);
                assert.equal(response.status, status, String(response));
                assertReadable(response, origin);
                assert.deepEqual(lower(list(response, 'access-control-expose-headers')), EXPOSED);
            }
            for (const origin of [undefined, 'https://evil.example']) {
                const response = await from(origin, asked);
                assert.equal(response.status, status, 'the answer is the same');
                assertUnreadable(response);
            }
        });
    }

    for (const origin of ['null', '*', 'https://app.example/', 'https://app.example:443', 'http://app.example', 'https://APP.example', 'https://app.example.evil.example',
        'https://evil.example/https://app.example', 'https://xapp.example', 'https://sub.app.example', 'app.example', 'https://app.exampl', 'https://', '', `${APP},${DEV}`,
        `${APP} ${DEV}`, `${APP}, ${DEV}`, 'http://localhost', 'http://localhost:51730', 'http://127.0.0.1:5173', 'https://app.example\u00a0', 'file://', 'x'.repeat(4000)]) {
        it(`${JSON.stringify(origin.slice(0, 60))} is another origin`, async () => {
            assertUnreadable(await from(origin, { path: '/devices' }));
            assertUnreadable(await from(origin, { method: 'OPTIONS', path: '/devices', headers: { 'access-control-request-method': 'GET' } }));
        });
    }

    // What is refused before its fields are understood: no page can be told apart, so none may read it, and no cache may mix it up.
    const HOST = 'Host: x\r\n';
    for (const [what, bytes, status] of [
        ['a request without Host', `GET /livez HTTP/1.1\r\nOrigin: ${APP}\r\n\r\n`, 400],
        ['a bare line feed', `GET /livez HTTP/1.1\nHost: x\n\n`, 400],
        ['a target without end', `GET /${'x'.repeat(50_000)} HTTP/1.1\r\n${HOST}\r\n`, 414],
        ['an expectation', `POST /devices/d1/telemetry HTTP/1.1\r\n${HOST}Expect: tea\r\nContent-Length: 2\r\n\r\n{}`, 417],
        ['fields without end', `GET /livez HTTP/1.1\r\n${HOST}X: ${'x'.repeat(100_000)}\r\n\r\n`, 431],
        ['a transfer coding', `POST /devices/d1/telemetry HTTP/1.1\r\n${HOST}Transfer-Encoding: gzip\r\n\r\n`, 501],
        ['another version', `GET /livez HTTP/2.0\r\n${HOST}\r\n`, 505],
    ]) {
        it(`${what} (${status}) is refused with Vary: Origin too`, async () => {
            const { received } = await sendRaw(server.url, bytes);
            const [answer] = parseAnswers(received);
            assert.equal(answer.status, status, String(answer));
            assertVaries(answer);
            assert.ok(!received.includes('Access-Control-Allow-Origin: *'));
        });
    }

    it('two Origin fields are not two chances', async () => {
        for (const fields of [`Origin: https://evil.example\r\nOrigin: ${APP}\r\n`, `Origin: ${APP}\r\nOrigin: https://evil.example\r\n`]) {
            const { received } = await sendRaw(server.url, `GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${fields}\r\n`);
            const [answer] = parseAnswers(received);
            assertVaries(answer);
            for (const value of answer.values('access-control-allow-origin'))
                assert.equal(value, APP, 'only what is listed is ever named');
            assert.ok(answer.values('access-control-allow-origin').length <= 1);
        }
    });
});

describe('preflights', () => {
    let server;
    before(async () => {
        server = await startServer({ env: ORIGINS, ready: true });
    });
    after(() => server?.stop());

    const preflight = (path, method, { origin = APP, headers } = {}) => server.api({
        method: 'OPTIONS', path, headers: { origin, 'access-control-request-method': method, ...(headers ? { 'access-control-request-headers': headers } : {}) },
    });

    for (const [template, item] of Object.entries(openapi.paths)) {
        it(`${template}: allows the methods of the route`, async () => {
            const response = await preflight(concrete(template), 'GET');
            assert.equal(response.status, 204);
            assert.equal(response.body.length, 0);
            assertReadable(response, APP);
            const allowed = list(response, 'access-control-allow-methods').sort();
            assert.deepEqual(allowed, list(response, 'allow').sort());
            for (const method of METHODS.filter((m) => item[m]))
                assert.ok(allowed.includes(method.toUpperCase()), method);
            assert.deepEqual(allowed.filter((method) => !/^[A-Z]+$/.test(method)), []);
        });
    }

    it('allow the fields that the API reads, for a while, and no credentials', async () => {
        const response = await preflight('/devices/d1/telemetry', 'POST', { headers: 'authorization,content-type' });
        assert.deepEqual(lower(list(response, 'access-control-allow-headers')), ['authorization', 'content-type', 'if-none-match', 'last-event-id', 'x-request-id']);
        assert.match(response.header('access-control-max-age'), /^[1-9][0-9]*$/);
        assert.ok(Number(response.header('access-control-max-age')) <= 86_400);
        assert.equal(response.header('access-control-allow-credentials'), undefined);
    });

    it('do not repeat what they are asked for', async () => {
        const response = await preflight('/devices', 'EVIL', { headers: 'x-evil' });
        assert.ok(!/evil/i.test(list(response, 'access-control-allow-methods').join() + list(response, 'access-control-allow-headers').join()));
    });

    it('of other origins are answered without a word of CORS', async () => {
        const response = await preflight('/devices', 'GET', { origin: 'https://evil.example' });
        assert.equal(response.status, 204);
        assert.ok(list(response, 'allow').includes('GET'));
        assertUnreadable(response);
    });

    it('of a route that is not there fail, readably', async () => {
        const response = await preflight('/nope', 'GET');
        assertProblem(response, 404, 'NotFound');
        assertReadable(response, APP);
        assert.equal(response.header('access-control-allow-methods'), undefined);
    });

    it('are not what a plain OPTIONS is', async () => {
        const response = await server.api({ method: 'OPTIONS', path: '/devices', headers: { origin: APP } });
        assert.equal(response.status, 204);
        assertReadable(response, APP);
        assert.equal(response.header('access-control-allow-methods'), undefined);
        assert.equal(response.header('access-control-max-age'), undefined);
    });
});

describe('without TELEMETRYD_CORS_ORIGINS', () => {
    it('no answer speaks of CORS', async (t) => {
        const server = await startServer({ ready: true });
        t.after(() => server.stop());
        for (const asked of [{ path: '/devices' }, { path: '/nope' }, { method: 'OPTIONS', path: '/devices', headers: { 'access-control-request-method': 'GET' } }]) {
            const response = await server.api({ ...asked, headers: { origin: APP, ...asked.headers } });
            assert.deepEqual(corsFields(response), [], String(response));
            assert.ok(!lower(list(response, 'vary')).includes('origin'));
        }
    });
});

/**
 * What a browser does for fetch(url, {method, headers, body}) of a page, as the Fetch standard has it (credentials "omit"): asks before it
 * sends what is not simple, hides the answer where it may not be read, and shows of its fields only the safelisted and the exposed ones.
 */
async function browserFetch(server, origin, { method = 'GET', path, headers = {}, body }) {
    const SIMPLE_TYPES = ['application/x-www-form-urlencoded', 'multipart/form-data', 'text/plain'];
    const unsafe = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value])
        .filter(([name, value]) => !(name === 'content-type' && SIMPLE_TYPES.includes(value)) && !['accept', 'accept-language'].includes(name)).map(([name]) => name).sort();
    const readable = (response) => {
        const allow = response.values('access-control-allow-origin');
        if (allow.length !== 1 || (allow[0] !== '*' && allow[0] !== origin))
            throw new TypeError('Failed to fetch: CORS');
    };
    if (!['GET', 'HEAD', 'POST'].includes(method) || unsafe.length > 0) {
        const asked = { origin, 'access-control-request-method': method };
        if (unsafe.length > 0)
            asked['access-control-request-headers'] = unsafe.join(',');
        const response = await server.api({ method: 'OPTIONS', path, headers: asked });
        readable(response);
        if (response.status < 200 || response.status > 299)
            throw new TypeError(`Failed to fetch: preflight ${response.status}`);
        if (!['GET', 'HEAD', 'POST'].includes(method) && !list(response, 'access-control-allow-methods').includes(method))
            throw new TypeError('Failed to fetch: method');
        const allowed = lower(list(response, 'access-control-allow-headers'));
        if (!unsafe.every((name) => allowed.includes(name)))
            throw new TypeError('Failed to fetch: header');
    }
    const response = await server.api({ method, path, headers: { ...headers, origin }, body });
    readable(response);
    const shown = ['cache-control', 'content-language', 'content-length', 'content-type', 'expires', 'last-modified', 'pragma',
        ...lower(list(response, 'access-control-expose-headers'))];
    return { status: response.status, json: () => response.json, header: (name) => (shown.includes(name.toLowerCase()) ? response.header(name) : undefined) };
}

describe('a page in a browser', () => {
    const issuer = localIssuer();
    const everything = 'Telemetry.Read Telemetry.Write Device.Read Device.Write';
    const authorized = (more = {}) => ({ ...issuer.bearer({ sub: 'page', scp: everything }), ...more });
    let server;
    before(async () => {
        server = await startServer({ env: { ...ORIGINS, ...issuer.env, TELEMETRYD_RATE_LIMIT: '20/m' }, ready: true });
    });
    after(() => server?.stop());

    const asPage = (asked, origin = APP) => browserFetch(server, origin, asked);

    it('writes and reads with a token, and finds the next page and the request id', async () => {
        const written = await asPage({ method: 'POST', path: '/devices/p1/telemetry', headers: authorized(json), body: '[{"a":1},{"a":2}]' });
        assert.equal(written.status, 201);
        const read = await asPage({ path: '/devices/p1/telemetry?limit=1', headers: authorized({ 'x-request-id': 'from-the-page' }) });
        assert.equal(read.status, 200);
        assert.equal(read.header('x-request-id'), 'from-the-page');
        assert.match(read.header('link'), /rel="next"/);
        const next = await asPage({ path: read.json().nextLink, headers: authorized({ 'if-none-match': '"x"' }) });
        assert.equal(next.json().count, 1);
    });

    it('may use PATCH, which a browser asks about', async () => {
        const patch = { method: 'PATCH', headers: authorized({ 'content-type': 'application/merge-patch+json' }), body: '{"colour":"red"}' };
        assert.equal((await asPage({ ...patch, path: '/devices/p1/reported' })).status, 200);
        await assert.rejects(asPage({ ...patch, path: '/devices/p1/telemetry' }), /method/, 'where the route takes none');
        await assert.rejects(asPage({ ...patch, path: '/devices/p1/reported', headers: { ...patch.headers, 'x-other': '1' } }), /header/, 'with a field that is not known');
    });

    it('can read why it is refused', async () => {
        const none = await asPage({ path: '/devices' });
        assert.equal(none.status, 401);
        assert.equal(none.json().code, 'Unauthorized');
        assert.equal((await asPage({ path: '/devices', headers: { authorization: 'Bearer x' } })).status, 401);
        assert.equal((await asPage({ path: '/devices', headers: issuer.bearer({ sub: 'less', scp: 'Telemetry.Read' }) })).status, 403);
    });

    it('can read how long to wait', async () => {
        const headers = issuer.bearer({ sub: 'greedy', scp: everything });
        let response;
        for (let i = 0; i < 40 && response?.status !== 429; i++) {
            response = await asPage({ path: '/devices', headers });
            assert.match(response.header('ratelimit'), /^"default";r=\d+;t=\d+$/);
        }
        assert.equal(response.status, 429);
        assert.equal(response.json().code, 'TooManyRequests');
        assert.match(response.header('retry-after'), /^\d+$/);
        assert.equal(response.header('ratelimit-policy'), '"default";q=20;w=60');
    });

    it('is asked about as often as its browser likes: whoever shares its address pays nothing for that', async () => {
        for (let i = 0; i < 40; i++) {
            const response = await server.api({ method: 'OPTIONS', path: '/devices', headers: { origin: APP, 'access-control-request-method': 'GET' } });
            assert.equal(response.status, 204);
        }
        assert.equal((await server.api('/devices')).status, 401);
    });

    it('of another origin reads nothing, with a token or without', async () => {
        await assert.rejects(asPage({ path: '/livez' }, 'https://evil.example'), TypeError);
        await assert.rejects(asPage({ path: '/devices', headers: authorized() }, 'https://evil.example'), TypeError);
        await assert.rejects(asPage({ method: 'POST', path: '/devices/p2/telemetry', headers: authorized(json), body: '{"a":1}' }, 'https://evil.example'), TypeError);
        const response = await server.api({ path: '/devices/p2/telemetry', headers: authorized() });
        assert.equal(response.status, 404, 'nothing was stored');
    });

    it('cannot post without being asked about: JSON is no simple type', async () => {
        const response = await asPage({ method: 'POST', path: '/devices/p3/telemetry', headers: { 'content-type': 'text/plain' }, body: '{"a":1}' });
        assert.ok([401, 415].includes(response.status));
    });
});
