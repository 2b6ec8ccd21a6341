#!/usr/bin/env python3
"""viaductd's upstream chain in one flight: what is said when, and what becomes of hops that cannot
bear it. As flight_test.py, with the daemon in the place of the program."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import delay, hostile, servers, tap, world
from lib.flights import LOGIN, closes_on_flights, echo, echoes, one_at_a_time, relays, replies, web
from lib.servers import PASSWORD
from lib.sniffer import Sniffer
from lib.visit import HTTP, SOCKS5, Visit
from lib.world import FAR, ORIGIN, wait_until

PATIENCE = 1.9  # seconds: less than what is waited for an answer to a flight. Who took less did not wait.
REQUEST = b"\5\1\0" + b"\5\1\0\1\x0a\x02\0\2\0\7"  # to the target


def lead(*urls):
    return [url + "?pipeline=lead" for url in urls]


def cases(w):
    origin = hostile.Scripted("origin", ORIGIN, 7, echo)
    far = Sniffer("proxy", "org1")

    def daemon(*urls, more=""):
        return servers.viaductd(w, upstream=urls, options=("-v", "-w", "1"), more=more)

    def talk(hop, count=1, port=7, way=SOCKS5):
        """[(the reply's code, seconds)]; good ones carry bytes."""
        result = []
        for _ in range(count):
            began = time.monotonic()
            with Visit(hop.at(), way, (ORIGIN, port), ns="proxy") as visit:
                if visit.ok:
                    visit.sock.sendall(b"PING")
                    tap.same(visit.read(4), b"PING", "what came back")
                result.append((visit.code, time.monotonic() - began))
        return result

    def codes(result):
        return [code for code, _ in result]

    def dials(before=[0]):  # pylint: disable=dangerous-default-value
        count, before[0] = len(origin.peers) - before[0], len(origin.peers)
        return count

    def one_segment():
        early = []
        with hostile.Scripted("proxy", FAR, w.port(), relays(early=early)) as hop:
            ours = daemon(*lead(hop.url("socks5h")))
            dials()
            tap.same(codes(talk(ours, 2)), [0, 0])
            tap.same(codes(talk(ours, 1, way=HTTP)), [200])
            tap.same((early, len(hop.peers), dials()), ([REQUEST] * 3, 3, 3))
            early.clear()
            for url in (hop.url("socks5h"), hop.url("socks5h") + "?pipeline=off"):
                tap.same(codes(talk(daemon(url), 2)), [0, 0])
            tap.same(early, [REQUEST[:3]] * 4, "without `lead`")

    def falls_back(make, slow):
        """Once for each worker."""
        one = make()
        hop = daemon(*lead(one.url("socks5h")))
        dials()
        result = talk(hop, 3)
        tap.same(codes(result), [0, 0, 0])
        tap.same([seconds > PATIENCE for _, seconds in result], [slow, False, False], "slow ones")
        tap.same(dials(), 3)

    def by_name():
        """Once more with a first hop that is looked up again, as the second attempt's."""
        w.hosts("proxy", f"{FAR} micro.test\n")
        one = servers.microsocks(w)
        result = talk(daemon(f"socks5h://micro.test:{one.port}?pipeline=lead"), 2)
        tap.same(codes(result), [0, 0])
        tap.same([seconds > PATIENCE for _, seconds in result], [True, False], f"who waited: {result}")

    def true_reason():
        for script in (closes_on_flights(replies(5)), one_at_a_time(replies(5))):
            with hostile.Scripted("proxy", FAR, w.port(), script) as hop:
                ours = daemon(*lead(hop.url("socks5h")))
                tap.same(codes(talk(ours, 2)), [5, 5])
                tap.same(len(hop.peers), 3, "connections")
                wait_until(lambda s=ours.server: s.log().count("SOCKS5 reply 5") == 2, "two lines in the log")

    def refused():
        with hostile.Scripted("proxy", FAR, w.port(), relays(gives=4)) as hop:
            tap.same(codes(talk(daemon(*lead(hop.url("socks5h"))), 2)), [4, 4])
            tap.same(len(hop.peers), 2, "connections")
        far.take()
        tap.same(codes(talk(daemon(*lead(servers.danted(w).url())), 1, port=9)), [5])
        tap.same(far.take(), {("tcp", ORIGIN, 9): 1}, "packets to the target")

    def logins():
        early = []
        with hostile.Scripted("proxy", FAR, w.port(), relays(login=True, early=early)) as two:
            one = servers.viaductd(w, login=True)
            tap.same(codes(talk(daemon(*lead(one.url(), two.url("socks5h", LOGIN))), 3)), [0, 0, 0])
            tap.same(early[0], b"\5\2\0\2", "first: the greeting alone")
            tap.holds(early[1] == early[2] and early[1][:3] == b"\5\1\2", "then the login alone is offered")
            tap.holds(PASSWORD.encode() in early[1], "and said at once")

    def wrong_hop():
        with hostile.Scripted("proxy", FAR, w.port(), web) as hop:
            tap.same(codes(talk(daemon(*lead(hop.url("socks5h", LOGIN))), 2)), [1, 1])
            heard = b"".join(peer.heard for peer in hop.peers)
            tap.holds(heard and PASSWORD.encode() not in heard, f"heard: {heard!r}")

    def slow_but_serial():
        with hostile.Scripted("proxy", FAR, w.port(), relays(pause=2.6)) as two:
            one = servers.viaductd(w)
            ours = daemon(*lead(one.url()), two.url("socks5h") + "?pipeline=off")
            tap.same(codes(talk(ours)), [0])
            tap.same(len(two.peers), 1, "connections to hop 2")

    def silent():
        """A hop's own limit is shorter than patience: it ends the attempt, and then the next one."""
        with hostile.Scripted("proxy", FAR, w.port(), hostile.silent) as hop:
            result = talk(daemon(hop.url("socks5h") + "?pipeline=lead&timeout=0.4"), 2)
            tap.same([len(hop.peers), *codes(result)], [3, 6, 6], "connections, codes")
            tap.holds(0.7 < result[0][1] < PATIENCE and result[1][1] < PATIENCE, f"seconds: {result}")

    def http_then_socks():
        """Once the chain has come up: all in the HTTP hop's first segment."""
        early = []

        def script(peer):
            early.append(peer.sock.recv(4096, 2))
            peer.http_request()
            peer.say(b"HTTP/1.1 200 OK\r\n\r\n")
            peer.socks5_greeting()
            peer.socks5_request()
            echoes(peer)

        with hostile.Scripted("proxy", FAR, w.port(), script) as hop:
            tap.same(codes(talk(daemon(hop.url("http"), *lead("socks5h://10.9.9.9")), 2)), [0, 0])
        tap.same([REQUEST in data for data in early], [False, True], "the SOCKS5 hop's messages ahead")
        tap.holds(b"Connection: close" in early[0], "it is told to close")

    def round_trips():
        ours, trips = [servers.viaductd(w) for _ in range(3)], delay.Trips(3)
        links = [delay.Delayed("proxy", FAR, w.port(), hop.at(), 0.01, trips, i) for i, hop in enumerate(ours)]
        talk(daemon(*lead(*(one.url() for one in links))), 3)
        for one in links:
            one.stop()
        tap.same(min(trips.tunnels), 6, f"round trips, of {trips.tunnels}")

    yield "all in one segment, with `lead` alone", one_segment
    yield "microsocks: falls back once", lambda: falls_back(lambda: servers.microsocks(w), True)
    yield "dante: does not fall back", lambda: falls_back(lambda: servers.danted(w), False)
    yield "viaductd: does not fall back", lambda: falls_back(lambda: servers.viaductd(w), False)
    yield "falls back to a hop that is given by name", by_name
    yield "the reason of the serial attempt", true_reason
    yield "refusals are final", refused
    yield "a login behind another hop: not in the first flight", logins
    yield "a web server in the place of a hop: sees no login", wrong_hop
    yield "a hop that is slow, behind one that bears a flight", slow_but_serial
    yield "a hop that is silent in any manner", silent
    yield "HTTP, then SOCKS5", http_then_socks
    yield "round trips, 3 hops: 6", round_trips


if __name__ == "__main__":
    world.main(cases, ("microsocks", "danted", "openssl"))
