#!/usr/bin/env python3
"""TLS between clients and viaductd: every protocol inside it, beside plain text on one port, and
whatever is no TLS."""

import os
import socket
import ssl
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import daemon, hostile, tap, tls, world
from lib.daemon import HOME, Daemon
from lib.tls import Authority
from lib.visit import HTTP, SOCKS5, WAYS, Visit, dial
from lib.web import Web, get
from lib.world import wait_until

HERE = "127.0.0.1"
LOGIN = ("alice", "s3cret: of hers")


def protocols(w, ca, cert, target):
    def all_ways(d, login, how, wrapped=True):
        for way in WAYS:
            given = login if way.name in ("socks5", "http") or not login else None
            if login and given is None:
                continue  # SOCKS4 has no password
            with Visit(d.at, way, target, login=given, how=how, early=b"early", ns=HOME,
                       wrap=ca.wrap() if wrapped else None) as visit:
                tap.holds(visit.ok, f"{way.name} {how}: {visit.code}")
                tap.same(visit.read(5), b"early", f"{way.name} {how}")
                tls.echoes(visit, os.urandom(100_000))
                line = visit
            told = d.session(line)
            tap.same(told.get("tls", ""), "TLSv1.3" if wrapped else "", "in the log")

    def only():
        d = tls.secure(ca, cert)
        for how in ("steps", "flight", "drip"):
            all_ways(d, None, how)

    def logins():
        d = tls.secure(ca, cert, "-u", ":".join(LOGIN))
        all_ways(d, LOGIN, "steps")
        tap.same(tls.inside(ca, d, SOCKS5, target, login=("alice", "wrong")).code, 1)
        tap.same(tls.inside(ca, d, HTTP, target).code, 407)
        line = wait_until(lambda: d.lines("login refused"), "it is logged")[0]
        tap.holds(line["client"].startswith(HERE), line)

    def both():
        """One port with a certificate and without https://: the first byte decides."""
        for kind in ("mixed", "socks", "http"):
            d = tls.secure(ca, cert, kind=kind)
            way = HTTP if kind == "http" else SOCKS5
            for wrap in (None, ca.wrap()):
                with Visit(d.at, way, target, ns=HOME, wrap=wrap) as visit:
                    tap.holds(visit.ok, f"{kind}: {visit.code}")
                    tls.echoes(visit)

    def command_line():
        """--tls-cert counts for listeners of -l; plain text goes on on those that are not https://."""
        d = Daemon(w, "--tls-cert", cert[0], "--tls-key", cert[1], listens=(f"https://{HERE}:0", f"{HERE}:0"))
        for port in d.ports:
            tap.holds(Visit((HERE, port), SOCKS5, target, ns=HOME, wrap=ca.wrap()).ok, port)
        tap.holds(d.visit(SOCKS5, target, at=(HERE, d.ports[1])).ok, "plain")

    def forwarded():
        web = Web(w)
        d = tls.secure(ca, cert)
        client = ca.wrap()(dial(d.at, HOME))
        for path in ("/a", "/b"):
            client.sendall(get(web.at, path).encode())
            head = b""
            while b"\r\n\r\n" not in head or not head.endswith(b"\n"):
                head += client.recv(4096)
            tap.holds(head.startswith(b"HTTP/1.1 200 "), head)
        tap.same(len(web.take()), 2)
        client.close()

    def old_tls():
        """TLS 1.2 is spoken, with a session resumed in either."""
        d = tls.secure(ca, cert)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ca.context()
            context.maximum_version = version
            with tls.inside(ca, d, SOCKS5, target, context=context) as visit:
                tap.same(visit.sock.obj.selected_alpn_protocol(), "http/1.1")
                tls.echoes(visit)
                session = visit.sock.obj.session
                told = visit
            tap.same(d.session(told)["tls"], version.name.replace("_", "."))
            again = tls.Tls(dial(d.at, HOME), context, HERE, session)
            tap.holds(again.obj.session_reused, f"{version.name} is resumed")
            again.close()

    yield "every protocol inside TLS", only
    yield "logins inside TLS", logins
    yield "TLS and plain text on one port", both
    yield "--tls-cert and --tls-key", command_line
    yield "HTTP forwarding inside TLS", forwarded
    yield "TLS 1.2, 1.3, ALPN and tickets", old_tls


def programs(w, ca, cert, target):
    web = Web(w)
    curl = ["curl", "-sS", "--max-time", "15", "--proxy-cacert", ca.path]

    def curls():
        d = tls.secure(ca, cert, "-u", ":".join(LOGIN))
        user = ["--proxy-user", ":".join(LOGIN)]
        at = f"https://{HERE}:{d.port}"
        for words in ([], ["-p"]):
            got = w.run(HOME, [*curl, *words, *user, "--proxy", at, f"http://{web.at}/page"])
            tap.same(got.code, 0, got)
            tap.holds(got.out.startswith(b"/page"), got)
        got = w.run(HOME, [*curl, "-p", "--proxy", at, f"http://{web.at}/page"])
        tap.holds(b"407" in got.err, got)
        got = w.run(HOME, ["curl", "-sS", *user, "--proxy", at, f"http://{web.at}/page"])
        tap.holds(got.code == 60 and b"certificate" in got.err, got)
        line = wait_until(lambda: [s for s in d.lines("session") if s["end"] == "tls-failed"], "the alert is logged")[0]
        tap.same(line["error"], "tls_protocol_error")
        tap.holds("unknown ca" in line["said"] and line["client"].startswith(HERE), line)

    def stunnel():
        """A SOCKS client behind stunnel, which adds the TLS."""
        d = tls.secure(ca, cert)
        port = w.port()
        conf = w.file("stunnel.conf", f"foreground = yes\npid =\n[s]\nclient = yes\naccept = {HERE}:{port}\n"
                      f"connect = {HERE}:{d.port}\nCAfile = {ca.path}\nverifyChain = yes\ncheckIP = {HERE}\n")
        w.serve("stunnel", HOME, ["stunnel4", conf], port)
        for scheme in ("socks4", "socks4a", "socks5", "socks5h", "http"):
            got = w.run(HOME, ["curl", "-sS", "--max-time", "15", "--proxy", f"{scheme}://{HERE}:{port}",
                               f"http://{web.at}/page"])
            tap.same((got.code, got.out[:5]), (0, b"/page"), got)

    def misuse():
        """s_client with old versions, with names, with junk behind the handshake."""
        d = tls.secure(ca, cert)
        words = ["openssl", "s_client", "-connect", f"{HERE}:{d.port}", "-CAfile", ca.path, "-cipher", "ALL:@SECLEVEL=0"]
        for version in ("-tls1", "-tls1_1"):
            got = w.run(HOME, [*words, version], stdin=b"")
            tap.holds(got.code != 0 and b"alert protocol version" in got.err, got)
        lines = wait_until(lambda: [s for s in d.lines("session") if s["end"] == "tls-failed"][1:], "both are logged")
        tap.same(lines[0]["error"], "tls_protocol_error")
        got = w.run(HOME, [*words, "-tls1_2", "-quiet", "-verify_return_error"], stdin=b"junk\r\n\r\n")
        tap.holds(b"HTTP/1.1 400" in got.out, got)
        got = w.run(HOME, [*words, "-alpn", "h2"], stdin=b"")
        tap.holds(b"no application protocol" in got.err, got)

    yield "curl --proxy https://", curls
    yield "stunnel as the client", stunnel
    yield "s_client", misuse


def wrong(w, ca, cert, target):
    def plain_on_tls():
        d = tls.secure(ca, cert)
        said = {b"GET http://x/ HTTP/1.1\r\n\r\n": b"HTTP/1.1 400 ", b"CONNECT x:1 HTTP/1.1\r\n\r\n": b"HTTP/1.1 400 ",
                b"\5\1\0": b"\5\xff", b"\4\1\0\1\1\1\1\1\0": b"\0\x5b", b"\0\0\0": b"", b"\x17\3\3\0\1x": b"",
                b"\x80\x2e\1\3\1": b""}
        for text, answer in said.items():
            sock = dial(d.at, HOME)
            sock.sendall(text)
            got = b""
            while data := sock.recv(4096):
                got += data
            tap.holds(got.startswith(answer) and (answer or not got), f"{text}: {got}")
            local = sock.getsockname()
            sock.close()
            line = wait_until(lambda l=local: [s for s in d.lines("session") if s["client"] == f"{HERE}:{l[1]}"], "its line")[0]
            tap.same((line["error"], line["said"], line["end"]),
                     ("tls_protocol_error", '"plain text on a listener for TLS"', "refused"))

    def tls_on_plain():
        d = Daemon(w)
        sock = dial(d.at, HOME)
        sock.sendall(tls.hello(ca))
        tap.same(sock.recv(100), b"")
        line = wait_until(lambda: d.lines("session"), "its line")[0]
        tap.same((line["error"], line["said"]), ("tls_protocol_error", '"TLS on a listener without a certificate"'))
        tap.same(line["client"], f"{HERE}:{sock.getsockname()[1]}")
        tap.holds(d.visit(SOCKS5, target).ok, "others are served")

    def nonsense():
        """Behind a first byte that is right: an alert, an end, a line; nobody else is hurt."""
        d = tls.secure(ca, cert)
        hello = tls.hello(ca)
        texts = [b"\x16", b"\x16\3\1", b"\x16\3\1\xff\xff" + bytes(100), b"\x16\3\1\0\4\1\0\0\0", hello[:-1] + b"\xff\xff",
                 hello[:60], hello + b"GET / HTTP/1.1\r\n\r\n", b"\x16\3\1\0\5\1\0\0\1\0" * 100, hello * 2,
                 hello + b"\x15\3\3\0\2\1\0", hello + b"\x15\3\3\0\2\2\x28"]  # close_notify, and a fatal alert
        for text in texts + [bytes([0x16, 3, 1, 1, 0]) + os.urandom(256) for _ in range(50)]:
            sock = dial(d.at, HOME)
            sock.sendall(text)
            sock.shutdown(socket.SHUT_WR)
            try:
                while sock.recv(4096):
                    pass
            except ConnectionResetError:
                pass
            sock.close()
        tap.holds(tls.inside(ca, d, SOCKS5, target).ok, "a good one")
        wait_until(lambda: len(d.lines("session")) >= len(texts) + 50, "each has a line")

    def slow():
        """Who dawdles in the handshake is ended, others are not; nothing spins."""
        d = tls.secure(ca, cert, conf="timeouts { handshake = 1 }\n")
        hello = tls.hello(ca)
        socks = [dial(d.at, HOME) for _ in range(30)]
        for n, sock in enumerate(socks):
            sock.sendall(hello[:[0, 1, 5, 50, len(hello)][n % 5]])
        busy = daemon.cpu_seconds(d.workers()[0])
        with tls.inside(ca, d, SOCKS5, target) as visit:
            tls.echoes(visit)
        for sock in socks:
            sock.settimeout(10)
            while sock.recv(4096):
                pass
        tap.holds(daemon.cpu_seconds(d.workers()[0]) - busy < 0.5, "no busy loop")
        wait_until(lambda: [s["end"] for s in d.lines("session")].count("handshake-timeout") == len(socks), "all are logged")

    yield "plain text on a port for TLS", plain_on_tls
    yield "TLS on a plain port", tls_on_plain
    yield "nonsense in place of TLS", nonsense
    yield "slow handshakes", slow


def cases(w):
    server = hostile.Scripted(HOME, HERE, w.port(), tls.echo)
    ca = Authority(w)
    cert = ca.sign(HERE, "localhost")
    target = (HERE, server.port)
    for part in (protocols, programs, wrong):
        yield from part(w, ca, cert, target)


if __name__ == "__main__":
    world.main(cases, ("curl", "openssl", "stunnel4"))
