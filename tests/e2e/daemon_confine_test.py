#!/usr/bin/env python3
"""What a worker of viaductd has given up: seen from outside, and by one that was taken over."""

import errno
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import daemon, hostile, tap, world
from lib.daemon import HOME, Daemon
from lib.visit import HTTP, SOCKS5, WAYS
from lib.world import wait_until

HERE = "127.0.0.1"


def echo(peer):
    peer.sock.settimeout(None)
    while data := peer.sock.recv(65536):
        peer.say(data)


def status(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def cases(w):
    server = hostile.Scripted(HOME, HERE, w.port(), echo)
    target = HERE, server.port
    plain = daemon.is_sanitized(w)

    def seen():
        """Without a user: no new privileges, and a filter; its parent has neither."""
        d = Daemon(w)
        for pid in d.workers():
            want = ["1", "0" if plain else "2"]
            wait_until(lambda p=pid, v=want: [status(p)["NoNewPrivs"], status(p)["Seccomp"]] == v, f"{want}")
        tap.same(status(d.pid)["NoNewPrivs"], "0", "the parent")

    def user():
        """The user, its groups, no capability; and it serves, after a reload and a death too."""
        d = Daemon(w, conf=f'user = "nobody"\nlisten a {{ url = "{HERE}:81" }}\n', listens=1, workers=2)
        for _ in range(3):
            wait_until(lambda: all(status(pid)["Uid"].startswith("65534") for pid in d.workers()), "the user")
            for pid in d.workers():
                now = status(pid)
                tap.same({*now["Uid"].split()} | {*now["Gid"].split()} | {*now["Groups"].split()}, {"65534"}, "user and groups")
                tap.same({now["CapPrm"], now["CapEff"], now["CapAmb"]}, {"0" * 16}, "capabilities")
            for way in WAYS:
                with d.visit(way, target) as visit:
                    visit.sock.sendall(b"ping")
                    tap.same(visit.read(4), b"ping")
            before = d.workers()
            d.signal(1)
            wait_until(lambda b=before: len(d.workers()) == 2 and not set(d.workers()) & set(b), "new workers")
        os.kill(d.workers()[0], 9)
        wait_until(lambda: len(d.workers()) == 2, "a new one")
        tap.same(d.stop(), 0)

    def marked():
        d = Daemon(w, conf='user = "nobody"\nmark = 7\n')
        wait_until(lambda: {status(pid)["CapEff"] for pid in d.workers()} == {f"{1 << 12:016x}"}, "CAP_NET_ADMIN alone")
        tap.holds(d.visit(SOCKS5, target).ok, "and it can mark")

    def wrong():
        for text, words in (('user = "no such"\n', b"user `no such`: there is no such user\n"), ('user = ""\n', b"empty user")):
            for more in ((), ("--check-config",)):
                got = w.run(HOME, [w.viaductd, "-f", w.file("user.conf", text), *more], timeout=5)
                tap.holds(got.code == 1 and words in got.err, str(got))
        conf = w.file("user.conf", 'user = "root"\n')
        got = w.run(HOME, ["setpriv", "--reuid=65534", "--clear-groups", w.viaductd, "-f", conf, "-l", f"{HERE}:0"], timeout=5)
        tap.holds(got.code == 1 and b"only root may change its user" in got.err, str(got))

    def taken_over():
        """A worker that runs somebody else's code can read, and little more."""
        escape = f"{w.dir}/escape"
        d = Daemon(w, words=("env", f"LD_PRELOAD={w.build}/tests/e2e/confine_probe.so", f"ESCAPE={escape}"))
        with open("/etc/hosts", "rb") as file:
            before = file.read()
        tap.holds(d.visit(HTTP, target).ok, "it serves")
        got = dict(re.findall(r"^probe (\w+) (\d+)$", wait_until(lambda: "probe raw" in d.log() and d.log(), "the probe"), re.MULTILINE))
        forbidden = {str(errno.EACCES)}
        unknown = {str(errno.ENOSYS)}
        want = {"read": {"0"}, "make": forbidden, "write": forbidden, "remove": unknown, "mkdir": unknown, "execute": unknown,
                "trace": unknown, "unshare": unknown, "signal": unknown, "root": unknown}
        tap.same({name: got[name] for name in want if got[name] not in want[name]}, {}, "what went otherwise")
        with open("/etc/hosts", "rb") as file:
            tap.same(file.read(), before, "the file")
        tap.holds(not os.path.exists(escape) and d.running(), "nothing was made, and the parent lives")

    def helper():
        """The login helper is confined like its worker, and can still be replaced."""
        users = w.file("users", "a:" + os.popen("openssl passwd -6 b").read(), 0o644)
        d = Daemon(w, "--users", users, conf='user = "nobody"\n')
        worker = d.workers()[0]

        def child():
            with open(f"/proc/{worker}/task/{worker}/children", encoding="ascii") as file:
                return [int(pid) for pid in file.read().split()]
        first = wait_until(child, "the helper")[0]
        tap.same(status(first)["Uid"].split()[0], "65534")
        tap.holds(d.visit(SOCKS5, target, login=("a", "b")).ok, "right")
        os.kill(first, 9)
        tap.same(d.visit(SOCKS5, target, login=("a", "c")).code, 1, "wrong")
        tap.same(d.workers(), [worker], "the worker")

    yield "what can be seen", seen
    yield "a user", user
    yield "a user and a mark", marked
    yield "users that cannot be", wrong
    yield "the login helper", helper
    if not plain:
        yield "a worker that was taken over", taken_over


if __name__ == "__main__":
    world.main(cases, ("openssl", "setpriv"))
