"""TAP (testanything.org), and the checks that the cases use.

A case is a name and a function without arguments; it fails by raising. What it says with note()
is printed behind its line when it failed, nothing otherwise.
"""

import signal
import sys
import time
import traceback

CASE_SECONDS = 60

_notes = []


class Failed(Exception):
    """A check that did not hold."""


def note(text):
    _notes.append(str(text))


def fail(text):
    raise Failed(text)


def same(got, want, what="result"):
    if got != want:
        fail(f"{what}: got {short(got)}, want {short(want)}")


def holds(condition, what):
    if not condition:
        fail(what)


def short(value, limit=300):
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def _too_late(_signum, _frame):
    fail(f"the case took longer than {CASE_SECONDS} s")


def _explain(error):
    if isinstance(error, Failed):
        yield str(error)
        for frame in traceback.extract_tb(error.__traceback__):
            if frame.filename.endswith("_test.py"):
                yield f"at {frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}"
    else:
        yield from "".join(traceback.format_exception(error)).splitlines()
    yield from _notes[-3:]


def _play(number, name, case):
    _notes.clear()
    began = time.monotonic()
    signal.signal(signal.SIGALRM, _too_late)
    signal.alarm(CASE_SECONDS)
    try:
        case()
        error = None
    except Exception as caught:  # pylint: disable=broad-except
        error = caught
    finally:
        signal.alarm(0)
    took = time.monotonic() - began
    name = name.replace("#", "")
    print(f"{'not ok' if error else 'ok'} {number} - {name} ({took:.2f} s)")
    if error:
        for line in "\n".join(_explain(error)).splitlines():
            print(f"# {line}")
    sys.stdout.flush()
    return error is None


def run(cases, only=None):
    """Plays every (name, function); `only` picks those whose name holds it. The exit status."""
    number, bad = 0, 0
    try:
        for name, case in cases:
            if only is None or only in name:
                number += 1
                bad += not _play(number, name, case)
    except Exception:  # the preparation between two cases
        number += 1
        bad += 1
        print(f"not ok {number} - preparation of the next case")
        print("# " + traceback.format_exc().replace("\n", "\n# "))
    print(f"1..{number}")
    if number == 0:
        print("# no case was run")
    return 1 if bad or number == 0 else 0
