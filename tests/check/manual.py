#!/usr/bin/env python3
"""manual.py ROOT VIADUCT VIADUCTD: the manuals say what the programs do, no more and no less.

Every option that a program reads is in its -h, which is one screen; every option that -h prints is
in its manual and the other way round; every keyword
that conf/ reads is in the configuration's manual and the other way round; the examples of
configuration are read without complaint; mandoc finds no fault.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

import tap

SCREEN = 24, 80
HELP = re.compile(r'^\s*(-[\w?](?:, --[\w-]+)?|--[\w-]+)')
# "-q, --quiet", "-v, -vv": everything that begins with a dash before the description.
OPTION = re.compile(r'(?<![\w-])(--?[A-Za-z][\w-]*)')
KEYWORD = re.compile(r'VD_CONF_(?:WORDS?|TITLED|PLAIN)\(\s*"([\w-]+)"')


def options_of_help(text):
    """Every option of -h: the words of a line, set apart by two blanks, that begin with a dash."""
    found = set()
    for line in text.splitlines():
        for words in re.split(r'\s{2,}', line.strip()) if HELP.match(line) else ():
            found |= set(OPTION.findall(words)) if words.startswith('-') else set()
    return found


def options_of_source(text):
    """Those that a program reads: `{'x', "proxy", ...` or `{"proxy", required_argument, ...`."""
    return {f'--{name}' for name in
            re.findall(r'^\s*\{(?:\'.\'|0), "([\w-]+)",', text, re.M) +
            re.findall(r'\{"([\w-]+)", (?:no|optional|required)_argument', text)}


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
    t.point(options_of_help('  -q, --quiet  --no  words, -x\n') == {'-q', '--quiet', '--no'},
            'self-test: two options on a line')
    t.point(options_of_source('  {\'x\', "a", NULL},\n  {0, "b-c", X},\n{"d", no_argument, 0}') ==
            {'--a', '--b-c', '--d'}, 'self-test: options of a source')
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


def check_program(t, root, path, page, source):
    docs = pathlib.Path(root) / 'docs'
    run = subprocess.run([path, '-h'], text=True, capture_output=True)
    have = options_of_help(run.stdout)
    reads = options_of_source((pathlib.Path(root) / source).read_text())
    t.point(run.returncode == 0 and len(have) > 5, f'{page}: -h prints {len(have)} options')
    t.clean(f'{page}: the options of {source}',
            differences(reads, {word for word in have if word[:2] == '--'}, source, '-h'))
    lines = run.stdout.splitlines()
    t.point(len(lines) <= SCREEN[0] and max(map(len, lines)) <= SCREEN[1],
            f'{page}: -h is one screen', [f'{len(lines)} lines, {max(map(len, lines))} columns'])
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
    check_program(t, root, viaduct, 'viaduct.1', 'launcher/options.c')
    check_program(t, root, viaductd, 'viaductd.8', 'daemon/options.c')
    check_keywords(t, root, 'client', 'viaduct.conf.5')
    check_keywords(t, root, 'daemon', 'viaductd.conf.5')
    check_example(t, docs / 'viaduct.conf.5', viaduct, '-f', 'FILE', '--print-config')
    check_example(t, docs / 'viaductd.conf.5', viaductd, '-f', 'FILE', '--check-config')
    for page in sorted(docs.glob('*.[1-8]')):
        t.clean(f'{page.name}: mandoc finds no fault', mandoc_complaints(page.read_text()))
    return t.end()


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
