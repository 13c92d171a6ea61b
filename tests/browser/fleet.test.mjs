// The dashboard's first page, in a browser.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { startServer } from '../support/server.mjs';
import { assertAccessible, assertNoSidewaysScroll, openPage, seesText, until } from './browser.mjs';

const deviceNames = (page) => page.locator('.fleet tbody th').allTextContents();
const patch = (server, id, reported) => server.api({
    method: 'PATCH', path: `/devices/${encodeURIComponent(id)}/reported`, headers: { 'content-type': 'application/merge-patch+json' }, body: JSON.stringify(reported),
});

describe('the demo fleet', () => {
    let server;
    before(async () => (server = await startServer({ args: ['--demo'] })));
    after(() => server?.stop());

    it('is understood at a glance: a sentence, states, ages, firmware, values with an hour of history', async (t) => {
        const page = await openPage(t, server, '/');
        await seesText(page, '#summary', '5 devices: 4 online, 1 offline.');
        await until(page, () => document.querySelectorAll('.fleet .spark-line[d]').length === 10);
        assert.deepEqual(await deviceNames(page), ['demo-1', 'demo-2', 'demo-3', 'demo-4', 'demo-5']);
        const first = page.locator('.fleet tbody tr').first();
        assert.match(await first.innerText(), /demo-1\s+online\s+(just now|\d+ s ago)\s+1\.4\.1\s+-?[\d.]+\s+[\d.]+/);
        assert.match(await page.locator('.fleet tbody tr').last().innerText(), /demo-5\s+offline/);
        await seesText(page, '#live', 'Live');
    });

    it('moves by itself: values come over one stream', async (t) => {
        const page = await openPage(t, server, '/');
        await seesText(page, '#live', 'Live');
        const value = page.locator('.fleet tbody tr').first().locator('.number').first();
        const before = await value.innerText();
        await until(page, (old) => document.querySelector('.fleet tbody .number').innerText !== old, before);
    });

    it('is sorted by every column, from the keyboard too', async (t) => {
        const page = await openPage(t, server, '/');
        await until(page, () => document.querySelectorAll('.fleet thead th').length === 6);
        await page.getByRole('button', { name: 'Device' }).focus();
        await page.keyboard.press('Enter');
        assert.deepEqual(await deviceNames(page), ['demo-5', 'demo-4', 'demo-3', 'demo-2', 'demo-1']);
        assert.equal(await page.locator('th.device').first().getAttribute('aria-sort'), 'descending');
        assert.equal(await page.evaluate(() => document.activeElement.dataset.column), 'device', 'the focus stays');
        for (const name of ['Status', 'Last seen', 'Firmware', 'temperature', 'humidity']) {
            await page.getByRole('button', { name, exact: true }).click();
            assert.equal(await page.locator('.fleet thead th:not([aria-sort=none])').innerText().then((text) => text.trim()), name);
        }
        await page.getByRole('button', { name: 'Status', exact: true }).click();
        assert.equal((await deviceNames(page))[0], 'demo-5', 'what is offline comes first');
    });

    it('is searched and filtered', async (t) => {
        const page = await openPage(t, server, '/');
        await seesText(page, '.fleet', 'demo-5');
        await page.keyboard.press('/');
        await page.keyboard.type('demo 1.4.2');
        await until(page, () => document.querySelectorAll('.fleet tbody tr').length === 2);
        assert.deepEqual(await deviceNames(page), ['demo-2', 'demo-5']);
        await page.getByRole('button', { name: '1 offline' }).click();
        assert.deepEqual(await deviceNames(page), ['demo-5']);
        await page.getByLabel('Search devices').fill('nothing like it');
        await seesText(page, '.state', 'No device fits');
        await page.getByRole('button', { name: 'Show all devices' }).click();
        assert.equal((await deviceNames(page)).length, 5);
    });

    it('is walked with the keyboard alone', async (t) => {
        const page = await openPage(t, server, '/');
        await seesText(page, '.fleet', 'demo-5');
        await page.keyboard.press('Tab');
        assert.equal(await page.evaluate(() => document.activeElement.id), 'skip');
        assert.ok((await page.locator('#skip').boundingBox()).y >= 0, 'the skip link comes into view');
        await page.keyboard.press('Enter');
        assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
        const reached = new Set();
        for (let i = 0; i < 30 && !reached.has('demo-1'); i++) {
            await page.keyboard.press('Tab');
            reached.add(await page.evaluate(() => document.activeElement.textContent || document.activeElement.id));
        }
        assert.ok(reached.has('search') && reached.has('demo-1'), [...reached].join());
        await page.keyboard.press('Enter');
        await seesText(page, 'h1', 'demo-1');
        assert.equal(await page.evaluate(() => document.activeElement.tagName), 'H1', 'reading goes on at the heading');
        await page.goBack();
        await seesText(page, 'h1', 'Fleet');
    });

    for (const colorScheme of ['light', 'dark']) {
        it(`has no serious accessibility finding, ${colorScheme}`, async (t) => {
            const page = await openPage(t, server, '/', { colorScheme });
            await until(page, () => document.querySelectorAll('.fleet .spark-line[d]').length === 10);
            await assertAccessible(page);
        });
    }

    it('fits a phone', async (t) => {
        const page = await openPage(t, server, '/', { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
        await until(page, () => document.querySelectorAll('.fleet .spark-line[d]').length === 10);
        await assertNoSidewaysScroll(page);
        await assertAccessible(page);
        await page.getByRole('button', { name: 'Device', exact: true }).tap();
        assert.equal((await deviceNames(page))[0], 'demo-5');
    });

    it('is dark or light as its reader likes, and stays so', async (t) => {
        const page = await openPage(t, server, '/', { reducedMotion: 'reduce' });
        const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
        const light = await background();
        await page.getByRole('button', { name: 'Theme: auto' }).click();
        assert.equal(await background(), light);
        await page.getByRole('button', { name: 'Theme: light' }).click();
        const dark = await background();
        assert.notEqual(dark, light);
        await page.reload();
        assert.equal(await background(), dark);
        assert.equal(await page.evaluate(() => getComputedStyle(document.getElementById('live'), '::before').animationName), 'none', 'nothing moves');
    });
});

describe('other fleets', () => {
    let server;
    before(async () => (server = await startServer()));
    after(() => server?.stop());

    it('one without devices says how to get the first, and shows it when it comes', async (t) => {
        const page = await openPage(t, server, '/');
        await seesText(page, '.state', 'No devices yet');
        await assertAccessible(page);
        await server.post('first', { temperature: 1 });
        await page.reload();
        await seesText(page, '.fleet', 'first');
    });

    it('what devices say is text, whatever it looks like', async (t) => {
        const evil = '<img src=x onerror=alert(1)>';
        await patch(server, 'evil', { status: evil, firmwareVersion: evil });
        await patch(server, 'odd', { status: ['a'], firmwareVersion: { v: 1 }, lastHeartbeat: 'yesterday' });
        await server.post('evil', { [evil]: 1, text: evil });
        const page = await openPage(t, server, '/');
        await seesText(page, '.fleet .firmware', evil);
        await seesText(page, '.fleet .status', evil);
        await seesText(page, '.fleet thead', evil);
        await page.getByRole('link', { name: 'evil' }).click();
        await seesText(page, 'aside', evil);
        await page.getByRole('button', { name: 'Table' }).click();
        await seesText(page, '.readings', evil);
        assert.equal(await page.locator('main img').count(), 0);
    });

    it('a device that was not heard of for five minutes is stale, whatever it said last', async (t) => {
        await patch(server, 'silent', { status: 'online', lastHeartbeat: new Date(Date.now() - 3_600_000).toISOString() });
        const page = await openPage(t, server, '/');
        await seesText(page, '.fleet tr', /silent\s*stale · online\s*1 h ago/);
        await page.getByRole('button', { name: /stale/ }).click();
        assert.deepEqual(await deviceNames(page), ['silent']);
    });

    it('a large one is paged, and says so', async (t) => {
        await Promise.all(Array.from({ length: 60 }, (_, i) => server.post(`many-${i + 1}`, { v: i })));
        const page = await openPage(t, server, '/');
        await seesText(page, '.fleet', 'many-1');
        await page.getByLabel('Search devices').fill('many-');
        await seesText(page, '.footer', '1–25 of 60');
        assert.deepEqual((await deviceNames(page)).slice(0, 3), ['many-1', 'many-2', 'many-3']);
        await page.getByRole('button', { name: 'Next' }).click();
        await page.getByRole('button', { name: 'Next' }).click();
        await seesText(page, '.footer', '51–60 of 60');
        assert.equal(await page.getByRole('button', { name: 'Next' }).isDisabled(), true);
        await seesText(page, '.fleet tr', /many-60\s*online.*59/);
    });
});
