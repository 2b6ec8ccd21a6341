#!/usr/bin/env python3
"""viaductd's UDP ASSOCIATE: datagrams both ways, whose are taken and whose are let in, bad ones of
every kind, names, what it logs, and how it ends."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import dns, netns, tap, world
from lib.daemon import HOME, Daemon, cpu_seconds, descriptors, socksify
from lib.datagrams import ECHO, Echo, associate, datagram_socket, echoes, header, is_served, is_silent, told
from lib.visit import SOCKS4, SOCKS5, reset
from lib.world import APP, FAR, FAR6, NEAR, NEAR6, ORIGIN, ORIGIN6, wait_until

HERE, HERE6 = "127.0.0.1", "::1"
SLOW = "10.2.0.53"  # a name server with patience
LARGEST = 65507  # of a UDP datagram over IPv4


def datagrams(w, servers):
    d = Daemon(w)

    def carried():
        with associate(d) as a:
            tap.same((a.code, a.bound[0]), (0, HERE), "reply")
            for length in (0, 1, 2, 1200, 1472, 1473, 9000, LARGEST - 10, 5):
                echoes(a, servers[ORIGIN].at, os.urandom(length))
            ports = {sender for sender, _ in servers[ORIGIN].seen}
            tap.same(len(ports), 1, "ports that the target sees")
            a.sock.close()
            line = d.session(a)
        total = str(0 + 1 + 2 + 1200 + 1472 + 1473 + 9000 + LARGEST - 10 + 5)
        want = {"command": "associate", "target": "0.0.0.0:0", "end": "closed", "up": total, "down": total,
                "datagrams_up": "9", "datagrams_down": "9", "dropped": "0", "peer": "-", "protocol": "SOCKS5"}
        tap.same({key: line[key] for key in want}, want, "log")
        tap.same(line["out"].rsplit(":", 1)[1], str(ports.pop()[1]), "the port of `out`")

    def families():
        with associate(d) as a:
            for target in (ORIGIN, ORIGIN6, HERE, HERE6) * 2:
                echoes(a, (target, ECHO))
            echoes(a, ("::ffff:" + ORIGIN, ECHO), whence=(ORIGIN, ECHO))
            one = [sender for sender, _ in servers[ORIGIN].seen][-1]
            other = [sender for sender, _ in servers[HERE].seen][-1]
            tap.same(one[1], other[1], "one port for all targets of a family")

    def over_ipv6():
        six = Daemon(w, listens=("[::1]:0",))
        with associate(six, (HERE6, six.port)) as a:
            tap.same((a.code, a.bound[0]), (0, HERE6), "reply")
            echoes(a, (ORIGIN, ECHO))
            echoes(a, (ORIGIN6, ECHO))

    def wildcard():
        wide = Daemon(w, "-a", "from=10.1.0.0/24", "-a", "from=fd01::/64", listens=("0.0.0.0:0", "[::]:0"))
        for address, port, target in ((NEAR, wide.ports[0], ORIGIN), (NEAR6, wide.ports[1], ORIGIN6)):
            with associate(wide, (address, port), "app") as a:
                tap.same((a.code, a.bound[0]), (0, address), "the relay is where the client came to")
                echoes(a, (target, ECHO))

    def segments():
        length = len(b"".join(SOCKS5.messages(("0.0.0.0", 0), None, 3)))
        for how in ["flight", "drip", *range(1, length)]:
            with associate(d, how=how) as a:
                tap.same(a.code, 0, f"reply, said as {how}")
                echoes(a, (ORIGIN, ECHO))

    def two():
        with associate(d) as a, associate(d) as b:
            for number in range(20):
                a.send((ORIGIN, ECHO), b"a%d" % number)
                b.send((ORIGIN, ECHO), b"b%d" % number)
            for x, sign in ((a, b"a"), (b, b"b")):
                tap.same([x.receive()[1] for _ in range(20)], [b"%s%d" % (sign, n) for n in range(20)], "own echoes")

    def rate():
        """At most 5,000 a second, and no more under way than the test's own sockets hold."""
        count, data = 10000, os.urandom(1190)
        got = []
        with associate(d) as a:
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
                a.send((ORIGIN, ECHO), number.to_bytes(10, "big") + data)
            took, _ = time.monotonic() - began, listener.join()
            tap.same(len(got), count, "datagrams that came back")
            tap.holds(got == [number.to_bytes(10, "big") + data for number in range(count)], "in order and intact")
            tap.note(f"{count / took:.0f}/s, {(cpu_seconds(d.workers()[0]) - used) / count * 1e6:.1f} us of CPU each way and back")

    yield "UDP: every size", carried
    yield "UDP: IPv4, IPv6, loopback", families
    yield "UDP: a client on IPv6", over_ipv6
    yield "UDP: a listener on all addresses", wildcard
    yield "UDP: the request split at every byte", segments
    yield "UDP: two associations", two
    yield "UDP: 10,000 datagrams, none lost", rate


def clients(w, servers):
    d = Daemon(w)
    wide = Daemon(w, "-a", "from=10.1.0.0/24 to=10.2.0.0/24", listens=(f"{NEAR}:0",))

    def first_port():
        with associate(d) as a:
            other = datagram_socket((HERE, 0), HOME)
            echoes(a, (ORIGIN, ECHO))
            seen = len(servers[ORIGIN].seen)
            other.sendto(header((ORIGIN, ECHO)) + b"from another port", a.bound)
            is_served(a, (ORIGIN, ECHO))
            tap.same(len(servers[ORIGIN].seen), seen + 1, "datagrams that the target saw")
            other.close()

    def stray_first():
        """What is no datagram of the protocol does not take the client's place."""
        with associate(d) as a:
            other = datagram_socket((HERE, 0), HOME)
            other.sendto(b"what?", a.bound)
            other.sendto(header((ORIGIN, ECHO), frag=1) + b"a fragment", a.bound)
            time.sleep(0.05)
            is_served(a, (ORIGIN, ECHO))
            other.close()

    def foreign():
        with associate(wide, (NEAR, wide.port), "app") as a:
            seen = len(servers[ORIGIN].seen)
            other = datagram_socket((FAR, 0), HOME)
            other.sendto(header((ORIGIN, ECHO)) + b"from elsewhere", a.bound)
            time.sleep(0.05)
            is_served(a, (ORIGIN, ECHO))
            tap.same(len(servers[ORIGIN].seen), seen + 1, "datagrams that the target saw")
            other.close()

    def promised(host, kept):
        """The port that the request told is held to, if its address can be the client's."""
        port = w.port()
        with associate(d, target=(host, port), udp=False) as a:
            tap.same(a.code, 0, "reply")
            a.udp = datagram_socket((HERE, 0), HOME)
            a.send((ORIGIN, ECHO), b"from another port")
            if not kept:
                tap.same(a.receive()[1], b"from another port")
                return
            is_silent(a)
            a.udp.close()
            a.udp = datagram_socket((HERE, port), HOME)
            echoes(a, (ORIGIN, ECHO))

    def moved():
        """The client's socket is gone for a moment: ICMP comes for what is sent to it."""
        with associate(d) as a:
            echoes(a, (ORIGIN, ECHO))
            port = a.udp.getsockname()[1]
            out = servers[ORIGIN].seen[-1][0]
            a.udp.close()
            os.kill(d.workers()[0], signal.SIGSTOP)  # so that it finds them all at once
            for _ in range(5):
                servers[ORIGIN].sock.sendto(b"nobody hears it", out)
            time.sleep(0.05)
            os.kill(d.workers()[0], signal.SIGCONT)
            time.sleep(0.05)
            a.udp = datagram_socket((HERE, port), HOME)
            echoes(a, (ORIGIN, ECHO))
            a.sock.close()
            line = d.session(a)
            tap.same((line["datagrams_down"], line["dropped"]), ("7", "0"), "sent towards the client, and dropped")

    def dante():
        """Unconnected and connected, under a client that is not ours."""
        got = socksify(w, (NEAR, wide.port), f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
for number in range(50):
    s.sendto(b"%d" % number, ("{ORIGIN}", {ECHO}))
    assert s.recvfrom(100) == (b"%d" % number, ("{ORIGIN}", {ECHO}))
c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
c.settimeout(5)
c.connect(("{ORIGIN}", {ECHO}))
c.send(b"connected")
print(c.recv(100))
""")
        tap.same((got.code, got.out), (0, b"b'connected'\n"), f"{got}")
        lines = wait_until(lambda: [x for x in wide.lines("session") if x["datagrams_up"] == "50"], "the session's line")
        tap.same((lines[0]["datagrams_down"], lines[0]["end"]), ("50", "closed"), "log")

    yield "UDP: the first port is the client's", first_port
    yield "UDP: dante's client", dante
    yield "UDP: a stray datagram first", stray_first
    yield "UDP: other hosts are not the client", foreign
    yield "UDP: a port told in the request", lambda: promised("0.0.0.0", True)
    yield "UDP: address and port told in the request", lambda: promised(HERE, True)
    yield "UDP: another address told in the request, as behind a NAT", lambda: promised("192.168.1.7", False)
    yield "UDP: a name told in the request", lambda: promised("client.test", False)
    yield "UDP: the client's socket closed and opened again", moved


def strangers(w, servers):
    def filtered(udp_filter, host_ok, any_ok):
        d = Daemon(w, conf=f'udp_filter = "{udp_filter}"\n' if udp_filter else "")
        same_host = datagram_socket((ORIGIN, 0), "origin")
        other_host = datagram_socket((FAR, 0), HOME)
        with associate(d) as a:
            echoes(a, (ORIGIN, ECHO))
            out = servers[ORIGIN].seen[-1][0]
            for sock, ok in ((same_host, host_ok), (other_host, any_ok)):
                sock.sendto(b"unasked", out)
                if ok:
                    tap.same(a.receive(), (sock.getsockname(), b"unasked"), "let in, with its own address")
                is_served(a, (ORIGIN, ECHO))
            a.send(other_host.getsockname(), b"now we know each other")
            data, whence = other_host.recvfrom(100)
            tap.same(whence, out, "the same port towards another target")
            other_host.sendto(data, whence)
            tap.same(a.receive(), (other_host.getsockname(), data), "a contact's answer")
            a.sock.close()
            tap.same(d.session(a)["dropped"], str(2 - host_ok - any_ok), "dropped")
        same_host.close()
        other_host.close()

    def before_client():
        d = Daemon(w, conf='udp_filter = "any"\n')
        with associate(d) as a:
            is_served(a, (ORIGIN, ECHO))

    def many_hosts():
        """More contacts than there is room for: the latest are always let in."""
        d = Daemon(w)
        with associate(d) as a:
            for number in range(3000):
                a.send((f"10.2.{number % 200}.{number % 251}", 9), b"x")
            echoes(a, (ORIGIN, ECHO))
            echoes(a, (HERE6, ECHO))

    def all_kept():
        """A hundred contacts are let in long after."""
        d = Daemon(w)
        at = [f"10.2.0.{number}" for number in range(100, 200)]
        subprocess.run(["ip", "-n", "origin", "-batch", "-"], check=True, text=True,
                       input="".join(f"addr add {address}/24 dev org0\n" for address in at))
        with associate(d) as a:
            for address in at:
                a.send((address, 9), b"x")
            echoes(a, (ORIGIN, ECHO))
            for address in at:
                with datagram_socket((address, 0), "origin") as sock:
                    sock.sendto(address.encode(), servers[ORIGIN].seen[-1][0])
            tap.same(sorted(a.receive()[1].decode() for _ in at), at, "contacts that were let in")

    yield "UDP: a hundred contacts", all_kept
    yield "UDP: udp_filter = host lets in who was contacted, from any port", lambda: filtered("host", True, False)
    yield "UDP: host is the default", lambda: filtered(None, True, False)
    yield "UDP: udp_filter = port", lambda: filtered("port", False, False)
    yield "UDP: udp_filter = any", lambda: filtered("any", True, True)
    yield "UDP: any, and no client yet", before_client
    yield "UDP: 3,000 contacts", many_hosts


def bad(w, servers):
    d = Daemon(w)
    good = header((ORIGIN, ECHO)) + b"payload"
    six = header((ORIGIN6, ECHO))
    name = header(("origin.test", ECHO))
    forms = {
        "cut anywhere": [x[:n] for x in (header((ORIGIN, ECHO)), six, name) for n in range(len(x))],
        "fragments": [header((ORIGIN, ECHO), frag) + b"x" for frag in (1, 2, 127, 128, 255)],
        "address types": [b"\0\0\0" + bytes([kind]) + bytes(30) for kind in (0, 2, 5, 255)],
        "port 0": [header((ORIGIN, 0)) + b"x", header(("origin.test", 0)) + b"x"],
        "bad names": [b"\0\0\0\3" + bytes([len(n)]) + n + b"\x1e\x61x" for n in
                      (b"", b"a\0b", b"a b", b"\n", b"a\x7f", b"origin.test\0", b"x" * 255)],
        "unreachable": [header((host, ECHO)) + b"x" for host in
                        ("2001:db8::1", "255.255.255.255", "10.2.0.255", "0.0.0.0", "240.0.0.1")],
        "closed ports": [header((HERE, 9)) + b"x", header((FAR, 9)) + b"x"] * 3,
        "nothing": [b""] * 20}

    def dropped(datagrams):
        seen = len(servers[ORIGIN].seen)
        with associate(d) as a:
            for data in datagrams:
                a.udp.sendto(data, a.bound)
                is_served(a, (ORIGIN, ECHO))
            tap.same(len(servers[ORIGIN].seen), seen + len(datagrams), "datagrams that the target saw")

    def too_large_back():
        """An answer that the header makes too large is lost, and nothing else."""
        with associate(d) as a:
            echoes(a, (ORIGIN, ECHO))
            out = servers[ORIGIN].seen[-1][0]
            servers[ORIGIN].sock.sendto(bytes(LARGEST), out)
            is_served(a, (ORIGIN, ECHO))
            a.sock.close()
            tap.same(d.session(a)["dropped"], "1", "dropped")

    def noise():
        seed = random.randrange(1 << 30)
        tap.note(f"seed {seed}")
        rng = random.Random(seed)
        with associate(d) as a:
            for _ in range(3000):
                data = bytearray(good) if rng.random() < 0.7 else bytearray(rng.randbytes(rng.randrange(40)))
                for _ in range(rng.randrange(3)):
                    if data:
                        data[rng.randrange(min(len(data), 10))] = rng.randrange(256)
                a.udp.sendto(data, a.bound)
            a.udp.settimeout(0.3)
            try:
                while True:
                    told(a.udp.recvfrom(1 << 17)[0])
            except TimeoutError:
                pass
            is_served(a, (ORIGIN, ECHO))

    for what, rows in forms.items():
        yield f"UDP: bad datagrams: {what}", lambda r=rows: dropped(r)
    yield "UDP: an answer too large", too_large_back
    yield "UDP: random datagrams", noise


def access(w, servers):
    def judged(options, rows):
        d = Daemon(w, *options, listens=(f"{NEAR}:0",))
        with associate(d, (NEAR, d.port), "app") as a:
            tap.same(a.code, 0, "reply")
            for target, allowed in rows:
                a.send(target, b"judge me")
                if allowed:
                    tap.same(a.receive()[1], b"judge me", f"{target}")
                else:
                    is_silent(a, 0.15)

    def refused(code, *options, way=SOCKS5, login=None):
        d = Daemon(w, *options)
        with d.visit(way, ("0.0.0.0", 0), command=3, login=login) as visit:
            tap.same(visit.code, code, "reply")
            tap.same(visit.rest(), b"", "then the end")
            line = d.session(visit)
            tap.same((line["command"], line["end"], line["target"]), ("associate", "refused", "0.0.0.0:0"), "log")

    all_of_it = ("-a", "from=10.1.0.0/24")
    guarded = [((host, ECHO), False) for host in (HERE, HERE6, FAR, NEAR, "localhost", "0.0.0.0", "224.0.0.1")]
    by_port = ("--deny", f"to=*:{ECHO + 1}", "--deny", "to=*.denied.test", *all_of_it)
    by_name = ("-a", "from=10.1.0.0/24 to=v4.origin.test commands=associate")
    yield "UDP: guarded targets", lambda: judged(all_of_it, guarded + [((ORIGIN, ECHO), True)])
    yield "UDP: a rule that names a guarded target", lambda: judged(
        ("-a", f"from=10.1.0.0/24 to={FAR}:{ECHO}"), [((FAR, ECHO), True), ((HERE, ECHO), False), ((ORIGIN, ECHO), False)])
    yield "UDP: rules by port and name", lambda: judged(
        by_port, [((ORIGIN, ECHO), True), ((ORIGIN, ECHO + 1), False), (("x.denied.test", ECHO), False),
                  (("v4.origin.test", ECHO), True), (("v4.origin.test", ECHO + 1), False)])
    yield "UDP: rules by name hold for the name", lambda: judged(
        by_name, [(("v4.origin.test", ECHO), True), ((ORIGIN, ECHO), False)])
    yield "UDP: rules for other commands do not matter", lambda: judged(
        ("--deny", "commands=connect,bind", *all_of_it), [((ORIGIN, ECHO), True)])
    yield "UDP: denied altogether", lambda: refused(2, "--deny", "commands=associate")
    yield "UDP: denied altogether, by *", lambda: refused(2, "--deny", "to=* commands=associate")
    yield "UDP: what is allowed is something else", lambda: refused(2, "-a", "commands=connect,bind")
    yield "UDP: not for this user", lambda: refused(
        2, "-u", "bob:pw", "-a", "users=alice", login=("bob", "pw"))

    def user():
        d = Daemon(w, "-u", "bob:pw", "-a", f"users=bob to={ORIGIN}")
        with associate(d, login=("bob", "pw")) as a:
            tap.same(a.code, 0, "reply")
            echoes(a, (ORIGIN, ECHO))
            a.sock.close()
            tap.same(d.session(a)["user"], "bob", "user in the log")

    def not_socks4():
        d = Daemon(w)
        with d.visit(SOCKS4, ("0.0.0.0", 1), command=3) as visit:
            tap.same(visit.code, 91, "SOCKS4 has no such command")

    yield "UDP: rules by user hold for datagrams", user
    yield "UDP: SOCKS4 has none", not_socks4


class SlowNames(dns.Dns):
    """Answers after 0.3 s."""

    def _serve_udp(self):
        query, whence = self.udp.recvfrom(4096)
        with self.lock:
            reply = self._reply(query, "udp")
        threading.Timer(0.3, self.udp.sendto, (reply, whence)).start()


def names(w, servers):
    d = Daemon(w)

    def known(name, whence):
        with associate(d) as a:
            for _ in range(3):
                echoes(a, (name, ECHO), whence=(whence, ECHO))

    def many():
        """More names than are remembered at a time, over and over."""
        with associate(d) as a:
            for turn in range(3):
                for number in range(20):
                    echoes(a, (f"n{number}.test", ECHO), b"%d.%d" % (turn, number), whence=(ORIGIN, ECHO))

    def unknown():
        with associate(d) as a:
            for _ in range(3):
                a.send(("later.test", ECHO), b"x")
                is_served(a, (ORIGIN, ECHO))
            time.sleep(0.2)  # the name server has said no to all of them
            w.far_names.know("later.test", ORIGIN)
            echoes(a, ("later.test", ECHO), whence=(ORIGIN, ECHO))

    def waits(act):
        path = w.file(f"resolv.{w.port()}", f"nameserver {SLOW}\n")
        words = ["sh", "-c", f'mount --bind {path} /etc/resolv.conf && exec "$0" "$@"']
        slow = Daemon(w, words=words)
        with associate(slow) as a:
            return act(slow, a)

    def held(_, a):
        data = [os.urandom(1200) for _ in range(30)]
        for number, one in enumerate(data):
            a.send((f"slow{number % 3}.test", ECHO), one)
        is_served(a, (ORIGIN, ECHO))
        got = [a.receive() for _ in data]
        want = [((FAR if number % 3 == 1 else ORIGIN, ECHO), one) for number, one in enumerate(data)]
        tap.same(sorted(got), sorted(want), "all that was held, each where its name is")
        for n in range(3):
            tap.holds([x for _, x in got if x in data[n::3]] == data[n::3], f"in order, for slow{n}.test")

    def bounded(slow, a):
        """64 kB are held at most; more names than eight are not asked for at a time."""
        for number in range(100):
            a.send(("slow4.test", ECHO), bytes([number]) * 1200)
        for number in range(30):
            a.send((f"slow{number + 5}.test", ECHO), b"a name too many")
        got = [a.receive()[1] for _ in range(54)]
        while True:
            try:
                got.append(a.receive(0.4)[1])
            except TimeoutError:
                break
        held_back = [x for x in got if len(x) == 1200]
        tap.holds(52 <= len(held_back) <= 54, f"{len(got)} were held")
        tap.holds(held_back == [bytes([n]) * 1200 for n in range(len(held_back))], "the first ones, in order")
        tap.same(got.count(b"a name too many"), 7, "names asked for beside the first")
        is_served(a, ("slow4.test", ECHO))

    def ends_meanwhile(slow, a):
        for number in range(6):
            a.send((f"slow{number + 40}.test", ECHO), b"x")
        time.sleep(0.05)
        a.sock.close()
        tap.same(slow.session(a)["end"], "closed", "log")
        time.sleep(0.5)
        with associate(slow) as other:
            is_served(other, (ORIGIN, ECHO))

    for name, whence in (("v4.origin.test", ORIGIN), ("v6.origin.test", ORIGIN6), ("origin.test", ORIGIN6),
                         ("V4.Origin.TEST", ORIGIN), ("localhost", HERE6)):
        yield f"UDP: the name {name}", lambda n=name, h=whence: known(n, h)
    yield "UDP: 20 names", many
    yield "UDP: an unknown name, known later", unknown
    yield "UDP: datagrams wait for names", lambda: waits(held)
    yield "UDP: not too many wait", lambda: waits(bounded)
    yield "UDP: an end while names are asked for", lambda: waits(ends_meanwhile)


def ends(w, servers):
    d = Daemon(w)
    hasty = Daemon(w, conf="timeouts { idle = 0.5 }\n")

    def with_control(how, end):
        a = associate(d)
        echoes(a, (ORIGIN, ECHO))
        out, seen = servers[ORIGIN].seen[-1][0], len(servers[ORIGIN].seen)
        how(a.sock)
        tap.same(d.session(a)["end"], end, "log")
        tap.holds(not netns.listening(HOME, a.bound[1], "udp"), "the client's port is closed")
        tap.holds(not netns.listening(HOME, out[1], "udp"), "the targets' port is closed")
        try:
            a.send((ORIGIN, ECHO), b"too late")
        except ConnectionRefusedError:
            pass
        time.sleep(0.05)
        tap.same(len(servers[ORIGIN].seen), seen, "what the target saw")
        a.close()

    def idle():
        a = associate(hasty)
        began = time.monotonic()
        for _ in range(4):
            time.sleep(0.25)
            echoes(a, (ORIGIN, ECHO))
        tap.same(a.sock.recv(10), b"", "the end")
        took = time.monotonic() - began
        tap.holds(1.4 < took < 8, f"after {took:.2f} s")
        tap.same(hasty.session(a)["end"], "idle-timeout", "log")

    def chatter():
        """What comes on the connection is read and means nothing."""
        with associate(d) as a:
            for _ in range(20):
                a.sock.sendall(bytes(200000))
                is_served(a, (ORIGIN, ECHO))

    def no_leak():
        pid = d.workers()[0]
        before = descriptors(pid)
        for number in range(60):
            a = associate(d)
            if number % 2:
                echoes(a, (ORIGIN, ECHO))
                echoes(a, ("v6.origin.test", ECHO), whence=(ORIGIN6, ECHO))
            if number % 3:
                reset(a.sock)
            a.close()
        wait_until(lambda: descriptors(pid) <= before, f"descriptors fall back to {before}")
        with associate(d) as a:
            echoes(a, (ORIGIN, ECHO))
            used = cpu_seconds(pid)
            time.sleep(0.5)
            tap.holds(cpu_seconds(pid) - used < 0.1, "waiting costs nothing")

    def limited():
        """An association in four sessions: the others are refused, and served when there is room."""
        few = Daemon(w, conf="sessions = 8\n")
        kept = [associate(few) for _ in range(3)]
        tap.same([a.code for a in kept], [0] * 3, "replies")
        with associate(few) as a:
            tap.same(a.code, 1, "one too many")
            tap.same(few.session(a)["end"], "refused", "log")
        kept[0].close()
        few.session(kept[0])
        with associate(few) as a:
            echoes(a, (ORIGIN, ECHO))
        for a in kept:
            a.close()

    def without_descriptors():
        short = Daemon(w)
        pid = short.workers()[0]
        with associate(short) as a:
            subprocess.run(["prlimit", f"--pid={pid}", f"--nofile={descriptors(pid)}:1024"], check=True)
            for _ in range(5):
                a.send((ORIGIN, ECHO), b"no socket for it")
            is_silent(a)
            subprocess.run(["prlimit", f"--pid={pid}", "--nofile=1024"], check=True)
            is_served(a, (ORIGIN, ECHO))
        with associate(short, udp=False) as a:
            tap.same(a.code, 0, "reply")

    yield "UDP: the client closes", lambda: with_control(lambda sock: sock.close(), "closed")
    yield "UDP: the client ends its direction", lambda: with_control(lambda s: s.shutdown(socket.SHUT_WR), "closed")
    yield "UDP: the client resets", lambda: with_control(reset, "reset-by-client")
    yield "UDP: silence", idle
    yield "UDP: bytes on the connection", chatter
    yield "UDP: as many as are allowed", limited
    yield "UDP: no descriptor for targets", without_descriptors
    yield "UDP: nothing is left behind", no_leak

    def stops():
        for daemon in w.servers:
            tap.same(daemon.stop(), 0, "exit status")

    yield "UDP: every daemon ends well", stops


def cases(w):
    subprocess.run(["ip", "-n", "origin", "addr", "add", f"{SLOW}/24", "dev", "org0"], check=True)
    servers = {host: Echo(ns, host) for host, ns in
               ((ORIGIN, "origin"), (ORIGIN6, "origin"), (HERE, HOME), (HERE6, HOME), (FAR, HOME))}
    slow = SlowNames("origin", SLOW)
    for number in range(50):
        slow.know(f"slow{number}.test", FAR if number == 1 else ORIGIN)
    for number in range(20):
        w.far_names.know(f"n{number}.test", ORIGIN)
    w.far_names.know("x.denied.test", ORIGIN)
    for part in (datagrams, clients, strangers, bad, access, names, ends):
        yield from part(w, servers)


if __name__ == "__main__":
    world.main(cases, ("ip", "prlimit", "socksify"))
