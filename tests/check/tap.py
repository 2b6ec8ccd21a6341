"""tap: what the lints of this folder share: files of the tree, and points in TAP.

A lint is a function that gives its complaints as a list of text; a self-test feeds it something
wrong and must get a complaint, so that a lint that sees nothing cannot pass.
"""
import os
import pathlib
import re

CODE = ('proto', 'conf', 'client', 'launcher', 'preload', 'daemon')
TREE = CODE + ('tests', 'scripts', 'docs', '.ci')


class Tap:
    def __init__(self):
        self.count = 0
        self.bad = 0

    def point(self, ok, name, complaints=()):
        self.count += 1
        self.bad += not ok
        print(f"{'ok' if ok else 'not ok'} {self.count} - {name}", flush=True)
        for text in [] if ok else complaints:
            for line in text.splitlines():
                print(f'# {line}', flush=True)

    def clean(self, name, complaints):
        """A point that fails when there are complaints."""
        self.point(not complaints, name, complaints)

    def bites(self, name, complaints, about):
        """A self-test: something wrong must draw one complaint, and about the right thing."""
        ok = len(complaints) == 1 and about in complaints[0]
        self.point(ok, f'self-test: {name}', complaints)

    def end(self):
        print(f'1..{self.count}', flush=True)
        return 1 if self.bad else 0


def files(root, folders, suffixes):
    """{path from the top: text} of the files below the folders with one of the suffixes."""
    found = {}
    for folder in folders:
        for where, below, names in os.walk(pathlib.Path(root) / folder):
            below[:] = [name for name in below if name != '__pycache__']
            for name in names:
                if name.endswith(suffixes):
                    path = pathlib.Path(where) / name
                    found[str(path.relative_to(root))] = path.read_text(errors='replace')
    return dict(sorted(found.items()))


def without_comments(text):
    """C text with comments and the contents of literals blanked, line numbers kept."""
    def blank(match):
        word = match.group()
        return word if word[0] in '"\'' else re.sub(r'[^\n]', ' ', word)
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text,
                  flags=re.S)
