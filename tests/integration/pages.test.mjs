// The pages as files: types, codings, caching, policy, and that everything that they refer to is there.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { request } from '../support/http.mjs';
import { assertProblem, startServer } from '../support/server.mjs';
import { localIssuer } from '../support/tokens.mjs';

const REFERENCE = /\/assets\/[\w.-]+/g;
const TYPES = { js: 'text/javascript; charset=utf-8', css: 'text/css; charset=utf-8', svg: 'image/svg+xml', png: 'image/png', jpeg: 'image/jpeg' };

describe('pages', () => {
    let server;
    before(async () => {
        server = await startServer({ env: localIssuer().env });
    });
    after(() => server?.stop());

    const get = (path, headers = {}, method = 'GET') => request(server.url, { path, headers, method });

    /** Every file that a page needs, by following what each refers to. */
    async function filesOf(page) {
        const found = new Map();
        const waiting = [page];
        for (let path; (path = waiting.pop()) !== undefined;) {
            const response = await get(path);
            assert.equal(response.status, 200, path);
            found.set(path, response);
            waiting.push(...[...new Set(response.text.match(REFERENCE) ?? [])].filter((reference) => !found.has(reference)));
        }
        return found;
    }

    for (const page of ['/', '/docs']) {
        it(`${page} is open, asked for again each time, and may run nothing that is not ours`, async () => {
            const response = await get(page);
            assert.equal(response.header('content-type'), 'text/html; charset=utf-8');
            assert.equal(response.header('cache-control'), 'no-cache');
            assert.equal(response.header('referrer-policy'), 'no-referrer');
            const policy = response.header('content-security-policy');
            assert.match(policy, /^default-src 'none';.*frame-ancestors 'none'/);
            assert.doesNotMatch(policy, /unsafe|data:|https?:|\*/);
            assert.doesNotMatch(response.text, /<script(?![^>]*src=)|<style|style=|\son\w+=/);
        });

        it(`everything that ${page} refers to is there, of its type, for ever`, async () => {
            for (const [path, response] of [...await filesOf(page)].slice(1)) {
                assert.match(path, /^\/assets\/[\w-]+\.[0-9a-f]{12}\.[a-z]+$/);
                assert.equal(response.header('content-type'), TYPES[path.split('.').at(-1)], path);
                assert.equal(response.header('cache-control'), 'public, max-age=31536000, immutable');
            }
        });

        it(`${page} and its files are sent gzipped to who takes it, and 304 to who has them`, async () => {
            for (const [path, plain] of await filesOf(page)) {
                const packed = await get(path, { 'accept-encoding': 'gzip' });
                assert.equal(packed.header('content-encoding'), 'gzip');
                assert.deepEqual(gunzipSync(packed.body), plain.body);
                assert.notEqual(packed.header('etag'), plain.header('etag'));
                for (const response of [plain, packed]) {
                    assert.equal(response.header('vary'), 'Accept-Encoding');
                    const headers = { 'if-none-match': response.header('etag'), ...(response === packed && { 'accept-encoding': 'gzip' }) };
                    const again = await get(path, headers);
                    assert.equal(again.status, 304, path);
                    assert.equal(again.body.length, 0);
                }
            }
        });
    }

    it('the dashboard is under 100 kB gzipped', async () => {
        let size = 0;
        for (const path of (await filesOf('/')).keys())
            size += (await get(path, { 'accept-encoding': 'gzip' })).body.length;
        assert.ok(size < 100_000, `${size} bytes`);
    });

    it('HEAD says what GET would', async () => {
        const [head, whole] = await Promise.all([get('/docs', {}, 'HEAD'), get('/docs')]);
        assert.equal(head.body.length, 0);
        assert.equal(head.header('content-length'), String(whole.body.length));
    });

    for (const path of ['/assets/nothing.js', '/assets/', '/assets', '/assets/a/b', '/docs/', '/index.html', '/assets/..%2Fdocs'])
        it(`there is no ${path}`, async () => assertProblem(await get(path), 404, 'NotFound'));

    it('a page takes no other method', async () => assertProblem(await get('/', {}, 'POST'), 405, 'MethodNotAllowed'));
});
