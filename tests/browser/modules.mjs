// The dashboard's modules in Node: they refer to each other by /assets/NAME.js, which only the program resolves. Here they are copied to a
// temporary directory with those references made relative.

import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root } from '../support/contract.mjs';
import { tempDirectory } from '../support/temp.mjs';

const sources = join(root, 'pages', 'dashboard');
let copies;

/** import() of a module of the dashboard by its name. */
export function load(name) {
    if (!copies) {
        copies = tempDirectory();
        cpSync(sources, copies, { recursive: true });
        writeFileSync(join(copies, 'package.json'), '{"type":"module"}');
        for (const file of readdirSync(copies).filter((entry) => entry.endsWith('.js')))
            writeFileSync(join(copies, file), readFileSync(join(copies, file), 'utf8').replaceAll("'/assets/", "'./"));
    }
    return import(pathToFileURL(join(copies, name)));
}
