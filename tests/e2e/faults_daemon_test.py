#!/usr/bin/env python3
"""viaductd when system calls fail: in each kind of session each call of the worker fails in turn, with
each error that it may have. No fault is felt by a session beside it, none leaves a descriptor behind or
ends the worker, none makes a client wait past its deadline; and what is no error (EINTR, EAGAIN, a short
count) is not felt at all."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, servers, tap, world
from lib.daemon import HOME
from lib.datagrams import Echo
from lib.fault_bench import GIVEN, HERE, bound, datagrams, giving, plain
from lib.visit import HTTP, SOCKS4A, SOCKS5
from lib.web import Client, Web, get


def cases(w):
    target = hostile.Scripted(HOME, HERE, w.port(), giving)
    web = Web(w)
    for n in range(4000):
        w.far_names.know(f"n{n}.here.test", HERE)
    number = [0]

    def fresh():
        """A name that has not been asked for."""
        number[0] += 1
        return f"n{number[0]}.here.test"

    def tunnel(bench, way, host, **how):
        visit = bench.d.visit(way, (host(), target.port), **how)
        with visit:
            if not visit.ok:
                return "refused" if visit.code is not None else "cut"
            visit.sock.sendall(b"give")
            got = visit.rest()
            visit.sock.sendall(b"rest")
            return "well" if got == GIVEN else "cut"

    def request(bench):
        c = Client(bench.d)
        try:
            c.say(get(web.at, f"/{number[0]}"))
            status, _, body = c.response()
            return "well" if status == 200 and body.startswith(b"/") else "refused" if status >= 400 else "wrong"
        except tap.Failed:
            return "cut"
        finally:
            c.close()

    hop = servers.viaductd(w)
    Echo(HOME, HERE)
    yield plain(w, "SOCKS5 by address", lambda b: tunnel(b, SOCKS5, lambda: HERE))
    yield plain(w, "SOCKS4a by name", lambda b: tunnel(b, SOCKS4A, fresh))
    yield plain(w, "HTTP CONNECT with a login", lambda b: tunnel(b, HTTP, lambda: HERE, login=("alice", "s3cret")), "-u", "alice:s3cret")
    yield plain(w, "a request for a URL", request)
    yield plain(w, "over a hop", lambda b: tunnel(b, SOCKS5, lambda: HERE), "-x", hop.url())
    yield plain(w, "UDP ASSOCIATE", datagrams)
    yield plain(w, "BIND", bound)


if __name__ == "__main__":
    world.main(cases, ("ip", "ss"))
