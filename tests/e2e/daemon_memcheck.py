#!/usr/bin/env python3
"""viaductd under valgrind: every protocol, TLS, datagrams, refusals, helpers, chains, reloads and a drain;
memcheck has nothing to say, of the parent, the workers and their helpers. `scripts/check valgrind` runs it:
it takes long. Workers are not confined, since valgrind's own calls would not be let through."""

import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, tap, tls, visit, world
from lib.daemon import HOME, Daemon, reload
from lib.datagrams import ECHO, Echo, associate
from lib.tls import Authority
from lib.visit import HTTP, SOCKS5, WAYS
from lib.web import Client, Web, get, post
from lib.world import wait_until

HERE = "127.0.0.1"
SUPPRESSIONS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "memcheck.supp")
SLOW = 120  # seconds: everything takes some fifty times as long
visit.PATIENCE = SLOW
wait_until.__defaults__ = (SLOW,)


def memcheck(w, log):
    return ("env", f"LD_PRELOAD={w.build}/tests/lib/unconfined.so", "valgrind", "-q", "--leak-check=full", "--show-leak-kinds=definite,indirect", "--num-callers=24",
            f"--suppressions={SUPPRESSIONS}", f"--log-file={log}")


class Checked:
    """A Daemon, and what memcheck says of it."""

    def __init__(self, w, conf, listens, *options):
        self.log = w.file(f"memcheck.{w.port()}.log", "")
        self.daemon = Daemon(w, "-v", *options, conf=conf, listens=listens, words=memcheck(w, self.log))

    def is_clean(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            text = file.read()
        tap.holds(not text, f"memcheck: {text[:4000]}")


def conf_of(w, cert, more=""):
    users = w.file("users", "bob:" + subprocess.run(["openssl", "passwd", "-6", "secret"], capture_output=True,
                                                    check=True, text=True).stdout, 0o600)
    return (f'listen t {{ url = "{HERE}:{w.port()}" cert = "{cert[0]}" key = "{cert[1]}" }}\n'
            f'logins = {{"ann:secret"}}\nusers = "{users}"\nresolver = "system"\n'
            f'limit l {{ per = user rate = 50M sessions = 100 }}\n{more}')


def talks(d, target, login, wrap=None):
    for way in WAYS:
        if way.name.startswith("socks4"):
            continue  # it has no password
        with d.visit(way, target, login=login, early=b"early", wrap=wrap) as v:
            tap.holds(v.ok, f"{way.name}: {v.code}")
            tap.same(v.read(5), b"early", way.name)
            tls.echoes(v, os.urandom(300_000))


def load(w, target, ca, cert):
    c = Checked(w, conf_of(w, cert), 1)
    d, web, echo = c.daemon, Web(w), Echo(HOME, HERE)
    login = ("ann", "secret")

    def plain():
        talks(d, target, login)
        talks(d, target, ("bob", "secret"))  # the login helper is asked

    def inside_tls():
        talks(d, target, login, ca.wrap(HERE))

    def refusals():
        for way in (SOCKS5, HTTP):
            tap.holds(not d.visit(way, target, login=("bob", "wrong")).ok, "a wrong login")
            tap.holds(not d.visit(way, (HERE, 1), login=login).ok, "nobody listens")
            tap.holds(not d.visit(way, ("no.such.test", 80), login=login).ok, "no such name")
        for text in (b"", b"\5", b"\4\1", b"\x16\x03\x01\2\0\1", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 50):
            sock = visit.dial(d.at, HOME)
            sock.sendall(text)
            sock.close()
        with d.visit(SOCKS5, target, login=login) as v:
            visit.reset(v.sock)

    def forwarded():
        basic = "Proxy-Authorization: Basic YW5uOnNlY3JldA==\r\n"
        client = Client(d)
        for request in (get(web.at, "/a", basic), post(web.at, b"body", "/b", basic)):
            client.say(request)
            tap.same(client.response()[0], 200, request)
        client.close()

    def datagrams():
        with associate(d, login=login) as a:
            for length in (0, 1, 1200, 9000):
                a.send((HERE, ECHO), bytes(length))
                tap.same(a.receive(SLOW)[1], bytes(length), "echo")
            a.send((HERE, ECHO), b"x", frag=1)

    def reloads():
        with d.visit(SOCKS5, target, login=login) as v:
            with open(d.conf, encoding="utf-8") as file:
                text = file.read()
            reload(d, text + "deny d { to = {\"10.9.9.9\"} }\n")
            reload(d, "nonsense", good=False)
            reload(d, text)
            tls.echoes(v)
        talks(d, target, login)

    def drains():
        with d.visit(SOCKS5, target, login=login) as v:
            tls.echoes(v)
            d.signal(signal.SIGTERM)
            wait_until(lambda: "draining" in d.log(), "it drains")
        tap.same(d.end(SLOW), 0, "exit status")
        c.is_clean()

    for part in (plain, inside_tls, refusals, forwarded, datagrams, reloads, drains):
        yield f"memcheck: {part.__name__}", part


def chained(w, target, ca, cert):
    hop = tls.secure(ca, cert, kind="mixed")
    at = f"{HERE}:{hop.port}"
    c = Checked(w, f'upstream {{ hops = {{"socks5h://{at}", "https://localhost:{hop.port}?ca={ca.path}"}} check = 1\n'
                f'check_target = "{HERE}:{target[1]}" fallback = spare }}\n'
                f'upstream spare {{ hops = {{"http://{at}", "socks5://{at}"}} mode = failover }}\n'
                f'allow u {{ commands = {{"associate"}} upstream = spare }}\nallow all {{ }}\n', 1,
                "-l", f"{HERE}:0")
    d = c.daemon

    def through():
        for way in WAYS:
            with d.visit(way, target) as v:
                tap.holds(v.ok, f"{way.name}: {v.code}")
                tls.echoes(v, os.urandom(100_000))
            tap.holds(not d.visit(way, (HERE, 1)).ok, "nobody listens")

    def falls_back():
        hop.stop()
        for way in WAYS:
            tap.holds(not d.visit(way, target).ok, "no hop is left")

    def ends():
        d.signal(signal.SIGTERM)
        tap.same(d.end(SLOW), 0, "exit status")
        c.is_clean()

    for part in (through, falls_back, ends):
        yield f"memcheck: a chain: {part.__name__}", part


def cases(w):
    server = hostile.Scripted(HOME, HERE, w.port(), tls.echo)
    ca = Authority(w)
    cert = ca.sign(HERE, "localhost")
    for part in (load, chained):
        yield from part(w, (HERE, server.port), ca, cert)


if __name__ == "__main__":
    world.main(cases, ("valgrind", "openssl"))
