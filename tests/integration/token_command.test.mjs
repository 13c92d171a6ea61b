// `telemetryd token`: a key of one's own, the set that goes with it, and tokens that jose and the server take.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import '../support/webcrypto.mjs';
import { calculateJwkThumbprint, createLocalJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose';
import { BINARY, run, startServer, waitFor } from '../support/server.mjs';
import { tempDirectory } from '../support/temp.mjs';

const ISSUER = 'https://issuer.example/v2.0';
const AUDIENCE = 'api://telemetryd';

/** A fresh directory with the names of a key and a set in it, and the flags that each call needs. */
function place() {
    const directory = tempDirectory();
    const key = join(directory, 'key.pem');
    const jwks = join(directory, 'jwks.json');
    return { directory, key, jwks, flags: ['--key', key, '--jwks', jwks, '--issuer', ISSUER, '--audience', AUDIENCE] };
}

/** Runs it to a token, which is the whole of standard output. */
async function mint(flags, ...more) {
    const { code, stdout, stderr } = await run(['token', ...flags, ...more]);
    assert.equal(code, 0, stderr);
    assert.equal(stderr, '');
    assert.match(stdout, /^[\w-]+\.[\w-]+\.[\w-]+\n$/);
    return stdout.trim();
}

const readJson = (file) => JSON.parse(readFileSync(file, 'utf8'));
const verify = (token, jwks) => jwtVerify(token, createLocalJWKSet(readJson(jwks)), { issuer: ISSUER, audience: AUDIENCE });
const mode = (file) => statSync(file).mode & 0o7777;

describe('telemetryd token', { concurrency: 4 }, () => {
    it('makes a key that only its owner can read, and a set that everybody can', async () => {
        const { key, jwks, flags, directory } = place();
        const token = await mint(flags);
        assert.equal(mode(key), 0o600);
        assert.equal(mode(jwks), 0o644);
        assert.deepEqual(readdirSync(directory).sort(), ['jwks.json', 'key.pem']);
        const { protectedHeader, payload } = await verify(token, jwks);
        assert.equal(protectedHeader.alg, 'RS256');
        assert.equal(payload.exp - payload.iat, 3600);
        assert.equal(payload.nbf, payload.iat);
        assert.ok(Math.abs(payload.iat - Date.now() / 1000) < 60);
        assert.equal(payload.sub, 'local');
        for (const claim of ['scp', 'roles', 'devices'])
            assert.ok(!(claim in payload), claim);
    });

    it('names the key by its thumbprint, and keeps every private part to itself', async () => {
        const { key, jwks, flags } = place();
        const token = await mint(flags);
        const { keys } = readJson(jwks);
        assert.equal(keys.length, 1);
        assert.deepEqual(Object.keys(keys[0]).sort(), ['alg', 'e', 'kid', 'kty', 'n', 'use']);
        assert.equal(keys[0].kid, await calculateJwkThumbprint(keys[0]));
        assert.equal(decodeProtectedHeader(token).kid, keys[0].kid);
        assert.equal(Buffer.from(keys[0].n, 'base64url').length, 256);
        assert.match(readFileSync(key, 'utf8'), /^-----BEGIN PRIVATE KEY-----\n/);
    });

    it('goes on with the key that is there', async () => {
        const { key, jwks, flags } = place();
        const first = await mint(flags);
        const [pem, set] = [readFileSync(key, 'utf8'), readFileSync(jwks, 'utf8')];
        const second = await mint(flags);
        assert.equal(readFileSync(key, 'utf8'), pem);
        assert.equal(readFileSync(jwks, 'utf8'), set);
        assert.notEqual(first, second, 'each token has a jti of its own');
        await verify(first, jwks);
        await verify(second, jwks);
    });

    const foreign = {
        'RSA of 2048 bits': ['rsa', { modulusLength: 2048 }, 'pkcs8', 'RS256'],
        'RSA of 3072 bits, PKCS #1': ['rsa', { modulusLength: 3072 }, 'pkcs1', 'RS256'],
        'P-256': ['ec', { namedCurve: 'P-256' }, 'pkcs8', 'ES256'],
        'P-256, SEC 1': ['ec', { namedCurve: 'P-256' }, 'sec1', 'ES256'],
    };
    for (const [name, [type, options, form, alg]] of Object.entries(foreign)) {
        it(`signs with a key made elsewhere: ${name}`, async () => {
            const { key, jwks, flags } = place();
            const pem = generateKeyPairSync(type, options).privateKey.export({ format: 'pem', type: form });
            writeFileSync(key, pem, { mode: 0o600 });
            const token = await mint(flags);
            assert.equal((await verify(token, jwks)).protectedHeader.alg, alg);
            const [jwk] = readJson(jwks).keys;
            assert.equal(jwk.kid, await calculateJwkThumbprint(jwk));
            assert.equal(jwk.d, undefined);
            assert.equal(readFileSync(key, 'utf8'), pem);
        });
    }

    const refusedKeys = {
        'RSA of 1024 bits': () => generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey.export({ format: 'pem', type: 'pkcs8' }),
        'P-384': () => generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey.export({ format: 'pem', type: 'pkcs8' }),
        'Ed25519': () => generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }),
        'a public key': () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'pem', type: 'spki' }),
        'a key behind a passphrase': () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
            .export({ format: 'pem', type: 'pkcs8', cipher: 'aes-256-cbc', passphrase: 'open sesame' }),
        'an empty file': () => '',
        'something else': () => 'not a key\n'.repeat(10),
        'a file without end': () => 'x'.repeat(1 << 20),
    };
    for (const [name, make] of Object.entries(refusedKeys)) {
        it(`refuses ${name}, and leaves the file alone`, async () => {
            const { key, jwks, flags } = place();
            const text = make();
            writeFileSync(key, text);
            const { code, stdout, stderr } = await run(['token', ...flags]);
            assert.equal(code, 1);
            assert.equal(stdout, '');
            assert.match(stderr, /^--key .*not a private key/);
            assert.ok(!existsSync(jwks), 'no set is written');
            assert.equal(readFileSync(key, 'utf8'), text);
        });
    }

    it('writes what it is told into the claims', async () => {
        const { jwks, flags } = place();
        const token = await mint(flags, '--scope', 'Telemetry.Read Device.Read', '--role', 'Ops.Read', '--role=Device.Write', '--subject', 'Zoë',
            '--devices', 'a,b*,', '--ttl', '5m');
        const { payload } = await verify(token, jwks);
        assert.equal(payload.scp, 'Telemetry.Read Device.Read');
        assert.deepEqual(payload.roles, ['Ops.Read', 'Device.Write']);
        assert.equal(payload.sub, 'Zoë');
        assert.deepEqual(payload.devices, ['a', 'b*']);
        assert.equal(payload.exp - payload.iat, 300);
    });

    it('takes no device for no device, not for every one', async () => {
        const { flags } = place();
        assert.deepEqual(decodeJwt(await mint(flags, '--devices', '')).devices, []);
    });

    it('writes text as text, whatever is in it', async () => {
        const { jwks, flags } = place();
        const token = await mint(flags, '--subject', '","admin":true,"x":"', '--scope', 'a\\b"c');
        const { payload } = await verify(token, jwks);
        assert.equal(payload.sub, '","admin":true,"x":"');
        assert.equal(payload.scp, 'a\\b"c');
        assert.equal(payload.admin, undefined);
    });

    it('replaces a set at once, through a link to it as well as not', async () => {
        const { directory, jwks, flags } = place();
        writeFileSync(jwks, '{"keys":[]}');
        chmodSync(jwks, 0o600);
        await mint(flags);
        assert.equal(readJson(jwks).keys.length, 1);
        assert.equal(mode(jwks), 0o644);
        assert.deepEqual(readdirSync(directory).sort(), ['jwks.json', 'key.pem']);
    });

    it('follows no link to a key that is not there', async () => {
        const { directory, key, flags } = place();
        symlinkSync(join(directory, 'elsewhere.pem'), key);
        const { code, stderr } = await run(['token', ...flags]);
        assert.equal(code, 1);
        assert.match(stderr, /^--key /);
        assert.ok(!existsSync(join(directory, 'elsewhere.pem')));
    });

    const usage = {
        'no flag': [[], '--key'],
        'no key': [['--jwks', 'j', '--issuer', 'i', '--audience', 'a'], '--key'],
        'no set': [['--key', 'k', '--issuer', 'i', '--audience', 'a'], '--jwks'],
        'no issuer': [['--key', 'k', '--jwks', 'j', '--audience', 'a'], '--issuer'],
        'no audience': [['--key', 'k', '--jwks', 'j', '--issuer', 'i'], '--audience'],
        'an empty issuer': [['--key', 'k', '--jwks', 'j', '--issuer', '', '--audience', 'a'], '--issuer'],
        'a flag without its value': [['--key', 'k', '--jwks', 'j', '--issuer', 'i', '--audience'], '--audience'],
        'a flag twice': [['--key', 'k', '--key', 'l', '--jwks', 'j', '--issuer', 'i', '--audience', 'a'], '--key'],
        'an unknown flag': [['--key', 'k', '--jwks', 'j', '--issuer', 'i', '--audience', 'a', '--tenant', 't'], '--tenant'],
        'an unknown flag with a value': [['--secret=hunter2'], '--secret'],
        'an argument': [['hunter2'], 'telemetryd token'],
        'an empty role': [['--key', 'k', '--jwks', 'j', '--issuer', 'i', '--audience', 'a', '--role', ''], '--role'],
        'one file for both': [['--key', 'k', '--jwks', 'k', '--issuer', 'i', '--audience', 'a'], '--jwks'],
        'no duration': [['--key', 'k', '--jwks', 'j', '--issuer', 'i', '--audience', 'a', '--ttl', 'soon'], '--ttl'],
        'a negative duration': [['--key', 'k', '--jwks', 'j', '--issuer', 'i', '--audience', 'a', '--ttl', '-1h'], '--ttl'],
        'a duration of nothing': [['--key', 'k', '--jwks', 'j', '--issuer', 'i', '--audience', 'a', '--ttl', '0s'], '--ttl'],
        'a duration of half a second': [['--key', 'k', '--jwks', 'j', '--issuer', 'i', '--audience', 'a', '--ttl', '500ms'], '--ttl'],
        'a duration without end': [['--key', 'k', '--jwks', 'j', '--issuer', 'i', '--audience', 'a', '--ttl', '99999999d'], '--ttl'],
    };
    for (const [name, [args, flag]] of Object.entries(usage)) {
        it(`names ${flag} for ${name}, with exit status 2`, async () => {
            const cwd = tempDirectory();
            const { code, stdout, stderr } = await run(['token', ...args], {}, { cwd });
            assert.equal(code, 2);
            assert.equal(stdout, '');
            assert.ok(stderr.startsWith(`${flag}: `), stderr);
            assert.equal(stderr.trim().split('\n').length, 1);
            assert.ok(!stderr.includes('hunter2'), 'what may be a secret is not repeated');
            assert.deepEqual(readdirSync(cwd), [], 'nothing is made');
        });
    }

    it('says no to bytes that are not UTF-8', () => {
        const { flags } = place();
        const script = '"$0" token "$@" --subject "$(printf "\\303(")"';
        assert.throws(() => execFileSync('sh', ['-c', script, BINARY, ...flags], { stdio: 'pipe' }),
            (error) => error.status === 2 && /^--subject: .*UTF-8/.test(error.stderr.toString()));
    });

    it('explains itself with --help', async () => {
        const { code, stdout, stderr } = await run(['token', '--help']);
        assert.equal(code, 0);
        assert.equal(stderr, '');
        for (const flag of ['--key', '--jwks', '--issuer', '--audience', '--scope', '--role', '--subject', '--devices', '--ttl', 'TELEMETRYD_JWT_DEVICES_CLAIM'])
            assert.ok(stdout.includes(flag), flag);
    });

    const failures = {
        'a key in a directory that is not there': (p) => ['--key', join(p.directory, 'no', 'key.pem'), '--jwks', p.jwks],
        'a key that is a directory': (p) => (mkdirSync(p.key), ['--key', p.key, '--jwks', p.jwks]),
        'a set in a directory that is not there': (p) => ['--jwks', join(p.directory, 'no', 'jwks.json'), '--key', p.key],
        'a set that is a directory': (p) => (mkdirSync(p.jwks), ['--jwks', p.jwks, '--key', p.key]),
    };
    for (const [name, make] of Object.entries(failures)) {
        it(`ends with status 1 for ${name}`, async () => {
            const p = place();
            const args = make(p);
            const { code, stdout, stderr } = await run(['token', ...args, '--issuer', ISSUER, '--audience', AUDIENCE]);
            assert.equal(code, 1);
            assert.equal(stdout, '');
            assert.ok(stderr.startsWith(`${args[0]} ${args[1]}: `), stderr);
            assert.ok(readdirSync(p.directory).every((file) => ['key.pem', 'jwks.json'].includes(file)), 'nothing half-made is left');
        });
    }

    it('refuses to make a token that the server would refuse for its length', async () => {
        const { flags } = place();
        const { code, stdout, stderr } = await run(['token', ...flags, '--devices', 'd'.repeat(8000)]);
        assert.equal(code, 1);
        assert.equal(stdout, '');
        assert.match(stderr, /8192/);
    });

    it('fits the server, devices and all', async (t) => {
        const { jwks, flags } = place();
        const token = await mint(flags, '--scope', 'Telemetry.Read Device.Read', '--role', 'Telemetry.Write', '--devices', 'a,b*');
        const server = await startServer({
            env: {
                TELEMETRYD_AUTH: 'jwt', TELEMETRYD_JWT_ISSUER: ISSUER, TELEMETRYD_JWT_AUDIENCE: AUDIENCE, TELEMETRYD_JWT_JWKS: jwks,
                TELEMETRYD_JWT_DEVICES_CLAIM: 'devices',
            },
        });
        t.after(() => server.stop());
        const ask = (method, path, body) => server.api({ method, path, body, headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' } });
        await waitFor(async () => (await ask('GET', '/devices')).status === 200, 'the keys are loaded');
        assert.equal((await ask('POST', '/devices/a/telemetry', '{"t":1}')).status, 201);
        assert.equal((await ask('POST', '/devices/b7/telemetry', '{"t":1}')).status, 201);
        assert.equal((await ask('POST', '/devices/c/telemetry', '{"t":1}')).status, 404);
        assert.deepEqual((await ask('GET', '/devices')).json.value.map((device) => device.deviceId), ['a', 'b7']);
        assert.equal((await ask('GET', '/metrics')).status, 403);
    });
});
