#!/usr/bin/env python3
"""What runs inside the tunnel: ports 25, 80 and 1518, servers that speak first and clients that do,
bytes glued to the hop's reply; what a program learns of its peer; and viaductd's session log against
what the kernel says of the sockets."""

import json
import os
import re
import signal
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, netns, servers, tap, world
from lib.servers import WEB_PORTS, chain
from lib.world import APP, FAR, NEAR, ORIGIN, ORIGIN6, PYTHON, wait_until

NAME = "v4.origin.test"
SCHEMES = ("socks5h", "socks5", "socks4", "socks4a", "http")
MAIL = b"From: a@app.test\r\nTo: b@origin.test\r\nSubject: x\r\n\r\nhello\r\n"
LISTING = b"readme.txt\n"
FILE = bytes(range(256)) * 100

HOLD = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
print(*s.getsockname()[:2], *s.getpeername()[:2], flush=True)
s.sendall(b"held")
sys.stdin.read()
"""
PEER = """
import os, socket, subprocess, sys
def say(s):
    print(*s.getpeername()[:2], flush=True)
for how in ("blocking", "non-blocking"):
    s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
    if how == "non-blocking":
        import asyncio
        s.setblocking(False)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(loop.sock_connect(s, (sys.argv[1], 80)))
    else:
        s.connect((sys.argv[1], 80))
    say(s)
    say(s.dup())
    if os.fork() == 0:
        say(s)
        os._exit(0)
    os.wait()
    s.set_inheritable(True)
    child = f"import socket; s = socket.socket(fileno={s.fileno()}); print(*s.getpeername()[:2])"
    subprocess.run([sys.executable, "-c", child], pass_fds=[s.fileno()], check=True)
"""


class Ftp:
    """Passive FTP, as much as curl and wget need to fetch a file."""

    def __init__(self):
        self.control = hostile.Scripted("origin", ORIGIN, 21, self._converse)
        with netns.inside("origin"):
            self.data = socket.create_server((ORIGIN, 2121))

    def _answer(self, peer, verb, word):
        replies = {
            "USER": "331 password",
            "PASS": "230 in",
            "PWD": '257 "/"',
            "TYPE": "200 ok",
            "CWD": "250 ok",
            "SYST": "215 UNIX",
            "SIZE": f"213 {len(FILE)}",
            "EPSV": "229 ok (|||2121|)",
            "PASV": f"227 ok ({ORIGIN.replace('.', ',')},{2121 >> 8},{2121 & 255})",
        }
        if verb in ("RETR", "NLST", "LIST"):
            peer.say(b"150 here it comes\r\n")
            conn, _ = self.data.accept()
            with conn:
                conn.sendall(FILE if verb == "RETR" else LISTING.replace(b"\n", b"\r\n"))
            return "226 sent"
        return replies.get(verb, f"502 {verb} {word}")

    def _converse(self, peer):
        peer.say(b"220 this is FTP\r\n")
        while True:
            verb, _, word = peer.read_until(b"\r\n").decode().strip().partition(" ")
            if verb == "QUIT":
                peer.say(b"221 bye\r\n")
                return
            peer.say(self._answer(peer, verb.upper(), word).encode() + b"\r\n")


def smtp(peer):
    """Takes one mail; what was sent stays in peer.mail."""
    peer.say(b"220 origin.test ESMTP\r\n")
    while True:
        verb = peer.read_until(b"\r\n").decode().split()[0].upper()
        if verb == "DATA":
            peer.say(b"354 go on\r\n")
            peer.mail = peer.read_until(b"\r\n.\r\n")
        if verb == "QUIT":
            peer.say(b"221 bye\r\n")
            return
        peer.say(b"250 ok\r\n")


def whois(peer):
    query = peer.read_until(b"\r\n")
    peer.say(b"you asked for " + query)


def gluing(scheme, pieces=1):
    """A hop that waits for what the target says first and sends it together with its own reply."""

    def script(peer):
        if scheme.startswith("socks5"):
            peer.socks5_greeting()
            _, host, port = peer.socks5_request()
            reply = hostile.socks5_reply(0)
        elif scheme.startswith("socks4"):
            _, host, port, _ = peer.socks4_request()
            reply = hostile.socks4_reply(90)
        else:
            host, _, port = peer.http_request()[0].split()[1].rpartition(":")
            reply = b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n"
        with netns.inside("proxy"):
            there = socket.create_connection((ORIGIN if host == NAME else host, int(port)))
        first = there.recv(4096)
        whole = reply + first
        if pieces == 1:
            peer.say(whole)
        else:
            peer.drip(whole, 0.002)
        hostile.join(peer.sock, there)

    return script


def cases(w):
    web = servers.Nginx(w)
    sshd = servers.Sshd(w)
    ours, far = servers.viaductd(w, options=("-v",)), servers.viaductd(w)
    tiny = servers.tinyproxy(w)
    w.names.know(NAME, ORIGIN)  # for socks4 and socks5

    def via(options, argv, **how):
        got = w.via(["-q", *options], argv, **how)
        tap.same((got.code, got.err), (0, b""), "exit code and standard error")
        return got.out

    def ports():
        for scheme in SCHEMES:
            for port in WEB_PORTS:
                out = via(chain(ours.url(scheme, first=True)), ["curl", "-sS", f"http://{NAME}:{port}/"])
                tap.holds(out == web.page, f"{scheme}, port {port}")
        for port in WEB_PORTS:
            out = via(
                chain(ours.url(first=True), tiny.url()), ["curl", "-sS", f"http://{NAME}:{port}/whoami"]
            )
            tap.same(out.split()[2:], [ORIGIN.encode(), str(port).encode()], "where it arrived")

    # --- servers that speak first ---------------------------------------------------------

    def mail(scheme):
        letter = w.file("letter", MAIL.decode())
        with hostile.Scripted("origin", ORIGIN, 2525, smtp) as server:
            via(
                chain(ours.url(scheme, first=True)),
                [
                    "curl",
                    "-sS",
                    f"smtp://{NAME}:2525/app.test",
                    "--mail-from",
                    "a@app.test",
                    "--mail-rcpt",
                    "b@origin.test",
                    "-T",
                    letter,
                ],
            )
        tap.same(server.peers[0].mail, MAIL + b".\r\n", "the mail")

    def ftp(scheme):
        options = chain(ours.url(scheme, first=True))
        out = via(options, ["curl", "-sS", f"ftp://{NAME}/file"])
        tap.holds(out == FILE, f"EPSV: {len(out)} bytes")
        out = via(options, ["curl", "-sS", "--disable-epsv", f"ftp://{ORIGIN}/file"])
        tap.holds(out == FILE, f"PASV: {len(out)} bytes")
        tap.same(via(options, ["curl", "-sS", "-l", f"ftp://{NAME}/"]), LISTING, "a listing")

    def ssh(scheme):
        tap.same(
            via(chain(ours.url(scheme, first=True)), [*sshd.ssh(), sshd.there(NAME), "echo yes"]), b"yes\n"
        )

    def glued(scheme):
        """The greeting of sshd and of a mail server in the segment of the hop's reply, or byte by byte."""
        letter = w.file("letter", MAIL.decode())
        for pieces in (1, 2):
            with hostile.Scripted("proxy", NEAR, w.port(), gluing(scheme, pieces)) as hop:
                tap.same(via(chain(hop.url(scheme)), [*sshd.ssh(), sshd.there(NAME), "echo yes"]), b"yes\n")
            with hostile.Scripted("proxy", NEAR, w.port(), gluing(scheme, pieces)) as hop, hostile.Scripted(
                "origin", ORIGIN, 2525, smtp
            ) as server:
                via(
                    chain(hop.url(scheme)),
                    [
                        "curl",
                        "-sS",
                        f"smtp://{NAME}:2525/app.test",
                        "--mail-from",
                        "a@app.test",
                        "--mail-rcpt",
                        "b@origin.test",
                        "-T",
                        letter,
                    ],
                )
                tap.same(server.peers[0].mail, MAIL + b".\r\n", "the mail")

    def glued_behind_a_chain(scheme):
        with hostile.Scripted("proxy", FAR, w.port(), gluing(scheme)) as hop:
            options = chain(ours.url("http", first=True), far.url("socks5h"), hop.url(scheme))
            tap.same(via(options, [*sshd.ssh(), sshd.there(NAME), "echo yes"]), b"yes\n")

    # --- clients that speak first ---------------------------------------------------------

    def client_first(scheme):
        options = chain(ours.url(scheme, first=True))
        with hostile.Scripted("origin", ORIGIN, 43, whois):
            tap.same(
                via(options, ["whois", "-h", NAME, "example.test"]), b"you asked for example.test\n", "whois"
            )
        with hostile.Scripted("origin", ORIGIN, 70, whois):
            tap.same(
                via(options, ["curl", "-sS", f"gopher://{NAME}/1/menu"]), b"you asked for /menu\r\n", "gopher"
            )

    # --- what the program learns of its peer ----------------------------------------------

    def peers():
        for address in (ORIGIN, ORIGIN6):
            out = via(chain(ours.url(first=True), far.url("http")), [PYTHON, "-c", PEER, address])
            tap.same(out.decode().splitlines(), 8 * [f"{address} 80"])

    def peer_by_name():
        """The placeholder it was given, and the name behind it."""
        text = """
import socket
a = socket.create_connection(("origin.test", 80)).getpeername()
print(a[0], a[1], socket.getnameinfo(a, 0)[0])
"""
        address, port, name = via(chain(ours.url(first=True)), [PYTHON, "-c", text]).decode().split()
        tap.holds(
            address.startswith("198.1") and (port, name) == ("80", "origin.test"), f"{address} {port} {name}"
        )

    def options_kept():
        """The program's own socket, with what it had set on it."""
        text = """
import os, socket, sys
KEEPALIVE, NODELAY = (socket.SOL_SOCKET, socket.SO_KEEPALIVE), (socket.IPPROTO_TCP, socket.TCP_NODELAY)
s = socket.socket()
s.setsockopt(*KEEPALIVE, 1)
s.setsockopt(*NODELAY, 1)
s.bind(("10.1.0.2", 5678))
fd, before = s.fileno(), os.fstat(s.fileno()).st_ino
s.connect((sys.argv[1], 80))
print(s.fileno() == fd, before == os.fstat(fd).st_ino, s.getsockname(), s.getsockopt(*KEEPALIVE),
      s.getsockopt(*NODELAY), s.get_inheritable())
"""
        out = via(chain(ours.url(first=True)), [PYTHON, "-c", text, ORIGIN])
        tap.same(out.decode().strip(), "True True ('10.1.0.2', 5678) 1 1 False")

    # --- the session log and the kernel's view --------------------------------------------

    def sockets_of(host, pid=None):
        """{(local, peer)} of established TCP sockets, by ss; of one process, or of a parent's children."""
        got = w.run(host, ["ss", "-Htnp", "state", "established"])
        tap.same(got.code, 0, "ss")
        found = set()
        for line in got.out.decode().splitlines():
            fields = line.split()
            owners = {int(p) for p in re.findall(r"pid=(\d+)", line)}
            if pid is None or pid in owners or any(parent_of(p) == pid for p in owners):
                found.add(
                    (
                        fields[2].replace("[::ffff:", "").replace("]:", ":"),
                        fields[3].replace("[::ffff:", "").replace("]:", ":"),
                    )
                )
        return found

    def parent_of(pid):
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return int(file.read().rsplit(")", 1)[1].split()[1])

    def sessions(server, event):
        """The lines of an event as dicts."""
        found = []
        for line in server.log().splitlines():
            if line.startswith(f"viaductd: {event} "):
                found.append(dict(word.split("=", 1) for word in line.split()[2:]))
        return found

    def hold(scheme, target, port, options=()):
        return w.popen(
            "app",
            [
                w.viaduct,
                "-q",
                *(options or chain(ours.url(scheme, first=True))),
                "--",
                PYTHON,
                "-c",
                HOLD,
                target,
                str(port),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def log_and_ss(scheme):
        with hostile.Scripted("origin", ORIGIN, 7777, hostile.silent) as server:
            proc = hold(scheme, NAME, 7777)
            local, local_port, _, peer_port = proc.stdout.readline().split()
            wait_until(lambda: server.peers and server.peers[0].heard == b"held", "the origin hears it")
            mine, theirs = sockets_of("app", proc.pid), sockets_of("proxy", ours.server.pid)
            begun = [
                s for s in sessions(ours.server, "session-open") if s["client"] == f"{local}:{local_port}"
            ]
            proc.communicate()
            tap.same(proc.returncode, 0, "exit code")
            done = wait_until(
                lambda: [
                    s for s in sessions(ours.server, "session") if s["client"] == f"{local}:{local_port}"
                ],
                "the session's line",
            )
        first = f"{NEAR}:{ours.port}"
        tap.same(mine, {(f"{APP}:{local_port}", first)}, "the program's sockets")
        tap.same((local, peer_port), (APP, "7777"), "what the program was told")
        tap.same((len(begun), len(done)), (1, 1), "lines in the log")
        line = done[0]
        tap.same(
            (line["client"], line["local"], line["peer"]),
            (f"{APP}:{local_port}", first, f"{ORIGIN}:7777"),
            "the legs",
        )
        tap.same(
            theirs, {(line["local"], line["client"]), (line["out"], line["peer"])}, "the daemon's sockets"
        )
        tap.same(
            (begun[0]["out"], begun[0]["peer"]), (line["out"], line["peer"]), "the line at the beginning"
        )
        tap.same((line["up"], line["down"], line["end"], line["command"]), ("4", "0", "closed", "connect"))
        host = ORIGIN if scheme in ("socks4", "socks5") else NAME
        tap.same(line["target"], f"{host}:7777", "the target")
        tap.holds(line["protocol"].lower().startswith(scheme[:4]), f"protocol {line['protocol']}")

    def log_of_two():
        """In a chain each daemon has its two legs, and one's outgoing leg is the other's client."""
        with hostile.Scripted("origin", ORIGIN, 7778, hostile.silent):
            proc = hold("", NAME, 7778, chain(ours.url("socks5h", first=True), far.url("http")))
            local_port = proc.stdout.readline().split()[1]
            near_legs, far_legs = sockets_of("proxy", ours.server.pid), sockets_of("proxy", far.server.pid)
            proc.communicate()
        one = wait_until(
            lambda: [s for s in sessions(ours.server, "session") if s["client"] == f"{APP}:{local_port}"],
            "the first log",
        )[0]
        two = wait_until(
            lambda: [s for s in sessions(far.server, "session") if s["client"] == one["out"]],
            "the second log",
        )[0]
        tap.same((one["peer"], two["local"]), (f"{FAR}:{far.port}", f"{FAR}:{far.port}"))
        tap.same((two["peer"], two["target"]), (f"{ORIGIN}:7778", f"{NAME}:7778"))
        tap.same(
            near_legs, {(one["local"], one["client"]), (one["out"], one["peer"])}, "the first one's sockets"
        )
        tap.same(
            far_legs, {(two["local"], two["client"]), (two["out"], two["peer"])}, "the second one's sockets"
        )

    def log_as_json():
        hop = servers.viaductd(w, options=("--log-format", "json"))
        via(chain(hop.url(first=True)), ["curl", "-sS", f"http://{NAME}/"])
        lines = wait_until(
            lambda: [s for s in map(json.loads, hop.server.log().splitlines()) if s["event"] == "session"],
            "the session's line",
        )
        tap.same(
            (lines[0]["target"], lines[0]["peer"], lines[0]["end"]), (f"{NAME}:80", f"{ORIGIN}:80", "closed")
        )

    def log_of_refusals():
        w.via(["-q", *chain(ours.url("http", first=True))], ["curl", "-s", f"http://{NAME}:9/"])
        line = wait_until(
            lambda: [s for s in sessions(ours.server, "session") if s["target"] == f"{NAME}:9"],
            "the session's line",
        )[0]
        tap.same((line["end"], line["error"]), ("refused", "connection_refused"))

    def killed_program():
        """A program that dies takes its tunnel with it, on every leg."""
        with hostile.Scripted("origin", ORIGIN, 7779, hostile.silent) as server:
            proc = hold("", NAME, 7779, chain(ours.url("socks5h", first=True), far.url("http")))
            proc.stdout.readline()
            os.killpg(proc.pid, signal.SIGKILL)
            proc.wait()
            wait_until(
                lambda: not sockets_of("proxy", ours.server.pid) and not sockets_of("proxy", far.server.pid),
                "all legs are closed",
            )
            wait_until(lambda: server.playing == 0, "the origin saw the end")

    yield "ports 25, 80 and 1518", ports
    ftp_server = Ftp()
    for scheme in SCHEMES:
        yield f"{scheme}: mail", lambda s=scheme: mail(s)
        yield f"{scheme}: passive FTP", lambda s=scheme: ftp(s)
        yield f"{scheme}: ssh", lambda s=scheme: ssh(s)
        yield f"{scheme}: greetings glued to the reply, and byte by byte", lambda s=scheme: glued(s)
        yield f"{scheme}: the same behind two hops", lambda s=scheme: glued_behind_a_chain(s)
        yield f"{scheme}: whois and gopher", lambda s=scheme: client_first(s)
    ftp_server.control.stop()
    yield "getpeername tells the target, also in children", peers
    yield "getpeername tells a name's placeholder", peer_by_name
    yield "the socket is the program's own", options_kept
    for scheme in SCHEMES:
        yield f"session log and ss agree, {scheme}", lambda s=scheme: log_and_ss(s)
    yield "session logs of two hops", log_of_two
    yield "the log as JSON", log_as_json
    yield "a refusal in the log", log_of_refusals
    yield "a killed program leaves nothing", killed_program


if __name__ == "__main__":
    world.main(cases, ("curl", "ssh", "whois", "ss", PYTHON, "sshd", "nginx", "tinyproxy"))
