// IoT Hub for compose.yaml: the tests' fake over TLS, with a certificate of a CA that is made at each start; /tls/ca.pem has it, for
// AZURE_CA_FILE. The devices are those that seed.mjs stores readings of, and one that has never sent any.

import { writeFileSync } from 'node:fs';
import { startIotHub } from '../tests/fakes/iothub.mjs';
import { makeTls } from '../tests/support/tls.mjs';

const tls = makeTls(['DNS:hub', 'DNS:localhost', 'IP:127.0.0.1']);
const hub = await startIotHub({ tls, host: '0.0.0.0', port: 8443, key: process.env.HUB_KEY, hostName: 'hub' });
const now = () => new Date().toISOString();
hub.put('press-1', { reported: { status: 'online', firmwareVersion: '2.1.0', lastHeartbeat: now() } });
hub.put('press-2', { reported: { status: 'online', firmwareVersion: '2.0.4', lastHeartbeat: now() } });
hub.put('oven', { reported: { status: 'offline', firmwareVersion: '1.9.9' }, connectionState: 'Disconnected' });
hub.put('silent', {});
writeFileSync('/tls/ca.pem', tls.ca);
console.log('listening on 8443');
setInterval(() => {}, 60_000); // the fake itself lets a process end
for (const signal of ['SIGINT', 'SIGTERM'])
    process.on(signal, () => process.exit(0));
