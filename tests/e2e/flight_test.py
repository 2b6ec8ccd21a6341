#!/usr/bin/env python3
"""Several messages, and several hops, in one flight: what is said when, in how many round trips, and
that nothing bad comes of it with hops that cannot bear it: no login shown to a wrong hop, no byte of
the program ahead of the last answer, no hop left out, no target dialled twice, the true reason."""

import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import delay, hostile, proxies, servers, tap, world
from lib.flights import LOGIN, closes_on_flights, echo, echoes, one_at_a_time, relays, replies, web
from lib.servers import PASSWORD, chain
from lib.sniffer import Sniffer
from lib.told import BOTH_WAYS
from lib.world import FAR, NEAR, ORIGIN, PYTHON, wait_until

BASIC = "YWxpY2U6czNjcmV0"  # of this login
AGAIN = "takes one message at a time: once more so"
PATIENCE = 1.9  # seconds: less than what is waited for an answer to a flight. Who took less did not wait.

# Connects `count` times, one after the other; for each: what came of it and the seconds it took to
# the first byte back.
_TALK = """
import errno, select, socket, sys, time
how, host, port, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
for _ in range(count):
    s = socket.socket()
    s.setblocking(how == "blocking")
    began = time.monotonic()
    number = s.connect_ex((host, port))
    if number == errno.EINPROGRESS:
        poll = select.poll()
        poll.register(s, select.POLLOUT)
        poll.poll()
        number = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    s.setblocking(True)
    said = errno.errorcode.get(number, number)
    if number == 0:
        s.sendall(b"PING")
        said = "ok" if s.recv(100) == b"PING" else "other bytes"
    print(said, time.monotonic() - began, flush=True)
    s.close()
"""


def cases(w):
    origin = hostile.Scripted("origin", ORIGIN, 7, echo)
    far = Sniffer("proxy", "org1")

    def talk(urls, count=1, how="blocking", options=(), env=None, host=ORIGIN, port=7):
        """[(what came of it, seconds)], and the lines that viaduct said."""
        argv = [PYTHON, "-c", _TALK, how, host, str(port), str(count)]
        got = w.via([*options, *chain(*urls)], argv, env=env, timeout=50)
        tap.same(got.code, 0, "exit code")
        rows = [line.split() for line in got.out.decode().splitlines()]
        return [(said, float(seconds)) for said, seconds in rows], got.err.decode().splitlines()

    def dials(before=[0]):  # pylint: disable=dangerous-default-value
        """Connections to the target since the last call."""
        count, before[0] = len(origin.peers) - before[0], len(origin.peers)
        return count

    def expect(result, *words):
        tap.same([said for said, _ in result], list(words), "what came of it")

    # --- what is said when --------------------------------------------------------------------

    def lead(*urls):
        return [url + "?pipeline=lead" for url in urls]

    def one_segment():
        for how in BOTH_WAYS:
            early = []
            with hostile.Scripted("proxy", NEAR, w.port(), relays(early=early)) as hop:
                dials()
                expect(talk(lead(hop.url("socks5h")), 2, how)[0], "ok", "ok")
                request = b"\5\1\0" + b"\5\1\0\1\x0a\x02\0\2\0\7"
                tap.same(early, [request, request], "the first segment")
                tap.same((len(hop.peers), dials()), (2, 2), "connections to the hop, to the target")

    def unknown_is_serial():
        early = []
        with hostile.Scripted("proxy", NEAR, w.port(), relays(early=early)) as hop:
            for url in (hop.url("socks5h"), hop.url("socks5h") + "?pipeline=off"):
                expect(talk([url], 2)[0], "ok", "ok")
        tap.same(early, [b"\5\1\0"] * 4, "the first segment")

    def found_out():
        """Once a probe has said so: the next launch, and the same one."""
        early, env = [], {"XDG_CACHE_HOME": f"{w.dir}/found"}
        with hostile.Scripted("proxy", NEAR, w.port(), relays(early=early)) as hop:
            url = hop.url("socks5h")
            w.via(["-q", "-x", url], ["true"], env=env)
            wait_until(lambda: os.path.exists(f"{w.dir}/found/viaduct/hops"), "the probe's word")
            early.clear()
            expect(talk([url], env=env)[0], "ok")
            expect(talk([url + "?pipeline=off"], env=env)[0], "ok")
        with hostile.Scripted("proxy", NEAR, w.port(), relays(early=early)) as hop:
            env = {"XDG_CACHE_HOME": f"{w.dir}/found2"}
            script = f"until test -e {w.dir}/found2/viaduct/hops; do sleep 0.02; done; exec \"$@\""
            argv = ["sh", "-c", script, "sh", PYTHON, "-c", _TALK, "blocking", ORIGIN, "7", "1"]
            tap.same(w.via(["-q", "-x", hop.url("socks5h")], argv, env=env).code, 0)
        segments = [len(data) for data in early]
        # in a flight, serially, the probe's flight, in a flight
        tap.same(segments, [13, 3, 13, 13], "lengths of the first segments")

    def no_early_bytes():
        """The program's bytes wait for the last answer, however long that takes."""
        heard = []

        def watch(peer):
            peer.socks5_greeting()
            peer.socks5_request()
            peer.pause(0.4)
            peer.sock.setblocking(False)
            try:
                heard.append(peer.sock.recv(100))
            except BlockingIOError:
                heard.append(None)
            peer.sock.settimeout(10)
            echoes(peer)

        for how in BOTH_WAYS:
            with hostile.Scripted("proxy", FAR, w.port(), watch) as two:
                with hostile.Scripted("proxy", NEAR, w.port(), relays(pause=0.2)) as one:
                    expect(talk(lead(one.url("socks5h"), two.url("socks5h")), 1, how)[0], "ok")
        tap.same(heard, [None, None], "behind the request, before the answer")

    # --- logins ---------------------------------------------------------------------------------

    def two_logins():
        """The second hop's login is in no flight before that way was gone once; then it is."""
        early = []
        with hostile.Scripted("proxy", FAR, w.port(), relays(login=True, early=early)) as two:
            one = servers.viaductd(w, login=True)
            urls = lead(one.url(first=True), two.url("socks5h", LOGIN))
            expect(talk(urls, 3)[0], "ok", "ok", "ok")
            tap.same(early[0], b"\5\2\0\2", "first: the greeting alone")
            tap.same(early[1][:3], b"\5\1\2", "then: the login alone is offered")
            tap.holds(early[1] == early[2] and PASSWORD.encode() in early[1], "and said at once")

    def wrong_hop(position):
        """A web server where a hop with a login was thought to be never sees that login."""
        with hostile.Scripted("proxy", FAR if position else NEAR, w.port(), web) as hop:
            before = [servers.viaductd(w).url(first=True)] if position else []
            for how in BOTH_WAYS:
                result, _ = talk(lead(*before, hop.url("socks5h", LOGIN)), 2, how)
                expect(result, "ENETUNREACH", "ENETUNREACH")
            heard = b"".join(peer.heard for peer in hop.peers)
            tap.holds(heard and PASSWORD.encode() not in heard, f"heard: {heard!r}")

    def wants_no_login_any_more():
        """A hop that took the login, and then wants none: once more, with both offered."""
        chosen = [2, 2]

        def script(peer):
            method = chosen.pop(0) if chosen else 0
            methods = peer.socks5_greeting(None)
            if method not in methods:
                peer.say(b"\5\xff")
                return
            peer.say(bytes([5, method]))
            if method:
                peer.socks5_login()
            peer.socks5_request()
            echoes(peer)

        with hostile.Scripted("proxy", NEAR, w.port(), script) as hop:
            result, _ = talk(lead(hop.url("socks5h", LOGIN)), 4)
            expect(result, "ok", "ok", "ok", "ok")
            tap.same(len(hop.peers), 5, "connections: one was made again")
            tap.holds(PASSWORD.encode() not in hop.peers[3].heard + hop.peers[4].heard, "no login then")

    # --- refusals ---------------------------------------------------------------------------------

    def refused(code, name):
        """What a hop says of a request is final, in a flight as well."""
        for how in BOTH_WAYS:
            with hostile.Scripted("proxy", NEAR, w.port(), relays(gives=code)) as hop:
                result, said = talk(lead(hop.url("socks5h")), 1, how)
                expect(result, name)
                tap.same(len(hop.peers), 1, "connections")
                tap.holds(said[0].endswith(f"(SOCKS5 reply {code})"), f"the line: {said}")

    def refused_behind():
        """Hop 1 is told all; what it says of hop 2 is news of hop 2, and final."""
        port = w.port()
        one = servers.viaductd(w)
        dials()
        result, said = talk(lead(one.url(first=True), f"socks5h://{FAR}:{port}"))
        expect(result, "ENETUNREACH")
        tap.same(dials(), 0)
        tap.holds(re.search(rf"hop 2 of 2 \(socks5h://{FAR}:{port}\) cannot be reached: hop 1 .*refused", said[0]),
                  f"the line: {said}")

    def target_refuses():
        """Each of them dials the target once."""
        far.take()
        for hop in (servers.danted(w), servers.viaductd(w)):
            result, said = talk(lead(hop.url("socks5h", first=True)), port=9)
            expect(result, "ECONNREFUSED")
            tap.holds("refused" in said[0], f"the line: {said}")
            tap.same(far.take(), {("tcp", ORIGIN, 9): 1}, "packets to the target")

    # --- hops that cannot bear it -------------------------------------------------------------------

    def falls_back(make, words, again):
        """Once, and all the session knows: `again` times that line, then never."""
        for how in BOTH_WAYS:
            hop = make()
            dials()
            w.forget()
            script = ["sh", "-c", '"$@" && "$@"', "sh", PYTHON, "-c", _TALK, how, ORIGIN, "7", "1"]
            got = w.via(["-vv", *chain(hop.url("socks5h", first=True) + "?pipeline=lead")], script, timeout=30)
            rows = [line.split() for line in got.out.decode().splitlines()]
            tap.same([row[0] for row in rows], words, "what came of it")
            tap.same([float(row[1]) > PATIENCE for row in rows], [again > 0, False], f"who waited: {rows}")
            tap.same(got.err.decode().count(AGAIN), again, "made again")
            tap.same(dials(), 2, "the target was dialled")
            w.quiet(hop.at(first=True))
            hop.server.stop()

    def without_a_network():
        """tor has none here: what it says of that is its word, whether it came in a flight or not."""
        hop = proxies.tor(w)
        for url in (hop.url(first=True), *lead(hop.url(first=True))):
            result, said = talk([url], 2)
            expect(result, "ECONNREFUSED", "ECONNREFUSED")
            tap.same([line.rpartition(" (")[2] for line in said], ["SOCKS5 reply 1)"] * 2, "the lines")

    def true_reason():
        """The serial attempt's, and one attempt only from then on."""
        for script, connections in ((closes_on_flights(replies(5)), 3), (one_at_a_time(replies(5)), 3)):
            with hostile.Scripted("proxy", NEAR, w.port(), script) as hop:
                result, said = talk(lead(hop.url("socks5h")), 2)
                expect(result, "ECONNREFUSED", "ECONNREFUSED")
                tap.same(len(hop.peers), connections, "connections")
                tap.same([line.rpartition(" (")[2] for line in said], ["SOCKS5 reply 5)"] * 2, "the lines")

    def slow_but_serial():
        """Patience is for what came of a flight: not for a hop's own exchange behind one."""
        for how in BOTH_WAYS:
            with hostile.Scripted("proxy", FAR, w.port(), relays(pause=2.6)) as two:
                one = servers.viaductd(w)
                dials()
                urls = [*lead(one.url(first=True)), two.url("socks5h") + "?pipeline=off"]
                expect(talk(urls, 1, how)[0], "ok")
                tap.same((len(two.peers), dials()), (1, 1), "connections to hop 2, to the target")

    def flight_behind_serial():
        """Patience begins with the flight, also where that is not the first thing said."""
        for how in BOTH_WAYS:
            with hostile.Scripted("proxy", FAR, w.port(), one_at_a_time(echoes)) as two:
                one = servers.viaductd(w)
                urls = [one.url(first=True) + "?pipeline=off", *lead(two.url("socks5h"))]
                result, _ = talk(urls, 2, how)
                expect(result, "ok", "ok")
                tap.same([seconds > PATIENCE for _, seconds in result], [True, False], f"who waited: {result}")

    def always_silent():
        """A deadline that is shorter than patience holds; a hop that is silent serially too says so."""
        with hostile.Scripted("proxy", NEAR, w.port(), hostile.silent) as hop:
            result, said = talk(lead(hop.url("socks5h")), 1, options=["-t", "1"])
            expect(result, "ETIMEDOUT")
            tap.holds(0.9 < result[0][1] < PATIENCE, f"it took {result[0][1]} s")
            result, said = talk(lead(hop.url("socks5h")), 1, options=["-t", "4"])
            expect(result, "ETIMEDOUT")
            tap.holds(3.9 < result[0][1] < 4 + PATIENCE, f"it took {result[0][1]} s")
            tap.same(len(hop.peers), 3, "connections")
            tap.holds("did not answer in time; try --check" in said[0], f"the line: {said}")

    def cache_is_wrong():
        """What was kept says flight, and another server listens there by now."""
        hop = servers.microsocks(w)
        env = {"XDG_CACHE_HOME": f"{w.dir}/wrong"}
        url = hop.url("socks5h", first=True)
        w.file("wrong/viaduct/hops", f"viaduct hops 1\nflight {int(time.time()) + 1000} {url}\n", 0o600)
        dials()
        result, _ = talk([url], 2, env=env)
        expect(result, "ok", "ok")
        tap.same([seconds > PATIENCE for _, seconds in result], [True, False], f"who waited: {result}")
        tap.same(dials(), 2)
        result, _ = talk([url], env=env)
        expect(result, "ok")
        tap.holds(result[0][1] < PATIENCE, f"the next command's seconds: {result}")

    def remembered_of_http():
        """That privoxy loses early bytes costs two seconds once, not once for each command."""
        env = {"XDG_CACHE_HOME": f"{w.dir}/privoxy"}
        w.file("privoxy/viaduct/hops", "viaduct hops 1\n", 0o600)
        urls = [proxies.privoxy(w).url(first=True), servers.viaductd(w).url("http")]
        for slow in (1, 0):
            result, _ = talk(urls, 3, env=env)
            expect(result, "ok", "ok", "ok")
            tap.same(sum(seconds > PATIENCE for _, seconds in result), slow, f"slow ones of {result}")
        with open(f"{w.dir}/privoxy/viaduct/hops", encoding="ascii") as file:
            tap.holds(re.search(rf"^serial \d+ {urls[0]}$", file.read(), re.M), "a line about privoxy")

    # --- HTTP hops ----------------------------------------------------------------------------------

    def says_no(make, forbids, keeps):
        """An HTTP hop that has said yes, and then refuses while the next hop's CONNECT, with a login,
        stands behind its own: it must not take that for its next request."""
        mark = f"{w.dir}/said.yes"
        script = (
            f"{_TALK}\nimport os\nopen('{mark}', 'w').close()\nwhile os.path.exists('{mark}'): time.sleep(0.01)\n"
            "s = socket.socket(); print(errno.errorcode[s.connect_ex((host, 7))])"
        )

        def second(peer):
            peer.http_request()
            peer.say(b"HTTP/1.1 200 OK\r\n\r\n")
            echo(peer)

        for how in BOTH_WAYS:
            one = make()
            two = hostile.Scripted("proxy", FAR, w.port(), second)
            argv = [PYTHON, "-c", script, how, ORIGIN, "7", "2"]
            urls = [one.url(first=True), f"http://{LOGIN}@{FAR}:{two.port}"]
            dials()
            proc = w.popen("app", [w.viaduct, "-v", *chain(*urls), "--", *argv], cwd=w.dir,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            wait_until(lambda: os.path.exists(mark), "two connections")
            tap.holds(len(two.peers) >= 2, "hop 2 was there")
            if forbids:
                forbids(w, one, two.port)
            else:
                two.stop()
            before = len(two.peers)
            os.unlink(mark)
            out, err = proc.communicate(timeout=20)
            words = [line.split()[0] for line in out.decode().splitlines()]
            tap.same(words[:2], ["ok", "ok"], "while hop 1 says yes")
            tap.holds(words[2] in ("ENETUNREACH", "ECONNREFUSED", "EACCES"), f"then: {words[2]}")
            time.sleep(0.2)  # for what should not happen
            tap.same((dials(), len(two.peers) - before), (0, 0), "the target was dialled, and hop 2")
            log = one.server.log() + keeps(one)
            tap.holds(ORIGIN not in log and BASIC not in log and PASSWORD not in log, log)
            tap.holds(PASSWORD.encode() not in err, "what viaduct says")
            one.server.stop()
            if forbids:
                two.stop()

    def squid_log(hop):
        with open(f"{w.dir}/squid.{hop.port}/access", encoding="utf-8") as file:
            text = file.read()
        tap.note(text)
        asked = re.findall(r"CONNECT \S+", text)
        tap.same((len(asked), len(set(asked))), (3, 1), "what squid was asked")
        return text

    def http_then(make, slow):
        """An HTTP hop, then a SOCKS5 hop: right bytes, whatever the HTTP hop does with early ones; at
        most one connection finds out the slow way."""
        one, two = make(), servers.viaductd(w)
        urls = [one.url(first=True), two.url("socks5h") + "?pipeline=lead"]
        dials()
        result, _ = talk(urls, 4)
        expect(result, "ok", "ok", "ok", "ok")
        tap.same(sum(seconds > PATIENCE for _, seconds in result), slow, f"slow ones of {result}")
        tap.same(dials(), 4)
        one.server.stop()

    # --- round trips ----------------------------------------------------------------------------------

    def round_trips(hops, options, best):
        """Of one connection to its first byte back."""
        trips = delay.Trips(len(hops))
        links = [delay.Delayed("proxy", FAR if i else NEAR, w.port(), hop.at(), 0.01, trips, i) for i, hop in enumerate(hops)]
        urls = [link.url(hop.schemes[0], ":".join(hop.login or ()), option) for link, hop, option in zip(links, hops, options)]
        expect(talk(urls, 4)[0], *["ok"] * 4)
        for link in links:
            link.stop()
        tap.note(f"round trips: {trips.tunnels}")
        # The first connection may have to find its way. What comes late may be taken for what was waited
        # for, never the other way round: so the least counts.
        tap.same(min(trips.tunnels[1:]), best, f"round trips, of {trips.tunnels}")

    yield "a hop that bears it gets all in one segment", one_segment
    yield "an unknown hop gets one message at a time", unknown_is_serial
    yield "a hop that a probe found to bear it", found_out
    yield "no byte of the program goes ahead", no_early_bytes
    yield "a login behind another hop: not in the first flight", two_logins
    for position in (0, 1):
        yield f"a web server in the place of hop {position + 1}: sees no login", lambda p=position: wrong_hop(p)
    yield "a hop that wants no login any more", wants_no_login_any_more
    for code, name in ((1, "ECONNREFUSED"), (2, "EACCES"), (4, "EHOSTUNREACH"), (5, "ECONNREFUSED")):
        yield f"a hop that replies {code}", lambda a=(code, name): refused(*a)
    yield "hop 2 cannot be reached", refused_behind
    yield "the target refuses", target_refuses
    yield "microsocks: falls back once, and it is remembered", lambda: falls_back(
        lambda: servers.microsocks(w), ["ok", "ok"], 1)
    yield "viaductd: does not fall back", lambda: falls_back(lambda: servers.viaductd(w), ["ok", "ok"], 0)
    yield "dante: does not fall back", lambda: falls_back(lambda: servers.danted(w), ["ok", "ok"], 0)
    yield "ssh -D: does not fall back", lambda: falls_back(
        lambda: servers.ssh_d(w, servers.Sshd(w, port=w.port())), ["ok", "ok"], 0)
    yield "tor", without_a_network
    yield "the reason of the serial attempt", true_reason
    yield "a hop that is slow, behind one that bears a flight", slow_but_serial
    yield "a hop that bears no flight, behind one that is told no flight", flight_behind_serial
    yield "a hop that is silent in any manner", always_silent
    yield "what was kept is wrong by now", cache_is_wrong
    yield "privoxy: what was found out is kept", remembered_of_http
    def nothing(_hop):
        return ""

    for name, make, forbids, keeps in (
        ("squid", lambda: proxies.squid(w), proxies.squid_forbids, squid_log),
        ("squid with login", lambda: proxies.squid(w, login=True), proxies.squid_forbids, squid_log),
        ("apache", lambda: proxies.apache(w), proxies.apache_forbids, nothing),
        ("tinyproxy", lambda: servers.tinyproxy(w), None, nothing),
        ("privoxy", lambda: proxies.privoxy(w), None, nothing),
        ("viaductd", lambda: servers.viaductd(w), None, nothing),
    ):
        yield f"{name} refuses what hop 2's login stands behind", lambda a=(make, forbids, keeps): says_no(*a)
    for name, make, slow in (
        ("squid", lambda: proxies.squid(w), 0),
        ("apache", lambda: proxies.apache(w), 0),
        ("tinyproxy", lambda: servers.tinyproxy(w), 0),
        ("privoxy", lambda: proxies.privoxy(w), 1),
        ("viaductd", lambda: servers.viaductd(w), 0),
    ):
        yield f"{name}, then a SOCKS5 hop", lambda a=(make, slow): http_then(*a)

    ours = [servers.viaductd(w) for _ in range(5)]
    locked = [servers.viaductd(w, login=True) for _ in range(2)]
    web_ = servers.viaductd(w)
    web_.schemes = ("http",)
    for count in (1, 2, 3, 5):
        known = ["?pipeline=lead"] * count
        yield f"round trips, {count} known hops: {2 * count}", lambda a=(ours[:count], known, 2 * count): round_trips(*a)
    for count, trips in ((1, 3), (2, 8), (3, 15)):
        off = ["?pipeline=off"] * count
        yield f"round trips, {count} serial hops: {trips}", lambda a=(ours[:count], off, trips): round_trips(*a)
    yield "round trips, two hops with logins: 4", lambda: round_trips(locked, ["?pipeline=lead"] * 2, 4)
    yield "round trips, HTTP then SOCKS5: 4", lambda: round_trips([web_, ours[0]], ["", "?pipeline=lead"], 4)
    yield "round trips, a known hop, then one that bears none: 6", lambda: round_trips(
        ours[:2], ["?pipeline=lead", "?pipeline=off"], 6)


if __name__ == "__main__":
    world.main(cases, ("microsocks", "danted", "sshd", "ssh", "tinyproxy", "squid", "privoxy", "apache2", "tor",
                       "openssl", PYTHON))
