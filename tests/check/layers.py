#!/usr/bin/env python3
"""layers.py ROOT [LIBRARY]: who may include whom; what libviaduct.so may need.

The arrows of ARCHITECTURE.md point down only; proto is pure, so it may include nothing that does
I/O; libconfuse belongs to conf/, c-ares to daemon/resolve*, OpenSSL to daemon/; the preloaded library needs libc only.
"""
import re
import subprocess
import sys

import tap

MAY_INCLUDE = {
    'proto': {'proto'},
    'conf': {'conf', 'proto'},
    'client': {'client', 'proto'},
    'launcher': {'launcher', 'conf', 'client', 'proto'},
    'preload': {'preload', 'client', 'proto'},
    'daemon': {'daemon', 'conf', 'proto'},
}
PURE = {'stdint.h', 'stddef.h', 'stdbool.h', 'string.h', 'assert.h', 'errno.h', 'limits.h',
        'arpa/inet.h'}
# Headers of libraries, and the beginnings of the paths that may include them.
OWNERS = {
    'confuse.h': 'conf/',
    'ares.h': 'daemon/resolve',
    'ares_dns.h': 'daemon/resolve',
    'ares_version.h': 'daemon/resolve',
    'openssl/': 'daemon/',
}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)
NEEDED = re.compile(r'\(NEEDED\).*\[(.+)\]')
LIBC = re.compile(r'libc\.so\.6|ld-linux.*\.so\.\d+')


def wrong_include(path, kind, header, known):
    folder = path.split('/')[0]
    if kind == '<':
        owner = OWNERS.get(header) or OWNERS.get(header.partition('/')[0] + '/')
        if owner and not path.startswith(owner):
            return f'<{header}> belongs to {owner}'
        if folder == 'proto' and header not in PURE:
            return f'<{header}> does not belong in proto/, which is pure'
        return None
    if header not in known:
        return f'"{header}" is no path from the top'
    target = header.split('/')[0]
    if target not in MAY_INCLUDE[folder]:
        return f'"{header}" points up or sideways: {folder}/ may include {sorted(MAY_INCLUDE[folder])}'
    return None


def includes(sources):
    complaints = []
    for path, text in sources.items():
        plain = tap.without_comments(text)
        for match in INCLUDE.finditer(plain):
            why = wrong_include(path, match[1], match[2], sources)
            if why:
                line = plain.count('\n', 0, match.start(2)) + 1
                complaints.append(f'{path}:{line}: {why}')
    return complaints


def needs(dynamic_section):
    return [f'libviaduct.so needs {name}' for name in NEEDED.findall(dynamic_section)
            if not LIBC.fullmatch(name)]


def self_test(t):
    cases = [
        ('an arrow up', 'proto/a.c', '#include "conf/b.h"', 'up or sideways'),
        ('an arrow sideways', 'conf/a.c', '#include "client/b.h"', 'up or sideways'),
        ('preload over conf', 'preload/a.c', '#include "conf/b.h"', 'up or sideways'),
        ('daemon over client', 'daemon/a.c', '#include "client/b.h"', 'up or sideways'),
        ('I/O in proto', 'proto/a.c', '/* x */ \n # include <stdio.h>', 'a.c:2: <stdio.h>'),
        ('sockets in proto', 'proto/a.h', '#include <sys/socket.h>', 'pure'),
        ('a relative path', 'conf/a.c', '#include "b.h"', 'no path from the top'),
        ('libconfuse outside conf', 'launcher/a.c', '#include <confuse.h>', 'belongs to conf/'),
        ('OpenSSL outside daemon', 'conf/a.c', '#include <openssl/ssl.h>', 'belongs to daemon/'),
        ('c-ares outside resolve', 'daemon/dial.c', '#include <ares.h>', 'daemon/resolve'),
    ]
    for name, path, text, about in cases:
        known = {'conf/b.h': '', 'client/b.h': '', path: text}
        t.bites(name, includes(known), about)
    t.bites('a library beside libc',
            needs(' 0x1 (NEEDED)  Shared library: [libcares.so.2]\n (NEEDED) x: [libc.so.6]'),
            'libcares')
    t.clean('self-test: a comment is no include', includes({'proto/a.c': '/*\n#include <x.h>\n*/'}))


def main(root, library=None):
    t = tap.Tap()
    self_test(t)
    sources = tap.files(root, tap.CODE, ('.c', '.h'))
    t.point(len(sources) > 20, f'{len(sources)} files of source were found')
    t.clean('includes point down only', includes(sources))
    if library:
        section = subprocess.run(['readelf', '-dW', library], check=True, capture_output=True,
                                 text=True).stdout
        t.point('NEEDED' in section, 'the dynamic section was read')
        t.clean('libviaduct.so needs libc only', needs(section))
    return t.end()


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
