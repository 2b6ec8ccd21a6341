#!/usr/bin/env python3
"""viaductd --trace: its handshakes with clients and with upstream hops, message by message, and no
password in any of them; what tunnels carry, up to a limit; captures."""

import base64
import os
import re
import select
import socket
import subprocess
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
PAYLOAD = re.compile(r"    [0-9a-f]{4,8}  ((?:[0-9a-f]{2} {1,2}){1,16})")


class Trace:
    """The messages in what a daemon wrote: (session, "client" or "hop 1", way, title, bytes, rows)."""

    def __init__(self, daemon):
        self.messages, self.text = [], daemon.log()
        for line in self.text.splitlines():
            head, row = MESSAGE.fullmatch(line), ROW.match(line)
            if self.messages and self.messages[-1][3] == "payload":
                row = PAYLOAD.match(line)
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
        return b"".join(m[4] for m in self.messages if (m[1], m[2]) == (who, way) and m[3] != "payload")

    def titles(self, who="client"):
        return [f"{m[2]} {m[3]}" for m in self.messages if m[1] == who and m[3] != "payload"]

    def payload(self, way):
        return b"".join(m[4] for m in self.messages if m[2:4] == [way, "payload"])


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
        tap.same(ours.said("hop 1", ">"), b"".join(m[4] for m in theirs.messages if m[0] == 1 and m[2] == "<" and m[3] != "payload"),
                 "what one says is what the other hears, both masked")
        tap.same(ours.said("hop 2", "<"), b"".join(m[4] for m in theirs.messages if m[0] == 2 and m[2] == ">" and m[3] != "payload"))

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

    def exchange(d, up, down, **how):
        """Sends through it, and gets an answer from the listener."""
        with Visit(at(d), WAYS["socks5"], target(), ns="app", **how) as visit:
            tap.holds(visit.ok, f"the tunnel stands: {d.log()}")
            there, _ = listener.accept()
            there.settimeout(5)
            visit.sock.sendall(up)
            got = b""
            while len(got) < len(up):
                got += there.recv(65536)
            there.sendall(down)
            there.shutdown(socket.SHUT_WR)
            while visit.sock.recv(65536):
                pass
            visit.sock.shutdown(socket.SHUT_WR)
            there.close()
        d.stop()

    def payload():
        while select.select([listener], [], [], 0)[0]:  # from tunnels of other cases
            listener.accept()[0].close()
        up, down = b"say this\0\xff", bytes(range(256)) * 40
        for options, count in (((), 4096), (("--trace-data", "100"), 100), (("--trace-data=0",), 0),
                               (("--trace-data=1000000",), len(down))):
            d = daemon("-a", "from=0.0.0.0/0", *options)
            exchange(d, up, down)
            t = Trace(d)
            tap.same((t.payload("<"), t.payload(">")), (up[:count], down[:count]), f"payload, {options}")
            tap.same("no more is shown of what the target sends" in d.log(), 0 < count < len(down))

    def forwarded():
        """HTTP without CONNECT: heads are messages, masked; bodies and answers are payload."""
        web = Web(w, "proxy", NEAR)
        d = daemon(*LOGIN)
        with netns.inside("app"):
            sock = socket.create_connection(at(d))
        sock.settimeout(5)
        for i in range(2):
            sock.sendall(f"POST http://{web.at}/{i} HTTP/1.1\r\nHost: {web.at}\r\nProxy-Authorization: Basic {PAIR}\r\n"
                         "Content-Length: 4\r\n\r\nbody".encode())
            got = b""
            while b"\r\n\r\n" not in got or not got.endswith(b"\n"):
                more = sock.recv(4096)
                tap.holds(more, f"an answer: {got} {d.log()[-1500:]}")
                got += more
        sock.close()
        d.stop()
        t = Trace(d)
        tap.same(t.titles(), ["< HTTP request"] * 2)
        tap.same(t.payload("<"), b"body" * 2)
        tap.holds(t.payload(">").count(b"HTTP/1.1 200 OK") == 2, t.payload(">"))
        masked = base64.b64encode(f"{USER}:********".encode())
        tap.same(t.said("client", "<").count(b"Proxy-Authorization: Basic " + masked + b"\r\n"), 2, "masked")

    def captures():
        while select.select([listener], [], [], 0)[0]:
            listener.accept()[0].close()
        for ending in ("pcapng", "pcap"):
            file = f"{w.dir}/daemon.{ending}"
            last = Daemon(w, "-a", "to=*,0.0.0.0/0", *LOGIN, listens=(f"{NEAR}:0",), ns="proxy")
            d = daemon("-a", "from=0.0.0.0/0", f"--trace={file}", "-x", f"socks5h://{USER}:{PASSWORD}@{NEAR}:{last.port}")
            exchange(d, b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            last.stop()
            with open(file, "rb") as data:
                data = data.read()
            tap.holds(PASSWORD.encode() not in data, "a secret")
            how = ["-d", f"tcp.port=={d.port},socks", "-d", f"tcp.port=={last.port},socks", "-d", f"tcp.port=={echo},http"]

            def tshark(*words):
                return subprocess.run(["tshark", "-n", "-r", file, *how, *words], capture_output=True, text=True,
                                      check=True).stdout

            tap.same(tshark("-Y", "_ws.malformed or tcp.analysis.flags or tcp.checksum.status==0", "-o",
                            "tcp.check_checksum:TRUE"), "")
            streams = tshark("-T", "fields", "-e", "tcp.stream").split()
            tap.same(set(streams), {"0", "1"}, "client and hop")
            tap.same(tshark("-Y", "http", "-T", "fields", "-e", "tcp.stream").split(), ["0", "0"], "payload, once")
            tap.same(os.stat(file).st_mode & 0o777, 0o600)

    def secrets():
        last = Daemon(w, "-a", "to=*,0.0.0.0/0", *LOGIN, listens=(f"{NEAR}:0",), ns="proxy")
        d = daemon(*LOGIN, "--trace-secrets", "-x", f"socks5h://{USER}:{PASSWORD}@{NEAR}:{last.port}")
        with Visit(at(d), Socks5(), target(), login=(USER, PASSWORD), ns="app") as visit:
            tap.holds(visit.ok, "the tunnel stands")
        d.stop()
        last.stop()
        tap.same(d.log().count(f'PASSWD       "{PASSWORD}"'), 2, "the client's and ours")

    def wrong_words():
        for words, told in ((["--trace-data=1"], "say how to trace; --trace is missing"),
                            (["--trace", "--trace-data=x"], "bad number `x`; allowed: 0 to 1073741824 bytes"),
                            (["--trace", "--trace-format=hex"], "unknown trace format `hex`; allowed: text, pcapng, pcap"),
                            (["--trace", "--trace-format=pcap"], "a capture needs a file; give --trace=FILE"),
                            (["--trace="], "--trace: no file is named"),
                            (["--trace=/no/such/x"], "--trace=/no/such/x: it cannot be written: No such file"),
                            (["--trace=/dev/full", "--trace-format=pcap"], "it cannot be written: No space left"),
                            (["--trace=/dev/fd/77"], "it cannot be written")):
            got = w.run("proxy", [w.viaductd, *words, "-l", f"127.0.0.1:{w.port()}"])
            tap.same((got.code, got.out), (1, b""), str(words))
            tap.holds(told in got.err.decode() and got.err.count(b"\n") == 1, f"{words}: {got.err}")

    def full():
        """It ends with a line, and the sessions go on."""
        place = f"{w.dir}/full"
        os.makedirs(place)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", place], check=True)
        d = daemon("-a", "from=0.0.0.0/0", f"--trace={place}/trace")
        while select.select([listener], [], [], 0)[0]:
            listener.accept()[0].close()
        for _ in range(3):
            with Visit(at(d), Socks5(), target(), ns="app") as visit:
                tap.holds(visit.ok, "the tunnel stands")
                there, _ = listener.accept()
                there.sendall(b"x" * 5000)
                there.close()
                tap.same(len(visit.sock.makefile("rb").read()), 5000)
        d.stop()
        tap.same(d.log().count("the trace ends here, since it cannot be written: No space left"), 1, d.log())
        subprocess.run(["umount", place], check=True)

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
    yield "payload", payload
    yield "requests that are forwarded", forwarded
    yield "captures", captures
    yield "--trace-secrets", secrets
    yield "wrong words", wrong_words
    yield "a full disk", full
    yield "without --trace nothing is said", silent_without
    listener.close()


if __name__ == "__main__":
    world.main(cases, ["tshark"])
