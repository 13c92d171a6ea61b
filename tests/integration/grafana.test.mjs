// The dashboards of deploy/grafana are true of the program: they ask for metrics, labels, paths and members that there are.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { startCosmos } from '../fakes/cosmos.mjs';
import { root } from '../support/contract.mjs';
import { startServer } from '../support/server.mjs';

const dashboard = (name) => JSON.parse(readFileSync(join(root, 'deploy', 'grafana', `${name}.json`), 'utf8'));
/** Words of PromQL that are neither metrics nor labels. */
const PROMQL = new Set(['sum', 'rate', 'by', 'le', 'histogram_quantile', 'changes']);

describe('deploy/grafana', () => {
    const dashboards = { server: dashboard('server'), telemetry: dashboard('telemetry') };

    it('has dashboards that can be told apart, and go together', () => {
        const all = Object.values(dashboards);
        assert.equal(new Set(all.map(({ uid }) => uid)).size, all.length);
        for (const { title, schemaVersion, templating, panels } of all) {
            assert.ok(title && schemaVersion >= 36);
            assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length, 'each panel has its id');
            const cells = new Set();
            for (const { title: panel, gridPos: { x, y, w, h }, targets, datasource } of panels) {
                assert.ok(x + w <= 24, panel);
                for (let row = y; row < y + h; row++) {
                    for (let column = x; column < x + w; column++) {
                        assert.ok(!cells.has(`${row} ${column}`), `${panel} lies on another panel`);
                        cells.add(`${row} ${column}`);
                    }
                }
                assert.ok(targets.length > 0, panel);
                assert.equal(new Set(targets.map(({ refId }) => refId)).size, targets.length, panel);
                for (const source of [datasource, ...targets.map((target) => target.datasource)])
                    assert.equal(source.uid, '${datasource}', panel);
            }
            const names = new Set(templating.list.map(({ name }) => name));
            for (const [, name] of JSON.stringify({ panels, list: templating.list }).matchAll(/\$\{?([a-zA-Z]\w*)/g))
                assert.ok(names.has(name), `variable ${name}`);
        }
    });

    describe('the server', () => {
        let fake;
        let server;
        let metrics; // name -> the labels that some sample has
        before(async () => {
            fake = await startCosmos();
            server = await startServer({ env: fake.env, ready: true });
            await server.post('d1', { v: 1 });
            fake.fault({ op: 'query', status: 503, times: 1, body: '{"code":"ServiceUnavailable","message":"later"}' }); // a retry has to have been for its labels to be there
            await server.api('/devices/d1/telemetry');
            metrics = new Map();
            for (const line of (await server.api('/metrics')).text.split('\n')) {
                const [, family] = /^# TYPE (\S+)/.exec(line) ?? [];
                const [, name, labels] = /^([a-z_]+)(?:\{(.*)\})? /.exec(line) ?? [];
                if (family)
                    metrics.set(family, metrics.get(family) ?? new Set());
                else if (name)
                    metrics.set(name, new Set([...metrics.get(name) ?? [], ...[...(labels ?? '').matchAll(/(\w+)="/g)].map(([, label]) => label)]));
            }
        });
        after(async () => {
            await server.stop();
            await fake.stop();
        });

        const { panels, templating, annotations } = dashboards.server;
        const expressions = [
            ...panels.flatMap(({ title, targets }) => targets.map(({ expr, legendFormat }) => [title, expr, legendFormat])),
            ...annotations.list.map(({ name, expr }) => [name, expr, '']),
            ...templating.list.filter(({ type }) => type === 'query').map(({ name, definition }) => [`variable ${name}`, /label_values\((.*),/.exec(definition)[1], '']),
        ];
        for (const [title, expr, legend] of expressions) {
            it(`${title}: ${expr.slice(0, 60)}`, () => {
                const bare = expr.replace(/"[^"]*"/g, '').replace(/\[[^\]]*\]/g, '');
                const names = [...bare.matchAll(/\b(?:http_server|telemetryd|process)_[a-z_]+/g)].map(([name]) => name);
                assert.ok(names.length > 0);
                for (const name of names)
                    assert.ok(metrics.has(name), name);
                const known = new Set(['job', 'instance', 'le', ...names.flatMap((name) => [...metrics.get(name)])]);
                const words = [...bare.matchAll(/[a-z_]+/g)].map(([word]) => word).filter((word) => !PROMQL.has(word) && !names.includes(word));
                for (const label of [...words, ...[...(legend ?? '').matchAll(/\{\{(\w+)\}\}/g)].map(([, word]) => word)])
                    assert.ok(known.has(label), `label ${label}`);
                assert.equal(bare.split('(').length, bare.split(')').length, 'brackets');
            });
        }
    });

    describe('telemetry', () => {
        let server;
        before(async () => (server = await startServer({ args: ['--demo'] })));
        after(() => server.stop());

        const values = { device: 'demo-1', field: 'temperature', __from: String(Date.now() - 3600_000), __to: String(Date.now() + 60_000) };
        const filled = (text) => text.replace(/\$\{(\w+)\}/g, (_, name) => values[name]);
        const pick = (value, path) => (path === '' ? value : path.split('.').reduce((v, name) => v?.[name], value));
        const TYPES = {
            string: (v) => v === null || typeof v === 'string',
            number: (v) => typeof v === 'number',
            timestamp: (v) => !Number.isNaN(Date.parse(v)),
            timestamp_epoch_s: (v) => Math.abs(v * 1000 - Date.now()) < 2 * 3600_000,
        };
        const { panels, templating } = dashboards.telemetry;
        const queries = [
            ...panels.flatMap(({ title, targets }) => targets.map((target) => [title, target])),
            ...templating.list.filter(({ type }) => type === 'query').map(({ name, query }) => [`variable ${name}`, query.infinityQuery]),
        ];
        for (const [title, { url, root_selector: selector, columns }] of queries) {
            it(`${title}: ${url}`, async () => {
                const { status, json } = await server.api(filled(url));
                assert.equal(status, 200);
                const rows = [pick(json, selector)].flat();
                assert.ok(rows.length > 0);
                for (const { selector: path, type } of columns)
                    assert.ok(rows.every((row) => TYPES[type](pick(row, filled(path)))), `${path} is of type ${type}`);
            });
        }
    });
});
