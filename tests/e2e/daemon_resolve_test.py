#!/usr/bin/env python3
"""How viaductd resolves names: straight, through the chain of its upstream, and by the system; asked of
unbound, and of name servers that are slow or dead."""

import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, netns, servers, tap, world
from lib.daemon import HOME, Daemon
from lib.sniffer import Sniffer
from lib.visit import SOCKS5
from lib.world import FAR, ORIGIN, ORIGIN6, wait_until

VANISH = "10.2.0.88"  # packets to it are lost
MANY = [f"10.2.9.{n}" for n in range(1, 61)]
ZONE = f"""
local-zone: "corp.test." static
local-data: "both.corp.test. 60 IN A {ORIGIN}"
local-data: "both.corp.test. 60 IN AAAA {ORIGIN6}"
local-data: "four.corp.test. 60 IN A {ORIGIN}"
local-data: "six.corp.test. 60 IN AAAA {ORIGIN6}"
local-data: "short.corp.test. 2 IN A {ORIGIN}"
local-data: "text.corp.test. 60 IN TXT 'no address'"
local-data: "far.corp.test. 60 IN A {VANISH}"
local-zone: "silent.test." always_deny
local-zone: "refused.test." always_refuse
"""


class Unbound:
    """Answers for corp.test on (address, 53) of the origin host; what it was asked."""

    def __init__(self, w, address, udp):
        many = "".join(f'local-data: "many.corp.test. 60 IN A {ip}"\n' for ip in [*MANY, ORIGIN])
        zone = "".join(f"  {line}\n" for line in (ZONE + many).splitlines())
        path = w.file(f"unbound.{address}.conf", f"""server:
  interface: {address}
  access-control: 0.0.0.0/0 allow
  do-udp: {"yes" if udp else "no"}
  do-daemonize: no
  username: ""
  chroot: ""
  pidfile: ""
  directory: "{w.dir}"
  use-syslog: no
  logfile: ""
  log-queries: yes
  module-config: "iterator"
  do-not-query-localhost: no
{zone}
stub-zone:
  name: "fails.test."
  stub-addr: 127.0.0.9@9
remote-control:
  control-enable: no
""")
        self.server = w.serve("unbound", "origin", ["unbound", "-d", "-c", path], 53)

    def asked(self, name):
        return len(re.findall(rf" {re.escape(name)}\. (?:A|AAAA) IN", self.server.log()))


class Slow(hostile.Scripted):
    """A name server on TCP that answers after a while, everything with the origin's address."""

    def __init__(self, address, port, seconds):
        self.seconds, self.queries = seconds, 0
        super().__init__("origin", address, port, self._answer)

    def _answer(self, peer):
        while True:
            query = peer.read(struct.unpack("!H", peer.read(2))[0])
            self.queries += 1
            peer.pause(self.seconds)
            is_a = query[-4:-2] == b"\0\1"
            record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes(map(int, ORIGIN.split("."))) if is_a else b""
            reply = query[:2] + b"\x81\x80\0\1" + bytes([0, is_a]) + bytes(4) + query[12:] + record
            peer.say(struct.pack("!H", len(reply)) + reply)


def reaches(d, name, address=ORIGIN, port=80):
    visit = d.visit(SOCKS5, (name, port))
    tap.same(visit.code, 0, f"reply for {name}")
    visit.sock.sendall(b"GET /whoami HTTP/1.0\r\n\r\n")
    text = visit.sock.makefile("rb").read().split(b"\r\n\r\n")[1].split()
    tap.same(text[2].decode(), address, f"where {name} leads to")
    visit.sock.close()


def refuses(d, name, code, seconds=9):
    began = time.monotonic()
    visit = d.visit(SOCKS5, (name, 80))
    tap.same(visit.code, code, f"reply for {name}")
    tap.holds(time.monotonic() - began < seconds, "it takes too long")


def kinds(d, unbound, six, unwilling=4):
    """What every way of resolving has to get right; six: where a name with both families leads to;
    unwilling: the reply when the server refuses to answer."""

    def addresses():
        for name, address in (("both", six), ("four", ORIGIN), ("six", ORIGIN6), ("BOTH", six)):
            reaches(d, f"{name}.corp.test", address)

    def kept():
        before = unbound.asked("four.corp.test")
        for _ in range(5):
            reaches(d, "four.corp.test")
        tap.same(unbound.asked("four.corp.test"), before, "questions for what is known")

    def none():
        refuses(d, "text.corp.test", 4)
        refuses(d, "unknown.corp.test", 4)

    def servfail():
        refuses(d, "x.fails.test", 4)

    def refused():
        refuses(d, "x.refused.test", unwilling)

    def many():
        """More than a datagram holds."""
        visit = d.visit(SOCKS5, ("many.corp.test", 9))
        tap.holds(visit.code != 4, f"reply: {visit.code}")

    for case in (addresses, kept, none, servfail, refused, many):
        yield case.__name__, case


def straight(w, unbound):
    path = w.file("resolv.straight", f"nameserver {ORIGIN}\noptions timeout:1 attempts:1\n")
    words = ["sh", "-c", f'mount --bind {path} /etc/resolv.conf && exec "$0" "$@"']
    d = Daemon(w, conf="timeouts { connect = 8 }\n", words=words)
    other = Daemon(w, conf=f'nameservers = {{"{ORIGIN}"}}\n')

    def expires():
        reaches(d, "short.corp.test")
        before = unbound.asked("short.corp.test")
        time.sleep(2.2)
        reaches(d, "short.corp.test")
        tap.holds(unbound.asked("short.corp.test") > before, "an answer is kept for longer than it holds")

    for name, case in kinds(d, unbound, ORIGIN6):
        yield f"straight: {name}", case
    yield "straight: an answer expires", expires
    yield "straight: nameservers in place of resolv.conf's", lambda: reaches(other, "both.corp.test", ORIGIN6)


def chained(w, unbound):
    """unbound listens on TCP only here, and could be reached without the chain."""
    hop = servers.viaductd(w, host="origin")
    plain = servers.microsocks(w, host="origin")
    link = Sniffer("proxy", "org1")

    def daemon(more, *urls, **how):
        conf = f'dns = "chain"\nnameservers = {{{more}}}\ntimeouts {{ connect = 8 }}\n'
        words = [word for url in urls for word in ("-x", url)]
        return Daemon(w, *words, conf=conf, **how)

    at = f"{ORIGIN}:{hop.port}"
    d = daemon(f'"{unbound_at}"', f"socks5h://{at}")

    def on_the_link(wanted, new=True):
        """A connection to this hop, or none that is new, and nothing else."""
        seen = set(link.take())
        tap.holds(seen == {("tcp", *wanted)} or (not new and not seen), f"on the link: {seen}")

    def kind(name, case):
        def play():
            link.take()
            case()
            on_the_link((ORIGIN, hop.port), new=False)
        return f"chain: {name}", play

    def of_addresses():
        """The last hop gets addresses, whatever its scheme is."""
        for scheme in ("socks4", "socks4a", "socks5", "http"):
            other = daemon(f'"{unbound_at}"', f"{scheme}://{at}")
            before = unbound.asked("four.corp.test")
            link.take()
            reaches(other, "four.corp.test")
            on_the_link((ORIGIN, hop.port))
            tap.holds(unbound.asked("four.corp.test") > before, "nobody was asked")
            tap.holds(re.search(rf"target={ORIGIN}:80 ", hop.server.log()), "the hop was told an address")
        tap.holds("corp.test" not in hop.server.log(), "the hop was told a name")

    def two_hops():
        other = daemon(f'"{unbound_at}"', f"socks5h://{at}", f"socks5h://{ORIGIN}:{plain.port}")
        link.take()
        reaches(other, "both.corp.test")
        on_the_link((ORIGIN, hop.port))

    def one_connection():
        """Kept between questions, and made anew when the server has closed it."""
        other = daemon(f'"{unbound_at}"', f"socks5h://{at}")
        before = hop.server.log().count(f"target={unbound_at}:53 ")
        for name in ("both", "four", "six", "short"):
            reaches(other, f"{name}.corp.test", ORIGIN6 if name == "six" else ORIGIN)
        tap.same(hop.server.log().count(f"target={unbound_at}:53 "), before + 1, "connections to the server")

    def slow():
        with Slow(ORIGIN, 5301, 0.2) as server:
            other = daemon(f'"{ORIGIN}:5301"', f"socks5h://{at}")
            began = time.monotonic()
            threads = [threading.Thread(target=reaches, args=(other, f"n{i}.slow.test")) for i in range(4)]
            for thread in threads:
                thread.start()
            reaches(other, "n0.slow.test")
            for thread in threads:
                thread.join()
            tap.holds(time.monotonic() - began > 0.19, "it did not wait for the answer")
            tap.holds(server.queries >= 8, f"{server.queries} questions")

    def dead():
        """Refused, silent, or nobody there: told apart from an unknown name, and the next one serves."""
        for where in (f"{FAR}:9", f"{VANISH}:53"):
            other = daemon(f'"{where}"', f"socks5h://{at}")
            visit = other.visit(SOCKS5, ("four.corp.test", 80))
            tap.holds(visit.code in (1, 3, 4, 5, 6), f"reply: {visit.code}")
        both = daemon(f'"{FAR}:9", "{unbound_at}"', f"socks5h://{at}")
        reaches(both, "four.corp.test")

    def no_chain():
        """Where the chain is broken no query leaves in another way."""
        gone = daemon(f'"{unbound_at}"', f"socks5h://{ORIGIN}:9")
        before = unbound.asked("four.corp.test")
        link.take()
        visit = gone.visit(SOCKS5, ("four.corp.test", 80))
        tap.holds(visit.code in (1, 3), f"reply: {visit.code}")
        on_the_link((ORIGIN, 9))
        tap.same(unbound.asked("four.corp.test"), before, "questions")

    def drains():
        other = daemon(f'"{unbound_at}"', f"socks5h://{at}")
        reaches(other, "four.corp.test")
        other.proc.terminate()
        tap.same(other.proc.wait(10), 0, "status")

    def needs():
        for conf, words, want in (
                ('dns = "chain"\n', [], "dns = \"chain\": there is no upstream; allowed: with one"),
                ('dns = "chain"\n', ["-x", f"socks5h://{at}"],
                 'dns = "chain": /etc/resolv.conf names no server that the chain could lead to, but this machine; '
                 'allowed: nameservers = {"ADDRESS", ...}'),
                ('resolver = "system"\nnameservers = {"10.0.0.1"}\n', [],
                 'nameservers: the system is asked, which has its own; allowed: with resolver = "cares" or dns = "chain"')):
            got = w.run(HOME, [w.viaductd, "-f", w.file("needs.conf", conf), *words], timeout=5)
            tap.same((got.code, got.err.decode()), (1, f"viaductd: {want}\n"), conf)

    for name, case in kinds(d, unbound, ORIGIN):
        yield kind(name, case)
    for case in (of_addresses, two_hops, one_connection, slow, dead, no_chain, drains, needs):
        yield f"chain: {case.__name__.replace('_', ' ')}", case
    link.close()


def helpers(d):
    """The processes that ask the system."""
    text = subprocess.run(["ps", "-eo", "pid,ppid,comm"], capture_output=True, text=True, check=True).stdout
    workers = set(d.workers())
    return [int(line.split()[0]) for line in text.splitlines()[1:]
            if line.split()[2] == "viaductd-names" and int(line.split()[1]) in workers]


def by_system(w, unbound):
    path = w.file("resolv.system", f"nameserver {ORIGIN}\noptions timeout:3 attempts:1\n")
    hosts = w.file("hosts.system", f"127.0.0.1 localhost\n{ORIGIN} printer\n{ORIGIN6} printer6\n")
    words = ["sh", "-c", f'mount --bind {path} /etc/resolv.conf && mount --bind {hosts} /etc/hosts && exec "$0" "$@"']
    d = Daemon(w, conf='resolver = "system"\ntimeouts { connect = 8 }\n', words=words)

    def of_the_site():
        reaches(d, "printer")
        reaches(d, "printer6", ORIGIN6)

    def a_slow_name_alone():
        """Those who ask for others do not wait."""
        visits = []
        threads = [threading.Thread(target=lambda i=i: visits.append(d.visit(SOCKS5, (f"n{i}.silent.test", 80)).code))
                   for i in range(5)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        began = time.monotonic()
        reaches(d, "printer")
        refuses(d, "other.corp.test", 4)
        took = time.monotonic() - began
        for thread in threads:
            thread.join()
        tap.holds(took < 2, f"it took {took:.2f} s")
        tap.same(visits, [6] * 5, "replies for silent names: timeout")

    def a_crowd():
        """More questions than are taken at a time: the rest is refused at once, and nothing stays behind."""
        codes = []

        def ask(i):
            codes.append(d.visit(SOCKS5, (f"c{i}.silent.test", 80)).code)

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(300)]
        for thread in threads:
            thread.start()
        wait_until(lambda: codes.count(1) >= 40, "some are refused at once", 6)
        for thread in threads:
            thread.join()
        tap.same(set(codes), {1, 6}, "replies")
        wait_until(lambda: d.visit(SOCKS5, ("printer", 80)).code == 0, "it serves again", 20)

    def a_crash():
        [helper] = helpers(d)
        before = d.workers()
        waiting = []
        thread = threading.Thread(target=lambda: waiting.append(d.visit(SOCKS5, ("crash.silent.test", 80)).code))
        thread.start()
        time.sleep(0.3)
        began = time.monotonic()
        os.kill(helper, signal.SIGKILL)
        thread.join()
        tap.same(waiting, [6], "the reply of who waited")
        tap.holds(time.monotonic() - began < 2, "it waited on")
        wait_until(lambda: d.visit(SOCKS5, ("after.corp.test", 80)).code == 4, "names are resolved again")
        tap.same(d.workers(), before, "workers")
        tap.holds(helpers(d) not in ([], [helper]), "a new helper")

    def is_confined():
        [helper] = helpers(d)
        with open(f"/proc/{helper}/status", encoding="ascii") as file:
            text = file.read()
        tap.holds("NoNewPrivs:\t1" in text, "no new privileges")
        tap.holds("Seccomp:\t2" in text or tap_sanitized(w), "seccomp")

    def ends_with_it():
        other = Daemon(w, conf='resolver = "system"\n')
        wait_until(lambda: helpers(other), "a helper")
        [helper] = helpers(other)
        os.kill(other.pid, signal.SIGKILL)
        wait_until(lambda: not os.path.exists(f"/proc/{helper}") or is_zombie(helper), "the helper ends")

    for name, case in kinds(d, unbound, ORIGIN6, 6):
        yield f"system: {name}", case
    for case in (of_the_site, a_slow_name_alone, is_confined, a_crash, ends_with_it, a_crowd):
        yield f"system: {case.__name__.replace('_', ' ')}", case


def is_zombie(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def tap_sanitized(w):
    with open(w.viaductd, "rb") as file:
        return b"__asan_init" in file.read()


unbound_at = "10.2.0.54"


def cases(w):
    subprocess.run(["ip", "-n", "origin", "addr", "add", f"{unbound_at}/24", "dev", "org0"], check=True)
    servers.Nginx(w)
    ours = Unbound(w, ORIGIN, True)
    tcp = Unbound(w, unbound_at, False)
    wait_until(lambda: netns.listening("origin", 53), "unbound listens")
    yield from straight(w, ours)
    yield from chained(w, tcp)
    yield from by_system(w, ours)


if __name__ == "__main__":
    world.main(cases, ["unbound"])
