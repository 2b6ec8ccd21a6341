#!/usr/bin/env python3
"""viaductd --trace: its handshakes with clients and with upstream hops, message by message, and no
password in any of them."""

import base64
import os
import re
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import netns, tap, world
from lib.daemon import Daemon
from lib.visit import Http, Socks4, Socks4a, Socks5, Visit
from lib.web import Web
from lib.world import NEAR, wait_until

USER, PASSWORD = "alice", "s3cret-pw"
PAIR = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
LOGIN = ("-u", f"{USER}:{PASSWORD}")
MESSAGE = re.compile(r"\d\d:\d\d:\d\d\.\d{6} viaductd\[\d+\] #(\d+) (client \S+|hop \d+ of \d+ \(\S+\)) ([<>]) "
                     r"(\d+) bytes?: (.+)")
ROW = re.compile(r"    [0-9a-f]{4}  ((?:[0-9a-f]{2} ){1,8})")


class Trace:
    """The messages in what a daemon wrote: (session, "client" or "hop 1", way, title, bytes, rows)."""

    def __init__(self, daemon):
        self.messages, self.text = [], daemon.log()
        for line in self.text.splitlines():
            head, row = MESSAGE.fullmatch(line), ROW.match(line)
            if head:
                who = "client" if head[2].startswith("client") else head[2].split(" of")[0]
                self.messages.append([int(head[1]), who, head[3], re.sub(r" \(.*", "", head[5]), b"", int(head[4]), ""])
            elif row and self.messages:
                self.messages[-1][4] += bytes.fromhex(row[1])
                self.messages[-1][6] += line + "\n"
        for message in self.messages:
            tap.same(len(message[4]), message[5], f"bytes of {message[3]}")
        for secret in (PASSWORD, PAIR, PASSWORD.encode().hex(" ")):
            tap.holds(secret not in self.text, f"a secret: {secret}")

    def said(self, who, way):
        return b"".join(m[4] for m in self.messages if (m[1], m[2]) == (who, way))

    def titles(self, who="client"):
        return [f"{m[2]} {m[3]}" for m in self.messages if m[1] == who]


SOCKS5 = ["< version identifier/method selection message", "> METHOD selection message"]
RFC1929 = ["< Username/Password request", "> Username/Password response"]
REQUEST = ["< SOCKS request", "> SOCKS reply"]
WAYS = {"socks5": Socks5(), "http": Http()}
CONVERSATIONS = {"socks5": SOCKS5 + RFC1929 + REQUEST, "http": ["< HTTP request", "> HTTP response"]}


def cases(w):
    echo = w.port()
    with netns.inside("proxy"):
        listener = socket.create_server((NEAR, echo))

    def target():
        return NEAR, echo

    def daemon(*more, **how):
        return Daemon(w, "--trace", "-a", "to=*,0.0.0.0/0", *more, listens=(f"{NEAR}:0",), ns="proxy", **how)

    def at(d):
        return NEAR, d.port

    def clients(way, how):
        def case():
            d = daemon(*LOGIN)
            with Visit(at(d), WAYS[way], target(), login=(USER, PASSWORD), how=how, ns="app") as visit:
                tap.holds(visit.ok, "the tunnel stands")
            wait_until(lambda: "reply" in Trace(d).text or "response" in Trace(d).text, "the trace")
            d.stop()
            tap.same(sorted(Trace(d).titles()), sorted(CONVERSATIONS[way]))
        return case

    def socks4():
        d = daemon("-a", "from=0.0.0.0/0")
        with Visit(at(d), Socks4a(), ("no.such.test", 80), ns="app"):
            pass
        d.stop()
        t = Trace(d)
        tap.same(t.titles(), ["< SOCKS4 request", "> SOCKS4 reply"])
        tap.holds("request rejected" in t.text and '"no.such.test"' in t.text, t.text)

    def refused():
        d = daemon(*LOGIN)
        with Visit(at(d), Socks5(), target(), login=(USER, PASSWORD + "x"), ns="app") as visit:
            tap.holds(not visit.ok, "refused")
        d.stop()
        t = Trace(d)
        tap.same(t.titles(), SOCKS5 + RFC1929)
        tap.holds("failure: the login is refused" in t.text, t.text)

    def upstreams():
        last = daemon(*LOGIN)
        first = Daemon(w, "--trace", "-a", "to=*,0.0.0.0/0", "-x", f"socks5h://{USER}:{PASSWORD}@{NEAR}:{last.port}", "-x",
                       f"http://{USER}:{PASSWORD}@{NEAR}:{last.port}", listens=(f"{NEAR}:0",), ns="proxy")
        with Visit(at(first), Socks4(), target(), ns="app") as visit:
            tap.holds(visit.ok, f"the tunnel stands: {first.log()}")
        first.stop()
        last.stop()
        ours, theirs = Trace(first), Trace(last)
        mirrored = [t.translate(str.maketrans("<>", "><")) for t in SOCKS5 + RFC1929 + REQUEST]
        tap.same(sorted(ours.titles("hop 1")), sorted(mirrored))
        tap.same(ours.titles("hop 2"), ["> HTTP request", "< HTTP response"])
        tap.same(ours.said("hop 1", ">"), b"".join(m[4] for m in theirs.messages if m[0] == 1 and m[2] == "<"),
                 "what one says is what the other hears, both masked")
        tap.same(ours.said("hop 2", "<"), b"".join(m[4] for m in theirs.messages if m[0] == 2 and m[2] == ">"))

    def other_logins():
        """Secrets in places where they do not belong, and in pieces."""
        web = Web(w, "proxy", NEAR)
        d = daemon("-a", "from=0.0.0.0/0")
        for head in (f"GET http://{USER}:{PASSWORD}@x.test/ HTTP/1.1\r\nHost: x.test\r\n\r\n",
                     f"GET http://{web.at}/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {PASSWORD}\r\n\r\n",
                     f"CONNECT x.test:1 HTTP/1.1\r\nproxy-authorization:Basic   {PAIR}\r\n\r\n",
                     f"CONNECT x.test:1 HTTP/1.1\r\nHost: x.test:1\r\nProxy-Authorization:\r\n Basic {PAIR}\r\n\r\n",
                     f"CONNECT x.test:1 HTTP/1.1\r\nProxy-Authorization: Basic {'A' * 1100}{PAIR}\r\n\r\n"):
            for chunk in (7, 5000):
                with netns.inside("app"):
                    sock = socket.create_connection(at(d))
                sock.settimeout(5)
                try:
                    for i in range(0, len(head), chunk):
                        sock.sendall(head[i:i + chunk].encode())
                    sock.recv(100)
                except OSError:
                    pass
                sock.close()
        d.stop()
        tap.holds(len(Trace(d).messages) >= 10, "messages")

    def silent_without():
        d = Daemon(w, "-q", "-a", "to=*,0.0.0.0/0", *LOGIN, listens=(f"{NEAR}:{w.port()}",), ns="proxy", wait=False)
        port = int(d.proc.args[d.proc.args.index("-l") + 1].rsplit(":", 1)[1])
        wait_until(lambda: netns.listening("proxy", port), "it listens")
        with Visit((NEAR, port), Socks5(), target(), login=(USER, PASSWORD), ns="app") as visit:
            tap.holds(visit.ok, "the tunnel stands")
        d.stop()
        tap.same(d.log(), "")

    for how in ("steps", "drip", "flight"):
        yield f"SOCKS5, {how}", clients("socks5", how)
    yield "HTTP", clients("http", "steps")
    yield "SOCKS4a, refused", socks4
    yield "a login that is refused", refused
    yield "upstream hops", upstreams
    yield "logins in other places", other_logins
    yield "without --trace nothing is said", silent_without
    listener.close()


if __name__ == "__main__":
    world.main(cases)
