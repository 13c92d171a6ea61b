// Fair use: who counts as one caller, what a caller gets, and what it costs the server to remember them. Limits are per minute, so that
// nothing comes back while a test runs.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { after, before, describe, it } from 'node:test';
import { flood } from '../support/flood.mjs';
import { assertProblem, SLOW, startServer } from '../support/server.mjs';
import { localIssuer } from '../support/tokens.mjs';

const QUOTA = 3;
const LIMIT = { TELEMETRYD_RATE_LIMIT: `${QUOTA}/m` };
/** The tests' own address 127.0.0.1 and all of 127.1.0.0/16 are proxies; 127.2.0.0/16 is not. */
const PROXIES = { TELEMETRYD_TRUSTED_PROXIES: '127.0.0.1, 127.1.0.0/16,10.0.0.0/8,2001:db8:ffff::/48' };

const agents = new Map();
after(() => agents.forEach((agent) => agent.destroy()));

/** Connections that come from an address of the loopback network. */
function agentFrom(peer = '127.0.0.1') {
    if (!agents.has(peer))
        agents.set(peer, new http.Agent({ keepAlive: true, localAddress: peer, maxSockets: 64 }));
    return agents.get(peer);
}

/** from: an X-Forwarded-For line, or {peer, forwarded: [lines], headers}. */
function ask(server, from, more = {}) {
    const { peer, forwarded = [], headers = {} } = typeof from === 'string' ? { forwarded: [from] } : from;
    return server.api({
        path: '/devices', ...more, agent: agentFrom(peer),
        headers: { ...(forwarded.length > 0 ? { 'X-Forwarded-For': forwarded } : {}), ...headers, ...more.headers },
    });
}

/** Asks until nothing is left, and expects exactly the quota to have been there. */
async function spend(server, from, more = {}, status = 200) {
    for (let i = 0; i < QUOTA; i++) {
        const response = await ask(server, from, more);
        assert.equal(response.status, status, `request ${i + 1}: ${response}`);
    }
    const refused = await ask(server, from, more);
    assert.equal(refused.status, 429, `the quota is spent: ${refused}`);
    return refused;
}

/** Spends the allowance of one and looks whether the other one's is gone. */
async function shareOne(server, one, other) {
    await spend(server, one);
    const response = await ask(server, other);
    assert.ok([200, 429].includes(response.status), String(response));
    return response.status === 429;
}

const field = (response) => /^"default";r=(\d+);t=(\d+)$/.exec(response.header('ratelimit'))?.slice(1).map(Number);

describe('a caller\'s requests', () => {
    let server;
    before(async () => {
        server = await startServer({ env: { ...LIMIT, ...PROXIES }, ready: true });
    });
    after(() => server?.stop());

    it('are counted down in RateLimit, beside the policy', async () => {
        for (const left of [2, 1, 0]) {
            const response = await ask(server, '3.0.0.1');
            assert.equal(response.status, 200);
            const [remaining, reset] = field(response) ?? assert.fail(response.header('ratelimit'));
            assert.equal(remaining, left);
            assert.ok(reset >= 1 && reset <= 60, `t=${reset}`);
            assert.deepEqual(response.values('ratelimit-policy'), [`"default";q=${QUOTA};w=60`]);
            assert.equal(response.values('ratelimit').length, 1);
            assert.equal(response.header('retry-after'), undefined);
        }
    });

    it('are refused with 429 TooManyRequests and Retry-After once the quota is spent', async () => {
        const response = await spend(server, '3.0.0.2');
        assertProblem(response, 429, 'TooManyRequests', { title: 'Too Many Requests', target: undefined });
        assert.match(response.header('retry-after'), /^[1-9][0-9]?$/);
        const wait = Number(response.header('retry-after'));
        assert.ok(wait >= 1 && wait <= 20, `one comes back every 20 s: Retry-After ${wait}`);
        assert.deepEqual(field(response), [0, wait]);
        assert.deepEqual(response.values('ratelimit-policy'), [`"default";q=${QUOTA};w=60`]);
    });

    it('count whatever the answer is', async () => {
        const asked = [['/nope', 404], ['/devices?limit=x', 400], ['/devices/nobody/status', 404]];
        for (const [i, [path, status]] of asked.entries()) {
            const response = await ask(server, '3.0.0.3', { path });
            assert.equal(response.status, status, String(response));
            assert.equal(field(response)?.[0], QUOTA - 1 - i, path);
        }
        assert.equal((await ask(server, '3.0.0.3', { path: '/nope' })).status, 429);
    });

    it('do nothing where they are refused', async () => {
        await spend(server, '3.0.0.4');
        const post = { method: 'POST', path: '/devices/refused/telemetry', headers: { 'content-type': 'application/json' }, body: '{"a":1}' };
        assertProblem(await ask(server, '3.0.0.4', post), 429, 'TooManyRequests');
        assert.equal((await ask(server, '3.0.0.5', { path: '/devices/refused/telemetry' })).status, 404);
    });

    it('are refused to HEAD without a body, with the same fields', async () => {
        await spend(server, '3.0.0.6');
        const response = await ask(server, '3.0.0.6', { method: 'HEAD' });
        assert.equal(response.status, 429);
        assert.equal(response.body.length, 0);
        assert.ok(response.header('retry-after'));
        assert.equal(field(response)?.[0], 0);
    });

    it('leave the connection open when they are refused', async () => {
        const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
        const ports = new Set();
        agent.on('free', (socket) => ports.add(socket.localPort));
        for (let i = 0; i < QUOTA + 5; i++)
            await server.api({ path: '/devices', agent, headers: { 'x-forwarded-for': '3.0.0.7' } });
        await new Promise((resolve) => setImmediate(resolve));
        agent.destroy();
        assert.equal(ports.size, 1);
    });

    for (const path of ['/livez', '/readyz']) {
        it(`do not count where they are for ${path}, and are not refused`, async () => {
            const from = path === '/livez' ? '3.0.1.1' : '3.0.1.2';
            for (let i = 0; i < 2 * QUOTA; i++)
                assert.equal((await ask(server, from, { path })).status, 200);
            await spend(server, from);
            assert.equal((await ask(server, from, { path })).status, 200);
            assert.equal((await ask(server, from, { path, method: 'HEAD' })).status, 200);
        });
    }

    it('are not counted at all unless that is asked for', async (t) => {
        const unlimited = await startServer({ env: PROXIES, ready: true });
        t.after(() => unlimited.stop());
        for (let i = 0; i < 50; i++) {
            const response = await ask(unlimited, '3.0.0.8');
            assert.equal(response.status, 200);
            assert.equal(response.header('ratelimit'), undefined);
            assert.equal(response.header('ratelimit-policy'), undefined);
        }
    });

    it('are served again after Retry-After', async (t) => {
        const quick = await startServer({ env: { TELEMETRYD_RATE_LIMIT: '2/s' }, ready: true });
        t.after(() => quick.stop());
        let response;
        for (let i = 0; i < 500 && response?.status !== 429; i++)
            response = await quick.api('/devices');
        assert.equal(response.status, 429);
        assert.equal(response.header('retry-after'), '1');
        assert.equal(response.header('ratelimit-policy'), '"default";q=2;w=1');
        await new Promise((resolve) => setTimeout(resolve, 1000));
        assert.equal((await quick.api('/devices')).status, 200);
    });

    it('are counted together over all workers and connections', async (t) => {
        const quota = 20;
        const shared = await startServer({ env: { TELEMETRYD_RATE_LIMIT: `${quota}/m`, TELEMETRYD_WORKERS: '4' }, ready: true });
        t.after(() => shared.stop());
        const began = Date.now();
        const answers = await Promise.all(Array.from({ length: 150 }, () => shared.api({ path: '/devices', agent: new http.Agent() })));
        const allowed = answers.filter((a) => a.status === 200).length;
        const refilled = Math.floor((Date.now() - began) / (60_000 / quota));
        assert.ok(allowed >= quota && allowed <= quota + refilled, `${allowed} were allowed`);
        assert.ok(answers.every((a) => a.status === 200 || a.status === 429));
    });
});

const VIA = '127.1.0.';
const NO_ADDRESSES = ['unknown', '_hidden', 'localhost', 'example.com', '1.2.3', '1.2.3.4.5', '1.2.3.256', '1.2.3.4:', '1.2.3.4:99999999', '1.2.3.4:x', '1.2.3.4/8',
    '01.2.3.4x', '0x7f000001', '::1::', '[::1', '::1]', '[1.2.3.4', '"1.2.3.4"', '1.2.3.4;5', '1.2.3.4 5.6.7.8', '*', '-', 'for=1.2.3.4', '%31.2.3.4', '\u00e9', 'x'.repeat(2000),
    `${'1:'.repeat(500)}1`, '1'.repeat(3000)];

// [rule, one, the other, do they share an allowance]
const callers = [
    ['the address that the proxy names is the caller', '1.0.0.1', '1.0.0.1', true],
    ['two addresses are two callers', '1.0.0.2', '1.0.0.3', false],
    ['what the caller wrote to the left does not matter', '6.6.6.6, 1.0.0.4', '7.7.7.7, 1.0.0.4', true],
    ['nobody spends what belongs to another', '1.0.0.6, 1.0.0.5', '1.0.0.6', false],
    ['nor with a trusted address to the left', '10.0.0.1, 1.0.0.7', '10.0.0.1, 1.0.0.8', false],
    ['trusted hops are skipped', '1.0.0.9, 10.0.0.1', '1.0.0.9, 10.200.3.4, 10.0.0.2', true],
    ['callers behind the same hops are two', '1.0.0.10, 10.0.0.1', '1.0.0.11, 10.0.0.1', false],
    ['trusted hops of IPv6 are skipped', '1.0.0.12, 2001:db8:ffff::9', '1.0.0.12', true],
    ['blanks do not matter', ' \t1.0.0.13\t,10.0.0.1 ', '1.0.0.13,10.0.0.1', true],
    ['empty elements do not matter', ', 1.0.0.14, ,, ', '1.0.0.14', true],
    ['the case of the name does not matter', { headers: { 'x-FORWARDED-for': '1.0.0.15' } }, '1.0.0.15', true],

    ['several lines are one list', { forwarded: ['1.0.1.1', '10.0.0.1', '10.0.0.2'] }, '1.0.1.1, 10.0.0.1, 10.0.0.2', true],
    ['of several lines the last one counts', { forwarded: ['1.0.1.2', '1.0.1.3'] }, { forwarded: ['1.0.1.4', '1.0.1.3'] }, true],
    ['a line of one\'s own before the proxy\'s changes nothing', { forwarded: ['1.0.1.5', '1.0.1.6'] }, { forwarded: ['1.0.1.5'] }, false],
    ['an empty line changes nothing', { forwarded: ['1.0.1.7', ''] }, { forwarded: ['', '1.0.1.7'] }, true],

    ['a port is not of the address', '1.0.2.1:1234', '1.0.2.1:4321', true],
    ['IPv6 in brackets, with a port and without', '[2001:db8:2:1::1]:443', '2001:db8:2:1::1', true],
    ['IPv6 in brackets', '[2001:db8:2:2::1]', '2001:db8:2:2::1', true],
    ['an IPv6 /64 is one caller', '2001:db8:2:3::1', '2001:db8:2:3:ffff::2', true],
    ['two /64 are two callers', '2001:db8:2:4::1', '2001:db8:2:5::1', false],
    ['capitals and zeros are the same address', '2001:DB8:0002:0006:0:0:0:1', '2001:db8:2:6::1', true],
    ['a mapped IPv4 address is that address', '::ffff:1.0.2.2', '1.0.2.2', true],

    ['a stranger\'s X-Forwarded-For is not read', { peer: '127.2.0.1', forwarded: ['1.0.3.1'] }, { peer: '127.2.0.1', forwarded: ['1.0.3.2'] }, true],
    ['nor one that names a trusted proxy', { peer: '127.2.0.2', forwarded: ['1.0.3.3, 127.0.0.1'] }, { peer: '127.2.0.2' }, true],
    ['nor does it take from whom it names', { peer: '127.2.0.3', forwarded: ['1.0.3.4'] }, '1.0.3.4', false],
    ['strangers are told apart by their address', { peer: '127.2.0.4' }, { peer: '127.2.0.5' }, false],
    ['a proxy that names nobody is the caller', { peer: `${VIA}1` }, { peer: `${VIA}1`, forwarded: [''] }, true],
    ['two proxies that name nobody are two', { peer: `${VIA}2` }, { peer: `${VIA}3` }, false],
    ['whom two proxies name is one caller', { peer: `${VIA}4`, forwarded: ['1.0.3.5'] }, { peer: `${VIA}5`, forwarded: ['1.0.3.5'] }, true],
    ['where all are trusted the first one is the caller', '10.1.0.1, 10.1.0.2', '10.1.0.1', true],

    ...['Forwarded', 'X-Real-IP', 'X-Client-IP', 'True-Client-IP', 'CF-Connecting-IP', 'X-Forwarded', 'Forwarded-For', 'X-Cluster-Client-IP', 'X-ProxyUser-Ip', 'Via', 'X_Forwarded_For'].map((name, i) => [
        `${name} is not read`, { peer: `${VIA}${100 + i}`, headers: { [name]: name === 'Forwarded' ? 'for=1.0.4.1' : '1.0.4.1' } },
        { peer: `${VIA}${100 + i}`, headers: { [name]: name === 'Forwarded' ? 'for=1.0.4.2' : '1.0.4.2' } }, true]),
    ...NO_ADDRESSES.flatMap((text, i) => [
        [`${JSON.stringify(text.slice(0, 20))} is no address: the hop before it is the caller`, `1.0.5.${i}, ${text}, 10.2.0.${i}`, `10.2.0.${i}`, true],
        [`${JSON.stringify(text.slice(0, 20))} alone: the proxy is the caller`, { peer: `${VIA}${150 + i}`, forwarded: [text] }, { peer: `${VIA}${150 + i}` }, true],
    ]),
];

describe('who is one caller, without tokens', () => {
    let server;
    before(async () => {
        server = await startServer({ env: { ...LIMIT, ...PROXIES }, ready: true });
    });
    after(() => server?.stop());

    for (const [rule, one, other, same] of callers) {
        it(rule, async () => {
            assert.equal(await shareOne(server, one, other), same);
        });
    }

    it('reads X-Forwarded-For of nobody where no proxy is trusted', async (t) => {
        const plain = await startServer({ env: LIMIT, ready: true });
        t.after(() => plain.stop());
        assert.equal(await shareOne(plain, '1.0.6.1', '1.0.6.2'), true);
        assert.equal(await shareOne(plain, { peer: '127.2.0.1' }, { peer: '127.2.0.2', forwarded: ['127.2.0.1'] }), false);
    });

    it('trusts networks of IPv6 on an IPv6 socket, and IPv4 peers of one', async (t) => {
        const six = await startServer({ env: { ...LIMIT, TELEMETRYD_TRUSTED_PROXIES: '::1/128' }, listen: '[::1]:0', ready: true });
        t.after(() => six.stop());
        const agent = new http.Agent({ keepAlive: true });
        t.after(() => agent.destroy());
        const from = (address) => six.api({ path: '/devices', agent, headers: { 'x-forwarded-for': address } });
        for (let i = 0; i < QUOTA; i++)
            assert.equal((await from('1.0.7.1')).status, 200);
        assert.equal((await from('1.0.7.1')).status, 429);
        assert.equal((await from('1.0.7.2')).status, 200);
    });
});

describe('who is one caller, with tokens', () => {
    const issuer = localIssuer();
    const bearer = (claims) => issuer.bearer({ scp: 'Device.Read', ...claims });
    let server;
    before(async () => {
        server = await startServer({ env: { ...LIMIT, ...PROXIES, ...issuer.env }, ready: true });
    });
    after(() => server?.stop());

    const with_ = (address, claims) => ({ forwarded: [address], headers: bearer(claims) });
    const tokens = [
        ['a subject is one caller, whatever token it comes with', with_('2.0.0.1', { sub: 'a' }), with_('2.0.0.1', { sub: 'a' }), true],
        ['and wherever it comes from', with_('2.0.0.2', { sub: 'b' }), with_('2.0.0.3', { sub: 'b' }), true],
        ['two subjects at one address are two', with_('2.0.0.4', { sub: 'c' }), with_('2.0.0.4', { sub: 'd' }), false],
        ['subjects differ by case', with_('2.0.0.5', { sub: 'e' }), with_('2.0.0.5', { sub: 'E' }), false],
        ['two subjects of one client are two', with_('2.0.0.6', { sub: 'f', azp: 'app' }), with_('2.0.0.6', { sub: 'g', azp: 'app' }), false],
        ['a subject is one, whatever client it uses', with_('2.0.0.7', { sub: 'h', azp: 'app1' }), with_('2.0.0.7', { sub: 'h', azp: 'app2' }), true],
        ['without a subject the client is the caller (v2)', with_('2.0.0.8', { azp: 'app3' }), with_('2.0.0.9', { azp: 'app3' }), true],
        ['without a subject two clients are two', with_('2.0.0.10', { azp: 'app4' }), with_('2.0.0.10', { azp: 'app5' }), false],
        ['without a subject the client is the caller (v1)', with_('2.0.0.11', { appid: 'app6' }), with_('2.0.0.12', { appid: 'app6' }), true],
        ['a client is not the subject of the same name', with_('2.0.0.13', { azp: 'same' }), with_('2.0.0.13', { sub: 'same' }), false],
    ];
    for (const [rule, one, other, same] of tokens) {
        it(rule, async () => {
            assert.equal(await shareOne(server, one, other), same);
        });
    }

    const failing = [
        ['no token', {}, 401],
        ['a token that is none', { authorization: 'Bearer abc' }, 401],
        ['another scheme', { authorization: 'Basic YTpi' }, 401],
        ['an expired token', () => bearer({ sub: 'expired', exp: 1_600_000_000 }), 401],
        ['a token of another issuer', () => localIssuer().bearer({ sub: 'forged', scp: 'Device.Read' }), 401],
        ['a token for another audience', () => bearer({ sub: 'audience', aud: 'other' }), 401],
    ];
    for (const [i, [what, headers, status]] of failing.entries()) {
        it(`${what} counts against the address, and takes nothing from a good one`, async () => {
            const address = `2.0.1.${i}`;
            const from = { forwarded: [address], headers: typeof headers === 'function' ? headers() : headers };
            const refused = await spend(server, from, {}, status);
            assertProblem(refused, 429, 'TooManyRequests');
            assert.equal(refused.header('www-authenticate'), undefined);
            assert.equal((await ask(server, address)).status, 429, 'whoever is there, without a token');
            assert.equal((await ask(server, with_(address, { sub: `good ${i}` }))).status, 200, 'with a good token it is another caller');
        });
    }

    it('a forged token takes nothing from the subject that it names', async () => {
        const forged = localIssuer().bearer({ sub: 'victim', scp: 'Device.Read' });
        await spend(server, { forwarded: ['2.0.2.1'], headers: forged }, {}, 401);
        await spend(server, with_('2.0.2.1', { sub: 'victim' }));
    });

    it('a good token without the permission counts against its subject', async () => {
        const from = { forwarded: ['2.0.2.2'], headers: issuer.bearer({ sub: 'reader', scp: 'Telemetry.Read' }) };
        const response = await ask(server, from);
        assertProblem(response, 403, 'Forbidden');
        assert.deepEqual(field(response)?.[0], QUOTA - 1);
        assert.equal((await ask(server, from)).status, 403);
        assert.equal((await ask(server, with_('2.0.2.3', { sub: 'reader' }))).status, 200);
        assert.equal((await ask(server, with_('2.0.2.3', { sub: 'reader' }))).status, 429);
        assert.equal((await ask(server, '2.0.2.2')).status, 401, 'the address has its own');
    });

    it('says what is left on a 401 too', async () => {
        const response = await ask(server, '2.0.2.4');
        assertProblem(response, 401, 'Unauthorized');
        assert.equal(field(response)?.[0], QUOTA - 1);
    });

    it('tokens cannot be tried out at /metrics without end', async () => {
        const from = { forwarded: ['2.0.2.6'], headers: { authorization: 'Bearer x' } };
        await spend(server, from, { path: '/metrics' }, 401);
    });

    it('a probe is served with a token that fails, and without', async () => {
        await spend(server, '2.0.2.5', {}, 401);
        assert.equal((await ask(server, '2.0.2.5', { path: '/livez' })).status, 200);
        assert.equal((await ask(server, '2.0.2.5', { path: '/readyz', headers: { authorization: 'Bearer x' } })).status, 200);
    });
});

const CALLERS_A_FLOOD = 10_000; // as many as four digits make

/** So many floods of requests, each request from an address that was never seen before. */
async function floods(server, first, count) {
    for (let i = first; i < first + count; i++) {
        const { statuses } = await flood({
            port: server.port, count: CALLERS_A_FLOOD, connections: 4, batch: 50,
            before: `GET /nope HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 2001:db8:${i}:`, after: '::1\r\n\r\n',
        });
        assert.deepEqual(statuses, { 404: CALLERS_A_FLOOD }, 'nobody is refused for the others');
    }
}

const residentKiB = (pid) => Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);

describe('very many callers', () => {
    it('take no more memory than a few do, and free nobody', async (t) => {
        const server = await startServer({ env: { ...LIMIT, ...PROXIES }, ready: true });
        t.after(() => server.stop());
        await floods(server, 0, 2);
        const before = residentKiB(server.pid);
        await spend(server, '3.1.0.1');
        const spentAt = Date.now();
        await floods(server, 2, SLOW > 1 ? 8 : 20);
        const response = await ask(server, '3.1.0.1');
        if (Date.now() - spentAt < 19_000)
            assert.equal(response.status, 429, 'whoever had spent theirs is still refused');
        const grown = residentKiB(server.pid) - before;
        // What AddressSanitizer keeps back of freed memory is not the program's.
        if (SLOW === 1)
            assert.ok(grown < 2048, `${grown} KiB more`);
    });
});
