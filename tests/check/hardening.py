#!/usr/bin/env python3
"""hardening.py BUILD: what the compiler and the linker were asked to put in the way of attacks, as it
shows in what came out: position independence, RELRO, immediate binding, no executable stack, nothing
that can be written and run, no path to look for libraries in; fortified calls, stack protector, and
control-flow marks (CET, BTI) where the compiler has them.

libviaduct.so binds lazily: it is loaded into every program, and binding all at once is a large part
of what its start costs. What it is loaded into has tables of its own that it does not change.
"""
import json
import pathlib
import re
import subprocess
import sys

import tap

BINARIES = ('launcher/viaduct', 'launcher/viaduct-full', 'launcher/viaduct-resolve',
            'launcher/viaduct-supervise', 'daemon/viaductd',
            'daemon/viaduct-tls', 'preload/libviaduct.so')
LAZY = 'preload/libviaduct.so'
FORTIFIED = ('daemon/viaductd', 'daemon/viaduct-tls', 'launcher/viaduct-resolve')  # whose libc is loaded, so that it shows
MARKS = re.compile(r'x86 feature: .*\bIBT\b.*\bSHSTK\b|AArch64 feature: .*\bBTI\b')


def binary_complaints(headers, lazy=False, library=False):
    """Of `readelf -lWd` over one binary."""
    loads = re.findall(r'^\s+LOAD\s.*?((?:[RWE ]{3}))\s+0x\w+$', headers, re.M)
    stack = re.search(r'^\s+GNU_STACK\s.*?([RWE ]{3})\s+0x\w+$', headers, re.M)
    complaints = []
    if 'Elf file type is DYN' not in headers or (not library and not re.search(r'Flags:.* PIE', headers)):
        complaints.append('is not position independent')
    if 'GNU_RELRO' not in headers:
        complaints.append('has no RELRO')
    if not lazy and not re.search(r'\(FLAGS\).*BIND_NOW|\(FLAGS_1\).*\bNOW\b', headers):
        complaints.append('does not bind at once')
    if not stack or 'E' in stack[1]:
        complaints.append('has an executable stack')
    if not loads or any('W' in flags and 'E' in flags for flags in loads):
        complaints.append('has a part that can be written and run')
    if 'TEXTREL' in headers:
        complaints.append('changes its code when it is loaded')
    if re.search(r'\((RPATH|RUNPATH)\)', headers):
        complaints.append('has a path of its own to look for libraries in')
    return complaints


def mark_complaints(notes):
    """Of `readelf -n` over objects."""
    files = re.split(r'^File: ', notes, flags=re.M)[1:]
    return [f'{text.split()[0]} has no control-flow marks' for text in files if not MARKS.search(text)]


def command_complaints(commands, flag):
    """Of compile_commands.json: sources of the product that are compiled without a flag."""
    return [f'{entry["file"]} is compiled without {flag}' for entry in commands
            if re.match(rf'(?:.*/)?({"|".join(tap.CODE)})/[^/]+\.c$', entry['file'])
            and flag not in entry['command'].split()]


def self_test(t):
    good = ('Elf file type is DYN (Position-Independent Executable file)\n'
            '  LOAD           0x0 0x0 0x0 0x1 0x1 R E 0x1000\n  LOAD           0x0 0x0 0x0 0x1 0x1 RW  0x1000\n'
            '  GNU_STACK      0x0 0x0 0x0 0x0 0x0 RW  0x10\n  GNU_RELRO      0x0 0x0 0x0 0x1 0x1 R   0x1\n'
            ' 0x1e (FLAGS)              BIND_NOW\n 0x6ffffffb (FLAGS_1)            Flags: NOW PIE\n')
    t.clean('self-test: a good one', binary_complaints(good))
    for name, text, about in (
            ('a fixed address', good.replace(' PIE', ''), 'position'),
            ('another type', good.replace('DYN', 'EXEC'), 'position'),
            ('no RELRO', good.replace('GNU_RELRO', 'NOTE'), 'RELRO'),
            ('late binding', good.replace('BIND_NOW', '').replace('NOW', ''), 'bind'),
            ('an executable stack', good.replace('RW  0x10\n', 'RWE 0x10\n'), 'stack'),
            ('code that can be written', good.replace('R E', 'RWE'), 'written and run'),
            ('relocated code', good + ' 0x16 (TEXTREL) 0x0\n', 'changes its code'),
            ('a path', good + ' 0x1d (RUNPATH) Library runpath: [/tmp]\n', 'path')):
        t.bites(name, binary_complaints(text), about)
    t.bites('an object without marks', mark_complaints('File: a.o\n x86 feature: IBT, SHSTK\nFile: b.o\n'), 'b.o')
    t.bites('a file without the flag', command_complaints(
        [{'file': '../daemon/a.c', 'command': 'cc -x'}, {'file': '../tests/unit/b.c', 'command': 'cc'}], '-y'), 'a.c')


def readelf(*arguments):
    return subprocess.run(['readelf', *arguments], check=True, capture_output=True, text=True).stdout


def compiler_has_marks(commands):
    return any('-fcf-protection=full' in entry['command'] or '-mbranch-protection' in entry['command']
               for entry in commands)


def main(build):
    t, build = tap.Tap(), pathlib.Path(build)
    self_test(t)
    present = [name for name in BINARIES if (build / name).exists()]
    t.point({'launcher/viaduct', 'daemon/viaductd', LAZY} <= set(present), 'the binaries are there')
    for name in present:
        t.clean(name, binary_complaints(readelf('-lWd', build / name), name == LAZY, name == LAZY))
    with open(build / 'compile_commands.json', encoding='utf-8') as file:
        commands = json.load(file)
    t.clean('the stack protector', command_complaints(commands, '-fstack-protector-strong'))
    if any('-D_FORTIFY_SOURCE=' in entry['command'] for entry in commands):  # not in a build for debugging
        for name in FORTIFIED:
            t.point('_chk@' in readelf('-W', '--dyn-syms', build / name), f'{name} has fortified calls')
    if compiler_has_marks(commands):
        objects = [path for folder in tap.CODE for path in (build / folder).glob('**/*.c.o')]
        t.point(len(objects) > 50, 'the objects are there')
        t.clean('control-flow marks', mark_complaints(readelf('-nW', *objects)))
    return t.end()


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
