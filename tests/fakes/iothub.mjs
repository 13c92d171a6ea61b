// A fake Azure IoT Hub (service REST API over TLS): twins and device queries. It checks every SAS token (or Entra
// token, where a directory was named), pages as the hub does, and errs in each of the hub's forms when told to (faults.mjs).

import { createHmac, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto';
import https from 'node:https';
import http from 'node:http';
import { FaultScript, answerWithFault, sendAnswer, wire } from './faults.mjs';

export { wire };

const API_VERSION = '2021-04-12';

/** The error bodies that a hub has been seen to send: what they say must not matter, the status does. */
export const errorBody = {
    message: (name, text) => JSON.stringify({ Message: `ErrorCode:${name};${text}`, ExceptionMessage: `Tracking ID:${randomUUID()}-G:0-TimeStamp:11/23/2026 07:00:00` }),
    nested: (code, text) => JSON.stringify({
        Message: JSON.stringify({ errorCode: code, trackingId: randomUUID(), message: text, info: { timeout: '00:00:00' }, timestampUtc: '2026-11-23T07:00:00Z' }),
        ExceptionMessage: '',
    }),
    newer: (code, text) => JSON.stringify({ errorCode: code, message: text, trackingId: randomUUID() }),
    text: (text) => text,
    empty: () => '',
};

class HubError extends Error {
    constructor(status, name, message) {
        super(message);
        Object.assign(this, { status, name });
    }
}

export class FakeIotHub {
    requests = [];
    violations = [];
    hostName = 'testhub.azure-devices.net';
    policy = 'service';
    /** The directory (entra.mjs) whose tokens may pass in place of a SAS token; undefined: only that does. */
    entra = undefined;

    #server;
    #tls;
    #twins = new Map();
    #script = new FaultScript();
    #continuations = new Map();

    /** options: {tls: {key, cert} (without it plain http), key, policy, hostName, host, port, entra} */
    constructor(options = {}) {
        this.#tls = options.tls;
        this.entra = options.entra;
        this.key = options.key ?? randomBytes(32).toString('base64');
        this.hostName = options.hostName ?? this.hostName;
        this.policy = options.policy ?? this.policy;
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

    get url() {
        return `${this.#tls ? 'https' : 'http'}://${this.host}:${this.port}`;
    }

    get connection() {
        return `HostName=${this.hostName};SharedAccessKeyName=${this.policy};SharedAccessKey=${this.key}`;
    }

    /** The settings with which telemetryd uses this hub; add AZURE_CA_FILE for TLS. */
    get env() {
        return { IOT_HUB_CONNECTION: this.connection, IOT_HUB_ENDPOINT: this.url };
    }

    /** The same with Entra credentials, which the directory's own settings name. */
    get entraEnv() {
        return { IOT_HUB_HOSTNAME: this.hostName, IOT_HUB_ENDPOINT: this.url };
    }

    fault(fault) {
        return this.#script.add(fault);
    }

    clearFaults() {
        this.#script.clear();
    }

    async stop() {
        this.#server.closeAllConnections();
        if (this.#server.listening)
            await new Promise((resolve) => this.#server.close(resolve));
    }

    requestsOf(op, device) {
        return this.requests.filter((r) => r.op === op && (device === undefined || r.device === device));
    }

    /** A device's twin, with what the test wants to say of it. */
    put(deviceId, { reported = {}, ...members } = {}) {
        const twin = {
            deviceId, etag: 'AAAAAAAAAAE=', deviceEtag: 'MTIz', status: 'enabled', statusUpdateTime: '0001-01-01T00:00:00Z',
            connectionState: 'Connected', lastActivityTime: '2026-11-23T07:00:00.000Z', cloudToDeviceMessageCount: 0,
            authenticationType: 'sas', x509Thumbprint: { primaryThumbprint: null, secondaryThumbprint: null }, modelId: '', version: 3,
            tags: { site: 'A' },
            properties: {
                desired: { interval: 10, $metadata: { $lastUpdated: '2026-11-23T07:00:00Z', $lastUpdatedVersion: 2 }, $version: 2 },
                reported: { ...reported, $metadata: { $lastUpdated: '2026-11-23T07:00:00Z' }, $version: 1 },
            },
            capabilities: { iotEdge: false },
            ...members,
        };
        this.#twins.set(deviceId, twin);
        return twin;
    }

    async #serve(req, res) {
        res.on('error', () => {});
        const chunks = [];
        try {
            for await (const chunk of req)
                chunks.push(chunk);
        } catch {
            return;
        }
        const url = new URL(req.url, 'https://hub');
        const segments = req.url.split('?')[0].split('/').filter(Boolean);
        const request = {
            op: segments[0] === 'twins' ? 'twin' : segments.join('/') === 'devices/query' ? 'query' : 'unknown',
            method: req.method, path: req.url, url, segments, headers: req.headers, bodyText: Buffer.concat(chunks).toString('utf8'), at: Date.now(),
        };
        request.device = request.op === 'twin' ? safeDecode(segments[1]) : undefined;
        this.requests.push(request);
        try {
            await answerWithFault(this.#script.take(request), request, res, () => this.#answer(request));
        } catch (error) {
            sendAnswer(res, this.#errorAnswer(error));
        }
    }

    #answer(request) {
        try {
            this.#authenticate(request);
            if (request.url.searchParams.get('api-version') !== API_VERSION)
                throw new HubError(400, 'InvalidProtocolVersion', `api-version is ${request.url.searchParams.get('api-version')}`);
            if (request.op === 'twin' && request.method === 'GET')
                return this.#twin(request);
            if (request.op === 'query' && request.method === 'POST')
                return this.#query(request);
            throw new HubError(405, 'MethodNotAllowed', `the fake does not serve ${request.method} ${request.path}`);
        } catch (error) {
            return this.#errorAnswer(error);
        }
    }

    #errorAnswer(error) {
        if (!(error instanceof HubError)) {
            this.violations.push(`the fake failed: ${error.stack}`);
            error = new HubError(500, 'ServerError', error.message);
        }
        if (error.status !== 404)
            this.violations.push(`${error.status} ${error.message}`);
        return { status: error.status, headers: { 'content-type': 'application/json; charset=utf-8' }, body: errorBody.message(error.name, error.message) };
    }

    #authenticate(request) {
        const refuse = (why) => {
            throw new HubError(401, 'IotHubUnauthorizedAccess', `Unauthorized: ${why}`);
        };
        const bearer = /^Bearer ([\w.~+/-]+=*)$/.exec(request.headers.authorization ?? '');
        if (this.entra !== undefined && bearer) {
            const why = this.entra.refusal(bearer[1], ['https://iothubs.azure.net']);
            return why === undefined ? undefined : refuse(why);
        }
        const match = /^SharedAccessSignature (\S+)$/.exec(request.headers.authorization ?? '');
        if (!match)
            refuse('no SharedAccessSignature');
        const parts = match[1].split('&').map((part) => [part.slice(0, part.indexOf('=')), part.slice(part.indexOf('=') + 1)]);
        const token = Object.fromEntries(parts);
        if (parts.length !== 4 || !['sr', 'sig', 'se', 'skn'].every((name) => token[name] !== undefined))
            refuse(`the token's members are ${parts.map(([name]) => name)}`);
        if (token.sr !== encodeURIComponent(this.hostName))
            refuse(`sr is ${token.sr}`);
        if (token.skn !== this.policy)
            refuse(`skn is ${token.skn}`);
        if (!/^\d{1,12}$/.test(token.se) || Number(token.se) * 1000 <= Date.now())
            refuse(`se is ${token.se}`);
        const signature = createHmac('sha256', Buffer.from(this.key, 'base64')).update(`${token.sr}\n${token.se}`).digest('base64');
        const expected = Buffer.from(encodeURIComponent(signature));
        const said = Buffer.from(token.sig);
        if (said.length !== expected.length || !timingSafeEqual(said, expected))
            refuse('sig is wrong');
    }

    #twin(request) {
        const twin = this.#twins.get(request.device);
        if (!twin)
            throw new HubError(404, 'DeviceNotFound', request.device);
        return { status: 200, headers: { 'content-type': 'application/json; charset=utf-8', etag: `"${twin.etag}"` }, body: JSON.stringify(twin) };
    }

    #query(request) {
        let spec;
        try {
            spec = JSON.parse(request.bodyText);
        } catch {
            throw new HubError(400, 'ArgumentInvalid', 'the body is not JSON');
        }
        if (!/^\s*select\s+\*\s+from\s+devices\s*$/i.test(spec.query ?? ''))
            throw new HubError(400, 'ArgumentInvalid', `the fake does not know the query ${spec.query}`);
        const max = Number(request.headers['x-ms-max-item-count'] ?? 100);
        if (!Number.isInteger(max) || max < 1)
            throw new HubError(400, 'ArgumentInvalid', 'x-ms-max-item-count');
        const token = request.headers['x-ms-continuation'];
        if (token !== undefined && token !== '' && !this.#continuations.has(token))
            throw new HubError(400, 'ArgumentInvalid', 'x-ms-continuation');
        const start = token ? this.#continuations.get(token) : 0;
        const twins = [...this.#twins.values()];
        const page = twins.slice(start, start + Math.min(max, 1000));
        const headers = { 'content-type': 'application/json; charset=utf-8', 'x-ms-item-type': 'Twin' };
        if (start + page.length < twins.length) {
            headers['x-ms-continuation'] = Buffer.from(`-RID:~${randomBytes(9).toString('base64')}==#RT:1#TRC:${start + page.length}#FPC:AgEBAA==`).toString('base64');
            this.#continuations.set(headers['x-ms-continuation'], start + page.length);
        }
        return { status: 200, headers, body: JSON.stringify(page) };
    }
}

function safeDecode(text) {
    try {
        return decodeURIComponent(text ?? '');
    } catch {
        return undefined;
    }
}

export const startIotHub = (options) => new FakeIotHub(options).start();
