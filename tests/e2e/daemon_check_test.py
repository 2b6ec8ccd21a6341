#!/usr/bin/env python3
"""viaductd's checks of upstream hops: dead ones are known before a client meets them, and so is
whether a hop bears several messages at once. One worker asks for all."""

import os
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, netns, servers, tap, world
from lib.daemon import HOME, Daemon
from lib.flights import echo, one_at_a_time, relays
from lib.hostile import socks5_reply
from lib.servers import PASSWORD, USER
from lib.visit import SOCKS5
from lib.world import ORIGIN, wait_until

HERE = "127.0.0.1"
LOGIN = f"{USER}:{PASSWORD}"
DOWN, UP = "when it was checked: it is down", "is up again"


def upstream(*urls, name="", more="check = 0.1 rise = 1 fall = 1"):
    hops = ", ".join(f'"{url}"' for url in urls)
    return f"upstream {name} {{ hops = {{{hops}}} {more} }}\n"


class Hop(hostile.Scripted):
    """Tells requests from checks: `asked` has (command, host, port) of all."""

    def __init__(self, port, then=None, login=False):
        self.asked, self.logins, self.first, self.login = [], [], [], login
        self.then = then or self.carry
        super().__init__(HOME, HERE, port, self.play)

    def carry(self, peer, request):
        if request[0] == 9:
            peer.say(socks5_reply(7))
        else:
            peer.say(socks5_reply(0))
            echo(peer)

    def play(self, peer):
        self.first.append(peer.sock.recv(4096, 2))
        peer.socks5_greeting(2 if self.login else 0)
        if self.login:
            self.logins.append(peer.socks5_login())
        request = peer.socks5_request()
        self.asked.append(request)
        self.then(peer, request)

    def checks(self):
        return [request for request in self.asked if request[0] == 9]

    def visits(self):
        return [request for request in self.asked if request[0] == 1]


def talk(d, target=(ORIGIN, 7)):
    with d.visit(SOCKS5, target) as visit:
        if visit.ok:
            visit.sock.sendall(b"PING")
            tap.same(visit.read(4), b"PING")
    return visit.code, d.session(visit)["via"]


def silent(peer, request):
    """It takes the request, and says no more."""
    del request
    peer.wait_for_end()


def cases(w):
    origin = hostile.Scripted("origin", ORIGIN, 7, echo)

    def nobody():
        return f"socks5h://{HERE}:{w.port()}"

    def awaits(d, text, count=1):
        wait_until(lambda: d.log().count(text) >= count, f"{text} in {d.log()}")

    # --- before a client comes ------------------------------------------------------------------

    def before():
        """No client meets the dead hop: the time that it would cost is not spent."""
        for script in (hostile.silent, hostile.closes_at_once, hostile.says(b"SSH-2.0-x\r\n")):
            with hostile.Scripted(HOME, HERE, w.port(), script) as dead, Hop(w.port()) as hop:
                d = Daemon(w, conf=upstream(dead.url("socks5h"), hop.url("socks5h"),
                                            more='mode = "failover" check = 0.4 rise = 1 fall = 1'))
                awaits(d, DOWN)
                met = len(dead.peers)
                for _ in range(3):
                    tap.same(talk(d), (0, hop.url("socks5h")))
                tap.holds(len(dead.peers) <= met + 2, "only checks went there")
                tap.same(len(origin.peers), 0, "no check reaches a target")

    def revived():
        port = w.port()
        with Hop(w.port()) as other:
            d = Daemon(w, conf=upstream(f"socks5h://{HERE}:{port}", other.url("socks5h"),
                                        more='mode = "failover" check = 0.1 rise = 2 fall = 2'))
            awaits(d, DOWN)
            tap.same(talk(d)[1], other.url("socks5h"))
            hop = Hop(port)
            awaits(d, UP)
            tap.same(talk(d)[1], hop.url("socks5h"))
            hop.stop()
            awaits(d, DOWN, 2)
            tap.same(talk(d)[1], other.url("socks5h"))
            tap.same((d.log().count(DOWN), d.log().count(UP)), (2, 1), "each change is told once")

    def rise_and_fall():
        """So many in a row."""
        moods = []

        def moody(peer, request):
            mood = moods.pop(0) if moods else "well"
            peer.say(socks5_reply(7) if mood == "well" else b"\7")

        with Hop(w.port(), moody) as hop:
            d = Daemon(w, conf=upstream(hop.url("socks5h") + "?probe=no", more="check = 0.05 rise = 3 fall = 2"))
            moods += ["ill", "well", "ill", "well", "ill", "well"]
            wait_until(lambda: not moods and len(hop.checks()) > 8, "they were asked")
            tap.same(d.log().count(DOWN), 0, "never two in a row")
            moods += ["ill", "ill"] + ["well"] * 2 + ["ill"] + ["well"] * 3
            awaits(d, UP)
            tap.same(len(moods), 0, "three in a row")

    def a_session_finds_out():
        """What a session found out is taken back by checks."""
        port = w.port()
        with Hop(port) as hop, Hop(w.port()) as other:
            d = Daemon(w, conf=upstream(hop.url("socks5h"), other.url("socks5h"),
                                        more='mode = "failover" check = 0.6 rise = 1 fall = 3'))
            wait_until(hop.checks, "the first check")
            hop.stop()
            tap.same(talk(d)[1], other.url("socks5h"))
            awaits(d, ": it is down")
            with Hop(port):
                awaits(d, UP)
                tap.same(talk(d)[1], hop.url("socks5h"))

    # --- what is asked --------------------------------------------------------------------------

    def harmless():
        """Command 9 and nothing else, after the login."""
        with Hop(w.port(), login=True) as hop:
            d = Daemon(w, conf=upstream(hop.url("socks5h", LOGIN)))
            wait_until(lambda: len(hop.checks()) > 4, "checks")
            tap.same(({request[0] for request in hop.asked}, set(hop.logins)),
                     ({9}, {(USER.encode(), PASSWORD.encode())}))
            tap.same(DOWN in d.log() or PASSWORD in d.log(), False)
        with Hop(w.port(), login=True) as hop:
            hop.play = lambda peer: (peer.socks5_greeting(2), peer.socks5_login(1))
            hop.script = hop.play
            d = Daemon(w, conf=upstream(hop.url("socks5h", "eve:wrong")))
            awaits(d, "refused the login " + DOWN)

    def closing_is_an_answer():
        """Some servers close when they are asked for what they do not know."""
        with Hop(w.port(), lambda peer, request: None) as hop:
            d = Daemon(w, conf=upstream(hop.url("socks5h")))
            wait_until(lambda: len(hop.checks()) > 4, "checks")
            tap.same(DOWN in d.log(), False)

    def silence_is_none():
        with Hop(w.port(), silent) as hop:
            d = Daemon(w, conf=upstream(hop.url("socks5h")))
            awaits(d, DOWN)

    def in_order():
        """Each hop by the way in which sessions reach it; an HTTP hop is asked for the next one."""
        with hostile.Scripted(HOME, HERE, w.port(), relays()) as last:
            asked = []

            def http(peer):
                asked.append(peer.http_request()[0])
                peer.say(b"HTTP/1.1 200 OK\r\n\r\n")
                with netns.inside(HOME):
                    hostile.join(peer.sock, socket.create_connection((HERE, last.port)))

            with hostile.Scripted(HOME, HERE, w.port(), http) as first:
                d = Daemon(w, conf=upstream(first.url("http"), last.url("socks5h"), more='mode = "dynamic" check = 0.1'))
                wait_until(lambda: len(asked) > 4, "checks")
                tap.same(set(asked), {f"CONNECT {HERE}:{last.port} HTTP/1.1"})
                tap.same(DOWN in d.log(), False)
                last.stop()

    def whose_fault():
        """A hop behind a dead one is not blamed; a dynamic chain asks it past the dead one."""
        with Hop(w.port()) as last:
            d = Daemon(w, conf=upstream(nobody(), last.url("socks5h"), more='mode = "strict" check = 0.1 fall = 2'))
            awaits(d, DOWN)
            time.sleep(0.5)
            tap.same((d.log().count(DOWN), len(last.peers)), (1, 0))
            d = Daemon(w, conf=upstream(nobody(), last.url("socks5h"), more='mode = "dynamic" check = 0.1 fall = 2'))
            awaits(d, DOWN)
            wait_until(last.checks, "the hop behind it is asked")
            tap.same(talk(d), (0, last.url("socks5h")))

    def check_target():
        """The last hop is well only if it reaches this."""
        port = w.port()
        hop = servers.viaductd(w, options=("-q",))
        squid = servers.tinyproxy(w)
        for url in (hop.url("socks5h"), hop.url("http"), hop.url("socks4"), squid.url("http")):
            with Hop(w.port()) as other:
                d = Daemon(w, conf=upstream(url, name="one", more='fallback = "default" check = 0.1 rise = 1 fall = 1 '
                                            f'check_target = "{ORIGIN}:{port}"')
                           + upstream(other.url("socks5h")) + 'allow all { upstream = "one" }\n')
                awaits(d, DOWN)
                tap.same(talk(d)[1], other.url("socks5h"))
                with hostile.Scripted("origin", ORIGIN, port, echo):
                    awaits(d, UP)
                    tap.same(talk(d)[1], url)

    def login_of_http():
        hop = servers.tinyproxy(w, login=True)
        for login, good in ((True, True), ("eve:wrong", False)):
            d = Daemon(w, conf=upstream(hop.url(login=login), more=f'check = 0.1 fall = 1 check_target = "{ORIGIN}:7"'))
            if good:
                before = len(origin.peers)
                wait_until(lambda b=before: len(origin.peers) > b + 2, "checks")
            else:
                awaits(d, DOWN)
            tap.same(DOWN in d.log(), not good)

    def proxy_lines():
        """A hop that awaits a line is told that nobody is known."""
        lines = []

        def script(peer):
            lines.append(peer.read_until(b"\r\n"))
            peer.socks5_greeting()
            peer.socks5_request()
            peer.say(socks5_reply(7))

        with hostile.Scripted(HOME, HERE, w.port(), script) as hop:
            d = Daemon(w, conf=upstream(hop.url("socks5h"), more='check = 0.1 proxy_protocol = "v1"'))
            wait_until(lambda: len(lines) > 3, "checks")
            tap.same((set(lines), DOWN in d.log()), ({b"PROXY UNKNOWN\r\n"}, False))

    # --- who asks -------------------------------------------------------------------------------

    def one_for_all():
        """Not each worker by itself."""
        with Hop(w.port()) as hop:
            d = Daemon(w, conf=upstream(hop.url("socks5h") + "?probe=no", more="check = 0.2"), workers=4)
            wait_until(hop.checks, "the first check")
            before, began = len(hop.asked), time.monotonic()
            time.sleep(2)
            most = (time.monotonic() - began) / 0.2 + 2
            count = len(hop.asked) - before
            tap.holds(3 <= count <= most, f"{count} checks, at most {most}")
            one = Daemon.workers(d)[0]
            os.kill(one, signal.SIGKILL)
            before = len(hop.asked)
            wait_until(lambda: len(hop.asked) > before + 3, "others go on")

    def reload():
        """A reload without checks leaves nothing down that only checks could take back."""
        port = w.port()
        url = f"socks5h://{HERE}:{port}"
        with Hop(w.port()) as other:
            d = Daemon(w, conf=upstream(url, other.url("socks5h"), more='mode = "failover" check = 0.1 fall = 1'))
            awaits(d, DOWN)
            with Hop(port):
                with open(d.conf, "w", encoding="utf-8") as file:
                    file.write(upstream(url, other.url("socks5h"), more='mode = "failover"'))
                d.signal(signal.SIGHUP)
                awaits(d, "reloaded")
                wait_until(lambda: talk(d)[1] == url, "it is taken again")

    # --- flights --------------------------------------------------------------------------------

    def flies():
        """A hop that bears it is told all at once, once that is known; no session tries it out."""
        for login in (False, True):
            with Hop(w.port(), login=login) as hop:
                url = hop.url("socks5h", LOGIN if login else "")
                d = Daemon(w, conf=upstream(url, more="check = 0.1"), workers=2)
                wait_until(lambda h=hop: any(len(first) > 4 for first in h.first), "it was tried out")
                wait_until(lambda h=hop, n=len(hop.asked): len(h.asked) > n + 2, "and is known")
                hop.first.clear()
                tap.same(talk(d)[0], 0)
                tap.holds(any(bytes([1, 10, 2, 0, 2, 0, 7]) in first for first in hop.first), f"{login}: {hop.first}")
                tap.holds(not login or hop.first[0][:3] == b"\5\1\2", "with a login that alone is offered")

    def login_first():
        """A login flies only where it has been taken message by message."""
        with Hop(w.port(), login=True) as hop:
            Daemon(w, conf=upstream(hop.url("socks5h", LOGIN), more="check = 0.3"))
            wait_until(lambda: len(hop.first) > 1, "two checks")
            tap.same(hop.first[0], b"\5\2\0\2", "the first one")
            tap.holds(PASSWORD.encode() in hop.first[1], "the second one")

    def bears_none():
        with hostile.Scripted(HOME, HERE, w.port(), one_at_a_time(lambda peer: peer.say(socks5_reply(7)))) as hop:
            d = Daemon(w, conf=upstream(hop.url("socks5h"), more="check = 5 rise = 1 fall = 1"))
            wait_until(lambda: len(hop.peers) > 2, "tried, and once more")
            time.sleep(0.2)
            tap.same(DOWN in d.log(), False, "that is no illness")

    def not_to_be_tried():
        for option in ("probe=no", "pipeline=off"):
            with Hop(w.port()) as hop:
                Daemon(w, conf=upstream(hop.url("socks5h") + "?" + option, more="check = 0.05"))
                wait_until(lambda h=hop: len(h.asked) > 6, "checks")
                tap.same({len(first) for first in hop.first}, {3}, option)

    def real():
        """They are well, and go on to be, whether they bear a flight or not."""
        sshd = servers.Sshd(w)
        hops = [servers.danted(w), servers.microsocks(w), servers.ssh_d(w, sshd), servers.viaductd(w),
                servers.microsocks(w, login=True), servers.danted(w, login=True)]
        d = Daemon(w, conf=upstream(*(hop.url("socks5h") for hop in hops),
                                    more='mode = "round_robin" check = 3 rise = 1 fall = 1'))
        time.sleep(2.5)
        began = time.monotonic()
        for _ in range(2 * len(hops)):
            tap.same(talk(d)[0], 0)
        tap.holds(time.monotonic() - began < 1.9, "none of them hangs: what bears no flight is known")
        tap.same((DOWN in d.log(), "it is down" in d.log()), (False, False), d.log()[-500:])

    yield "dead hops are known before a client comes", before
    yield "a hop that comes and goes", revived
    yield "rise and fall", rise_and_fall
    yield "what a session found out", a_session_finds_out
    yield "what is asked has no effect", harmless
    yield "closing is an answer", closing_is_an_answer
    yield "silence is none", silence_is_none
    yield "hops in order", in_order
    yield "a hop behind a dead one", whose_fault
    yield "check_target", check_target
    yield "logins of HTTP hops", login_of_http
    yield "PROXY lines", proxy_lines
    yield "one worker asks for all", one_for_all
    yield "a reload without checks", reload
    yield "a hop that bears a flight", flies
    yield "a login is said message by message first", login_first
    yield "a hop that bears none", bears_none
    yield "hops that are not to be tried", not_to_be_tried
    yield "real proxies", real
    origin.stop()


world.main(cases, ("microsocks", "danted", "tinyproxy", "ssh", "openssl"))
