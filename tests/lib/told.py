"""What a program is told when its connection fails: the errno, and viaduct's one line."""

import errno
import re

from . import tap
from .world import PYTHON

_PROBE = """
import errno, os, select, socket, sys, time
how, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
s = socket.socket(*info[:2])
s.setblocking(how == "blocking")
began = time.monotonic()
number = s.connect_ex(info[4])
if number == errno.EINPROGRESS:
    poll = select.poll()
    poll.register(s, select.POLLOUT)
    poll.poll()
    number = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
print(number, os.getpid(), time.monotonic() - began)
"""
BOTH_WAYS = ("blocking", "non-blocking")

# What stands behind a hop's name, as regular expressions.
CLOSED = "closed the connection during the handshake"
RESET = "reset the connection during the handshake"
NONSENSE = r"does not speak the protocol( \(it said \".+\"\))?"
TOO_LATE = "did not answer in time"
REFUSED = "says that the target refused the connection"
UNREACHABLE = "says that the target is unreachable"
NO_NETWORK = "says that the target's network is unreachable"
UNKNOWN = "says that the target's name is unknown"
VAGUE = "failed without giving a reason"


def shown(url):
    """A hop in a message, as a regular expression: never a password."""
    return re.escape(re.sub(r"^(\w+://[^:@/]+):[^@]*@", r"\1@", url))


def hop(position, count, url, words):
    return rf"hop {position} of {count} \({shown(url)}\) {words}"


def without_hint(line):
    """What to try stands behind what failed; tests/e2e/mistakes_test.py is about that."""
    return re.sub("; try .*", "", line)


def connect(w, options, host, port, how="blocking"):
    """(errno's name, seconds, the line without its beginning) of a failing connect(); exactly one
    line must have been said."""
    w.forget()
    got = w.via(options, [PYTHON, "-c", _PROBE, how, host, str(port)])
    tap.same(got.code, 0, "the probe's exit code")
    number, pid, seconds = got.out.decode().split()
    name = errno.errorcode.get(int(number), number).replace("ENOTSUP", "EOPNOTSUPP")  # the same number
    lines = got.err.decode().splitlines()
    tap.same(len(lines), 1, "lines on the standard error")
    beginning = f"viaduct: python3[{pid}]: {host}:{port}: "
    tap.holds(lines[0].startswith(beginning), f"the line begins with {beginning!r}: {lines[0]!r}")
    return name, float(seconds), without_hint(lines[0][len(beginning) :])


def expect(w, options, target, number, words, how="blocking", within=(0, 5)):
    """connect() to target (host, port) gives this errno (or one of "A|B") and this line, after
    so many seconds."""
    name, seconds, line = connect(w, options, *target, how)
    tap.holds(re.fullmatch(words, line), f"the line: {line!r}, want {words!r}")
    tap.holds(name in number.split("|"), f"errno: {name}, want {number}")
    tap.holds(within[0] <= seconds <= within[1], f"it took {seconds:.2f} s, want {within}")
