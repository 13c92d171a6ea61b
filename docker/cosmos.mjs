// Cosmos DB for compose.yaml: npm's emulator, over plain HTTP. Keeps everything in memory.

import emulator from '@vercel/cosmosdb-server';

const server = emulator.createHttpServer();
server.keepAliveTimeout = 60_000;
server.listen(8081, '0.0.0.0', () => console.log('listening on 8081'));
for (const signal of ['SIGINT', 'SIGTERM'])
    process.on(signal, () => process.exit(0));
