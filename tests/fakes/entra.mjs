// A fake of what gives an application its tokens: Microsoft Entra's token endpoint (client secret, federated assertion), App
// Service's identity endpoint and IMDS, on one port. It is as strict as they are about what is sent to it, answers in their
// several forms, and knows every token that it gave, so that the other fakes can ask it. Faults are scripted (faults.mjs).

import { randomBytes, randomUUID } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import { FaultScript, answerWithFault, sendAnswer, wire } from './faults.mjs';

export { wire };

const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

/** Error bodies as each source sends them. */
export const errorBody = {
    entra: (error, number, text = 'See the documentation.') => JSON.stringify({
        error, error_description: `AADSTS${number}: ${text} Trace ID: ${randomUUID()} Correlation ID: ${randomUUID()} Timestamp: 2026-11-23 07:00:00Z`,
        error_codes: [number], timestamp: '2026-11-23 07:00:00Z', trace_id: randomUUID(), correlation_id: randomUUID(),
        error_uri: `https://login.microsoftonline.com/error?code=${number}`,
    }),
    imds: (error, text) => JSON.stringify({ error, error_description: text }),
    appService: (status, message) => JSON.stringify({ statusCode: status, message, correlationId: randomUUID() }),
};

/** Faults as they come in practice: fake.fault({ op: 'entra', ...faults.wrongSecret }). */
const json = { 'content-type': 'application/json; charset=utf-8' };
export const faults = {
    wrongSecret: { status: 401, headers: json, body: errorBody.entra('invalid_client', 7000215, 'Invalid client secret provided.') },
    wrongSecret400: { status: 400, headers: json, body: errorBody.entra('invalid_client', 7000215, 'Invalid client secret provided.') },
    throttled: (seconds) => ({ status: 429, headers: { ...json, 'retry-after': String(seconds) }, body: errorBody.entra('temporarily_unavailable', 90055) }),
    imdsUpdating: { status: 410, headers: {}, body: '' },
    imdsNotThere: { status: 404, headers: {}, body: 'Not Found' },
    down: { status: 503, headers: json, body: errorBody.entra('temporarily_unavailable', 90033, 'A transient error has occurred.') },
    garbage: { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>Welcome to the captive portal</html>' },
    silence: { wire: wire.hang },
};

class TokenError extends Error {
    constructor(status, body) {
        super(body);
        Object.assign(this, { status, body });
    }
}

export class FakeEntra {
    /** {op: 'entra' | 'appservice' | 'imds' | 'metadata', kind: 'secret' | 'assertion', resource, form, headers, ..} */
    requests = [];
    violations = [];
    tenant = randomUUID();
    clientId = randomUUID();
    /** Every character that a form has to escape. */
    clientSecret = `Q8~${randomBytes(12).toString('base64url')}+&=%2B "~/:`;
    identityHeader = randomUUID();
    /** What the federated token file must hold. */
    assertion = `eyJhbGciOiJSUzI1NiJ9.${randomBytes(300).toString('base64url')}.${randomBytes(256).toString('base64url')}`;
    /** Seconds that tokens live. */
    lifetime = 3600;
    /** Bytes of a token, about. */
    tokenSize = 1400;
    /** How each member is written: 'number', 'string', 'iso' (expires_on only), or undefined for not at all. */
    expiresIn = undefined;
    expiresOn = undefined;
    tokenType = 'Bearer';
    /** Resources that the directory does not know: AADSTS500011. */
    unknownResources = new Set();

    #server;
    #tls;
    #tokens = new Map();
    #script = new FaultScript();

    /** options: {tls: {key, cert} (without it plain http), host, port} */
    constructor(options = {}) {
        this.#tls = options.tls;
        this.host = options.host ?? '127.0.0.1';
        this.port = options.port ?? 0;
    }

    async start() {
        const handler = (req, res) => this.#serve(req, res);
        this.#server = this.#tls ? https.createServer(this.#tls, handler) : http.createServer(handler);
        this.#server.keepAliveTimeout = 60_000;
        this.#server.unref(); // a fake must not keep a failed test file alive
        this.#server.on('tlsClientError', () => {});
        await new Promise((resolve, reject) => this.#server.once('error', reject).listen(this.port, this.host, resolve));
        this.port = this.#server.address().port;
        return this;
    }

    async stop() {
        this.#server.closeAllConnections();
        if (this.#server.listening)
            await new Promise((resolve) => this.#server.close(resolve));
    }

    get url() {
        return `${this.#tls ? 'https' : 'http'}://${this.host}:${this.port}`;
    }

    /** The settings with which telemetryd takes its tokens from here. source: 'secret', 'workload', 'appservice', 'imds'. */
    env(source, { tokenFile } = {}) {
        switch (source) {
        case 'secret': return {
            AZURE_TENANT_ID: this.tenant, AZURE_CLIENT_ID: this.clientId, AZURE_CLIENT_SECRET: this.clientSecret, AZURE_AUTHORITY_HOST: this.url,
        };
        case 'workload': return {
            AZURE_TENANT_ID: this.tenant, AZURE_CLIENT_ID: this.clientId, AZURE_FEDERATED_TOKEN_FILE: tokenFile, AZURE_AUTHORITY_HOST: `${this.url}/`,
        };
        case 'appservice': return { IDENTITY_ENDPOINT: `${this.url}/msi/token/`, IDENTITY_HEADER: this.identityHeader };
        case 'imds': return { AZURE_POD_IDENTITY_AUTHORITY_HOST: this.url };
        default: throw new Error(`no source ${source}`);
        }
    }

    fault(fault) {
        return this.#script.add(fault);
    }

    clearFaults() {
        this.#script.clear();
    }

    /** Requests for a token, those for a resource alone where one is given. */
    fetches(resource) {
        return this.requests.filter((r) => r.op !== 'metadata' && (resource === undefined || r.resource === resource));
    }

    /** Why a token may not pass for one of these resources; undefined when it may. */
    refusal(token, resources) {
        const known = this.#tokens.get(token);
        if (!known)
            return 'not a token of this directory';
        if (known.revoked)
            return 'the token was revoked';
        if (Date.now() >= known.expires)
            return 'the token has expired';
        return resources.includes(known.resource) ? undefined : `the token is for ${known.resource}, not for ${resources}`;
    }

    /** From now on no token given so far is good. */
    revokeAll() {
        for (const token of this.#tokens.values())
            token.revoked = true;
    }

    /** Every token given, for a look into logs. */
    get tokens() {
        return [...this.#tokens.keys()];
    }

    async #serve(req, res) {
        res.on('error', () => {});
        req.on('error', () => {});
        const chunks = [];
        try {
            for await (const chunk of req)
                chunks.push(chunk);
        } catch {
            return;
        }
        const request = this.#describe(req, Buffer.concat(chunks).toString('utf8'));
        this.requests.push(request);
        try {
            await answerWithFault(this.#script.take(request), request, res, () => this.#answer(request));
        } catch (error) {
            this.violations.push(`the fake failed: ${error.stack}`);
            sendAnswer(res, { status: 500, headers: {}, body: '' });
        }
    }

    #describe(req, bodyText) {
        const url = new URL(req.url, 'http://fake');
        const path = url.pathname.replace(/\/$/, ''); // Microsoft's library puts a slash at the end of managed identities' paths
        const op = path.endsWith('/.well-known/openid-configuration') ? 'metadata' : path === `/${this.tenant}/oauth2/v2.0/token` ? 'entra' :
            path === '/msi/token' ? 'appservice' : path === '/metadata/identity/oauth2/token' ? 'imds' : 'unknown';
        const form = new URLSearchParams(bodyText);
        return {
            op, method: req.method, path: req.url, url, headers: req.headers, bodyText, form, at: Date.now(),
            kind: form.has('client_assertion') ? 'assertion' : form.has('client_secret') ? 'secret' : undefined,
            resource: op === 'entra' ? form.get('scope')?.replace(/\/\.default$/, '') : url.searchParams.get('resource') ?? undefined,
        };
    }

    #answer(request) {
        try {
            switch (request.op) {
            case 'metadata': return this.#metadata();
            case 'entra': return this.#entra(request);
            case 'appservice': return this.#appService(request);
            case 'imds': return this.#imds(request);
            default: throw new TokenError(404, `the fake does not serve ${request.method} ${request.path}`);
            }
        } catch (error) {
            if (!(error instanceof TokenError))
                throw error;
            if (!error.expected)
                this.violations.push(`${error.status} ${error.body}`);
            return { status: error.status, headers: json, body: error.body };
        }
    }

    /** Microsoft's own library wants to know where the token endpoint is; telemetryd does not ask. */
    #metadata() {
        const base = `${this.url}/${this.tenant}`;
        return {
            status: 200, headers: json, body: JSON.stringify({
                token_endpoint: `${base}/oauth2/v2.0/token`, authorization_endpoint: `${base}/oauth2/v2.0/authorize`, issuer: `${base}/v2.0`,
                jwks_uri: `${base}/discovery/v2.0/keys`, end_session_endpoint: `${base}/oauth2/v2.0/logout`,
            }),
        };
    }

    #give(resource, more = {}, defaults = {}) {
        const token = ['{"typ":"JWT","alg":"RS256","kid":"fake"}', JSON.stringify({ aud: resource, jti: randomUUID() })]
            .map((part) => Buffer.from(part).toString('base64url')).join('.') + `.${randomBytes(Math.ceil(this.tokenSize * 3 / 4)).toString('base64url')}`;
        const now = Math.floor(Date.now() / 1000);
        this.#tokens.set(token, { resource, expires: Date.now() + this.lifetime * 1000, revoked: false });
        const write = {
            number: (n) => n, string: (n) => String(n), iso: (n) => new Date(n * 1000).toISOString(), undefined: () => undefined,
        };
        const form = { expiresIn: this.expiresIn ?? defaults.expiresIn, expiresOn: this.expiresOn ?? defaults.expiresOn };
        const body = {
            token_type: this.tokenType,
            expires_in: write[form.expiresIn === 'none' ? undefined : form.expiresIn](this.lifetime),
            expires_on: write[form.expiresOn === 'none' ? undefined : form.expiresOn](now + this.lifetime),
            ...more, access_token: token,
        };
        return { status: 200, headers: { ...json, 'cache-control': 'no-store' }, body: JSON.stringify(body) };
    }

    #checkResource(resource, body) {
        if (!resource || !/^https?:\/\/[^/]+$/.test(resource))
            throw new TokenError(400, body('invalid_scope', 70011, `The provided value for scope ${resource} is not valid.`));
        if (this.unknownResources.has(resource))
            throw Object.assign(new TokenError(400, body('invalid_resource', 500011,
                `The resource principal named ${resource} was not found in the tenant named Contoso.`)), { expected: true });
    }

    #entra(request) {
        const { form } = request;
        const refuse = (status, error, number, text) => {
            throw new TokenError(status, errorBody.entra(error, number, text));
        };
        if (request.method !== 'POST' || !request.headers['content-type']?.startsWith('application/x-www-form-urlencoded'))
            refuse(400, 'invalid_request', 900144, 'The request is no form.');
        if (new Set(form.keys()).size !== [...form.keys()].length)
            refuse(400, 'invalid_request', 900144, 'A parameter stands twice.');
        if (form.get('grant_type') !== 'client_credentials')
            refuse(400, 'unsupported_grant_type', 70003, 'The app returned an unsupported grant type.');
        if (form.get('client_id') !== this.clientId)
            refuse(400, 'unauthorized_client', 700016, 'The application was not found in the directory.');
        if (request.kind === 'assertion') {
            if (form.get('client_assertion_type') !== ASSERTION_TYPE || form.has('client_secret'))
                refuse(400, 'invalid_request', 900144, 'client_assertion_type');
            if (form.get('client_assertion') !== this.assertion)
                refuse(401, 'invalid_client', 700024, 'Client assertion is not within its valid time range.');
        } else if (form.get('client_secret') !== this.clientSecret) {
            refuse(401, 'invalid_client', 7000215, 'Invalid client secret provided.');
        }
        if (!form.get('scope')?.endsWith('/.default'))
            refuse(400, 'invalid_scope', 1002012, 'The provided value for scope is not valid: it does not end in /.default.');
        this.#checkResource(request.resource, errorBody.entra);
        return this.#give(request.resource, { ext_expires_in: this.lifetime }, { expiresIn: 'number' });
    }

    #appService(request) {
        const query = request.url.searchParams;
        if (request.headers['x-identity-header'] !== this.identityHeader)
            throw new TokenError(403, errorBody.appService(403, 'X-IDENTITY-HEADER is missing or wrong'));
        if (request.method !== 'GET' || query.get('api-version') !== '2019-08-01')
            throw new TokenError(400, errorBody.appService(400, `api-version ${query.get('api-version')}`));
        this.#checkClient(query, (text) => errorBody.appService(400, text));
        this.#checkResource(query.get('resource'), (error, number, text) => errorBody.appService(400, `AADSTS${number}: ${text}`));
        return this.#give(query.get('resource'), { client_id: this.clientId, resource: query.get('resource') }, { expiresOn: 'string' });
    }

    #imds(request) {
        const query = request.url.searchParams;
        if (request.headers.metadata?.toLowerCase() !== 'true' || request.headers['x-forwarded-for'] !== undefined)
            throw new TokenError(400, errorBody.imds('invalid_request', 'Required metadata header not specified'));
        if (request.method !== 'GET' || query.get('api-version') !== '2018-02-01')
            throw new TokenError(400, errorBody.imds('invalid_request', `api-version ${query.get('api-version')}`));
        this.#checkClient(query, (text) => errorBody.imds('invalid_request', text));
        this.#checkResource(query.get('resource'), (error, number, text) => errorBody.imds(error, `AADSTS${number}: ${text}`));
        return this.#give(query.get('resource'), {
            refresh_token: '', not_before: String(Math.floor(Date.now() / 1000)), resource: query.get('resource'), client_id: this.clientId,
        }, { expiresIn: 'string', expiresOn: 'string' });
    }

    #checkClient(query, body) {
        if (query.has('client_id') && query.get('client_id') !== this.clientId)
            throw new TokenError(400, body('Identity not found'));
        if (query.get('resource')?.endsWith('/.default'))
            throw new TokenError(400, body('AADSTS500011: a resource is no scope'));
    }
}

export const startEntra = (options) => new FakeEntra(options).start();
