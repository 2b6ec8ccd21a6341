#!/usr/bin/env python3
"""Which hops viaductd's associations take: chain modes, fallbacks, rules with upstreams, and that one
hop's failure is no failure of the client while another can stand in."""

import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, servers, tap, world
from lib.daemon import HOME, Daemon
from lib.datagrams import ECHO, Echo, Relay, associate, echoes, is_served, is_silent
from lib.world import FAR, ORIGIN

TARGET = (ORIGIN, ECHO)
DEAD = f"socks5h://{FAR}:9"


def upstream(*urls, name="", more=""):
    listed = ", ".join(f'"{url}"' for url in urls)
    return f"upstream {name} {{ hops = {{{listed}}} {more} }}\n"


def via(d):
    """The hops of an association that works."""
    with associate(d) as a:
        tap.same(a.code, 0, f"reply\n{d.log()}")
        echoes(a, TARGET)
        a.sock.close()
        return d.session(a)["via"]


def refused(d, code, said=""):
    with associate(d, udp=False) as a:
        tap.same((a.code, a.rest()), (code, b""), "reply, then the end")
        line = d.session(a)
        tap.holds(line["end"] == "refused" and said in line.get("said", ""), f"{line}")


def modes(w, hops, web, without):
    one, two, three = (hop.url() for hop in hops)

    def failover():
        d = Daemon(w, conf=upstream(DEAD, one, two, more='mode = "failover"'))
        tap.same([via(d) for _ in range(3)], [one] * 3, "hops")
        tap.same(d.log().count("it is down"), 1, "found out once")

    def pairs():
        """Two of the hops, one behind the other; one of them is dead."""
        d = Daemon(w, conf=upstream(one, DEAD, two, more='mode = "failover" pick = 2'))
        tap.same(via(d), f"{one},{two}", "hops")

    def turns():
        d = Daemon(w, conf=upstream(one, two, three, more='mode = "round_robin"'))
        tap.same([via(d) for _ in range(4)], [one, two, three, one], "hops")
        either = Daemon(w, conf=upstream(one, two, more='mode = "random"'))
        tap.same({via(either) for _ in range(20)}, {one, two}, "hops")

    def fit():
        """Who carries no datagrams is not picked."""
        for mode in ("failover", "random", "round_robin"):
            d = Daemon(w, conf=upstream(web.url(), one, f"socks4a://{FAR}:{hops[1].port}", more=f'mode = "{mode}"'))
            tap.same([via(d) for _ in range(3)], [one] * 3, mode)
        refused(Daemon(w, conf=upstream(web.url(), more='mode = "failover"')), 7, "carries no datagrams")

    def does_not_know():
        """A hop that refuses the command is not down, but another one serves."""
        d = Daemon(w, conf=upstream(without.url(), two, more='mode = "failover"'))
        tap.same([via(d) for _ in range(2)], [two] * 2, "hops")
        tap.holds("it is down" not in d.log(), "nobody is down")
        refused(Daemon(w, conf=upstream(without.url(), without.url(), more='mode = "failover"')), 7)

    def dynamic():
        """What is dead is skipped; what carries no datagrams is not: it was asked for."""
        d = Daemon(w, conf=upstream(one, DEAD, two, more='mode = "dynamic"'))
        tap.same(via(d), f"{one},{two}", "hops")
        refused(Daemon(w, conf=upstream(one, web.url(), more='mode = "dynamic"')), 7, "hop 2 of 2")
        refused(Daemon(w, conf=upstream(one, without.url(), more='mode = "dynamic"')), 7, "hop 2 of 2")

    def strict():
        refused(Daemon(w, conf=upstream(one, DEAD)), 1, "hop 2 of 2")

    def bad_relay():
        """A relay where none can be: another hop serves."""
        with Relay(w, b"\1\x7f\0\0\1\x0f\xa0") as relay:
            d = Daemon(w, conf=upstream(relay.url, one, more='mode = "failover"'))
            tap.same(via(d), one, "hops")

    def all_dead():
        refused(Daemon(w, conf=upstream(DEAD, f"socks5h://{FAR}:8", more='mode = "failover"')), 1)

    def silent():
        """A hop that says nothing takes half of the time, and the next one serves."""
        with hostile.Scripted(HOME, FAR, w.port(), lambda peer: peer.wait_for_end()) as mute:
            d = Daemon(w, conf=upstream(mute.url("socks5h"), one, more='mode = "failover"')
                       + "timeouts { connect = 1.5 }\n")
            began = time.monotonic()
            tap.same(via(d), one, "hops")
            tap.holds(time.monotonic() - began > 0.7, "not before")
            tap.same(via(d), one, "hops")
            tap.same(len(mute.peers), 1, "it was asked once")

    def killed():
        """Its associations end; the next one goes by another hop."""
        extra = servers.viaductd(w)
        d = Daemon(w, conf=upstream(extra.url(), one, more='mode = "failover"'))
        with associate(d) as a:
            echoes(a, TARGET)
            os.killpg(extra.server.pid, signal.SIGKILL)
            tap.same(a.sock.recv(10), b"", "the end")
            line = d.session(a)
            tap.same((line["end"], line["via"]), ("upstream-gone", extra.url()), "log")
        tap.same(via(d), one, "hops")

    yield "failover: the next hop", failover
    yield "failover of two hops", pairs
    yield "round_robin and random", turns
    yield "hops that carry no datagrams are not picked", fit
    yield "a hop that does not know the command", does_not_know
    yield "dynamic: dead hops are skipped, others not", dynamic
    yield "strict: all hops", strict
    yield "a relay at an address that no relay has", bad_relay
    yield "all hops are dead", all_dead
    yield "a silent hop", silent
    yield "a hop is killed", killed


def upstreams(w, hops, web):
    one, two, _ = (hop.url() for hop in hops)

    def fallback():
        d = Daemon(w, conf=upstream(DEAD, more='fallback = "b"') + upstream(f"socks5h://{FAR}:8", name="b", more='fallback = "c"')
                   + upstream(two, name="c"))
        tap.same([via(d) for _ in range(2)], [two] * 2, "hops")
        stays = Daemon(w, conf=upstream(web.url(), more='fallback = "b"') + upstream(two, name="b"))
        refused(stays, 7, "carries no datagrams")

    def rules():
        """The rule of the request tells the upstream; what another one is for does not go by it."""
        d = Daemon(w, conf=upstream(one) + upstream(two, name="b") +
                   f'allow far {{ to = {{"*.far.test", "*:{ECHO + 1}"}} upstream = "b" }}\n'
                   f'allow here {{ to = {{"*:{ECHO + 2}"}} upstream = "direct" }}\n'
                   'allow bob { users = {"bob"} upstream = "b" }\nallow rest { }\n')
        w.far_names.know("x.far.test", ORIGIN)
        with associate(d) as a:
            for target in (("x.far.test", ECHO), (ORIGIN, ECHO + 1), (ORIGIN, ECHO + 2)):
                a.send(target, b"by another way")
            is_silent(a)
            is_served(a, TARGET)
            a.sock.close()
            line = d.session(a)
        tap.same((line["via"], line["dropped"]), (one, "3"), "log")

    def users():
        d = Daemon(w, "-u", "bob:pw", "-u", "alice:pw", conf=upstream(one) + upstream(two, name="b") +
                   'allow bob { users = {"bob"} upstream = "b" }\nallow rest { }\n')
        for user, want in (("bob", two), ("alice", one)):
            with associate(d, login=(user, "pw")) as a:
                echoes(a, TARGET)
                a.sock.close()
                tap.same(d.session(a)["via"], want, user)

    yield "fallbacks", fallback
    yield "rules with upstreams", rules
    yield "an upstream by user", users


def cases(w):
    for port in (ECHO, ECHO + 1, ECHO + 2):
        Echo("origin", ORIGIN, port)
    hops = [servers.viaductd(w) for _ in range(3)]
    web = servers.tinyproxy(w)
    yield from modes(w, hops, web, servers.microsocks(w))
    yield from upstreams(w, hops, web)

    def stops():
        for daemon in w.servers:
            if isinstance(daemon, Daemon):
                tap.same(daemon.stop(), 0, "exit status")

    yield "every daemon ends well", stops


if __name__ == "__main__":
    world.main(cases, ("microsocks", "tinyproxy"))
