// The dashboard's page of one device, in a browser.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { SLOW, startServer } from '../support/server.mjs';
import { assertAccessible, assertNoSidewaysScroll, openPage, seesText, until } from './browser.mjs';

/** How many values a chart says that it shows. */
const valuesIn = (page, label) => page.locator(`.plot[aria-label^="Chart of ${label}"]`).getAttribute('aria-label').then((text) => Number(/(\d+) values/.exec(text)?.[1] ?? 0));

describe('a device', () => {
    let server;
    before(async () => {
        server = await startServer({ args: ['--demo'] });
        await server.post('pump', Array.from({ length: 20 }, (_, i) => ({ temperature_c: 20 + i, motor: { rpm: 900 + i, on: true }, note: 'text' })));
    });
    after(() => server?.stop());

    it('has a chart of every numeric field, nested ones too, and its twin beside them', async (t) => {
        const page = await openPage(t, server, '/#/devices/pump');
        await until(page, () => document.querySelectorAll('.chart canvas').length === 2);
        assert.deepEqual(await page.locator('.chart h3').allTextContents(), ['temperature °C', 'motor.rpm']);
        assert.equal(await valuesIn(page, 'temperature'), 20);
        await seesText(page, '.chart .last', '39\u202f°C');
        await seesText(page, 'aside', 'Connected');
        await seesText(page, '.headline', 'online');
        await seesText(page, 'aside', 'note');
    });

    it('shows a new reading within two seconds, without a reload', async (t) => {
        const page = await openPage(t, server, '/#/devices/pump');
        await seesText(page, '#live', 'Live');
        const before = await valuesIn(page, 'motor.rpm');
        await server.post('pump', { motor: { rpm: 4321 } });
        const from = Date.now();
        await seesText(page, '.chart .last', '4321');
        assert.ok(Date.now() - from < 2000 * SLOW, `${Date.now() - from} ms`);
        assert.equal(await valuesIn(page, 'motor.rpm'), before + 1);
        await server.post('pump', { fresh: 5 });
        await seesText(page, '.chart h3', 'fresh');
    });

    it('moves between ranges by buttons, by dragging, by two inputs, and back', async (t) => {
        const page = await openPage(t, server, '/#/devices/demo-1');
        await until(page, () => document.querySelectorAll('.chart canvas').length === 2);
        const anHour = await valuesIn(page, 'temperature');
        await page.getByRole('button', { name: 'Last 24h' }).click();
        await until(page, (n) => Number(/(\d+) values/.exec(document.querySelector('.plot')?.getAttribute('aria-label'))?.[1]) > n + 1000, anHour);
        assert.match(page.url(), /range=24h/);

        const box = await page.locator('.u-over').first().boundingBox();
        await page.mouse.move(box.x + box.width * 0.25, box.y + 40);
        await page.mouse.down();
        await page.mouse.move(box.x + box.width * 0.75, box.y + 60, { steps: 5 });
        await page.mouse.up();
        await page.waitForURL(/from=\d+&to=\d+/);
        const [, from, to] = /from=(\d+)&to=(\d+)/.exec(page.url());
        assert.ok(Math.abs(to - from - 43_200) < 600, `half of a day, not ${to - from} s`);
        await seesText(page, '#live', 'Fixed range');
        await seesText(page, '#window', /7\d\d readings/);

        await page.getByText('Own range', { exact: true }).click();
        await page.locator('#to').fill(await page.locator('#from').inputValue());
        await page.getByRole('button', { name: 'Show', exact: true }).click();
        await seesText(page, '.fault', 'The end has to be after the beginning.');
        const begin = new Date((Number(from) + 3600) * 1000).toLocaleString('sv', { timeZone: 'Europe/Berlin' }).replace(' ', 'T');
        await page.locator('#to').fill(begin);
        await page.keyboard.press('Enter');
        await seesText(page, '#window', /6[01] readings/);
        await page.goBack();
        await page.goBack();
        await page.waitForURL(/range=24h/);
        await seesText(page, '#live', 'Live');
    });

    it('has its readings as a table, newest first, in pages', async (t) => {
        const page = await openPage(t, server, '/#/devices/demo-2');
        await page.getByRole('button', { name: 'Last 24h' }).click();
        await page.getByRole('button', { name: 'Table' }).click();
        await until(page, () => document.querySelectorAll('.readings tbody tr').length === 50);
        assert.deepEqual(await page.locator('.readings thead th').allTextContents(), ['Time', 'temperature', 'humidity', 'timestamp']);
        const times = () => page.locator('.readings tbody th').allTextContents();
        const first = await times();
        assert.deepEqual(first, [...first].sort().reverse());
        await page.getByRole('button', { name: 'Older' }).click();
        const second = await times();
        assert.deepEqual(second, [...second].sort().reverse());
        assert.ok(second[0] < first[10], `${second[0]} after ${first[10]}`); // while it is looked at the newest come in
        await page.waitForTimeout(1500);
        assert.deepEqual(await times(), second, 'a page that is read stays where it is');
        await page.getByRole('button', { name: 'Newer' }).click();
        await until(page, (old) => document.querySelector('.readings tbody th').textContent > old, first[0]);
        await assertAccessible(page);
    });

    it('is downloaded as CSV, the bytes that the API gives', async (t) => {
        const to = Math.floor(Date.now() / 1000) - 120;
        const page = await openPage(t, server, `/#/devices/demo-3?from=${to - 7200}&to=${to}`);
        await seesText(page, '#window', '120 readings');
        const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download CSV' }).click()]);
        assert.equal(download.suggestedFilename(), 'demo-3.csv');
        const asked = await server.api({ path: `/devices/demo-3/telemetry?from=${to - 7200}&to=${to}&order=asc&limit=10000`, headers: { accept: 'text/csv' } });
        assert.equal(readFileSync(await download.path(), 'utf8'), asked.text);
        assert.equal(asked.text.split('\r\n').length, 122);
    });

    it('more readings than one page are loaded in pages, and a bound is said', async (t) => {
        const many = Array.from({ length: 500 }, (_, i) => ({ v: i }));
        for (let i = 0; i < 24; i++)
            await server.post('busy', many);
        const page = await openPage(t, server, '/#/devices/busy');
        await seesText(page, '#window', '12,000 readings in the last hour.');
        assert.equal(await valuesIn(page, 'v'), 12_000);
    });

    it('says so where there are no readings, no numbers, or no such device', async (t) => {
        await server.post('words', { said: 'hello' });
        const page = await openPage(t, server, '/#/devices/words', { expected: /404/ });
        await seesText(page, '.state', 'Nothing to draw');
        await page.goto(`${server.url}/#/devices/demo-1?from=1000&to=2000`);
        await seesText(page, '.state', 'No readings in this range');
        await page.goto(`${server.url}/#/devices/nobody`);
        await seesText(page, '.state', 'No such device');
        await assertAccessible(page);
        await page.getByRole('link', { name: 'Back to the fleet' }).click();
        await seesText(page, 'h1', 'Fleet');
    });

    for (const colorScheme of ['light', 'dark']) {
        it(`has no serious accessibility finding, ${colorScheme}`, async (t) => {
            const page = await openPage(t, server, '/#/devices/demo-1?range=24h', { colorScheme });
            await until(page, () => document.querySelectorAll('.chart canvas').length === 2);
            await assertAccessible(page);
        });
    }

    it('fits a phone', async (t) => {
        const page = await openPage(t, server, '/#/devices/demo-1', { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
        await until(page, () => document.querySelectorAll('.chart canvas').length === 2);
        await assertNoSidewaysScroll(page);
        await page.getByRole('button', { name: 'Table' }).tap();
        await seesText(page, '.readings', 'temperature');
        await assertNoSidewaysScroll(page);
        await page.getByText('Own range …').tap();
        await assertNoSidewaysScroll(page);
    });
});
