#!/usr/bin/env python3
"""How long an association lasts: other makers' servers, the last word of a program, descriptors,
what is executed, what closes everything, which source address."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import servers, tap, world
from lib.datagrams import ECHO, Echo
from lib.servers import chain
from lib.world import APP, NEAR, NEAR6, ORIGIN, ORIGIN6, PYTHON, wait_until

HEAD = f"""
import os, resource, socket, subprocess, sys, threading, time
T4, T6 = ({ORIGIN!r}, {ECHO}), ({ORIGIN6!r}, {ECHO})
def udp(family=socket.AF_INET):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(5)
    return s
def echoes(s, to, data=b"hello"):
    s.sendto(data, to)
    got, source = s.recvfrom(70000)
    assert (got, source[:2]) == (data, to), (got, source)
def descriptors():
    return len(os.listdir("/proc/self/fd"))
"""


class Lives:
    def __init__(self, w, echo):
        self.w, self.echo = w, echo

    def run(self, options, text, more=(), code=0):
        self.w.forget()
        got = self.w.via([*options, *more], [PYTHON, "-c", HEAD + text], timeout=55)
        tap.same((got.code, got.err), (code, b""), "exit code and standard error")
        tap.same({what[1] for what in self.w.link.take()} - {NEAR, NEAR6}, set(), "on the link")
        return got

    def seen(self, data):
        """The ports from which the origin got these bytes."""
        return [sender[1] for sender, got in list(self.echo.seen) if got == data]


def makers(lives, dante, daemon):
    orders = {
        "dante": [dante],
        "dante, then viaductd": [dante, daemon],
        "viaductd, then dante": [daemon, dante],
        "dante, viaductd, dante": [dante, daemon, dante],
    }

    def through(hops):
        lives.run(
            chain(*[hop.url(first=i == 0) for i, hop in enumerate(hops)]),
            """
s = udp()
for size in (0, 1, 1200, 1400, 9000):
    echoes(s, T4, os.urandom(size))
c = udp()
c.connect(T4)
for i in range(50):
    c.send(b"%d" % i)
assert [c.recv(99) for i in range(50)] == [b"%d" % i for i in range(50)]
""",
        )

    for name, hops in orders.items():
        yield f"through {name}", lambda h=hops: through(h)


def last_words(lives, options):
    def at_exit():
        lives.run(options, "udp().sendto(b'at exit', T4)")
        wait_until(lambda: lives.seen(b"at exit"), "what was sent before the end")

    def at_close():
        lives.run(options, "s = udp(); s.sendto(b'at close', T4); s.close(); time.sleep(1)")
        wait_until(lambda: lives.seen(b"at close"), "what was sent before close()")

    def at_exec():
        lives.run(options, "udp().sendto(b'at exec', T4); os.execv('/bin/true', ['true'])")
        wait_until(lambda: lives.seen(b"at exec"), "what was sent before exec()")

    def by_programs():
        for command, sent in (
            (["nc", "-u", "-q", "0", ORIGIN, str(ECHO)], b"by nc"),
            (["socat", "-u", "-", f"UDP:{ORIGIN}:{ECHO}"], b"by socat"),
            (["bash", "-c", f"cat > /dev/udp/{ORIGIN}/{ECHO}"], b"by bash"),
        ):
            lives.w.forget()
            got = lives.w.via(options, command, stdin=sent, timeout=20)
            tap.same((got.code, got.err), (0, b""), f"{command[0]}: exit code and standard error")
            wait_until(lambda s=sent: lives.seen(s), f"what was sent {sent.decode()}")

    yield "sent, and out", at_exit
    yield "sent, and closed", at_close
    yield "sent, and another program", at_exec
    yield "programs that send and end", by_programs


def descriptors(lives, options):
    def thousand():
        lives.run(
            options,
            """
echoes(udp(), T4)
time.sleep(1)
before = descriptors()
for i in range(1000):
    s = udp()
    echoes(s, T4, b"%d" % i)
    s.close()
time.sleep(1)
assert descriptors() == before, (descriptors(), before)
""",
        )

    def limit():
        """A program at its limit of descriptors is refused, and works again."""
        got = lives.w.via(
            options,
            [
                PYTHON,
                "-c",
                HEAD
                + """
s = udp()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
full = []
try:
    while True:
        full.append(os.dup(0))
except OSError:
    pass
for i in range(50):
    try:
        s.sendto(b"x", T4)
        time.sleep(0.01)
    except OSError as error:
        break
else:
    raise SystemExit("never told")
for fd in full:
    os.close(fd)
time.sleep(1.1)
echoes(s, T4)
""",
            ],
        )
        tap.same(got.code, 0, "exit code")
        tap.holds(b"UDP" in got.err, f"said: {got.err}")

    def closed():
        """Programs that close all that they do not know keep the association, or get another."""
        lives.run(
            options,
            """
s = udp()
echoes(s, T4, b"before")
os.dup2(s.fileno(), 3)
os.closerange(4, 4096)
t = socket.socket(fileno=3)
t.settimeout(5)
echoes(t, T4, b"behind")
s.detach()
""",
        )
        tap.same(lives.seen(b"before"), lives.seen(b"behind"), "the port that the target sees")

    def executed():
        lives.run(
            options,
            """
s = udp()
echoes(s, T4, b"parent")
code = HEAD + "s = socket.socket(fileno=int(sys.argv[1])); s.settimeout(5); echoes(s, T4, b'child')"
os.set_inheritable(s.fileno(), True)
subprocess.run([sys.executable, "-c", code, str(s.fileno())], close_fds=False, check=True)
subprocess.run([sys.executable, "-c", code, str(s.fileno())], pass_fds=[s.fileno()], check=True)
os.execv(sys.executable, [sys.executable, "-c", code, str(s.fileno())])
""".replace("HEAD", repr(HEAD)),
        )
        ports = set(lives.seen(b"parent") + lives.seen(b"child"))
        tap.same((len(ports), len(lives.seen(b"child"))), (1, 3), "ports that the target sees, visits")

    yield "1,000 sockets leave no descriptor", thousand
    yield "no descriptor left", limit
    yield "a program that closes what it does not know", closed
    yield "executed programs go on with it", executed


def sources(lives, daemon, options):
    def bound():
        lives.run(options, f"s = udp(); s.bind(({APP!r}, 0)); echoes(s, T4); assert s.getsockname()[0] == {APP!r}")

    def over_ipv6():
        six = chain(daemon.url(first=True, six=True))
        lives.run(six, "for to in (T4, T6): echoes(udp(socket.AF_INET6), ('::ffff:' + to[0] if to is T4 else to[0], to[1]))")

    def family():
        """A process of our own goes there."""
        lives.run(chain(daemon.url(first=True, six=True)), "echoes(udp(), T4)")

    yield "a bound source", bound
    yield "a first hop on IPv6", over_ipv6
    yield "an IPv4 socket, a hop on IPv6 only", family


def cases(w):
    dante, daemon = servers.danted(w), servers.viaductd(w)
    lives = Lives(w, Echo("origin", ORIGIN))
    Echo("origin", ORIGIN6)
    two = chain(daemon.url(first=True), daemon.url())
    yield from makers(lives, dante, daemon)
    yield from last_words(lives, two)
    yield from descriptors(lives, two)
    yield from sources(lives, daemon, two)


if __name__ == "__main__":
    world.main(cases, (PYTHON, "danted", "nc", "socat", "bash"))
