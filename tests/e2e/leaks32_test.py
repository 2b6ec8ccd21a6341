#!/usr/bin/env python3
"""The leak table, played by a 32-bit program: the same rows, and those of what only 32-bit programs
can call."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from leaks_test import cases_of
from lib import world
from lib.world import PYTHON


def cases(w):
    told = subprocess.run(["nm", "-D", "--defined-only", f"{w.build}/preload/lib32/libviaduct.so"], check=True,
                          capture_output=True, text=True).stdout
    hooks = {line.split()[2].split("@")[0] for line in told.splitlines()}
    yield from cases_of(w, f"{w.build}/tests/e2e/leaks/lib32/leak_probe", hooks)


if __name__ == "__main__":
    world.main(cases, ("microsocks", "nm", PYTHON))
