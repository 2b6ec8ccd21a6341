#!/usr/bin/env python3
"""tally.py LOGS STATUS [NAME]: counts what meson's logs in the folder LOGS say of a run of the tests.

A program that speaks TAP counts by its points, any other program counts once. NAME.json tells how
each program ended, NAME.junit.xml the points (NAME is testlog if nothing is said); a program that
ended badly without a failed point (it crashed, or ran out of time) counts as one failure more. What
failed points say of themselves is printed first. The last line is `N passed, N failed`. Exit status 1
when a test failed, when none passed, or when STATUS, meson's own, is not 0.
"""
import json
import pathlib
import sys
import xml.etree.ElementTree as tree

GOOD = {'OK', 'EXPECTEDFAIL'}
VERDICTS = {'failure': 'failed', 'error': 'failed', 'skipped': 'skipped'}


def judge(case):
    return next((VERDICTS[e.tag] for e in case if e.tag in VERDICTS), 'passed')


def points_of(junit):
    """{program: [(point, verdict), ...]} of the programs that speak TAP."""
    points = {}
    for suite in tree.fromstring(junit).iter('testsuite'):
        _, _, program = suite.get('name').partition('.')
        if program:
            points[program] = [(c.get('name'), judge(c)) for c in suite.iter('testcase')]
    return points


def verdicts(program, points):
    """[(name, verdict), ...] of one program."""
    name, result = program['name'], program['result']
    found = [(f'{name}: {point}', verdict) for point, verdict in points.get(name, [])]
    if result in GOOD:
        return found or [(name, 'passed')]
    if result == 'SKIP':
        return found or [(name, 'skipped')]
    if not any(verdict == 'failed' for _, verdict in found):
        found.append((f"{name} ({result}, status {program.get('returncode')})", 'failed'))
    return found


def reasons(program):
    """What a program that speaks TAP says below its failed points; meson shows none of it."""
    below = False
    for line in (program.get('stdout') or '').splitlines():
        below = line.startswith('not ok') or below and line.startswith('#')
        if below:
            yield line[:500]


def main(logs, status, base='testlog'):
    logs, found, why = pathlib.Path(logs), [], []
    try:
        points = points_of((logs / f'{base}.junit.xml').read_text())
        for line in (logs / f'{base}.json').read_text().splitlines():
            program = json.loads(line)
            found += verdicts(program, points)
            if program['result'] not in GOOD:
                why += [f"{program['name']}: {line}" for line in reasons(program)]
    except (OSError, ValueError, tree.ParseError) as error:
        print(f'no log of a run: {error}')
    if status and not any(verdict == 'failed' for _, verdict in found):
        found.append((f'meson test ended with status {status}', 'failed'))
    for line in why:
        print(line)
    for wanted in ('skipped', 'failed'):
        for name, verdict in found:
            if verdict == wanted:
                print(f'{verdict}: {name}')
    passed = sum(verdict == 'passed' for _, verdict in found)
    failed = sum(verdict == 'failed' for _, verdict in found)
    print(f'{passed} passed, {failed} failed')
    return 1 if failed or not passed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
