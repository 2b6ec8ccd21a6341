#!/usr/bin/env python3
"""viaductd as a proxy for http: URLs: requests and responses of every framing at every split, kept
connections, what is refused, and what must never arrive anywhere."""

import base64
import hashlib
import os
import re
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import daemon, hostile, servers, tap, world
from lib.daemon import HOME, Daemon
from lib.visit import quiet, reset
from lib.web import HERE, VIA, Client, Web, answers, chunked, get, post
from lib.world import FAR, ORIGIN, wait_until

LOGIN = "Proxy-Authorization: Basic " + base64.b64encode(b"alice:s3cret").decode() + "\r\n"


def forwarding(w):
    d, web, other = Daemon(w), Web(w), Web(w, "origin", ORIGIN)

    def heads():
        c = Client(d)
        c.say(get(web.at, "/p?q", "Accept: */*\r\nProxy-Connection: keep-alive\r\nConnection: X-A\r\nX-A: 1\r\n"))
        status, head, body = c.response()
        tap.same([status, head], [200, f"HTTP/1.1 200 OK\r\n{VIA}Content-Length: {len(body)}\r\n\r\n"])
        tap.same(web.take(), [(f"GET /p?q HTTP/1.1\r\nHost: {web.at}\r\nAccept: */*\r\n{VIA}\r\n", b"")])

    def keep_alive():
        """Two hosts in turn on one connection, all requests said at once: answered in order."""
        before = web.visits, other.visits
        c = Client(d)
        hosts = [web.at, web.at, other.at, web.at, web.at]
        c.say("".join(get(at, f"/{number}") for number, at in enumerate(hosts)))
        got = [c.response()[2].split() for _ in hosts]
        tap.same([line[0] for line in got], [b"/0", b"/1", b"/2", b"/3", b"/4"])
        tap.holds(got[0][2] == got[1][2] and got[3][2] == got[4][2] != got[0][2], f"origin's connections: {got}")
        tap.same((web.visits - before[0], other.visits - before[1]), (2, 1), "connections to the origins")
        c.close()
        line = d.session(c)
        tap.same([line["command"], line["end"]], ["forward", "closed"])

    def log():
        c = Client(d)
        c.say(post(other.at, b"x" * 1000))
        c.response()
        local = c.sock.getsockname()
        line = wait_until(lambda: [r for r in d.lines("request") if r["client"].endswith(f":{local[1]}")], "a line")[0]
        tap.same([line[k] for k in ("client", "command", "target", "method", "status", "end", "protocol")],
                 [f"{local[0]}:{local[1]}", "forward", other.at, "POST", "200", "closed", "HTTP"])
        tap.holds(1000 < int(line["up"]) < 1200 and 30 < int(line["down"]) < 200, f"bytes: {line}")

    def pipelined():
        web.take()
        c, count = Client(d), 500
        text = b"".join(get(web.at, f"/{i}").encode() if i % 3 else post(web.at, b"b" * i, f"/{i}") for i in range(count))
        threading.Thread(target=c.say, args=(text,), daemon=True).start()
        for i in range(count):
            body = c.response()[2].split()
            tap.same([body[0], int(body[1])], [f"/{i}".encode(), 0 if i % 3 else i])
        tap.same(len(web.take()), count)

    def segments():
        """A chunked upload and a GET behind it, split at each byte."""
        text = chunked(web.at, b"hello", b" world", trailers="X-T: 1\r\nHost: evil\r\n") + get(web.at, "/2").encode()
        for cut in [*range(1, len(text)), None]:
            web.take()
            c = Client(d)
            if cut:
                c.say(text[:cut])
                time.sleep(0.001)
                c.say(text[cut:])
            else:
                for byte in text:
                    c.say(bytes([byte]))
            tap.same(c.response()[0], 200)
            tap.same(c.response()[0], 200)
            c.close()
            tap.same([body for _, body in web.take()], [b"hello worldX-T: 1\r\n", b""], f"split at {cut}")

    def response_segments():
        """A response of chunks, split at each byte; and until the end of the connection."""
        text = b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" \
               b"5;x\r\nhello\r\n0\r\nX-T: 1\r\nContent-Length: 3\r\n\r\n"
        cuts = []

        def answer(peer, _head, _body):
            cut = cuts[0]
            peer.say(text[:cut])
            time.sleep(0.001)
            peer.say(text[cut:])
        web.answer = answer
        c = Client(d)
        for cut in range(1, len(text)):
            cuts[:] = [cut]
            c.say(get(web.at))
            tap.same(c.response()[0], 103)
            tap.same(c.response()[::2], (200, b"helloX-T: 1\r\n"), f"split at {cut}")
        web.answer = web.plain

    def big(upload, chunks):
        data = os.urandom((4 if chunks else 20) << 20)

        def echo(peer, _head, body):
            head = "Transfer-Encoding: chunked" if chunks else f"Content-Length: {len(body)}"
            peer.say(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode())
            for at in range(0, len(body), 300000) if chunks else ():
                piece = body[at:at + 300000]
                peer.say(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            peer.say(b"0\r\n\r\n" if chunks else body)
        web.answer = echo
        c = Client(d)
        threading.Thread(target=c.say, args=(upload(data),), daemon=True).start()
        tap.holds(c.response()[2] == data, "what came back is what was sent")
        web.answer = web.plain

    def old():
        """HTTP/1.0 on either side."""
        c = Client(d)
        c.say(get(web.at, version="1.0", fields="Connection: keep-alive\r\n"))
        status, head, body = c.response()
        tap.holds(status == 200 and "Connection: close" in head and c.is_over(), head)
        web.answer = answers(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                             b"3\r\nabc\r\n0\r\nX: y\r\n\r\n")
        c = Client(d)
        c.say(get(web.at, version="1.0"))
        tap.same(c.all(), f"HTTP/1.1 200 OK\r\n{VIA}Connection: close\r\n\r\nabc".encode(), "neither 100 nor chunks")

        def until_end(peer, _head, _body):
            peer.say(b"HTTP/1.0 200 OK\r\n\r\nabc")
            peer.sock.shutdown(socket.SHUT_WR)
        web.answer = until_end
        for version, framing, more in (("1.0", "Connection: close\r\n", b"abc"),
                                       ("1.1", "Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n")):
            c = Client(d)
            c.say(get(web.at, version=version))
            want = f"HTTP/1.1 200 OK\r\nVia: 1.0 viaductd\r\n{framing}\r\n".encode() + more
            tap.same(c.read(len(want)), want, f"an old server, client of HTTP/{version}")
        web.answer = web.plain
        c.say(get(web.at))
        tap.same(c.response()[0], 200, "the client's connection goes on behind it")

    def bodiless():
        web.answer = answers(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        c = Client(d)
        c.say(get(web.at, method="HEAD") * 2)
        for _ in range(2):
            tap.holds("Content-Length: 5\r\n" in c.response(to_head=True)[1], "the length that GET would have")
        for status in (b"204 No", b"304 No"):
            web.answer = answers(b"HTTP/1.1 " + status + b"\r\n\r\n")
            c.say(get(web.at))
            tap.same(c.response()[0], int(status.split()[0]))
        web.answer = web.plain
        c.say(get(web.at))
        tap.same(c.response()[0], 200)

    def tunnel():
        """CONNECT on a connection that served requests."""
        c = Client(d)
        c.say(get(web.at))
        c.response()
        c.say(f"CONNECT {web.at} HTTP/1.1\r\nHost: x\r\n\r\nGET /inside HTTP/1.1\r\nHost: y\r\n\r\n")
        tap.same(c.until(b"\r\n\r\n"), b"HTTP/1.1 200 Connection established\r\n\r\n")
        tap.holds(c.response()[2].startswith(b"/inside 0"), "the tunnel")
        tap.same(web.take()[-1][0], "GET /inside HTTP/1.1\r\nHost: y\r\n\r\n", "nothing of it is touched")

    yield "a head comes and goes", heads
    yield "several hosts on one connection", keep_alive
    yield "500 pipelined requests", pipelined
    yield "a line of the log", log
    yield "a request split at each byte", segments
    yield "a response split at each byte", response_segments
    yield "20 MB and back, by length", lambda: big(lambda data: post(web.at, data), False)
    yield "4 MB and back, in chunks", lambda: big(lambda data: chunked(web.at, data[:1 << 20], data[1 << 20:]), True)
    yield "HTTP/1.0", old
    yield "responses without a body", bodiless
    yield "a tunnel behind requests", tunnel


def trouble(w):
    d, web = Daemon(w), Web(w)

    def reused():
        """The origin closes its kept connection just when it is used again."""
        def once(peer, head, body):
            web.plain(peer, head, body)
            peer.read_until(b"\r\n\r\n") if stay else None
            raise ConnectionError
        web.answer = once
        for stay in (False, True):
            for text, want in ((get(web.at, "/again"), 200), (get(web.at, "/again", method="DELETE"), 200),
                               (post(web.at, b"x"), 502 if stay else 200)):
                c = Client(d)
                c.say(get(web.at))
                tap.same(c.response()[0], 200)
                if not stay:
                    time.sleep(0.05)
                c.say(text)
                tap.same(c.response()[0], want, f"{text[:10]}, closed {'late' if stay else 'before'}")
                c.close()
        web.answer = web.plain

    def truth():
        w.far_names.know("nobody.test", "10.2.0.77")
        r = Daemon(w, "--deny", f"to={ORIGIN}:99")
        for at, status, error in ((f"{ORIGIN}:1", 502, "connection_refused"), ("nosuch.test", 502, "dns_error"),
                                  (f"{ORIGIN}:99", 403, "http_request_denied"),
                                  ("nobody.test", 502, "destination_unavailable"),
                                  ("203.0.113.1", 502, "destination_ip_unroutable")):
            for method in ("GET", "HEAD"):
                c = Client(r)
                c.say(get(at, method=method))
                got, head, body = c.response(to_head=method == "HEAD")
                tap.same(got, status, at)
                tap.holds(f"Proxy-Status: viaductd; error={error}\r\n" in head and "Connection: close" in head, head)
                tap.holds(bool(body) == (method == "GET") and c.is_over(), f"what follows: {body}")
                tap.same(r.session(c)["error"], error, "log")

    def early():
        """A response before the request is whole: it arrives, and is the last one."""
        def script(peer):
            peer.read_until(b"\r\n\r\n")
            peer.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
            peer.sock.shutdown(socket.SHUT_WR)
            peer.wait_for_end()
        server = hostile.Scripted(HOME, HERE, w.port(), script)
        c = Client(d)
        c.say(get(f"{HERE}:{server.port}", "/", "Content-Length: 100000000\r\n", "POST"))
        c.say(b"x" * 100000)
        status, head, body = c.response()
        tap.holds(status == 413 and body == b"no" and "Connection: close\r\n" in head, head)
        tap.holds(c.is_over(), "and the end")

    def expects():
        """100-continue passes both ways before the body is sent."""
        def script(peer):
            peer.read_until(b"\r\n\r\n")
            tap.holds(quiet(peer.sock, 0.1), "no body yet")
            peer.say(b"HTTP/1.1 100 Continue\r\n\r\n")
            tap.same(peer.read(5), b"hello")
            peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            peer.wait_for_end()
        server = hostile.Scripted(HOME, HERE, w.port(), script)
        c = Client(d)
        c.say(get(f"{HERE}:{server.port}", "/", "Content-Length: 5\r\nExpect: 100-continue\r\n", "POST"))
        tap.same(c.response()[0], 100)
        c.say(b"hello")
        tap.same(c.response()[0], 200)
        server.stop()

    def cut_off(text, script):
        """What is not whole never looks as if it were."""
        server = hostile.Scripted(HOME, HERE, w.port(), script)
        c = Client(d)
        c.say(get(f"{HERE}:{server.port}"))
        c.until(text)
        try:
            c.all()
            tap.fail("an end in order")
        except ConnectionResetError:
            pass
        line = wait_until(lambda: [r for r in d.lines("request") if r["target"] == f"{HERE}:{server.port}"], "a line")[0]
        tap.same([line["end"], line["status"]], ["reset-by-target", "200"])

    def client_resets():
        seen = []

        def script(peer):
            peer.read_until(b"\r\n\r\n")
            peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
            try:
                peer.wait_for_end()
            except ConnectionResetError:
                seen.append("reset")
        server = hostile.Scripted(HOME, HERE, w.port(), script)
        c = Client(d)
        c.say(get(f"{HERE}:{server.port}"))
        c.until(b"abc")
        reset(c.sock)
        wait_until(lambda: seen, "the origin sees a reset")

    def half_closed():
        """A client that ends its side behind its request gets its answer."""
        c = Client(d)
        c.say(get(web.at))
        c.sock.shutdown(socket.SHUT_WR)
        tap.same(c.response()[0], 200)
        tap.holds(c.is_over(), "the end")

    def bounded():
        """Neither a client that does not read nor an origin that does not makes the worker grow."""
        worker = d.workers()[0]
        before = daemon.own_kib(worker)

        def flood(peer, _head, _body):
            peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                peer.say(b"10000\r\n" + bytes(65536) + b"\r\n")
        web.answer = flood
        clients = [Client(d) for _ in range(10)]
        for c in clients:
            c.say(get(web.at))
        sink = hostile.Scripted(HOME, HERE, w.port(), lambda peer: peer.pause(2))
        for c in [Client(d) for _ in range(10)]:
            c.say(get(f"{HERE}:{sink.port}", "/", "Content-Length: 1000000000\r\n", "POST"))
            c.sock.settimeout(0.2)
            try:
                while True:
                    c.say(bytes(65536))
            except TimeoutError:
                pass
            clients.append(c)
        time.sleep(0.3)
        grown = daemon.own_kib(worker) - before
        tap.holds(grown < 20 * 600, f"{grown} KiB for 20 sessions that stand still")
        for c in clients:
            reset(c.sock)
        web.answer = web.plain

    def drained():
        g = Daemon(w)
        idle, busy = Client(g), Client(g)
        for c in (idle, busy):
            c.say(get(web.at))
            c.response()
        hold = threading.Event()

        def late(peer, head, body):
            hold.wait(5)
            web.plain(peer, head, body)
        web.answer = late
        busy.say(get(web.at))
        time.sleep(0.1)
        g.signal(signal.SIGTERM)
        tap.holds(idle.is_over(), "who waits for nothing is let go")
        tap.holds(g.running(), "who waits for a response is not")
        hold.set()
        tap.same(busy.response()[0], 200)
        tap.holds(busy.is_over(), "and then it ends")
        tap.same(g.end(), 0)
        web.answer = web.plain

    def timeouts():
        t = Daemon(w, conf="timeouts { handshake = 0.3 idle = 0.5 }\n")
        web.answer = lambda *_: None
        for said, status in (("GET http", None), (get(web.at), 504)):
            c = Client(t)
            c.say(said)
            began = time.monotonic()
            data = c.all()
            tap.holds(0.2 < time.monotonic() - began < 5, "in time")
            tap.same(data[9:12], str(status).encode() if status else b"")
        web.answer = web.plain

    yield "a kept connection that the origin has closed", reused
    yield "truthful refusals", truth
    yield "a response before the request is whole", early
    yield "100-continue", expects
    yield "an origin that breaks off, by length", lambda: cut_off(
        b"abc", hostile.http_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", hostile.closes_at_once))
    yield "an origin that breaks off, in chunks", lambda: cut_off(
        b"abc", hostile.http_answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", hostile.closes_at_once))
    yield "an origin that resets", lambda: cut_off(
        b"abc", hostile.http_answer(b"HTTP/1.1 200 OK\r\n\r\nabc", lambda peer: (peer.pause(0.1), peer.reset())))
    yield "an origin that sends a bad chunk", lambda: cut_off(
        b"\r\n\r\n", hostile.http_answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n"))
    yield "a client that resets", client_resets
    yield "a client that ends its side", half_closed
    yield "peers that do not read", bounded
    yield "a drain", drained
    yield "deadlines", timeouts


def logins(w):
    web, open_web = Web(w), Web(w)
    d = Daemon(w, "-u", "alice:s3cret", "-u", "bob:b0b", "--deny", f"users=bob to={open_web.at}")
    bob = "Proxy-Authorization: Basic " + base64.b64encode(b"bob:b0b").decode() + "\r\n"

    def needed():
        for fields in ("", LOGIN.replace("Basic ", "Basic AA"), "Proxy-Authorization: Bearer x\r\n"):
            c = Client(d)
            c.say(get(web.at, fields=fields))
            status, head, _ = c.response()
            tap.holds(status == 407 and 'Proxy-Authenticate: Basic realm="viaduct"\r\n' in head, head)
        tap.same(web.take(), [])
        c = Client(d)
        c.say(get(web.at, fields=LOGIN) * 2)
        tap.same([c.response()[0], c.response()[0]], [200, 200])
        tap.holds(all("Authorization" not in head for head, _ in web.take()), "the login stays here")
        c.say(get(web.at))
        tap.same(c.response()[0], 407, "each request has its own login")

    def each_judged():
        """A connection that one user opened is not another's way around the rules."""
        c = Client(d)
        c.say(get(open_web.at, fields=LOGIN))
        tap.same(c.response()[0], 200)
        c.say(get(open_web.at, fields=bob))
        tap.same(c.response()[0], 403)
        tap.same(d.session(c)["user"], "bob")

    yield "each request is logged in", needed
    yield "and judged by its own user", each_judged


def programs(w):
    nginx = servers.Nginx(w)
    big = nginx.big()
    chain = [servers.viaductd(w, login=True), servers.microsocks(w)]
    d = Daemon(w)
    users = Daemon(w, "-u", "alice:s3cret")
    proxy = f"http://{HERE}:{d.port}"

    def curl(*words, via=None):
        got = w.run(HOME, ["curl", "-sS", "--max-time", "15", "-x", via or proxy, *words])
        tap.same([got.code, got.err], [0, b""], f"curl {words}")
        return got.out

    def curls():
        tap.same(curl("http://origin.test/index.html"), nginx.page)
        tap.same(curl("http://origin.test/", "http://v4.origin.test:1518/", f"http://{ORIGIN}:25/"), nginx.page * 3)
        tap.holds(curl("http://origin.test/big") == big, "32 MiB")
        tap.same(curl("-r", "100-199", "http://origin.test/big"), big[100:200])
        tap.same(curl("-r", "0-9,20-29", "-o", "/dev/null", "-w", "%{http_code}", "http://origin.test/big"), b"206")
        tap.same(curl("--http1.0", "http://v6.origin.test/"), nginx.page)
        tap.holds(f"Content-Length: {len(big)}".encode() in curl("-I", "http://origin.test/big"), "HEAD")
        tap.same(curl("-U", "alice:s3cret", "http://origin.test/", via=f"http://{HERE}:{users.port}"), nginx.page)
        tap.same(curl("-o", "/dev/null", "-w", "%{http_code}", "http://origin.test/nosuch"), b"404")

    def one_connection():
        out = curl("-v", "--stderr", "-", "http://origin.test/whoami", "http://v4.origin.test/whoami",
                   "http://origin.test/whoami").decode("latin-1")
        tap.same(out.count("Re-using existing connection"), 2, out)

    def uploads():
        web = Web(w, "origin", ORIGIN)
        path = w.file("upload", "")
        with open(path, "wb") as file:
            file.write(big[:5 << 20])
        for more in (("--data-binary", f"@{path}"), ("-T", path), ("-T", "-", "-H", "Transfer-Encoding: chunked"),
                     ("-T", path, "-H", "Expect: 100-continue", "--expect100-timeout", "0.2"), ("-F", f"x=@{path}")):
            web.take()
            words = ["curl", "-sS", "--max-time", "15", "-x", proxy, *more, f"http://{web.at}/up"]
            got = w.run(HOME, words, stdin=big[:5 << 20])
            tap.holds(got.code == 0 and got.out.startswith(b"/up"), str(got))
            tap.holds(big[:5 << 20] in web.take()[0][1], "what arrived")

    def wgets():
        env = {"http_proxy": proxy}
        got = w.run(HOME, ["wget", "-q", "-O", "-", "http://origin.test/", "http://origin.test/big"], env=env)
        tap.holds(got.code == 0 and got.out == nginx.page + big, "wget")
        partial = w.file("partial", "")
        with open(partial, "wb") as file:
            file.write(big[:1000000])
        got = w.run(HOME, ["wget", "-q", "-c", "-O", partial, "http://origin.test/big"], env=env)
        with open(partial, "rb") as file:
            tap.holds(got.code == 0 and file.read() == big, "wget goes on with a part")

    def git():
        servers.git_repository(w, nginx.root)
        got = w.run(HOME, ["git", "clone", "-q", "http://origin.test/repo.git", f"{w.dir}/cloned"], env={"http_proxy": proxy})
        tap.holds(got.code == 0 and os.path.exists(f"{w.dir}/cloned/file11"), str(got))

    def aria2():
        """Many ranges at once, put together again."""
        words = ["aria2c", "-q", "--no-conf", f"--all-proxy={proxy}", "-x", "8", "-s", "8", "-k", "1M", "--file-allocation=none",
                 "-d", w.dir, "-o", "aria", "http://origin.test/big"]
        got = w.run(HOME, words)
        tap.same(got.code, 0, str(got))
        with open(f"{w.dir}/aria", "rb") as file:
            tap.holds(file.read() == big, "what arrived")

    def apt():
        """apt's own way: pipelined requests, conditional ones, ranges."""
        repo, state = f"{nginx.root}/debian", f"{w.dir}/apt"
        for path in (repo, f"{state}/lists/partial", f"{state}/cache/archives/partial"):
            os.makedirs(path)
        names = [f"p{number}" for number in range(6)]
        packages = ""
        for name in names:
            root = f"{w.dir}/deb/{name}"
            w.file(f"deb/{name}/DEBIAN/control", f"Package: {name}\nVersion: 1\nArchitecture: all\n"
                                                 "Maintainer: A <a@origin.test>\nDescription: x\n")
            w.file(f"deb/{name}/usr/share/{name}", os.urandom(40000).hex())
            tap.same(w.run(HOME, ["dpkg-deb", "-b", "--root-owner-group", root, f"{repo}/{name}.deb"]).code, 0)
            with open(f"{repo}/{name}.deb", "rb") as file:
                data = file.read()
            packages += (f"Package: {name}\nVersion: 1\nArchitecture: all\nFilename: ./{name}.deb\nSize: {len(data)}\n"
                         f"SHA256: {hashlib.sha256(data).hexdigest()}\n\n")
        nginx.put("debian/Packages", packages.encode())
        source = w.file("apt/sources.list", "deb [trusted=yes] http://origin.test/debian ./\n")
        status = w.file("apt/status", "")
        options = [f"Acquire::http::Proxy={proxy}", f"Dir::Etc::sourcelist={source}", "Dir::Etc::sourceparts=-",
                   f"Dir::State::lists={state}/lists", f"Dir::Cache={state}/cache", f"Dir::State::status={status}",
                   "APT::Sandbox::User=root", "APT::Get::List-Cleanup=0", "Debug::NoLocking=1", "Acquire::Languages=none"]
        words = [word for option in options for word in ("-o", option)]
        for more in (("update",), ("update",), ("-y", "--download-only", "--no-install-recommends", "install", *names)):
            got = w.run(HOME, ["apt-get", *words, *more], timeout=50)
            tap.holds(got.code == 0, str(got))
        tap.same(sorted(name for name in os.listdir(f"{state}/cache/archives") if name.endswith(".deb")),
                 [f"{name}_1_all.deb" for name in names])
        tap.holds(any(r["target"] == "origin.test:80" for r in d.lines("request")), "by the proxy")

    def chains():
        """Through hops of SOCKS and of HTTP, where only the first is on the way."""
        web = Web(w, "origin", ORIGIN)
        for hops in ((chain[0].url("http"),), (chain[0].url("socks5h"),), (chain[1].url(), chain[0].url("http"))):
            c = Daemon(w, *servers.chain(*hops))
            client = Client(c)
            client.say(get("origin.test", "/index.html") + get(web.at, "/2") + get(web.at, "/3"))
            tap.same(client.response()[2], nginx.page)
            tap.holds(client.response()[2].startswith(b"/2 0") and client.response()[2].startswith(b"/3 0"), "the others")
            tap.same([head.split()[1] for head, _ in web.take()], ["/2", "/3"])
            c.stop()

    def dead_chain():
        c = Daemon(w, "-x", f"socks5h://{FAR}:1")
        client = Client(c)
        client.say(get(ORIGIN))
        tap.same(client.response()[0], 502)

    yield "curl", curls
    yield "curl keeps one connection for several hosts", one_connection
    yield "curl's uploads", uploads
    yield "wget", wgets
    yield "git", git
    yield "aria2c", aria2
    yield "apt-get", apt
    yield "upstream chains", chains
    yield "a dead upstream", dead_chain


def cases(w):
    for part in (forwarding, trouble, logins, programs):
        yield from part(w)


if __name__ == "__main__":
    world.main(cases, ("ss", "ip", "apt-get", "aria2c", "curl", "dpkg-deb", "wget", "git", "nginx", "microsocks"))
