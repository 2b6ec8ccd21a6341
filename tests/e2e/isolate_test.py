#!/usr/bin/env python3
"""--isolate: a login for each run, given to SOCKS5 hops that have none and ask for one; with tor too."""

import os
import re
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, netns, proxies, tap, world
from lib.servers import chain
from lib.world import FAR, NEAR, PYTHON

PASSWORD = rb"[0-9a-f]{32}"
TWICE = f"""
import socket
for _ in range(2):
    try:
        socket.create_connection(("{FAR}", 9), 10)
    except OSError:
        pass
"""


class Asking:
    """A SOCKS5 hop that wants a login and refuses every request; what it was told."""

    def __init__(self, w, method=2, address=NEAR):
        self.logins, self.offers = [], []
        self.method = method
        self.hop = hostile.Scripted("proxy", address, w.port(), self._script)

    def _script(self, peer):
        self.offers.append(peer.socks5_greeting(self.method))
        if self.method == 2:
            self.logins.append(peer.socks5_login())
        peer.socks5_request()
        peer.say(hostile.socks5_reply(5))


def cases(w):
    def visit(options, script=TWICE):
        return w.via(["-q", *options], [PYTHON, "-c", script])

    def url(asking, scheme="socks5h", login=""):
        return asking.hop.url(scheme, login)

    def one_for_a_run():
        asking = Asking(w)
        with asking.hop:
            for _ in range(2):
                visit(["--isolate", "-x", url(asking)])
            visit(["--isolate", "-x", url(asking, "socks5")])
        logins = asking.logins
        tap.same(len(logins), 6, "connections")
        for user, password in logins:
            tap.same(user, b"viaduct", "user")
            tap.holds(re.fullmatch(PASSWORD, password), password)
        tap.same([logins[i] == logins[i + 1] for i in (0, 2, 4)], [True] * 3, "one login within a run")
        tap.same(len(set(logins)), 3, "logins of three runs")

    def children_too():
        asking = Asking(w)
        with asking.hop:
            script = f"{PYTHON} -c '{TWICE}' & {PYTHON} -c '{TWICE}'; wait"
            w.via(["-q", "--isolate", "-x", url(asking)], ["sh", "-c", script])
        tap.same((len(asking.logins), len(set(asking.logins))), (4, 1), "connections, logins")

    def own_login_stays():
        asking = Asking(w)
        with asking.hop:
            other = "socks5h://127.0.0.1:9"
            # the second hop is the one without a login; it is never reached
            visit(["--isolate", *chain(url(asking, login="me:mine"), other)])
        tap.same(set(asking.logins), {(b"me", b"mine")}, "logins")

    def not_without_option():
        asking = Asking(w)
        with asking.hop:
            visit(["-x", url(asking)])
        tap.same(asking.logins, [], "logins")
        tap.same(set(asking.offers), {b"\0"}, "methods offered")

    def not_where_none_is_asked():
        asking = Asking(w, method=0)
        with asking.hop:
            visit(["--isolate", "-x", url(asking)])
        tap.same(asking.offers, [b"\0\2"] * 2, "methods offered")

    def each_hop_its_own():
        near = []

        def first(peer):
            peer.socks5_greeting(2)
            near.append(peer.socks5_login())
            peer.socks5_request()
            peer.say(hostile.socks5_reply(0))
            peer.socks5_greeting(2)
            near.append(peer.socks5_login())
            peer.socks5_request()
            peer.say(hostile.socks5_reply(5))

        with hostile.Scripted("proxy", NEAR, w.port(), first) as hop:
            visit(["--isolate", *chain(hop.url("socks5h"), f"socks5h://{FAR}:9")])
        tap.same((len(near), len(set(near))), (4, 2), "logins, different ones")

    def by_configuration():
        asking = Asking(w)
        with asking.hop:
            conf = f'chain default {{ hops = "{url(asking)}" }}\nisolate = true\n'
            visit(["-f", w.file("isolate.conf", conf)])
            # it asks for nothing where there is nothing to isolate
            got = w.via(["-f", w.file("isolate.conf", conf), *chain("http://127.0.0.1:9")], ["true"])
        tap.same((len(asking.logins), len(set(asking.logins))), (2, 1), "connections, logins")
        tap.same((got.code, got.err), (0, b""), "a chain without such a hop")
        shown = w.via(["-f", w.file("isolate.conf", conf), "--print-config"], [])
        tap.holds(b"isolate = true" in shown.out and b"viaduct@" not in shown.out, shown.out)

    def not_in_the_open():
        asking = Asking(w)
        look = "import os; print(os.environ, open('/proc/self/cmdline').read())"
        with asking.hop:
            visit(["--isolate", "-x", url(asking)])
            got = w.via(["-vv", "--isolate", "-x", url(asking)], [PYTHON, "-c", look + TWICE])
        for _, password in asking.logins:
            tap.holds(password not in got.out + got.err, "the password is shown")
        tap.holds(b"viaduct@" in got.err, "the hop is named with its user")

    def with_tor():
        control = w.port()
        hop = proxies.tor(w, f"ControlPort {control}\n")
        with netns.inside("proxy"):
            events = socket.create_connection(("127.0.0.1", control), 10)
        with events, events.makefile("rb") as lines:
            events.sendall(b"AUTHENTICATE\r\nSETEVENTS STREAM\r\n")
            tap.same([lines.readline()[:3] for _ in range(2)], [b"250"] * 2, "tor's answers")
            told = []
            for count in (2, 4):
                w.via(["-q", "--isolate", "-t", "2", "-x", hop.url(first=True)], [PYTHON, "-c", TWICE])
                while len(told) < count:
                    line = lines.readline()
                    tap.holds(line, "tor's events end")
                    if b" NEW " in line:
                        told += re.findall(rb'SOCKS_USERNAME="(.*?)" SOCKS_PASSWORD="(.*?)"', line)
        tap.same([user for user, _ in told], [b"viaduct"] * 4, "users")
        tap.same([told[0] == told[1], told[2] == told[3], told[0] == told[2]], [True, True, False], "logins")

    for case in (one_for_a_run, children_too, own_login_stays, not_without_option, not_where_none_is_asked,
                 each_hop_its_own, by_configuration, not_in_the_open, with_tor):
        yield case.__name__.replace("_", " "), case


if __name__ == "__main__":
    world.main(cases, ["tor"])
