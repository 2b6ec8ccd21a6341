#!/usr/bin/env python3
"""The harness itself: it sees what it must see, and can fail."""

import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, netns, servers, tap, world
from lib.world import NAMES, NEAR, ORIGIN, ORIGIN6, PYTHON


def must_fail(check, what):
    try:
        check()
    except tap.Failed:
        return
    tap.fail(f"{what}: the check did not fail")


def sends_udp(address, port):
    family = "AF_INET6" if ":" in address else "AF_INET"
    code = f"import socket; socket.socket(socket.{family}, socket.SOCK_DGRAM).sendto(b'x', ('{address}', {port}))"
    return [PYTHON, "-c", code]


def cases(w):
    web = servers.Nginx(w)
    sshd = servers.Sshd(w)
    micro = servers.microsocks(w)

    def quiet_when_nothing_runs():
        w.forget()
        same = w.run("app", ["true"])
        tap.same(same.code, 0)
        w.quiet()

    def no_way_but_the_proxy():
        got = w.run("app", ["curl", "-s", "--connect-timeout", "0.3", f"http://{ORIGIN}/"])
        tap.same(got.code, 28, "curl's exit code: time-out")
        must_fail(w.quiet, "a direct connection")
        w.run("app", ["curl", "-s", "--connect-timeout", "0.3", f"http://[{ORIGIN6}]/"])
        tap.same(set(w.link.take()), {("tcp", ORIGIN6, 80)}, "on the link")

    def leak_beside_a_hop():
        w.forget()
        w.run("app", ["curl", "-s", "-x", micro.url(first=True), "http://origin.test/"])
        w.run("app", ["curl", "-s", "--connect-timeout", "0.3", f"http://{ORIGIN}/"])
        must_fail(lambda: w.quiet(micro.at(first=True)), "a hop and a leak")

    def missing_is_seen():
        must_fail(lambda: w.quiet((NEAR, 9)), "a hop that nobody spoke to")

    def goodbyes_are_not_beginnings():
        """The end of an earlier case's connection is no leak of this one; a new one to there is."""
        w.forget()
        with netns.inside("app"):
            sock = socket.create_connection(micro.at(first=True))
            w.quiet(micro.at(first=True))
            sock.close()
            w.quiet()
            socket.create_connection(micro.at(first=True)).close()
        must_fail(w.quiet, "a new connection to an earlier hop")

    def dns_is_seen():
        w.forget()
        got = w.run("app", ["getent", "ahosts", "origin.test"])
        tap.same(got.code, 2, "getent's exit code: unknown")
        asked = w.names.take()
        tap.same({(name, kind) for name, kind, _ in asked}, {("origin.test", "A"), ("origin.test", "AAAA")})
        tap.same(set(w.link.take()), {("udp", NAMES, 53)}, "on the link")
        w.run("app", ["getent", "ahosts", "origin.test"])
        must_fail(w.quiet, "a DNS query")

    def dns_answers():
        w.names.know("there.test", NEAR, "fd01::1")
        w.names.know_reverse(NEAR, "there.test")
        got = w.run("app", ["getent", "ahosts", "there.test"])
        tap.same({line.split()[0] for line in got.out.decode().splitlines()}, {NEAR, "fd01::1"})
        got = w.run("app", ["getent", "hosts", NEAR])
        tap.same(got.out.split(), [NEAR.encode(), b"there.test"])
        got = w.run("app", ["dig", "+tcp", "+short", "there.test"])
        tap.same(got.out, f"{NEAR}\n".encode())
        w.forget()

    def udp_and_icmp_are_seen():
        w.run("app", sends_udp(ORIGIN, 999))
        w.run("app", sends_udp(ORIGIN6, 999))
        tap.same(set(w.link.take()), {("udp", ORIGIN, 999), ("udp", ORIGIN6, 999)}, "on the link")
        raw = f"""
import socket
socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).sendto(b"\\x08" + bytes(7), ("{ORIGIN}", 0))
"""
        w.run("app", [PYTHON, "-c", raw])
        tap.same(set(w.link.take()), {("icmp", ORIGIN, 0)}, "on the link")

    def programs_reach_the_origin_from_the_proxy_host():
        got = w.run("proxy", ["curl", "-s", "http://origin.test/"])
        tap.same((got.code, got.out), (0, web.page))
        got = w.run("proxy", ["curl", "-s", "--cacert", web.ca, "https://origin.test/"])
        tap.same((got.code, got.out), (0, web.page))
        got = w.run("proxy", ["curl", "-s", f"http://[{ORIGIN6}]:1518/"])
        tap.same((got.code, got.out), (0, web.page))
        got = w.run("proxy", [*sshd.ssh(), sshd.there(), "echo yes"])
        tap.same((got.code, got.out), (0, b"yes\n"))
        tap.same(w.link.take(), {}, "on app's link")

    def foreign_hops():
        dante, dante_login = servers.danted(w), servers.danted(w, login=True)
        tiny, tiny_login = servers.tinyproxy(w), servers.tinyproxy(w, login=True)
        hops = [
            micro,
            servers.microsocks(w, login=True),
            dante,
            dante_login,
            tiny,
            tiny_login,
            servers.ssh_d(w, sshd),
        ]
        for hop in hops:
            for scheme in hop.schemes:
                to = ORIGIN if scheme in ("socks4", "socks5") else "v4.origin.test"
                w.forget()
                got = w.run("app", ["curl", "-s", "-p", "-x", hop.url(scheme, first=True), f"http://{to}/"])
                tap.same((got.code, got.out), (0, web.page), f"{hop} as {scheme}")
                w.quiet(hop.at(first=True))
            if hop.login:
                bad = hop.url(first=True, login="alice:wrong")
                got = w.run("app", ["curl", "-s", "-p", "-x", bad, "http://v4.origin.test/"])
                tap.holds(got.code not in (0, None), f"{hop}: a wrong password must be refused")
            got = w.run("proxy", ["curl", "-s", "-p", "-x", hop.url(six=True), f"http://[{ORIGIN6}]/"])
            tap.same((got.code, got.out), (0, web.page), f"{hop} by and to IPv6")
        w.forget()

    def proxychains_carries_tcp_and_leaks_udp():
        config = w.file("pc.conf", f"strict_chain\nproxy_dns\n[ProxyList]\nsocks5 {NEAR} {micro.port}\n")
        w.forget()
        got = w.run("app", ["proxychains4", "-q", "-f", config, "curl", "-s", "http://origin.test/"])
        tap.same((got.code, got.out), (0, web.page))
        w.quiet(micro.at(first=True))
        w.run("app", ["proxychains4", "-q", "-f", config, *sends_udp(ORIGIN, 999)])
        must_fail(w.quiet, "a datagram past proxychains")

    def scripted_servers():
        def script(peer):
            hostile.accept_as("socks5", peer, glued=b"HTTP/1.0 200 OK\r\n\r\nglued")
            peer.wait_for_end()

        with hostile.Scripted("proxy", NEAR, w.port(), script) as hop:
            got = w.run("app", ["curl", "-s", "-m", "0.5", "-x", hop.url("socks5h"), "http://origin.test/"])
        tap.same(got.out, b"glued")
        tap.holds(hop.peers[0].heard.startswith(b"\x05"), "what the client said was kept")

    def late_programs_are_killed():
        got = w.run("app", ["sh", "-c", "sleep 50 & sleep 50"], timeout=0.3)
        tap.same(got.code, None, "exit code")
        tap.holds(got.seconds < 5, "the kill took effect at once")

    def listening_asks_the_kernel():
        tap.holds(netns.listening("origin", 80), "nginx listens")
        tap.holds(not netns.listening("app", 80), "nothing listens there")

    yield "nothing is seen when nothing is sent", quiet_when_nothing_runs
    yield "a direct connection is seen and arrives nowhere", no_way_but_the_proxy
    yield "a leak beside a hop is seen", leak_beside_a_hop
    yield "a hop that nobody spoke to is missed", missing_is_seen
    yield "only beginnings count", goodbyes_are_not_beginnings
    yield "a DNS query is seen", dns_is_seen
    yield "the name servers answer", dns_answers
    yield "UDP and ICMP are seen", udp_and_icmp_are_seen
    yield "the proxy host reaches the origin", programs_reach_the_origin_from_the_proxy_host
    yield "the proxies of other makers work, without and with login", foreign_hops
    yield "proxychains4 carries TCP and leaks UDP", proxychains_carries_tcp_and_leaks_udp
    yield "scripted servers", scripted_servers
    yield "a program that is too late is killed", late_programs_are_killed
    yield "listening is told by the kernel", listening_asks_the_kernel


if __name__ == "__main__":
    world.main(
        cases,
        (
            "curl",
            "dig",
            "getent",
            "microsocks",
            "danted",
            "tinyproxy",
            "sshd",
            "ssh",
            "nginx",
            "openssl",
            "proxychains4",
            PYTHON,
        ),
    )
