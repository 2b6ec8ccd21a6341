#!/usr/bin/env python3
"""calls.py LIBVIADUCT LIST [MORE]: everything that libc exports is hooked, or somebody said why not.

LIST (libc-symbols.txt) gives every symbol of libc.so.6 and libresolv.so.2 a class. Red are: a symbol
without a class or with two, one that libc does not have, one that is called hooked and is not
exported by libviaduct.so, and an export that is not called hooked. Of another libc than the list's
only the exports are checked.

MORE is for the library of 32-bit programs: what their libc has beside that, and does not have of it.
"""
import os
import platform
import re
import subprocess
import sys

import tap

VERSION, MACHINE = (2, 36), 'x86_64'
FOLDERS_32 = ('/lib32', '/lib/i386-linux-gnu')  # ldd does not tell without a loader for them
LIBRARIES = ('libc.so.6', 'libresolv.so.2')
CLASSES = ('hooked', 'harmless', 'not network', 'absent')
WITHOUT_REASON = ('hooked', 'absent')
HEAD = re.compile(r'\[([a-z ]+)(?:: (.+))?\]')


def classes(text):
    """({name: class}, complaints) of a list."""
    found, complaints, current = {}, [], None
    for number, line in enumerate(text.splitlines(), 1):
        head = HEAD.fullmatch(line)
        if line.startswith('#') or not line:
            continue
        if line.startswith('['):
            current = head and head[1]
            if current not in CLASSES or (current not in WITHOUT_REASON) != bool(head[2]):
                complaints.append(f'line {number}: {line}: no class with its reason')
            continue
        for name in line.split():
            if name in found:
                complaints.append(f'{name} stands in the list twice')
            found[name] = current
    return found, complaints


def joined(listed, more):
    """A list with what another libc has more, or less; and complaints."""
    absent = {name for name, kind in more.items() if kind == 'absent'}
    wrong = ([f'{name} is absent, but stands in no list' for name in sorted(absent - set(listed))] +
             [f'{name} stands in both lists' for name in sorted((set(more) & set(listed)) - absent)])
    both = {**listed, **more}
    return {name: kind for name, kind in both.items() if name not in absent}, wrong


def symbols(nm):
    """Names that `nm -D --defined-only` lists, without versions; nodes of versions (A) are none."""
    rows = (line.split() for line in nm.splitlines())
    return {row[-1].split('@')[0] for row in rows if len(row) >= 2 and row[-2] != 'A'}


def version(nm):
    """The newest GLIBC_ version, as a tuple."""
    found = re.findall(r' A GLIBC_(\d+)\.(\d+)', nm)
    return max((int(a), int(b)) for a, b in found) if found else (0, 0)


def libc_complaints(listed, have):
    return ([f'{name} of libc has no class' for name in sorted(have - set(listed))] +
            [f'{name} is listed, but libc does not have it' for name in sorted(set(listed) - have)])


def hook_complaints(listed, exported):
    hooked = {name for name, kind in listed.items() if kind == 'hooked'}
    return ([f'{name} is called hooked, but libviaduct.so does not export it'
             for name in sorted(hooked - exported)] +
            [f'{name} is exported by libviaduct.so, but not called hooked'
             for name in sorted(exported - hooked)])


def self_test(t):
    text = '# x\n[hooked]\na b\n[harmless: reads]\nc\n[not network: text]\nd\n'
    listed, wrong = classes(text)
    t.clean('self-test: a sound list', wrong)
    t.point(listed == {'a': 'hooked', 'b': 'hooked', 'c': 'harmless', 'd': 'not network'},
            'self-test: classes', [str(listed)])
    t.bites('a name twice', classes(text + 'a\n')[1], 'a stands in the list twice')
    t.bites('no reason', classes('[harmless]\na\n')[1], 'no class with its reason')
    t.bites('an unknown class', classes('[nice: x]\na\n')[1], 'no class with its reason')
    t.bites('a new function of libc', libc_complaints(listed, {*'abcde'}), 'e of libc has no class')
    t.bites('a stale entry', libc_complaints(listed, {*'abc'}), 'd is listed')
    t.bites('a hook that is forgotten', hook_complaints(listed, {'a'}), 'b is called hooked')
    t.bites('a hook that is not listed', hook_complaints(listed, {*'abc'}), 'c is exported')
    both, wrong = joined(listed, classes('[hooked]\ne\n[absent]\nd\n')[0])
    t.clean('self-test: two lists', wrong)
    t.point(both == {'a': 'hooked', 'b': 'hooked', 'c': 'harmless', 'e': 'hooked'}, 'self-test: joined', [str(both)])
    t.bites('absent, and unknown', joined(listed, {'z': 'absent'})[1], 'z is absent')
    t.bites('in both lists', joined(listed, {'c': 'hooked'})[1], 'c stands in both')
    t.point(symbols('0 T x@@GLIBC_2.2.5\n0 T x@V\n0 A V\n0 W y') == {'x', 'y'}, 'self-test: symbols')
    t.point(version(' A GLIBC_2.9\n0 A GLIBC_2.36\n') == (2, 36), 'self-test: the version')


def nm(path):
    return subprocess.run(['nm', '-D', '--defined-only', path], check=True, capture_output=True,
                          text=True).stdout


def libc_directory(library):
    """Where the loader finds libc."""
    with open(library, 'rb') as f:
        if f.read(5)[4] == 1:  # ELFCLASS32
            return next((folder for folder in FOLDERS_32 if os.path.exists(f'{folder}/libc.so.6')), None)
    told = subprocess.run(['ldd', library], check=True, capture_output=True, text=True).stdout
    path = re.search(r'libc\.so\.6 => (\S+)', told)
    return os.path.dirname(path[1]) if path else None


def check_libc(t, listed, folder):
    """The number of symbols there; None: another libc than that of the list."""
    tables = [nm(os.path.join(folder, name)) for name in LIBRARIES]
    if version(tables[0]) != VERSION or platform.machine() != MACHINE:
        print(f'# skipped: the list is of glibc {VERSION[0]}.{VERSION[1]} for {MACHINE}; here is '
              f'{version(tables[0])} for {platform.machine()}. Hooks are checked all the same.')
        return
    have = set().union(*map(symbols, tables))
    t.point(len(have) > 2300, f'{len(have)} symbols of libc were read')
    t.clean('every symbol of libc has a class', libc_complaints(listed, have))


def main(library, path, more=None):
    t = tap.Tap()
    self_test(t)
    with open(path, encoding='utf-8') as f:
        listed, wrong = classes(f.read())
    t.clean('the list is sound', wrong)
    t.clean('nothing is absent in it', [name for name, kind in listed.items() if kind == 'absent'])
    if more:
        with open(more, encoding='utf-8') as f:
            beside, wrong = classes(f.read())
        t.clean('the second list is sound', wrong)
        listed, wrong = joined(listed, beside)
        t.clean('the lists fit together', wrong)
    folder = libc_directory(library)
    if folder:
        check_libc(t, listed, folder)
    else:
        print('# skipped: ldd finds no libc.so.6')
    t.clean('libviaduct.so exports what is called hooked', hook_complaints(listed, symbols(nm(library))))
    return t.end()


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
