#!/usr/bin/env python3
"""Within a sandbox or container that forbids what a supervisor needs: a program that cannot do without one is
not started, and the line says what is missing; nothing is ever sent past the hop."""

import errno
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import servers, supervised, tap, world
from lib.servers import chain
from lib.world import FAR, ORIGIN, PYTHON

NAME = "v4.origin.test"
OWN = 125
# By machine: the numbers of the calls that are forbidden here.
NUMBERS = {"x86_64": {"seccomp": 317, "process_vm_readv": 310, "unshare": 272},
           "aarch64": {"seccomp": 277, "process_vm_readv": 270, "unshare": 97}}[os.uname().machine]
NUMBERS |= {"pidfd_open": 434, "pidfd_getfd": 438}

# sandbox NUMBER ERRNO COMMAND...: runs it under a filter in which this call fails; NUMBER -1: under one that has
# a supervisor of its own, who lets everything pass.
SANDBOX = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
number, error = int(sys.argv[1]), int(sys.argv[2])
rows = [(0x20, 0, 0, 0), (0x15, 0, 1, max(number, 0)), (0x06, 0, 0, 0x50000 | error), (0x06, 0, 0, 0x7fff0000)]
if number < 0:
    rows = rows[-1:]
text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rows), ctypes.addressof(text)))
fd = -1 if libc.prctl(38, 1, 0, 0, 0) else libc.syscall({seccomp}, 1, 8 if number < 0 else 0, program)
if fd < 0:
    sys.exit("no filter: " + os.strerror(ctypes.get_errno()))
if number < 0:
    os.set_inheritable(fd, True)
os.execv(sys.argv[3], sys.argv[3:])
""".replace("{seccomp}", str(NUMBERS["seccomp"]))


def cases(w):
    servers.Nginx(w)
    hop = servers.microsocks(w)
    options = chain(hop.url(first=True))
    programs = supervised.Programs(w)
    static, dynamic, musl = programs["static"], programs["dynamic"], programs["musl-static"]
    script = w.file("sandbox.py", SANDBOX)

    def within(call, error, argv, more=()):
        """Runs it through viaduct, all within a sandbox in which `call` fails."""
        w.forget()
        number = -1 if call is None else NUMBERS[call]
        return w.run("app", [PYTHON, script, str(number), str(error), w.viaduct, *options, *more, "--", *argv], timeout=15)

    def works():
        """What forbids nothing that is needed forbids nothing."""
        got = within("unshare", errno.EPERM, [static, ORIGIN, "80"])
        tap.same((got.code, got.err), (0, b""))
        tap.same(supervised.told(got, FAR, ORIGIN), [(FAR, ORIGIN)])
        w.quiet(hop.at(first=True))

    def not_started(call, error, words):
        got = within(call, error, [static, ORIGIN, "80"])
        tap.same((got.code, got.out), (OWN, b""), "not started")
        tap.same(got.err.decode().count("\n"), 1, f"one line: {got.err}")
        tap.holds(got.err.decode().startswith(f"viaduct: this program needs {words}"), f"{got.err}, want {words}")
        w.quiet()

    def by_another():
        """Programs that are started by one that needs none."""
        got = within("pidfd_getfd", errno.EPERM, ["sh", "-c", f"{static} {ORIGIN} 80; echo $?"])
        tap.holds(got.out != b"0\n" and got.out.count(b"\n") == 1, got)
        tap.holds(b"in a container, allow it: --cap-add SYS_PTRACE" in got.err, got.err)
        w.quiet()

    def library_stays(call, error, needs):
        """Who loads the library needs no supervisor, and --audit says what it does not see, and why."""
        got = within(call, error, [dynamic, ORIGIN, "80"], ["--audit"])
        tap.same(got.code, 0, got.err)
        tap.same(supervised.told(got, FAR, ORIGIN), [(FAR, ORIGIN)])
        tap.holds("viaduct: audit: hooks only: what was called through the C library was seen, raw system calls were not\n"
                  f"viaduct: audit: to see those the command needs {needs}" in got.err.decode(), got.err)
        w.quiet(hop.at(first=True))
        got = within(call, error, [dynamic, ORIGIN, "80"], ["--audit", "--log-format", "json"])
        report = next(line for line in map(json.loads, got.err.splitlines()) if line["message"] == "audit")
        tap.same(report["observer"], "hooks only")
        tap.holds(report["observer_needs"].startswith(needs), report)
        w.quiet(hop.at(first=True))

    def no_room():
        """Where nobody may make a network of his own, names are answered on loopback to who connects his socket, and
        refused to others; datagrams are refused."""
        got = within("unshare", errno.EPERM, [static, NAME, "80"])
        tap.same((got.code, got.err), (0, b""))
        tap.same(supervised.told(got, FAR, ORIGIN), [(FAR, ORIGIN)])
        w.quiet(hop.at(first=True))
        got = within("unshare", errno.EPERM, [musl, NAME, "80"])
        tap.holds(got.code == 1 and b"peer" not in got.out, got)
        tap.holds(b"a question for names is refused: this system lets nobody make a network namespace" in got.err, got.err)
        w.quiet()

    yield "a sandbox that is not in the way", works
    yield "a supervisor of somebody else", lambda: not_started(None, 0, "a supervisor (seccomp user notification), and has one already")
    yield "seccomp is not there", lambda: not_started("seccomp", errno.ENOSYS, "seccomp user notification (Linux 5.9 or newer)")
    yield "seccomp is forbidden", lambda: not_started("seccomp", errno.EPERM, "a seccomp filter, and this system forbids it")
    for call in ("pidfd_open", "pidfd_getfd", "process_vm_readv"):
        yield f"{call}() is forbidden", lambda c=call: not_started(
            c, errno.EPERM, f"a supervisor, which this system does not let look into it ({c}: Operation not permitted)")
    yield "a program that another one starts", by_another
    yield "--audit, a supervisor of somebody else", lambda: library_stays(
        None, 0, "a supervisor (seccomp user notification), and has one already")
    yield "--audit without seccomp()", lambda: library_stays("seccomp", errno.EPERM, "a seccomp filter, and this system forbids it")
    yield "--audit without pidfd_getfd()", lambda: library_stays(
        "pidfd_getfd", errno.EPERM, "a supervisor, which this system does not let look into it (pidfd_getfd: Operation not permitted)")
    yield "no network namespaces", no_room


if __name__ == "__main__":
    world.main(cases, ("cc", "musl-gcc", "nginx", "microsocks", PYTHON))
