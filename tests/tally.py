#!/usr/bin/env python3
"""Adds up what the steps of `./dev test` left behind and shows what failed.

usage: tally.py DIRECTORY

DIRECTORY has a folder for each step, with `status` (its exit status), `output` (what it printed), either `testlog.json`
(meson test, each program speaking TAP) or `report.tap` (node:test), and `sanitizer.*` where a sanitizer had something to
say. The last line reads 'N passed, N failed'; the exit status is 0 when something passed and nothing failed.
"""
import json
import pathlib
import re
import sys

SHOWN_LINES = 200


def show(title, text):
    lines = text.splitlines()
    print(f'\n--- {title}')
    if len(lines) > SHOWN_LINES:
        print(f'({len(lines) - SHOWN_LINES} lines before these)')
    print('\n'.join(lines[-SHOWN_LINES:]))


def tally_meson(step):
    """Counts cases; a program that fails without a failing case (a crash, a leak, a timeout) counts as one failure."""
    passed = failed = 0
    for line in (step / 'testlog.json').read_text().splitlines():
        program = json.loads(line)
        cases = re.findall(r'^(not )?ok\b(.*)$', program.get('stdout', ''), re.MULTILINE)
        cases = [bool(bad) for bad, text in cases if '# SKIP' not in text]
        bad = sum(cases)
        if program['result'] not in ('OK', 'SKIP') and bad == 0:
            bad = 1
        passed += cases.count(False)
        failed += bad
        if bad:
            show(f'{step.name}: {program["name"]}: {program["result"]}, status {program.get("returncode")}',
                 program.get('stdout', '') + program.get('stderr', ''))
    return passed, failed


def tally_node(step):
    report = (step / 'report.tap').read_text()
    counts = {name: int(number) for name, number in re.findall(r'^# (pass|fail|cancelled) (\d+)$', report, re.MULTILINE)}
    failed = counts.get('fail', 0) + counts.get('cancelled', 0)
    if failed:
        output = (step / 'output').read_text()
        show(f'{step.name}: failing tests', output[max(output.rfind('failing tests'), 0):])
    return counts.get('pass', 0), failed


def tally_lines(step):
    return len(re.findall(r'^ok\b', (step / 'output').read_text(), re.MULTILINE)), 0


def tally(step):
    if (step / 'testlog.json').exists():
        passed, failed = tally_meson(step)
    elif (step / 'report.tap').exists():
        passed, failed = tally_node(step)
    else:
        passed, failed = tally_lines(step)
    for report in sorted(step.glob('sanitizer.*')):
        show(f'{step.name}: {report.name}', report.read_text())
        failed += 1
    status = (step / 'status').read_text().strip()
    if passed + failed == 0 or (status != '0' and failed == 0):
        show(f'{step.name}: exit status {status}', (step / 'output').read_text())
        failed += 1
    return passed, failed


def main():
    totals = [0, 0]
    table = []
    for step in sorted(pathlib.Path(sys.argv[1]).iterdir()):
        passed, failed = tally(step)
        table.append(f'{step.name:20} {passed:6} passed {failed:6} failed')
        totals[0] += passed
        totals[1] += failed
    print('\n' + '\n'.join(table))
    print(f'{totals[0]} passed, {totals[1]} failed')
    sys.exit(0 if totals[0] > 0 and totals[1] == 0 else 1)


if __name__ == '__main__':
    main()
