// README.md is true of the program: its settings, its metrics and its problem codes; docker/ and deploy/ name only settings that exist.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { openapi, openapiText, root } from '../support/contract.mjs';
import { run, startServer } from '../support/server.mjs';

const SETTING = /\b(?:TELEMETRYD|COSMOS|IOT_HUB|AZURE|IDENTITY)_[A-Z_]+[A-Z]\b/g;
/** What the test suite and the build read; no settings of the program. */
const NOT_SETTINGS = new Set(['TELEMETRYD_BIN', 'TELEMETRYD_TEST_SLOW']);

describe('README.md', () => {
    let readme;
    let printed;
    before(async () => {
        assert.ok(existsSync(`${root}README.md`), 'README.md is there');
        readme = readFileSync(`${root}README.md`, 'utf8');
        const { code, stdout, stderr } = await run(['--print-config']);
        assert.equal(code, 0, stderr);
        printed = stdout;
    });

    const namesIn = (text) => [...new Set(text.match(SETTING) ?? [])].filter((name) => !NOT_SETTINGS.has(name));
    const FILES = new Set(['AZURE_CA_FILE', 'AZURE_FEDERATED_TOKEN_FILE']); // settings, not a setting's file
    const plain = (name) => (FILES.has(name) ? name : name.replace(/_FILE$/, ''));

    it('names only settings that --print-config shows', () => {
        const known = new Set(namesIn(printed));
        assert.deepEqual(namesIn(readme).filter((name) => !known.has(name) && !known.has(plain(name))), []);
    });

    const filesBelow = (folder) => readdirSync(folder, { withFileTypes: true }).flatMap((entry) => (
        entry.isDirectory() ? filesBelow(join(folder, entry.name)) : [join(folder, entry.name)]));
    for (const folder of ['docker', 'deploy']) {
        it(`${folder}/ names only settings that --print-config shows`, () => {
            const known = new Set(namesIn(printed));
            const files = filesBelow(join(root, folder));
            assert.ok(files.length > 0);
            for (const file of files)
                assert.deepEqual(namesIn(readFileSync(file, 'utf8')).filter((name) => !known.has(name) && !known.has(plain(name))), [], file);
        });
    }

    it('names every setting that --print-config shows', () => {
        const known = new Set(namesIn(readme));
        assert.deepEqual(namesIn(printed).filter((name) => !known.has(name) && !known.has(plain(name))), []);
    });

    it('names every metric that /metrics shows, if it speaks of metrics at all', async (t) => {
        const server = await startServer({ ready: true });
        t.after(() => server.stop());
        const { text } = await server.api('/metrics');
        const families = [...text.matchAll(/^# TYPE (\S+)/gm)].map((m) => m[1]);
        assert.ok(families.length >= 9);
        for (const name of families)
            assert.ok(readme.includes(name) || openapiText.includes(name), `${name} is documented in README.md or openapi.yaml`);
        const documented = [...new Set(`${readme}\n${openapiText}`.match(/\b(?:telemetryd|http_server|process)_[a-z_]+(?:seconds|total|bytes|fds|requests)\b/g))];
        assert.deepEqual(documented.filter((name) => !families.includes(name)), [], 'documented, but not there');
    });

    it('names only problem codes that exist', async () => {
        const codes = new Set(openapi.components.schemas.ProblemCode.enum);
        const named = [...readme.matchAll(/`((?:Invalid|Upstream|Duplicate|Unknown|Unsupported)[A-Z][A-Za-z]+|DeviceNotFound|Overloaded|BadRequest|MethodNotAllowed|PayloadTooLarge)`/g)].map((m) => m[1]);
        assert.deepEqual(named.filter((code) => !codes.has(code)), []);
    });
});
