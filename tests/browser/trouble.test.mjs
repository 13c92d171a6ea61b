// The dashboard when something is wrong: the server goes and comes back, a token is asked for, a permission is missing, requests are too many.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { SLOW, startServer } from '../support/server.mjs';
import { tempDirectory } from '../support/temp.mjs';
import { localIssuer } from '../support/tokens.mjs';
import { assertAccessible, openPage, seesText, serve, until } from './browser.mjs';

const GONE = /ERR_CONNECTION|ERR_INCOMPLETE|ERR_EMPTY_RESPONSE|ERR_SOCKET/;

describe('a server that goes', () => {
    it('is said to be gone, and when it is back everything goes on, with no reading lost', async (t) => {
        const data = join(tempDirectory(), 'telemetry.db');
        const first = await startServer({ data });
        const listen = `127.0.0.1:${first.port}`;
        let posted = 0;
        const post = async (server) => server.post('pump', { v: ++posted });
        await post(first);

        const page = await openPage(t, first, '/#/devices/pump', { expected: GONE });
        await seesText(page, '#live', 'Live');
        await post(first);
        await post(first);
        await first.killHard();
        await seesText(page, '#banner', 'The server does not answer.');
        await seesText(page, '#banner', /Next try in \d+ s|Trying/);
        assert.equal(await page.locator('.chart canvas').count(), 1, 'what was shown stays');
        await assertAccessible(page);

        const second = await serve(t, { data, listen });
        await post(second);
        await post(second);
        await until(page, () => document.getElementById('banner').hidden, undefined, 60_000 * SLOW);
        await seesText(page, '#live', 'Live');
        await post(second);
        await seesText(page, '.chart .last', String(posted));
        assert.match(await page.locator('.plot').getAttribute('aria-label'), new RegExp(`, ${posted} values`), 'every reading once');
        await page.getByRole('button', { name: 'Table' }).click();
        await until(page, (n) => document.querySelectorAll('.readings tbody tr').length === n, posted);
        assert.deepEqual(await page.locator('.readings td.number').allTextContents(), Array.from({ length: posted }, (_, i) => String(posted - i)));
    });

    it('is tried again at once when its reader asks for it', async (t) => {
        const first = await startServer();
        await first.post('pump', { v: 1 });
        const listen = `127.0.0.1:${first.port}`;
        const page = await openPage(t, first, '/', { expected: /ERR_CONNECTION|ERR_INCOMPLETE|ERR_EMPTY_RESPONSE|ERR_SOCKET|503/ }); // 503: it is draining
        await seesText(page, '.fleet', 'pump');
        await first.stop();
        await seesText(page, '#banner', 'The server does not answer.');
        const second = await serve(t, { listen });
        await page.getByRole('button', { name: 'Try now' }).click({ timeout: 60_000 }).catch(() => {}); // or it was quicker
        await until(page, () => document.getElementById('banner').hidden);
    });
});

describe('a server that asks for a token', () => {
    const issuer = localIssuer();
    const everything = { scp: 'Telemetry.Read Device.Read' };

    async function signIn(page, token) {
        await page.getByLabel('Access token').fill(token);
        await page.keyboard.press('Enter');
    }

    it('gets one from its reader, in a header and nowhere else, in streams too', async (t) => {
        const server = await serve(t, { args: ['--demo'], env: issuer.env });
        const token = issuer.token(everything);
        const page = await openPage(t, server, '/', { expected: /401/ });
        await seesText(page, '#token-why', 'This server asks for an access token.');
        await assertAccessible(page);
        await signIn(page, 'not.a.token');
        await seesText(page, '#token-why', 'The token was refused');

        const asked = [];
        page.on('request', (request) => asked.push(request));
        await signIn(page, `Bearer ${token}`);
        await seesText(page, '#summary', '5 devices');
        await seesText(page, '#live', 'Live');
        const stream = asked.find((request) => request.url().includes('/telemetry/stream'));
        assert.equal(stream.headers().authorization, `Bearer ${token}`);
        assert.ok(asked.every((request) => !request.url().includes(token)), 'no address has the token');
        assert.deepEqual(await page.evaluate(() => Object.values(localStorage)), []);
        await page.reload();
        await seesText(page, '#summary', '5 devices');

        await page.getByRole('button', { name: 'Sign out' }).click();
        await seesText(page, '#token-why', 'You have signed out.');
        assert.deepEqual(await page.evaluate(() => Object.values(sessionStorage)), []);
        assert.equal(await page.locator('.fleet').count(), 0);
    });

    it('says which permission a token lacks', async (t) => {
        const server = await serve(t, { args: ['--demo'], env: issuer.env });
        const page = await openPage(t, server, '/', { expected: /401|403/ });
        await signIn(page, issuer.token({ scp: 'Telemetry.Read' }));
        await seesText(page, '.state', 'Your token lacks the permission Device.Read.');
        await page.goto(`${server.url}/#/devices/demo-1`);
        await until(page, () => document.querySelectorAll('.chart canvas').length === 2);
        await seesText(page, 'aside', 'Device.Read');

        await page.getByRole('button', { name: 'Sign out' }).click();
        await signIn(page, issuer.token({ scp: 'Device.Read' }));
        await seesText(page, '.state', 'Your token lacks the permission Telemetry.Read.');
        await page.getByRole('link', { name: 'Fleet', exact: true }).click();
        await seesText(page, '.notice', 'Your token lacks the permission Telemetry.Read.');
        await seesText(page, '.fleet', 'demo-1');
    });

    it('ends what a token may see when it expires, and asks for another one', async (t) => {
        const server = await serve(t, { args: ['--demo'], env: issuer.env });
        const page = await openPage(t, server, '/#/devices/demo-1', { expected: /401/ });
        // The server tolerates a minute between clocks, so this one is good for a few seconds.
        await signIn(page, issuer.token({ ...everything, exp: Math.floor(Date.now() / 1000) - 60 + 4 * SLOW }));
        await seesText(page, '#live', 'Live');
        await seesText(page, '#token-why', 'The token was refused: it has expired');
        await signIn(page, issuer.token(everything));
        await seesText(page, 'h1', 'demo-1');
        await seesText(page, '#live', 'Live');
    });
});

describe('a server that limits', () => {
    it('is waited for as long as it says', async (t) => {
        const server = await serve(t, { args: ['--demo'], env: { TELEMETRYD_RATE_LIMIT: '3/s' } });
        const page = await openPage(t, server, '/', { expected: /429/ });
        await until(page, () => document.querySelectorAll('.fleet .spark-line[d]').length === 10, undefined, 40_000 * SLOW);
        await until(page, () => document.getElementById('banner').hidden, undefined, 40_000 * SLOW);
        assert.equal(await page.locator('.fleet tbody tr').count(), 5);
    });
});
