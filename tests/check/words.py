#!/usr/bin/env python3
"""words.py ROOT: words that do not belong in the tree: marks of unfinished work, and paths of
somebody's machine."""
import pathlib
import re
import sys

import tap

TOP = ('meson.build', 'meson_options.txt', 'README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md',
       'CHANGELOG.md', 'SECURITY.md', '.gitignore', '.clang-tidy', '.clang-format')
# Written so that this file does not find itself.
MARKS = re.compile(r'\b(TO' r'DO|FIX' r'ME|X' r'XX|HA' r'CK)\b')
PATHS = re.compile(r'(?<![\w.*~})-])/(wo' r'rk/|ho' r'me/\w|Us' r'ers/\w)')


def complaints(texts):
    found = []
    for path, text in texts.items():
        for number, line in enumerate(text.splitlines(), 1):
            for what, words in (('a mark', MARKS), ("a machine's path", PATHS)):
                match = words.search(line)
                if match:
                    found.append(f'{path}:{number}: {what}: {match[0]}')
    return found


def self_test(t):
    t.bites('a mark', complaints({'a.c': 'x\n/* TO' 'DO: later */'}), 'a.c:2: a mark')
    t.bites('a path', complaints({'a.c': '"/ho' 'me/me/x"'}), "a machine's path")
    t.clean('self-test: a template of mktemp', complaints({'a': 'mktemp /tmp/x.XX' 'XXXX'}))


def main(root):
    t = tap.Tap()
    self_test(t)
    # Pictures and seeds are no words.
    texts = {path: text for path, text in tap.files(root, tap.TREE, ('',)).items() if '\0' not in text}
    for name in TOP:
        path = pathlib.Path(root) / name
        if path.exists():
            texts[name] = path.read_text()
    t.point(len(texts) > 50, f'{len(texts)} files were read')
    t.clean('no marks, no paths of a machine', complaints(texts))
    return t.end()


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
