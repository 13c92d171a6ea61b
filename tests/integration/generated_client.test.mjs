// What client generators make of openapi.yaml: openapi-typescript and swagger-typescript-api take it without a warning, their output and a
// program on it pass TypeScript's strict check, and the program works against a real server.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import ts from 'typescript';
import { root } from '../support/contract.mjs';
import { startServer } from '../support/server.mjs';
import { tempDirectory } from '../support/temp.mjs';
import { localIssuer } from '../support/tokens.mjs';

const contract = join(root, 'openapi', 'openapi.yaml');
const run = promisify(execFile);
const tool = (name) => join(root, 'node_modules', '.bin', name);

/** What somebody writes who has the generated client and nothing else. */
const PROGRAM = `
import { Api, HttpResponse, Problem, ProblemCode, Reading } from './Api.js';

export const connect = (baseUrl: string, token: string) => new Api<string>({
    baseUrl, securityWorker: (data) => ({ headers: { Authorization: \`Bearer \${data}\` } }),
});
export type Client = ReturnType<typeof connect>;

export async function readAll(client: Client, deviceId: string, limit: number): Promise<Reading[]> {
    const readings: Reading[] = [];
    for (let cursor: string | undefined; ;) {
        const { data } = await client.devices.readTelemetry(deviceId, { order: 'asc', limit, cursor, hours: 1 });
        readings.push(...data.telemetry);
        if (data.nextLink === undefined)
            return readings;
        cursor = new URL(data.nextLink, 'http://x').searchParams.get('cursor') ?? undefined;
    }
}

export async function problemOf(call: Promise<unknown>): Promise<{ status: number; code: ProblemCode; target?: string }> {
    try {
        await call;
    } catch (thrown) {
        const { status, error } = thrown as HttpResponse<unknown, Problem>;
        return { status, code: error.code, target: error.target };
    }
    throw new Error('there was no problem');
}

// Types that say too little would let this pass.
export const wrong = (client: Client) => [
    // @ts-expect-error an order that does not exist
    () => client.devices.readTelemetry('d1', { order: 'up' }),
    // @ts-expect-error no such parameter
    () => client.devices.readTelemetry('d1', { colour: 'red' }),
    // @ts-expect-error a reading is an object
    () => client.devices.storeTelemetry('d1', 7),
    // @ts-expect-error several devices have to be named
    () => client.telemetry.followDevices({}),
];
`;

/** What the paths of openapi-typescript's output are used for. */
const TYPES = `
import type { components, paths } from './schema.js';

type Page = paths['/devices/{deviceId}/telemetry']['get']['responses'][200]['content']['application/json'];
type Status = components['schemas']['DeviceStatus'];
export const count = (page: Page): number => page.telemetry.length + page.count;
export const seen = (status: Status): string | null | undefined => typeof status.lastSeen === 'string' ? status.lastSeen : null;
// @ts-expect-error no such path
export type Nothing = paths['/nothing'];
`;

function check(directory, files) {
    const options = {
        strict: true, noEmitOnError: true, target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext,
        lib: ['lib.es2022.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'], types: [], outDir: directory, skipLibCheck: false,
    };
    const program = ts.createProgram(files.map((file) => join(directory, file)), options);
    const { diagnostics } = program.emit();
    return [...ts.getPreEmitDiagnostics(program), ...diagnostics].map((found) => `${found.file?.fileName} ${ts.flattenDiagnosticMessageText(found.messageText, '\n')}`);
}

describe('a generated client', () => {
    const directory = tempDirectory();
    let said;
    before(async () => {
        writeFileSync(join(directory, 'package.json'), '{"type":"module"}');
        writeFileSync(join(directory, 'program.ts'), PROGRAM);
        writeFileSync(join(directory, 'types.ts'), TYPES);
        said = await Promise.all([
            run(tool('openapi-typescript'), [contract, '-o', join(directory, 'schema.ts')]),
            run(tool('swagger-typescript-api'), ['generate', '-p', contract, '-o', directory, '-n', 'Api.ts']),
        ]);
    });

    it('is made without a warning', () => {
        for (const { stdout, stderr } of said)
            assert.doesNotMatch(`${stdout}${stderr}`, /warn|error|⚠|✖/i);
    });

    it('reads, pages, stores, and knows the problems by their types', async (t) => {
        assert.deepEqual(check(directory, ['program.ts', 'types.ts']), []);
        const { connect, problemOf, readAll } = await import(pathToFileURL(join(directory, 'program.js')));
        const issuer = localIssuer();
        const server = await startServer({ env: issuer.env });
        t.after(() => server.stop());
        const client = connect(server.url, undefined);
        assert.deepEqual(await problemOf(client.devices.listDevices()), { status: 401, code: 'Unauthorized', target: undefined });
        client.setSecurityData(issuer.token({ scp: 'Telemetry.Read Telemetry.Write Device.Read' }));

        const stored = await client.devices.storeTelemetry('press-7', Array.from({ length: 25 }, (_, i) => ({ temperature: i })));
        assert.deepEqual([stored.status, stored.data], [201, { deviceId: 'press-7', stored: 25 }]);
        assert.deepEqual((await readAll(client, 'press-7', 10)).map(({ data }) => data.temperature), Array.from({ length: 25 }, (_, i) => i));
        assert.equal((await client.devices.readLatestReading('press-7')).data.data.temperature, 24);
        assert.equal((await client.devices.readDeviceStatus('press-7')).data.deviceId, 'press-7');
        assert.deepEqual((await client.devices.listDevices()).data.value.map(({ deviceId }) => deviceId), ['press-7']);

        assert.deepEqual(await problemOf(client.devices.readTelemetry('press-7', { limit: 0 })), { status: 400, code: 'InvalidParameter', target: 'limit' });
        assert.deepEqual(await problemOf(client.devices.readLatestReading('nobody')), { status: 404, code: 'DeviceNotFound', target: undefined });
        assert.deepEqual(await problemOf(client.devices.patchReportedProperties('press-7', { status: 'online' })), { status: 403, code: 'Forbidden', target: undefined });
    });
});
