#!/usr/bin/env python3
"""Hops that refuse, break off, talk nonsense, drip or keep silent: the errno and the one line, for
blocking and non-blocking sockets, within the deadline, and never a packet beside the hop."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, servers, told, world
from lib.hostile import http_answer, socks4_reply, socks5_reply
from lib.servers import chain
from lib.told import CLOSED, NONSENSE, NO_NETWORK, REFUSED, RESET, TOO_LATE, UNKNOWN, UNREACHABLE, VAGUE
from lib.world import FAR, NEAR, ORIGIN, PYTHON

NAME = "v4.origin.test"
LIMIT = 1.0  # seconds for -t, where time runs out
IN_TIME = (LIMIT * 0.9, LIMIT * 1.5)
NOWHERE = "10.7.0.1"  # behind the proxy host, which does not forward: packets vanish


def socks5(method=0, status=None, reply=None, then=hostile.closes_at_once):
    """A SOCKS5 hop: its choice, its word on the login, its reply; None stops before that."""

    def script(peer):
        peer.socks5_greeting(method)
        if method == 2:
            peer.socks5_login(status)
        if reply is not None:
            peer.socks5_request()
            peer.say(reply)
        then(peer)

    return script


def refuses(code):
    return socks5(reply=socks5_reply(code))


def socks4(reply, then=hostile.closes_at_once):
    def script(peer):
        peer.socks4_request()
        peer.say(reply)
        then(peer)

    return script


def http(head, then=hostile.silent):
    return http_answer(head.replace("\n", "\r\n").encode() + b"\r\n\r\n", then)


def answers(data):
    """An HTTP hop that says this and closes."""
    return http_answer(data, hostile.closes_at_once)


def closes_at_the_request(peer):
    peer.socks5_greeting()
    peer.socks5_request()


def endless_head(peer):
    peer.http_request()
    peer.say(b"HTTP/1.1 200 OK\r\n")
    hostile.endless(b"X-Filler: " + b"x" * 1000 + b"\r\n")(peer)


def endless_informational(peer):
    peer.http_request()
    hostile.endless(b"HTTP/1.1 100 Continue\r\n\r\n" * 50)(peer)


def dripping(peer):
    peer.read(1)
    peer.drip(b"\x05\x00" + socks5_reply(0), 0.2)


def dripping_head(peer):
    peer.http_request()
    peer.drip(b"HTTP/1.1 200 OK\r\nX-Filler: 1\r\n\r\n", 0.2)


# By scheme (":login" where one is given): what the hop does, its script, the errno, what is said
# behind its name as a regular expression.
# fmt: off
HOPS = {
    "socks5h": [
        ("wants a login", socks5(255), "EACCES", r"wants a login \(SOCKS5 method 255\)"),
        ("chooses a method not offered", socks5(2, then=hostile.silent), "ENETUNREACH", NONSENSE),
        ("replies 1", refuses(1), "ECONNREFUSED", rf"{VAGUE} \(SOCKS5 reply 1\)"),
        ("replies 2", refuses(2), "EACCES", r"does not allow this connection \(SOCKS5 reply 2\)"),
        ("replies 3", refuses(3), "ENETUNREACH", rf"{NO_NETWORK} \(SOCKS5 reply 3\)"),
        ("replies 4", refuses(4), "EHOSTUNREACH", rf"{UNREACHABLE} \(SOCKS5 reply 4\)"),
        ("replies 5", refuses(5), "ECONNREFUSED", rf"{REFUSED} \(SOCKS5 reply 5\)"),
        ("replies 6", refuses(6), "ETIMEDOUT", r"says that the target does not answer \(SOCKS5 reply 6\)"),
        ("replies 7", refuses(7), "EOPNOTSUPP", r"does not support this command \(SOCKS5 reply 7\)"),
        ("replies 8", refuses(8), "EAFNOSUPPORT", r"cannot carry this kind of address \(SOCKS5 reply 8\)"),
        ("replies 9", refuses(9), "ECONNREFUSED", rf"{VAGUE} \(SOCKS5 reply 9\)"),
        ("replies 255", refuses(255), "ECONNREFUSED", rf"{VAGUE} \(SOCKS5 reply 255\)"),
        ("replies 4 with a name", socks5(reply=socks5_reply(4, b"\3\4none\0\0")), "EHOSTUNREACH",
         rf"{UNREACHABLE} \(SOCKS5 reply 4\)"),
        ("replies with an unknown address type", socks5(reply=socks5_reply(0, b"\7\0\0\0\0\0\0")), "ENETUNREACH",
         NONSENSE),
        ("replies with version 4", socks5(reply=b"\4\0\0\1" + bytes(6)), "ENETUNREACH", NONSENSE),
        ("closes at once", hostile.closes_at_once, "ENETUNREACH", f"({CLOSED}|{RESET})"),
        ("closes at the greeting", hostile.closes_after(3), "ENETUNREACH", CLOSED),
        ("closes at the request", closes_at_the_request, "ENETUNREACH", CLOSED),
        ("closes within the reply", socks5(reply=b"\5\0\0\1\0"), "ENETUNREACH", CLOSED),
        ("resets at the greeting", hostile.resets_after(3), "ENETUNREACH", RESET),
        ("is SOCKS4", hostile.talks((3, b"\0\x5b" + bytes(6))), "ENETUNREACH", NONSENSE),
        ("is HTTP", hostile.talks((3, b"HTTP/1.1 400 Bad Request\r\n\r\n")), "ENETUNREACH", NONSENSE),
        ("is sshd", hostile.says(b"SSH-2.0-OpenSSH_9.2\r\n"), "ENETUNREACH", NONSENSE),
        ("talks without end", hostile.endless(b"nonsense" * 1000), "ENETUNREACH", NONSENSE),
        ("sends zeros", hostile.endless(bytes(1000)), "ENETUNREACH", NONSENSE),
    ],
    "socks5h:login": [
        ("takes no login", socks5(255), "EACCES",
         r"accepts none of the offered login methods \(SOCKS5 method 255\)"),
        ("chooses an unknown method", socks5(0x7F), "ENETUNREACH", NONSENSE),
        ("refuses it, 1", socks5(2, 1), "EACCES", r"refused the login \(SOCKS5 login status 1\)"),
        ("refuses it, 255", socks5(2, 255), "EACCES", r"refused the login \(SOCKS5 login status 255\)"),
        ("closes", socks5(2), "EACCES", "refused the login"),
        ("replies 5", socks5(2, 0, socks5_reply(5)), "ECONNREFUSED", rf"{REFUSED} \(SOCKS5 reply 5\)"),
    ],
    "socks5": [
        ("replies 5, cut short", socks5(reply=b"\5\5"), "ECONNREFUSED", rf"{REFUSED} \(SOCKS5 reply 5\)"),
    ],
    "socks4": [
        ("replies 91", socks4(socks4_reply(91)), "ECONNREFUSED", rf"{VAGUE} \(SOCKS4 reply 91\)"),
        ("replies 93", socks4(socks4_reply(93)), "EACCES",
         r"was told of another user by the ident service \(SOCKS4 reply 93\)"),
    ],
    "socks4a": [
        ("replies 91", socks4(socks4_reply(91)), "ECONNREFUSED", rf"{VAGUE} \(SOCKS4 reply 91\)"),
        ("replies 91 of version 4", socks4(socks4_reply(91, 4)), "ECONNREFUSED", rf"{VAGUE} \(SOCKS4 reply 91\)"),
        ("replies 91, cut short", socks4(b"\0\x5b"), "ECONNREFUSED", rf"{VAGUE} \(SOCKS4 reply 91\)"),
        ("replies 92", socks4(socks4_reply(92)), "EACCES",
         r"could not reach the ident service of this machine \(SOCKS4 reply 92\)"),
        ("replies 89", socks4(socks4_reply(89)), "ECONNREFUSED", rf"{VAGUE} \(SOCKS4 reply 89\)"),
        ("is SOCKS5", socks4(b"\5\xff", hostile.silent), "ENETUNREACH", NONSENSE),
        ("closes", socks4(b""), "ENETUNREACH", CLOSED),
    ],
    "http": [
        ("wants a login", http("HTTP/1.1 407 Authentication Required\nContent-Length: 4\n\nbody"), "EACCES",
         r"wants a login \(HTTP 407\)"),
        ("says 403", http("HTTP/1.1 403 Forbidden\nServer: x"), "EACCES",
         r"does not allow this connection \(HTTP 403\)"),
        ("says 404", http("HTTP/1.1 404 Not Found"), "ECONNREFUSED", rf"{VAGUE} \(HTTP 404\)"),
        ("says 302", http("HTTP/1.1 302 Found\nLocation: http://x/"), "ECONNREFUSED", rf"{VAGUE} \(HTTP 302\)"),
        ("says 500", http("HTTP/1.0 500 Unable to connect"), "ECONNREFUSED", rf"{VAGUE} \(HTTP 500\)"),
        ("says 502", http("HTTP/1.1 502 Bad Gateway"), "ECONNREFUSED", rf"{VAGUE} \(HTTP 502\)"),
        ("says 503", http("HTTP/1.1 503 Unavailable"), "ECONNREFUSED", rf"{VAGUE} \(HTTP 503\)"),
        ("says 504", http("HTTP/1.1 504 Gateway Timeout"), "ETIMEDOUT",
         r"says that the target does not answer \(HTTP 504\)"),
        ("says 502, refused", http("HTTP/1.1 502 Bad\nProxy-Status: p; error=connection_refused"), "ECONNREFUSED",
         rf"{REFUSED} \(HTTP 502\)"),
        ("says 502, unknown name", http("HTTP/1.1 502 Bad\nProxy-Status: p; error=dns_error"), "EHOSTUNREACH",
         rf"{UNKNOWN} \(HTTP 502\)"),
        ("is SOCKS5", http_answer(b"\5\xff"), "ENETUNREACH", NONSENSE),
        ("is HTTP/2", http_answer(b"HTTP/2 200\r\n\r\n"), "ENETUNREACH", NONSENSE),
        ("says ICY 200", http_answer(b"ICY 200 OK\r\n\r\n"), "ENETUNREACH", NONSENSE),
        ("switches protocols", http_answer(b"HTTP/1.1 101 Switching\r\n\r\n"), "ENETUNREACH", NONSENSE),
        ("is sshd", hostile.says(b"SSH-2.0-OpenSSH_9.2\r\n"), "ENETUNREACH", NONSENSE),
        ("closes", answers(b""), "ENETUNREACH", CLOSED),
        ("closes within the head", answers(b"HTTP/1.1 200 OK\r\nX: y\r\n"), "ENETUNREACH", CLOSED + r"( \(HTTP 200\))?"),
        ("has a head without end", endless_head, "ENETUNREACH", r"sent more than any answer may hold( \(HTTP 200\))?"),
        ("has informational answers without end", endless_informational, "ENETUNREACH",
         "sent more than any answer may hold"),
    ],
    "http:login": [
        ("refuses it, 407", http("HTTP/1.1 407 Authentication Required"), "EACCES", r"refused the login \(HTTP 407\)"),
        ("refuses it, 401", http("HTTP/1.0 401 Unauthorized"), "EACCES", r"refused the login \(HTTP 401\)"),
    ],
}
# fmt: on

# All end by our own deadline.
SLOW = [
    ("socks5h", "is silent", hostile.silent),
    ("socks5h", "is silent after the greeting", socks5(0, then=hostile.silent)),
    ("socks5h", "drips", dripping),
    ("socks4a", "is silent", hostile.silent),
    ("http", "is silent", hostile.silent),
    ("http", "drips its head", dripping_head),
]


def target(scheme):
    return (ORIGIN if scheme in ("socks4", "socks5") else NAME), 80


def cases(w):
    ours = servers.viaductd(w)

    def first(kind, script, number, words):
        scheme, _, login = kind.partition(":")
        for how in told.BOTH_WAYS:
            with hostile.Scripted("proxy", NEAR, w.port(), script) as hop:
                url = hop.url(scheme, login and "alice:s3cret")
                told.expect(w, chain(url), target(scheme), number, told.hop(1, 1, url, words), how)
                w.quiet((NEAR, hop.port))

    def second(kind, script, number, words):
        scheme, _, login = kind.partition(":")
        with hostile.Scripted("proxy", FAR, w.port(), script) as hop:
            url = hop.url(scheme, login and "alice:s3cret")
            options = chain(ours.url("http", first=True), url)
            told.expect(w, options, target(scheme), number, told.hop(2, 2, url, words))
            w.quiet(ours.at(first=True))

    def too_late(scheme, script):
        for how in told.BOTH_WAYS:
            with hostile.Scripted("proxy", NEAR, w.port(), script) as hop:
                url = hop.url(scheme)
                words = told.hop(1, 1, url, TOO_LATE)
                told.expect(
                    w, ["-t", str(LIMIT), *chain(url)], target(scheme), "ETIMEDOUT", words, how, IN_TIME
                )
                w.quiet((NEAR, hop.port))

    def too_late_behind():
        """The one deadline is for all hops; a hop's own limit is for its stage."""
        with hostile.Scripted("proxy", FAR, w.port(), hostile.silent) as hop:
            url = hop.url("socks5h")
            words = told.hop(2, 3, url, TOO_LATE)
            options = ["-t", str(LIMIT), *chain(ours.url("socks5h", first=True), url, ours.url())]
            told.expect(w, options, (NAME, 80), "ETIMEDOUT", words, within=IN_TIME)
            options = chain(ours.url("socks5h", first=True), f"{url}?timeout=0.5", ours.url())
            told.expect(w, options, (NAME, 80), "ETIMEDOUT", words, within=(0.45, 1.2))

    def no_answer_at_all():
        """A first hop that no packet reaches."""
        url = f"socks5h://{NOWHERE}:1080"
        words = told.hop(1, 1, url, TOO_LATE)
        for how in told.BOTH_WAYS:
            told.expect(w, ["-t", str(LIMIT), *chain(url)], (NAME, 80), "ETIMEDOUT", words, how, IN_TIME)
            w.quiet((NOWHERE, 1080))

    for kind, rows in HOPS.items():
        for number, row in enumerate(rows):
            yield f"{kind} hop {row[0]}", lambda a=(kind, *row[1:]): first(*a)
            if number % 5 == 1:
                yield f"{kind} hop {row[0]}, second of two", lambda a=(kind, *row[1:]): second(*a)
    for scheme, what, script in SLOW:
        yield f"{scheme} hop {what}: the deadline", lambda a=(scheme, script): too_late(*a)
    yield "second hop is silent: the deadline", too_late_behind
    yield "no packet reaches the first hop: the deadline", no_answer_at_all


if __name__ == "__main__":
    world.main(cases, (PYTHON,))
