// Creates the database and the container as they are in Azure, and a day of readings, with Microsoft's own SDK.

import { CosmosClient } from '@azure/cosmos';

const [, endpoint, key] = /^AccountEndpoint=([^;]+);AccountKey=([^;]+);?$/.exec(process.env.COSMOS_CONNECTION);
const client = new CosmosClient({ endpoint, key, connectionPolicy: { enableEndpointDiscovery: false } });
const { database } = await client.databases.createIfNotExists({ id: 'iot' });
const { container } = await database.containers.createIfNotExists({ id: 'telemetry', partitionKey: { paths: ['/deviceId'] }, defaultTtl: 7 * 86_400 });

const DEVICES = ['press-1', 'press-2', 'oven'];
const COUNT = 96;
const now = Date.now();
for (const [d, deviceId] of DEVICES.entries()) {
    for (let i = 0; i < COUNT; i++) {
        const timestamp = new Date(now - (COUNT - i) * 900_000).toISOString();
        await container.items.upsert({
            id: `${deviceId}-${timestamp}`, deviceId, partitionKey: deviceId, processedAt: new Date().toISOString(),
            data: { temperature: Math.round((20 + d * 5 + 4 * Math.sin(i / 10)) * 100) / 100, cycles: i, timestamp },
        });
    }
}
client.dispose();
console.log(`${DEVICES.length} devices with ${COUNT} readings each`);
