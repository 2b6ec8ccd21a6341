#!/usr/bin/env python3
"""Sessions of TLS that viaductd resumes with hops, and what that must not get around: a name, a way to
verify, another certificate, a reload."""

import os
import re
import socket
import ssl
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import daemon, hostile, tap, tls, world
from lib.daemon import HOME, Daemon
from lib.tls import Authority
from lib.visit import SOCKS5, dial
from lib.world import wait_until

HERE = "127.0.0.1"
PRE_SHARED_KEY = re.compile(rb"\0\x29[\0-\3]", re.DOTALL)  # RFC 8446 section 4.2: the type of the extension


def read(path):
    with open(path, encoding="ascii") as file:
        return file.read()


def reached_by(w, url):
    return Daemon(w, conf=f'upstream {{ hops = {{"{url}"}} }}\n')


class Resuming(hostile.Scripted):
    """An HTTP proxy inside TLS that notes of each connection whether it resumed a session, and may break
    those off."""

    hates = False

    def __init__(self, w, cert, port=None, version=None):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*cert)
        if version:
            self.context.maximum_version = version
        self.reused, self.gate = [], threading.Event()
        self.gate.set()
        super().__init__(HOME, HERE, port or w.port(), self.play)

    def play(self, peer):
        peer.sock.settimeout(10)
        self.gate.wait(10)
        if self.hates and PRE_SHARED_KEY.search(peer.sock.recv(4096, socket.MSG_PEEK)):
            return
        try:
            with self.context.wrap_socket(peer.sock, server_side=True) as sock:
                self.reused.append(sock.session_reused)
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += sock.recv(4096)
                sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while data := sock.recv(4096):
                    sock.sendall(data)
        except ssl.SSLError as error:
            self.reused.append(error.reason)


def cases(w):
    ca = Authority(w)
    cert = ca.sign(HERE)

    def visited(d, target=("far.test", 80), login=None):
        with d.visit(SOCKS5, target, login=login) as visit:
            if visit.ok:
                tls.echoes(visit)
                visit.sock.shutdown(socket.SHUT_WR)
                visit.rest()
        line = d.session(visit)
        return visit.code, line.get("said", "")

    def again(version):
        """The first connection makes a session, all others resume one."""
        with Resuming(w, cert, version=version) as hop:
            d = reached_by(w, hop.url("https") + f"?ca={ca.path}")
            for _ in range(5):
                tap.same(visited(d), (0, ""))
            tap.same(hop.reused, [False, True, True, True, True])

    def as_many_as_are_kept():
        """One is used once, and no more than eight are kept."""
        with Resuming(w, cert) as hop:
            d = reached_by(w, hop.url("https") + f"?ca={ca.path}")
            hop.gate.clear()
            first = [dial(d.at, HOME) for _ in range(12)]
            for sock in first:
                sock.sendall(b"".join(SOCKS5.messages(("far.test", 80))) + b"x")
            wait_until(lambda: len(hop.peers) == 12, "all have come")
            hop.gate.set()
            for sock in first:
                got = b""
                while len(got) < 13:
                    got += sock.recv(13)
                tap.same(got[-1:], b"x", "an echo")
            tap.same(hop.reused, [False] * 12)
            hop.context.num_tickets = 0
            for _ in range(12):
                tap.same(visited(d)[0], 0)
            tap.same(hop.reused[12:], [True] * 8 + [False] * 4)
            for sock in first:
                sock.close()

    def another_verification():
        """What one hop of the configuration has learned serves no other, at the same place."""
        stranger = Authority(w, "unknown").sign(HERE)
        with Resuming(w, stranger) as hop:
            url = hop.url("https")
            d = Daemon(w, "-u", "a:a", "-u", "b:b",
                       conf=f'upstream lax {{ hops = {{"{url}?verify=no"}} }}\nupstream strict {{ hops = {{"{url}?ca={ca.path}"}} }}\n'
                       'allow a { users = {"a"} upstream = "lax" }\nallow b { upstream = "strict" }\n')
            for _ in range(2):
                tap.same(visited(d, login=("a", "a")), (0, ""))
                code, said = visited(d, login=("b", "b"))
                tap.holds(code == 1 and "has a certificate that cannot be trusted" in said, f"{code} {said}")
            tap.same([r for r in hop.reused if isinstance(r, bool)], [False, True], "of the lax one")

    def another_name():
        w.hosts(HOME, f"{HERE} one.test two.test\n")
        with Resuming(w, ca.sign("one.test")) as hop:
            one, two = (f"https://{name}.test:{hop.port}?ca={ca.path}" for name in ("one", "two"))
            d = Daemon(w, "-u", "a:a", "-u", "b:b",
                       conf=f'upstream one {{ hops = {{"{one}"}} }}\nupstream two {{ hops = {{"{two}"}} }}\n'
                       'allow a { users = {"a"} upstream = "one" }\nallow b { upstream = "two" }\n')
            tap.same([visited(d, login=("a", "a"))[0] for _ in range(2)], [0, 0])
            code, said = visited(d, login=("b", "b"))
            tap.holds(code == 1 and "hostname mismatch" in said, f"{code} {said}")

    def another_certificate():
        """A hop that is somebody else by now is found out."""
        with Resuming(w, cert) as hop:
            d = reached_by(w, hop.url("https") + f"?ca={ca.path}")
            tap.same([visited(d)[0] for _ in range(2)], [0, 0])
            tap.same(hop.reused, [False, True])
        with Resuming(w, cert, port=hop.port) as other:
            tap.same([visited(d)[0] for _ in range(2)], [0, 0])
            tap.same(other.reused, [False, True], "the same certificate, and no knowledge of the session")
        with Resuming(w, Authority(w, "impostor").sign(HERE), port=hop.port):
            code, said = visited(d)
            tap.holds(code == 1 and "has a certificate that cannot be trusted" in said, f"{code} {said}")

    def reloaded():
        """A reload begins anew: with the files as they are then."""
        path = w.file("trusted.pem", read(ca.path))
        with Resuming(w, cert) as hop:
            d = reached_by(w, hop.url("https") + f"?ca={path}")
            tap.same([visited(d)[0] for _ in range(2)], [0, 0])
            daemon.reload(d)
            tap.same(visited(d)[0], 0)
            tap.same(hop.reused, [False, True, False])
            w.file("trusted.pem", read(Authority(w, "next").path))
            daemon.reload(d)
            code, said = visited(d)
            tap.holds(code == 1 and "has a certificate that cannot be trusted" in said, f"{code} {said}")

    def broken_off():
        """A session whose connection was reset may be gone; the next connection stands all the same."""
        with Resuming(w, cert) as hop:
            d = reached_by(w, hop.url("https") + f"?ca={ca.path}")
            for _ in range(6):
                visit = d.visit(SOCKS5, ("far.test", 80))
                tap.same(visit.code, 0)
                tls.echoes(visit)
                tls.Tls.reset(visit)
                d.session(visit)
            tap.same(hop.reused, [False] + [True] * 5)

    def refuses_to_resume():
        """A hop that closes on whoever resumes: one connection fails, by which that is known."""
        with Resuming(w, cert) as hop:
            d = reached_by(w, hop.url("https") + f"?ca={ca.path}")
            tap.same([visited(d)[0] for _ in range(2)], [0, 0])
            hop.hates = True
            tap.same([visited(d)[0] for _ in range(5)], [1, 0, 0, 0, 0])

    yield "sessions of TLS 1.3 are resumed", lambda: again(None)
    yield "sessions of TLS 1.2 are resumed", lambda: again(ssl.TLSVersion.TLSv1_2)
    yield "a session is used once, and eight are kept", as_many_as_are_kept
    yield "a session does not get around verification", another_verification
    yield "nor around a name", another_name
    yield "nor around another certificate", another_certificate
    yield "a reload forgets sessions", reloaded
    yield "resumed after resets", broken_off
    yield "a hop that does not bear it", refuses_to_resume


if __name__ == "__main__":
    world.main(cases, ("ip", "openssl"))
