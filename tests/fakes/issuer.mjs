// A fake OpenID issuer: its discovery document, its key set, and tokens of its own, signed with jose. It counts what it is
// asked, rolls its keys over, and errs when told to (faults.mjs: op 'discovery' or 'keys').

import { randomUUID } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import '../support/webcrypto.mjs';
import { SignJWT, exportJWK, generateKeyPair } from 'jose';
import { FaultScript, answerWithFault, sendAnswer, wire } from './faults.mjs';

export { wire };

const AUDIENCE = 'api://telemetryd-test';

/** A key pair as an issuer has it. Resolves to {kid, alg, privateKey, jwk (public)}. */
export async function makeKey(alg = 'ES256', kid = randomUUID()) {
    const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
    return { kid, alg, privateKey, jwk: { ...await exportJWK(publicKey), kid, use: 'sig' } };
}

/** Faults as they come in practice: fake.fault({ op: 'keys', ...faults.notFound }). */
const json = { 'content-type': 'application/json' };
export const faults = {
    notFound: { status: 404, headers: json, body: '{"error":"not_found"}' },
    broken: { status: 500, headers: {}, body: 'Internal Server Error' },
    emptySet: { status: 200, headers: json, body: '{"keys":[]}' },
    garbage: { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>Welcome to the captive portal</html>' },
    tooLarge: { change: (answer) => (answer.body += ' '.repeat((1 << 20) + 1 - answer.body.length)) },
    endless: { wire: wire.huge(8 << 20) },
    cut: { wire: wire.cutBody },
    short: { wire: wire.shortBody },
    reset: { wire: wire.reset },
    silence: { wire: wire.hang },
    slow: { wire: wire.drip(200) },
    /** To where the answer would be good. */
    redirect: { change: (answer, { url }) => Object.assign(answer, { status: 302, headers: { ...answer.headers, location: `${url}?again` } }) },
    otherIssuer: { change: (answer) => (answer.body = answer.body.replace(/"issuer":"[^"]*"/, '"issuer":"https://issuer.example"')) },
};

export class FakeIssuer {
    /** {op: 'discovery' | 'keys' | 'other', path, url, headers, at (ms)} */
    requests = [];
    audience = AUDIENCE;
    /** The keys in the set. */
    keys = [];

    #server;
    #tls;
    #script = new FaultScript();
    #port;

    /** options: {tls: {key, cert} (without it plain http), path (of the issuer, '/tenant/v2.0'), keysPath, port} */
    constructor(options = {}) {
        this.#tls = options.tls;
        this.path = options.path ?? '/tenant/v2.0';
        this.keysPath = options.keysPath ?? '/discovery/keys';
        this.#port = options.port ?? 0;
    }

    /** Makes its first key where it has none, and listens. After stop() it comes back on the same port. */
    async start() {
        if (this.keys.length === 0)
            this.keys.push(await makeKey());
        const handler = (req, res) => this.#serve(req, res);
        this.#server = this.#tls ? https.createServer(this.#tls, handler) : http.createServer(handler);
        this.#server.unref(); // a fake must not keep a failed test file alive
        this.#server.on('tlsClientError', () => {});
        await new Promise((resolve, reject) => this.#server.once('error', reject).listen(this.#port, '127.0.0.1', resolve));
        this.#port = this.#server.address().port;
        return this;
    }

    /** Nobody listens any more: connections are refused. */
    async stop() {
        if (!this.#server)
            return;
        const closed = new Promise((resolve) => this.#server.close(resolve));
        this.#server.closeAllConnections();
        this.#server = undefined;
        await closed;
    }

    get base() {
        return `${this.#tls ? 'https' : 'http'}://127.0.0.1:${this.#port}`;
    }

    get issuer() {
        return this.base + this.path;
    }

    get keysUrl() {
        return this.base + this.keysPath;
    }

    /** Settings with which telemetryd trusts this issuer; by discovery. */
    get env() {
        return { TELEMETRYD_AUTH: 'jwt', TELEMETRYD_JWT_ISSUER: this.issuer, TELEMETRYD_JWT_AUDIENCE: this.audience };
    }

    count(op) {
        return this.requests.filter((request) => request.op === op).length;
    }

    fault(fault) {
        return this.#script.add(fault);
    }

    clearFaults() {
        this.#script.clear();
    }

    /** A new key joins the set. */
    async addKey(alg) {
        const key = await makeKey(alg);
        this.keys.push(key);
        return key;
    }

    removeKey(key) {
        this.keys = this.keys.filter((other) => other !== key);
    }

    /** A token that is good but for what `claims` says otherwise. key: default the first of the set. */
    async token(claims = {}, { key = this.keys[0], kid = key.kid, lifetime = 3600 } = {}) {
        const now = Math.floor(Date.now() / 1000);
        const payload = { iss: this.issuer, aud: this.audience, sub: 'tester', scp: 'Telemetry.Read Device.Read', iat: now, nbf: now, exp: now + lifetime, ...claims };
        return new SignJWT(payload).setProtectedHeader({ alg: key.alg, kid, typ: 'JWT' }).sign(key.privateKey);
    }

    #serve(req, res) {
        const path = req.url.split('?')[0];
        const op = req.method !== 'GET' ? 'other'
            : path === `${this.path.replace(/\/$/, '')}/.well-known/openid-configuration` ? 'discovery'
                : path === this.keysPath ? 'keys' : 'other';
        const request = { op, path: req.url, url: this.base + req.url, headers: req.headers, at: Date.now() };
        this.requests.push(request);
        answerWithFault(this.#script.take(request), request, res, () => this.#answer(op)).catch(() => res.destroy());
    }

    #answer(op) {
        if (op === 'discovery')
            return { status: 200, headers: json, body: JSON.stringify({ issuer: this.issuer, jwks_uri: this.keysUrl, response_types_supported: ['code'] }) };
        if (op === 'keys')
            return { status: 200, headers: json, body: JSON.stringify({ keys: this.keys.map((key) => key.jwk) }) };
        return { status: 404, headers: json, body: '{}' };
    }
}

export const startIssuer = (options) => new FakeIssuer(options).start();
