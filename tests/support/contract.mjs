// Holds every answer against openapi/openapi.yaml and against the rules that "Every response" of the contract names.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import Ajv from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { parse } from 'yaml';

export const root = fileURLToPath(new URL('../../', import.meta.url));
export const openapiText = readFileSync(`${root}openapi/openapi.yaml`, 'utf8');
export const openapi = parse(openapiText);

export const METHODS = ['get', 'put', 'post', 'patch', 'delete', 'head', 'options', 'trace'];

const ajv = new (Ajv.default ?? Ajv)({ strict: false, allErrors: true, validateSchema: false, validateFormats: true });
(addFormats.default ?? addFormats)(ajv);
ajv.addSchema(openapi, 'openapi.yaml');

const pointer = (parts) => parts.map((part) => `/${encodeURIComponent(String(part).replaceAll('~', '~0').replaceAll('/', '~1'))}`).join('');
const validators = new Map();

function validatorAt(parts) {
    const ref = `openapi.yaml#${pointer(parts)}`;
    if (!validators.has(ref))
        validators.set(ref, ajv.compile({ $ref: ref }));
    return validators.get(ref);
}

/** The value at a path, with the path of where it really lies once its $refs are followed. */
function follow(parts) {
    let value = parts.reduce((v, part) => v?.[part], openapi);
    while (value?.$ref) {
        parts = value.$ref.replace(/^#\//, '').split('/').map((p) => p.replaceAll('~1', '/').replaceAll('~0', '~'));
        value = parts.reduce((v, part) => v?.[part], openapi);
    }
    return { parts, value };
}

const templates = Object.keys(openapi.paths).map((template) => ({
    template,
    pattern: new RegExp(`^${template.replace(/[.*+?^$()|[\]\\]/g, '\\$&').replace(/\{[^}]+\}/g, '[^/]*')}$`),
}));

/** The template of a path, literal ones first; undefined where the contract has none. */
export function templateOf(path) {
    const bare = path.split('?')[0];
    return (openapi.paths[bare] ? bare : undefined) ?? templates.find(({ pattern }) => pattern.test(bare))?.template;
}

const REQUEST_ID = /^[A-Za-z0-9._-]{1,128}$/;

/** The rules that hold for every answer, on whatever route. */
export function checkGeneral(response, sentId) {
    const say = (what) => `${what}: ${response}`;
    assert.equal(response.values('x-request-id').length, 1, say('exactly one x-request-id'));
    const id = response.header('x-request-id');
    assert.match(id, REQUEST_ID, say('x-request-id'));
    if (sentId !== undefined && REQUEST_ID.test(sentId))
        assert.equal(id, sentId, say('the caller\'s x-request-id comes back'));
    assert.deepEqual(response.values('x-content-type-options'), ['nosniff'], say('X-Content-Type-Options'));
    assert.equal(response.values('cache-control').length, 1, say('exactly one Cache-Control'));
    if (response.status >= 400)
        checkProblem(response);
}

/** The shape of a problem; a probe that is not ready (503 on /readyz) is no problem document. */
export function checkProblem(response) {
    if (response.status === 503 && response.asked.path.split('?')[0] === '/readyz')
        return;
    const say = (what) => `${what}: ${response}`;
    assert.equal(response.header('content-type'), 'application/problem+json', say('content type of a problem'));
    assert.equal(response.header('cache-control'), 'no-store', say('a problem is not stored'));
    if (response.asked.method === 'HEAD')
        return;
    const problem = response.json;
    assert.equal(problem.requestId, response.header('x-request-id'), say('requestId is the header\'s'));
    assert.equal(problem.status, response.status, say('status member'));
    assert.ok(typeof problem.detail === 'string' && problem.detail.length > 0, say('detail'));
    const validate = validatorAt(['components', 'schemas', 'Problem']);
    assert.ok(validate(problem), say(`problem shape ${ajv.errorsText(validate.errors)}`));
}

/** Holds an answer against the operation's row of the contract. */
export function checkContract(response) {
    const { method, path } = response.asked;
    const say = (what) => `${what}: ${response}`;
    const template = templateOf(path);
    if (template === undefined) {
        assert.ok([400, 404, 405, 414, 429].includes(response.status), say('a path that is not in openapi.yaml is 404'));
        return;
    }
    if (method === 'OPTIONS')
        return;
    const verb = method === 'HEAD' ? 'get' : method.toLowerCase();
    const operation = openapi.paths[template][verb];
    if (operation === undefined) {
        assert.equal(response.status, 405, say(`${method} is not in openapi.yaml for ${template}`));
        return;
    }
    const status = operation.responses[response.status] ? String(response.status) : undefined;
    const key = status ?? 'default';
    // A status that an operation reaches by its own logic must be listed; only malformed HTTP may fall under `default`.
    if (status === undefined)
        assert.ok([400, 408, 414, 417, 431, 500, 501, 503, 505].includes(response.status), say(`${response.status} is not listed for ${verb} ${template}`));
    const { parts, value: documented } = follow(['paths', template, verb, 'responses', key]);
    assert.ok(documented, say(`${response.status} is not in openapi.yaml`));

    for (const [name, entry] of Object.entries(documented.headers ?? {})) {
        const { parts: headerParts, value: header } = follow([...parts, 'headers', name]);
        const text = response.header(name);
        if (text === undefined) {
            assert.ok(!header.required, say(`header ${name} is required`));
            continue;
        }
        const type = header.schema?.type;
        const value = type === 'integer' || type === 'number' ? Number(text) : text;
        const validate = validatorAt([...headerParts, 'schema']);
        assert.ok(validate(value), say(`header ${name}: ${text}: ${ajv.errorsText(validate.errors)}`));
        assert.ok(entry !== null);
    }

    const content = documented.content ?? {};
    const type = response.header('content-type');
    if (Object.keys(content).length === 0) {
        assert.equal(response.body.length, 0, say('no body is documented'));
        return;
    }
    const media = type?.split(';')[0].trim();
    assert.ok(content[media], say(`content type ${type} is not one of ${Object.keys(content)}`));
    if (method === 'HEAD') {
        assert.equal(response.body.length, 0, say('HEAD has no body'));
        return;
    }
    if (content[media].schema) {
        const isJson = /[/+]json$/.test(media);
        const validate = validatorAt([...parts, 'content', media, 'schema']);
        assert.ok(validate(isJson ? response.json : response.text), say(ajv.errorsText(validate.errors)));
    }
}
