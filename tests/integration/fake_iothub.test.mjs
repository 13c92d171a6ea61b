// The fake IoT Hub, proved against the official SDK (azure-iothub): tokens, twins, paged queries, errors.

import assert from 'node:assert/strict';
import https from 'node:https';
import { after, before, describe, it } from 'node:test';
import iothub from 'azure-iothub';
import { errorBody, startIotHub } from '../fakes/iothub.mjs';
import { makeTls } from '../support/tls.mjs';

describe('fake IoT Hub', () => {
    let hub;
    let tls;

    before(async () => {
        tls = makeTls();
        hub = await startIotHub({ tls });
    });
    after(() => hub.stop());

    /** The SDK has no option for a port; its transport takes an agent that leads to ours. */
    const registryOf = (connection) => {
        const registry = iothub.Registry.fromConnectionString(connection);
        const agent = new https.Agent({ host: '127.0.0.1', port: hub.port, servername: 'localhost', ca: tls.ca });
        registry._restApiClient.setOptions({ http: { agent } });
        return registry;
    };

    it('serves the SDK\'s Registry.getTwin', async () => {
        hub.put('dev #1', { reported: { status: 'online', firmwareVersion: '1.4.2' } });
        const { responseBody: twin } = await registryOf(hub.connection).getTwin('dev #1');
        assert.equal(twin.deviceId, 'dev #1');
        assert.equal(twin.properties.reported.status, 'online');
        assert.deepEqual(hub.violations, []);
    });

    it('pages the SDK\'s createQuery', async () => {
        for (let i = 0; i < 7; i++)
            hub.put(`paged-${i}`);
        const query = registryOf(hub.connection).createQuery('SELECT * FROM devices', 3);
        const ids = [];
        let pages = 0;
        while (query.hasMoreResults) {
            const { result } = await query.nextAsTwin();
            ids.push(...result.map((twin) => twin.deviceId));
            pages++;
        }
        assert.equal(pages, 3);
        assert.equal(ids.filter((id) => id.startsWith('paged-')).length, 7);
        assert.equal(new Set(ids).size, ids.length);
        assert.deepEqual(hub.violations, []);
    });

    const errors = [
        ['an unknown device', undefined, 'DeviceNotFoundError'],
        ['429', { status: 429, body: errorBody.message('ThrottlingException', 'slow down') }, 'ThrottlingError'],
        ['500', { status: 500, body: errorBody.message('ServerError', 'oops') }, 'InternalServerError'],
        ['503', { status: 503, body: errorBody.text('down') }, 'ServiceUnavailableError'],
        ['403002', { status: 403, body: errorBody.message('IotHubQuotaExceeded', 'spent') }, 'TooManyDevicesError'], // the SDK's word for any 403,
    ];
    for (const [name, fault, expected] of errors) {
        it(`is understood by the SDK in its errors: ${name}`, async () => {
            if (fault)
                hub.fault({ op: 'twin', ...fault });
            await assert.rejects(registryOf(hub.connection).getTwin('nobody'), (error) => error.name === expected || assert.fail(`${error.name}: ${error.message}`));
        });
    }

    it('refuses a wrong key, a wrong policy and another hub\'s token', async () => {
        const wrong = [
            hub.connection.replace(/SharedAccessKey=.*/, `SharedAccessKey=${Buffer.alloc(32, 1).toString('base64')}`),
            hub.connection.replace('SharedAccessKeyName=service', 'SharedAccessKeyName=other'),
            hub.connection.replace('HostName=testhub', 'HostName=otherhub'),
        ];
        for (const connection of wrong)
            await assert.rejects(registryOf(connection).getTwin('dev #1'), (error) => error.name === 'UnauthorizedError', connection.split(';')[0]);
        assert.equal(hub.violations.length, wrong.length);
    });
});
