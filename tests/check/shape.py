#!/usr/bin/env python3
"""shape.py ROOT: no function over 60 lines, no file over 600."""
import statistics
import sys

import tap

FUNCTION_MAX = 60
FILE_MAX = 600


def functions(text):
    """(first line, lines) of each body between braces in the first column."""
    start = 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith('{'):
            start = number
        elif line.startswith('}') and start:
            yield start, number - start
            start = 0


def long_functions(sources):
    return [f'{path}:{line}: a function of {length} lines, more than {FUNCTION_MAX}'
            for path, text in sources.items() if path.endswith('.c')
            for line, length in functions(text) if length > FUNCTION_MAX]


def long_files(sources):
    return [f'{path}: {len(text.splitlines())} lines, more than {FILE_MAX}'
            for path, text in sources.items() if len(text.splitlines()) > FILE_MAX]


def self_test(t):
    def body(lines):
        return {'a.c': 'int f(void)\n{\n' + '    x();\n' * lines + '}\n'}
    t.bites('a long function', long_functions(body(FUNCTION_MAX)), 'a.c:2: a function of 61')
    t.clean('self-test: a function that just fits', long_functions(body(FUNCTION_MAX - 1)))
    t.bites('a long file', long_files({'a.py': 'x\n' * (FILE_MAX + 1)}), '601 lines')
    t.clean('self-test: a file that just fits', long_files({'a.py': 'x\n' * FILE_MAX}))


def main(root):
    t = tap.Tap()
    self_test(t)
    sources = tap.files(root, tap.CODE + ('tests', 'scripts'), ('.c', '.h', '.py', '.sh'))
    lengths = sorted(length for path, text in sources.items()
                     if path.split('/')[0] in tap.CODE for _, length in functions(text))
    t.point(len(lengths) > 50, f'{len(lengths)} functions were found')
    t.clean(f'no function over {FUNCTION_MAX} lines', long_functions(sources))
    t.clean(f'no file over {FILE_MAX} lines', long_files(sources))
    print(f'# lines of a function: median {statistics.median(lengths or [0])}, '
          f'p95 {(lengths or [0])[int(len(lengths) * 0.95)]}')
    return t.end()


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
