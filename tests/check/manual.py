#!/usr/bin/env python3
"""manual.py ROOT VIADUCT VIADUCTD: the manuals say what the programs do, no more and no less.

Every option that a program's -h prints is in its manual and the other way round; every keyword
that conf/ reads is in the configuration's manual and the other way round; the examples of
configuration are read without complaint; mandoc finds no fault.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

import tap

HELP = re.compile(r'^\s*(-[\w?](?:, --[\w-]+)?|--[\w-]+)')
# "-q, --quiet", "-v, -vv": everything that begins with a dash before the description.
OPTION = re.compile(r'(?<![\w-])(--?[A-Za-z][\w-]*)')
KEYWORD = re.compile(r'VD_CONF_(?:WORDS?|TITLED|PLAIN)\(\s*"([\w-]+)"')


def options_of_help(text):
    """Every option named at the beginning of a line of -h."""
    found = set()
    for line in text.splitlines():
        if HELP.match(line):
            head = re.split(r'\s{2,}', line.strip())[0]
            found |= set(OPTION.findall(head))
    return found


def options_of_manual(text):
    """Every option of the `.It Fl` lines: `Fl x , Fl Fl proxy Ar URL`."""
    found = set()
    for line in text.splitlines():
        if line.startswith('.It Fl '):
            found |= {'-' * len(m[1].split()) + m[2]
                      for m in re.finditer(r'((?:Fl )+)([\w-]+)', line)}
    return found


def keywords_of_manual(text):
    return set(re.findall(r'^\.(?:It|D1) Ic ([\w-]+)', text, re.M))


def differences(have, told, program, manual):
    return ([f'{word} of {program} is not in {manual}' for word in sorted(have - told)] +
            [f'{word} of {manual} is not in {program}' for word in sorted(told - have)])


def self_test(t):
    text = '  -q, --quiet         nothing\n  -v, -vv  more -x\n      --log FILE  where -z\nwords -n\n'
    t.point(options_of_help(text) == {'-q', '--quiet', '-v', '-vv', '--log'},
            'self-test: options of a help text', sorted(options_of_help(text)))
    manual = '.It Fl q , Fl Fl quiet\n.It Fl v , Fl vv\n.It Fl Fl log Ns = Ns Ar FILE\n.Fl n\n'
    t.point(options_of_manual(manual) == options_of_help(text), 'self-test: options of a manual',
            sorted(options_of_manual(manual)))
    t.bites('an option without manual', differences({'-q', '-x'}, {'-q'}, 'p', 'm'), '-x of p')
    t.bites('a manual without option', differences({'-q'}, {'-q', '-x'}, 'p', 'm'), '-x of m')
    t.point(keywords_of_manual('.D1 Ic a Ar b\n.It Ic c Ns = Ns Ar d\n.Ic e\n') == {'a', 'c'},
            'self-test: keywords of a manual')
    t.point(KEYWORD.findall('VD_CONF_WORD("a"), VD_CONF_TITLED("b", x), CFG_END()') == ['a', 'b'],
            'self-test: keywords of a table')
    t.point(bool(mandoc_complaints('.Dd x\n.Dt\n.Bogus\n')), 'self-test: a faulty manual')


def mandoc_complaints(text):
    run = subprocess.run(['mandoc', '-T', 'lint', '-W', 'warning'], input=text, text=True,
                         capture_output=True)
    return run.stdout.splitlines() + run.stderr.splitlines()


def check_program(t, docs, path, page):
    run = subprocess.run([path, '-h'], text=True, capture_output=True)
    have = options_of_help(run.stdout)
    t.point(run.returncode == 0 and len(have) > 5, f'{page}: -h prints {len(have)} options')
    t.clean(f'{page}: the options of -h',
            differences(have, options_of_manual((docs / page).read_text()), '-h', page))


def check_keywords(t, root, stem, page):
    """The tables of conf/STEM*.c, and those of conf/file*.c, which both files share."""
    have = {word for path, text in tap.files(root, ('conf',), ('.c',)).items()
            if path.startswith((f'conf/{stem}', 'conf/file')) for word in KEYWORD.findall(text)}
    told = keywords_of_manual((pathlib.Path(root) / 'docs' / page).read_text())
    t.point(len(have) > 5, f'{page}: {len(have)} keywords were found in conf/')
    t.clean(f'{page}: the keywords of conf/', differences(have, told, 'conf/', page))


def example_of(page):
    """The block under EXAMPLES, but for files that only an installed machine has."""
    block = re.search(r'^\.Sh EXAMPLES\n\.Bd [^\n]*\n(.*?)^\.Ed', page, re.M | re.S)
    return re.sub(r'^users = .*\n', '', block[1], flags=re.M) if block else ''


def reads(example, *command):
    """Whether a program reads the example; `FILE` in the command stands for it."""
    with tempfile.NamedTemporaryFile('w', suffix='.conf') as f:
        f.write(example)
        f.flush()
        run = subprocess.run([f.name if word == 'FILE' else word for word in command], text=True,
                             capture_output=True)
    return run.returncode == 0, [run.stderr]


def check_example(t, page, *command):
    example = example_of(page.read_text())
    t.point(example.count('\n') > 3, f'{page.name}: there is an example')
    t.point(not reads(example + 'no such thing', *command)[0], f'self-test: a broken example')
    good, said = reads(example, *command)
    t.point(good, f'{page.name}: the example is read', said)


def main(root, viaduct, viaductd):
    t, docs = tap.Tap(), pathlib.Path(root) / 'docs'
    self_test(t)
    check_program(t, docs, viaduct, 'viaduct.1')
    check_program(t, docs, viaductd, 'viaductd.8')
    check_keywords(t, root, 'client', 'viaduct.conf.5')
    check_keywords(t, root, 'daemon', 'viaductd.conf.5')
    check_example(t, docs / 'viaduct.conf.5', viaduct, '-f', 'FILE', '--print-config')
    check_example(t, docs / 'viaductd.conf.5', viaductd, '-f', 'FILE', '--check-config')
    for page in sorted(docs.glob('*.[1-8]')):
        t.clean(f'{page.name}: mandoc finds no fault', mandoc_complaints(page.read_text()))
    return t.end()


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
