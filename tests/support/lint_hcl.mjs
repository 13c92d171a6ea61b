// Every file of deploy/terraform parses as HCL; Terraform itself is not needed. What the files mean is tests/integration/terraform.test.mjs's.

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from '@cdktf/hcl2json';
import { root } from './contract.mjs';

const folder = join(root, 'deploy', 'terraform');
for (const name of readdirSync(folder).filter((each) => each.endsWith('.tf'))) {
    await parse(name, readFileSync(join(folder, name), 'utf8')).catch((error) => {
        console.error(`deploy/terraform/${name}: ${error.message ?? error}`);
        process.exitCode = 1;
    });
}
