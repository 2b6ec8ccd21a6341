#!/usr/bin/env python3
"""viaductd when system calls fail at its start and at a reload: each call of any of its processes fails in
turn. It ends with a line that says why, or it serves, at the latest after another try; a reload succeeds,
or says why not and leaves everything as it was. Nothing hangs, and no process but a worker dies of it."""

import concurrent.futures
import errno
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import daemon, hostile, tap, world
from lib.daemon import HOME, Daemon
from lib.faults import Faults
from lib.tls import Authority
from lib.visit import SOCKS5, dial
from lib.world import wait_until

HERE = "127.0.0.1"
LOGIN = "alice", "s3cret"
AT_ONCE = 4
# Not memory: what reads the configuration files (libconfuse) does not live through its lack.
ERRORS = {
    "accept4": errno.EMFILE, "bind": errno.EADDRNOTAVAIL, "close": errno.EINTR, "connect": errno.ENOMEM,
    "epoll_create1": errno.EMFILE, "epoll_ctl": errno.ENOMEM, "epoll_wait": errno.EINTR, "eventfd": errno.EMFILE,
    "fork": errno.EAGAIN, "getsockname": errno.ENOBUFS, "getsockopt": errno.ENOBUFS, "listen": errno.EADDRINUSE,
    "open": errno.EMFILE, "open64": errno.EMFILE, "pipe2": errno.EMFILE, "read": errno.ENOMEM,
    "recv": errno.ENOMEM, "send": errno.ENOBUFS, "setsockopt": errno.ENOMEM, "signalfd": errno.EMFILE,
    "socket": errno.EMFILE, "socketpair": errno.EMFILE, "timerfd_create": errno.EMFILE}


def echo(peer):
    peer.sock.settimeout(None)
    while data := peer.sock.recv(65536):
        peer.say(data)


def is_served(d, at, target):
    """Whether a tunnel for somebody with a login stands."""
    try:
        with d.visit(SOCKS5, target, at=at, login=LOGIN) as visit:
            if not visit.ok:
                return False
            visit.sock.sendall(b"ping")
            return visit.read(4) == b"ping"
    except OSError:
        return False


def is_shown(at):
    """Whether the status page is."""
    try:
        with dial(at, HOME) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            return sock.recv(12) == b"HTTP/1.1 200"
    except OSError:
        return False


class Plan:
    """A configuration, and how to see that it serves."""

    def __init__(self, w, name, target, text):
        self.w, self.name, self.target, self.text = w, name, target, text

    def file(self, at, more):
        """The configuration that listens at `at`, and on a port more."""
        return self.text.format(at=f"{HERE}:{at[1]}", more=f"{HERE}:{more}", path=f"{self.w.dir}/{at[1]}.socket")

    def start(self, faults):
        """(viaductd, where it listens, where its page is, the port more)"""
        at, page, more = (HERE, self.w.port()), (HERE, self.w.port()), self.w.port()
        d = Daemon(self.w, "-u", ":".join(LOGIN), "--admin", f"{HERE}:{page[1]}", conf=self.file(at, more), listens=0, wait=False,
                   words=faults.words())
        return d, at, page, more

    def serves(self, d, at, page, seconds=8.0):
        wait_until(lambda: not d.running() or is_served(d, at, self.target), f"{self.name}: a tunnel\n{d.log()}", seconds)
        wait_until(lambda: not d.running() or is_shown(page), f"{self.name}: the status page\n{d.log()}", seconds)


def end(d):
    d.w.servers.remove(d)
    if d.running():
        d.signal(signal.SIGQUIT)
        d.end()
    os.unlink(d.path)


def begin(plan, faults):
    """Started with the orders that stand; how it ended, or None when it serves."""
    d, at, page, _ = plan.start(faults)
    try:
        plan.serves(d, at, page)
        faults.arm(False)
        if d.running():
            return None
        return d.proc.returncode, d.log()
    finally:
        end(d)


def orders(seen):
    return [(call, ERRORS[call], place) for call, made in sorted(seen.items()) if call in ERRORS for place in range(made)]


def starting(w, plan):
    def one(order):
        """What went wrong with this one; whether it failed at all; whether it serves."""
        call, error, skip = order
        what = f"{call} number {skip + 1} with {errno.errorcode[error]}"
        faults = Faults(w, f"faults.{w.port()}")
        faults.order(call, error, skip)
        faults.arm()
        try:
            ended = begin(plan, faults)
        except tap.Failed as late:
            return f"{what}: {late}", True, False
        fired = faults.fired(call) > 0
        if ended is None:
            return None, fired, True
        status, log = ended
        good = status == 1 and any(line.startswith("viaductd: ") for line in log.splitlines()) and fired
        return None if good else f"{what}: ended with {status}: {log}", fired, False

    faults = Faults(w, f"faults.{w.port()}")
    faults.arm()
    tap.same(begin(plan, faults), None, "without a fault")
    todo = orders(faults.seen())
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        came = list(pool.map(one, todo))
    print(f"# {sum(fired for _, fired, _ in came)} faults, served after {sum(f and serves for _, f, serves in came)}")
    tap.same([wrong for wrong, _, _ in came if wrong], [], "what went wrong")
    tap.holds(sum(fired for _, fired, _ in came) > len(todo) / 2, "most calls were made to fail")


def reloading(w, plan):
    """Each time another port takes the place of one."""
    def reload(d, at, more):
        daemon.rewrite(d, plan.file(at, more))
        before = len(d.log())
        d.signal(signal.SIGHUP)
        said = wait_until(lambda: (new := d.log()[before:]) and ("reloaded\n" in new or "everything stays" in new) and new, "the reload")
        return "reloaded\n" in said, said

    def settled(d, count):
        wait_until(lambda: len(d.workers()) == count, f"{count} processes: {d.workers()}")

    faults = Faults(w, f"faults.{w.port()}")
    d, at, page, now = plan.start(faults)
    plan.serves(d, at, page)
    processes = len(d.workers())
    for learns in (False, True):
        faults.arm(learns, d.pid)
        now = w.port()
        tap.same(reload(d, at, now)[0], True, "without a fault")
        settled(d, processes)
    fds, came = daemon.descriptors(d.pid), {True: 0, False: 0}
    for call, error, skip in orders(faults.seen()):
        what, more = f"{call} number {skip + 1} with {errno.errorcode[error]}", w.port()
        faults.reset()
        faults.order(call, error, skip)
        faults.arm(pid=d.pid)
        good, said = reload(d, at, more)
        plan.serves(d, at, page)
        fired = faults.fired(call)
        faults.reset()
        tap.holds(d.running(), f"{what}: {d.log()}")
        tap.holds(good or fired, f"{what}: it failed by itself: {said}")
        tap.holds(good or said.count("viaductd: ") > 1, f"{what}: no reason: {said}")
        settled(d, processes)
        tap.same([is_served(d, (HERE, port), plan.target) for port in (now, more)], [not good, good], f"{what}: the old port, the new one")
        now = more if good else now
        tap.holds(daemon.descriptors(d.pid) <= fds, f"{what}: {daemon.descriptors(d.pid)} descriptors after {fds}")
        if fired:
            came[good] += 1
    print(f"# {came[True] + came[False]} faults, reloaded in spite of {came[True]}")
    tap.holds(came[True] and came[False], f"faults of both kinds: {came}")
    tap.same(d.stop(), 0)


def cases(w):
    target = HERE, hostile.Scripted(HOME, HERE, w.port(), echo).port
    ca = Authority(w)
    cert, key = ca.sign(HERE)
    head = 'listen main {{ url = "mixed://{at}" }}\nlisten more {{ url = "mixed://{more}" }}\n'
    plans = [
        Plan(w, "sockets", target, head + 'listen u {{ url = "mixed://unix:{path}" }}\n'
             f'listen f {{{{ url = "forward://127.0.0.1:0" targets = {{{{"{HERE}:{target[1]}"}}}} check = 5 }}}}\n'),
        Plan(w, "TLS and the system's resolver", target, head + 'resolver = "system"\n'
             f'listen t {{{{ url = "https://127.0.0.1:0" cert = "{cert}" key = "{key}" }}}}\n'),
    ]
    for plan in plans:
        yield f"each call fails in turn at the start: {plan.name}", lambda p=plan: starting(w, p)
        yield f"each call fails in turn at a reload: {plan.name}", lambda p=plan: reloading(w, p)


if __name__ == "__main__":
    world.main(cases, ("ip",))
