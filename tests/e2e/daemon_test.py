#!/usr/bin/env python3
"""viaductd towards its clients: every protocol and kind of target at every segmentation, logins,
truthful refusals, who may go where, half-close and reset, and what it logs of it."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import daemon, hostile, netns, tap, world
from lib.daemon import HOME, Daemon
from lib.visit import HTTP, SOCKS4, SOCKS4A, SOCKS5, WAYS, dial, quiet, reset
from lib.world import APP, FAR, NEAR, ORIGIN, ORIGIN6, wait_until

VANISH, VANISH6 = "10.2.0.88", "fd02::88"  # packets to them are lost
NOBODY = "10.2.0.77"  # nobody answers for it
HERE, HERE6 = "127.0.0.1", "::1"
LOGIN = ("alice", "s3cret: with space")
TARGETS = {
    "IPv4": ORIGIN, "IPv6": ORIGIN6, "a name": "origin.test", "a name with IPv4 only": "v4.origin.test",
    "a name with IPv6 only": "v6.origin.test", "a name of /etc/hosts": "localhost"}
# reason: (SOCKS5, SOCKS4, HTTP, Proxy-Status and the log)
CODES = {
    "refused": (5, 91, 502, "connection_refused"), "network": (3, 91, 502, "destination_ip_unroutable"),
    "host": (4, 91, 502, "destination_unavailable"), "name": (4, 91, 502, "dns_error"),
    "denied": (2, 91, 403, "http_request_denied"), "late": (6, 91, 504, "connection_timeout")}
MUTATIONS = int(os.environ.get("VIADUCT_TEST_MUTATIONS", "2000"))  # the long run has 20,000
tap.CASE_SECONDS = max(60, MUTATIONS // 40)
SHORT = "timeouts { connect = 0.4 }\n"


def carries(way, host):
    """Whether the protocol can ask for this host."""
    if way is SOCKS4:
        return re.fullmatch(r"[\d.]+", host) is not None
    return way is not SOCKS4A or ":" not in host


def code_of(way, reason):
    return CODES[reason][{"socks5": 0, "socks4": 1, "socks4a": 1, "http": 2}[way.name]]


def echo(peer):
    """Says from where it is visited, then everything back."""
    host, port = peer.sock.getpeername()[:2]
    peer.say(f"{host} {port}\n".encode())
    peer.sock.settimeout(10)
    while data := peer.sock.recv(65536):
        peer.say(data)


def greeted(visit):
    """The address that the echo server saw."""
    line = b""
    while not line.endswith(b"\n"):
        line += visit.read(1)
    host, port = line.decode().split()
    return host, int(port)


def echoes(visit, data=b"hello"):
    visit.sock.sendall(data)
    tap.same(visit.read(len(data)), data, "echo")


def elapsed(action):
    began = time.monotonic()
    result = action()
    return result, time.monotonic() - began


def crypted(password, salt):
    return subprocess.run(["perl", "-e", "print crypt($ARGV[0], $ARGV[1])", password, salt], capture_output=True,
                          text=True, check=True).stdout


def lose_packets():
    for address, family in ((VANISH, "-4"), (VANISH6, "-6")):
        subprocess.run(["ip", "-n", HOME, family, "neigh", "add", address, "lladdr", "02:00:00:00:00:99", "dev",
                        "org1", "nud", "permanent"], check=True)


def protocols(w, servers):
    d = Daemon(w)

    def reaches(way, host):
        visit = d.visit(way, (host, servers[host].port))
        tap.same(visit.code, way.good, "reply")
        seen = greeted(visit)
        if way in (SOCKS5, SOCKS4, SOCKS4A) and (way is SOCKS5 or ":" not in seen[0]):
            tap.same(visit.bound, seen, "BND and what the target sees")
        echoes(visit, os.urandom(3000))
        visit.sock.shutdown(socket.SHUT_WR)
        tap.same(visit.rest(), b"", "after the end")
        line = d.session(visit)
        ends = [visit.local[0] + f":{visit.local[1]}", f"127.0.0.1:{d.port}"]
        tap.same([line["client"], line["local"]], ends, "the client's addresses in the log")
        tap.holds(line["out"].rsplit(":", 1)[1] == str(seen[1]), f"out of {line}, target saw {seen}")
        tap.same([line["end"], line["up"], line["command"], line["via"]], ["closed", "3000", "connect", "-"])

    def segments(way, login):
        server = Daemon(w, "-u", ":".join(LOGIN)) if login else d
        early = b"early bytes"
        # to whom a byte more or less would show
        length = len(b"".join(way.messages((ORIGIN, servers[ORIGIN].port), login)) + early)
        for how in ["flight", "drip", *range(1, length)]:
            with server.visit(way, (ORIGIN, servers[ORIGIN].port), login=login, how=how, early=early) as visit:
                tap.same(visit.code, way.good, f"reply, said as {how}")
                greeted(visit)
                tap.same(visit.read(len(early)), early, f"early data, said as {how}")

    def much_early():
        data = os.urandom(300000)
        for way in WAYS:
            visit = d.visit(way, (ORIGIN, servers[ORIGIN].port), how="steps")
            visit.close()
            sock = dial(d.at, HOME)
            writer = threading.Thread(target=sock.sendall, args=(b"".join(way.messages((ORIGIN, servers[ORIGIN].port))) + data,))
            writer.start()
            got = b""
            while not got.endswith(data[-100:]):
                got += sock.recv(65536)
            writer.join()
            sock.close()
            tap.holds(data in got, "early bytes arrive whole")

    for way in WAYS:
        for what, host in TARGETS.items():
            if carries(way, host):
                yield f"{way.name} to {what}", lambda y=way, h=host: reaches(y, h)
        yield f"{way.name} split at every byte, with early data", lambda y=way: segments(y, None)
        if way in (SOCKS5, HTTP):
            yield f"{way.name} with a login split at every byte", lambda y=way: segments(y, LOGIN)
    yield "300 kB of early data", much_early


def mutated(chance, text):
    text = bytearray(text)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(text) + 1)
        how = chance.randrange(5)
        if how == 0 and at < len(text):
            text[at] = chance.randrange(256)
        elif how == 1:
            del text[at:at + chance.randint(1, 5)]
        elif how == 2:
            text[at:at] = chance.randbytes(chance.randint(1, 20))
        elif how == 3:
            text[at:at] = chance.choice((b"\0", b"\r\n", b"\n", b":", b" ", b"A")) * chance.randint(1, 2500)
        else:
            del text[at + 1:]
    return bytes(text)


def refusals(w, servers):
    d = Daemon(w, "--deny", f"to={ORIGIN}:99", "--deny", "to=*.secret.test", conf=SHORT)
    targets = {"refused": (ORIGIN, 1), "network": ("203.0.113.1", 80), "host": (NOBODY, 80),
               "name": ("nosuch.test", 80), "denied": (ORIGIN, 99), "late": (VANISH, 80)}
    names = {"refused": "v4.origin.test", "network": "far.test", "host": "nobody.test", "name": "nosuch.test",
             "denied": "v4.origin.test", "late": "vanish.test"}
    for name, address in (("far.test", "203.0.113.1"), ("nobody.test", NOBODY), ("vanish.test", VANISH)):
        w.far_names.know(name, address)

    def refused(way, reason, host):
        visit = d.visit(way, (host, targets[reason][1]))
        tap.same(visit.code, code_of(way, reason), "reply")
        if way is HTTP:
            tap.same(visit.error, CODES[reason][3], "Proxy-Status")
        if way is HTTP:
            visit.read(int(re.search(r"Content-Length: (\d+)", visit.head, re.IGNORECASE)[1]))
        tap.same(visit.rest(), b"", "after the refusal")
        line = d.session(visit)
        tap.same([line["end"], line["error"], line["peer"]], ["refused", CODES[reason][3], "-"])

    def unread_bytes():
        """A refusal arrives though the client is still talking: no reset overtakes it."""
        for way in WAYS:
            for _ in range(20):
                visit = d.visit(way, (ORIGIN, 1), how="flight", early=b"x" * 200000)
                tap.same(visit.code, code_of(way, "refused"), f"{way.name}: the refusal")
                tap.holds(not visit.was_reset(), f"{way.name}: a reset behind the refusal")
                visit.close()

    def no_lookup():
        w.far_names.take()
        tap.same(d.visit(SOCKS5, ("a.secret.test", 80)).code, 2)
        tap.same(w.far_names.take(), [], "queries for a name that a rule refuses")

    def commands():
        for way, code in ((SOCKS5, 7), (SOCKS4, 91)):
            for command in (0, 3, 4, 255) if way is SOCKS4 else (0, 4, 255):
                visit = d.visit(way, (ORIGIN, 80), command=command)
                tap.same(visit.code, code, f"{way.name} command {command}")

    def nonsense():
        for text in (b"\x16\x03\x01\x02\0", b"\0", b"\xff" * 100, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\5\0",
                     b"\5\1\0\5\1\0\3\0\0\x50", b"\5\1\0\5\1\0\3\5a\0b.c\0\x50"):
            sock = dial(d.at, HOME)
            sock.sendall(text)
            try:
                while sock.recv(4096):
                    pass
            except ConnectionResetError:
                pass
            sock.close()
        tap.holds(d.running() and len(d.workers()) == 1, "viaductd lives on")
        wait_until(lambda: sum(s["end"] == "refused" for s in d.lines("session")) >= 6, "a line for each")

    def mutations():
        """Handshakes with mistakes, sent in pieces, some reset: nothing dies and nothing is left."""
        chance = random.Random(1)
        m = Daemon(w, conf="timeouts { handshake = 0.5 connect = 0.5 half_closed = 0.5 idle = 1 }\n")
        worker = m.workers()[0]
        target = HERE, servers[HERE].port
        seeds = [b"".join(way.messages(target, login)) + b"early" for way, login in
                 ((SOCKS4, LOGIN), (SOCKS4A, None), (SOCKS5, None), (SOCKS5, LOGIN), (HTTP, None), (HTTP, LOGIN))]
        m.visit(SOCKS5, target).close()
        fds = wait_until(lambda: not daemon.sockets(HOME, worker) and daemon.descriptors(worker), "an idle worker")
        with netns.inside(HOME):
            for number in range(MUTATIONS):
                sock = dial(m.at)
                text = mutated(chance, seeds[number % len(seeds)])
                try:
                    for at in range(0, len(text), piece := chance.choice((1, 7, 5000)) if len(text) < 300 else 5000):
                        sock.sendall(text[at:at + piece])
                    if chance.random() < 0.3:
                        sock.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
                if chance.random() < 0.3:
                    reset(sock)
                sock.close()
        wait_until(lambda: daemon.descriptors(worker) <= fds, "descriptors are back at the start value")
        tap.same(m.workers(), [worker], "the worker")
        tap.holds(m.visit(SOCKS5, target).ok, "it serves")
        tap.same(m.stop(), 0, "exit status")

    for reason in CODES:
        for way in WAYS:
            if way is not SOCKS4 or reason != "name":
                host = targets[reason][0]
                yield f"{way.name}: {reason}", lambda y=way, r=reason, h=host: refused(y, r, h)
                if carries(way, "a.test"):
                    yield f"{way.name}: {reason}, by name", lambda y=way, r=reason: refused(y, r, names[r])
    yield "a refusal reaches a client that still talks", unread_bytes
    yield "a name that a rule refuses is not looked up", no_lookup
    yield "unknown commands", commands
    yield "nonsense is refused", nonsense
    yield f"{MUTATIONS} handshakes with mistakes", mutations


def logins(w, servers):
    salts = {"sha512": "$6$saltsalt", "sha256": "$5$saltsalt", "yescrypt": "$y$j9T$saltsaltsaltsalt$"}
    slow = "slow:" + crypted("right", "$6$rounds=900000$saltsalt")
    users = w.file("users", "# name:hash\n" + "".join(f"{n}:{crypted('right', s)}\n" for n, s in salts.items())
                   + slow + "\n", 0o600)
    d = Daemon(w, "--users", users, "-u", "alice:s3cret: with space")
    target = ORIGIN, servers[ORIGIN].port

    def right(way, login):
        for _ in range(2):
            visit = d.visit(way, target, login=login)
            tap.same(visit.code, way.good)
            greeted(visit)
            echoes(visit)
            visit.close()
            tap.same(d.session(visit)["user"], login[0])

    def wrong(way, login):
        w.far_names.take()
        visit = d.visit(way, ("origin.test", target[1]), login=login)
        tap.same(visit.code, 407 if way is HTTP else 1, "answer to the login")
        refused = d.session(visit, "login refused")
        user = '"a b\\x22=\\x5c\\xe9"' if " " in login[0] else login[0]
        tap.same([refused["user"], refused["protocol"].upper()], [user, way.name.upper()])
        tap.same(w.far_names.take(), [], "queries before a login")
        tap.holds(login[1] not in d.log() or len(login[1]) < 3, "no password in the log")

    def without():
        tap.same(d.visit(SOCKS5, target).code, 255, "SOCKS5 without a login")
        tap.same(d.visit(HTTP, target).code, 407, "HTTP without a login")
        tap.same(d.visit(SOCKS4, target).code, 91, "SOCKS4 has no passwords")
        tap.same(d.visit(SOCKS4A, ("origin.test", 80), login=("alice", "")).code, 91)

    def slow_hash():
        """One slow login, in a process beside: others go on meanwhile; and it is paid for once."""
        done = []
        login = ("slow", "right")
        thread = threading.Thread(target=lambda: done.append(elapsed(lambda: d.visit(SOCKS5, target, login=login))))
        thread.start()
        time.sleep(0.05)
        took = max(elapsed(lambda: d.visit(SOCKS5, target, login=LOGIN).close())[1] for _ in range(5))
        still = not done
        thread.join()
        (visit, first), (_, again) = done[0], elapsed(lambda: d.visit(SOCKS5, target, login=login).close())
        tap.holds(visit.ok and still, "the slow login came last")
        tap.holds(took < first / 3, f"others waited {took:.3f} s beside a login of {first:.3f} s")
        tap.holds(again < first / 3, f"the second login took {again:.3f} s, the first {first:.3f} s")
        _, unknown = elapsed(lambda: d.visit(SOCKS5, target, login=("nobody at all", "x")).close())
        tap.note(f"unknown user: {unknown:.3f} s")

    def leaves_meanwhile():
        visits = [dial(d.at, HOME) for _ in range(10)]
        for sock in visits:
            sock.sendall(b"".join(SOCKS5.messages(target, ("slow", f"wrong{sock.fileno()}"))))
        time.sleep(0.05)
        for sock in visits:
            reset(sock)
        tap.holds(d.visit(SOCKS5, target, login=LOGIN).ok, "a login after clients that left")

    def helper_dies():
        """The helper is the worker's child; a login under way when it dies is asked again."""
        worker = d.workers()[0]
        with open(f"/proc/{worker}/task/{worker}/children", encoding="ascii") as file:
            helper = int(file.read().split()[0])
        os.kill(helper, 9)
        tap.holds(d.visit(SOCKS5, target, login=("sha512", "right")).ok, "a known login")
        tap.same(d.visit(SOCKS5, target, login=("sha512", "wronger")).code, 1)
        tap.same(d.workers(), [worker], "the worker")

    for way in (SOCKS5, HTTP):
        for login in (LOGIN, *((name, "right") for name in salts)):
            yield f"{way.name}: right login, {login[0]}", lambda y=way, l=login: right(y, l)
        for login in (("alice", "s3cret"), ("alice", "s3cret: with spacE"), ("sha512", "Right"), ("yescrypt", "right "),
                      ("nobody", "right"), ("alic", LOGIN[1]), ("alice2", LOGIN[1]), ("a b\"=\\\xe9", "right")):
            yield f"{way.name}: wrong login, {ascii(login)}", lambda y=way, l=login: wrong(y, l)
    yield "no login where one is needed", without
    yield "a slow hash stops nobody", slow_hash
    yield "clients that leave during their login", leaves_meanwhile
    yield "the login helper dies", helper_dies


def access(w, servers):
    port = servers[HERE].port
    near = f"{NEAR}:0"
    d = Daemon(w, "-a", "from=10.1.0.0/24 to=*", listens=(near, "127.0.0.1:0"))
    named = Daemon(w, "-a", f"to=127.0.0.1:{port}", "-a", "to=inner.test", "-a", "from=10.1.0.0/24", listens=(near,))
    w.far_names.know("inner.test", HERE)
    w.far_names.know("mixed.test", HERE, ORIGIN)

    def ask(server, host, at=None, port=port):
        return server.visit(SOCKS5, (host, port), at=at or (NEAR, server.ports[0]), ns="app").code

    def guard():
        for host in (HERE, HERE6, "127.9.9.9", "0.0.0.0", "::", "::ffff:127.0.0.1", "localhost", "inner.test", NEAR, FAR,
                     "169.254.169.254", "224.0.0.1", "255.255.255.255", "fd02::1"):
            tap.same(ask(d, host), 2, f"{host} for a client from elsewhere")
        tap.same(ask(d, ORIGIN, port=servers[ORIGIN].port), 0, "another host")
        tap.same(ask(d, "mixed.test", port=servers[ORIGIN].port), 0, "the allowed one of two addresses")

    def local():
        tap.same(Daemon(w).visit(SOCKS5, (HERE, port)).code, 0, "a client on loopback may")

    def by_name():
        tap.same(ask(named, HERE), 0, "an address that a rule names")
        tap.same(ask(named, "inner.test"), 0, "a name that a rule names")
        tap.same(ask(named, HERE6), 2)
        tap.same(ask(named, NEAR), 2)

    def rules():
        other = servers[ORIGIN].port
        r = Daemon(w, "-u", "alice:a", "-u", "bob:b", "--deny", "users=bob to=origin.test", "--deny", f"to={ORIGIN}/32:1",
                   "-a", "users=alice,bob to=*.origin.test,origin.test", "-a", f"users=alice to={ORIGIN}")

        def code(user, host, port=other):
            return r.visit(SOCKS5, (host, port), login=(user, user[0])).code
        tap.same(code("alice", "origin.test"), 0)
        tap.same(code("bob", "origin.test"), 2, "denied by user")
        tap.same(code("bob", "v4.origin.test"), 0)
        tap.same(code("alice", "v4.origin.test", 1), 2, "denied by the final address")
        tap.same(code("alice", ORIGIN), 0)
        tap.same(code("bob", ORIGIN), 2, "no rule: refused, for there are allow rules")
        tap.same(code("alice", "localhost"), 2)

    yield "private targets are refused to others", guard
    yield "and allowed to this machine", local
    yield "unless a rule names them", by_name
    yield "allow and deny", rules


def relaying(w, servers):
    d = Daemon(w, "-v")
    payload = os.urandom(1 << 20)

    def through(way, script, early=b""):
        """A tunnel to a script; (visit, the peer behind it)."""
        server = hostile.Scripted(HOME, HERE, 0, script)
        visit = d.visit(way, (HERE, server.listener.getsockname()[1]), early=early)
        tap.holds(visit.ok, "reply")
        wait_until(lambda: server.peers, "the target is visited")
        return visit, server.peers[0]

    def client_first(way):
        """The client ends; the target still sends a megabyte."""
        def script(peer):
            peer.wait_for_end()
            peer.say(payload)
        visit, peer = through(way, script)
        visit.sock.sendall(b"request")
        visit.sock.shutdown(socket.SHUT_WR)
        tap.same(visit.rest() == payload, True, "what came after the half-close")
        tap.same(peer.heard, b"request")
        tap.same(d.session(visit)["end"], "closed")

    def target_first(way):
        done = threading.Event()

        def script(peer):
            peer.say(b"banner")
            peer.sock.shutdown(socket.SHUT_WR)
            peer.wait_for_end()
            done.set()
        visit, peer = through(way, script)
        tap.same(visit.rest(), b"banner")
        tap.holds(not done.is_set(), "the other direction is open")
        visit.sock.sendall(payload)
        visit.close()
        tap.holds(done.wait(5), "the end was passed on")
        tap.same(peer.heard == payload, True, "what was sent after the half-close")

    def reset_by_target(way, half):
        go = threading.Event()

        def script(peer):
            if half:
                peer.sock.shutdown(socket.SHUT_WR)
            peer.say(b"last words") if not half else None
            go.wait(5)
            peer.reset()
        visit, _ = through(way, script)
        tap.same(visit.read(10) if not half else visit.rest(), b"last words" if not half else b"")
        visit.sock.sendall(b"x")
        go.set()
        if half:
            wait_until(lambda: visit.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0, "a reset")
        else:
            tap.holds(visit.was_reset(), "the client gets a reset")
        tap.same(d.session(visit)["end"], "reset-by-target")

    def reset_by_client(way):
        seen = []

        def script(peer):
            try:
                peer.wait_for_end()
                seen.append("end")
            except ConnectionResetError:
                seen.append("reset")
        visit, _ = through(way, script)
        visit.sock.sendall(b"hello")
        time.sleep(0.05)
        reset(visit.sock)
        tap.same(wait_until(lambda: seen, "the target sees something"), ["reset"])
        tap.same(d.session(visit)["end"], "reset-by-client")

    def last_words():
        """A target that resets after much data to a slow client: the data arrives, then the reset."""
        def script(peer):
            peer.say(payload[:150000])
            peer.pause(0.2)
            peer.reset()
        visit, _ = through(SOCKS5, script)
        time.sleep(0.4)
        got = 0
        try:
            while data := visit.sock.recv(10000):
                got += len(data)
            tap.fail("an orderly end in place of a reset")
        except ConnectionResetError:
            pass
        tap.same(got, 150000, "bytes before the reset")

    def client_leaves():
        """A client that resets while its target is being dialled."""
        sock = dial(d.at, HOME)
        local = sock.getsockname()
        sock.sendall(b"".join(SOCKS5.messages((VANISH, 80))))
        time.sleep(0.1)
        reset(sock)
        client = f"{local[0]}:{local[1]}"
        line = wait_until(lambda: [s for s in d.lines("session") if s["client"] == client], "the line")[0]
        tap.same(line["end"], "client-gone")
        tap.same(daemon.sockets(HOME, d.workers()[0]), set(), "sockets left")

    def urgent():
        """Urgent data in the middle, all there before it is read, does not stop the stream."""
        go = threading.Event()

        def script(peer):
            go.wait(5)
            peer.say(b"a" * 1000)
            peer.sock.send(b"!", socket.MSG_OOB)
            peer.say(b"b" * 20000)
            peer.wait_for_end()
        visit, _ = through(SOCKS5, script)
        worker = d.workers()[0]
        os.kill(worker, signal.SIGSTOP)
        go.set()
        time.sleep(0.1)
        os.kill(worker, signal.SIGCONT)
        got = visit.read(21000)
        tap.holds(got.count(b"a") == 1000 and got.count(b"b") >= 19999, f"{len(got)} bytes")

    def both_sockets(way):
        """While a tunnel is open the worker has the two sockets that its line names, no other."""
        visit, _ = through(way, echo)
        greeted(visit)
        line = d.session(visit, "session-open")
        want = {(line["local"], line["client"]), (line["out"], line["peer"])}
        tap.same(daemon.sockets(HOME, d.workers()[0]), want, "ss and the log")
        visit.close()

    for way in WAYS[:1] + WAYS[2:]:
        yield f"{way.name}: the client ends first", lambda y=way: client_first(y)
        yield f"{way.name}: the target ends first", lambda y=way: target_first(y)
        yield f"{way.name}: reset by the target", lambda y=way: reset_by_target(y, False)
        yield f"{way.name}: reset by the target after its end", lambda y=way: reset_by_target(y, True)
        yield f"{way.name}: reset by the client", lambda y=way: reset_by_client(y)
        yield f"{way.name}: the log and ss agree", lambda y=way: both_sockets(y)
    yield "data before a reset arrives", last_words
    yield "a client that leaves early", client_leaves
    yield "urgent data", urgent


def logs(w, servers):
    def as_json():
        d = Daemon(w, "--log-format", "json", "-v", wait=False)
        port = int(wait_until(lambda: re.search(r"listening on mixed://127.0.0.1:(\d+)", d.log()), "it listens")[1])
        visit = d.visit(SOCKS4A, ("nosuch.test", 80), at=(HERE, port), login=('a"b\\\n\xff', ""))
        tap.same(visit.code, 91)
        lines = wait_until(lambda: [s for s in map(json.loads, d.log().splitlines()) if s["event"] == "session"], "the line")
        line = lines[0]
        tap.same([line["user"], line["target"], line["protocol"], line["end"], line["error"], line["up"]],
                 ['a"b\\\n\xc3\xbf', "nosuch.test:80", "SOCKS4a", "refused", "dns_error", 0])
        tap.holds(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]), "time")

    def escaped():
        d = Daemon(w)
        visit = d.visit(SOCKS4, (HERE, 1), login=('x end=closed "\\\nviaductd: session', ""))
        line = d.session(visit)
        tap.same(line["user"], '"x end=closed \\x22\\x5c\\x0aviaductd: session"')
        tap.same(line["end"], "refused")

    def stuck_reader():
        """A log pipe that nobody reads does not stop the worker."""
        out, into = os.pipe()
        path = w.file("stuck.conf", "")
        port = w.port()
        proc = w.popen(HOME, [w.viaductd, "-f", path, "-w", "1", "-l", f"127.0.0.1:{port}"], stderr=into)
        os.close(into)
        try:
            wait_until(lambda: netns.listening(HOME, port), "it listens")
            for _ in range(600):
                sock = dial((HERE, port), HOME)
                sock.sendall(b"\5\1\0\5\1\0\1\x7f\0\0\1\0\1")
                tap.same(sock.recv(100)[:2], b"\5\0")
                sock.close()
            text = b""
            while b"log lines lost" not in text:
                text += os.read(out, 65536)
                dial((HERE, port), HOME).close()
        finally:
            proc.terminate()
            proc.wait()
            os.close(out)

    yield "JSON lines", as_json
    yield "names from clients are escaped", escaped
    yield "a log that nobody reads", stuck_reader


def cases(w):
    lose_packets()
    servers = {}
    for host, ns, address in ((ORIGIN, "origin", ORIGIN), (ORIGIN6, "origin", ORIGIN6), (HERE, HOME, HERE)):
        servers[host] = hostile.Scripted(ns, address, w.port(), echo)
    both = hostile.Scripted("origin", ORIGIN, servers[ORIGIN6].port, echo)
    servers.update({"v6.origin.test": servers[ORIGIN6], "v4.origin.test": servers[ORIGIN], "origin.test": both,
                    "localhost": servers[HERE]})
    for part in (protocols, refusals, logins, access, relaying, logs):
        yield from part(w, servers)


if __name__ == "__main__":
    world.main(cases, ("ss", "ip", "perl"))
