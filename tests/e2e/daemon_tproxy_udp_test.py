#!/usr/bin/env python3
"""viaductd's tproxy:// for datagrams: what app sends to origin is caught on the way by nft and arrives
by viaductd, directly and through a chain of SOCKS5 hops; answers come from where app sent to."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import dns, hostile, netns, servers, tap, world
from lib.daemon import HOME, Daemon, cpu_seconds, descriptors
from lib.datagrams import ECHO, Echo, Relay, datagram_socket, header
from lib.servers import chain
from lib.sniffer import Sniffer
from lib.visit import dial
from lib.world import APP, APP6, FAR, FAR6, NEAR, ORIGIN, ORIGIN6, wait_until

ALLOW = 'allow app { from = {"10.1.0.0/24", "fd01::/64"} }\n'
LISTEN = 'listen t4 { url = "tproxy://0.0.0.0:0" }\nlisten t6 { url = "tproxy://[::]:0" }\n'
TARGET, TARGET6 = (ORIGIN, ECHO), (ORIGIN6, ECHO)
LARGEST = 65507  # of a UDP datagram over IPv4


def ip(ns, *words):
    subprocess.run(["ip", "-n", ns, *words], check=True)


def nft(text):
    with netns.inside(HOME):
        subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def routes():
    for family, any_net in (("-4", "0.0.0.0/0"), ("-6", "::/0")):
        ip(HOME, family, "rule", "add", "fwmark", "1", "lookup", "100")
        ip(HOME, family, "route", "add", "local", any_net, "dev", "lo", "table", "100")


class Caught:
    """A viaductd, and rules that bring it all that app sends to origin's networks."""

    def __init__(self, w, conf="", options=(), listen=LISTEN, allow=ALLOW, workers=1, **how):
        self.d = Daemon(w, *options, conf=listen + allow + conf, listens=2, workers=workers, **how)
        self.catch(self.d.ports)

    def catch(self, ports):
        nft("".join(f"table {family} tp\ndelete table {family} tp\n" for family in ("ip", "ip6")))
        nft("".join(f"""table {family} tp {{
  chain c {{
    type filter hook prerouting priority mangle
    iifname "app1" {family} daddr {net} meta l4proto {{ tcp, udp }} tproxy to :{number} meta mark set 1 accept
  }}
}}
""" for family, net, number in (("ip", "{ 10.2.0.0/24, 10.9.0.0/16, 224.0.0.0/4, 10.1.0.1 }", ports[0]), ("ip6", "fd02::/64", ports[1]))))

    def lines(self, client, count=1):
        """The sessions of this client."""
        return wait_until(lambda: len(found := [x for x in self.d.lines("session") if x["client"] == client]) >= count
                          and found, f"{count} lines of {client}\n{self.d.log()}")


def client(six=False, port=0):
    return datagram_socket((APP6 if six else APP, port), "app")


def name_of(sock):
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def echoes(sock, target, data=b"hello"):
    sock.sendto(data, target)
    got, whence = sock.recvfrom(1 << 17)
    tap.same((whence[:2], got), (target, data), f"the echo of {target}")


def waiting(port):
    """Bytes that the sockets of a port hold."""
    lines = netns.read(HOME, "/proc/thread-self/net/udp").splitlines()[1:]
    return sum(int(line.split()[4].split(":")[1], 16) for line in lines if int(line.split()[1].split(":")[1], 16) == port)


def is_silent(sock, seconds=0.1):
    sock.settimeout(seconds)
    try:
        tap.fail(f"received {sock.recvfrom(100)}")
    except TimeoutError:
        sock.settimeout(10)


def directly(w, echo):
    c = Caught(w, 'timeouts { udp = 0.5 }\n')

    def both_families():
        for six, target, far in ((False, TARGET, FAR), (True, TARGET6, FAR6)):
            with client(six) as sock:
                for size in (0, 1, 1200, 1472, 1473, 9000, LARGEST if not six else 60000):
                    echoes(sock, target, os.urandom(size))
                seen = {whence for whence, _ in echo[target[0]].seen[-7:]}
                tap.same((len(seen), seen.pop()[0]), (1, far), "whom the target sees")
                line = c.lines(name_of(sock))[0]
            want = {"protocol": "UDP", "command": "associate", "datagrams_up": "7", "datagrams_down": "7",
                    "dropped": "0", "end": "idle-timeout", "user": "-"}
            tap.same({key: line[key] for key in want}, want, "log")
            at = f"[{target[0]}]:{ECHO}" if six else f"{target[0]}:{ECHO}"
            tap.same((line["target"], line["local"]), (at, at), "where it was sent to")

    def many_targets():
        """One client's socket, several targets: each answer from where it was sent, by one port."""
        with client() as sock:
            for target in (TARGET, (ORIGIN, ECHO + 1), ("10.2.0.99", ECHO), TARGET):
                echoes(sock, target)
            seen = {e.seen[-1][0] for e in (echo[ORIGIN], echo["+1"], echo["10.2.0.99"])}
            tap.same(len(seen), 1, f"ports that targets see: {seen}")

    def connected():
        with client() as sock:
            sock.connect(TARGET)
            for number in range(20):
                sock.send(b"%d" % number)
                tap.same(sock.recv(100), b"%d" % number)

    def many_clients():
        socks = [client() for _ in range(50)]
        for turn in range(3):
            for number, sock in enumerate(socks):
                sock.sendto(b"%d.%d" % (number, turn), TARGET)
        for number, sock in enumerate(socks):
            tap.same([sock.recvfrom(100)[0] for _ in range(3)], [b"%d.%d" % (number, n) for n in range(3)], "own echoes")
            sock.close()

    def strangers():
        """A host that was not sent to is not let in; another port of one that was, is."""
        with client() as sock:
            echoes(sock, TARGET)
            out = echo[ORIGIN].seen[-1][0]
            with datagram_socket(("10.2.0.98", 0), "origin") as other:
                other.sendto(b"unasked", out)
                is_silent(sock)
            with datagram_socket((ORIGIN, 0), "origin") as other:
                other.sendto(b"asked", out)
                tap.same(sock.recvfrom(100), (b"asked", other.getsockname()), "with its own address")

    def again():
        with client() as sock:
            echoes(sock, TARGET)
            first = echo[ORIGIN].seen[-1][0]
            c.lines(name_of(sock))
            wait_until(lambda: not netns.listening(HOME, first[1], "udp"), "its port is closed")
            echoes(sock, TARGET)
            c.lines(name_of(sock), 2)

    def tcp_too():
        with netns.inside("origin"):
            server = socket.create_server((ORIGIN, w.port()))
        sock = dial(server.getsockname(), "app")
        peer, whence = server.accept()
        tap.same(whence[0], FAR)
        peer.sendall(b"hello")
        tap.same(sock.recv(5), b"hello")
        for one in (sock, peer, server):
            one.close()

    def names():
        """A program that asks a name server which is not ours: by UDP, and by TCP when cut."""
        far = dns.Dns("origin", ORIGIN)
        far.know("far.test", "192.0.2.7")
        for more in ((), ("+tcp",)):
            got = w.run("app", ["dig", f"@{ORIGIN}", "+short", "+tries=1", *more, "far.test"])
            tap.same((got.code, got.out), (0, b"192.0.2.7\n"), f"{got}")

    yield "TPROXY: IPv4 and IPv6, every size", both_families
    yield "TPROXY: several targets", many_targets
    yield "TPROXY: a connected socket", connected
    yield "TPROXY: 50 clients", many_clients
    yield "TPROXY: strangers", strangers
    yield "TPROXY: silence, and again", again
    yield "TPROXY: connections too", tcp_too
    yield "TPROXY: dig", names


def chained(w, echo):
    """The hops are in origin; what went there directly would be seen on its link."""
    hops = [servers.viaductd(w, host="origin") for _ in range(2)]
    urls = [f"socks5h://{ORIGIN}:{hop.port}" for hop in hops]
    link = Sniffer(HOME, "org1")
    far = ("10.2.0.99", ECHO)

    def to_hop(port):
        seen = link.take()
        tap.holds(all(what[:2] == ("udp", ORIGIN) or what == ("tcp", ORIGIN, port) for what in seen), f"on the link: {seen}")
        tap.holds(("udp", ORIGIN, ECHO) not in seen, f"nothing goes directly: {seen}")

    def passes(count):
        c = Caught(w, options=chain(*urls[:count]), conf="timeouts { udp = 0.4 }\n")
        link.take()
        with client() as sock:
            for size in (0, 1, 1200, 9000, LARGEST - 10 * count):
                echoes(sock, far, os.urandom(size))
            tap.same({whence[0] for whence, _ in echo[far[0]].seen[-5:]}, {ORIGIN}, "the target sees the hop")
            line = c.lines(name_of(sock))[0]
        want = {"protocol": "UDP", "datagrams_up": "5", "datagrams_down": "5", "dropped": "0", "end": "idle-timeout",
                "peer": f"{ORIGIN}:{hops[0].port}"}
        tap.same({key: line[key] for key in want}, want, "log")
        with client(True) as sock:
            echoes(sock, TARGET6)
        to_hop(hops[0].port)

    def held():
        """What comes before the chain stands waits, in order, 64 KiB of it at most."""
        with Relay(w) as relay:
            relay.server.stop()
            c = Caught(w, options=chain(relay.url))
            late = threading.Event()

            def script(peer):
                peer.socks5_greeting()
                peer.socks5_request()
                late.wait(10)
                peer.say(b"\5\0\0" + relay.bounds[0])
                peer.wait_for_end()

            with hostile.Scripted(HOME, NEAR, relay.server.port, script), client() as sock:
                for number in range(100):
                    sock.sendto(bytes([number]) * 1200, far)
                wait_until(lambda: waiting(c.d.ports[0]) == 0, "the daemon has read them")
                late.set()
                got = [relay.hears()[1] for _ in range(40)]
                relay.sock.settimeout(0.3)
                try:
                    while True:
                        got.append(relay.hears()[1])
                except TimeoutError:
                    pass
                want = [header(far) + bytes([number]) * 1200 for number in range(len(got))]
                tap.holds(got == want and 40 <= len(got) <= 54, f"{len(got)} were held, the first ones in order")
            c.d.stop()

    def killed():
        extra = servers.viaductd(w, host="origin")
        c = Caught(w, options=chain(urls[0], f"socks5h://{ORIGIN}:{extra.port}"))
        with client() as sock:
            echoes(sock, far)
            link.take()
            os.killpg(extra.server.pid, signal.SIGKILL)
            tap.same(c.lines(name_of(sock))[0]["end"], "upstream-gone", "log")
            seen = len(echo[far[0]].seen)
            for _ in range(50):
                sock.sendto(b"to nobody", far)
                time.sleep(0.002)
            lines = c.lines(name_of(sock), 2)
            tap.same((lines[1]["end"], len(lines)), ("refused", 2), "judged once, not fifty times")
            tap.holds("hop 2 of 2" in lines[1]["said"], f"{lines[1]}")
            tap.same(len(echo[far[0]].seen), seen, "nothing arrives")
            to_hop(hops[0].port)

    def cannot():
        web = servers.tinyproxy(w, host="origin")
        c = Caught(w, options=chain(f"http://{ORIGIN}:{web.port}"))
        link.take()
        with client() as sock:
            for _ in range(10):
                sock.sendto(b"x", far)
            is_silent(sock)
            line = c.lines(name_of(sock))[0]
            tap.holds(line["end"] == "refused" and "carries no datagrams" in line["said"], f"{line}")
        tap.same(link.take(), {}, "on the link")

    def forged():
        """What a relay says is from this machine, from many, or from a name, is not answered as."""
        with Relay(w) as relay:
            c = Caught(w, options=chain(relay.url), conf='udp_filter = "any"\n')
            with client() as sock:
                sock.sendto(b"hello", far)
                whence, data = relay.hears()
                tap.same(data, header(far) + b"hello")
                for source in ((FAR, 53), ("127.0.0.1", 53), ("224.0.0.1", 53), ("0.0.0.0", 53), ("255.255.255.255", 1),
                               ("x.test", 53), (ORIGIN6, 53), (NEAR, c.d.ports[0])):
                    relay.sock.sendto(header(source) + b"forged", whence)
                relay.sock.sendto(header(far) + b"right", whence)
                tap.same(sock.recvfrom(100), (b"right", far), "what comes first")

    for count in (1, 2):
        yield f"TPROXY by {count} hops", lambda n=count: passes(n)
    yield "TPROXY by a chain: what comes early waits", held
    yield "TPROXY by a chain: a hop is killed", killed
    yield "TPROXY by a chain: a hop that cannot", cannot
    yield "TPROXY by a chain: forged sources", forged


def judged(w, echo):
    def rules():
        c = Caught(w, allow=f'deny d {{ to = {{"*:{ECHO + 1}"}} }}\ndeny e {{ from = {{"*"}} to = {{"10.9.0.0/16"}} }}\n' + ALLOW)
        with client() as sock:
            echoes(sock, TARGET)
            sock.sendto(b"x", (ORIGIN, ECHO + 1))
            is_silent(sock)
            echoes(sock, TARGET)
        with client() as sock:
            for _ in range(20):
                sock.sendto(b"x", (ORIGIN, ECHO + 1))
            is_silent(sock)
            lines = c.lines(name_of(sock))
            tap.same([(x["end"], x["error"]) for x in lines], [("refused", "http_request_denied")], "log")
            time.sleep(1.1)
            echoes(sock, TARGET)  # what was refused is forgotten

    def commands():
        c = Caught(w, allow=f'deny d {{ commands = {{"associate"}} }}\n' + ALLOW)
        with client() as sock:
            sock.sendto(b"x", TARGET)
            is_silent(sock)
            tap.same(c.lines(name_of(sock))[0]["end"], "refused")

    def own():
        """Neither the listener nor anything else of this machine, nor what is for many."""
        c = Caught(w, allow='allow all { from = {"10.1.0.0/24"} to = {"0.0.0.0/0"} }\n')
        server = Echo(HOME, NEAR)
        with client() as sock:
            echoes(sock, TARGET)
            for target in ((NEAR, c.d.ports[0]), (NEAR, ECHO), ("224.0.0.5", 99)):
                sock.sendto(b"x", target)
            is_silent(sock)
            echoes(sock, TARGET)
            used = cpu_seconds(c.d.workers()[0])
            time.sleep(0.3)
            tap.holds(cpu_seconds(c.d.workers()[0]) - used < 0.1, "no loop")
        with client() as sock:
            sock.sendto(b"x", (NEAR, c.d.ports[0]))
            is_silent(sock)
            tap.same(c.lines(name_of(sock))[0]["end"], "refused")
        tap.same(server.seen, [], "what a server of this machine saw")

    def switched_off():
        c = Caught(w, listen=LISTEN.replace(" }", " udp = false }"))
        tap.holds(not netns.listening(HOME, c.d.ports[0], "udp") and netns.listening(HOME, c.d.ports[0]), "TCP only")
        got = w.run(HOME, [w.viaductd, "-f", w.file("x.conf", 'listen x { url = "mixed://127.0.0.1:1" udp = false }\n')])
        tap.holds(got.code == 1 and b"`udp` in listen `x`; allowed: with tproxy:// only" in got.err, f"{got}")
        got = w.run(HOME, [w.viaductd, "-f", c.d.conf, "--print-config"])
        tap.holds(got.out.count(b"udp = false") == 2, f"{got}")

    def taken():
        """A port that somebody has for datagrams is none for the listener."""
        port = w.port()
        with datagram_socket(("0.0.0.0", port), HOME):
            path = w.file("y.conf", f'listen y {{ url = "tproxy://0.0.0.0:{port}" }}\n{ALLOW}')
            got = w.run(HOME, [w.viaductd, "-f", path], timeout=5)
            tap.holds(got.code == 1 and b"/udp: Address already in use" in got.err, f"{got}")

    def confined():
        c = Caught(w, 'user = "nobody"\ntimeouts { udp = 0.4 }\n')
        with open(f"/proc/{c.d.workers()[0]}/status", encoding="ascii") as file:
            status = dict(line.split(":", 1) for line in file)
        tap.same((status["Uid"].split()[0], int(status["CapEff"], 16), int(status["NoNewPrivs"])), ("65534", 1 << 12, 1))
        with client() as sock:
            echoes(sock, TARGET)
            echoes(sock, (ORIGIN, ECHO + 1))

    def marked():
        """Datagrams of the machine itself are caught but those that bear the mark."""
        m = Daemon(w, conf=f'mark = 77\nlisten t {{ url = "tproxy://127.0.0.1:0" }}\n', listens=1)
        nft(f"""table ip mk {{
  chain out {{
    type route hook output priority mangle
    meta mark != 77 ip daddr 10.2.0.0/24 udp dport {ECHO} meta mark set 1
  }}
  chain pre {{
    type filter hook prerouting priority mangle
    iifname "lo" meta mark 1 udp dport {ECHO} tproxy to 127.0.0.1:{m.port} accept
  }}
}}
""")
        with datagram_socket((FAR, 0), HOME) as sock:
            for _ in range(5):
                echoes(sock, TARGET)
            whence = {sender for sender, _ in echo[ORIGIN].seen[-5:]}
            tap.holds(len(whence) == 1 and whence != {sock.getsockname()}, f"caught once: {whence}")
        with netns.inside(HOME):
            subprocess.run(["nft", "delete", "table", "ip", "mk"], check=True)

    def limits():
        c = Caught(w, options=("--limit", "sessions=3"))
        socks = [client() for _ in range(5)]
        for sock in socks[:3]:
            echoes(sock, TARGET)
        for sock in socks[3:]:
            sock.sendto(b"x", TARGET)
            is_silent(sock)
            tap.same(c.lines(name_of(sock))[0]["end"], "refused", "one too many")
        echoes(socks[0], TARGET)
        for sock in socks:
            sock.close()

    yield "TPROXY: rules", rules
    yield "TPROXY: limits", limits
    yield "TPROXY: a rule for the command", commands
    yield "TPROXY: this machine is no target", own
    yield "TPROXY: udp = false", switched_off
    yield "TPROXY: a port that is taken", taken
    yield "TPROXY: confined workers", confined
    yield "TPROXY: marked", marked


def lives(w, echo):
    def crowd():
        """More clients than there is room for: who was silent longest gives way; 1,000 in all."""
        c = Caught(w, "sessions = 400\n")
        pid = c.d.workers()[0]
        socks, steady, listener = [client() for _ in range(1000)], client(), client()
        echoes(listener, TARGET)
        heard_by = echo[ORIGIN].seen[-1][0]
        for first in range(0, 1000, 50):
            for sock in socks[first:first + 50]:
                sock.sendto(b"x", TARGET)
            echoes(steady, TARGET)
            echo[ORIGIN].sock.sendto(b"more", heard_by)
            tap.same(listener.recv(10), b"more", "who only listens stays, too")
            time.sleep(0.12)
        lines = c.d.lines("session")
        tap.holds(lines and {x["end"] for x in lines} <= {"crowded-out"}, f"{len(lines)} gave way")
        tap.same({name_of(steady), name_of(listener)} & {x["client"] for x in lines}, set(), "who goes on stays")
        tap.holds(descriptors(pid) < 101 + 300, f"{descriptors(pid)} descriptors")
        time.sleep(1.2)
        with client() as sock:
            echoes(sock, TARGET)
        for sock in (*socks, steady, listener):
            sock.close()

    def many_answers():
        """More addresses to answer from than sockets are kept for."""
        c = Caught(w)
        at = [f"10.9.{n // 250}.{n % 250 + 1}" for n in range(600)]
        ip(HOME, "route", "add", "10.9.0.0/16", "via", ORIGIN)
        ip("origin", "route", "add", "local", "10.9.0.0/16", "dev", "lo")
        with netns.inside("origin"):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO: answers come from where they were sent to
        sock.bind(("0.0.0.0", ECHO + 2))
        open_ = [True]

        def serve():
            sock.settimeout(0.2)
            while open_[0]:
                try:
                    data, control, _, whence = sock.recvmsg(100, 100)
                    sock.sendmsg([data], control, 0, whence)
                except TimeoutError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        with client() as one:
            for host in at + at[:50]:
                echoes(one, (host, ECHO + 2))
        tap.holds(descriptors(c.d.workers()[0]) < 256 + 60, "sockets that answer")
        open_[0] = False
        thread.join()
        sock.close()

    def workers():
        """A client stays with its worker, whatever it sends to."""
        c = Caught(w, workers=2)
        for _ in range(20):
            with client() as sock:
                for target in (TARGET, (ORIGIN, ECHO + 1), TARGET):
                    echoes(sock, target)
                seen = {echo[ORIGIN].seen[-1][0], echo["+1"].seen[-1][0]}
                tap.same(len(seen), 1, f"ports: {seen}")

    def reload():
        """What answers is on its way still arrives; new workers take what comes."""
        c = Caught(w)
        old = c.d.workers()
        with client() as sock:
            echoes(sock, TARGET)
            out = echo[ORIGIN].seen[-1][0]
            c.d.signal(signal.SIGHUP)
            wait_until(lambda: len(set(c.d.workers()) - set(old)) == 1, "a new worker")
            echo[ORIGIN].sock.sendto(b"late", out)
            tap.same(sock.recvfrom(100), (b"late", TARGET), "an answer by the old worker")
            time.sleep(0.1)
            echoes(sock, TARGET)
            wait_until(lambda: not set(old) & set(c.d.workers()), "the old worker has ended", 15)
            echoes(sock, TARGET)

    def socket_rule():
        """A rule with `socket transparent` brings datagrams to sockets that answer."""
        c = Caught(w)
        nft("""table ip tp {
  chain b {
    type filter hook prerouting priority mangle - 1
    iifname "app1" meta l4proto udp socket transparent 1 meta mark set 1 accept
  }
}
""")
        with client() as sock, client() as other:
            for _ in range(5):
                echoes(sock, TARGET)
            for _ in range(3):
                echoes(other, TARGET)
            tap.same(len({whence for whence, _ in echo[ORIGIN].seen[-8:]}), 2, "ports that the target sees")

    def noise():
        c = Caught(w)
        rng = random.Random(seed := random.randrange(1 << 30))
        tap.note(f"seed {seed}")
        with client() as sock:
            for _ in range(2000):
                sock.sendto(rng.randbytes(rng.randrange(50)), (f"10.2.0.{rng.randrange(2, 250)}", rng.randrange(1, 65536)))
            sock.close()
        with client() as sock:
            echoes(sock, TARGET)

    def volume():
        c, count, data, got = Caught(w), 10000, os.urandom(1190), []
        with client() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)

            def listen():
                sock.settimeout(2)
                try:
                    while len(got) < count:
                        got.append(sock.recv(2000))
                except TimeoutError:
                    pass

            listener = threading.Thread(target=listen)
            listener.start()
            used, began = cpu_seconds(c.d.workers()[0]), time.monotonic()
            for number in range(count):
                time.sleep(max(0, began + number / 5000 - time.monotonic()))
                while number - len(got) > 40 and listener.is_alive():
                    time.sleep(0.0005)
                sock.sendto(number.to_bytes(10, "big") + data, TARGET)
            listener.join()
            tap.same(len(got), count, "datagrams that came back")
            tap.holds(got == [number.to_bytes(10, "big") + data for number in range(count)], "in order and intact")
            tap.note(f"{(cpu_seconds(c.d.workers()[0]) - used) / count * 1e6:.1f} us of CPU each way and back")

    def iperf():
        Caught(w)
        port = w.port()
        server = w.serve("iperf3", "origin", ["iperf3", "-s", "-p", str(port)], port)
        for more in ((), ("-R",)):
            got = w.run("app", ["iperf3", "-u", "-c", ORIGIN, "-p", str(port), "-b", "10M", "-t", "1", "-l", "1200", "-J", *more])
            tap.same(got.code, 0, f"{got}")
            told = json.loads(got.out)["end"]["sum"]
            tap.holds(told["packets"] > 500 and told["lost_packets"] < told["packets"] / 4, f"{told}")
        server.stop()

    def no_leak():
        c = Caught(w, "timeouts { udp = 0.2 }\n")
        pid = c.d.workers()[0]
        with client() as sock:
            echoes(sock, TARGET)
            c.lines(name_of(sock))
        before = descriptors(pid)
        for _ in range(100):
            with client() as sock:
                echoes(sock, TARGET)
        wait_until(lambda: descriptors(pid) <= before, f"descriptors fall back to {before}")

    yield "TPROXY: 1,000 clients where there is room for 100", crowd
    yield "TPROXY: answers from 600 addresses", many_answers
    yield "TPROXY: two workers", workers
    yield "TPROXY: a reload", reload
    yield "TPROXY: socket transparent", socket_rule
    yield "TPROXY: noise", noise
    yield "TPROXY: 10,000 datagrams, none lost", volume
    yield "TPROXY: iperf3 -u", iperf
    yield "TPROXY: nothing is left behind", no_leak

    def stops():
        for daemon in w.servers:
            if isinstance(daemon, Daemon):
                tap.same(daemon.stop(), 0, "exit status")

    yield "TPROXY: every daemon ends well", stops


def cases(w):
    w.answers_for_others()
    routes()
    for host in ("10.2.0.98", "10.2.0.99"):
        ip("origin", "addr", "add", f"{host}/24", "dev", "org0")
    echo = {host: Echo("origin", host) for host in (ORIGIN, ORIGIN6, "10.2.0.99")}
    echo["+1"] = Echo("origin", ORIGIN, ECHO + 1)
    for part in (directly, chained, judged, lives):
        yield from part(w, echo)


if __name__ == "__main__":
    world.main(cases, ("ip", "nft", "dig", "iperf3", "tinyproxy"))
