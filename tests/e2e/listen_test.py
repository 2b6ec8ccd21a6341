#!/usr/bin/env python3
"""What a listener at the last hop looks like to a program: as the kernel's own. The same program runs on
the proxy host, without a proxy, and through the chain, and both must print the same. Then what only
proxies do: strangers at the door, hops that refuse, end or know no BIND, and the option `listen`."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, netns, servers, tap, world
from lib.daemon import Daemon
from lib.servers import chain
from lib.visit import dial
from lib.world import APP, FAR, FAR6, NEAR, ORIGIN, ORIGIN6, PYTHON, wait_until

SCENARIOS = ["plain", "flags", "arguments", "polled", "selected", "epolled", "epolled_early", "copied", "closed",
             "two", "forked", "threaded", "waits", "options", "connects"]


def call_back(peer):
    """The server: connects where it is told to, as often as it is told."""
    while True:
        try:
            words = peer.read_until(b"\n").decode().split()
        except ConnectionError:
            return
        if words[0] == "bye":
            return
        try:
            sock = dial((words[1], int(words[2])), "origin")
            sock.sendall(b"hello")
            while data := sock.recv(100):
                sock.sendall(data)
            sock.close()
            peer.say(b"served\n")
        except OSError:
            peer.say(b"in vain\n")


def conformance(w, probe, hops):
    for scenario in SCENARIOS:
        def compare(via, host=ORIGIN, name=scenario):
            direct = w.run("proxy", [probe, host, "21", name])
            tap.same((direct.code, direct.err), (0, b""), "without a proxy")
            w.forget()
            got = w.via(chain(*via), [probe, host, "21", name])
            tap.same((got.code, got.err), (0, b""), f"through the chain\n{got}")
            tap.same(got.out.decode().splitlines(), direct.out.decode().splitlines(), f"what it saw\n{got}")
            w.quiet((NEAR, int(via[0].rsplit(":", 1)[1])))

        yield f"{scenario}: one hop", lambda c=compare: c([hops["ours"].url(first=True)])
        yield f"{scenario}: two hops", lambda c=compare: c([hops["tiny"].url(first=True), hops["ours"].url("socks4")])
    for scenario in ("plain", "polled", "two"):
        def dante(name=scenario):
            direct = w.run("proxy", [probe, ORIGIN, "21", name])
            got = w.via(chain(hops["dante"].url(first=True)), [probe, ORIGIN, "21", name])
            tap.same((got.code, got.out), (0, direct.out), f"through the chain\n{got}")

        def six(name=scenario):
            direct = w.run("proxy", [probe, ORIGIN6, "21", name])
            got = w.via(chain(hops["ours"].url(first=True)), [probe, ORIGIN6, "21", name])
            tap.same((got.code, got.out), (0, direct.out), f"through the chain\n{got}")

        yield f"{scenario}: dante", dante
        yield f"{scenario}: IPv6", six


def listening_ports(host):
    """{port} of what listens on loopback."""
    found = netns.sockets(host, socket.IPPROTO_TCP, netns.LISTEN)
    return {int(s.local.rpartition(":")[2]) for s in found if s.local.startswith("127.0.0.1:")}


def was_closed(sock):
    try:
        return sock.recv(10) == b""
    except ConnectionResetError:
        return True


def door(w, probe, hops):
    def strangers():
        before = listening_ports("app")
        proc = w.popen("app", [w.viaduct, "-v", *chain(hops["ours"].url(first=True)), "--", probe, ORIGIN, "21", "strangers"],
                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        tap.same(proc.stdout.readline(), b"ready\n")
        port, = listening_ports("app") - before
        knocks = [dial(("127.0.0.1", port), "app") for _ in range(10)]
        for sock in knocks:
            sock.sendall(b"HELLO, I am the server")
        out, err = proc.communicate(b"x", 20)
        tap.holds(b"data: helloecho this\n" in out and f"peer {ORIGIN}".encode() in out, f"{out} {err}")
        tap.holds(b"poll: 0\n" in out, f"nobody is left at the door: {out}")
        for sock in knocks:
            tap.holds(was_closed(sock), "a stranger is turned away")

    def nobody(scenario):
        hasty = Daemon(w, "-a", "from=10.1.0.0/24", conf="timeouts { bind = 0.5 connect = 30 }\n", listens=(f"{NEAR}:0",))
        got = w.via(chain(f"socks5h://{NEAR}:{hasty.port}"), [probe, ORIGIN, "21", scenario])
        words = got.out.decode().splitlines()
        if scenario == "nobody":
            tap.same(words[:3], ["poll: 1", "ready: 1", "accept: -1 ETIMEDOUT"], f"{got}")
            tap.same(words[3:], ["poll: 0", "ready: 0", "accept: -1 EAGAIN"], "once only")
        else:
            tap.same(words, ["accept: -1 ETIMEDOUT"], f"{got}")
        tap.holds(re.fullmatch(rf"viaduct: listen_probe\[\d+\]: {ORIGIN}:21: hop 1 of 1 \(\S+\) .*\(SOCKS5 reply 6\)\n",
                               got.err.decode()), f"{got}")
        tap.holds(0.4 < got.seconds < 4, f"after {got.seconds:.1f} s")

    def hop_ends():
        mortal = Daemon(w, "-a", "from=10.1.0.0/24", listens=(f"{NEAR}:0",))
        proc = w.popen("app", [w.viaduct, *chain(f"socks5h://{NEAR}:{mortal.port}"), "--", probe, ORIGIN, "21",
                               "nobody_blocking"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_until(lambda: listening_ports("app"), "it listens")
        for pid in [mortal.pid, *mortal.workers()]:
            os.kill(pid, signal.SIGKILL)
        out, err = proc.communicate(timeout=20)
        tap.same(out, b"accept: -1 ENETUNREACH\n", f"accept; {err}")
        tap.holds(b": hop 1 of 1 (" in err and err.count(b"\n") == 1, f"{err}")

    def inherited():
        got = w.via(chain(hops["ours"].url(first=True)), [probe, ORIGIN, "21", "inherited"])
        words = got.out.decode().splitlines()
        tap.same(words[0], "child: -1 EINVAL", f"{got}")
        tap.holds("data: helloecho this" in words, f"the parent is served\n{got}")

    yield "strangers are turned away", strangers
    yield "nobody comes: poll, then accept fails", lambda: nobody("nobody")
    yield "nobody comes: accept fails", lambda: nobody("nobody_blocking")
    yield "the hop ends", hop_ends
    yield "a child cannot accept, and does not disturb", inherited


def without(w, probe, hops):
    """Hops that do not bind. microsocks and tinyproxy tell no BND, viaductd does."""
    def stays(options):
        got = w.via(["-v", *options], [probe, ORIGIN, "21", "name_only"])
        words = got.out.decode().splitlines()
        tap.same(words, [f"named {APP}, a port: 1", "listen: 0", f"named {APP}, a port: 1"], f"{got}")
        tap.holds(b"the listener stays on this machine\n" in got.err, f"{got}")

    def fails(options, word, says):
        got = w.via(options, [probe, ORIGIN, "21", "name_only"])
        words = got.out.decode().splitlines()
        tap.same(words[1], f"listen: -1 {word}", f"{got}")
        tap.holds("a port: 0" in words[0] and "a port: 0" in words[2], f"{got}")
        tap.same(got.err.count(b"\n"), 1, f"one line\n{got}")
        tap.holds(says.encode() in got.err, f"{got}")

    def connect_only():
        d = Daemon(w, "-a", "from=10.1.0.0/24 commands=connect", listens=(f"{NEAR}:0",))
        fails(chain(f"socks5h://{NEAR}:{d.port}"), "EACCES", "(SOCKS5 reply 2)")

    def chained():
        """A daemon behind which a chain begins that ends with HTTP binds nothing; but it tells where its
        CONNECT came from."""
        d = Daemon(w, "-a", "from=10.1.0.0/24", "-x", hops["tiny"].url(), listens=(f"{NEAR}:0",))
        got = w.via(["-v", *chain(f"socks5h://{NEAR}:{d.port}")], [probe, ORIGIN, "21", "name_only"])
        tap.holds(b"(SOCKS5 reply 7)" in got.err, f"{got}")
        tap.holds("named 0.0.0.0" not in got.out.decode(), f"no listener for all\n{got}")

    def passive_goes_on():
        got = w.via(chain(hops["micro"].url(first=True)), [probe, ORIGIN, "21", "connects"])
        tap.same((got.code, got.err), (0, b""), f"{got}")
        tap.holds(got.out.count(b"connect: 0\n") == 2, f"{got}")

    def nothing_for_all():
        """Whatever fails, nobody elsewhere can connect to this machine."""
        for hop in (hops["micro"], hops["tiny"]):
            proc = w.popen("app", [w.viaduct, "-q", *chain(hop.url(first=True)), "--", probe, ORIGIN, "21", "nobody_blocking"],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.3)
            open_ = {s.local.rpartition(":")[0] for s in netns.sockets("app", socket.IPPROTO_TCP, netns.LISTEN)}
            proc.kill()
            proc.wait()
            tap.same(open_ & {"0.0.0.0", "[::]", "[::ffff:0.0.0.0]"}, set(), "listens on all addresses")

    yield "a hop without BIND: microsocks", lambda: stays(chain(hops["micro"].url(first=True)))
    yield "a hop without BIND: http", lambda: stays(chain(hops["tiny"].url(first=True)))
    yield "a last hop without BIND", lambda: stays(chain(hops["ours"].url(first=True), hops["micro"].url()))
    yield "a hop that does not allow BIND", connect_only
    yield "a hop that is a chain", chained
    yield "a hop without BIND: bound sockets connect", passive_goes_on
    yield "a hop without BIND: nothing is open to all", nothing_for_all


HERE_BOUND = b"\1\0\0\0\0\x10\x92"  # 0.0.0.0:4242
PEER = b"\1" + socket.inet_aton(ORIGIN) + b"\0\x14"


class Scripted(hostile.Scripted):
    """A hop, and the server behind it: `first` and `second` are what it says to BIND. `play` says the second
    reply and what the server says."""

    def __init__(self, w, first=hostile.socks5_reply(0, HERE_BOUND), play=None):
        self.called, self.served = threading.Event(), threading.Event()
        self.first, self.play = first, play or (lambda peer: self.serve(peer, PEER))
        super().__init__("proxy", NEAR, w.port(), self.talk)

    def talk(self, peer):
        peer.socks5_greeting()
        if peer.socks5_request()[0] == 1:
            peer.say(hostile.socks5_reply(0))
            while peer.read_until(b"\n").startswith(b"call"):
                self.called.set()
                self.served.wait(20)
                peer.say(b"served\n")
        else:
            peer.say(self.first)
            self.called.wait(20)
            self.play(peer)

    def serve(self, peer, bound, gap=None):
        data = hostile.socks5_reply(0, bound)
        if gap:
            peer.drip(data, gap)
            peer.say(b"hello")
        else:
            peer.say(data + b"hello")
        while data := peer.sock.recv(100):
            peer.say(data)
        self.served.set()

    @property
    def url(self):
        return f"socks5h://{NEAR}:{self.port}"


def replies(w, probe):
    """What a hop may say to BIND."""
    def plain(hop, peer=ORIGIN):
        with hop:
            got = w.via(chain(hop.url), [probe, ORIGIN, "21", "plain"])
        tap.same(got.out.decode().splitlines(), [
            "listen: 0", f"told {APP}, named {NEAR}, port kept: 1", f"from {peer}, 16 bytes, a port: {int(peer == ORIGIN)}",
            "getpeername: 0", f"peer {peer}, 16 bytes; own {NEAR}, as the listener's: 1", "O_NONBLOCK 0, FD_CLOEXEC 0",
            "read: 5", "write: 9", "read: 9", "end: 0", "data: helloecho this", "close: 0", "server: served", "close: 0"],
            f"{got}")

    def whole():
        plain(Scripted(w))

    def dripped():
        hop = Scripted(w)
        hop.play = lambda peer: hop.serve(peer, PEER, gap=0.01)
        plain(hop)

    def first_is_refused(first, word, shown):
        with Scripted(w, first=first) as hop:
            got = w.via(chain(hop.url), [probe, ORIGIN, "21", "name_only"])
        tap.same(got.out.decode().splitlines()[1], f"listen: {word}", f"{got}")
        tap.holds(shown in got.err, f"{got}")

    def second_is_refused(data, word):
        hop = Scripted(w, play=lambda peer: peer.say(data))
        hop.called.set()
        with hop:
            got = w.via(chain(hop.url), [probe, ORIGIN, "21", "nobody"])
        tap.same(got.out.decode().splitlines()[:3], ["poll: 1", "ready: 1", f"accept: -1 {word}"], f"{got}")
        tap.same(got.err.count(b"\n"), 1, f"one line\n{got}")

    yield "reply: 0.0.0.0 is the hop's own address", whole
    yield "reply: the second one byte by byte", dripped
    for what, first, word in (("a name", b"\3\3a.b\x10\x92", "0"), ("no port", b"\1\x0a\1\0\1\0\0", "-1 EADDRNOTAVAIL"),
                              ("IPv6", b"\4" + bytes(15) + b"\7\x10\x92", "-1 EADDRNOTAVAIL")):
        shown = b"an address that it does not tell" if word != "0" else b""
        yield (f"reply: {what} in the first", lambda f=first, o=word, s=shown:
               first_is_refused(hostile.socks5_reply(0, f), o, s))
    for code, word in ((1, "ECONNREFUSED"), (2, "EACCES"), (3, "ENETUNREACH"), (8, "EAFNOSUPPORT")):
        yield (f"reply: {code} in the first", lambda c=code, o=word:
               first_is_refused(hostile.socks5_reply(c), f"-1 {o}", f"(SOCKS5 reply {c})".encode()))
    for what, data, word in (("nonsense", b"HTTP/1.0 400", "ENETUNREACH"), ("nothing", b"", "ENETUNREACH"),
                             ("half of it", b"\5\0\0\1\7", "ENETUNREACH"), ("refused", hostile.socks5_reply(2), "EACCES")):
        yield f"reply: {what} in the second", lambda d=data, o=word: second_is_refused(d, o)


def choices(w, probe, hops):
    """The option, for the whole and by rules."""
    def run(text, scenario, port):
        conf = w.file(f"listen.{w.port()}.conf", f'chain default {{ hops = "{hops["ours"].url(first=True)}" }}\n{text}\n')
        got = w.via(["-f", conf], [probe, ORIGIN, str(port), scenario])
        words = got.out.decode().splitlines()
        tap.same(words[1], "listen: 0", f"{got}")
        return words[2].split(",")[0].split()[1]

    to_all = 'rule all { match = "*" chain = "default" listen = "%s" }'
    rows = [  # option, scenario, port, where it listens
        ("", "name_only", 21, FAR), ('listen = "auto"', "name_only", 21, FAR), ("", "name_only", 2121, APP),
        ('listen = "chain"', "name_only", 2121, FAR), ('listen = "direct"', "name_only", 21, APP),
        (to_all % "chain", "name_only", 2121, FAR), (to_all % "direct", "name_only", 21, APP),
        ('listen = "direct"\n' + to_all % "auto", "name_only", 21, FAR),
        ('listen = "direct"\n' + to_all % "chain", "name_only", 2121, FAR),
        ("", "anywhere", 21, "0.0.0.0"), ('listen = "chain"', "anywhere", 21, FAR),
        ('listen = "chain"', "anywhere", 2121, FAR), (to_all % "chain", "anywhere", 2121, FAR),
        ('listen = "direct"', "anywhere", 2121, "0.0.0.0"),
        ('rule other { match = "10.9.9.9" chain = "default" listen = "chain" }', "name_only", 2121, APP),
    ]
    for text, scenario, port, where in rows:
        yield (f"{' '.join(text.split()) or 'by default'}: {scenario}, port {port}: {where}",
               lambda t=text, s=scenario, p=port, at=where: tap.same(run(t, s, p), at, "listens at"))

    def ftplib():
        """Python's listener is bound to all addresses: the option makes it one of the chain."""
        conf = w.file("ftplib.conf", f'chain default {{ hops = "{hops["ours"].url(first=True)}" }}\nlisten = "chain"\n')
        got = w.via(["-f", conf], [PYTHON, "-c", f"""
import socket
control = socket.create_connection(("{ORIGIN}", 21))
s = socket.create_server(("", 0), family=control.family, backlog=1)
port, host = s.getsockname()[1], control.getsockname()[0]
control.sendall(f"call {{host}} {{port}}\\n".encode())
s.settimeout(5)
data, peer = s.accept()
print(peer[0], data.recv(100))
"""])
        tap.same(got.out, f"{ORIGIN} b'hello'\n".encode(), f"{got}")

    def unasked():
        """Who never asked for the connection's address means its own."""
        text = """
import socket
control = socket.create_connection(("%s", 21))
%s
s = socket.socket()
s.bind(("%s", 0))
s.listen()
print(s.getsockname()[0])
"""
        for asks, lines in (("", 1), ("control.getsockname()", 2)):
            got = w.via(["-v", *chain(hops["micro"].url(first=True))], [PYTHON, "-c", text % (ORIGIN, asks, APP)])
            tap.same((got.out, got.err.count(b"\n")), (f"{APP}\n".encode(), lines), f"asks: {asks}\n{got}")

    def by_name():
        """The visitor is whom the program believes that it is connected to."""
        got = w.via(chain(hops["ours"].url(first=True)), [PYTHON, "-c", """
import socket
control = socket.create_connection(("v4.origin.test", 21))
s = socket.socket()
s.bind((control.getsockname()[0], 0))
s.listen()
control.sendall(("call %s %d\\n" % s.getsockname()).encode())
data, peer = s.accept()
print(peer[0] == control.getpeername()[0] == data.getpeername()[0], peer == data.getpeername(), data.recv(100))
"""])
        tap.same(got.out, b"True True b'hello'\n", f"{got}")

    def after_the_connection():
        """An address that was told of a connection that is no more is not the sign any more."""
        for end in ("control.close()",
                    "control.sendall(b'bye\\n')\ncontrol.recv(1)\ncontrol.shutdown(socket.SHUT_WR)\ntime.sleep(0.2)"):
            got = w.via(chain(hops["ours"].url(first=True)), [PYTHON, "-c", f"""
import socket, time
control = socket.create_connection(("{ORIGIN}", 21))
told = control.getsockname()[0]
{end}
try:
    socket.socket().bind((told, 0))
except OSError as error:
    print(error.errno)
"""])
            tap.same(got.out, b"99\n", f"EADDRNOTAVAIL\n{got}")

    yield "listen = chain: as Python's ftplib does", ftplib
    yield "an address that nobody asked for", unasked
    yield "by name", by_name
    yield "the connection is closed", after_the_connection


def cases(w):
    probe = w.probe("listen_probe")
    for address in (ORIGIN, ORIGIN6):
        for port in (21, 2121):
            hostile.Scripted("origin", address, port, call_back)
    hops = {"ours": servers.viaductd(w), "dante": servers.danted(w), "micro": servers.microsocks(w),
            "tiny": servers.tinyproxy(w)}
    yield from conformance(w, probe, hops)
    yield from door(w, probe, hops)
    yield from without(w, probe, hops)
    yield from replies(w, probe)
    yield from choices(w, probe, hops)


if __name__ == "__main__":
    world.main(cases, ("ip", "danted", "microsocks", "tinyproxy", PYTHON))
