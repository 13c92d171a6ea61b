// Bearer tokens over HTTP: the attack list, what each route needs, the devices of a token, and what a refusal says. The tokens are
// made with jose and, where jose will not, by hand. Each rule has its cases one by one in tests/unit/test_token*.c.

import assert from 'node:assert/strict';
import { KeyObject, createHmac, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import '../support/webcrypto.mjs';
import { SignJWT } from 'jose';
import { makeKey, startIssuer } from '../fakes/issuer.mjs';
import { parseAnswers, sendRaw } from '../support/http.mjs';
import { SLOW, assertProblem, startServer, waitFor } from '../support/server.mjs';
import { tempDirectory } from '../support/temp.mjs';
import { localIssuer } from '../support/tokens.mjs';

const now = () => Math.floor(Date.now() / 1000);
const bearer = (token) => ({ authorization: `Bearer ${token}` });
const segment = (value) => Buffer.from(typeof value === 'string' || Buffer.isBuffer(value) ? value : JSON.stringify(value)).toString('base64url');

/** Signs any header and payload, as they stand, with a key of fakes/issuer.mjs. */
function signed(header, payload, key) {
    const text = `${segment(header)}.${segment(payload)}`;
    const privateKey = key.privateKey instanceof KeyObject ? key.privateKey : KeyObject.from(key.privateKey);
    return `${text}.${sign('sha256', Buffer.from(text), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
}

function assertChallenge(response, status, code, challenge) {
    assertProblem(response, status, code);
    assert.deepEqual(response.values('www-authenticate'), [challenge], String(response));
}

const assertInvalid = (response) => assertChallenge(response, 401, 'Unauthorized', 'Bearer error="invalid_token"');

describe('the attack list', () => {
    let issuer, server, rsa, ec, stranger, weak, evil;
    before(async () => {
        issuer = await startIssuer();
        [ec] = issuer.keys;
        rsa = await issuer.addKey('RS256');
        stranger = await makeKey('RS256', rsa.kid);
        const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 1024 });
        weak = { kid: 'weak', privateKey };
        issuer.keys.push({ kid: 'weak', jwk: { ...publicKey.export({ format: 'jwk' }), kid: 'weak', use: 'sig' } });
        evil = `${issuer.base}/evil`;
        server = await startServer({ env: { ...issuer.env, TELEMETRYD_JWT_COOLDOWN: '1s' } });
        const good = await issuer.token();
        await waitFor(async () => (await server.api({ path: '/devices', headers: bearer(good) })).status === 200, 'the keys are loaded');
        await sleep(1100); // the cooldown is over: a fetch would be allowed
    });
    after(async () => {
        await server?.stop();
        await issuer?.stop();
    });

    const claims = (more = {}) => ({ iss: issuer.issuer, aud: issuer.audience, sub: 's', iat: now(), exp: now() + 3600, scp: 'Device.Read', ...more });
    const header = (more = {}) => ({ alg: 'RS256', typ: 'JWT', kid: rsa.kid, ...more });
    const forge = (more, key = rsa) => signed(header(more), claims(), key);
    const claim = (more) => signed(header(), claims(more), rsa);
    /** A claim as text, for what JSON.stringify does not write. */
    const raw = (text) => signed(header(), `{"iss":"${issuer.issuer}","aud":"${issuer.audience}","scp":"Device.Read",${text}}`, rsa);
    const unsigned = (more) => `${segment(header(more))}.${segment(claims())}.`;
    const pem = (key) => createPublicKey(KeyObject.from(key.privateKey)).export({ format: 'pem', type: 'spki' });
    const hmac = (alg, secret) => {
        const text = `${segment(header({ alg }))}.${segment(claims())}`;
        return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
    };
    const parts = () => forge().split('.');
    const ecParts = () => signed(header({ alg: 'ES256', kid: ec.kid }), claims(), ec).split('.');

    const attacks = {
        ...Object.fromEntries(['none', 'None', 'NONE', 'nOnE', 'none ', ''].flatMap((alg) => [
            [`alg "${alg}" without a signature`, () => unsigned({ alg })],
            [`alg "${alg}" with a good signature`, () => forge({ alg })],
        ])),
        'no alg': () => forge({ alg: undefined }),
        'HS256 with the public key in PEM': () => hmac('HS256', pem(rsa)),
        'HS256 with the public key in PEM, without its last line break': () => hmac('HS256', pem(rsa).trim()),
        'HS256 with the modulus': () => hmac('HS256', Buffer.from(rsa.jwk.n, 'base64url')),
        'HS256 with the key as JSON': () => hmac('HS256', JSON.stringify(rsa.jwk)),
        'an HMAC under RS256': () => hmac('RS256', pem(rsa)),
        'RS256 with the EC key': () => signed(header({ kid: ec.kid }), claims(), ec),
        'ES256 with the RSA key': () => forge({ alg: 'ES256' }),
        'PS256': () => forge({ alg: 'PS256' }),
        'RS512': () => forge({ alg: 'RS512' }),
        'a stranger with the same kid': () => forge({}, stranger),
        'an embedded jwk': () => forge({ jwk: stranger.jwk }, stranger),
        'an embedded jwk of the issuer': () => forge({ jwk: rsa.jwk }),
        'jku': () => forge({ jku: `${evil}/jku` }, stranger),
        'jku, with the issuer\'s key': () => forge({ jku: issuer.keysUrl }),
        'x5u': () => forge({ x5u: `${evil}/x5u` }, stranger),
        'x5c': () => forge({ x5c: ['MIIC'] }, stranger),
        'no kid': () => forge({ kid: undefined }),
        'kid with traversal': () => forge({ kid: '../../../../../../dev/null' }),
        'kid with traversal, encoded': () => forge({ kid: '..%2f..%2fetc%2fpasswd' }),
        'kid with SQL': () => forge({ kid: '\' UNION SELECT \'secret\' -- ' }),
        'kid with a command': () => forge({ kid: 'x|/usr/bin/curl evil' }),
        'kid that is a URL': () => forge({ kid: `${evil}/kid` }),
        'kid of 4 kB': () => forge({ kid: 'k'.repeat(4096) }),
        'kid that is an object': () => forge({ kid: { kid: rsa.kid } }),
        'alg twice': () => signed(`{"alg":"none","alg":"RS256","kid":"${rsa.kid}"}`, claims(), rsa),
        'kid twice': () => signed(`{"alg":"RS256","kid":"x","kid":"${rsa.kid}"}`, claims(), rsa),
        'alg twice, once escaped': () => signed(`{"\\u0061lg":"RS256","alg":"RS256","kid":"${rsa.kid}"}`, claims(), rsa),
        'iss twice': () => signed(header(), `{"iss":"https://evil.example",${JSON.stringify(claims()).slice(1)}`, rsa),
        'exp twice': () => raw(`"exp":1,"exp":${now() + 3600}`),
        'unknown crit': () => forge({ crit: ['x-evil'], 'x-evil': true }),
        'empty crit': () => forge({ crit: [] }),
        'b64 false': () => forge({ b64: false }),
        'b64 false and critical': () => forge({ b64: false, crit: ['b64'] }),
        'zip': () => forge({ zip: 'DEF' }),
        'cty JWT': () => forge({ cty: 'JWT' }),
        'typ of another thing': () => forge({ typ: 'dpop+jwt' }),
        'a token within a token': () => signed(header({ cty: 'JWT' }), forge(), rsa),
        'a token within a token, without cty': () => signed(header(), forge(), rsa),
        'padding': () => `${forge()}==`,
        'base64 in place of base64url': () => parts().map((part) => Buffer.from(part, 'base64url').toString('base64')).join('.'),
        'stray bits in the signature': () => {
            const token = forge();
            const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
            return token.slice(0, -1) + alphabet[alphabet.indexOf(token.at(-1)) + 1];
        },
        'a fourth segment': () => `${forge()}.AAAA`,
        'a fifth segment': () => `${forge()}.AAAA.AAAA`,
        'a dot at the end': () => `${forge()}.`,
        'two segments': () => parts().slice(0, 2).join('.'),
        'one segment': () => parts()[0],
        'junk after the signature': () => `${forge()}AAAA`,
        'a payload of another': () => [parts()[0], segment(claims({ sub: 'other' })), parts()[2]].join('.'),
        'RSA-1024': () => signed(header({ kid: 'weak' }), claims(), weak),
        'ECDSA with r zero': () => [...ecParts().slice(0, 2), segment(Buffer.concat([Buffer.alloc(32), Buffer.alloc(32, 1)]))].join('.'),
        'ECDSA with s zero': () => [...ecParts().slice(0, 2), segment(Buffer.concat([Buffer.alloc(32, 1), Buffer.alloc(32)]))].join('.'),
        'ECDSA with both zero': () => [...ecParts().slice(0, 2), segment(Buffer.alloc(64))].join('.'),
        'ECDSA, at+jwt, with both zero': () => `${segment({ alg: 'ES256', typ: 'at+jwt', kid: ec.kid })}.${segment(claims())}.${segment(Buffer.alloc(64))}`,
        'another iss': () => claim({ iss: 'https://evil.example' }),
        'iss with a slash more': () => claim({ iss: `${issuer.issuer}/` }),
        'no iss': () => claim({ iss: undefined }),
        'another aud': () => claim({ aud: 'api://other' }),
        'other auds': () => claim({ aud: ['api://other', 'api://another'] }),
        'no aud': () => claim({ aud: undefined }),
        'no exp': () => claim({ exp: undefined }),
        'exp long ago': () => claim({ exp: 1 }),
        'exp a second past the skew': () => claim({ exp: now() - 61 }),
        'exp with a fraction': () => raw(`"exp":${now() + 3600}.5`),
        'exp with a fraction of nothing': () => raw(`"exp":${now() + 3600}.0`),
        'exp with an exponent': () => raw('"exp":9e9'),
        'exp as text': () => claim({ exp: String(now() + 3600) }),
        'exp negative': () => raw('"exp":-9999999999'),
        'exp 1e400': () => raw('"exp":1e400'),
        'exp past 2^64': () => raw('"exp":99999999999999999999'),
        'nbf beyond the skew': () => claim({ nbf: now() + 63 + 60 * (SLOW - 1) }),
        'nbf with a fraction': () => raw(`"exp":${now() + 3600},"nbf":1.5`),
        'nbf as text': () => claim({ nbf: '1' }),
        'nbf negative': () => claim({ nbf: -1 }),
        'nbf 1e400': () => raw(`"exp":${now() + 3600},"nbf":1e400`),
        'scp that is an array': () => claim({ scp: ['Device.Read'] }),
        'a header of 2,000 levels': () => signed(`{"alg":"RS256","kid":"${rsa.kid}","x":${'['.repeat(2000)}${']'.repeat(2000)}}`, claims(), rsa),
        'a payload of 2,000 levels': () => claim({ x: JSON.parse('['.repeat(2000) + ']'.repeat(2000)) }),
        'a payload that is an array': () => signed(header(), [claims()], rsa),
        'bytes after the payload': () => signed(header(), `${JSON.stringify(claims())}x`, rsa),
        'a NUL after the payload': () => signed(header(), `${JSON.stringify(claims())}\0`, rsa),
        'JSON serialization': () => JSON.stringify({ payload: parts()[1], protected: parts()[0], signature: parts()[2] }),
        'an encrypted token': () => `${segment({ alg: 'RSA-OAEP', enc: 'A256GCM', kid: rsa.kid })}.AAAA.AAAA.AAAA.AAAA`,
        'anything': () => 'anything',
        'a cookie\'s text': () => 'session=1',
    };

    it('is not a list of tokens that fail anyway: the same hands make good ones', async () => {
        for (const token of [forge(), claim({ aud: ['x', issuer.audience] }), ecParts().join('.'), raw(`"exp":${now() + 3600},"nbf":1`), claim({ exp: now() - 30 }),
            claim({ nbf: now() + 30 }), forge({ typ: undefined }), forge({ typ: 'at+jwt' }), forge({ typ: 'application/at+jwt' })])
            assert.equal((await server.api({ path: '/devices', headers: bearer(token) })).status, 200, token);
    });

    it('is refused with 401, one by one, and nothing is fetched for it', async () => {
        const asked = issuer.requests.length;
        for (const [name, make] of Object.entries(attacks)) {
            const response = await server.api({ path: '/devices', headers: bearer(make()) });
            assert.equal(response.status, 401, name);
            assertInvalid(response);
        }
        assert.deepEqual(issuer.requests.slice(asked).map((request) => request.path), [], 'the issuer was asked');
        assert.ok(Object.keys(attacks).length > 80);
    });

    it('does not reach the log', async () => {
        const token = forge({ alg: 'none' });
        await server.api({ path: '/devices', headers: bearer(token) });
        for (const part of token.split('.'))
            assert.ok(!server.stderr.includes(part));
        assert.ok(!server.stderr.includes('UNION SELECT'));
    });

    /** A token of that many characters, an ES256 one, whose signature has one length. */
    function tokenOfLength(length) {
        const head = segment(header({ alg: 'ES256', kid: ec.kid }));
        const base = JSON.stringify(claims({ fill: '' })).length;
        const payload = Math.floor(((length - head.length - 1 - 1 - 86) * 3) / 4);
        for (let fill = payload - base - 2; ; fill++) {
            const token = signed(header({ alg: 'ES256', kid: ec.kid }), claims({ fill: 'x'.repeat(fill) }), ec);
            if (token.length >= length)
                return token;
        }
    }

    it('ends where a token is 8,192 bytes long, and begins again with the next', async () => {
        // base64url has no text of 4n + 1 characters: where a length cannot be had, a kid is as good a filler as a claim.
        const longest = tokenOfLength(8192);
        const longer = tokenOfLength(8193);
        assert.ok(longest.length === 8192, String(longest.length));
        assert.ok(longer.length <= 8194, String(longer.length));
        assert.equal((await server.api({ path: '/devices', headers: bearer(longest) })).status, 200);
        assertInvalid(await server.api({ path: '/devices', headers: bearer(longer) }));
    });

    for (const size of [16, 64, 256]) {
        it(`a token of ${size} kB is refused, and the server goes on`, async () => {
            const [answer] = parseAnswers((await sendRaw(server.url, `GET /devices HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${'A'.repeat(size << 10)}\r\n\r\n`, {
                until: (received) => received.includes('\r\n\r\n{') && received.toString().trimEnd().endsWith('}'),
            })).received);
            assert.ok([401, 431].includes(answer.status), String(answer));
            assert.equal((await server.api({ path: '/devices', headers: bearer(forge()) })).status, 200);
        });
    }

    it('a token whose time ends is refused a minute later, though it was verified before', async () => {
        const exp = now() - 57;
        const token = claim({ exp });
        assert.equal((await server.api({ path: '/devices', headers: bearer(token) })).status, 200);
        await waitFor(async () => (await server.api({ path: '/devices', headers: bearer(token) })).status === 401, 'it is refused');
        assert.ok(now() >= exp + 60, 'not before its time');
    });
});

// --- credentials

describe('credentials', () => {
    const issuer = localIssuer();
    let server, token;
    before(async () => {
        server = await startServer({ env: issuer.env });
        token = issuer.token({ scp: 'Device.Read' });
        await waitFor(async () => (await server.api({ path: '/devices', headers: bearer(token) })).status === 200, 'the keys are loaded');
    });
    after(() => server?.stop());

    const ask = (authorization) => server.api({ path: '/devices', headers: authorization === undefined ? {} : { authorization } });

    it('that are not there are answered with the scheme alone', async () => {
        for (const method of ['GET', 'HEAD', 'POST'])
            assert.deepEqual((await server.api({ method, path: method === 'POST' ? '/devices/d/telemetry' : '/devices' })).values('www-authenticate'), ['Bearer'], method);
        assertChallenge(await ask(), 401, 'Unauthorized', 'Bearer');
    });

    it('that are wrong are answered with invalid_token', async () => {
        assertInvalid(await ask('Bearer x'));
        assertInvalid(await ask(`Bearer ${token}x`));
    });

    for (const scheme of ['bearer', 'BEARER', 'bEaReR']) {
        it(`have a scheme without case: ${scheme}`, async () => assert.equal((await ask(`${scheme} ${token}`)).status, 200));
    }

    for (const [name, value] of Object.entries({
        'the scheme alone': () => 'Bearer', 'a token alone': () => token, 'another scheme': () => `Basic ${token}`, 'a scheme that goes on': () => `Bearers ${token}`,
        'no blank': () => `Bearer${token}`, 'a comma': () => `Bearer ${token}, Bearer ${token}`, 'two tokens': () => `Bearer ${token} ${token}`,
        'a parameter': () => `Bearer token="${token}"`, 'quotes': () => `Bearer "${token}"`, 'a tab': () => `Bearer\t${token}`,
    })) {
        it(`are refused: ${name}`, async () => {
            const response = await ask(value());
            assert.ok([400, 401].includes(response.status), String(response));
            assert.match(response.values('www-authenticate').join('|'), /^Bearer( error="[a-z_]+")?$/);
        });
    }

    for (const [name, lines] of Object.entries({
        'one good one twice': () => [`Bearer ${token}`, `Bearer ${token}`], 'a good one first': () => [`Bearer ${token}`, 'Bearer x'],
        'a good one last': () => ['Bearer x', `Bearer ${token}`], 'an empty one beside it': () => ['', `Bearer ${token}`],
    })) {
        it(`are refused in two fields: ${name}`, async () => {
            const fields = lines().map((line) => `Authorization: ${line}\r\n`).join('');
            const { received } = await sendRaw(server.url, `GET /devices HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${fields}\r\n`);
            const [answer] = parseAnswers(received);
            assert.ok([400, 401].includes(answer.status), String(answer));
        });
    }

    it('in the query are not looked at', async () => {
        assertChallenge(await server.api(`/devices?access_token=${token}`), 401, 'Unauthorized', 'Bearer');
    });

    it('in a form or a cookie are not looked at', async () => {
        assertChallenge(await server.api({ path: '/devices', headers: { cookie: `access_token=${token}` } }), 401, 'Unauthorized', 'Bearer');
        assertChallenge(await server.api({
            method: 'POST', path: '/devices/d/telemetry', body: `access_token=${token}`, headers: { 'content-type': 'application/x-www-form-urlencoded' },
        }), 401, 'Unauthorized', 'Bearer');
    });

    it('are asked for before anything is said about the request', async () => {
        for (const path of ['/devices?limit=x', '/devices?cursor=x', '/devices/nobody/status', '/devices/..%2f/status', '/devices/d/telemetry?from=x'])
            assert.equal((await server.api(path)).status, 401, path);
    });
});

// --- permissions

describe('permissions', () => {
    const issuer = localIssuer();
    const all = ['Telemetry.Read', 'Telemetry.Write', 'Device.Read', 'Device.Write', 'Ops.Read'];
    let server;
    before(async () => {
        server = await startServer({ env: issuer.env });
        const headers = { ...issuer.bearer({ scp: all.join(' ') }), 'content-type': 'application/json' };
        await waitFor(async () => (await server.api({ path: '/devices', headers })).status === 200, 'the keys are loaded');
        assert.equal((await server.api({ method: 'POST', path: '/devices/d/telemetry', headers, body: '{"t":1}' })).status, 201);
    });
    after(() => server?.stop());

    const routes = [
        ['GET', '/devices/d/telemetry', 'Telemetry.Read', 200], ['HEAD', '/devices/d/telemetry', 'Telemetry.Read', 200],
        ['GET', '/devices/d/telemetry/latest', 'Telemetry.Read', 200], ['POST', '/devices/d/telemetry', 'Telemetry.Write', 201],
        ['GET', '/devices/d/status', 'Device.Read', 200], ['HEAD', '/devices/d/status', 'Device.Read', 200],
        ['GET', '/devices', 'Device.Read', 200], ['PATCH', '/devices/d/reported', 'Device.Write', 200], ['GET', '/metrics', 'Ops.Read', 200],
    ];
    for (const [method, path, needed, done] of routes) {
        const ask = (headers) => server.api({
            method, path, headers: { ...headers, ...(['POST', 'PATCH'].includes(method) ? { 'content-type': 'application/json' } : {}) },
            body: ['POST', 'PATCH'].includes(method) ? '{"t":2}' : undefined,
        });
        const challenge = `Bearer error="insufficient_scope", scope="${needed}"`;
        const assertForbidden = (response) => {
            assert.equal(response.status, 403, String(response));
            assert.deepEqual(response.values('www-authenticate'), [challenge]);
            if (method !== 'HEAD')
                assertProblem(response, 403, 'Forbidden');
        };
        it(`${method} ${path} needs ${needed}`, async () => {
            const others = all.filter((name) => name !== needed);
            const response = await ask({});
            assert.equal(response.status, 401);
            assert.deepEqual(response.values('www-authenticate'), ['Bearer']);
            assertForbidden(await ask(issuer.bearer({})));
            assertForbidden(await ask(issuer.bearer({ scp: '', roles: [] })));
            assertForbidden(await ask(issuer.bearer({ scp: others.join(' '), roles: others })));
            assertForbidden(await ask(issuer.bearer({ scp: needed.toLowerCase() })));
            assert.equal((await ask(issuer.bearer({ scp: needed }))).status, done);
            assert.equal((await ask(issuer.bearer({ scp: `User.Read ${needed}` }))).status, done);
            assert.equal((await ask(issuer.bearer({ roles: [needed] }))).status, done);
            assert.equal((await ask(issuer.bearer({ scp: others.join(' '), roles: ['x', needed] }))).status, done);
        });
    }

    it('are not needed for the probes, the contract and OPTIONS, with any token or none', async () => {
        for (const headers of [{}, bearer('x'), issuer.bearer({})]) {
            for (const path of ['/livez', '/readyz', '/openapi.json', '/openapi.yaml'])
                assert.equal((await server.api({ path, headers })).status, 200, path);
            assert.equal((await server.api({ method: 'OPTIONS', path: '/devices', headers })).status, 204);
        }
    });

    it('are nothing that a route that is not there speaks of', async () => {
        for (const headers of [{}, issuer.bearer({})]) {
            assertProblem(await server.api({ path: '/nowhere', headers }), 404, 'NotFound');
            assertProblem(await server.api({ method: 'DELETE', path: '/devices', headers }), 405, 'MethodNotAllowed');
        }
    });
});

// --- devices of a token

describe('a token that is limited to devices', () => {
    const issuer = localIssuer();
    const permissions = 'Telemetry.Read Telemetry.Write Device.Read Device.Write';
    const devices = ['a', 'eu-1', 'eu-2', 'eu-3', 'secret', 'us-1', 'us-2'];
    let server;
    before(async () => {
        server = await startServer({ env: { ...issuer.env, TELEMETRYD_JWT_DEVICES_CLAIM: 'https://example.com/devices' } });
        const headers = { ...limited(undefined), 'content-type': 'application/json' };
        await waitFor(async () => (await server.api({ path: '/devices', headers })).status === 200, 'the keys are loaded');
        for (const device of devices)
            assert.equal((await server.api({ method: 'POST', path: `/devices/${device}/telemetry`, headers, body: '[{"t":1},{"t":2},{"t":3}]' })).status, 201);
    });
    after(() => server?.stop());

    const limited = (grants, more = {}) => issuer.bearer({ scp: permissions, ...(grants === undefined ? {} : { 'https://example.com/devices': grants }), ...more });
    const routes = [
        ['GET', 'telemetry', 200], ['GET', 'telemetry/latest', 200], ['GET', 'status', 200], ['HEAD', 'status', 200], ['POST', 'telemetry', 201], ['PATCH', 'reported', 200],
    ];
    const ask = (method, device, rest, headers) => server.api({
        method, path: `/devices/${device}/${rest}`, headers: { ...headers, 'content-type': 'application/json' }, body: ['POST', 'PATCH'].includes(method) ? '{"t":1}' : undefined,
    });

    /** All of an answer but what is different in each. */
    function face(response) {
        const { requestId, ...problem } = response.body.length > 0 ? response.json : { requestId: '' };
        assert.equal(typeof requestId, 'string');
        const headers = Object.fromEntries(response.headerNames.filter((name) => !['x-request-id', 'date'].includes(name)).sort().map((name) => [name, response.values(name)]));
        return { status: response.status, headers, problem };
    }

    const cases = {
        'ids': [['a', 'us-2'], ['a', 'us-2']],
        'a prefix': [['eu-*'], ['eu-1', 'eu-2', 'eu-3']],
        'both': [['us-1', 'eu-*'], ['eu-1', 'eu-2', 'eu-3', 'us-1']],
        'a star alone': [['*'], devices],
        'a star within': [['e*-1', '*-1'], []],
        'another case': [['A', 'EU-*'], []],
        'a device that is not there': [['nobody'], []],
        'an empty array': [[], []],
        'text': ['*', []],
        'null': [null, []],
        'an object': [{ a: true }, []],
        'an array with a number in it': [['a', 1], []],
        'no claim': [undefined, devices],
    };
    for (const [name, [grants, visible]] of Object.entries(cases)) {
        it(`sees what it may and nothing else: ${name}`, async () => {
            const headers = limited(grants);
            for (const device of devices) {
                for (const [method, rest, done] of routes)
                    assert.equal((await ask(method, device, rest, headers)).status, visible.includes(device) ? done : 404, `${method} ${device}/${rest}`);
            }
            for (const limit of [1, 2, 3, 100]) {
                const seen = [];
                for (let path = `/devices?limit=${limit}`; path !== undefined;) {
                    const page = await server.api({ path, headers });
                    assert.equal(page.status, 200, String(page));
                    assert.ok(page.json.value.length <= limit);
                    seen.push(...page.json.value.map((device) => device.deviceId));
                    path = page.json.nextLink;
                }
                assert.deepEqual(seen, visible, `pages of ${limit}`);
            }
        });
    }

    it('cannot tell a device that is not its own from one that is not there', async () => {
        const headers = limited(['eu-*']);
        for (const [method, rest] of routes) {
            const foreign = face(await ask(method, 'secret', rest, headers));
            assert.equal(foreign.status, 404);
            if (method !== 'HEAD')
                assert.equal(foreign.problem.code, 'DeviceNotFound');
            assert.deepEqual(face(await ask(method, 'nobody', rest, headers)), foreign, `${method} ${rest}, not there and not its own`);
            if (method === 'GET' || method === 'HEAD') {
                assert.deepEqual(face(await ask(method, 'eu-none', rest, headers)), foreign, `${method} ${rest}, its own but not there`);
                assert.deepEqual(face(await ask(method, 'nobody', rest, limited(undefined))), foreign, `${method} ${rest}, not there, for one who sees all`);
            }
        }
    });

    it('writes nothing to a device that is not its own', async () => {
        const headers = limited(['eu-*']);
        assert.equal((await ask('POST', 'brand-new', 'telemetry', headers)).status, 404);
        assert.equal((await ask('PATCH', 'brand-new', 'reported', headers)).status, 404);
        assert.equal((await ask('GET', 'brand-new', 'status', limited(undefined))).status, 404);
        assert.equal((await ask('POST', 'eu-4', 'telemetry', headers)).status, 201);
        assert.equal((await ask('GET', 'eu-4', 'status', headers)).status, 200);
    });

    it('hears of its request\'s faults first, as everybody does', async () => {
        const headers = limited(['eu-*']);
        for (const device of ['secret', 'nobody', 'eu-1']) {
            assertProblem(await server.api({ path: `/devices/${device}/telemetry?hours=x`, headers }), 400, 'InvalidParameter', { target: 'hours' });
            assertProblem(await server.api({ path: `/devices/${device}/status?x=1`, headers }), 400, 'UnknownParameter', { target: 'x' });
        }
    });

    it('is asked for the permission before the device', async () => {
        assertProblem(await ask('GET', 'secret', 'status', limited(['eu-*'], { scp: 'Telemetry.Read' })), 403, 'Forbidden');
    });

    it('gets nothing out of a cursor of somebody who sees more', async () => {
        const everything = limited(undefined);
        const first = await server.api({ path: '/devices?limit=2', headers: everything });
        assert.deepEqual(first.json.value.map((device) => device.deviceId).slice(0, 1), ['a']);
        const page = await server.api({ path: first.json.nextLink, headers: limited(['us-*']) });
        if (page.status === 200)
            assert.ok(page.json.value.every((device) => device.deviceId.startsWith('us-')), String(page));
        else
            assertProblem(page, 400, 'InvalidCursor');

        const readings = await server.api({ path: '/devices/secret/telemetry?limit=1', headers: everything });
        assert.equal(readings.json.count, 1);
        assertProblem(await server.api({ path: readings.json.nextLink, headers: limited(['us-*']) }), 404, 'DeviceNotFound');
    });

    it('is limited by an escaped id as well', async () => {
        const headers = limited(['eu-1']);
        assert.equal((await server.api({ path: '/devices/%65u-1/status', headers })).status, 200);
        assert.equal((await server.api({ path: '/devices/%73ecret/status', headers })).status, 404);
    });
});

// --- issuers

describe('tenants', { concurrency: 2 }, () => {
    const tenant = '9188040d-6c67-4c5b-b112-36a304b66dad';
    const other = '72f988bf-86f1-41af-91ab-2d7cd011db47';
    const v1 = (tid) => `https://sts.windows.net/${tid}/`;
    const v2 = (tid) => `https://login.microsoftonline.com/${tid}/v2.0`;

    /** A server that trusts that issuer, with a key as Entra publishes it. Resolves to ask(claims): the status. */
    async function boot(t, issuer, keyIssuer = issuer) {
        const key = await makeKey('RS256');
        const jwks = join(tempDirectory(), 'jwks.json');
        writeFileSync(jwks, JSON.stringify({ keys: [{ ...key.jwk, x5t: key.kid, x5c: ['MIIC'], issuer: keyIssuer }] }));
        const server = await startServer({
            env: { TELEMETRYD_AUTH: 'jwt', TELEMETRYD_JWT_ISSUER: issuer, TELEMETRYD_JWT_AUDIENCE: `${other},api://telemetryd`, TELEMETRYD_JWT_JWKS: jwks },
        });
        t.after(() => server.stop());
        return async (claims) => {
            const token = await new SignJWT({ aud: 'api://telemetryd', scp: 'Device.Read', sub: 's', iat: now(), nbf: now(), exp: now() + 3600, ...claims })
                .setProtectedHeader({ typ: 'JWT', alg: 'RS256', x5t: key.kid, kid: key.kid }).sign(key.privateKey);
            return (await server.api({ path: '/devices', headers: bearer(token) })).status;
        };
    }

    it('of a v2 issuer', async (t) => {
        const ask = await boot(t, v2(tenant), v2('{tenantid}'));
        assert.equal(await ask({ iss: v2(tenant), tid: tenant, ver: '2.0' }), 200);
        assert.equal(await ask({ iss: v2(tenant), tid: tenant, ver: '2.0', aud: other }), 200);
        assert.equal(await ask({ iss: v2(tenant), tid: other, ver: '2.0' }), 401);
        assert.equal(await ask({ iss: v2(other), tid: other, ver: '2.0' }), 401);
        assert.equal(await ask({ iss: v2(tenant), tid: tenant, ver: '1.0' }), 401);
        assert.equal(await ask({ iss: v1(tenant), tid: tenant, ver: '1.0' }), 401);
    });

    it('of a v1 issuer', async (t) => {
        const ask = await boot(t, v1(tenant));
        assert.equal(await ask({ iss: v1(tenant), tid: tenant, ver: '1.0', appid: 'app' }), 200);
        assert.equal(await ask({ iss: v1(tenant), tid: tenant, ver: '2.0' }), 401);
        assert.equal(await ask({ iss: v2(tenant), tid: tenant, ver: '2.0' }), 401);
        assert.equal(await ask({ iss: v1(tenant), tid: other, ver: '1.0' }), 401);
    });

    it('of a template', async (t) => {
        const ask = await boot(t, v2('{tenantid}'));
        assert.equal(await ask({ iss: v2(tenant), tid: tenant, ver: '2.0' }), 200);
        assert.equal(await ask({ iss: v2(other), tid: other, ver: '2.0' }), 200);
        assert.equal(await ask({ iss: v2(tenant), tid: other, ver: '2.0' }), 401);
        assert.equal(await ask({ iss: v2(tenant), ver: '2.0' }), 401);
        assert.equal(await ask({ iss: v2('common'), tid: 'common', ver: '2.0' }), 401);
        assert.equal(await ask({ iss: v2('{tenantid}'), tid: '{tenantid}', ver: '2.0' }), 401);
        assert.equal(await ask({ iss: v1(tenant), tid: tenant, ver: '1.0' }), 401);
    });

    it('are not those of a key of another issuer', async (t) => {
        const ask = await boot(t, v2(tenant), v2(other));
        assert.equal(await ask({ iss: v2(tenant), tid: tenant, ver: '2.0' }), 401);
    });
});
