// The explorer at /docs, in a browser.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { startServer } from '../support/server.mjs';
import { localIssuer } from '../support/tokens.mjs';
import { assertAccessible, openPage, seesText } from './browser.mjs';

describe('/docs', () => {
    const issuer = localIssuer();
    let server;
    before(async () => (server = await startServer({ args: ['--demo'], env: issuer.env })));
    after(() => server?.stop());

    const operation = (page, path) => page.locator('.opblock-get').filter({ has: page.locator(`[data-path="${path}"]`) }).first();

    async function execute(page, path) {
        const block = operation(page, path);
        await block.locator('.opblock-summary-control').click();
        const device = block.locator('input[placeholder="deviceId"]');
        if (await device.count() > 0)
            await device.fill('demo-1');
        await block.getByRole('button', { name: 'Execute' }).click();
        return block;
    }

    it('executes a call, 401 without a token and 200 with one', async (t) => {
        const page = await openPage(t, server, '/docs', { expected: /401/ });
        await seesText(page, '#swagger-ui, body', 'telemetryd');
        const path = '/devices/{deviceId}/telemetry/latest';
        const block = await execute(page, path);
        await block.locator('.live-responses-table .response-col_status').filter({ hasText: '401' }).first().waitFor();
        await page.getByRole('button', { name: 'Authorize' }).first().click();
        await page.locator('.auth-container input').first().fill(issuer.token({ scp: 'Telemetry.Read' }));
        await page.locator('.auth-container').getByRole('button', { name: /Authorize|Apply/ }).first().click();
        await page.getByRole('button', { name: 'Close' }).first().click();
        const [request] = await Promise.all([page.waitForRequest((asked) => asked.url().endsWith('/latest')), block.getByRole('button', { name: 'Execute' }).click()]);
        assert.match(request.headers().authorization, /^Bearer ey/);
        await block.locator('.live-responses-table .response-col_status').filter({ hasText: '200' }).first().waitFor();
        await seesText(page, '.live-responses-table', /"temperature"/);
    });

    for (const colorScheme of ['light', 'dark']) {
        it(`has no serious accessibility finding, ${colorScheme}`, async (t) => {
            const page = await openPage(t, server, '/docs', { colorScheme });
            await page.locator('.opblock').first().waitFor();
            await assertAccessible(page);
        });
    }
});
