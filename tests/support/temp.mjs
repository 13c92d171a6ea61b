// Directories that go away with the test process, however it ends.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const made = [];

process.on('exit', () => {
    for (const directory of made)
        rmSync(directory, { recursive: true, force: true });
});

export function tempDirectory() {
    const directory = mkdtempSync(join(tmpdir(), 'telemetryd-test-'));
    made.push(directory);
    return directory;
}
