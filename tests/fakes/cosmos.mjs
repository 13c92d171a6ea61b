// A fake Azure Cosmos DB (NoSQL, REST) that is as strict as the service where npm's emulator is not: it checks the master-key
// signature of every request (or its Entra token, where a directory was named), keeps partitions apart, binds continuation tokens to their query, makes batches atomic and
// knows regions. What goes wrong is scripted with fault() (faults.mjs).

import { createHash, createHmac, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import { ChangeFeed } from './cosmos_feed.mjs';
import { FaultScript, answerWithFault, sendAnswer, wire } from './faults.mjs';
import { QueryError, parseQuery } from './sql.mjs';

export { wire };

const MAX_SKEW_MS = 15 * 60 * 1000;
const MAX_BODY = 2 * 1024 * 1024;

class CosmosError extends Error {
    constructor(status, code, message, substatus) {
        super(message);
        Object.assign(this, { status, code, substatus });
    }
}

/** The Authorization value that the service expects (before percent-encoding). */
export function masterKeyToken(key, verb, resourceType, resourceLink, date) {
    const text = `${verb.toLowerCase()}\n${resourceType.toLowerCase()}\n${resourceLink}\n${date.toLowerCase()}\n\n`;
    const signature = createHmac('sha256', Buffer.from(key, 'base64')).update(text, 'utf8').digest('base64');
    return `type=master&ver=1.0&sig=${signature}`;
}

/** Resource type and link of a path, as they are signed: raw names, no slash at either end. */
function resourceOf(path) {
    const segments = path.split('?')[0].split('/').filter(Boolean).map(decodeURIComponent);
    if (segments.length === 0)
        return { type: '', link: '' };
    if (segments.length % 2 === 1)
        return { type: segments.at(-1), link: segments.slice(0, -1).join('/') };
    return { type: segments.at(-2), link: segments.join('/') };
}

/** A resource id as the service makes them: eight bytes, growing with the order of creation. */
const ridOf = (sequence) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(BigInt(sequence));
    return `gAACAIAA${bytes.toString('base64')}`;
};

export class FakeCosmos {
    /** As the service sends them. Each value is kept for the whole life of the fake. */
    requests = [];
    /** Violations of the protocol that the service would refuse or that waste it; tests expect none. */
    violations = [];
    /** pagePlan(n): at most so many rows on the n-th page served (0 makes an empty page with a continuation). */
    pagePlan = undefined;
    /** True: a page that is full carries a continuation even where nothing follows, so that the last one is empty. */
    eagerContinuation = false;
    /** Makes continuation tokens this much longer. */
    continuationPadding = 0;
    checkSignatures = true;
    /** The directory (entra.mjs) whose tokens may pass in place of a signature; undefined: only a signature does. */
    entra = undefined;
    /** The container's ranges and their change feed (cosmos_feed.mjs). */
    feed = new ChangeFeed();

    #servers = [];
    #partitions = new Map();
    #sequence = 0;
    #script = new FaultScript();
    #continuations = new Map();
    #pages = 0;
    #options;

    constructor(options = {}) {
        this.#options = {
            database: 'iot',
            container: 'telemetry',
            partitionKey: '/deviceId',
            defaultTtl: -1,
            regions: ['West Europe'],
            tls: undefined,
            host: '127.0.0.1',
            ...options,
        };
        this.key = options.key ?? randomBytes(64).toString('base64');
        this.entra = options.entra;
        this.definition = {
            id: this.#options.container,
            partitionKey: { paths: [this.#options.partitionKey].flat(), kind: 'Hash', version: 2 },
            ...(this.#options.defaultTtl === undefined ? {} : { defaultTtl: this.#options.defaultTtl }),
            _rid: 'gAACAIAAAAA=', _self: 'dbs/gAACAA==/colls/gAACAIAAAAA=/', _etag: '"00000000-0000-0000-0000-000000000000"',
        };
        /** What GET / says; the URLs are filled in by start(). Change it to make it stale. */
        this.account = undefined;
    }

    async start() {
        for (const [index] of this.#options.regions.entries()) {
            const handler = (req, res) => this.#serve(index, req, res);
            const server = this.#options.tls ? https.createServer(this.#options.tls, handler) : http.createServer(handler);
            server.keepAliveTimeout = 60_000;
            server.unref(); // a fake must not keep a failed test file alive
            await new Promise((resolve, reject) => server.once('error', reject).listen(0, this.#options.host, resolve));
            this.#servers.push(server);
        }
        const locations = this.#options.regions.map((name, i) => ({ name, databaseAccountEndpoint: `${this.url(i)}/` }));
        this.account = {
            id: 'fake', _rid: 'fake.documents.azure.com',
            writableLocations: locations.slice(0, 1),
            readableLocations: locations,
            enableMultipleWriteLocations: false,
            userConsistencyPolicy: { defaultConsistencyLevel: 'Session' },
        };
        return this;
    }

    url(region = 0) {
        return `${this.#options.tls ? 'https' : 'http'}://${this.#options.host}:${this.#servers[region].address().port}`;
    }

    get connection() {
        return `AccountEndpoint=${this.url()}/;AccountKey=${this.key};`;
    }

    /** The same with Entra credentials, which the directory's own settings name. */
    get entraEnv() {
        const { COSMOS_CONNECTION, ...names } = this.env;
        return { COSMOS_ENDPOINT: `${this.url()}/`, ...names };
    }

    /** The settings with which telemetryd uses this account. */
    get env() {
        return {
            COSMOS_CONNECTION: this.connection,
            COSMOS_DATABASE: this.#options.database,
            COSMOS_CONTAINER: this.#options.container,
        };
    }

    fault(fault) {
        return this.#script.add(fault);
    }

    clearFaults() {
        this.#script.clear();
    }

    /** Closes a region's port: connections to it are refused from now on. */
    async closeRegion(region) {
        const server = this.#servers[region];
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
    }

    /** Closes every connection, as a load balancer does with idle ones. */
    closeConnections() {
        for (const server of this.#servers)
            server.closeAllConnections();
    }

    /** Opens a closed region again, on its old port. */
    async reopenRegion(region, port) {
        const server = this.#servers[region];
        await new Promise((resolve, reject) => server.once('error', reject).listen(port, this.#options.host, resolve));
    }

    async stop() {
        for (const server of this.#servers) {
            server.closeAllConnections();
            if (server.listening)
                await new Promise((resolve) => server.close(resolve));
        }
    }

    requestsOf(op, device) {
        return this.requests.filter((r) => r.op === op && (device === undefined || r.device === device));
    }

    // --- items

    /** Stores an item as another writer would have at the second `ts`. rawData: the text of its `data`, kept as it is. */
    put(deviceId, { id = randomUUID(), data, rawData, ts = Math.floor(Date.now() / 1000), ...more } = {}) {
        const item = { id, deviceId, partitionKey: deviceId, ...(data === undefined && rawData === undefined ? {} :
            { data: data ?? JSON.parse(rawData) }), ...more };
        return this.#store(deviceId, item, ts, { rawData }).item;
    }

    /** The items of a device as they lie there, in the order of their creation. */
    items(deviceId) {
        return [...(this.#partitions.get(deviceId)?.values() ?? [])].sort((a, b) => a.sequence - b.sequence).map((e) => e.item);
    }

    #store(partition, item, ts, { rawData, transaction } = {}) {
        if (!this.#partitions.has(partition))
            this.#partitions.set(partition, new Map());
        const items = this.#partitions.get(partition);
        const before = items.get(item.id);
        // A replaced item keeps its _rid, and so its place among items of one second.
        const sequence = before?.sequence ?? ++this.#sequence;
        const stored = {
            ...item, _rid: ridOf(sequence), _self: `dbs/gAACAA==/colls/gAACAIAAAAA=/docs/${sequence}/`,
            _etag: `"${randomUUID()}"`, _attachments: 'attachments/', _ts: ts,
        };
        const entry = { item: stored, sequence, rawData };
        items.set(item.id, entry);
        this.feed.append(partition, entry, transaction);
        return { ...entry, created: before === undefined };
    }

    #live(partition) {
        return [...(this.#partitions.get(partition)?.values() ?? [])].filter((entry) => this.#lives(entry));
    }

    #lives({ item }) {
        const ttl = item.ttl ?? this.definition.defaultTtl;
        return this.definition.defaultTtl === undefined || ttl === -1 || item._ts + ttl > Math.floor(Date.now() / 1000);
    }

    // --- requests

    async #serve(region, req, res) {
        res.on('error', () => {});
        req.on('error', () => {});
        const chunks = [];
        try {
            for await (const chunk of req)
                chunks.push(chunk);
        } catch {
            return; // the client went away
        }
        const request = this.#describe(region, req, Buffer.concat(chunks));
        this.requests.push(request);
        const honest = () => this.#answer(request);
        try {
            await answerWithFault(this.#script.take(request), request, res, honest);
        } catch (error) {
            sendAnswer(res, this.#errorAnswer(error));
        }
    }

    #describe(region, req, body) {
        const header = (name) => req.headers[name];
        const segments = req.url.split('?')[0].split('/').filter(Boolean).map(decodeURIComponent);
        const isTrue = (name) => header(name)?.toLowerCase() === 'true';
        const op = (() => {
            switch (segments.length) {
            case 0: return 'account';
            case 2: return 'database';
            case 4: return 'container';
            case 5:
                if (segments[4] === 'pkranges')
                    return 'pkranges';
                if (req.method !== 'POST')
                    return 'feed';
                if (isTrue('x-ms-cosmos-is-query-plan-request'))
                    return 'plan';
                if (isTrue('x-ms-documentdb-isquery'))
                    return 'query';
                if (isTrue('x-ms-cosmos-is-batch-request'))
                    return 'batch';
                return isTrue('x-ms-documentdb-is-upsert') ? 'upsert' : 'create';
            case 6: return { GET: 'read', PUT: 'replace', DELETE: 'delete' }[req.method] ?? 'unknown';
            default: return 'unknown';
            }
        })();
        const request = {
            op, region, method: req.method, path: req.url, segments, headers: req.headers, rawHeaders: req.rawHeaders,
            bodyText: body.toString('utf8'), body, at: Date.now(), device: undefined,
        };
        try {
            request.device = JSON.parse(header('x-ms-documentdb-partitionkey') ?? 'null')?.[0];
        } catch {
            request.device = undefined;
        }
        return request;
    }

    #answer(request) {
        try {
            if (this.checkSignatures)
                this.#authenticate(request);
            return this.#route(request);
        } catch (error) {
            return this.#errorAnswer(error);
        }
    }

    #errorAnswer(error) {
        if (error instanceof QueryError)
            error = new CosmosError(400, 'BadRequest', error.message);
        if (!(error instanceof CosmosError)) {
            this.violations.push(`the fake failed: ${error.stack}`);
            error = new CosmosError(500, 'InternalServerError', error.message);
        }
        if (error.status === 400 || error.status === 401)
            this.violations.push(`${error.status} ${error.message}`);
        return this.#json(error.status, { code: error.code, message: error.message }, {
            'x-ms-request-charge': '1',
            ...(error.substatus === undefined ? {} : { 'x-ms-substatus': String(error.substatus) }),
        });
    }

    #json(status, value, headers = {}) {
        return {
            status,
            headers: { 'content-type': 'application/json', 'x-ms-activity-id': randomUUID(), 'x-ms-version': '2020-07-15', ...headers },
            body: typeof value === 'string' ? value : JSON.stringify(value),
        };
    }

    #authenticate(request) {
        const { headers } = request;
        if (!headers['x-ms-version'])
            throw new CosmosError(400, 'BadRequest', 'The x-ms-version header is missing');
        const said = headers.authorization;
        if (this.entra !== undefined && /^type(=|%3d)aad/i.test(said ?? ''))
            return this.#authenticateToken(said);
        const date = headers['x-ms-date'];
        if (!date || !/^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(date))
            throw new CosmosError(401, 'Unauthorized', `x-ms-date is missing or not RFC 1123: ${date}`);
        const { type, link } = resourceOf(request.path);
        if (said === undefined)
            throw new CosmosError(401, 'Unauthorized', 'Required Header authorization is missing');
        // The whole token is percent-encoded; the case of the hex digits does not matter, everything else does.
        const expected = encodeURIComponent(masterKeyToken(this.key, request.method, type, link, date));
        const normal = (text) => Buffer.from(text.replace(/%[0-9a-f]{2}/gi, (hex) => hex.toUpperCase()));
        const [a, b] = [normal(said), normal(expected)];
        if (a.length !== b.length || !timingSafeEqual(a, b))
            throw new CosmosError(401, 'Unauthorized', `The input authorization token can't serve the request (${request.op})`);
        if (Math.abs(Date.parse(date) - Date.now()) > MAX_SKEW_MS)
            throw new CosmosError(403, 'Forbidden', 'The authorization token is not valid at the current time', 0);
    }

    /** An Entra token, not percent-encoded, for this account or for all accounts. The SDK sends no x-ms-date beside it. */
    #authenticateToken(said) {
        const match = /^type=aad&ver=1\.0&sig=([\w.~+/-]+=*)$/.exec(said);
        const accounts = this.#servers.map((_, region) => this.url(region));
        const why = match ? this.entra.refusal(match[1], ['https://cosmos.azure.com', ...accounts]) : 'the header is not of the form of a token';
        if (why !== undefined)
            throw new CosmosError(401, 'Unauthorized', `The Entra token is refused: ${why}`);
    }

    #route(request) {
        const [, database, , container] = request.segments;
        if (database !== undefined && database !== this.#options.database)
            throw new CosmosError(404, 'NotFound', 'Owner resource does not exist', 1003);
        if (container !== undefined && container !== this.#options.container)
            throw new CosmosError(404, 'NotFound', 'Owner resource does not exist', 1003);
        switch (request.op) {
        case 'account': return this.#json(200, this.account);
        case 'database': return this.#json(200, { id: database, _rid: 'gAACAA==', _self: 'dbs/gAACAA==/' });
        case 'container': return this.#json(200, this.definition, { 'x-ms-request-charge': '1' });
        case 'pkranges': return this.#json(200, this.feed.list(), { 'x-ms-request-charge': '1' });
        case 'feed': return this.#changes(request);
        case 'plan': return this.#plan(request);
        case 'query': return this.#query(request);
        case 'upsert': case 'create': return this.#write(request);
        case 'batch': return this.#batch(request);
        case 'read': case 'replace': case 'delete': return this.#point(request);
        default: throw new CosmosError(405, 'MethodNotAllowed', `The fake does not serve ${request.method} ${request.path}`);
        }
    }

    /** The partition key header's only level, undefined without the header. */
    #partitionKey(request) {
        const text = request.headers['x-ms-documentdb-partitionkey'];
        if (text === undefined)
            return undefined;
        if (/[^\x20-\x7e]/.test(text))
            throw new CosmosError(400, 'BadRequest', 'x-ms-documentdb-partitionkey holds bytes outside ASCII');
        try {
            const levels = JSON.parse(text);
            if (Array.isArray(levels) && levels.length === 1)
                return levels[0];
        } catch {
            // refused below
        }
        throw new CosmosError(400, 'BadRequest', `Partition key ${text} is invalid`, 1001);
    }

    // --- queries

    #spec(request) {
        if (request.headers['content-type'] !== 'application/query+json')
            throw new CosmosError(400, 'BadRequest', `Content-Type of a query is application/query+json, not ${request.headers['content-type']}`);
        try {
            return JSON.parse(request.bodyText);
        } catch {
            throw new CosmosError(400, 'BadRequest', 'The request body is not JSON');
        }
    }

    #plan(request) {
        const spec = this.#spec(request);
        const { top, orderBy } = parseQuery(spec.query, spec.parameters);
        return this.#json(200, {
            partitionedQueryExecutionInfoVersion: 2,
            queryInfo: {
                distinctType: 'None', top: top ?? null, offset: null, limit: null,
                orderBy: orderBy.map((o) => (o.descending ? 'Descending' : 'Ascending')), orderByExpressions: [],
                groupByExpressions: [], groupByAliases: [], aggregates: [], groupByAliasToAggregateType: {},
                rewrittenQuery: '', hasSelectValue: false,
            },
            queryRanges: [{ min: '', max: 'FF', isMinInclusive: true, isMaxInclusive: false }],
        });
    }

    #query(request) {
        const spec = this.#spec(request);
        const query = parseQuery(spec.query, spec.parameters);
        const partition = this.#partitionKey(request);
        if (query.orderBy.length > 1)
            throw new CosmosError(400, 'BadRequest', 'The order by query does not have a corresponding composite index');
        if (partition === undefined) {
            if (request.headers['x-ms-documentdb-query-enablecrosspartition']?.toLowerCase() !== 'true')
                throw new CosmosError(400, 'BadRequest', 'Cross partition query is required but disabled');
            if (query.top !== undefined || query.orderBy.length > 0)
                throw new CosmosError(400, 'BadRequest', 'The provided cross partition query can not be directly served by the gateway', 1004);
        }
        const max = Number(request.headers['x-ms-max-item-count'] ?? 100);
        if (!Number.isInteger(max) || max === 0 || max < -1)
            throw new CosmosError(400, 'BadRequest', 'x-ms-max-item-count is invalid');

        const rows = this.#rows(query, partition);
        const identity = createHash('sha256').update(`${request.bodyText}\u0000${partition}`).digest('hex');
        const { skipped, served } = this.#resume(request.headers['x-ms-continuation'], identity);
        const left = (query.top ?? Infinity) - served;
        const start = skipped === undefined ? 0 : rows.findIndex((row) => this.#after(query, row, skipped));
        const remaining = start < 0 ? [] : rows.slice(start).slice(0, left);
        const plan = this.pagePlan?.(this.#pages++) ?? Infinity;
        const page = remaining.slice(0, Math.min(max === -1 ? 1000 : max, plan));
        const more = page.length < remaining.length || (this.eagerContinuation && page.length > 0);

        const headers = {
            'x-ms-request-charge': (2.79 + page.length * 0.03).toFixed(2),
            'x-ms-item-count': String(page.length),
            'x-ms-session-token': '0:-1#42',
        };
        if (more) {
            const last = page.at(-1) ?? skipped;
            headers['x-ms-continuation'] = this.#continuation(identity, last, served + page.length);
        }
        const documents = page.map(({ item, rawData }) => stringify(query.select(item), item.data, rawData));
        return this.#json(200, `{"_rid":"gAACAIAAAAA=","Documents":[${documents.join(',')}],"_count":${page.length}}`, headers);
    }

    #rows(query, partition) {
        const partitions = partition === undefined ? [...this.#partitions.keys()] : [partition];
        const rows = partitions.flatMap((key) => this.#live(key)).filter(({ item }) => query.where(item));
        const [order] = query.orderBy;
        const sign = order?.descending ? -1 : 1;
        return rows.sort((a, b) => {
            const [x, y] = order ? [order.path(a.item), order.path(b.item)] : [0, 0];
            if (x !== y)
                return x < y ? -sign : sign;
            return sign * (a.sequence - b.sequence); // the index is walked backwards as a whole
        });
    }

    #after(query, row, position) {
        const [order] = query.orderBy;
        const sign = order?.descending ? -1 : 1;
        const value = order ? order.path(row.item) : 0;
        const before = order ? order.path(position.item) : 0;
        if (value !== before)
            return sign * (value < before ? -1 : 1) > 0;
        return sign * (row.sequence - position.sequence) > 0;
    }

    /** A token as the gateway makes them: JSON with characters that no careless copy survives; good for its query alone. */
    #continuation(identity, last, served) {
        const token = JSON.stringify({
            token: `+RID:~gAACAIAA${randomBytes(6).toString('base64')}#RT:${this.#pages}#TRC:${served}#ISV:2#IEO:65567#QCF:8`,
            range: { min: '', max: 'FF' },
            ...(this.continuationPadding ? { pad: '~'.repeat(this.continuationPadding) } : {}),
        });
        this.#continuations.set(token, { identity, skipped: last, served });
        return token;
    }

    #resume(token, identity) {
        if (token === undefined)
            return { skipped: undefined, served: 0 };
        const known = this.#continuations.get(token);
        if (!known || known.identity !== identity)
            throw new CosmosError(400, 'BadRequest', 'Invalid Continuation Token');
        return known;
    }

    /** One page of a range's change feed. */
    #changes(request) {
        const { error, gone, status, etag, entries } = this.feed.read(request.headers, (entry) => this.#lives(entry));
        if (error !== undefined)
            throw new CosmosError(400, 'BadRequest', error);
        if (gone)
            throw new CosmosError(410, 'Gone', 'The partition key range was split', 1002);
        const headers = {
            etag, 'x-ms-request-charge': (1 + entries.length * 0.05).toFixed(2), 'x-ms-item-count': String(entries.length),
            'x-ms-session-token': '0:-1#45',
        };
        if (status === 304)
            return { status, headers, body: '' };
        const documents = entries.map(({ lsn, entry: { item, rawData } }) => stringify({ ...item, _lsn: lsn }, item.data, rawData));
        return this.#json(200, `{"_rid":"gAACAIAAAAA=","Documents":[${documents.join(',')}],"_count":${entries.length}}`, headers);
    }

    // --- writes

    #checkItem(item, partition) {
        if (item === null || typeof item !== 'object' || Array.isArray(item))
            throw new CosmosError(400, 'BadRequest', 'The input content is invalid: not an object');
        if (typeof item.id !== 'string' || item.id === '' || /[/\\?#]/.test(item.id) || Buffer.byteLength(item.id) > 1023)
            throw new CosmosError(400, 'BadRequest', `The input name '${item.id}' is invalid`);
        if (item.ttl !== undefined && !(Number.isInteger(item.ttl) && (item.ttl > 0 || item.ttl === -1)))
            throw new CosmosError(400, 'BadRequest', 'ttl must be a positive integer or -1');
        const path = this.definition.partitionKey.paths[0].slice(1);
        if (partition === undefined || item[path] !== partition)
            throw new CosmosError(400, 'BadRequest', 'PartitionKey extracted from document doesn\'t match the one specified in the header', 1001);
    }

    #write(request) {
        const partition = this.#partitionKey(request);
        if (request.body.length > MAX_BODY)
            throw new CosmosError(413, 'RequestEntityTooLarge', 'Request size is too large');
        const item = parseBody(request.bodyText);
        this.#checkItem(item, partition);
        if (request.op === 'create' && this.#partitions.get(partition)?.has(item.id))
            throw new CosmosError(409, 'Conflict', 'Entity with the specified id already exists in the system.');
        const { item: stored, created } = this.#store(partition, item, Math.floor(Date.now() / 1000));
        return this.#json(created ? 201 : 200, stored, { etag: stored._etag, 'x-ms-request-charge': '6.29', 'x-ms-session-token': '0:-1#43' });
    }

    #batch(request) {
        const partition = this.#partitionKey(request);
        const operations = parseBody(request.bodyText);
        if (request.headers['x-ms-cosmos-batch-atomic']?.toLowerCase() !== 'true')
            throw new CosmosError(400, 'BadRequest', 'The fake serves atomic batches only');
        if (!Array.isArray(operations) || operations.length === 0 || operations.length > 100)
            throw new CosmosError(400, 'BadRequest', 'Batch request has more operations than what is supported');
        if (request.body.length > MAX_BODY)
            throw new CosmosError(413, 'RequestEntityTooLarge', 'Request size is too large');

        const failure = this.#script.take({ ...request, op: 'batch-item' });
        let failed = failure ? Math.min(failure.index ?? 0, operations.length - 1) : -1;
        let status = failure?.itemStatus ?? 0;
        if (failed < 0) {
            failed = operations.findIndex((operation) => {
                try {
                    if (operation.operationType !== 'Upsert' && operation.operationType !== 'Create')
                        throw new CosmosError(400, 'BadRequest', `The fake does not know ${operation.operationType}`);
                    this.#checkItem(operation.resourceBody, partition);
                    if (operation.operationType === 'Create' && this.#partitions.get(partition)?.has(operation.resourceBody.id))
                        throw new CosmosError(409, 'Conflict', 'exists');
                    return false;
                } catch (error) {
                    status = error.status;
                    this.violations.push(`batch: ${error.message}`);
                    return true;
                }
            });
        }
        if (failed >= 0) {
            const results = operations.map((_, i) => ({
                statusCode: i === failed ? status : 424, requestCharge: i === failed ? 1 : 0,
                ...(i === failed && failure?.retryAfterMs ? { retryAfterMilliseconds: failure.retryAfterMs } : {}),
            }));
            return this.#json(207, results, { 'x-ms-request-charge': '1.5' });
        }
        const ts = Math.floor(Date.now() / 1000);
        const transaction = Symbol('transaction');
        const results = operations.map((operation) => {
            const { item, created } = this.#store(partition, operation.resourceBody, ts, { transaction });
            return { statusCode: created ? 201 : 200, requestCharge: 6.29, eTag: item._etag, resourceBody: item };
        });
        return this.#json(200, results, { 'x-ms-request-charge': (6.29 * results.length).toFixed(2), 'x-ms-session-token': '0:-1#44' });
    }

    #point(request) {
        const partition = this.#partitionKey(request);
        const items = this.#partitions.get(partition);
        const id = request.segments[5];
        const entry = this.#live(partition).find((e) => e.item.id === id);
        if (!entry)
            throw new CosmosError(404, 'NotFound', 'Entity with the specified id does not exist in the system.', 0);
        if (request.op === 'read')
            return this.#json(200, entry.item, { etag: entry.item._etag, 'x-ms-request-charge': '1' });
        if (request.op === 'delete') {
            items.delete(id);
            this.feed.remove(entry);
            return { status: 204, headers: { 'x-ms-request-charge': '6.29' }, body: '' };
        }
        const item = parseBody(request.bodyText);
        this.#checkItem(item, partition);
        const { item: stored } = this.#store(partition, item, Math.floor(Date.now() / 1000));
        return this.#json(200, stored, { etag: stored._etag, 'x-ms-request-charge': '10.67' });
    }
}

function parseBody(text) {
    try {
        return JSON.parse(text);
    } catch {
        throw new CosmosError(400, 'BadRequest', 'The request body is not JSON');
    }
}

/** JSON of a selected row; where it holds `data` itself and its raw text is known, that text stands in it. */
function stringify(row, data, rawData) {
    if (rawData === undefined || row === null || typeof row !== 'object' || !('data' in row) || row.data !== data)
        return JSON.stringify(row);
    const parts = Object.entries(row).map(([name, value]) => `${JSON.stringify(name)}:${value === data ? rawData : JSON.stringify(value)}`);
    return `{${parts.join(',')}}`;
}

export const startCosmos = (options) => new FakeCosmos(options).start();
