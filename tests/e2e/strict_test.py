#!/usr/bin/env python3
"""--strict and the observer of --audit: what a program with the library does past it, by a system call
of its own, is refused, or turns the audit red; what the library does is neither refused nor accused."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import servers, supervised, tap, world
from lib.datagrams import Echo
from lib.servers import chain
from lib.world import FAR, NEAR, ORIGIN, PYTHON

NAME = "v4.origin.test"
EACCES, ENOSYS, ECONNREFUSED = 13, 38, 111
SENDS = ("sendto", "sendmsg", "sendmmsg")
LEAK = "viaduct: a leak: connections or datagrams were made past the library"

# As a program with an event loop does it, by name and by address; and datagrams.
LOOP = f"""
import asyncio, socket
async def visit(host):
    reader, writer = await asyncio.open_connection(host, 80)
    writer.write(b"GET /whoami HTTP/1.0\\r\\n\\r\\n")
    return (await reader.read()).split(b"\\r\\n\\r\\n")[1].decode()
async def main():
    print("".join(await asyncio.gather(*(visit(host) for host in ["{NAME}", "{ORIGIN}"] * 10))), end="")
asyncio.run(main())
"""
ECHO = """
import socket, sys
for connects in (False, True):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    at = (sys.argv[1], int(sys.argv[2]))
    if connects:
        s.connect(at)
    s.send(b"x") if connects else s.sendto(b"x", at)
    print(s.recvfrom(100))
"""


def cases(w):
    servers.Nginx(w)
    hop = servers.viaductd(w)
    options = chain(hop.url("socks5h", first=True))
    programs = supervised.Programs(w)
    for name in ("raw-dynamic", "raw", "go", "static"):
        programs[name]
    raw = programs["raw-dynamic"]
    url = f"http://{NAME}/whoami"

    def via(more, argv, **how):
        w.forget()
        return w.via([*options, *more], argv, **{"timeout": 15, **how})

    def rows(text):
        """What the audit's table says: {(target, way): times}"""
        found = {}
        for line in text.splitlines():
            words = [word for word in re.split(r" {2,}", line.strip()) if word]
            if line.startswith("  ") and words[0] != "TARGET":
                found[words[0], words[2]] = [word for word in words[3:] if word.isdigit()][0]
        return found

    def refused():
        """Nothing leaves, and a line tells."""
        for call in ("connect", "nonblocking", "fastopen", *SENDS):
            for more in (["--strict"], ["--strict", "--engine", "preload"]):
                got = via(more, [raw, call, ORIGIN, "80"])
                tap.same(got.out, f"-{EACCES}\n".encode(), call)
                line = re.sub(r"\[\d+\]", "", got.err.decode())
                tap.same(line, f"viaduct: raw-dynamic: {ORIGIN}:80: refused: it was made past the library (--strict)\n",
                         call)
                w.quiet()
        got = via(["--strict"], [raw, "io_uring", ORIGIN, "80"])
        tap.same((got.out, got.err), (f"-{ENOSYS}\n".encode(), b""), "io_uring")
        got = via(["--strict"], [raw, "socket", "2", "3", "1"])
        tap.same(got.out, f"-{EACCES}\n".encode(), "a raw socket")
        w.quiet()

    def red():
        """The audit lets it be, and tells; status 125."""
        for call, want in (("connect", -ECONNREFUSED), *((send, 5 if send != "sendmmsg" else 1) for send in SENDS)):
            got = via(["--audit", "-q"], [raw, call, NEAR, "9"])
            tap.same((got.code, got.out), (125, f"{want}\n".encode()), call)
            lines = got.err.decode().splitlines()
            tap.holds(lines[0].startswith("viaduct: audit: observed: "), f"the first line: {lines[0]}")
            tap.same(lines[-1], LEAK, call)
            tap.same(rows(got.err.decode()), {(f"{NEAR}:9", "past the library"): "1"}, call)
        w.forget()

    def red_and_refused():
        got = via(["--audit", "-q", "--strict"], [raw, "connect", ORIGIN, "80"])
        tap.same((got.code, got.out), (0, f"-{EACCES}\n".encode()), "refused, so nothing leaked")
        tap.same(rows(got.err.decode()), {(f"{ORIGIN}:80", "refused"): "1"})
        w.quiet()

    def green():
        """Programs of all kinds, with and without the library: all is well, and nothing is said."""
        argv = ["sh", "-c", f"curl -sS {url}; {programs['static']} {NAME} 80; {programs['go']} {url} 1; "
                            f"{PYTHON} -c '{LOOP}'; busybox wget -q -O - {url}; {programs['raw']} connect {ORIGIN} 80"]
        for more in (["--strict"], ["--audit"], ["--audit", "--strict"]):
            got = via(more, argv, timeout=30)
            tap.same(got.code, 0, f"{more}")
            tap.same(set(supervised.told(got, FAR, ORIGIN)), {(FAR, ORIGIN)}, f"{more}: who came")
            tap.same(len(supervised.told(got, FAR, ORIGIN)), 25, f"{more}: how many")
            said = got.err.decode().splitlines()
            tap.holds(all(line.startswith(("viaduct: audit: ", "  ")) for line in said), f"{more}: {said}")
            w.quiet(hop.at(first=True))

    def datagrams():
        """UDP by the library, connected and not, and a resolver of its own."""
        echo_at = w.port()
        Echo("origin", ORIGIN, echo_at)
        for more in (["--strict"], ["--audit", "-q"]):
            got = via(more, [PYTHON, "-c", ECHO, ORIGIN, str(echo_at)])
            tap.same((got.code, len(got.out.splitlines())), (0, 2), f"{more}")
        got = via(["--strict"], ["dig", "+short", "+tries=1", NAME])
        tap.holds(got.code == 0 and got.out.startswith(b"198.18."), f"{got}")
        tap.same(got.err, b"")

    def bypass():
        """What a rule lets pass may be made by whomever."""
        for more in (["--strict"], ["--audit"]):
            got = via([*more, "-q", "-b", NEAR], [raw, "connect", NEAR, "9"])
            tap.same((got.code, got.out), (0, f"-{ECONNREFUSED}\n".encode()), f"{more}")

    def sorted_addresses():
        """libc connects UDP sockets to learn its own addresses; nobody is accused of that."""
        got = via(["--strict"], [PYTHON, "-c", f"import socket; print(socket.getaddrinfo('{ORIGIN}', 80), "
                                 f"socket.getaddrinfo('{NAME}', 80, 0, 0, 0, socket.AI_ADDRCONFIG))"])
        tap.same((got.code, got.err), (0, b""))
        w.quiet()

    yield "--strict refuses", refused
    yield "--audit turns red", red
    yield "both", red_and_refused
    yield "what the library carries, and what a supervisor carries", green
    yield "datagrams of the library", datagrams
    yield "what a rule lets pass", bypass
    yield "libc's own look at addresses", sorted_addresses


if __name__ == "__main__":
    world.main(cases, ("busybox", "cc", "curl", "dig", "go", "nginx", PYTHON))
