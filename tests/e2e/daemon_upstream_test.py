#!/usr/bin/env python3
"""viaductd's upstreams: which hops a connection takes, what becomes of dead ones, and that one hop's
failure is no failure of the client while another can stand in."""

import collections
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import datagrams, hostile, servers, tap, world
from lib.daemon import HOME, Daemon
from lib.flights import echo, relays
from lib.upstreams import HERE, VANISH, Hops, talk, upstream, ways
from lib.visit import SOCKS4, SOCKS5, WAYS, dial
from lib.world import ORIGIN, wait_until


def modes(x):
    w, urls, target = x.w, x.urls, x.target

    def daemon(*given, mode, pick=None, **how):
        more = f'mode = "{mode}"' + (f" pick = {pick}" if pick else "")
        return Daemon(w, conf=upstream(*given, more=more), **how)

    def strict():
        d = daemon(*urls, mode="strict")
        tap.same(ways(d, target, 2), [",".join(urls)] * 2)
        d = daemon(urls[0], x.nobody(), mode="strict")
        code, line = talk(d, target)
        tap.same((code, line["error"]), (1, "destination_unavailable"), str(line))
        tap.holds(line["via"].startswith(urls[0]), "what was tried")

    def dynamic():
        for position in range(3):
            order = urls[:2]
            order.insert(position, x.nobody())
            for way in WAYS:
                d = daemon(*order, mode="dynamic")
                tap.same(ways(d, target, 2, way=way), [",".join(urls[:2])] * 2, f"{position}, {way.name}")
                tap.same(d.log().count(": it is down"), 1, "it was found out once")
        d = daemon(*urls, mode="dynamic")
        tap.same(ways(d, target), [",".join(urls)], "all alive")

    def once_for_all_workers():
        d = daemon(x.nobody(), urls[0], mode="failover", workers=3)
        tap.same(set(ways(d, target, 20)), {urls[0]})
        tap.same(d.log().count(": it is down"), 1, "it was found out once")

    def all_dead():
        for mode in ("dynamic", "failover", "random", "round_robin"):
            d = daemon(x.nobody(), x.nobody(), mode=mode)
            before = len(x.origin.peers)
            for _ in range(2):
                code, line = talk(d, target)
                tap.same((code, "cannot be reached" in line["said"]), (1, True), f"{mode}: {line}")
            tap.same(len(x.origin.peers), before, "never directly")
            tap.same(d.log().count("it is down"), 2, "each is told once, however often it is tried")

    def random():
        d = daemon(*urls, mode="random")
        tap.same(set(ways(d, target, 40)), set(urls))
        d = daemon(*urls, mode="random", pick=2)
        tap.same(set(ways(d, target, 60)), {f"{a},{b}" for a in urls for b in urls if a != b})

    def round_robin():
        d = daemon(*urls, mode="round_robin", workers=2)
        tap.same(ways(d, target, 9), urls * 3, "in turn over all workers")
        d = daemon(*urls, mode="round_robin", pick=2)
        tap.same(ways(d, target, 3), [",".join(urls[a] for a in pair) for pair in ((0, 1), (2, 0), (1, 2))])

    def failover():
        d = daemon(*urls, mode="failover")
        tap.same(ways(d, target, 3), [urls[0]] * 3)
        d = daemon(x.nobody(), *urls, mode="failover", pick=2)
        tap.same(ways(d, target, 3), [",".join(urls[:2])] * 3)

    def command_line():
        words = servers.chain(*urls)
        tap.same(ways(Daemon(w, *words, "-m", "round_robin", "-n", "2"), target, 2),
                 [f"{urls[0]},{urls[1]}", f"{urls[2]},{urls[0]}"])
        tap.same(ways(Daemon(w, *words, "--mode=failover", conf=upstream(x.nobody())), target), [urls[0]],
                 "the file's is not taken")
        tap.same(ways(Daemon(w, "-m", "failover", conf=upstream(*urls, more='mode = "random" pick = 3')), target),
                 [",".join(urls)], "the file's hops and pick")
        tap.same(ways(Daemon(w, "-m", "failover", "-n", "1", conf=upstream(*urls)), target), [urls[0]])

    yield "strict", strict
    yield "dynamic leaves dead hops out, for each protocol", dynamic
    yield "a dead hop is found out once for all workers", once_for_all_workers
    yield "all dead: fails closed, in every mode", all_dead
    yield "random", random
    yield "round_robin over all workers", round_robin
    yield "failover", failover
    yield "-x, -m and -n", command_line


def faults(x):
    """What is a hop's fault, and what is the target's."""
    w, urls, target = x.w, x.urls, x.target

    def with_first(script, scheme="socks5h", options="", good=None, conf="timeouts { connect = 4 }\n"):
        """A failover from a hop that plays `script`; (codes of two connections, hop, daemon, seconds)."""
        with hostile.Scripted(HOME, HERE, w.port(), script) as hop:
            first = hop.url(scheme) + options
            d = Daemon(w, conf=conf + upstream(first, good or urls[0], more='mode = "failover"'))
            began = time.monotonic()
            codes = [talk(d, target)[0] for _ in range(2)]
            return codes, hop, d, time.monotonic() - began

    def no_good():
        for script in (hostile.closes_at_once, hostile.says(b"SSH-2.0-x\r\n"), hostile.resets_after(3),
                       hostile.closes_after(3)):
            codes, hop, d, _ = with_first(script)
            tap.same((codes, len(hop.peers)), ([0, 0], 1), d.log()[-500:])

    def closes_when_asked():
        """It may be the target's doing: another hop is tried, but this one is not dead."""
        def script(peer):
            peer.socks5_greeting()
            peer.socks5_request()

        codes, hop, d, _ = with_first(script)
        tap.same((codes, len(hop.peers), d.log().count("it is down")), ([0, 0], 2, 0))
        bad = [hostile.Scripted(HOME, HERE, w.port(), script) for _ in range(5)]
        d = Daemon(w, conf=upstream(*(hop.url("socks5h") for hop in bad), more='mode = "failover"'))
        tap.same(talk(d, target)[0], 1, "not by all of them")
        tap.same(sum(len(hop.peers) for hop in bad), 3)
        for hop in bad:
            hop.stop()

    def http_hop_dies_when_asked():
        def script(peer):
            peer.http_request()
            peer.reset()

        codes, hop, _, _ = with_first(script, scheme="http")
        tap.same((codes, len(hop.peers)), ([0, 0], 2))

    def refusals_are_final():
        for code, mine in ((5, 5), (4, 4), (2, 2), (3, 3)):
            codes, hop, d, _ = with_first(relays(gives=code))
            tap.same((codes, len(hop.peers)), ([mine, mine], 2), d.log()[-300:])

    def wrong_login():
        locked = servers.microsocks(w, login=True)
        d = Daemon(w, conf=upstream(locked.url(login="eve:wrong"), urls[0], more='mode = "failover"'))
        tap.same(ways(d, target, 2), [urls[0]] * 2)
        tap.holds("refused the login: it is down" in d.log() and "wrong" not in d.log(), d.log())

    def silent():
        codes, hop, _, took = with_first(hostile.silent)
        tap.same((codes, len(hop.peers)), ([0, 0], 1))
        tap.holds(1.5 < took < 3.5, f"half of the time, once: {took}")
        codes, hop, _, took = with_first(hostile.silent, options="?timeout=0.3")
        tap.same((codes, len(hop.peers)), ([0, 0], 1))
        tap.holds(took < 1.9, f"its own limit: {took}")

    def swallowed():
        """Packets to it are lost: nobody refuses."""
        d = Daemon(w, conf="timeouts { connect = 4 }\n"
                   + upstream(f"socks5h://{VANISH}:1", urls[0], more='mode = "failover"'))
        began = time.monotonic()
        tap.same(ways(d, target, 3), [urls[0]] * 3)
        tap.holds(1.5 < time.monotonic() - began < 3.9, "half of the time, once")
        d = Daemon(w, conf="timeouts { connect = 4 }\n"
                   + upstream(f"socks5h://{VANISH}:1?timeout=0.2", urls[0], more='mode = "failover"'))
        began = time.monotonic()
        tap.same(ways(d, target), [urls[0]])
        tap.holds(time.monotonic() - began < 1.9, "its own limit")

    def slow_target():
        """The target has all the time there is."""
        def script(peer):
            peer.socks5_greeting()
            peer.socks5_request()
            peer.pause(1.5)
            peer.say(hostile.socks5_reply(0))
            echo(peer)

        codes, hop, d, _ = with_first(script, conf="timeouts { connect = 2 }\n")
        tap.same((codes, len(hop.peers), d.log().count("it is down")), ([0, 0], 2, 0))
        tap.same({line["via"] for line in d.lines("session")}, {hop.url("socks5h")})

    def in_the_middle():
        """A hop behind others that closes: it is found out by a way without it, once."""
        first = servers.viaductd(w, options=("-q",)).url("socks5h")
        for script in (hostile.closes_at_once, hostile.resets_after(3)):
            with hostile.Scripted(HOME, HERE, w.port(), script) as bad:
                d = Daemon(w, conf=upstream(first, bad.url("socks5h"), urls[1], more='mode = "dynamic"'))
                tap.same(ways(d, target, 3), [f"{first},{urls[1]}"] * 3)
                tap.same((len(bad.peers), d.log().count("it is down")), (1, 1), d.log()[-500:])

    def before_it():
        """When a stream ends with the hop before the awaited one, that hop is found out, and no other left out."""
        def script(peer):
            peer.socks5_greeting()
            peer.socks5_request()
            peer.say(hostile.socks5_reply(0))
            peer.read(3)
            first.listener.shutdown(socket.SHUT_RDWR)

        first = hostile.Scripted(HOME, HERE, w.port(), script)
        d = Daemon(w, conf=upstream(first.url("socks5h"), *urls[:2], more='mode = "dynamic"'))
        tap.same(ways(d, target, 2), [",".join(urls[:2])] * 2, d.log()[-900:])
        tap.same(d.log().count("it is down"), 1)
        first.stop()

    def unknown_hop():
        d = Daemon(w, conf=upstream("socks5h://nosuch.test:1", urls[0], more='mode = "failover"'))
        tap.same(ways(d, target, 2), [urls[0]] * 2)

    def no_descriptors():
        """What is our own want is not the hop's fault."""
        d = Daemon(w, "-w", "1", conf=upstream(urls[0], urls[1], more='mode = "failover"'))
        tap.same(ways(d, target), [urls[0]])
        pid = Daemon.workers(d)[0]
        held = len(os.listdir(f"/proc/{pid}/fd"))
        subprocess.run(["prlimit", f"--pid={pid}", f"--nofile={held + 1}:4096"], check=True)
        code, _ = talk(d, target)
        subprocess.run(["prlimit", f"--pid={pid}", "--nofile=4096:4096"], check=True)
        tap.same((code == 0, "it is down" in d.log()), (False, False), d.log()[-500:])
        tap.same(ways(d, target), [urls[0]])

    yield "a hop that is no good", no_good
    yield "a hop that closes when it was asked", closes_when_asked
    yield "an HTTP hop that dies when it was asked", http_hop_dies_when_asked
    yield "what a hop says of the target is final", refusals_are_final
    yield "a refused login is the hop's fault", wrong_login
    yield "a silent hop takes its part of the time", silent
    yield "so does one that nothing comes back from", swallowed
    yield "a slow target takes all of it", slow_target
    yield "a hop that closes in the middle of a chain", in_the_middle
    yield "the hop before the one that is awaited", before_it
    yield "a hop whose name is unknown", unknown_hop
    yield "no descriptors are left", no_descriptors


def fallbacks(x):
    w, urls, target = x.w, x.urls, x.target

    def fallback():
        conf = (upstream(x.nobody(), urls[0], more='fallback = "b"') + upstream(x.nobody(), name="b", more='fallback = "c"')
                + upstream(urls[1], urls[2], name="c"))
        d = Daemon(w, conf=conf)
        for _ in range(2):
            code, line = talk(d, target)
            tap.same((code, line["upstream"], line["via"]), (0, "c", ",".join(urls[1:])))
        tap.same(d.log().count("it is down"), 2, "each was found out once")

    def stays():
        """A fallback is no second choice of a chain that works, nor of a target that refuses."""
        d = Daemon(w, conf=upstream(urls[0], more='fallback = "b"') + upstream(urls[1], name="b"))
        tap.same(ways(d, target, 3), [urls[0]] * 3)
        before = len(x.hops[1].peers)
        tap.same(talk(d, (ORIGIN, 1))[0], 5)
        tap.same(len(x.hops[1].peers), before)

    def lines():
        """Each upstream says its own version of the PROXY protocol."""
        def script(peer):
            peer.line = peer.read_until(b"\r\n")
            relays()(peer)

        with hostile.Scripted(HOME, HERE, w.port(), script) as hop:
            d = Daemon(w, conf=upstream(x.nobody(), more='fallback = "b"')
                       + upstream(x.nobody(), hop.url("socks5h"), name="b", more='mode = "failover" proxy_protocol = "v1"'))
            code, line = talk(d, target)
            tap.same(code, 0, str(line))
            address, port = line["client"].split(":")
            tap.same(hop.peers[0].line.split()[:3] + hop.peers[0].line.split()[4:5],
                     [b"PROXY", b"TCP4", address.encode(), port.encode()])

    def resolved_again():
        """Hops that take addresses only, beside some that take names."""
        d = Daemon(w, conf=upstream(x.nobody(), x.hops[0].url("socks5"), more='mode = "failover"'))
        tap.same(ways(d, ("v4.origin.test", 7), 2), [x.hops[0].url("socks5")] * 2)

    yield "fallbacks, one behind the other", fallback
    yield "fallbacks are for failures only", stays
    yield "fallbacks and PROXY lines", lines
    yield "a way whose last hop takes addresses only", resolved_again


def lives(x):
    """Killed, revived, reloaded, under load."""
    w, target = x.w, x.target

    def load(d, seconds, threads=8, way=SOCKS5):
        """Connections one after the other from each thread: (how many, [what failed])."""
        end, failures, count = time.monotonic() + seconds, [], collections.Counter()

        def many():
            while time.monotonic() < end:
                try:
                    with d.visit(way, target) as visit:
                        if not visit.ok:
                            failures.append(f"code {visit.code} of {visit.local}")
                            continue
                        count["good"] += 1
                except OSError as error:
                    failures.append(repr(error))

        crowd = [threading.Thread(target=many) for _ in range(threads)]
        for one in crowd:
            one.start()
        return crowd, count, failures

    def killed(mode):
        def case():
            hops = [servers.viaductd(w, host="proxy", options=("-q",)) for _ in range(3)]
            d = Daemon(w, conf=upstream(*(hop.url("socks5h") for hop in hops), more=f'mode = "{mode}"'), workers=2)
            crowd, count, failures = load(d, 3)
            for number in range(3):
                time.sleep(0.25)
                hop = hops[number % 2]
                pids = [hop.server.proc.pid, *Daemon.workers(hop.server.proc)]
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                hop.server.proc.wait()
                time.sleep(0.25)
                hops[number % 2] = servers.viaductd(w, port=hop.port, options=("-q",))
            for one in crowd:
                one.join()
            told = [line for line in d.log().splitlines() if "upstream default:" in line or "error=" in line]
            tap.same(failures[:5], [], f"of {count['good']} and {len(failures)}: {told[:12]}")
            tap.holds(count["good"] > 50, f"{count['good']} connections")
            taken = collections.Counter(line["via"] for line in d.lines("session"))
            tap.holds(len(taken) >= 2, f"others stood in: {taken}")
        return case

    def revived():
        """A hop that comes up is taken again once its time is over, or when all are dead."""
        port = w.port()
        d = Daemon(w, conf=upstream(f"socks5h://{HERE}:{port}", more='mode = "failover"'))
        tap.same(talk(d, target)[0], 1)
        with hostile.Scripted(HOME, HERE, port, relays()):
            tap.same(ways(d, target), [f"socks5h://{HERE}:{port}"])
        wait_until(lambda: "is up again" in d.log(), "it is up again")
        tap.same(d.log().count("it is down"), 1)

    def reload():
        """Another upstream under running transfers: they go on, and new ones take it."""
        hops = [servers.viaductd(w, options=("-q",)) for _ in range(2)]
        urls = [hop.url("socks5h") for hop in hops]
        d = Daemon(w, conf=upstream(urls[0]), workers=2)
        data = os.urandom(4 << 20)
        results = []
        started = threading.Barrier(21)

        def transfer():
            with d.visit(SOCKS5, target) as visit:
                visit.sock.sendall(data[:1000])
                got = visit.read(1000)
                started.wait()
                for at in range(1000, len(data), 200000):
                    piece = data[at:at + 200000]
                    visit.sock.sendall(piece)
                    got += visit.read(len(piece))
                    time.sleep(0.02)
                results.append(hashlib.sha256(got).digest())

        crowd = [threading.Thread(target=transfer) for _ in range(20)]
        for one in crowd:
            one.start()
        started.wait()
        with open(d.conf, "w", encoding="utf-8") as file:
            file.write(upstream(x.nobody(), urls[1], more='mode = "failover"'))
        d.signal(signal.SIGHUP)
        wait_until(lambda: "reloaded" in d.log(), "the reload")
        wait_until(lambda: ways(d, target) == [urls[1]], "new ones take the new upstream")
        for one in crowd:
            one.join()
        tap.same(set(results), {hashlib.sha256(data).digest()})
        tap.same(len(results), 20)
        whole = str(len(data))  # what asked for the way may have got the old one, too
        wait_until(lambda: sum(line["via"] == urls[0] and line["up"] == whole for line in d.lines("session")) == 20,
                   "their lines in the log")

    yield "a hop killed and revived under load: failover", killed("failover")
    yield "a hop killed and revived under load: round_robin", killed("round_robin")
    yield "a hop killed and revived under load: random", killed("random")
    yield "a hop killed and revived under load: dynamic", killed("dynamic")
    yield "a revived hop is taken again", revived
    yield "reload of upstreams under transfers", reload


def mixed(x):
    """Hops of other makers, in all modes."""
    w, target = x.w, x.target

    def real():
        sshd = servers.Sshd(w)
        hops = [servers.danted(w), servers.microsocks(w), servers.tinyproxy(w), servers.ssh_d(w, sshd),
                servers.viaductd(w), servers.danted(w, login=True), servers.microsocks(w, login=True),
                servers.tinyproxy(w, login=True), servers.viaductd(w, login=True)]
        urls = [scheme for hop in hops for scheme in (hop.url(), hop.url(hop.schemes[-1]))]
        for mode in ("random", "round_robin"):
            d = Daemon(w, conf=upstream(x.nobody(), *urls[:15], more=f'mode = "{mode}"'))
            taken = collections.Counter(ways(d, target, 40 if mode == "random" else 30))
            tap.holds(len(taken) > 8, f"{mode}: {taken}")
            tap.holds(servers.PASSWORD not in d.log(), "no password")
        for way in WAYS:
            d = Daemon(w, conf=upstream(*(hop.url() for hop in hops[:5]), x.nobody(), *(hop.url() for hop in hops[5:]),
                                        more='mode = "dynamic"'))
            where = target if way in (SOCKS4,) else ("v4.origin.test", 7)
            code, line = talk(d, where, way=way)
            tap.same((code, line["via"].count("://")), (way.good, 9), str(line))

    yield "real proxies, mixed protocols, logins", real


def others(x):
    """BIND and UDP ASSOCIATE by the same ways."""
    w = x.w
    hops = [servers.viaductd(w, options=("-q",)) for _ in range(3)]
    urls = [hop.url("socks5h") for hop in hops]
    datagrams.Echo("origin", ORIGIN, datagrams.ECHO)
    where = (ORIGIN, datagrams.ECHO)

    def sent(d):
        """By which hops the datagrams of a new association go."""
        with datagrams.associate(d) as a:
            tap.same(a.code, 0, d.log()[-500:])
            datagrams.echoes(a, where)
        return d.session(a)["via"]

    def udp():
        rows = (("failover", [x.nobody(), *urls[:2]], {urls[0]}),
                ("dynamic", [urls[0], x.nobody(), urls[1]], {",".join(urls[:2])}),
                ("dynamic", [x.nobody(), *urls[:2]], {",".join(urls[:2])}),
                ("round_robin", urls, set(urls)), ("random", [urls[0], x.nobody()], {urls[0]}),
                ("failover", [hops[1].url("http"), urls[2]], {urls[2]}))
        for mode, given, want in rows:
            d = Daemon(w, conf=upstream(*given, more=f'mode = "{mode}"'))
            tap.same({sent(d) for _ in range(4)}, want, mode)
            tap.holds(d.log().count("it is down") <= 1, "found out once")
        d = Daemon(w, conf=upstream(x.nobody(), more='fallback = "b"') + upstream(urls[1], name="b"))
        tap.same([sent(d), sent(d)], [urls[1]] * 2, "fallback")

    def udp_none():
        """No way is left: told so, never directly."""
        for conf in (upstream(x.nobody(), x.nobody(), more='mode = "failover"'), upstream(x.nobody())):
            d = Daemon(w, conf=conf)
            with datagrams.associate(d) as a:
                tap.same(a.code, 1, d.log()[-500:])

    def udp_by_rule():
        d = Daemon(w, conf='allow a { commands = {"associate"} upstream = "one" }\nallow b { }\n'
                   + upstream(urls[0], name="one") + upstream(urls[1]))
        tap.same((sent(d), ways(d, x.target)), (urls[0], [urls[1]]))
        d = Daemon(w, conf='allow a { commands = {"associate"} upstream = "direct" }\nallow b { }\n' + upstream(urls[1]))
        tap.same((sent(d), ways(d, x.target)), ("-", [urls[1]]))

    def bind():
        for mode, given, want in (("failover", [x.nobody(), urls[0]], urls[0]),
                                  ("dynamic", [urls[0], x.nobody(), urls[1]], ",".join(urls[:2]))):
            d = Daemon(w, conf=upstream(*given, more=f'mode = "{mode}"'))
            for way in (SOCKS5, SOCKS4):
                with d.visit(way, (ORIGIN, 21), command=2) as visit:
                    tap.same(visit.code, way.good, d.log()[-500:])
                    peer = dial(visit.bound, "origin")
                    tap.holds(visit.second(), "second reply")
                    peer.sendall(b"from the peer")
                    tap.same(visit.read(13), b"from the peer")
                    peer.close()
                tap.same(d.session(visit)["via"], want)

    yield "UDP in each mode", udp
    yield "UDP when no way is left", udp_none
    yield "UDP by rule", udp_by_rule
    yield "BIND in each mode", bind


def unfit(x):
    """What has to be known of a chain before anybody comes."""
    w = x.w
    first, second = servers.viaductd(w), servers.viaductd(w)

    def looked_up():
        """A hop's name behind a hop that takes addresses only: once, at the start."""
        w.far_names.know("second.test", HERE)
        w.far_names.take()
        d = Daemon(w, conf=upstream(first.url("socks4"), f"socks5h://second.test:{second.port}"))
        tap.same({name for name, _, _ in w.far_names.take()}, {"second.test"}, "asked at the start")
        via = f'{first.url("socks4")},socks5h://second.test:{second.port}'
        tap.same(ways(d, x.target, 2), [via] * 2)
        tap.same(w.far_names.take(), [], "asked later")

    def refused(conf, reason):
        got = w.run(HOME, [w.viaductd, "-l", f"{HERE}:0", "-f", w.file(f"unfit.{w.port()}.conf", conf)])
        tap.same([got.code, got.err.decode()], [1, f"viaductd: upstream: {reason}\n"])

    def unknown():
        refused(upstream(first.url("socks4"), "socks5h://no.such.test:2"), "hop no.such.test: Name or service not known")

    def other_family():
        for mode in ("strict", "random"):
            hop, pick = ("1 of 2", "") if mode == "strict" else ("1 of 2", " pick = 2")
            refused(upstream("socks4://10.0.0.1:1", "socks5://[fd00::1]:2", more=f'mode = "{mode}"{pick}'),
                    f"hop {hop} (socks4://10.0.0.1:1) cannot carry this kind of address; allowed: socks4, socks4a, socks5, "
                    "socks5h, http, https")

    yield "a hop's name that the hop before cannot look up", looked_up
    yield "a hop's name that nobody knows", unknown
    yield "hops that cannot stand in this order", other_family


def cases(w):
    socket.setdefaulttimeout(20)
    x = Hops(w)
    for part in (modes, faults, fallbacks, others, lives, mixed, unfit):
        yield from part(x)
    for hop in (*x.hops, x.origin):
        hop.stop()


world.main(cases, ("microsocks", "danted", "tinyproxy", "ssh", "openssl"))
