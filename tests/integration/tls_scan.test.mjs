// testssl.sh, which tries what a server should not do, finds nothing of severity LOW or worse but what the test's own CA is to blame for.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { startServer } from '../support/server.mjs';
import { tempDirectory } from '../support/temp.mjs';
import { Authority } from '../support/tls.mjs';

const BAD = ['LOW', 'MEDIUM', 'HIGH', 'CRITICAL', 'FATAL'];

// What cannot be otherwise: a certificate of a CA that exists for a minute, and pages that are the same for everybody.
const EXCUSED = new Map([
    ['cert_revocation', 'the CA publishes no revocations'],
    ['DNS_CAArecord', 'an address has no DNS records'],
    // It looks at `/` alone. The attack needs a secret and a text of the attacker's in one compressed answer, to a request that a browser
    // authorizes by itself; here tokens are sent by scripts, and no answer holds a secret.
    ['BREACH', 'the dashboard is a constant'],
]);

// Parts of a whole run, side by side: each [what, flags, findings that must be there, so that an empty report is no success]
const parts = [
    ['protocols and ciphers', ['-p', '-s'], ['TLS1', 'TLS1_1', 'TLS1_2', 'TLS1_3', 'cipherlist_NULL', 'cipherlist_LOW', 'cipherlist_AVERAGE']],
    ['forward secrecy and the order of ciphers', ['-f', '-P'], ['PFS', 'cipher_order']],
    ['the certificate, and HSTS', ['-S', '-h'], ['cert_chain_of_trust', 'cert_trust', 'HSTS']],
    ['known weaknesses', ['-U'], ['heartbleed', 'CCS', 'ticketbleed', 'ROBOT', 'secure_renego', 'secure_client_renego', 'CRIME_TLS', 'BREACH', 'POODLE_SSL', 'SWEET32', 'FREAK', 'LOGJAM', 'BEAST', 'LUCKY13', 'RC4']],
];

describe('testssl.sh', { concurrency: parts.length }, () => {
    const authority = new Authority();
    let server;
    before(async () => {
        server = await startServer({ tls: authority.server() });
    });
    after(() => server?.stop());

    for (const [what, flags, expected] of parts) {
        it(`finds nothing in ${what}`, async () => {
            const report = join(tempDirectory(), 'report.json');
            const child = spawn('testssl', ['--quiet', '--color', '0', '--warnings', 'off', '--add-ca', authority.caFile, '--jsonfile', report,
                ...flags, `127.0.0.1:${server.port}`], { cwd: tempDirectory(), stdio: ['ignore', 'pipe', 'pipe'] });
            let output = '';
            child.stdout.on('data', (chunk) => (output += chunk));
            child.stderr.on('data', (chunk) => (output += chunk));
            await once(child, 'close');
            let findings;
            assert.doesNotThrow(() => (findings = JSON.parse(readFileSync(report, 'utf8'))), output);
            for (const id of expected)
                assert.ok(findings.some((finding) => finding.id.startsWith(id)), `${id} was looked at: ${findings.map((finding) => finding.id)}`);
            const bad = findings.filter(({ id, severity }) => BAD.includes(severity) && !EXCUSED.has(id));
            assert.deepEqual(bad.map(({ id, severity, finding }) => `${severity} ${id}: ${finding}`), []);
        });
    }
});
