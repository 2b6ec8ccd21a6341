#!/usr/bin/env python3
"""viaductd's UDP ASSOCIATE through an upstream chain of SOCKS5 hops, ours and dante's: datagrams both
ways, by names and addresses, which hops cannot, rules, and how it ends."""

import os
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, netns, servers, tap, world
from lib.daemon import HOME, Daemon, cpu_seconds, descriptors, through
from lib.datagrams import ECHO, Echo, Relay, associate, bound, echoes, is_served, is_silent
from lib.hostile import socks5_reply
from lib.servers import chain
from lib.visit import HTTP, SOCKS5, dial, reset
from lib.world import FAR, NAMES, NEAR, NEAR6, ORIGIN, ORIGIN6, wait_until

HERE = "127.0.0.1"
LARGEST = 65507  # of a UDP datagram over IPv4
TARGET = (ORIGIN, ECHO)


def client(d, **how):
    return associate(d, ns="app", **how)


def spoken_to(w, address, *ports):
    """On the link: TCP to these ports of the first hop, and UDP to its relays; nothing else."""
    seen = w.link.take()
    tap.holds(all(what[:2] == ("udp", address) or what in [("tcp", address, p) for p in ports] for what in seen),
              f"only the first hop is spoken to: {seen}")
    tap.same(w.names.take(), [], "names that were asked")


def carried(w, ours, dante, echo):
    def passes(d, hops, headers):
        w.forget()
        with client(d) as a:
            tap.same((a.code, a.bound[0]), (0, HERE), f"reply\n{d.log()}")
            sizes = (0, 1, 2, 1200, 1472, 1473, 9000, LARGEST - 10 * headers, 5)
            for length in sizes:
                echoes(a, TARGET, os.urandom(length))
            ports = {sender for sender, _ in echo[ORIGIN].seen[-len(sizes):]}
            tap.same({host for host, _ in ports}, {FAR}, "whom the target sees")
            tap.same(len(ports), 1, "ports that the target sees")
            a.sock.close()
            line = d.session(a)
        total = str(sum(sizes))
        want = {"command": "associate", "end": "closed", "up": total, "down": total, "datagrams_up": "9",
                "datagrams_down": "9", "dropped": "0", "peer": f"{NEAR}:{hops[0].port}", "protocol": "SOCKS5"}
        tap.same({key: line[key] for key in want}, want, "log")
        spoken_to(w, NEAR, hops[0].port)

    def names(d, hops):
        w.forget()
        with client(d) as a:
            for name, whence in (("v4.origin.test", ORIGIN), ("v6.origin.test", ORIGIN6), ("V4.Origin.TEST", ORIGIN)) * 2:
                echoes(a, (name, ECHO), whence=(whence, ECHO))
        spoken_to(w, NEAR, hops[0].port)

    def families(d):
        with client(d) as a:
            for target in (ORIGIN, ORIGIN6) * 2:
                echoes(a, (target, ECHO))
            echoes(a, ("::ffff:" + ORIGIN, ECHO), whence=TARGET)

    rows = {"one hop": ours[:1], "two hops": ours[:2], "three hops": ours, "dante": [dante],
            "dante behind viaductd": [ours[0], dante], "viaductd behind dante": [dante, ours[0]]}
    for what, hops in rows.items():
        d = through(w, *hops)
        yield f"UDP by {what}: every size", lambda d=d, h=hops: passes(d, h, len(h))
        if dante not in hops:
            yield f"UDP by {what}: names", lambda d=d, h=hops: names(d, h)
            yield f"UDP by {what}: IPv4 and IPv6", lambda d=d: families(d)

    def six():
        """The first hop on IPv6, and IPv4 behind it."""
        d = through(w, ours[0].url(first=True, six=True), ours[1])
        w.forget()
        with client(d) as a:
            echoes(a, TARGET)
            echoes(a, (ORIGIN6, ECHO))
        spoken_to(w, NEAR6, ours[0].port)

    def looked_up_here():
        d = through(w, ours[0].url("socks5", first=True))
        w.names.know("here.test", ORIGIN, ORIGIN6)
        w.names.know("six.test", ORIGIN6)
        w.forget()
        with client(d) as a:
            echoes(a, ("here.test", ECHO), whence=TARGET)
            echoes(a, ("six.test", ECHO), whence=(ORIGIN6, ECHO))
            a.send(("nothing.test", ECHO), b"x")
            is_served(a, TARGET)
        seen = set(w.link.take()) - {("udp", NAMES, 53)}
        tap.holds(all(what[1] == NEAR for what in seen), f"on the link: {seen}")

    def hop_by_name():
        """A second hop whose name the first one knows."""
        w.far_names.know("hop.test", FAR)
        d = through(w, ours[0], f"socks5h://hop.test:{ours[1].port}", ours[2])
        w.forget()
        with client(d) as a:
            echoes(a, TARGET)
        spoken_to(w, NEAR, ours[0].port)

    def login():
        hop = servers.viaductd(w, login=True)
        d = through(w, ours[0], hop.url())
        with client(d) as a:
            echoes(a, TARGET)
        wrong = through(w, ours[0], hop.url(login="alice:wrong"))
        with client(wrong, udp=False) as a:
            tap.same(a.code, 1, "a wrong login")
            tap.holds("hop 2 of 2" in wrong.session(a)["said"], "which hop")

    yield "UDP by a hop on IPv6", six
    yield "UDP by a chain: names looked up here", looked_up_here
    yield "UDP by a chain: a hop by name", hop_by_name
    yield "UDP by a chain: a login", login
    flown = through(w, ours[0].url(first=True) + "?pipeline=lead", ours[1].url() + "?pipeline=lead")
    yield "UDP by a chain: in one flight", lambda: passes(flown, ours, 2)

    def segments():
        d = through(w, ours[0], ours[1])
        length = len(b"".join(SOCKS5.messages(("0.0.0.0", 0), None, 3)))
        for how in ["flight", "drip", *range(1, length)]:
            with client(d, how=how) as a:
                tap.same(a.code, 0, f"reply, said as {how}")
                echoes(a, TARGET)

    def many():
        d = through(w, ours[0], ours[1])
        clients = [client(d) for _ in range(30)]
        for turn in range(3):
            for number, a in enumerate(clients):
                a.send(TARGET, b"%d.%d" % (number, turn))
        for number, a in enumerate(clients):
            tap.same([a.receive()[1] for _ in range(3)], [b"%d.%d" % (number, turn) for turn in range(3)], "own echoes")
            a.close()

    def introduced():
        """send_proxy tells the first hop who the client is, on every control connection."""
        path = w.port()
        front = Daemon(w, conf=f'listen f {{ url = "mixed://{NEAR}:{path}" proxy_protocol = true }}\nallow all {{ to = {{"0.0.0.0/0"}} }}\n',
                       listens=1)
        d = through(w, conf=f'upstream {{ hops = {{"socks5h://{NEAR}:{path}", "{ours[1].url()}"}} proxy_protocol = "v2" }}\n')
        with client(d) as a:
            tap.same(a.code, 0, front.log())
            a.sock.close()
            d.session(a)
            lines = wait_until(lambda: len(front.lines("session")) == 2 and front.lines("session"), "two lines")
            tap.same({line["client"] for line in lines}, {f"{HERE}:{a.local[1]}"}, "clients of the first hop")

    yield "UDP by a chain: the request split at every byte", segments
    yield "UDP by a chain: 30 clients", many
    yield "UDP by a chain: the PROXY protocol", introduced


def volume(w, ours, dante, echo):
    def rate(d, count=10000):
        """At most 5,000 a second, and no more under way than the test's own sockets hold."""
        data, got = os.urandom(1190), []
        with client(d) as a:
            a.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)

            def listen():
                try:
                    while len(got) < count:
                        got.append(a.receive(2)[1])
                except TimeoutError:
                    pass

            listener = threading.Thread(target=listen)
            listener.start()
            used, began = cpu_seconds(d.workers()[0]), time.monotonic()
            for number in range(count):
                time.sleep(max(0, began + number / 5000 - time.monotonic()))
                while number - len(got) > 40 and listener.is_alive():
                    time.sleep(0.0005)
                a.send(TARGET, number.to_bytes(10, "big") + data)
            took, _ = time.monotonic() - began, listener.join()
            tap.same(len(got), count, "datagrams that came back")
            tap.holds(got == [number.to_bytes(10, "big") + data for number in range(count)], "in order and intact")
            tap.note(f"{count / took:.0f}/s, {(cpu_seconds(d.workers()[0]) - used) / count * 1e6:.1f} us of CPU each way and back")

    yield "UDP by one hop: 10,000 datagrams, none lost", lambda: rate(through(w, ours[0]))
    yield "UDP by three hops: 10,000 datagrams, none lost", lambda: rate(through(w, *ours))
    yield "UDP by dante: 10,000 datagrams, none lost", lambda: rate(through(w, dante))


def refused(w, ours, dante, echo):
    def says_no(d, code, said="", spoken=()):
        w.forget()
        with client(d, udp=False) as a:
            tap.same((a.code, a.rest()), (code, b""), "reply, then the end")
            line = d.session(a)
            tap.same((line["command"], line["end"]), ("associate", "refused"), "log")
            tap.holds(said in line.get("said", ""), f"{line}")
        tap.same(set(w.link.take()), set(spoken), "spoken to")

    web = servers.tinyproxy(w)
    rows = {"an HTTP hop": ([web], 1), "an HTTP hop behind": ([ours[0], web], 2), "an HTTP hop before": ([web, ours[0]], 1),
            "a SOCKS4 hop between": ([ours[0], ours[1].url("socks4"), ours[2].url()], 2)}
    for what, (hops, number) in rows.items():
        d = through(w, *hops)
        yield f"UDP: {what}", lambda d=d, n=number, h=hops: says_no(d, 7, f"hop {n} of {len(h)}")
    dead = through(w, f"socks5h://{NEAR}:9")
    yield "UDP: a dead hop", lambda: says_no(dead, 1, "hop 1 of 1", (("tcp", NEAR, 9),))
    second = through(w, ours[0], f"socks5h://{FAR}:9")
    yield "UDP: a dead second hop", lambda: says_no(second, 1, "hop 2 of 2", (("tcp", NEAR, ours[0].port),))
    without = servers.microsocks(w)
    yield "UDP: a hop that does not know it", lambda: says_no(
        through(w, without), 7, "hop 1 of 1", (("tcp", NEAR, without.port),))
    denied = through(w, ours[0], options=("--deny", "commands=associate"))
    yield "UDP: a rule", lambda: says_no(denied, 2)
    def silent():
        def script(peer):
            peer.socks5_greeting()
            peer.wait_for_end()
        with hostile.Scripted(HOME, NEAR, w.port(), script) as server:
            d = through(w, server.url("socks5h"), conf="timeouts { connect = 0.4 }\n")
            says_no(d, 6, "hop 1 of 1", (("tcp", NEAR, server.port),))

    yield "UDP: a silent hop", silent

    def judged(options, rows, target=None):
        d = through(w, ours[0], options=options)
        with client(d) as a:
            tap.same(a.code, 0, "reply")
            for target, allowed in rows:
                seen = len(echo[ORIGIN].seen)
                a.send(target, b"judge me")
                if allowed:
                    tap.same(a.receive()[1], b"judge me", f"{target}")
                else:
                    is_silent(a, 0.1)
                    tap.same(len(echo[ORIGIN].seen), seen, "nothing arrives")

    by_port = ("--deny", f"to=*:{ECHO + 1}", "--deny", "to=*.denied.test", "--deny", "to=10.9.0.0/16")
    w.far_names.know("x.denied.test", ORIGIN)
    yield "UDP by a chain: rules", lambda: judged(
        by_port, [(TARGET, True), ((ORIGIN, ECHO + 1), False), (("x.denied.test", ECHO), False),
                  (("v4.origin.test", ECHO), True), (("v4.origin.test", ECHO + 1), False)])
    yield "UDP by a chain: a rule by name holds for the name", lambda: judged(
        ("-a", "to=v4.origin.test"), [(("v4.origin.test", ECHO), True), (TARGET, False)])

    def guarded():
        """Not on loopback: what the guard keeps is not sent to the chain either."""
        d = Daemon(w, *chain(ours[0].url()), "-a", "from=10.1.0.0/24", listens=(f"{NEAR}:0",))
        with associate(d, (NEAR, d.port), "app") as a:
            for host in (HERE, "::1", "224.0.0.1", "0.0.0.0", "169.254.1.1", "localhost", NEAR):
                a.send((host, ECHO), b"x")
            is_served(a, TARGET)

    yield "UDP by a chain: guarded targets", guarded


def ends(w, ours, dante, echo):
    d = through(w, ours[0], ours[1])
    hasty = through(w, ours[0], conf="timeouts { idle = 0.5 }\n")

    def client_leaves(how, end):
        pid = d.workers()[0]
        before = descriptors(pid)
        a = client(d)
        echoes(a, TARGET)
        out, seen = echo[ORIGIN].seen[-1][0], len(echo[ORIGIN].seen)
        how(a.sock)
        tap.same(d.session(a)["end"], end, "log")
        wait_until(lambda: not netns.listening("app", a.bound[1], "udp"), "the client's port is closed")
        wait_until(lambda: not netns.listening(HOME, out[1], "udp"), "the last hop's port is closed")
        wait_until(lambda: descriptors(pid) <= before, "no descriptor is left")
        tap.same(len(echo[ORIGIN].seen), seen, "what the target saw")
        a.close()

    def killed(position):
        hops = [servers.viaductd(w) for _ in range(3)]
        mine = through(w, *hops)
        a, other = client(mine), client(mine)
        echoes(a, TARGET)
        w.forget()
        os.killpg(hops[position].server.pid, signal.SIGKILL)
        tap.same(a.sock.recv(10), b"", "the end")
        tap.same((mine.session(a)["end"], mine.session(other)["end"]), ("upstream-gone",) * 2, "log")
        seen = len(echo[ORIGIN].seen)
        try:
            a.send(TARGET, b"too late")
        except ConnectionRefusedError:
            pass
        with client(mine, udp=False) as again:
            tap.same(again.code, 1, "a new one is refused")
        tap.same(len(echo[ORIGIN].seen), seen, "nothing arrives")
        tap.holds(all(what[1] == NEAR for what in w.link.take()), "nothing goes elsewhere")
        for visit in (a, other):
            visit.close()

    def relay_gone():
        """Nobody listens at the relay's port any more: ICMP tells."""
        relay = Relay(w)
        mine = through(w, relay.url)
        with client(mine) as a:
            a.send(TARGET, b"hello")
            relay.hears()
            relay.sock.close()
            a.send(TARGET, b"to nobody")
            tap.same(a.sock.recv(10), b"", "the end")
            tap.same(mine.session(a)["end"], "upstream-gone", "log")
        relay.stop()

    def ends_with_answer():
        """The hop answers and closes before the daemon looks."""
        def script(peer):
            peer.socks5_greeting()
            peer.socks5_request()
            worker = mine.workers()[0]
            os.kill(worker, signal.SIGSTOP)
            peer.say(socks5_reply(0, bound(NEAR, 4000)))
            peer.sock.close()
            time.sleep(0.05)
            os.kill(worker, signal.SIGCONT)

        with hostile.Scripted(HOME, NEAR, w.port(), script) as server:
            mine = through(w, server.url("socks5h"))
            with client(mine, udp=False) as a:
                a.rest()
                tap.same(mine.session(a)["end"], "upstream-gone", "log")

    def idle():
        a = client(hasty)
        for _ in range(4):
            time.sleep(0.25)
            echoes(a, TARGET)
        tap.same(a.sock.recv(10), b"", "the end")
        tap.same(hasty.session(a)["end"], "idle-timeout", "log")
        a.close()

    def leaves_meanwhile():
        """The client goes while the chain is being made."""
        def script(peer):
            peer.socks5_greeting()
            try:
                peer.wait_for_end()
            finally:  # a reset, if there was something to read
                peers.append(peer)

        peers = []
        with hostile.Scripted(HOME, NEAR, w.port(), script) as server:
            mine = through(w, server.url("socks5h"), server.url("socks5h"))
            with mine.visit(SOCKS5, TARGET, command=9) as visit:
                tap.same(visit.code, 7, "an unknown command")
                mine.session(visit)
            before = descriptors(mine.workers()[0])
            sock = dial(mine.at, "app")
            sock.sendall(b"".join(SOCKS5.messages(("0.0.0.0", 0), None, 3)))
            wait_until(lambda: len(server.peers) == 2, "both are dialled")
            reset(sock)
            wait_until(lambda: len(peers) == 2, "both are closed")
            wait_until(lambda: descriptors(mine.workers()[0]) <= before, "no descriptor is left")

    def no_leak():
        pid = d.workers()[0]
        before = descriptors(pid)
        for number in range(40):
            a = client(d)
            if number % 2:
                echoes(a, TARGET)
            if number % 3:
                reset(a.sock)
            a.close()
        wait_until(lambda: descriptors(pid) <= before, f"descriptors fall back to {before}")
        with client(d) as a:
            echoes(a, TARGET)
            used = cpu_seconds(pid)
            time.sleep(0.5)
            tap.holds(cpu_seconds(pid) - used < 0.1, "waiting costs nothing")

    def beside():
        """CONNECT goes on by the same chain."""
        server = hostile.Scripted("origin", ORIGIN, w.port(), lambda peer: peer.say(b"hello"))
        with client(d) as a, d.visit(HTTP, (ORIGIN, server.port)) as visit:
            echoes(a, TARGET)
            tap.same((visit.code, visit.rest()), (200, b"hello"))
        server.stop()

    yield "UDP by a chain: the client closes", lambda: client_leaves(lambda sock: sock.close(), "closed")
    yield "UDP by a chain: the client resets", lambda: client_leaves(reset, "reset-by-client")
    for position in range(3):
        yield f"UDP by a chain: hop {position + 1} of 3 is killed", lambda p=position: killed(p)
    yield "UDP by a chain: the relay's port is closed", relay_gone
    yield "UDP by a chain: a hop ends with its answer", ends_with_answer
    yield "UDP by a chain: silence", idle
    yield "UDP by a chain: the client leaves while it is made", leaves_meanwhile
    yield "UDP by a chain: CONNECT beside", beside
    yield "UDP by a chain: nothing is left behind", no_leak

    def stops():
        for daemon in w.servers:
            if isinstance(daemon, Daemon):
                tap.same(daemon.stop(), 0, "exit status")

    yield "UDP by a chain: every daemon ends well", stops


def cases(w):
    echo = {host: Echo("origin", host) for host in (ORIGIN, ORIGIN6)}
    ours, dante = [servers.viaductd(w) for _ in range(3)], servers.danted(w)
    for part in (carried, volume, refused, ends):
        yield from part(w, ours, dante, echo)


if __name__ == "__main__":
    world.main(cases, ("danted", "microsocks", "tinyproxy"))
