#!/usr/bin/env python3
"""--trace: the bytes of the handshakes, against what the hop really got and said; captures that
Wireshark dissects; passwords that are nowhere."""

import base64
import os
import re
import stat
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, proxies, servers, tap, world
from lib.hostile import Scripted
from lib.servers import PASSWORD, USER, chain
from lib.world import APP, FAR, FAR6, NEAR, ORIGIN, ORIGIN6, PYTHON

NAME = "v4.origin.test"
PAIR = f"{USER}:{PASSWORD}"
SECRETS = (PASSWORD, base64.b64encode(PAIR.encode()).decode(), PASSWORD.encode().hex(" "))
HEAD = re.compile(r"viaduct: trace of the handshakes from \d{4}-\d\d-\d\d, times in UTC; .*")
WHO = r"\d\d:\d\d:\d\d\.\d{6} (?P<program>\S+)\[(?P<pid>\d+)\] #(?P<number>\d+) fd \d+ "
LINE = re.compile(WHO + r"- (?P<what>.*)")
MESSAGE = re.compile(WHO + r"(?P<way>[<>]) hop (?P<hop>\d+) of (?P<hops>\d+) \((?P<url>\S+)\) "
                           r"(?P<len>\d+) bytes?: (?P<title>.+)")
ROW = re.compile(r"    (?P<at>[0-9a-f]{4})  (?P<hex>(?:[0-9a-f]{2} ){1,8}) *(?P<rest>.*)")


class Message:
    def __init__(self, head):
        self.way, self.hop, self.url = head["way"], int(head["hop"]), head["url"]
        self.len, self.title, self.connection = int(head["len"]), head["title"], (head["pid"], head["number"])
        self.data, self.fields = b"", {}

    def take(self, row):
        tap.same(int(row["at"], 16), len(self.data), "offset")
        data = bytes.fromhex(row["hex"])
        words = row["rest"][max(len(data), 8) + 2:] if len(data) == 8 else row["rest"][len(data):]
        name, _, meaning = words.strip().partition(" ")
        if name:
            self.fields[name] = meaning.strip()
        self.data += data


class Trace:
    """What was written as text: every line of it is understood."""

    def __init__(self, text):
        lines = text.splitlines()
        tap.holds(HEAD.fullmatch(lines[0]), f"the head: {lines[0]}")
        self.messages, self.lines = [], []
        for line in lines[1:]:
            head, said, row = MESSAGE.fullmatch(line), LINE.fullmatch(line), ROW.fullmatch(line)
            if head:
                self.messages.append(Message(head))
            elif said:
                self.lines.append(said["what"])
            elif row and self.messages:
                self.messages[-1].take(row)
            else:
                tap.fail(f"no line of a trace: {line!r}")
        for message in self.messages:
            tap.same(len(message.data), message.len, f"bytes of {message.title}")

    def bytes(self, way, hop=1):
        return b"".join(m.data for m in self.messages if (m.way, m.hop) == (way, hop))

    def titles(self, hop=1):
        return [m.way + " " + re.sub(r" \(.*", "", m.title) for m in self.messages if m.hop == hop]

    def ends(self):
        return [line for line in self.lines if line.startswith(("complete", "failed"))]


SOCKS5 = ["> version identifier/method selection message", "< METHOD selection message"]
LOGIN = ["> Username/Password request", "< Username/Password response"]
REQUEST = ["> SOCKS request", "< SOCKS reply"]
SOCKS4 = ["> SOCKS4 request", "< SOCKS4 reply"]
HTTP = ["> HTTP request", "< HTTP response"]
CURL = ["curl", "-s", "-S", "-o", "/dev/null"]


def cases(w):
    servers.Nginx(w)
    sshd = servers.Sshd(w)
    hops = {
        "ours": servers.viaductd(w),
        "ours with login": servers.viaductd(w, login=True),
        "microsocks with login": servers.microsocks(w, login=True),
        "dante": servers.danted(w),
        "dante with login": servers.danted(w, login=True),
        "tinyproxy with login": servers.tinyproxy(w, login=True),
        "squid with login": proxies.squid(w, login=True),
        "ssh -D": servers.ssh_d(w, sshd),
    }
    path = f"{w.dir}/trace"

    def no_secret(data, where):
        data = data.encode() if isinstance(data, str) else data
        for secret in SECRETS:
            tap.holds(secret.encode() not in data, f"{where}: {secret!r} is in it")

    def trace(options, argv, code=0, more=(), **how):
        got = w.via([f"--trace={path}", *more, *options], argv, **how)
        tap.same(got.code, code, "exit code")
        with open(path, encoding="ascii") as file:
            text = file.read()
        if "--trace-secrets" not in more:
            no_secret(text, "the trace")
            no_secret(got.err, "the standard error")
        return Trace(text)

    def tshark(file, *words):
        how = [word for hop in hops.values() for word in
               ("-d", f"tcp.port=={hop.port},{'http' if hop.schemes[0] == 'http' else 'socks'}")]
        return subprocess.run(["tshark", "-n", "-r", file, *how, *words], capture_output=True, text=True,
                              check=True).stdout

    # --- real hops ------------------------------------------------------------------------

    def real(hop, scheme):
        def case():
            t = trace(chain(hop.url(scheme, first=True)), [*CURL, f"http://{NAME if 'h' in scheme or 'a' in scheme else ORIGIN}/"])
            login = LOGIN if hop.login else []
            expected = {"5": SOCKS5 + login + REQUEST, "4": SOCKS4, "h": HTTP}[scheme[5:6] or "h"]
            tap.same(t.titles(), expected)
            tap.same(len(t.ends()), 1)
            tap.holds(t.ends()[0].startswith("complete"), str(t.ends()))
        return case

    def fields():
        t = trace(chain(hops["ours with login"].url(first=True)), [*CURL, f"http://{NAME}/"])
        method, login, request = t.messages[0], t.messages[2], t.messages[4]
        tap.same(method.fields, {"VER": "SOCKS version 5", "NMETHODS": "2",
                                 "METHODS": "NO AUTHENTICATION REQUIRED, USERNAME/PASSWORD"})
        tap.same((login.fields["UNAME"], login.fields["PASSWD"]), (f'"{USER}"', '"********"'))
        tap.same((request.fields["CMD"], request.fields["DST.PORT"]), ("CONNECT", "80"))
        tap.holds(NAME in request.fields["DST.ADDR"], str(request.fields))
        tap.same(t.messages[5].fields["REP"], "succeeded")

    def mixed(first="ours with login", second="squid with login", third="dante"):
        return chain(hops[first].url(first=True), hops[second].url(), hops[third].url("socks5h"))

    def three_hops():
        t = trace(mixed(), [*CURL, f"http://{NAME}/"])
        tap.same((t.titles(1), t.titles(2), t.titles(3)), (SOCKS5 + LOGIN + REQUEST, HTTP, SOCKS5 + REQUEST))

    def with_secrets():
        t = trace(mixed(), [*CURL, f"http://{NAME}/"], more=["--trace-secrets"])
        tap.same(t.messages[2].fields["PASSWD"], f'"{PASSWORD}"')
        tap.holds(SECRETS[1].encode() in t.bytes(">", 2), "the login of hop 2")

    # --- to the byte ----------------------------------------------------------------------

    def to_the_byte():
        """What the trace tells is what the hop got and said, in pieces as well as whole."""
        said = []

        def script(peer):
            peer.socks5_greeting(2)
            peer.socks5_login()
            peer.socks5_request()
            said.append(peer.heard)
            for part in (b"\5\0", b"\0\3\4na", b"me", b"\1\2ok"):
                peer.say(part)
                peer.pause(0.03)
            peer.wait_for_end()

        with Scripted("proxy", NEAR, w.port(), script) as hop:
            t = trace(chain(hop.url("socks5h", "user:a:b%00%ff")), [PYTHON, "-c", f"""
import socket
s = socket.create_connection(("{NAME}", 7)); print(s.recv(2))"""], more=["--trace-secrets"])
            tap.same(t.bytes(">"), said[0], "what was said")
            tap.same(t.bytes("<"), b"\5\2\1\0\5\0\0\3\4name\1\2", "what was heard: nothing of the tunnel")

    def long_head():
        head = b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 90) for i in range(80)) + b"\r\n"

        def script(peer):
            peer.http_request()
            for at in range(0, len(head), 700):
                peer.say(head[at:at + 700])
                peer.pause(0.01)
            peer.say(b"ok")
            peer.wait_for_end()

        with Scripted("proxy", NEAR, w.port(), script) as hop:
            t = trace(chain(hop.url("http")), [PYTHON, "-c", f"""
import socket
s = socket.create_connection(("{NAME}", 7)); assert s.recv(2) == b"ok" """])
            tap.same(t.bytes("<"), head)

    def echoed_secrets():
        """A hop that tells what it was told, in the clear and as it came."""

        def script(peer):
            lines = peer.http_request()
            login = [line for line in lines if line.startswith("Proxy-Authorization")][0]
            peer.say(f"HTTP/1.1 403 no\r\nX-{login}\r\nX-Password: {PASSWORD}\r\n\r\n".encode())
            peer.wait_for_end()

        with Scripted("proxy", NEAR, w.port(), script) as hop:
            t = trace(chain(hop.url("http", PAIR)), [*CURL, f"http://{NAME}/"], 7)
            tap.holds(b"X-Password: *" in t.bytes("<"), f"{t.bytes('<')}")
            for kind in ("pcapng", "pcap"):
                got = w.via([f"--trace={path}.{kind}", *chain(hop.url("http", PAIR))], [*CURL, f"http://{NAME}/"])
                with open(f"{path}.{kind}", "rb") as file:
                    no_secret(file.read(), kind)
                no_secret(got.err, "the standard error")

    # --- what fails -----------------------------------------------------------------------

    def refused_login():
        t = trace(chain(hops["ours with login"].url(first=True, login=f"{USER}:wrong")), [*CURL, f"http://{NAME}/"], 7)
        tap.same(t.messages[-1].fields["STATUS"], "failure: the login is refused")
        tap.holds(re.fullmatch(r"failed: hop 1 of 1 .* refused the login .*", t.lines[-1]), t.lines[-1])

    def cut_short():
        with Scripted("proxy", NEAR, w.port(), hostile.talks((3, b"\5\0"), (18, b"\5\0\0\1\1"), then=lambda p: None)) as hop:
            t = trace(chain(hop.url("socks5h")), [*CURL, f"http://{NAME}:80/"], 7)
            tap.same(t.messages[-1].fields["BND.ADDR"], "cut short")
            tap.holds(t.lines[-1].startswith("failed: hop 1 of 1"), t.lines[-1])

    def no_proxy_at_all():
        with Scripted("proxy", NEAR, w.port(), hostile.says(b"SSH-2.0-x\r\n")) as hop:
            t = trace(chain(hop.url("socks5h")), [*CURL, f"http://{NAME}/"], 7)
            tap.same(t.messages[-1].fields, {"(bytes)": "no such message"})

    def dead_hop():
        t = trace(chain(f"socks5h://{NEAR}:9"), [*CURL, f"http://{NAME}/"], 7)
        tap.same((t.messages, t.lines[1]), ([], f"dials {NEAR}:9"))
        tap.holds("Connection refused" in t.lines[-1], t.lines[-1])

    # --- programs -------------------------------------------------------------------------

    def many_processes():
        script = f"for i in $(seq 30); do curl -s -o /dev/null http://{NAME}/ & done; wait"
        t = trace(mixed(), ["sh", "-c", script], timeout=60)
        tap.same(len(t.ends()), 30, "connections")
        tap.same(len({m.connection for m in t.messages}), 30)
        by = {}
        for m in t.messages:
            by.setdefault(m.connection, []).append(m.title)
        tap.same(len({tuple(sorted(titles)) for titles in by.values()}), 1, "different conversations")

    def non_blocking():
        t = trace(mixed(), [PYTHON, "-c", f"""
import asyncio
async def main():
    await asyncio.gather(*(asyncio.open_connection("{NAME}", 80) for _ in range(10)))
asyncio.run(main())"""])
        tap.same(len([line for line in t.ends() if line.startswith("complete")]), 10)
        tap.same(len({m.connection[1] for m in t.messages}), 10, "numbers")

    def datagrams():
        t = trace(chain(hops["ours"].url(first=True)), [PYTHON, "-c", f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
s.sendto(b"x", ("{ORIGIN}", 9)); import time; time.sleep(0.5)"""])
        tap.same([m.fields.get("CMD") for m in t.messages if m.title.startswith("SOCKS request")], ["UDP ASSOCIATE"])

    def changes_directory():
        got = w.via(["--trace=here", *chain(hops["ours"].url(first=True))],
                    ["sh", "-c", f"cd /; exec curl -s -o /dev/null http://{NAME}/"])
        with open(f"{w.dir}/here", encoding="ascii") as file:
            tap.same((got.code, Trace(file.read()).titles()), (0, SOCKS5 + REQUEST))

    def anew():
        os.chmod(path, 0o600)
        with open(path, "w", encoding="ascii") as file:
            file.write("old\n" * 10000)
        trace(chain(hops["ours"].url(first=True)), [*CURL, f"http://{NAME}/"])
        os.unlink(path)
        trace(chain(hops["ours"].url(first=True)), [*CURL, f"http://{NAME}/"])
        tap.same(stat.S_IMODE(os.stat(path).st_mode), 0o600, "mode")

    def to_stderr():
        got = w.via(["--trace", *chain(hops["ours"].url(first=True))], [*CURL, f"http://{NAME}/"])
        tap.same(Trace(got.err.decode()).titles(), SOCKS5 + REQUEST)
        got = w.via(["--trace", *chain(hops["ours"].url(first=True))],
                    ["sh", "-c", f"exec curl -s -o /dev/null http://{NAME}/ 2>{w.dir}/elsewhere"])
        tap.same((len(Trace(got.err.decode()).messages), os.path.getsize(f"{w.dir}/elsewhere")), (0, 0),
                 "what goes to a standard error that is the program's own")

    # --- captures -------------------------------------------------------------------------

    def capture(kind):
        def case():
            file = f"{path}.{kind}"
            got = w.via([f"--trace={file}", *mixed()], [*CURL, f"http://{NAME}/"])
            tap.same((got.code, got.err), (0, b""))
            with open(file, "rb") as data:
                no_secret(data.read(), kind)
            no_secret(tshark(file, "-V"), "what tshark tells")
            tap.same(tshark(file, "-Y", "_ws.malformed or tcp.analysis.flags or tcp.checksum.status==0 or "
                                        "ip.checksum.status==0", "-o", "tcp.check_checksum:TRUE", "-o",
                            "ip.check_checksum:TRUE"), "", "malformed, out of order, wrong sums")
            told = tshark(file, "-T", "fields", "-e", "socks.version", "-e", "socks.dstport", "-e",
                          "socks.remote_name", "-e", "socks.username", "-e", "http.request.method", "-e",
                          "http.response.code", "-e", "http.proxy_authorization")
            tap.holds(re.search(r"CONNECT", told) and re.search(r"\b200\b", told), told)
            masked = base64.b64encode(f"{USER}:********".encode()).decode()
            tap.holds(f"Basic {masked}" in told and USER in told and NAME in told, told)
            streams = set(tshark(file, "-T", "fields", "-e", "tcp.stream").split())
            tap.same(streams, {"0", "1", "2"}, "a stream for each hop")
            ports = set(tshark(file, "-Y", "tcp.flags.syn==1 and tcp.flags.ack==0", "-T", "fields", "-e",
                               "tcp.dstport").split())
            tap.same(ports, {str(hops[n].port) for n in ("ours with login", "squid with login", "dante")})
            if kind == "pcapng":
                comments = tshark(file, "-T", "fields", "-e", "frame.comment")
                tap.holds(f"hop 2 of 3: http://{USER}@{FAR}:" in comments, comments)
        return case

    def capture_on_1080():
        """Without being told, Wireshark knows SOCKS by its port; and HTTP by its looks."""
        hop = servers.viaductd(w, port=1080)
        w.via([f"--trace={path}", "--trace-format", "pcapng",
               *chain(hop.url("socks5h", first=True), hops["ours"].url("http"))], [*CURL, f"http://{NAME}/"])
        out = subprocess.run(["tshark", "-n", "-r", path, "-T", "fields", "-e", "_ws.col.Protocol"],
                             capture_output=True, text=True, check=True).stdout.split()
        tap.same((out.count("Socks"), out.count("HTTP")), (4, 2), "frames of SOCKS and of HTTP")

    def capture_of_failures():
        file = f"{path}.pcapng"
        w.via([f"--trace={file}", *chain(hops["ours with login"].url(first=True, login=f"{USER}:wrong"))],
              [*CURL, f"http://{NAME}/"])
        tap.holds("refused the login" in tshark(file, "-Y", "tcp.flags.reset==1", "-T", "fields", "-e",
                                                "frame.comment"), "why it broke off")

    def capture_by_six():
        file = f"{path}.pcapng"
        w.via([f"--trace={file}", *chain(hops["ours"].url(first=True), hops["ours"].url("http", six=True))],
              [*CURL, f"http://[{ORIGIN6}]/"])
        tap.same(tshark(file, "-Y", "_ws.malformed or tcp.analysis.flags or tcp.checksum.status==0", "-o",
                        "tcp.check_checksum:TRUE"), "")
        told = tshark(file, "-T", "fields", "-e", "ipv6.src", "-e", "ipv6.dst")
        tap.holds(f"::ffff:{APP}\t{FAR6}" in told, f"an IPv4 socket and an IPv6 hop: {told}")

    def capture_by_many():
        file = f"{path}.pcap"
        w.via([f"--trace={file}", *mixed()],
              ["sh", "-c", f"for i in $(seq 20); do curl -s -o /dev/null http://{NAME}/ & done; wait"], timeout=60)
        frames = tshark(file, "-Y", "tcp.len>0", "-T", "fields", "-e", "frame.number").split()
        tap.same(len(frames), 20 * (6 + 2 + 4), "messages")
        tap.same(tshark(file, "-Y", "_ws.malformed"), "")

    # --- wrong options --------------------------------------------------------------------

    def wrong_options():
        for words, told in (
            (["--trace-format", "pcapng", "--trace"], "a capture needs a file"),
            (["--trace-secrets"], "--trace is missing"),
            (["--trace="], "no file is named"),
            (["--trace=x", "--trace-format", "hex"], "unknown trace format `hex`; allowed: text, pcapng, pcap"),
            (["--trace=/no/such/folder/x"], "/no/such/folder/x: it cannot be written: No such file"),
            (["--trace=/" + "x" * 300], "too long"),
        ):
            got = w.via([*words, *chain(hops["ours"].url(first=True))], ["true"])
            tap.same((got.code, got.out), (125, b""))
            tap.holds(told in got.err.decode() and got.err.count(b"\n") == 1, f"{got.err}")

    def nothing_without():
        got = w.via(mixed(), [*CURL, f"http://{NAME}/"])
        tap.same((got.code, got.err), (0, b""))

    for name, hop in hops.items():
        for scheme in hop.schemes:
            yield f"{name}, {scheme}", real(hop, scheme)
    yield "the fields of SOCKS5", fields
    yield "three hops, mixed", three_hops
    yield "--trace-secrets", with_secrets
    yield "it is what the hop got and said, to the byte", to_the_byte
    yield "a head longer than any buffer", long_head
    yield "a hop that sends the password back", echoed_secrets
    yield "a login that is refused", refused_login
    yield "a reply cut short", cut_short
    yield "no proxy at all", no_proxy_at_all
    yield "a dead hop", dead_hop
    yield "many processes, one file", many_processes
    yield "non-blocking connections", non_blocking
    yield "UDP ASSOCIATE", datagrams
    yield "a program that changes its directory", changes_directory
    yield "the file is written anew, for this user only", anew
    yield "to the standard error, while it is that of the start", to_stderr
    yield "pcapng", capture("pcapng")
    yield "classic pcap", capture("pcap")
    yield "what Wireshark finds by itself", capture_on_1080
    yield "a capture of a failure", capture_of_failures
    yield "a capture, IPv6", capture_by_six
    yield "a capture by many processes", capture_by_many
    yield "wrong options", wrong_options
    yield "without --trace nothing is said", nothing_without


if __name__ == "__main__":
    world.main(cases, ["curl", "microsocks", "danted", "tinyproxy", "squid", "ssh", "nginx", "tshark"])
