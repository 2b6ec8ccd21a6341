#!/usr/bin/env python3
"""viaductd towards hops that speak TLS: at each place of a chain, what is verified, what is said when
that fails, what others see on the way."""

import collections
import hashlib
import os
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import daemon, hostile, netns, servers, tap, tls, world
from lib.daemon import HOME, Daemon
from lib.tls import Authority
from lib.visit import HTTP, SOCKS4, SOCKS5, WAYS, Visit
from lib.web import Web, get
from lib.world import wait_until

HERE = "127.0.0.1"
BIG = 50 << 20
SECRET = b"what nobody on the way may read " * 64


def upstream(*urls):
    return "upstream { hops = {" + ", ".join(f'"{url}"' for url in urls) + "} }\n"


def through(w, *urls, conf="", **how):
    return Daemon(w, conf=upstream(*urls) + conf, **how)


def places(w, ca, cert, target):
    far = tls.secure(ca, cert, "-v")
    https = f"https://{HERE}:{far.port}?ca={ca.path}"

    def first():
        """The only hop, every protocol; who it was and where to stands in both logs."""
        d = through(w, https)
        for way in WAYS:
            with d.visit(way, target) as visit:
                tap.holds(visit.ok, f"{way.name}: {visit.code}")
                tls.echoes(visit, os.urandom(300_000))
            line = d.session(visit)
            tap.same((line["end"], line["peer"]), ("closed", f"{HERE}:{far.port}"))
            seen = wait_until(lambda out=line["out"]: [s for s in far.lines("session") if s["client"] == out], "its line there")
            tap.same((seen[0]["tls"], seen[0]["protocol"], seen[0]["target"]),
                     ("TLSv1.3", "HTTP", f"{target[0]}:{target[1]}"))

    def chains():
        """Behind a SOCKS5 hop, behind an HTTP hop, before one, twice in a row, in the middle."""
        socks, plain = Daemon(w), Daemon(w)
        s5, http = f"socks5h://{HERE}:{socks.port}", f"http://{HERE}:{plain.port}"
        for urls in ((s5, https), (http, https), (https, s5), (https, https), (s5, https, http), (http, https, https, s5),
                     (s5 + "?pipeline=lead", https + "&pipeline=lead", s5 + "?pipeline=lead")):
            d = through(w, *urls)
            for n in range(3):  # later ones may fly
                with d.visit(SOCKS5, target) as visit:
                    tap.holds(visit.ok, f"{urls} {n}: {visit.code} {d.log()[-600:]}")
                    tls.echoes(visit, os.urandom(100_000))
                tap.same(d.session(visit)["end"], "closed", urls)

    def unix():
        """On a unix socket, which has no name."""
        path = f"{w.dir}/hop.sock"
        hop = Daemon(w, conf=f'listen u {{ url = "https://unix:{path}" cert = "{cert[0]}" key = "{cert[1]}" }}\n', listens=0)
        wait_until(lambda: os.path.exists(path), "it listens")
        del hop
        got = w.run(HOME, [w.viaductd, "-x", f"https://unix:{path}", "--check-config"])
        tap.holds(got.code == 1 and b"verify=no" in got.err, got)

    def logins():
        locked = tls.secure(ca, cert, "-u", "alice:s3cret")
        url = f"https://{{}}{HERE}:{locked.port}?ca={ca.path}"
        d = through(w, url.format("alice:s3cret@"))
        tap.holds(d.visit(SOCKS5, target).ok, "with the login")
        d = through(w, url.format("alice:wrong@"))
        tap.same([d.visit(way, target).code for way in (SOCKS4, SOCKS5, HTTP)], [91, 1, 502])
        tap.holds("refused the login (HTTP 407)" in wait_until(lambda: d.lines("session"), "a line")[0]["said"], d.log())

    def forwarded():
        web = Web(w)
        d = through(w, https)
        for _ in range(3):
            got = w.run(HOME, ["curl", "-sS", "--max-time", "15", "-x", f"http://{HERE}:{d.port}", f"http://{web.at}/page"])
            tap.same((got.code, got.out[:5]), (0, b"/page"), got)

    yield "one hop with TLS", first
    yield "TLS at each place of a chain", chains
    yield "TLS on a unix socket has no name", unix
    yield "logins inside TLS", logins
    yield "requests are forwarded through TLS", forwarded


def trust(w, ca, target):
    stranger = Authority(w, "stranger")
    w.hosts(HOME, f"{HERE} right.test right.test. wrong.test sub.right.test\n")

    # certificate, host in the URL, options; words of the log, or None where all is well
    def kinds():
        good = ca.sign("right.test", HERE, "::1")
        return {
            "its name": (good, "right.test", "", None),
            "its name with a dot": (good, "right.test.", "", None),
            "its address": (good, HERE, "", None),
            "another name": (good, "wrong.test", "", "hostname mismatch"),
            "a name of the common name only": (good, "sub.right.test", "", "hostname mismatch"),
            "another address": (ca.sign("right.test", "10.9.9.9"), HERE, "", "IP address mismatch"),
            "a wildcard": (ca.sign("*.right.test"), "sub.right.test", "", None),
            "a wildcard for itself": (ca.sign("*.right.test"), "right.test", "", "hostname mismatch"),
            "expired": (ca.expired("right.test"), "right.test", "", "certificate has expired"),
            "another authority": (stranger.sign("right.test"), "right.test", "", "unable to get local issuer certificate"),
            "self-signed": ((stranger.path, stranger.key), "right.test", "", "self-signed certificate"),
            "another authority, verify=no": (stranger.sign("x"), "right.test", "no", None),
            "the system's authorities": (good, "right.test", "system", "unable to get local issuer certificate")}

    def verified(name):
        cert, host, how, words = kinds()[name]
        far = tls.secure(ca, cert, "-v")
        option = {"": f"?ca={ca.path}", "no": "?verify=no", "system": ""}[how]
        d = through(w, f"https://{host}:{far.port}{option}")
        visits = [d.visit(way, target) for way in (SOCKS4, SOCKS5, HTTP)]
        if not words:
            tap.holds(all(v.ok for v in visits), f"{[v.code for v in visits]}: {d.log()}")
            tls.echoes(visits[1])
            tap.same("verify=no" in d.log(), how == "no", "said at the start")
            return
        tap.same([v.code for v in visits], [91, 1, 502])
        tap.same(visits[2].error, "tls_certificate_error")
        line = d.session(visits[1])
        tap.same((line["error"], line["end"]), ("tls_certificate_error", "refused"))
        want = f"hop 1 of 1 (https://{host}:{far.port}) has a certificate that cannot be trusted: {words}"
        tap.same(line["said"], f'"{want}"')
        tap.same([s["command"] for s in far.lines("session-open")], [], "nothing was asked of it")

    def behind():
        """The hop whose certificate is wrong is named, wherever it stands."""
        bad = tls.secure(ca, stranger.sign(HERE))
        socks = Daemon(w)
        d = through(w, f"socks5h://{HERE}:{socks.port}", f"https://{HERE}:{bad.port}?ca={ca.path}")
        tap.same(d.visit(HTTP, target).error, "tls_certificate_error")
        said = wait_until(lambda: d.lines("session"), "its line")[0]["said"]
        tap.holds(said.startswith(f'"hop 2 of 2 (https://{HERE}:{bad.port}) has a certificate'), said)

    # what is there in place of TLS: (script, words of the log)
    impostors = {
        "plain HTTP": (lambda p: (p.read(5), p.say(b"HTTP/1.1 200 OK\r\n\r\n")), "failed the TLS handshake: wrong version number"),
        "nothing": (lambda p: p.sock.recv(4096), "closed the connection during the handshake"),
        "a reset": (lambda p: (p.read(5), p.reset()), "reset the connection during the handshake"),
        "half a handshake": (lambda p: (p.sock.recv(4096), p.say(b"\x16\3\3\0\x7a\2\0\0")), "closed the connection during the handshake"),
        "an alert": (lambda p: (p.read(5), p.say(b"\x15\3\3\0\2\2\x28")), "failed the TLS handshake: "),
        "silence": (lambda p: p.wait_for_end(), "did not answer in time")}

    def impostor(name):
        script, words = impostors[name]
        server = hostile.Scripted(HOME, HERE, w.port(), script)
        d = through(w, f"https://{HERE}:{server.port}?ca={ca.path}&timeout=1.5")
        visit = d.visit(HTTP, target)
        tap.same(visit.code, 504 if name == "silence" else 502)
        line = d.session(visit)
        tap.holds(f"hop 1 of 1 (https://{HERE}:{server.port}) {words}" in line["said"], line)
        if words.startswith("failed"):
            tap.same(visit.error, "tls_protocol_error")

    def talks_ahead():
        """A SOCKS5 hop that answers for the hop behind it: it does not get the request, nor away with it."""
        def script(peer):
            peer.socks5_greeting()
            peer.socks5_request()
            peer.say(b"\5\0\0\1\0\0\0\0\0\0" + b"HTTP/1.1 200 OK\r\n\r\n")
            peer.wait_for_end()
        server = hostile.Scripted(HOME, HERE, w.port(), script)
        d = through(w, f"socks5h://{HERE}:{server.port}?pipeline=lead", f"https://u:topsecret@{HERE}:1?verify=no&pipeline=lead")
        visit = d.visit(HTTP, target)
        tap.same(visit.error, "tls_protocol_error", d.log())
        heard = server.peers[0].heard
        tap.holds(b"CONNECT" not in heard and b"topsecret" not in heard and b"dG9w" not in heard, heard)

    def mistakes():
        junk = w.file("junk.pem", "junk\n")
        for option, words in ((f"ca={junk}", "holds no certificate in PEM"), ("ca=/none", "No such file"),
                              (f"verify=no&ca={junk}", "not both"), ("verify=perhaps", "verify=yes or verify=no")):
            got = w.run(HOME, [w.viaductd, "-x", f"https://h.test?{option}", "--check-config"])
            tap.holds(got.code == 1 and words.encode() in got.err, got)
        got = w.run(HOME, [w.viaductd, "-x", "https://u:p@h.test?verify=no", "--check-config"])
        tap.holds(got.code == 0 and b"whoever answers is taken for hop https://u@h.test:443" in got.err, got)

    for name in kinds():
        yield f"verified: {name}", lambda n=name: verified(n)
    yield "a wrong certificate in the middle", behind
    for name in impostors:
        yield f"in place of TLS: {name}", lambda n=name: impostor(n)
    yield "a hop that answers for the next one", talks_ahead
    yield "mistakes", mistakes


def printed(w, ca, cert):
    conf = w.file("print.conf", f'listen t {{ url = "https://{HERE}:4443" cert = "{cert[0]}" key = "{cert[1]}" '
                  f'client_ca = "{ca.path}" }}\nupstream {{ hops = {{"https://u:p@h.test?ca={ca.path}&timeout=2.5", '
                  '"socks5h://s:1?pipeline=lead&probe=no", "https://1.2.3.4?verify=no"} }\n')
    got = w.run(HOME, [w.viaductd, "-f", conf, "--print-config"])
    text = got.out.decode()
    for words in (f'url = "https://{HERE}:4443" cert = "{cert[0]}" key = "{cert[1]}" client_ca = "{ca.path}"',
                  f'"https://u@h.test:443?timeout=2.500&ca={ca.path}"', '"socks5h://s:1?pipeline=lead&probe=no"',
                  '"https://1.2.3.4:443?verify=no"'):
        tap.holds(words in text, f"{words} in {text}{got.err}")
    again = w.run(HOME, [w.viaductd, "-f", w.file("again.conf", text), "--print-config"])
    tap.same((again.code, again.out.decode()), (0, text), "what is printed is read")


class Wire:
    """A relay between two that keeps what passes; it sees what a sniffer on the link would."""

    def __init__(self, w, to):
        self.bytes = {"up": bytearray(), "down": bytearray()}
        self.to = to
        self.server = hostile.Scripted(HOME, HERE, w.port(), self._pass)
        self.port = self.server.port

    def _pass(self, peer):
        with netns.inside(HOME):
            other = socket.create_connection((HERE, self.to))
        peer.sock.settimeout(None)

        def carry(have, give, kept):
            while data := have.recv(1 << 16):
                kept.extend(data)
                give.sendall(data)
            give.shutdown(socket.SHUT_WR)
        back = threading.Thread(target=carry, args=(other, peer.sock, self.bytes["down"]), daemon=True)
        back.start()
        carry(peer.sock, other, self.bytes["up"])
        back.join()

    def records(self, way):
        """The types of the TLS records of this direction; fails where there is anything else."""
        data, types = bytes(self.bytes[way]), []
        while data:
            tap.holds(len(data) >= 5 and data[0] in (20, 21, 22, 23) and data[1] == 3, f"no TLS record: {data[:20]}")
            size = int.from_bytes(data[3:5], "big")
            tap.holds(len(data) >= 5 + size <= 5 + (1 << 14) + 256, "a whole record")
            types.append(data[0])
            data = data[5 + size:]
        return types


def pair(w, ca, cert):
    def encrypted():
        """viaductd, TLS, viaductd: what is between them sees records of TLS and no word of what is said."""
        server = hostile.Scripted(HOME, HERE, w.port(), tls.echo)
        far = tls.secure(ca, cert, "-u", "alice:s3cret")
        wire = Wire(w, far.port)
        near = through(w, f"https://alice:s3cret@{HERE}:{wire.port}?ca={ca.path}")
        with near.visit(SOCKS5, ("localhost", server.port)) as visit:
            tls.echoes(visit, SECRET)
        near.session(visit)
        for way in ("up", "down"):
            types = wait_until(lambda way=way: wire.records(way), "something passed")
            tap.same((types[0], types[-1], set(types) <= {20, 22, 23}), (22, 23, True), f"records {way}")
            heard = bytes(wire.bytes[way])
            for word in (SECRET[:16], b"CONNECT", b"Proxy-", b"YWxpY2U", f":{server.port}".encode()):
                tap.holds(word not in heard, f"{word} was seen {way}")
        tap.holds(len(wire.bytes["up"]) > len(SECRET), "it did pass here")

    def big():
        """50 MB each way at once through two daemons, checksums equal."""
        block = os.urandom(1 << 20)
        expected = hashlib.sha256(block * (BIG >> 20)).hexdigest()
        up, down = hashlib.sha256(), hashlib.sha256()

        def serve(peer):
            peer.sock.settimeout(None)
            sender = threading.Thread(target=lambda: [peer.say(block) for _ in range(BIG >> 20)], daemon=True)
            sender.start()
            while data := peer.sock.recv(1 << 18):
                up.update(data)
            sender.join()
            peer.sock.shutdown(socket.SHUT_WR)
        server = hostile.Scripted(HOME, HERE, w.port(), serve)
        far = tls.secure(ca, cert)
        near = through(w, f"https://{HERE}:{far.port}?ca={ca.path}")
        with near.visit(SOCKS5, (HERE, server.port)) as visit:
            visit.sock.settimeout(60)

            def send():
                for _ in range(BIG >> 20):
                    visit.sock.sendall(block)
                visit.sock.shutdown(socket.SHUT_WR)
            sender = threading.Thread(target=send, daemon=True)
            sender.start()
            while data := visit.sock.recv(1 << 18):
                down.update(data)
            sender.join()
            tap.same(near.session(visit)["end"], "closed")
        tap.same([up.hexdigest(), down.hexdigest()], [expected] * 2)

    def ends():
        """Half-close and resets go through both daemons, as what they are."""
        far = tls.secure(ca, cert)
        near = through(w, f"https://{HERE}:{far.port}?ca={ca.path}")
        ended = {}

        def serve(peer):
            peer.sock.settimeout(10)
            try:
                while peer.sock.recv(4096):
                    pass
                ended["how"] = "end"
                peer.say(b"behind the end")
            except ConnectionResetError:
                ended["how"] = "reset"
        server = hostile.Scripted(HOME, HERE, w.port(), serve)
        with near.visit(SOCKS5, (HERE, server.port)) as visit:
            visit.sock.sendall(b"x")
            visit.sock.shutdown(socket.SHUT_WR)
            tap.same((visit.rest(), ended["how"]), (b"behind the end", "end"))
        ended.clear()
        visit = near.visit(SOCKS5, (HERE, server.port))
        visit.sock.sendall(b"x")
        tls.Tls.reset(visit)
        wait_until(lambda: ended, "the target hears of it")
        tap.same(ended["how"], "reset")
        tap.same(near.session(visit)["end"], "reset-by-client")
        server = hostile.Scripted(HOME, HERE, w.port(), lambda p: (p.read(1), p.say(b"y"), p.pause(0.1), p.reset()))
        with near.visit(SOCKS5, (HERE, server.port)) as visit:
            visit.sock.sendall(b"x")
            tap.holds(visit.was_reset(), "the target's reset comes to the client")

    def stunnel():
        """A hop that is stunnel in front of microsocks' kind: an HTTP proxy that knows no TLS."""
        plain, port = servers.tinyproxy(w), w.port()
        conf = w.file("hop.conf", f"foreground = yes\npid =\n[s]\naccept = {HERE}:{port}\nconnect = {HERE}:{plain.port}\n"
                      f"cert = {cert[0]}\nkey = {cert[1]}\n")
        w.serve("stunnel", HOME, ["stunnel4", conf], port)
        web = Web(w)
        d = through(w, f"https://{HERE}:{port}?ca={ca.path}")
        for _ in range(3):
            got = w.run(HOME, ["curl", "-sS", "--max-time", "15", "-x", f"socks5h://{HERE}:{d.port}", f"http://{web.at}/page"])
            tap.same((got.code, got.out[:5]), (0, b"/page"), got)

    def many():
        """Nothing is left of many, good and bad; a worker's descriptors are given back."""
        server = hostile.Scripted(HOME, HERE, w.port(), tls.echo)
        far = tls.secure(ca, cert)
        closed = w.port()
        near = through(w, f"https://{HERE}:{far.port}?ca={ca.path}")
        near.visit(SOCKS5, (HERE, server.port)).close()
        wait_until(lambda: near.lines("session"), "the first one ends")
        counts = [daemon.descriptors(d.workers()[0]) for d in (near, far)]
        for n in range(60):
            visit = near.visit(SOCKS5, (HERE, closed if n % 3 == 2 else server.port))
            tap.same(visit.code, 5 if n % 3 == 2 else 0)
            if n % 3 == 0:
                tls.Tls.reset(visit)
            visit.close()
        for d, count in zip((near, far), counts):
            wait_until(lambda d=d, c=count: daemon.descriptors(d.workers()[0]) <= c, "descriptors")

    def at_once():
        """700 tunnels that end in the same moment: each in order, none by a reset."""
        far = tls.secure(ca, cert)
        near = through(w, f"https://{HERE}:{far.port}?ca={ca.path}")
        program, port = f"{w.build}/tests/bench/tunnels", w.port()
        w.serve("echo", HOME, [program, "--serve", f"{HERE}:{port}"], port)
        got = w.run(HOME, [program, "--proxy", f"{HERE}:{near.port}", "--target", f"{HERE}:{port}", "--parallel", "700",
                           "--echo", "4096"], timeout=60)
        tap.holds(got.code == 0 and b"errors=0 " in got.out, got)
        for d in (near, far):
            lines = wait_until(lambda d=d: d.lines("session")[699:] and d.lines("session"), "all are logged")
            tap.same(collections.Counter(line["end"] for line in lines), {"closed": 700})

    yield "an encrypted pair", encrypted
    yield "many tunnels that end at once", at_once
    yield "50 MB both ways through two daemons", big
    yield "half-close and resets through two daemons", ends
    yield "stunnel in front of a hop", stunnel
    yield "nothing is left", many


def among_others(w, ca, cert, target):
    far = tls.secure(ca, cert)
    https = f"https://{HERE}:{far.port}?ca={ca.path}"

    def failover():
        """A hop whose certificate is wrong is down like one that does not answer: nobody notices."""
        bad = tls.secure(ca, Authority(w, "somebody").sign(HERE))
        url = f"https://{HERE}:{bad.port}?ca={ca.path}"
        d = Daemon(w, conf=f'upstream {{ hops = {{"{url}", "{https}"}} mode = "failover" }}\n')
        for n in range(4):
            with d.visit(SOCKS5, target) as visit:
                tap.holds(visit.ok, f"{n}: {visit.code} {d.log()}")
                tls.echoes(visit)
            tap.same(d.session(visit)["via"], f"https://{HERE}:{far.port}")
        tap.holds(1 <= len(bad.lines("session")) <= 2, "the bad one was asked once")

    def checked():
        """Checks are made inside TLS, and see a hop go and come."""
        port, conf = w.port(), ""
        conf = f'listen t {{ url = "https://{HERE}:{port}" cert = "{cert[0]}" key = "{cert[1]}" }}\n'
        hop = Daemon(w, conf=conf, listens=1)
        url = f"https://{HERE}:{port}?ca={ca.path}"
        d = Daemon(w, conf=f'upstream {{ hops = {{"{url}"}} check = 0.1 check_target = "{HERE}:{target[1]}" fall = 1 rise = 1 }}\n')
        wait_until(lambda: len([s for s in hop.lines("session") if s.get("tls")]) > 2, "checks come")
        hop.stop()
        wait_until(lambda: " down" in d.log(), "it is noticed")
        hop = Daemon(w, conf=conf, listens=1)
        wait_until(lambda: " up" in d.log(), "and that it is back")
        tap.holds(d.visit(SOCKS5, target).ok, "it serves")

    def commands():
        """BIND by a SOCKS5 hop behind TLS; datagrams, which no such chain can carry, are refused."""
        socks = Daemon(w)
        d = through(w, https, f"socks5h://{HERE}:{socks.port}")
        with Visit(d.at, SOCKS5, (HERE, 0), command=2, ns=HOME) as visit:
            tap.same(visit.code, 0)
            with netns.inside(HOME):
                sock = socket.create_connection((HERE, visit.bound[1]))
            tap.holds(visit.second(), "the second reply")
            visit.sock.sendall(b"to the peer")
            tap.same(sock.recv(100), b"to the peer")
            sock.sendall(b"from the peer")
            tap.same(visit.read(13), b"from the peer")
            sock.close()
            tap.same(visit.rest(), b"")
            visit.sock.shutdown(socket.SHUT_WR)
            tap.same(d.session(visit)["end"], "closed")
        tap.same(d.visit(SOCKS5, ("0.0.0.0", 0), command=3).code, 7)

    def reload():
        """A reload leaves connections through TLS alone; a file that is wrong changes nothing."""
        d = through(w, https)
        old = d.visit(SOCKS5, target)
        daemon.reload(d, upstream(https))
        tls.echoes(old, os.urandom(500_000))
        said = daemon.reload(d, upstream(https + "x"), good=False)
        tap.holds("No such file" in said and "ca.pemx" in said, said)
        tls.echoes(old)
        tap.holds(d.visit(SOCKS5, target).ok, "new ones")

    yield "failover past a wrong certificate", failover
    yield "checks inside TLS", checked
    yield "BIND behind TLS", commands
    yield "reload with hops that speak TLS", reload


def launched(w, ca):
    """viaduct itself, by its private viaductd, which gets the options of the URL too."""
    at = (world.NEAR, w.port())
    cert = ca.sign(world.NEAR)
    web = Web(w, ns="origin", address=world.ORIGIN)
    conf = f'listen t {{ url = "https://{at[0]}:{at[1]}" cert = "{cert[0]}" key = "{cert[1]}" }}\nallow all {{ }}\n'
    d = Daemon(w, conf=conf, listens=1)
    url = f"https://{at[0]}:{at[1]}"
    for option, code in ((f"?ca={ca.path}", 0), ("?verify=no", 0), ("", 7)):
        got = w.via(["-x", url + option], ["curl", "-sS", "--max-time", "15", f"http://{web.at}/page"])
        tap.same(got.code, code, got)
        tap.same(got.out[:5], b"" if code else b"/page")
    tap.holds(b"cannot be trusted" in got.err, got)
    tap.same({s.get("tls") for s in d.lines("session") if s["command"] == "connect"}, {"TLSv1.3"})


def cases(w):
    server = hostile.Scripted(HOME, HERE, w.port(), tls.echo)
    ca = Authority(w)
    cert = ca.sign(HERE)
    target = (HERE, server.port)
    yield from places(w, ca, cert, target)
    yield from trust(w, ca, target)
    yield "--print-config shows the options of hops", lambda: printed(w, ca, cert)
    yield from pair(w, ca, cert)
    yield from among_others(w, ca, cert, target)
    yield "a hop with TLS for viaduct", lambda: launched(w, ca)


if __name__ == "__main__":
    world.main(cases, ("curl", "openssl", "stunnel4", "tinyproxy"))
