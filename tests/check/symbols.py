#!/usr/bin/env python3
"""symbols.py BUILD MAP: what the binaries of a build directory export and borrow.

libviaduct.so exports exactly what its version script lists. The objects of proto/ borrow only
from an allow-list of functions on memory, which proves that there is no I/O and no allocation.
The objects behind intercepted calls borrow neither malloc nor stdio: such calls come in signal
handlers too.
"""
import pathlib
import re
import subprocess
import sys

import tap

# Functions on memory, and what compilers put in (stack protector, fortified twins, checks).
PURE = re.compile(r'mem(cpy|move|set|cmp|chr|rchr|mem)|str(len|nlen|chr|rchr|cmp|ncmp|spn|cspn|pbrk)|'
                  r'inet_(pton|ntop)|explicit_bzero|__explicit_bzero_chk|'
                  r'__(mem|str)\w+_chk|__stack_chk_fail|__errno_location|__assert_fail|'
                  r'_GLOBAL_OFFSET_TABLE_|bcmp')
HEAVY = re.compile(r'malloc|calloc|realloc|reallocarray|free|strn?dup|v?asprintf|'
                   r'fopen(64)?|fdopen|freopen|fclose|fread|fwrite|fputs|fputc|puts|putchar|'
                   r'getline|fgets|popen|_*v?f?printf(_chk)?|std(in|out|err)|syslog|'
                   r'setlocale|dlclose')

# Not behind calls that a signal handler may make: name lookups, whose results libc frees, and what
# makes a session at start, or reads it at the end.
MAY_ALLOCATE = {'audit_read', 'getaddrinfo', 'getaddrinfo_a', 'hostent', 'hosts', 'lookup', 'plan',
                'session_make', 'standalone'}
OBJECT = re.compile(r'(\w+)\.c\.o:')


def listed(version_script):
    """The names under global: in a version script."""
    plain = re.sub(r'/\*.*?\*/|#[^\n]*', '', version_script, flags=re.S)
    part = re.search(r'global\s*:(.*?)(local\s*:|\})', plain, re.S)
    return set(re.findall(r'[\w*?.]+', part[1])) if part else set()


def bare(symbol):
    return symbol.split('@')[0]


def named(nm):
    """Name by name of `nm` output: (type, name)."""
    for line in nm.splitlines():
        words = line.split()
        if len(words) >= 2 and len(words[-2]) == 1:
            yield words[-2], bare(words[-1])


def exported(nm):
    """Functions and data; the version's own node is absolute (A)."""
    return {name for kind, name in named(nm) if kind not in 'UuwvA'}


def borrowed(nm):
    pairs = list(named(nm))
    own = {name for kind, name in pairs if kind not in 'Uwv'}
    return {name for kind, name in pairs if kind == 'U'} - own


def export_complaints(nm, version_script):
    have, want = exported(nm), listed(version_script)
    return ([f'{name} is exported, and not in the map' for name in sorted(have - want)] +
            [f'{name} is in the map, and not exported' for name in sorted(want - have)])


def purity_complaints(nm):
    return [f'proto/ borrows {name}' for name in sorted(borrowed(nm)) if not PURE.fullmatch(name)]


def heavy_complaints(nm):
    """Of `nm -A` over objects and archives of objects."""
    found = set()
    for line in nm.splitlines():
        module, words = OBJECT.search(line), line.split()
        if module and words[-2] == 'U' and HEAVY.fullmatch(bare(words[-1])):
            found.add((module[1], bare(words[-1])))
    return [f'{module}.c borrows {name}' for module, name in sorted(found)
            if module not in MAY_ALLOCATE]


def self_test(t):
    script = 'X { global: connect; send; local: *; };'
    t.bites('an export too many', export_complaints('0 T connect\n0 T send\n0 T helper', script),
            'helper is exported')
    t.bites('an export missing', export_complaints('0 T connect', script), 'send is in the map')
    t.bites('I/O in proto', purity_complaints('0 T a\n U memcpy\n U write\n U a'), 'write')
    t.bites('allocation in proto', purity_complaints(' U malloc'), 'malloc')
    t.bites('stdio in the library', heavy_complaints('p/drive.c.o:  U fprintf\np/drive.c.o: U send'),
            'drive.c borrows fprintf')
    t.bites('fortified stdio', heavy_complaints('a.a:b.p/say.c.o: U __fprintf_chk'), 'say.c')
    t.clean('self-test: a lookup may', heavy_complaints('x.p/hosts.c.o: U malloc'))
    t.clean('self-test: the same names', export_complaints('0 T connect@@X\n0 W send', script))


def nm(*arguments):
    return subprocess.run(['nm', *arguments], check=True, capture_output=True, text=True).stdout


def main(build, version_script):
    t, build = tap.Tap(), pathlib.Path(build)
    self_test(t)
    dynamic = nm('-D', build / 'preload/libviaduct.so')
    with open(version_script, encoding='utf-8') as f:
        script = f.read()
    t.point('connect' in listed(script), 'the map was read')
    t.clean('libviaduct.so exports what the map lists', export_complaints(dynamic, script))
    objects = nm(build / 'proto/libproto.a')
    t.point('vd_endpoint_read' in exported(objects), 'the objects of proto/ were read')
    t.clean('proto/ does no I/O and allocates nothing', purity_complaints(objects))
    objects = nm('-A', build / 'client/libclient.a',
                 *sorted((build / 'preload/libviaduct.so.p').glob('*.o')))
    t.point({'drive', 'connect'} <= set(OBJECT.findall(objects)),
            'the objects of client/ and preload/ were read')
    t.clean('calls that signal handlers make use neither malloc nor stdio',
            heavy_complaints(objects))
    return t.end()


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
