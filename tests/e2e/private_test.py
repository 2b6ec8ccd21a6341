#!/usr/bin/env python3
"""The viaductd that the launcher starts beside a command, for hops that a handshake on the command's
own socket cannot pass: what goes through it, what it is told and shown, how it lives and ends."""

import glob
import os
import re
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, netns, servers, tap, tls, world
from lib.dns import Dns
from lib.parts import copy_launcher
from lib.private import daemons, keepers, mothers, none_left, stat_of
from lib.servers import chain
from lib.world import FAR, NEAR, ORIGIN, ORIGIN6, PYTHON, wait_until

NAME = "v4.origin.test"
SERVER = "10.2.0.54"  # a name server that only those at the far end can reach
MANY = f"""
import asyncio
async def one(i):
    reader, writer = await asyncio.open_connection("{NAME}", 80)
    writer.write(b"GET /whoami HTTP/1.0\\r\\n\\r\\n")
    data = await reader.read()
    writer.close()
    return data.split(b"\\r\\n\\r\\n")[1].split()[2]
async def main():
    print(len([d for d in await asyncio.gather(*(one(i) for i in range(50))) if d == b"{ORIGIN}"]))
asyncio.run(main())
"""
FAMILY = """
import socket, sys
sock = socket.socket(getattr(socket, sys.argv[1]))
sock.connect((sys.argv[2], 80))
sock.sendall(b"GET /whoami HTTP/1.0\\r\\n\\r\\n")
print(sock.makefile("rb").read().split(b"\\r\\n\\r\\n")[1].decode())
"""


def read(path):
    with open(path, "rb") as file:
        return file.read()


class Kind:
    """A chain that needs a process: `urls` and other options, whom app then speaks to, and how its first
    `span` hops are shown."""

    def __init__(self, name, urls, spoken, shown, span=1, options=()):
        self.name, self.urls, self.spoken, self.shown, self.span = name, urls, spoken, shown, span
        self.options = [*chain(*urls), *options]
        number = f"hops 1 to {span}" if span > 1 else "hop 1"
        self.first = f"{number} of {len(urls)} ({shown})".encode()


class Secure:
    """Hops that speak TLS, on the proxy host, for alice, with certificates of each kind."""

    def __init__(self, w):
        self.ca = tls.Authority(w)
        names = (NEAR, FAR, "gw.test")
        other = tls.Authority(w, "another")
        self.ports = {}
        lines = []
        for kind, cert in (("good", self.ca.sign(*names)), ("expired", self.ca.expired(*names)),
                           ("wrong name", self.ca.sign("else.test")), ("untrusted", other.sign(*names))):
            port = self.ports[kind] = w.port()
            lines.append(f'listen l{port} {{ url = "https://0.0.0.0:{port}" cert = "{cert[0]}" key = "{cert[1]}" }}\n')
        conf = "".join(lines) + 'logins = {"alice:s3 c%t"}\nallow all { to = {"0.0.0.0/0", "::/0", "*"} }\n'
        w.serve("viaductd", "proxy", [w.viaductd, "-f", w.file("tls.conf", conf, 0o600)], self.ports["good"])

    def url(self, host, kind="good", more=""):
        return f"https://alice:s3%20c%25t@{host}:{self.ports[kind]}{more or '?ca=' + self.ca.path}"


def kinds_of(w):
    """On app itself a daemon on a unix socket, which goes on to a hop of the proxy host."""
    ours, plain = servers.viaductd(w), servers.microsocks(w)
    path = f"{w.dir}/hop.sock"
    conf = f'listen u {{ url = "unix:{path}" }}\nlogins = {{"alice:s3 c%t"}}\n'
    w.serve("viaductd", "app", [w.viaductd, "-f", w.file("unix.conf", conf, 0o600), "-l", f"unix:{path}",
                                "-l", "127.0.0.1:1999", "-x", ours.url(first=True)], 1999)
    unix = f"socks5h://alice:s3%20c%25t@unix:{path}"
    shown = f"socks5h://alice@unix:{path}"
    yield Kind("unix", [unix], [ours.at(first=True)], shown)
    yield Kind("unix, then a hop", [unix, plain.url()], [ours.at(first=True)], shown)
    six = ours.url(first=True, six=True)
    yield Kind("IPv6 only", [six], [ours.at(first=True, six=True)], six)
    secure = Secure(w)
    at = NEAR, secure.ports["good"]
    w.hosts("app", f"{NEAR} gw.test\n")
    https = Kind("https", [secure.url(NEAR)], [at], f"https://alice@{NEAR}:{at[1]}")
    https.ports = secure.ports
    yield https
    yield Kind("https by name, then a hop", [secure.url("gw.test"), plain.url()], [at], f"https://alice@gw.test:{at[1]}")
    front = ours.url(first=True)
    behind = f"{front}, https://alice@{FAR}:{at[1]}"
    yield Kind("a hop, then https", [front, secure.url(FAR)], [ours.at(first=True)], behind, 2)
    yield Kind("a hop, then https, then a hop", [front, secure.url(FAR), plain.url()], [ours.at(first=True)], behind, 2)
    yield Kind("other modes", [f"http://{NEAR}:9", secure.url(NEAR)], [at, (NEAR, 9)],
               f"http://{NEAR}:9, https://alice@{NEAR}:{at[1]}", 2, ("-m", "failover"))
    dns = w.file("dns.conf", f'dns = "chain"\nnameservers = {{"{SERVER}"}}\n')
    for scheme in ("socks5", "socks4", "http"):
        yield Kind(f"dns chain, {scheme}", [ours.url(scheme, first=True)], [ours.at(first=True)],
                   ours.url(scheme, first=True), 1, ("-f", dns))
    yield Kind("dns chain, two hops", [front, plain.url("socks5")], [ours.at(first=True)],
               f"{front}, {plain.url('socks5')}", 2, ("-f", dns))
    yield Kind("IPv6 only, then two hops", [six, plain.url(), ours.url("http")], [ours.at(first=True, six=True)], six)


def traffic(w, kind, web, sshd):
    options = ["-q", *kind.options]

    def curl():
        w.forget()
        got = w.via(options, ["curl", "-sS", f"http://{NAME}/"])
        tap.same((got.code, got.out), (0, web.page), "page")
        w.quiet(*kind.spoken)

    def ssh():
        w.forget()
        got = w.via(options, [*sshd.ssh(), sshd.there(NAME), "cat; exit 7"], stdin=b"through ssh")
        tap.same((got.code, got.out), (7, b"through ssh"), "ssh")
        w.quiet(*kind.spoken)

    def many():
        w.forget()
        got = w.via(options, [PYTHON, "-c", MANY])
        tap.same((got.code, got.out), (0, b"50\n"), "connections")
        w.quiet(*kind.spoken)

    def both_families():
        for family, target in (("AF_INET", ORIGIN), ("AF_INET6", ORIGIN6), ("AF_INET6", f"::ffff:{ORIGIN}")):
            got = w.via(options, [PYTHON, "-c", FAMILY, family, target])
            tap.holds(target.rsplit(":", 1)[-1].encode() in got.out, f"{family}: {got.out}")

    def refused():
        got = w.via(kind.options, ["curl", "-sS", f"http://{NAME}:9/"])
        tap.same(got.code, 7, "curl's status")
        tap.holds(re.search(rb"viaduct: curl\[\d+\]: v4\.origin\.test:9: hop \d of %d \(.*\) says that the target "
                            rb"refused the connection|SOCKS4 reply" % len(kind.urls), got.err), got.err)
        tap.holds(b"127.0.0.1:" not in got.err, "the private hop is named")

    def lines():
        got = w.via(["-vv", *kind.options], ["curl", "-sS", f"http://{NAME}/"])
        tap.holds(kind.first + b" is up after" in got.err, got.err)
        tap.holds(b"connected through " + kind.shown.encode() in got.err, got.err)
        tap.holds(b"127.0.0.1:" not in got.err, "the private hop is named")

    six = "socks4" not in kind.name
    for case in (curl, ssh, many, *([both_families] if six else []), *([] if "mode" in kind.name else [refused]), lines):
        yield f"{kind.name}: {case.__name__.replace('_', ' ')}", case
    yield f"{kind.name}: nothing is left", none_left


class Running:
    """A command under viaduct that stays until it is told to go on."""

    def __init__(self, w, options, script="import sys\nprint('up', flush=True)\nsys.stdin.read()\n", **how):
        self.w = w
        self.proc = w.popen("app", [w.viaduct, *options, "--", PYTHON, "-c", script], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)
        self.said = self.proc.stdout.readline()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.communicate()

    def ends(self):
        self.proc.stdin.close()
        code = self.proc.wait(20)
        self.proc.stdin = None
        return code


def life(w, kind):
    options = ["-q", *chain(*kind.urls)]

    def ends_with_the_command():
        none_left()
        with Running(w, options) as running:
            tap.same((len(keepers()), len(daemons())), (1, 2), "keepers, daemon and worker")
            tap.same(running.ends(), 0, "status")
            none_left()

    def ends_when_it_is_killed():
        with Running(w, options) as running:
            os.kill(running.proc.pid, signal.SIGKILL)
            running.proc.wait()
            none_left()

    def lives_as_long_as_any():
        script = ("import subprocess, sys\nsubprocess.Popen(['sh', '-c', 'sleep 2; exec sleep 2; :'], close_fds=True,\n"
                  "    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
                  "print('up', flush=True)\n")
        with Running(w, options, script) as running:
            running.proc.wait()
            began = time.monotonic()
            while time.monotonic() - began < 3.5:
                tap.same((len(keepers()), len(daemons())), (1, 2), "keepers, daemon and worker")
                time.sleep(0.2)
            none_left()

    def execs_go_on():
        script = f"sleep 2; exec sh -c 'sleep 2; exec curl -sS http://{NAME}/whoami'"
        got = w.via(options, ["sh", "-c", script])
        tap.holds(got.code == 0 and ORIGIN.encode() in got.out, got.out)
        none_left()

    def not_its_child():
        script = ("import os\nwhile True:\n    try:\n        print(os.waitpid(-1, os.WNOHANG))\n"
                  "    except ChildProcessError:\n        print('none')\n        break\n")
        got = w.via(options, [PYTHON, "-c", script])
        tap.same(got.out, b"none\n", "children of the command")

    def holds_nothing():
        """Neither a pipe of the command nor its terminal, directory or process group."""
        none_left()
        with Running(w, options) as running:
            pipes = {os.readlink(f"/proc/{running.proc.pid}/fd/{fd}") for fd in (0, 1, 2)}
            for pid in keepers() + daemons():
                held = {os.readlink(path) for path in glob.glob(f"/proc/{pid}/fd/*")}
                tap.same(held & pipes, set(), "descriptors of the command")
                tap.same(os.readlink(f"/proc/{pid}/cwd"), "/", "directory")
                tap.same(stat_of(pid)[3], stat_of(keepers()[0])[3], "session")
            tap.holds(stat_of(keepers()[0])[3] != stat_of(running.proc.pid)[3], "a session of its own")

    def keeps_no_pipe_open():
        began = time.monotonic()
        got = w.run("app", ["sh", "-c", f"{w.viaduct} {' '.join(options)} sh -c 'echo out; echo err >&2; exit 3' 2>&1"
                            " | cat; echo done"], timeout=30)
        tap.same(got.out, b"out\nerr\ndone\n", "output")
        got = w.via(options, ["sh", "-c", "cat; exit 3"], stdin=b"in")
        tap.same((got.code, got.out), (3, b"in"), "status and output")
        tap.holds(time.monotonic() - began < 20, "it hangs")

    def survives_the_terminals_signals():
        none_left()
        script = ("import signal, sys\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nsignal.signal(signal.SIGHUP, "
                  "signal.SIG_IGN)\nprint('up', flush=True)\nsys.stdin.read()\n")
        with Running(w, options, script) as running:
            os.killpg(running.proc.pid, signal.SIGINT)
            os.killpg(running.proc.pid, signal.SIGHUP)
            time.sleep(0.3)
            tap.same((len(keepers()), len(daemons())), (1, 2), "keepers, daemon and worker")

    def secrets():
        """Nowhere that others look: arguments and environments."""
        none_left()
        with Running(w, options) as running:
            for pid in [running.proc.pid, *keepers(), *daemons()]:
                shown = read(f"/proc/{pid}/cmdline") + read(f"/proc/{pid}/environ")
                tap.holds(not re.search(rb"s3( |%20)c", shown), shown)
            daemon = mothers()[0]
            tap.same(read(f"/proc/{daemon}/cmdline"), b"viaductd\0-q\0-f\0-\0", "arguments")
            told = {word.split(b"=")[0] for word in read(f"/proc/{daemon}/environ").split(b"\0")}
            tap.holds(told <= {b"", b"LISTEN_PID", b"LISTEN_FDS", b"NOTIFY_SOCKET", b"ASAN_OPTIONS",
                               b"UBSAN_OPTIONS", b"LSAN_OPTIONS"}, told)

    def wants_its_login():
        none_left()
        with Running(w, options):
            with netns.inside("app"):
                lines = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True).stdout
                ports = [int(p) for p in re.findall(r"127\.0\.0\.1:(\d+)", lines) if p != "1999"]
                tap.same(len(ports), 1, f"listeners: {lines}")
                for greeting, answer in ((b"\5\1\0", b"\5\xff"), (b"\5\1\2\1\7viaduct\3abc", b"\5\2\1\1"),
                                         (b"\4\1\0\x50\x0a\2\0\2\0", b"\0\x5b")):
                    with socket.create_connection(("127.0.0.1", ports[0]), 10) as sock:
                        sock.sendall(greeting)
                        sock.settimeout(10)
                        tap.same(sock.recv(len(answer), socket.MSG_WAITALL), answer, f"answer to {greeting}")

    def killed(who, times):
        script = ("import socket, sys\nprint('up', flush=True)\nsys.stdin.readline()\ntry:\n"
                  f"    socket.create_connection(('{ORIGIN}', 80), 10)\nexcept OSError as error:\n    print(error)\n")
        with Running(w, chain(*kind.urls), script) as running:
            w.forget()
            for left in reversed(range(times)):
                before = daemons()
                for pid in who():
                    os.kill(pid, signal.SIGKILL)
                wait_until(lambda n=left, b=before: len(daemons()) == 2 * (n > 0) and not set(b) & set(daemons()),
                           f"daemons left, {left} times more")
            out, err = running.proc.communicate(b"\n", 20)
        tap.holds(b"[Errno 101]" in out, out)
        tap.holds(b"hop 1 of %d (%s) cannot be reached: the viaductd that was started for it is gone; run the command again"
                  % (len(kind.urls), kind.shown.encode()) in err, err)
        tap.same(w.link.take(), {}, "packets on the link")
        none_left()

    def started_again():
        """A daemon that was killed, also by its maker's out-of-memory killer, is replaced; who connects meanwhile
        waits for it."""
        script = ("import sys, urllib.request\nprint('up', flush=True)\nfor line in sys.stdin:\n"
                  f"    print(urllib.request.urlopen('http://{NAME}/whoami', None, 20).read(), flush=True)\n")
        with Running(w, options, script) as running:
            for _ in range(3):
                w.forget()
                wait_until(lambda: len(daemons()) == 2 and mothers(), "a daemon and its worker")
                before = mothers()
                os.kill(before[0], signal.SIGKILL)
                running.proc.stdin.write(b"\n")
                running.proc.stdin.flush()
                tap.holds(ORIGIN.encode() in running.proc.stdout.readline(), "it is carried")
                tap.holds(mothers() != before and len(keepers()) == 1, "by another one")
                w.quiet(*kind.spoken)
            tap.same(running.ends(), 0, "status")
        none_left()

    def worker_killed():
        """It is replaced."""
        script = ("import sys, urllib.request\nprint('up', flush=True)\nsys.stdin.readline()\n"
                  f"print(urllib.request.urlopen('http://{NAME}/whoami', None, 20).read())\n")
        with Running(w, options, script) as running:
            above = mothers()
            os.kill(next(pid for pid in daemons() if pid not in above), signal.SIGKILL)
            out, _ = running.proc.communicate(b"\n", 30)
        tap.holds(ORIGIN.encode() in out, out)

    def at_once():
        """Launches at the same time: each has its own, and none is left."""
        commands = [w.popen("app", [w.viaduct, *options, "--", "curl", "-sS", f"http://{NAME}/whoami"],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(8)]
        for command in commands:
            out, _ = command.communicate(timeout=40)
            tap.holds(command.returncode == 0 and ORIGIN.encode() in out, out)
        none_left(30)

    def other_manners(name, more):
        """Of running the command."""
        none_left()
        got = w.via([*options[1:], *more], ["curl", "-sS", f"http://{NAME}/whoami"], timeout=40)
        tap.holds(got.code == 0 and ORIGIN.encode() in got.out, f"{name}: {got.code}: {got.err}")
        # a trace shows what is done, byte by byte
        tap.holds(name == "traced" or b"127.0.0.1:" not in got.err, f"the private hop is named: {got.err}")
        none_left()

    def not_without_need():
        none_left()
        with Running(w, ["-q", "-x", f"socks5h://{NEAR}:9"]):
            tap.same((keepers(), daemons()), ([], []), "processes")

    for case in (ends_with_the_command, ends_when_it_is_killed, lives_as_long_as_any, execs_go_on, not_its_child,
                 holds_nothing, keeps_no_pipe_open, survives_the_terminals_signals, secrets, wants_its_login,
                 worker_killed, started_again, at_once, not_without_need):
        yield case.__name__.replace("_", " "), case
    for name, more in (("audited", ["--audit"]), ("supervised", ["--engine", "supervise"]), ("strict", ["--strict"]),
                       ("traced", ["--trace"]), ("quiet", ["-q"]), ("logged", ["--log", f"{w.dir}/private.log"])):
        yield f"manner: {name}", lambda n=name, m=more: other_manners(n, m)
    yield "killed: the keeper", lambda: killed(keepers, 1)
    yield "killed: the daemon, more often than it is started again", lambda: killed(mothers, 4)


def failures(w, kind):
    def no_socket():
        got = w.via(["-x", f"socks5h://unix:{w.dir}/nobody.sock"], ["curl", "-sS", f"http://{NAME}/"])
        tap.same(got.code, 7, "curl's status")
        want = f"hop 1 of 1 (socks5h://unix:{w.dir}/nobody.sock) cannot be reached: No such file or directory"
        tap.holds(want.encode() in got.err, got.err)

    def wrong_login():
        got = w.via(["-x", kind.urls[0].replace("s3", "s4")], ["curl", "-sS", f"http://{NAME}/"])
        tap.holds(b"hop 1 of 1 (%s) refused the login (SOCKS5 login status 1)" % kind.shown.encode() in got.err, got.err)
        script = f"import socket\ntry: socket.create_connection(('{ORIGIN}', 80))\nexcept OSError as e: print(e.errno)"
        got = w.via(["-q", "-x", kind.urls[0].replace("s3", "s4")], [PYTHON, "-c", script])
        tap.same(got.out, b"13\n", "errno: EACCES")

    def second_hop_gone():
        got = w.via(chain(kind.urls[0], f"http://{FAR}:9"), ["curl", "-sS", f"http://{NAME}/"])
        want = f"hop 2 of 2 (http://{FAR}:9) cannot be reached: hop 1 says that the target refused the connection"
        tap.holds(want.encode() in got.err, got.err)

    def does_not_start():
        """What keeps it from starting keeps the command from starting."""
        place = f"{w.dir}/broken"
        copy_launcher(w.build, place)
        command = [f"{place}/launcher/viaduct", *chain(*kind.urls), "--", "touch", f"{w.dir}/marker"]
        got = w.run("app", command)
        tap.same(got.code, 125, "status without viaductd")
        tap.holds(b"viaduct: chain `default`: viaductd is missing" in got.err, got.err)
        os.mkdir(f"{place}/daemon")
        for script, want in (("echo 'viaductd: upset' >&2; exit 1", b"upset"),
                             ("exit 0", b"no word"), ("kill -9 $$", b"no word")):
            w.file("broken/daemon/viaductd", f"#!/bin/sh\n{script}\n", 0o755)
            before = set(glob.glob("/dev/shm/viaduct-*"))
            got = w.run("app", command)
            tap.same(got.code, 125, f"status: {script}")
            tap.holds(b"viaduct: chain `default`: its viaductd does not start: " in got.err, got.err)
            tap.holds(want == b"no word" or want in got.err, got.err)
            tap.same(set(glob.glob("/dev/shm/viaduct-*")) - before, set(), "sessions left")
        tap.holds(not os.path.exists(f"{w.dir}/marker"), "the command was started")
        none_left()

    def standalone():
        for url in (f"socks5h://unix:{w.dir}/hop.sock", "https://10.1.0.1:9"):
            got = w.run("app", ["curl", "-sS", f"http://{ORIGIN}/"], env={"LD_PRELOAD": w.library, "VIADUCT_PROXY": url})
            tap.same(got.code, 7, "curl's status")
            tap.holds(b"every connection is refused: VIADUCT_PROXY takes neither https nor unix hops" in got.err, got.err)

    def udp():
        script = ("import socket\ntry:\n    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                  f"    s.sendto(b'x', ('{ORIGIN}', 7))\nexcept OSError as e:\n    print(e.errno)\n")
        got = w.via(["-x", kind.urls[0]], [PYTHON, "-c", script])
        tap.same(got.out, b"13\n", "errno: EACCES")
        tap.holds(b"UDP is refused: hop 1 of 1 (%s) does not carry UDP: it is reached by a unix socket"
                  % kind.shown.encode() in got.err, got.err)

    def in_a_rule():
        """A chain that only a rule names has its own; the other chain goes without."""
        plain = servers.viaductd(w)
        conf = (f'chain default {{ hops = "{plain.url(first=True)}" }}\nchain u {{ hops = "{kind.urls[0]}" }}\n'
                'rule r { match = "v4.origin.test" chain = "u" }\n')
        options = ["-v", "-f", w.file("rule.conf", conf, 0o600)]
        got = w.via(options, ["curl", "-sS", f"http://{NAME}/whoami", "http://v6.origin.test/whoami"])
        tap.holds(b"connected through " + kind.shown.encode() in got.err, got.err)
        tap.holds(b"connected through " + plain.url(first=True).encode() in got.err, got.err)
        tap.same(got.code, 0, "curl's status")

    for case in (no_socket, wrong_login, second_hop_gone, does_not_start, standalone, udp, in_a_rule):
        yield case.__name__.replace("_", " "), case


class Overheard:
    """What app sends to (address, port), byte by byte."""

    def __init__(self, at):
        self.at = socket.inet_aton(at[0]), at[1]
        with netns.inside("app"):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        self.sock.bind(("app0", 3))  # of all protocols: only so it hears what is sent
        self.sock.setblocking(False)

    def payloads(self):
        found = []
        while True:
            try:
                packet = self.sock.recv(65536)
            except BlockingIOError:
                return found
            start = (packet[0] & 15) * 4
            if packet[0] >> 4 == 4 and packet[9] == 6 and packet[16:20] == self.at[0] and packet[start + 2 : start + 4] == self.at[1].to_bytes(2, "big"):
                payload = packet[start + (packet[start + 12] >> 4) * 4 : int.from_bytes(packet[2:4], "big")]
                if payload:
                    found.append(payload)


def of_tls(w, kind, web):
    """A hop that speaks TLS: what is seen of it, and what it may have wrong."""
    url = kind.urls[0]
    port = url.split(":")[-1].split("?")[0]

    def told(options, want, code=7):
        got = w.via(options, ["curl", "-sS", f"http://{NAME}/"])
        tap.same(got.code, code, "curl's status")
        tap.holds(want.encode() in got.err, got.err)

    def nothing_in_the_open():
        link = Overheard(kind.spoken[0])
        got = w.via(["-q", *kind.options], ["curl", "-sS", f"http://{NAME}/"])
        tap.same(got.out, web.page, "page")
        seen = link.payloads()
        tap.holds(seen and seen[0][:1] == b"\x16", f"no ClientHello: {seen[:1]}")
        for word in (b"CONNECT", b"alice", b"origin", b"GET", b"Basic"):
            tap.holds(word not in b"".join(seen), f"{word} in the open")

    def unknown_authority():
        told(["-x", url.split("?")[0]], f"hop 1 of 1 (https://alice@{NEAR}:{port}) has a certificate that cannot be trusted: ")

    def verified_by_nobody():
        got = w.via(["-q", "-x", url.split("?")[0] + "?verify=no"], ["curl", "-sS", f"http://{NAME}/"])
        tap.same(got.out, web.page, "page")

    def environment_names_the_authority():
        got = w.via(["-q", "-x", url.split("?")[0]], ["curl", "-sS", f"http://{NAME}/"],
                    env={"SSL_CERT_FILE": url.split("ca=")[1]})
        tap.same(got.out, web.page, "page")

    def relative_file():
        path = url.split("ca=")[1]
        got = w.via(["-q", "-x", url.split("?")[0] + "?ca=" + os.path.basename(path)], ["curl", "-sS", f"http://{NAME}/"],
                    cwd=os.path.dirname(path))
        tap.same(got.out, web.page, "page")

    def no_such_file():
        got = w.via(["-x", url.split("?")[0] + "?ca=/nowhere.pem"], ["true"])
        tap.same(got.code, 125, "status")
        tap.holds(b"its viaductd does not start: " in got.err and b"/nowhere.pem" in got.err, got.err)

    def wrong_login():
        told(["-x", url.replace("s3", "s4")], f"hop 1 of 1 (https://alice@{NEAR}:{port}) refused the login (HTTP 407)")

    def not_tls():
        with hostile.Scripted("proxy", NEAR, w.port(), lambda peer: peer.say(b"220 hello\r\n")) as server:
            told(["-x", f"https://{NEAR}:{server.port}?verify=no"], f"hop 1 of 1 (https://{NEAR}:{server.port}) ")

    def not_there():
        told(["-x", f"https://{NEAR}:9"], f"hop 1 of 1 (https://{NEAR}:9) cannot be reached: Connection refused")

    def no_udp():
        script = ("import socket\ntry:\n    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                  f"    s.sendto(b'x', ('{ORIGIN}', 7))\nexcept OSError as e:\n    print(e.errno)\n")
        got = w.via(kind.options, [PYTHON, "-c", script])
        tap.same(got.out, b"13\n", "errno: EACCES")
        tap.holds(b"UDP is refused: " + kind.first + b" does not carry UDP: only SOCKS5 does" in got.err, got.err)

    for case in (nothing_in_the_open, unknown_authority, verified_by_nobody, environment_names_the_authority,
                 relative_file, no_such_file, wrong_login, not_tls, not_there, no_udp):
        yield f"TLS: {case.__name__.replace('_', ' ')}", case
    for bad, why in (("expired", "certificate has expired"), ("wrong name", "IP address mismatch"),
                     ("untrusted", "unable to get local issuer certificate")):
        other = url.replace(f":{port}", f":{kind.ports[bad]}")
        yield f"TLS: {bad}", lambda o=other, y=why: told(["-x", o], f"has a certificate that cannot be trusted: {y}")


def of_names(w, kind, far):
    """With names asked for through the chain."""

    def known_there_only():
        w.forget()
        far.take()
        got = w.via(["-q", *kind.options], ["curl", "-sS", "http://only.here.test/whoami"])
        tap.holds(got.code == 0 and ORIGIN.encode() in got.out, got.out)
        tap.same({(name, proto) for name, _, proto in far.take()}, {("only.here.test", "tcp")}, "asked at the far end")
        tap.same(w.far_names.take(), [], "asked by the hop")
        w.quiet(*kind.spoken)

    def unknown():
        got = w.via(kind.options, ["curl", "-sS", "http://nowhere.test/"])
        tap.holds(got.code in (6, 7), f"curl's status: {got.code}")
        tap.holds(b"nowhere.test:80: " + kind.first + b" says that the target's name is unknown" in got.err, got.err)

    def server_gone():
        conf = w.file("gone.conf", f'dns = "chain"\nnameservers = {{"{ORIGIN}:9"}}\n')
        w.forget()
        got = w.via(["-f", conf, *chain(*kind.urls)], ["curl", "-sS", f"http://{NAME}/"])
        tap.same(got.code, 7, "curl's status")
        tap.holds(kind.first in got.err, got.err)
        w.quiet(*kind.spoken)

    def of_this_machine():
        """resolv.conf's server is this machine's: the far end would look for it at home."""
        path = w.file("resolv.local", "nameserver 127.0.0.53\n")
        got = w.run("app", ["sh", "-c", f"mount --bind {path} /etc/resolv.conf && exec \"$@\"", "-", w.viaduct, "-d", "chain",
                            *chain(*kind.urls), "--", "true"])
        tap.same(got.code, 125, "status")
        tap.holds(b"its viaductd does not start: dns = \"chain\": /etc/resolv.conf names no server" in got.err, got.err)

    def by_resolv_conf():
        """app's own server, which the hop happens to reach, too."""
        w.names.know("at.home.test", ORIGIN)
        w.forget()
        got = w.via(["-q", "-d", "chain", *chain(*kind.urls)], ["curl", "-sS", "http://at.home.test/whoami"])
        tap.holds(got.code == 0 and ORIGIN.encode() in got.out, got.out)
        tap.same({(name, proto) for name, _, proto in w.names.take()}, {("at.home.test", "tcp")}, "asked")
        w.quiet(*kind.spoken)

    for case in (known_there_only, unknown, server_gone, of_this_machine, by_resolv_conf):
        yield f"names: {case.__name__.replace('_', ' ')}", case


def cases(w):
    web, sshd = servers.Nginx(w), servers.Sshd(w)
    subprocess.run(["ip", "-n", "origin", "addr", "add", f"{SERVER}/24", "dev", "org0"], check=True)
    far = Dns("origin", SERVER)
    far.know(NAME, ORIGIN)
    far.know("only.here.test", ORIGIN)
    kinds = list(kinds_of(w))
    for kind in kinds:
        yield from traffic(w, kind, web, sshd)
    yield from life(w, kinds[0])
    yield from failures(w, kinds[0])
    yield from of_tls(w, next(kind for kind in kinds if kind.name == "https"), web)
    yield from of_names(w, next(kind for kind in kinds if kind.name == "dns chain, socks5"), far)



if __name__ == "__main__":
    world.main(cases, ["curl", "ssh"])
