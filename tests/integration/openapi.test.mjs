// The contract document is true of the program: the route table, parameters and problem codes agree both ways.

import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { METHODS, openapi } from '../support/contract.mjs';
import { run } from '../support/server.mjs';

const resolve = (value) => (value?.$ref ? value.$ref.slice(2).split('/').reduce((v, part) => v[part], openapi) : value);

/** "GET /path" -> {parameters: sorted names of its query parameters, operationId}. */
function documented() {
    const rows = new Map();
    for (const [path, item] of Object.entries(openapi.paths)) {
        for (const method of METHODS.filter((m) => item[m])) {
            const parameters = [...(item.parameters ?? []), ...(item[method].parameters ?? [])].map(resolve);
            rows.set(`${method.toUpperCase()} ${path}`, {
                query: parameters.filter((p) => p.in === 'query').map((p) => p.name).sort(),
                path: parameters.filter((p) => p.in === 'path').map((p) => p.name).sort(),
                operationId: item[method].operationId,
                security: item[method].security,
            });
        }
    }
    return rows;
}

describe('openapi.yaml', () => {
    let rows;
    let problems;
    before(async () => {
        const routes = await run(['--print-routes']);
        assert.equal(routes.code, 0, routes.stderr);
        rows = JSON.parse(routes.stdout).filter((row) => !row.page);
        const codes = await run(['--print-problems']);
        assert.equal(codes.code, 0, codes.stderr);
        problems = JSON.parse(codes.stdout);
    });

    const shown = (row) => `${row.method} ${row.path ?? row.route ?? row.template}`;

    it('names every route of the program, and no other', () => {
        const routes = rows.filter((row) => !['HEAD', 'OPTIONS'].includes(row.method)).map(shown).sort();
        assert.deepEqual(routes, [...documented().keys()].sort());
    });

    it('names the query parameters of every route exactly', () => {
        const known = documented();
        for (const row of rows.filter((r) => known.has(shown(r)))) {
            const { query, path } = known.get(shown(row));
            const names = (row.parameters ?? []).map((p) => p.name ?? p).filter((name) => !path.includes(name)).sort();
            assert.deepEqual(names, query, shown(row));
        }
    });

    it('asks for the permission of the program, and for none where the program does not', () => {
        const known = documented();
        for (const row of rows)
            assert.deepEqual(known.get(shown(row)).security, row.permission ? [{ bearer: [row.permission] }] : undefined, shown(row));
    });

    it('names the operation ids of the program, where it has them', () => {
        const known = documented();
        for (const row of rows.filter((r) => r.operationId && known.has(shown(r))))
            assert.equal(row.operationId, known.get(shown(row)).operationId, shown(row));
        const ids = [...known.values()].map((row) => row.operationId);
        assert.equal(new Set(ids).size, ids.length, 'operation ids are unique');
        assert.ok(ids.every(Boolean));
    });

    it('names every problem code of the program, and no other', () => {
        assert.deepEqual([...openapi.components.schemas.ProblemCode.enum].sort(), problems.map((p) => p.code).sort());
    });

    it('shows problems in its examples as the program writes them', () => {
        for (const [name, response] of Object.entries(openapi.components.responses)) {
            for (const { value } of Object.values(response.content?.['application/problem+json']?.examples ?? {})) {
                const row = problems.find((p) => p.code === value.code);
                assert.ok(row, `${name}: ${value.code}`);
                assert.deepEqual([value.status, value.title], [row.status, row.title], `${name}: ${value.code}`);
            }
        }
    });

    it('declares every path parameter that its templates hold', () => {
        for (const [key, row] of documented())
            assert.deepEqual([...key.matchAll(/\{([^}]+)\}/g)].map((m) => m[1]).sort(), row.path, key);
    });

    it('resolves every reference', () => {
        const walk = (value, where) => {
            if (value === null || typeof value !== 'object')
                return;
            if (typeof value.$ref === 'string')
                assert.ok(resolve(value) !== undefined, `${where}: ${value.$ref}`);
            for (const [name, member] of Object.entries(value))
                walk(member, `${where}/${name}`);
        };
        walk(openapi, '#');
    });

    it('has examples that fit their schemas', async () => {
        const { default: Ajv } = await import('ajv/dist/2020.js');
        const { default: addFormats } = await import('ajv-formats');
        const ajv = new (Ajv.default ?? Ajv)({ strict: false, validateSchema: false });
        (addFormats.default ?? addFormats)(ajv);
        ajv.addSchema(openapi, 'doc');
        const walk = (value, where) => {
            if (value === null || typeof value !== 'object')
                return;
            if (value.schema && (value.example !== undefined || value.examples)) {
                const validate = ajv.compile({ $ref: `doc#${where}/schema` });
                const examples = [...(value.example !== undefined ? [value.example] : []), ...Object.values(value.examples ?? {}).map((e) => e.value)];
                for (const example of examples)
                    assert.ok(validate(example), `${where}: ${JSON.stringify(example)}: ${ajv.errorsText(validate.errors)}`);
            }
            for (const [name, member] of Object.entries(value))
                walk(member, `${where}/${encodeURIComponent(name.replaceAll('~', '~0').replaceAll('/', '~1'))}`);
        };
        walk(openapi, '');
    });
});
