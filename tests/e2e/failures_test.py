#!/usr/bin/env python3
"""What real servers refuse, and hops that are dead: the errno and the one line, and never a packet
beside the hop."""

import json
import os
import re
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import servers, tap, told, world
from lib.servers import chain
from lib.told import NO_NETWORK, REFUSED, UNKNOWN, UNREACHABLE, VAGUE
from lib.world import FAR, NEAR, ORIGIN, PYTHON

NAME = "v4.origin.test"
DEAD = "10.1.0.99"  # an address of the link that nobody has

# what, (host, port), then for each hop: its name, scheme, errno, what is said behind its name.
# fmt: off
REFUSALS = [
    ("closed target", (NAME, 9), [
        ("ours", "socks5h", "ECONNREFUSED", rf"{REFUSED} \(SOCKS5 reply 5\)"),
        ("ours", "http", "ECONNREFUSED", rf"{REFUSED} \(HTTP 502\)"),
        ("ours", "socks4a", "ECONNREFUSED", rf"{VAGUE} \(SOCKS4 reply 91\)"),
        ("micro", "socks5h", "ECONNREFUSED", rf"{REFUSED} \(SOCKS5 reply 5\)"),
        ("dante", "socks5h", "ECONNREFUSED", rf"{REFUSED} \(SOCKS5 reply 5\)"),
        ("tiny", "http", "ECONNREFUSED", rf"{VAGUE} \(HTTP 50\d\)")]),
    ("closed target by address", (ORIGIN, 9), [
        ("ours", "socks5", "ECONNREFUSED", rf"{REFUSED} \(SOCKS5 reply 5\)"),
        ("ours", "socks4", "ECONNREFUSED", rf"{VAGUE} \(SOCKS4 reply 91\)")]),
    ("unknown name", ("no.such.test", 80), [
        ("ours", "socks5h", "EHOSTUNREACH", rf"{UNREACHABLE} \(SOCKS5 reply 4\)"),
        ("ours", "http", "EHOSTUNREACH", rf"{UNKNOWN} \(HTTP 502\)"),
        ("ours", "socks4a", "ECONNREFUSED", rf"{VAGUE} \(SOCKS4 reply 91\)"),
        ("micro", "socks5h", "EHOSTUNREACH|ECONNREFUSED", r".* \(SOCKS5 reply [14]\)"),
        ("tiny", "http", "ECONNREFUSED", rf"{VAGUE} \(HTTP 50\d\)")]),
    ("unreachable network", ("10.9.9.9", 80), [
        ("ours", "socks5h", "ENETUNREACH", rf"{NO_NETWORK} \(SOCKS5 reply 3\)"),
        ("ours", "http", "ENETUNREACH", rf"{NO_NETWORK} \(HTTP 502\)"),
        ("micro", "socks5h", "ENETUNREACH", rf"{NO_NETWORK} \(SOCKS5 reply 3\)"),
        ("dante", "socks5", "ENETUNREACH", rf"{NO_NETWORK} \(SOCKS5 reply 3\)")]),
    ("unreachable host", ("10.2.0.99", 80), [
        ("ours", "socks5h", "EHOSTUNREACH", rf"{UNREACHABLE} \(SOCKS5 reply 4\)"),
        ("ours", "http", "EHOSTUNREACH", rf"{UNREACHABLE} \(HTTP 502\)"),
        ("micro", "socks5h", "EHOSTUNREACH", rf"{UNREACHABLE} \(SOCKS5 reply 4\)")]),
]
# fmt: on


def cases(w):
    hops, locked = (
        {
            "ours": servers.viaductd(w, login=login),
            "micro": servers.microsocks(w, login=login),
            "dante": servers.danted(w, login=login),
            "tiny": servers.tinyproxy(w, login=login),
        }
        for login in (False, True)
    )
    ours = hops["ours"]

    def refused(name, scheme, target, number, words):
        url = hops[name].url(scheme, first=True)
        told.expect(w, chain(url), target, number, told.hop(1, 1, url, words))
        w.quiet(hops[name].at(first=True))

    def refused_behind_a_hop():
        """The line names the hop that said it."""
        words = rf"{REFUSED} \(SOCKS5 reply 5\)"
        urls = [hops["tiny"].url(first=True), hops["micro"].url(), ours.url("socks5h")]
        told.expect(w, chain(*urls), (NAME, 9), "ECONNREFUSED", told.hop(3, 3, urls[2], words))
        w.quiet(hops["tiny"].at(first=True))

    # --- dead hops --------------------------------------------------------------------------

    def dead_first():
        for how in told.BOTH_WAYS:
            for address, port, words in (
                (NEAR, w.port(), "Connection refused"),
                (DEAD, 8080, "No route to host"),
            ):
                url = f"socks5h://{address}:{port}"
                words = told.hop(1, 2, url, f"cannot be reached: {words}")
                told.expect(w, chain(url, ours.url("http")), (NAME, 80), "ENETUNREACH", words, how)
                w.quiet(*([(NEAR, port)] if address == NEAR else []))

    def dead_later(first, scheme):
        """The hop before says so; but it is a hop that is dead, not the target."""
        dead = f"http://{FAR}:{w.port()}"
        begin, between, end = hops[first].url(scheme, first=True), ours.url("http"), ours.url("socks5h")
        for position, urls in ((2, [begin, dead]), (2, [begin, dead, end]), (3, [begin, between, dead])):
            said = rf"cannot be reached: hop {position - 1} ({REFUSED}|{VAGUE}) \(.+\)"
            words = told.hop(position, len(urls), dead, said)
            told.expect(w, chain(*urls), (NAME, 80), "ENETUNREACH", words)
            w.quiet(hops[first].at(first=True))

    # --- logins -----------------------------------------------------------------------------

    def wrong_login(name):
        hop = locked[name]
        for scheme in [s for s in hop.schemes if s not in ("socks4", "socks5")]:
            for login in ("alice:wrong", "nobody:s3cret", "alice"):
                url = hop.url(scheme, first=True, login=login)
                number, _, line = told.connect(w, chain(url), NAME, 80)
                words = told.hop(1, 1, url, "(refused the login|accepts none of the offered login methods).*")
                tap.holds(re.fullmatch(words, line), line)
                tap.same(number, "EACCES", "errno")
                w.quiet(hop.at(first=True))

    def no_login(name):
        hop = locked[name]
        for scheme in [s for s in hop.schemes if s not in ("socks4", "socks5")]:
            url = hop.url(scheme, first=True, login=False)
            told.expect(w, chain(url), (NAME, 80), "EACCES", told.hop(1, 1, url, "wants a login.*"))
            w.quiet(hop.at(first=True))

    def no_secret_is_shown():
        url = locked["micro"].url(first=True, login="alice:topsecret")
        for options in (["-vv"], ["-v"], []):
            got = w.via([*options, *chain(url)], ["curl", "-s", f"http://{NAME}/"])
            tap.same(got.code, 7, "exit code")
            tap.holds(b"alice@" in got.err and b"topsecret" not in got.err, "the user, not the password")

    # --- how it is told -----------------------------------------------------------------------

    def the_programs_own_words():
        """Programs tell their users what the kernel would have told them."""
        python = f"import socket; socket.create_connection(('{NAME}', 9))"
        for options, text in (
            (chain(ours.url(first=True)), "Connection refused"),
            (chain(f"socks5h://{NEAR}:9"), "Network is unreachable"),
        ):
            got = w.via(["-q", *options], [PYTHON, "-c", python])
            tap.same(got.code, 1, "exit code")
            tap.holds(got.err.decode().rstrip().endswith(text), f"want {text!r}")
            tap.holds("viaduct" not in got.err.decode(), "-q says nothing")

    def log_file():
        log, url = f"{w.dir}/said.log", f"socks5h://{NEAR}:9"
        got = w.via(["--log", log, *chain(url)], ["curl", "-sS", f"http://{NAME}/"])
        with open(log, encoding="utf-8") as file:
            line = file.read()
        words = told.hop(1, 1, url, "cannot be reached: Connection refused; try whether the proxy runs, and its port")
        tap.holds(re.fullmatch(rf"viaduct: curl\[\d+\]: {NAME}:80: {words}\n", line), line)
        tap.holds(b"viaduct: " not in got.err, "the standard error is the program's alone")

    def json_lines():
        """--log-format json: each line is an object, whatever the program is called; on the standard error and in a file."""
        name, path = 'ca"ll\\\u00fc\t', f"{w.dir}/log.json"
        shutil.copy("/usr/bin/curl", f"{w.dir}/{name}")
        for more in ([], ["--log", path]):
            before = time.time()
            got = w.via(["--log-format", "json", *more, *chain(ours.url(first=True))], [f"{w.dir}/{name}", "-s", f"http://{NAME}:9/"])
            tap.same(got.code, 7, "curl's exit code: refused")
            if more:
                tap.same(got.err, b"", "standard error")
                with open(path, "rb") as file:
                    got.err = file.read()
            lines = [json.loads(line) for line in got.err.decode("ascii").splitlines()]
            tap.same([sorted(line) for line in lines], [["message", "pid", "program", "target", "time"]], got.err)
            line = lines[0]
            tap.same((line["program"].encode("latin-1").decode(), line["target"]), (name, f"{NAME}:9"))
            tap.holds(re.search(rf"{REFUSED} \(SOCKS5 reply 5\)$", line["message"]), line)
            tap.holds(before - 1 < line["time"] < time.time() + 1 and line["pid"] > 1, line)

    def many_lines_do_not_mix():
        """Lines of many processes at once stay whole."""
        script = f"for i in 1 2 3 4 5 6 7 8; do curl -s http://{NAME}:9/ & done; wait"
        got = w.via(chain(ours.url(first=True)), ["sh", "-c", script])
        words = told.hop(1, 1, ours.url(first=True), rf"{REFUSED} \(SOCKS5 reply 5\)")
        lines = got.err.decode().splitlines()
        whole = [line for line in lines if re.fullmatch(rf"viaduct: curl\[\d+\]: {NAME}:9: {words}", line)]
        tap.same((len(lines), len(whole)), (8, 8), "lines, and whole ones")

    for what, target, rows in REFUSALS:
        for name, scheme, number, words in rows:
            yield f"{what}, {name} as {scheme}", lambda a=(name, scheme, target, number, words): refused(*a)
    yield "closed target behind three hops", refused_behind_a_hop
    yield "the first hop is dead", dead_first
    for name, hop in hops.items():
        for scheme in hop.schemes:
            yield f"a later hop is dead, behind {name} as {scheme}", lambda a=(name, scheme): dead_later(*a)
    for name in locked:
        yield f"wrong login, {name}", lambda n=name: wrong_login(n)
        yield f"no login, {name}", lambda n=name: no_login(n)
    yield "no password is shown", no_secret_is_shown
    yield "programs tell it in their own words", the_programs_own_words
    yield "--log takes the line", log_file
    yield "--log-format json", json_lines
    yield "lines do not mix", many_lines_do_not_mix


if __name__ == "__main__":
    world.main(cases, ("curl", PYTHON, "microsocks", "danted", "tinyproxy"))
