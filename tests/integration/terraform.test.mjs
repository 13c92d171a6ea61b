// deploy/terraform, as far as it can be known without Terraform and Azure: the files parse, every reference has its resource, the
// resources are as they have to be, the roles are these and no others, and the program takes the settings that its container gets.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { parse } from '@cdktf/hcl2json';
import { root } from '../support/contract.mjs';
import { run } from '../support/server.mjs';

const folder = join(root, 'deploy', 'terraform');
const files = readdirSync(folder).filter((name) => name.endsWith('.tf'));

/** Every file's blocks together, by kind: {resource: {type: {name: body}}, variable: .., output: ..}. */
async function readAll() {
    const all = {};
    for (const name of files) {
        for (const [kind, blocks] of Object.entries(await parse(name, readFileSync(join(folder, name), 'utf8')))) {
            if (Array.isArray(blocks)) {
                (all[kind] ??= []).push(...blocks);
                continue;
            }
            all[kind] ??= {};
            for (const [type, body] of Object.entries(blocks)) {
                if (Array.isArray(body)) {
                    assert.ok(!(type in all[kind]), `${kind} ${type} once`);
                    all[kind][type] = body[0];
                    continue;
                }
                for (const [label, [value]] of Object.entries(body)) {
                    assert.ok(!(label in (all[kind][type] ?? {})), `${type}.${label} once`);
                    (all[kind][type] ??= {})[label] = value;
                }
            }
        }
    }
    return all;
}

const strings = (value) => (typeof value === 'string' ? [value] : typeof value === 'object' && value !== null ? Object.values(value).flatMap(strings) : []);
const bare = (reference) => reference.replace(/^\$\{(.*)\}$/, '$1');

describe('deploy/terraform', () => {
    let all;
    before(async () => (all = await readAll()));
    const resource = (address) => {
        const [type, name] = address.split('.');
        const found = all.resource[type]?.[name];
        assert.ok(found, address);
        return found;
    };

    it('refers to nothing that is not there', () => {
        const locals = new Set(all.locals.flatMap((block) => Object.keys(block)));
        for (const text of strings(all)) {
            for (const [expression] of text.matchAll(/\$\{[^}]*\}/g)) {
                for (const [address] of expression.matchAll(/\bazurerm_\w+\.\w+/g)) {
                    const [type, name] = address.split('.');
                    assert.ok(all.resource[type]?.[name] ?? all.data[type]?.[name], address);
                }
                for (const [, name] of expression.matchAll(/\bvar\.(\w+)/g))
                    assert.ok(all.variable[name], `var.${name}`);
                for (const [, name] of expression.matchAll(/\blocal\.(\w+)/g))
                    assert.ok(locals.has(name), `local.${name}`);
            }
        }
        for (const name of Object.keys(all.variable))
            assert.ok(strings(all).some((text) => text.includes(`var.${name}`)), `${name} is used`);
    });

    it('is named by var.environment', () => {
        for (const [type, name] of [['azurerm_resource_group', 'main'], ['azurerm_iothub', 'main'], ['azurerm_cosmosdb_account', 'main'], ['azurerm_storage_account', 'lake'], ['azurerm_container_app', 'telemetryd']])
            assert.match(all.resource[type][name].name, /local\.(name|shortname)/);
        const [locals] = all.locals.filter((block) => block.name);
        assert.match(locals.name, /var\.environment/);
        assert.match(locals.shortname, /var\.environment/);
    });

    // [resource, path, value]
    const facts = [
        ['azurerm_iothub.main', 'sku.0.name', 'S1'],
        ['azurerm_iothub.main', 'local_authentication_enabled', false],
        ['azurerm_iothub_endpoint_eventhub.telemetry', 'authentication_type', 'identityBased'],
        ['azurerm_iothub_route.telemetry', 'source', 'DeviceMessages'],
        ['azurerm_iothub_route.telemetry', 'enabled', true],
        ['azurerm_iothub_consumer_group.monitoring', 'eventhub_endpoint_name', 'events'],
        ['azurerm_eventhub_namespace.main', 'local_authentication_enabled', false],
        ['azurerm_cosmosdb_account.main', 'kind', 'GlobalDocumentDB'],
        ['azurerm_cosmosdb_account.main', 'consistency_policy.0.consistency_level', 'Session'],
        ['azurerm_cosmosdb_account.main', 'local_authentication_disabled', true],
        ['azurerm_cosmosdb_sql_database.iot', 'name', 'iot'],
        ['azurerm_cosmosdb_sql_container.telemetry', 'name', 'telemetry'],
        ['azurerm_cosmosdb_sql_container.telemetry', 'partition_key_paths.0', '/deviceId'],
        ['azurerm_cosmosdb_sql_container.telemetry', 'default_ttl', 7 * 86_400],
        ['azurerm_storage_account.lake', 'is_hns_enabled', true],
        ['azurerm_storage_account.lake', 'account_replication_type', 'LRS'],
        ['azurerm_storage_account.lake', 'shared_access_key_enabled', false],
        ['azurerm_storage_account.function', 'shared_access_key_enabled', false],
        ['azurerm_linux_function_app.pipeline', 'site_config.0.application_stack.0.use_custom_runtime', true],
        ['azurerm_linux_function_app.pipeline', 'storage_uses_managed_identity', true],
        ['azurerm_container_app.telemetryd', 'identity.0.type', 'UserAssigned'],
        ['azurerm_container_app.telemetryd', 'ingress.0.target_port', 8080],
        ['azurerm_container_app.telemetryd', 'ingress.0.allow_insecure_connections', false],
        ['azurerm_container_app.telemetryd', 'template.0.container.0.liveness_probe.0.path', '/livez'],
        ['azurerm_container_app.telemetryd', 'template.0.container.0.readiness_probe.0.path', '/readyz'],
    ];
    for (const [address, path, value] of facts)
        it(`${address}: ${path} is ${value}`, () => assert.deepEqual(path.split('.').reduce((v, name) => v?.[name], resource(address)), value));

    it('indexes what the queries use, and no more', () => {
        const [policy] = resource('azurerm_cosmosdb_sql_container.telemetry').indexing_policy;
        assert.deepEqual(policy.excluded_path.map(({ path }) => path), ['/*']);
        const indexed = policy.included_path.map(({ path }) => path);
        // Of the queries' text: what stands behind c. in WHERE and ORDER BY. %s is the partition key. What is only asked for whether it is there
        // (IS_DEFINED) decides over nothing that the other two have not found.
        const text = readFileSync(join(root, 'clients', 'cosmos_query.c'), 'utf8').replace(/"\s*\n\s*"/g, '');
        const used = new Set();
        for (const [, where] of text.matchAll(/WHERE (.*?)\\"/g)) {
            for (const [, name] of where.replace(/IS_DEFINED\([^)]*\)/g, '').matchAll(/\bc\.(%s|\w+)/g))
                used.add(name === '%s' ? '/deviceId/?' : `/${name}/?`);
        }
        assert.deepEqual(indexed.sort(), [...used].sort());
    });

    it('gives these roles and no others', () => {
        const given = Object.values(all.resource.azurerm_role_assignment).map(({ role_definition_name: role, scope, principal_id: to }) => [role, bare(scope), bare(to)]);
        assert.deepEqual(given.sort(), [
            ['Azure Event Hubs Data Receiver', 'azurerm_eventhub.telemetry.id', 'azurerm_user_assigned_identity.pipeline.principal_id'],
            ['Azure Event Hubs Data Sender', 'azurerm_eventhub.telemetry.id', 'azurerm_iothub.main.identity[0].principal_id'],
            ['IoT Hub Data Reader', 'azurerm_iothub.main.id', 'azurerm_user_assigned_identity.telemetryd.principal_id'],
            ['Storage Blob Data Contributor', 'azurerm_storage_account.lake.id', 'azurerm_user_assigned_identity.pipeline.principal_id'],
            ['Storage Blob Data Owner', 'azurerm_storage_account.function.id', 'azurerm_user_assigned_identity.pipeline.principal_id'],
        ]);
        const cosmos = Object.values(all.resource.azurerm_cosmosdb_sql_role_assignment).map(({ role_definition_id: role, principal_id: to }) => [bare(to), bare(role)]);
        assert.deepEqual(cosmos.sort(), [
            ['azurerm_user_assigned_identity.pipeline.principal_id', 'local.cosmos_contributor'],
            ['azurerm_user_assigned_identity.telemetryd.principal_id', 'var.stores_readings ? local.cosmos_contributor : local.cosmos_reader'],
        ]);
    });

    it('keeps no secret: no key is read, and none is handed on', () => {
        for (const name of files)
            assert.doesNotMatch(readFileSync(join(folder, name), 'utf8'), /access_key\b|_key\s*=|connection_string\s*=|primary_key|password|secret\s*\{/i, name);
    });

    it('gives the container settings that the program takes', async () => {
        const values = {
            'azurerm_cosmosdb_account.main.endpoint': 'https://cosmos-telemetryd-dev.documents.azure.com:443/',
            'azurerm_cosmosdb_sql_database.iot.name': resource('azurerm_cosmosdb_sql_database.iot').name,
            'azurerm_cosmosdb_sql_container.telemetry.name': resource('azurerm_cosmosdb_sql_container.telemetry').name,
            'azurerm_iothub.main.hostname': 'iot-telemetryd-dev.azure-devices.net',
            'azurerm_user_assigned_identity.telemetryd.client_id': '5f0a5b1e-0000-4000-8000-000000000001',
            'data.azurerm_client_config.current.tenant_id': '5f0a5b1e-0000-4000-8000-000000000002',
            'var.jwt_audience': 'api://telemetryd',
        };
        const [{ container: [{ env }] }] = resource('azurerm_container_app.telemetryd').template;
        const settings = Object.fromEntries(env.map(({ name, value }) => [name, value.replace(/\$\{([^}]*)\}/g, (_, expression) => {
            assert.ok(expression in values, expression);
            return values[expression];
        })]));
        const { stdout } = await run(['--print-config'], { TELEMETRYD_AUTH: 'none' });
        for (const name of Object.keys(settings))
            assert.match(stdout, new RegExp(`^${name}\\b`, 'm'));
        const checked = await run(['--check-config'], settings);
        assert.equal(checked.code, 0, checked.stderr);
        // What the container gets beside them (Container Apps' own) selects the managed identity.
        const printed = await run(['--print-config'], { ...settings, IDENTITY_ENDPOINT: 'http://localhost:42356/msi/token', IDENTITY_HEADER: 'x' });
        assert.equal(printed.code, 0, printed.stderr);
    });

    it('hands out the settings of README.md', () => {
        assert.deepEqual(Object.keys(all.output).sort(), ['AZURE_CLIENT_ID', 'COSMOS_CONTAINER', 'COSMOS_DATABASE', 'COSMOS_ENDPOINT', 'IOT_HUB_HOSTNAME', 'url']);
    });

    it('warns of failures, slow answers, missing credentials and throttling, by lines that the log has', () => {
        const [{ alerts }] = all.locals.filter((block) => block.alerts);
        assert.deepEqual(Object.keys(alerts).sort(), ['credentials', 'failures', 'slow']);
        const source = readdirSync(join(root, 'server')).concat().map((name) => readFileSync(join(root, 'server', name), 'utf8')).join('') +
            readdirSync(join(root, 'clients')).map((name) => readFileSync(join(root, 'clients', name), 'utf8')).join('');
        for (const word of ['"request"', '"status"', '"durationMs"', '"no access token for Azure"'])
            assert.ok(source.includes(word), word);
        assert.ok(resource('azurerm_monitor_metric_alert.throttled').criteria[0].dimension[0].values.includes('429'));
    });
});
