// The fake of Entra's token sources, proved against the official library (@azure/identity), and the tokens of it against the
// official clients of the services that take them.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import https from 'node:https';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import '../support/webcrypto.mjs';
import { CosmosClient } from '@azure/cosmos';
import { ClientSecretCredential, WorkloadIdentityCredential } from '@azure/identity';
import iothub from 'azure-iothub';
import { startCosmos } from '../fakes/cosmos.mjs';
import { faults, startEntra } from '../fakes/entra.mjs';
import { startIotHub } from '../fakes/iothub.mjs';
import { root } from '../support/contract.mjs';
import { cleanEnvironment } from '../support/server.mjs';
import { tempDirectory } from '../support/temp.mjs';
import { makeTls } from '../support/tls.mjs';

const SCOPE = 'https://cosmos.azure.com/.default';
const execute = promisify(execFile);
const RESOURCE = 'https://cosmos.azure.com';

describe('fake Entra', () => {
    let tls;
    let entra; // over TLS, as the library insists
    let local; // over http, as managed identities are served
    const tokenFile = join(tempDirectory(), 'token');

    before(async () => {
        tls = makeTls();
        entra = await startEntra({ tls });
        local = await startEntra();
        writeFileSync(tokenFile, `${entra.assertion}\n`);
    });
    after(async () => {
        await entra.stop();
        await local.stop();
    });
    const options = () => ({ authorityHost: entra.url, disableInstanceDiscovery: true, tlsOptions: { ca: tls.ca }, retryOptions: { maxRetries: 0 } });
    const withSecret = (secret = entra.clientSecret) => new ClientSecretCredential(entra.tenant, entra.clientId, secret, options());
    const withFile = (tokenFilePath = tokenFile) =>
        new WorkloadIdentityCredential({ tenantId: entra.tenant, clientId: entra.clientId, tokenFilePath, ...options() });
    /** In a process of its own: the library decides once in a process which kind of managed identity there is. */
    const managed = async (env, scope) => {
        const script = `import { ManagedIdentityCredential } from '@azure/identity';
            console.log(JSON.stringify(await new ManagedIdentityCredential({ clientId: '${local.clientId}' }).getToken('${scope}')));`;
        const { stdout } = await execute(process.execPath, ['--input-type=module', '-e', script], { cwd: root, env: cleanEnvironment(env) });
        return JSON.parse(stdout);
    };
    const near = (token, seconds) => assert.ok(Math.abs(token.expiresOnTimestamp - Date.now() - seconds * 1000) < 30_000, `${token.expiresOnTimestamp}`);

    it('serves ClientSecretCredential', async () => {
        const token = await withSecret().getToken(SCOPE);
        assert.equal(entra.refusal(token.token, [RESOURCE]), undefined);
        near(token, entra.lifetime);
        assert.equal(entra.fetches().at(-1).kind, 'secret');
        assert.deepEqual(entra.violations, []);
    });

    it('serves WorkloadIdentityCredential', async () => {
        const token = await withFile().getToken(SCOPE);
        assert.equal(entra.refusal(token.token, [RESOURCE]), undefined);
        assert.equal(entra.fetches().at(-1).kind, 'assertion');
        assert.deepEqual(entra.violations, []);
    });

    for (const source of ['appservice', 'imds']) {
        for (const expiresOn of ['number', 'string', ...(source === 'appservice' ? ['iso'] : [])]) {
            it(`serves ManagedIdentityCredential, ${source}, with expires_on as ${expiresOn}`, async () => {
                local.expiresOn = expiresOn;
                const token = await managed(local.env(source), SCOPE);
                local.expiresOn = undefined;
                assert.equal(local.refusal(token.token, [RESOURCE]), undefined);
                near(token, local.lifetime);
                assert.equal(local.fetches().at(-1).op, source);
                assert.deepEqual(local.violations, []);
            });
        }
    }

    const errors = [
        ['a wrong secret', () => withSecret('wrong').getToken(SCOPE), /AADSTS7000215/],
        ['another resource\'s scope', () => withSecret().getToken('https://unknown.documents.azure.com/.default'), /AADSTS500011/],
        ['a wrong assertion', () => (writeFileSync(`${tokenFile}.wrong`, 'e.y.J'), withFile(`${tokenFile}.wrong`).getToken(SCOPE)), /AADSTS700024/],
    ];
    for (const [name, ask, expected] of errors) {
        it(`is understood by the library in its errors: ${name}`, async () => {
            entra.unknownResources.add('https://unknown.documents.azure.com');
            await assert.rejects(ask, (error) => expected.test(error.message) || assert.fail(error.message));
            entra.violations.length = 0;
        });
    }

    it('is asked again by the library after 410 from IMDS', { timeout: 60_000 }, async () => {
        const fault = local.fault({ op: 'imds', ...faults.imdsUpdating });
        const token = await managed(local.env('imds'), SCOPE);
        assert.equal(fault.hits, 1);
        assert.equal(local.refusal(token.token, [RESOURCE]), undefined);
    });

    it('revokes, expires, and tells tokens of other resources apart', async () => {
        const { token } = await withSecret().getToken(SCOPE);
        assert.match(entra.refusal(token, ['https://iothubs.azure.net']), /not for/);
        entra.revokeAll();
        assert.match(entra.refusal(token, [RESOURCE]), /revoked/);
        entra.lifetime = 0;
        const late = await withSecret().getToken('https://late.azure.net/.default');
        entra.lifetime = 3600;
        assert.match(entra.refusal(late.token, ['https://late.azure.net']), /expired/);
        assert.match(entra.refusal('made.up.token', [RESOURCE]), /not a token/);
    });

    const cosmosClient = (cosmos, credential) => new CosmosClient({
        endpoint: `${cosmos.url()}/`, aadCredentials: credential, agent: new https.Agent({ ca: tls.ca }), connectionPolicy: { enableEndpointDiscovery: false },
    });

    it('gives tokens with which @azure/cosmos reaches the fake account', async () => {
        const cosmos = await startCosmos({ entra, tls });
        entra.unknownResources.add(cosmos.url());
        const client = cosmosClient(cosmos, withSecret());
        try {
            const container = client.database('iot').container('telemetry');
            assert.deepEqual((await container.read()).resource.partitionKey.paths, ['/deviceId']);
            await container.items.upsert({ id: 'a', deviceId: 'd' });
            assert.equal((await container.items.query('SELECT * FROM c', { partitionKey: 'd' }).fetchAll()).resources.length, 1);
            assert.ok(cosmos.requests.every((r) => r.headers.authorization.startsWith('type=aad&ver=1.0&sig=ey')), cosmos.requests[0].headers.authorization);
            assert.deepEqual(cosmos.violations, []);
            const tried = entra.fetches().slice(-2).map((r) => r.resource);
            assert.deepEqual(tried, [cosmos.url(), RESOURCE], 'the account first, then what stands for all accounts');
            await assert.rejects(cosmosClient(cosmos, { getToken: async () => ({ token: 'made.up.token', expiresOnTimestamp: Date.now() + 1e7 }) })
                .database('iot').container('telemetry').read(), (error) => error.code === 401);
        } finally {
            client.dispose();
            await cosmos.stop();
        }
    });

    it('gives tokens with which azure-iothub reaches the fake hub', async () => {
        const hub = await startIotHub({ entra, tls });
        hub.put('d1');
        const registryOf = (credential) => {
            const registry = iothub.Registry.fromTokenCredential(hub.hostName, credential);
            registry._restApiClient.setOptions({ http: { agent: new https.Agent({ host: '127.0.0.1', port: hub.port, servername: 'localhost', ca: tls.ca }) } });
            return registry;
        };
        try {
            const { responseBody: twin } = await registryOf(withSecret()).getTwin('d1');
            assert.equal(twin.deviceId, 'd1');
            assert.match(hub.requests[0].headers.authorization, /^Bearer ey/);
            assert.equal(entra.fetches().at(-1).resource, 'https://iothubs.azure.net');
            assert.deepEqual(hub.violations, []);
            await assert.rejects(registryOf({ getToken: async () => ({ token: 'made.up.token', expiresOnTimestamp: Date.now() + 1e7 }) }).getTwin('d1'),
                (error) => error.name === 'UnauthorizedError');
        } finally {
            await hub.stop();
        }
    });
});
