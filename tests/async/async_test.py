#!/usr/bin/env python3
"""A non-blocking connect() whose hop fails: however it does, the program sees a socket that was
refused, with the errno of the failure, once. And hops with several addresses."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, servers, tap, world
from lib.hostile import socks5_reply
from lib.servers import chain
from lib.world import NEAR, NEAR6, ORIGIN, ORIGIN6, PYTHON

# Prints what poll and epoll tell, the error twice, what a second connect() says, and whether the
# socket can be used again for a target that is not proxied.
PROBE = """
import errno, select, socket, sys, time
host, port, own = sys.argv[1], int(sys.argv[2]), sys.argv[3]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
s = socket.socket(family)
s.setblocking(False)
epoll = select.epoll()
epoll.register(s, select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET)
epoll.poll(0)
began = time.monotonic()
r = s.connect_ex((host, port))
words = [errno.errorcode.get(r, str(r))]
if r == errno.EINPROGRESS:
    got = epoll.poll(10)
    words.append(hex(got[0][1]) if got else "nothing")
    p = select.poll()
    p.register(s, select.POLLIN | select.POLLOUT | select.POLLRDHUP)
    words.append(hex(p.poll(0)[0][1]))
    for i in range(2):
        words.append(errno.errorcode.get(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "0"))
    words.append(hex(p.poll(0)[0][1]))
    words.append(errno.errorcode.get(s.connect_ex((host, port)), "0"))
s.setblocking(True)
s.settimeout(5)
with socket.create_server((own, 0), family=family) as server:
    words.append(errno.errorcode.get(s.connect_ex(server.getsockname()[:2]), "0"))
print(*words)
"""

# IN OUT ERR HUP RDHUP, and without ERR when the error was read
REFUSED, READ = "0x201d", "0x2015"
LIMIT = 1.0


def greets_then(end):
    def script(peer):
        peer.socks5_greeting()
        end(peer)

    return script


def replies(code):
    def script(peer):
        peer.socks5_greeting()
        peer.socks5_request()
        peer.say(socks5_reply(code))

    return script


def resets(peer):
    peer.reset()


FAILURES = [
    ("resets at once", resets, "ENETUNREACH"),
    ("resets after the greeting", greets_then(resets), "ENETUNREACH"),
    ("resets after half a reply", hostile.talks((3, b"\x05\x00"), (10, b"\x05"), then=resets), "ENETUNREACH"),
    ("closes at once", hostile.closes_at_once, "ENETUNREACH"),
    ("closes after the greeting", greets_then(hostile.closes_at_once), "ENETUNREACH"),
    ("refuses out of turn", hostile.talks((3, b"\x05\x00\x05\x01\x00\x01")), "ECONNREFUSED"),
    ("answers before it is asked", hostile.says(b"\x05\x00" + socks5_reply(2)), "EACCES"),
    ("says nonsense", hostile.says(b"SSH-2.0-x\r\n"), "ENETUNREACH"),
    ("is silent", hostile.silent, "ETIMEDOUT"),
    ("says refused", replies(5), "ECONNREFUSED"),
    ("says not allowed", replies(2), "EACCES"),
    ("says host unreachable", replies(4), "EHOSTUNREACH"),
]


def probe(w, options, six):
    host, own = (ORIGIN6, "::1") if six else (ORIGIN, "127.0.0.1")
    result = w.via(["-q", "-t", str(LIMIT), *options], [PYTHON, "-c", PROBE, host, "7", own])
    tap.same(result.code, 0, f"exit code\n{result}")
    return result.out.decode().split()


def fails(w, script, name, six):
    with hostile.Scripted("proxy", NEAR, w.port(), script) as hop:
        got = probe(w, chain(hop.url("socks5h")), six)
    tap.same(got, ["EINPROGRESS", REFUSED, REFUSED, name, "0", READ, "ECONNABORTED", "0"], "seen")


def nobody_there(w, six):
    """Nobody listens at the hop: told at once, or when the refusal has come."""
    got = probe(w, chain(f"socks5h://{NEAR}:{w.port()}"), six)
    if got[0] == "EINPROGRESS":
        tap.same(got[1:], [REFUSED, REFUSED, "ENETUNREACH", "0", READ, "ECONNABORTED", "0"], "seen")
    else:
        tap.same(got, ["ENETUNREACH", "0"], "seen")


# --- several addresses --------------------------------------------------------------------------

ECHO = """
import select, socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
s.setblocking(sys.argv[2] == "blocking")
s.connect_ex((sys.argv[1], 80))
s.setblocking(True)
s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
print(s.recv(12))
"""


def next_address(w, hop, names, how):
    """The first address of the hop is dead; an IPv6 socket goes from IPv4 to IPv6 and back."""
    target = ORIGIN6
    argv = [PYTHON, "-c", ECHO, target, how]
    result = w.via(chain(f"socks5h://{names}:{hop.port}"), argv)
    tap.same((result.code, result.out), (0, b"b'HTTP/1.1 200'\n"), f"answer\n{result}")


def cases(w):
    servers.Nginx(w)
    hop = servers.viaductd(w)
    for six in (False, True):
        kind = "IPv6" if six else "IPv4"
        for what, script, name in FAILURES:
            yield f"the hop {what}, {kind}", lambda s=script, n=name, x=six: fails(w, s, n, x)
        yield f"nobody is there, {kind}", lambda x=six: nobody_there(w, x)
    w.hosts("app", f"10.1.0.77 four-first.test\n{NEAR6} four-first.test\n")
    w.hosts("app", f"fd01::77 six-first.test\n{NEAR} six-first.test\n")
    w.hosts("app", f"fd01::77 last-lives.test\n10.1.0.77 last-lives.test\n{NEAR6} last-lives.test\n")
    for how in ("blocking", "non-blocking"):
        for names in ("four-first.test", "six-first.test", "last-lives.test"):
            yield f"a hop's next address, {names}, {how}", lambda n=names, h=how: next_address(w, hop, n, h)


if __name__ == "__main__":
    world.main(cases)
