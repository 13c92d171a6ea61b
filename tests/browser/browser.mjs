// A real browser (Debian's chromium) on the pages of a real server. Every page that is opened is held to the rules that hold for all: no
// error on the console, nothing that the policy had to stop, no request to another host.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { after } from 'node:test';
import { chromium } from 'playwright-core';
import { SLOW, startServer } from '../support/server.mjs';

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

let browser;
after(() => browser?.close());

const open = new WeakMap(); // test -> what closes its pages, and judges them

async function closePages(t) {
    const pages = open.get(t) ?? [];
    open.delete(t);
    for (const close of pages)
        await close();
}

/** Generous: a browser beside a build shares the processor with it. */
const WAIT_MS = 30_000 * SLOW;

/**
 * Opens a path of a server. t: the test, at whose end the page is judged and closed. options: playwright's for a context, and `expected`: a
 * pattern of console errors that belong to the test, such as those of requests to a server that is gone.
 */
export async function openPage(t, server, path, { expected = /^$/, ...options } = {}) {
    browser ??= await chromium.launch({
        executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
        args: ['--no-sandbox', '--disable-dev-shm-usage'], // a container's root may have no sandbox, and little /dev/shm
    });
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: 'light', timezoneId: 'Europe/Berlin', ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(WAIT_MS);
    const faults = [];
    page.on('console', (message) => message.type() === 'error' && !expected.test(message.text()) && faults.push(message.text()));
    page.on('pageerror', (error) => faults.push(error.stack));
    page.on('request', (request) => {
        const url = new URL(request.url());
        if (url.protocol !== 'blob:' && url.origin !== new URL(server.url).origin)
            faults.push(`a request to ${url}`);
    });
    await page.addInitScript(() => addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`)));
    const close = async () => {
        await context.close();
        assert.deepEqual(faults.splice(0), [], 'the page is without a fault');
    };
    open.set(t, [...open.get(t) ?? [], close]);
    t.after(() => closePages(t));
    await page.goto(server.url + path);
    return page;
}

/** A server for one test: it ends after the pages, which would complain. options: those of startServer(). */
export async function serve(t, options) {
    const server = await startServer(options);
    t.after(async () => {
        await closePages(t);
        await server.stop();
    });
    return server;
}

/** The text of an element, once it fits. */
export const seesText = (page, selector, text) => page.locator(selector).filter({ hasText: text }).first().waitFor();

/** Waits until a function in the page returns true. */
export const until = (page, check, argument, timeout = WAIT_MS) => page.waitForFunction(check, argument, { timeout });

/** No serious or critical finding of axe-core. within: a selector; without: selectors that are somebody else's. */
export async function assertAccessible(page, { rules = {} } = {}) {
    // Not by a script element: the policy would not let it in.
    await page.evaluate(axeSource);
    const { violations } = await page.evaluate((options) => globalThis.axe.run(document, options), { rules });
    const found = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical')
        .map(({ id, help, nodes }) => `${id} (${help}): ${nodes.slice(0, 5).map(({ html, failureSummary }) => `${html.slice(0, 160)} ${failureSummary}`).join('\n')}`);
    assert.deepEqual(found, []);
}

/** Nothing is wider than the screen. */
export async function assertNoSidewaysScroll(page) {
    const [content, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(content <= screen, `${content} pixels on a screen of ${screen}`);
}
