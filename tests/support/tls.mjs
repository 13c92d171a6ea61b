// Certificate authorities for one test process, and what they issue.

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tempDirectory } from './temp.mjs';

const openssl = (...args) => execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'] });

/** {caFile, ca, key, cert}: PEM texts, and the CA's file for AZURE_CA_FILE. */
export function makeTls(names = ['DNS:localhost', 'IP:127.0.0.1', 'DNS:testhub.azure-devices.net']) {
    const directory = tempDirectory();
    const at = (name) => join(directory, name);
    const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    openssl('req', '-x509', ...newKey, '-keyout', at('ca.key'), '-out', at('ca.pem'), '-days', '2', '-subj', '/CN=telemetryd test CA',
        '-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign');
    openssl('req', ...newKey, '-keyout', at('server.key'), '-out', at('server.csr'), '-subj', '/CN=localhost');
    writeFileSync(at('server.ext'), `subjectAltName=${names.join(',')}\nextendedKeyUsage=serverAuth\n`);
    openssl('x509', '-req', '-in', at('server.csr'), '-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial', '-days', '2',
        '-extfile', at('server.ext'), '-out', at('server.pem'));
    const read = (name) => readFileSync(at(name), 'utf8');
    return { caFile: at('ca.pem'), ca: read('ca.pem'), key: read('server.key'), cert: read('server.pem') };
}

const EC = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

/** An authority that issues more than one certificate. */
export class Authority {
    #directory = tempDirectory();
    #issued = 0;

    constructor(name = 'telemetryd test CA') {
        openssl('req', '-x509', ...EC, '-keyout', this.#at('ca.key'), '-out', this.#at('ca.pem'), '-days', '400', '-subj', `/CN=${name}`,
            '-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign');
        this.caFile = this.#at('ca.pem');
        this.ca = readFileSync(this.caFile, 'utf8');
    }

    #at(name) {
        return join(this.#directory, name);
    }

    /**
     * A pair: {certFile, keyFile, cert, key, serial, ca}. usage: serverAuth or clientAuth; days: how long it is valid, counted from now; negative:
     * it has expired; newKey: what `openssl req` is given.
     */
    issue({ usage = 'serverAuth', names = ['DNS:localhost', 'IP:127.0.0.1', 'IP:::1'], subject = 'localhost', days = 200, newKey = EC } = {}) {
        const at = (name) => this.#at(`${this.#issued}.${name}`);
        this.#issued++;
        openssl('req', ...newKey, '-keyout', at('key'), '-out', at('csr'), '-subj', `/CN=${subject}`);
        writeFileSync(at('ext'), `subjectAltName=${names.join(',')}\nextendedKeyUsage=${usage}\nbasicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\n`);
        const serial = randomBytes(16).map((byte, i) => (i === 0 ? (byte & 0x7f) | 0x40 : byte)).toString('hex').toUpperCase();
        openssl('x509', '-req', '-in', at('csr'), '-CA', this.caFile, '-CAkey', this.#at('ca.key'), '-set_serial', `0x${serial}`, '-days', String(days),
            '-extfile', at('ext'), '-out', at('pem'));
        const read = (name) => readFileSync(at(name), 'utf8');
        return { certFile: at('pem'), keyFile: at('key'), cert: read('pem'), key: read('key'), serial, ca: this.ca };
    }

    /** The same as options for startServer({tls}). */
    server(more) {
        const { certFile, keyFile, ca } = this.issue(more);
        return { certFile, keyFile, ca };
    }
}
