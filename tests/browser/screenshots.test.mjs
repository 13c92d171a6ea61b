// The pictures that README.md shows. They are written where TELEMETRYD_SCREENSHOTS is set; without it they are taken all the same, so that what
// makes them cannot rot.

import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { root } from '../support/contract.mjs';
import { startServer } from '../support/server.mjs';
import { openPage, seesText, until } from './browser.mjs';

const folder = join(root, 'pages', 'screenshots');
const PAGES = [
    ['fleet', '/', () => document.querySelectorAll('.fleet .spark-line[d]').length === 10, 470],
    ['device', '/#/devices/demo-1?range=24h', () => document.querySelectorAll('.chart canvas').length === 2, 700],
];

describe('screenshots', () => {
    let server;
    before(async () => (server = await startServer({ args: ['--demo'] })));
    after(() => server?.stop());

    for (const [name, path, ready, height] of PAGES) {
        for (const colorScheme of ['light', 'dark']) {
            it(`${name}, ${colorScheme}`, async (t) => {
                const page = await openPage(t, server, path, { colorScheme, reducedMotion: 'reduce', viewport: { width: 1200, height } });
                await until(page, ready);
                await seesText(page, '#live', 'Live');
                const image = await page.screenshot();
                assert.ok(image.length < 150_000, `${image.length} bytes`);
                if (process.env.TELEMETRYD_SCREENSHOTS) {
                    mkdirSync(folder, { recursive: true });
                    writeFileSync(join(folder, `${name}-${colorScheme}.png`), image);
                }
            });
        }
    }
});
