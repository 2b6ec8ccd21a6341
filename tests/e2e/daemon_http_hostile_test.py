#!/usr/bin/env python3
"""viaductd between clients and origins that hope to be misread: each is refused, and nothing of it
arrives where it should not."""

import os
import random
import re
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import daemon, hostile, tap, world
from lib.daemon import HOME, Daemon
from lib.visit import dial, quiet, reset
from lib.web import HERE, Client, Web, answers, get
from lib.world import wait_until

SMUGGLED = "GET http://{at}/smuggled HTTP/1.1\r\nHost: {at}\r\n\r\n"
POST = "POST http://{at}/ HTTP/1.1\r\nHost: {at}\r\n"
HOSTILE = {
    "a length and chunks": (400, POST + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "chunks and a length": (400, POST + "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n"),
    "two lengths": (400, POST + "Content-Length: 0\r\nContent-Length: 44\r\n\r\n"),
    "the same length twice": (400, POST + "Content-Length: 0\r\nContent-Length: 0\r\n\r\n"),
    "a list of lengths": (400, POST + "Content-Length: 0, 44\r\n\r\n"),
    "a length with a sign": (400, POST + "Content-Length: +0\r\n\r\n"),
    "a length behind a folded line": (400, POST + "A: b\r\n Content-Length: 44\r\n\r\n"),
    "a space before the colon": (400, POST + "Content-Length : 44\r\n\r\n"),
    "a name with a control byte": (400, POST + "Content-Length\x0b: 44\r\n\r\n"),
    "a coding with a control byte": (400, POST + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "a coding in quotes": (400, POST + "Transfer-Encoding: 'chunked'\r\n\r\n0\r\n\r\n"),
    "an unknown last coding": (400, POST + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "a coding before chunks": (501, POST + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "chunks from HTTP/1.0": (400, "POST http://{at}/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "two Hosts": (400, "GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\nHost: evil\r\n\r\n"),
    "no Host": (400, "GET http://{at}/ HTTP/1.1\r\n\r\n"),
    "a bare CR": (400, POST + "A: b\rContent-Length: 44\r\n\r\n"),
    "a bare LF": (400, POST + "A: b\nContent-Length: 44\r\n\r\n"),
    "bare LFs everywhere": (400, "GET http://{at}/ HTTP/1.1\nHost: {at}\n\n"),
    "a NUL in a field": (400, POST + "A: b\0c\r\n\r\n"),
    "a NUL in the host": (400, "GET http://{at}\0.evil/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a user in the URL": (400, "GET http://evil@{at}/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a backslash in the URL": (400, "GET http://evil\\@{at}/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a port that wraps": (400, "GET http://127.0.0.1:65616/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a line break in the URL": (400, "GET http://{at}/ HTTP/1.1\r\n X: y\r\nHost: x\r\n\r\n"),
    "https": (501, "GET https://{at}/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    "ftp": (501, "GET ftp://{at}/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a path": (400, "GET / HTTP/1.1\r\nHost: {at}\r\n\r\n"),
    "TRACE": (501, "TRACE http://{at}/ HTTP/1.1\r\nHost: {at}\r\n\r\n"),
    "HTTP/2": (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "OPTIONS *": (200, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"),
    "OPTIONS, Max-Forwards 0": (200, "OPTIONS http://{at}/ HTTP/1.1\r\nHost: {at}\r\nMax-Forwards: 0\r\n\r\n"),
    "a long field": (431, "GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\nA: " + "b" * 66000 + "\r\n\r\n"),
    "a head without end": (431, "GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\n" + "A: b\r\n" * 12000),
    "300 fields": (431, "GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\n" + "A: b\r\n" * 300 + "\r\n"),
}
# Behind a good head: that much was forwarded, the rest never is, and the origin's connection ends.
BAD_CHUNKS = ("0x1\r\nA\r\n", "+1\r\nA\r\n", "-1\r\nA\r\n", " 1\r\nA\r\n", "1\nA\n0\n\n", "g\r\n", "\r\n", ";a\r\n",
              "10000000000000001\r\nA\r\n", "1\r\nAB\r\n0\r\n\r\n", "1\r\nA\n0\r\n\r\n", "1;a\rb\r\nA\r\n", "0\r\nX y\r\n\r\n",
              "0\r\n A: b\r\n\r\n", "1;" + "x" * 5000 + "\r\nA\r\n", "0\r\nA: " + "x" * 9000 + "\r\n\r\n")
BAD_RESPONSES = {
    "no HTTP": "SSH-2.0-OpenSSH_9.2\r\n\r\n", "an old stream": "ICY 200 OK\r\n\r\n", "HTTP/2": "HTTP/2 200 OK\r\n\r\n",
    "nothing": "", "half a head": "HTTP/1.1 200 OK\r\nA: b", "a status of letters": "HTTP/1.1 2oo OK\r\n\r\n",
    "a length and chunks": "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a negative length": "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc",
    "an unknown coding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
    "a folded line": "HTTP/1.1 200 OK\r\nA: b\r\n Content-Length: 3\r\n\r\nabc",
    "a bare CR": "HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\nabc", "a NUL": "HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
    "101": "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "a long head": "HTTP/1.1 200 OK\r\nA: " + "b" * 66000 + "\r\n\r\n",
    "300 fields": "HTTP/1.1 200 OK\r\n" + "A: b\r\n" * 300 + "\r\n",
    "no blank line in 70 kB": "HTTP/1.1 200 OK\r\n" + "A: b\r\n" * 12000,
}


REQUESTS = (b"GET http://AT/ HTTP/1.1\r\nHost: x\r\nConnection: a, b\r\n\r\n",
            b"POST http://AT/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
            b"PUT http://AT/?q HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
            b"HEAD http://AT HTTP/1.0\r\n\r\n", b"CONNECT AT HTTP/1.1\r\nHost: x\r\n\r\nearly",
            b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
RESPONSES = (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"HTTP/1.0 200 OK\r\n\r\nhello",
             b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n", b"HTTP/1.1 304 No\r\nConnection: close\r\n\r\n",
             b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n")

MUTATIONS = int(os.environ.get("VIADUCT_TEST_MUTATIONS", "1500"))  # the long run has 20,000
tap.CASE_SECONDS = max(60, MUTATIONS // 40)


def mutated(chance, text):
    text = bytearray(text)
    for _ in range(chance.randint(0, 3)):
        at = chance.randrange(len(text) + 1)
        how = chance.randrange(5)
        if how == 0 and at < len(text):
            text[at] = chance.randrange(256)
        elif how == 1:
            del text[at:at + chance.randint(1, 5)]
        elif how == 2:
            text[at:at] = chance.randbytes(chance.randint(1, 20))
        elif how == 3:
            text[at:at] = chance.choice((b"\0", b"\r\n", b"\n", b":", b" ", b"A")) * chance.choice((1, 2, 70000))
        else:
            del text[at + 1:]
    return bytes(text)


def hostility(w):
    d, web = Daemon(w), Web(w)

    def refused(status, text):
        """With a smuggled request behind it: one answer, the end, and the origin knows of nothing."""
        before = web.visits
        c = Client(d)
        try:
            c.say((text + SMUGGLED).format(at=web.at))
        except (ConnectionError, TimeoutError):
            pass
        got, head, _ = c.response()
        tap.same(got, status)
        tap.holds("Connection: close\r\n" in head, head)
        tap.holds(c.is_over(), "then it ends")
        tap.same([web.visits - before, web.take()], [0, []], "what reached the origin")

    def bad_chunk(text):
        seen = []

        def script(peer):
            peer.sock.settimeout(5)
            while data := peer.sock.recv(65536):
                seen.append(data)
        server = hostile.Scripted(HOME, HERE, w.port(), script)
        at = f"{HERE}:{server.port}"
        c = Client(d)
        c.say(POST.format(at=at) + "Transfer-Encoding: chunked\r\n\r\n" + text + SMUGGLED.format(at=at))
        tap.same(c.response()[0], 400)
        tap.holds(c.is_over(), "then it ends")
        wait_until(lambda: not server.playing, "the origin's connection ends")
        got = b"".join(seen)
        tap.holds(b"smuggled" not in got and not got.endswith(b"0\r\n\r\n"), f"the origin got {got}")

    def bad_response(text):
        server = hostile.Scripted(HOME, HERE, w.port(), hostile.http_answer(text.encode("latin-1"), hostile.closes_at_once))
        c = Client(d)
        c.say(get(f"{HERE}:{server.port}") * 2)
        status, head, body = c.response()
        tap.same(status, 502)
        tap.holds(re.search(r"Proxy-Status: viaductd; error=http_\w+\r\n", head) and body.endswith(b".\n"), head)
        tap.holds(c.is_over(), "then it ends")
        tap.holds(d.session(c)["error"].startswith("http_"), "the log")

    def split_response():
        """Bytes behind a response are nobody's: the next request gets a connection of its own."""
        web.answer = answers(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        c = Client(d)
        for _ in range(3):
            c.say(get(web.at))
            tap.same(c.response()[2], b"ok")
            time.sleep(0.02)
        tap.holds(quiet(c.sock, 0.1), "and nothing more")
        web.answer = web.plain

    def mutations():
        """Requests and responses with mistakes, in pieces, some broken off: nothing dies, nothing is
        left, and what is whole is answered."""
        chance = random.Random(1)
        m = Daemon(w, conf="timeouts { handshake = 0.5 connect = 0.5 idle = 1 }\n")
        worker, said = m.workers()[0], [b""]

        def script(peer):
            peer.sock.settimeout(1)
            while peer.sock.recv(65536):
                text = mutated(chance, chance.choice(RESPONSES))
                for at in range(0, len(text), piece := chance.choice((1, 9, 9999)) if len(text) < 300 else 9999):
                    peer.say(text[at:at + piece])
                if chance.random() < 0.3:
                    (peer.reset if chance.random() < 0.5 else peer.sock.close)()
                    return
        server = hostile.Scripted(HOME, HERE, w.port(), script)
        seeds = [text.replace(b"AT", f"{HERE}:{server.port}".encode()) for text in REQUESTS]
        c = Client(m)
        c.say(get(web.at))
        tap.same(c.response()[0], 200)
        c.close()
        fds = wait_until(lambda: not daemon.sockets(HOME, worker) and daemon.descriptors(worker), "an idle worker")
        for number in range(MUTATIONS):
            sock = dial(m.at, HOME)
            text = b"".join(mutated(chance, chance.choice(seeds)) if chance.random() < 0.7 else chance.choice(seeds)
                            for _ in range(chance.randint(1, 3)))
            try:
                for at in range(0, len(text), piece := chance.choice((1, 7, 5000)) if len(text) < 300 else 5000):
                    sock.sendall(text[at:at + piece])
                if chance.random() < 0.3:
                    sock.shutdown(socket.SHUT_WR)
                if chance.random() < 0.5:
                    sock.settimeout(0.05)
                    while data := sock.recv(65536):
                        said.append(data)
            except OSError:
                pass
            reset(sock) if chance.random() < 0.3 else sock.close()
        wait_until(lambda: not daemon.sockets(HOME, worker), "no connection is left")
        wait_until(lambda: daemon.descriptors(worker) <= fds, "descriptors are back at the start value")
        tap.same(m.workers(), [worker], "the worker")
        tap.holds(sum(b"HTTP/1.1 " in data for data in said) > 200, "many were answered")
        c = Client(m)
        c.say(get(web.at))
        tap.same(c.response()[0], 200, "it serves")
        tap.same(m.stop(), 0, "exit status")

    def loops():
        """The daemon as its own target is told what it is."""
        c = Client(d)
        c.say(get(f"{HERE}:{d.port}"))
        status, _, body = c.response()
        tap.same([status, body], [400, b"This is a proxy, not a web server.\n"])

    for what, (status, text) in HOSTILE.items():
        yield f"a request with {what}", lambda s=status, t=text: refused(s, t)
    for text in BAD_CHUNKS:
        yield f"a bad chunk: {ascii(text[:30])}", lambda t=text: bad_chunk(t)
    for what, text in BAD_RESPONSES.items():
        yield f"a response with {what}", lambda t=text: bad_response(t)
    yield "more than a response", split_response
    yield "the daemon as its own target", loops
    yield f"{MUTATIONS} connections with mistakes", mutations


if __name__ == "__main__":
    world.main(hostility, ("ip", "ss"))
