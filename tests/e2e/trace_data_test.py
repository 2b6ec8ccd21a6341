#!/usr/bin/env python3
"""--trace-data: what connections carry behind their handshakes, as text and as captures in which
Wireshark finds it; the limit of it; what happens where it cannot be written."""

import base64
import hashlib
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import servers, tap, tls, world
from lib.daemon import Daemon
from lib.hostile import Scripted
from lib.parts import copy_launcher
from lib.private import none_left
from lib.servers import PASSWORD, USER, chain
from lib.world import NEAR, ORIGIN, PYTHON

NAME = "v4.origin.test"
SECRETS = (PASSWORD, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode(), PASSWORD.encode().hex(" "))
BEGIN = re.compile(r"\d\d:\d\d:\d\d\.\d{6} (\S+)\[\d+\] #\d+ (.*)")
HOP = re.compile(r"hop (\d+) of (\d+) \((\S+)\) ([<>]) (\d+) bytes?: (.+)")
ROW = re.compile(r"    ([0-9a-f]{4,8})  ((?:[0-9a-f]{2} {1,2}){1,16}) *.*")
REQUEST = b"GET / HTTP/1.1\r\n"
# Many at once, none of which blocks.
MANY = f"""
import asyncio
async def one(i):
    reader, writer = await asyncio.open_connection("{NAME}", 80)
    writer.write(b"GET /whoami HTTP/1.0\\r\\n\\r\\n")
    data = await reader.read()
    writer.close()
    return b"200 OK" in data
async def main():
    print(sum(await asyncio.gather(*(one(i) for i in range(20)))))
asyncio.run(main())
"""


class Trace:
    """What was written as text: payload of each direction, handshakes of each hop, words."""

    def __init__(self, text):
        self.text, self.payload, self.titles, self.words, self.order = text, {">": b"", "<": b""}, {}, [], []
        way = None
        for line in text.splitlines()[1:]:
            begin = BEGIN.fullmatch(line)
            if not begin:
                row = ROW.fullmatch(line)
                tap.holds(row, f"no line of a trace: {line!r}")
                if way:
                    tap.same(int(row[1], 16), len(self.payload[way]), "offset")
                    self.payload[way] += bytes.fromhex(row[2])
                continue
            head = HOP.fullmatch(begin[2])
            way = head[4] if head and head[6] == "payload" else None
            if way:
                self.at = int(head[1]), int(head[2]), head[3]
            elif head:
                self.titles.setdefault(int(head[1]), []).append(re.sub(r" \(.*", "", f"{head[4]} {head[6]}"))
            else:
                self.words.append((begin[1], re.sub(r"^(fd \d+ )?- ", "", begin[2])))
            self.order.append(way or ("hop" if head else "words"))


def cases(w):
    nginx = servers.Nginx(w)
    big = os.urandom(6_000_000)
    nginx.put("big", big)
    ours, locked = servers.viaductd(w), servers.viaductd(w, login=True)
    path = f"{w.dir}/trace"
    ca = tls.Authority(w)
    cert, key = ca.sign(NEAR)
    secure = Daemon(w, "-u", f"{USER}:{PASSWORD}", "--allow", "to=*,0.0.0.0/0,::/0",
                    conf=f'listen s {{ url = "https://{NEAR}:0" cert = "{cert}" key = "{key}" }}\n', listens=1, ns="proxy")
    https = f"https://{USER}:{PASSWORD}@{NEAR}:{secure.port}?ca={ca.path}"
    unix = Daemon(w, *chain(ours.url(first=True)), listens=(f"unix:{w.dir}/hop",), ns="app", wait=False)
    world.wait_until(lambda: os.path.exists(f"{w.dir}/hop"), "the socket")

    def trace(options, argv=("curl", "-s", f"http://{NAME}/"), file=path, code=0, out=None):
        got = w.via([f"--trace={file}", *options], argv, timeout=60)
        tap.same((got.code, got.err), (code, b""), "exit code, standard error")
        if out is not None:
            tap.same(hashlib.sha256(got.out).hexdigest(), hashlib.sha256(out).hexdigest(), "what arrived")
        with open(file, "rb") as data:
            data = data.read()
        if "--trace-secrets" not in options:
            for secret in SECRETS:
                tap.holds(secret.encode() not in data, f"a secret: {secret}")
        return data

    def text(options, *more, **how):
        return Trace(trace(["--trace-data", *options], *more, **how).decode("ascii"))

    def tshark(file, *words, how=()):
        return subprocess.run(["tshark", "-n", "-r", file, *how, *words], capture_output=True, text=True,
                              check=True).stdout

    SOCKS = ["> version identifier/method selection message", "< METHOD selection message"]
    LOGIN = ["> Username/Password request", "< Username/Password response"]
    ASK = ["> SOCKS request", "< SOCKS reply"]
    HTTP = ["> HTTP request", "< HTTP response"]
    # fmt: off
    kinds = [
        ("SOCKS5", [locked.url(first=True)], {1: SOCKS + LOGIN + ASK}),
        ("SOCKS4a", [ours.url("socks4a", first=True)], {1: ["> SOCKS4 request", "< SOCKS4 reply"]}),
        ("HTTP", [locked.url("http", first=True)], {1: HTTP}),
        ("HTTP in TLS", [https], {1: HTTP}),
        ("a unix socket", [f"socks5h://unix:{w.dir}/hop"], {1: SOCKS + ASK}),
        ("two hops", [locked.url(first=True), ours.url("http")], {1: SOCKS + LOGIN + ASK, 2: HTTP}),
        ("IPv6", [ours.url(first=True, six=True), ours.url()], {1: SOCKS + ASK, 2: SOCKS + ASK}),
    ]
    # fmt: on

    def kind(urls, titles):
        def case():
            t = text(chain(*urls), out=nginx.page)
            tap.same(t.titles, titles, "handshakes")
            tap.holds(t.payload[">"].startswith(REQUEST) and t.payload[">"].endswith(b"\r\n\r\n"), t.payload[">"])
            tap.holds(t.payload["<"].startswith(b"HTTP/1.1 200") and t.payload["<"].endswith(nginx.page),
                      "the whole answer")
            tap.same(t.at[:2], (len(urls), len(urls)), "payload is the last hop's")
            tap.holds("hop" not in t.order[t.order.index(">"):], "handshakes come first")
        return case

    def programs_are_named():
        """By the address of its client, in which both programs agree."""
        t = text(chain(ours.url(first=True)))
        said = [re.sub(r".*for ", "", words) for who, words in t.words if "carried by a viaductd" in words]
        told = [words for who, words in t.words if who == "viaductd"]
        tap.same((len(said), len(told)), (1, 1), str(t.words))
        tap.same(told[0], f"{NAME}:80 for {said[0]}")
        tap.holds(any(who == "curl" and f"{NAME}:80 through 1 hop" in words for who, words in t.words), str(t.words))

    def to_stderr():
        """Without --trace, which says where to."""
        got = w.via(["--trace-data", *chain(locked.url(first=True))], ["curl", "-s", "-o", "/dev/null", f"http://{NAME}/"])
        t = Trace(got.err.decode("ascii"))
        tap.holds(t.payload["<"].endswith(nginx.page) and t.titles == {1: SOCKS + LOGIN + ASK}, t.text[:500])

    def secrets():
        data = trace(["--trace-data", "--trace-secrets", *chain(locked.url(first=True))])
        tap.holds(PASSWORD.encode().hex(" ").encode() in data, "the password is shown")
        data = trace(["--trace-secrets", *chain(https)])
        tap.holds(b"hop 1 of 1" in data and b"payload" not in data, "the head inside TLS, nothing behind it")

    def echoed_secrets():
        """A hop that tells what it was told, in the clear and as it came."""
        def script(peer):
            login = [line for line in peer.http_request() if line.startswith("Proxy-Authorization")][0]
            peer.say(f"HTTP/1.1 403 no\r\nX-{login}\r\nX-Password: {PASSWORD}\r\n\r\n".encode())
            peer.wait_for_end()

        with Scripted("proxy", NEAR, w.port(), script) as hop:
            for file in (path, f"{path}.pcap"):
                w.via([f"--trace={file}", "--trace-data", *chain(hop.url("http", f"{USER}:{PASSWORD}"))],
                      ["curl", "-s", f"http://{NAME}/"])
                with open(file, "rb") as told:
                    data = told.read()
                tap.holds(b"X-Password: ***" in data or b"2a 2a 2a" in data, "masked")
                for secret in SECRETS:
                    tap.holds(secret.encode() not in data, f"a secret: {secret}")

    def ciphers():
        """TLS of the command is shown as it passes."""
        t = text(chain(ours.url(first=True)), ["curl", "-s", "--cacert", nginx.ca, f"https://{NAME}/"], out=nginx.page)
        tap.same((t.payload[">"][:2], t.payload["<"][:2]), (b"\x16\x03", b"\x16\x03"), "records of a handshake")
        tap.holds(nginx.page[:32] not in t.payload["<"], "the page in clear")

    def limited():
        for size in (1, 100):
            t = Trace(trace([f"--trace-data={size}", *chain(ours.url(first=True))], out=nginx.page).decode("ascii"))
            want = b"HTTP/1.1 200 OK"[:size]
            tap.same((t.payload[">"], t.payload["<"][:15]), ((REQUEST + b"Host: " + NAME.encode())[:size] if size == 1 else
                                                            t.payload[">"], want))
            tap.same(len(t.payload["<"]), size)
            tap.holds(any("no more is shown of what the target sends" in words for _, words in t.words), str(t.words))

    def large():
        """What is beyond the limit goes its way all the same."""
        t = text(chain(ours.url(first=True)), ["curl", "-s", f"http://{NAME}/big"], out=big)
        tap.same(len(t.payload["<"]), 4096, "unless said")
        t = text(["--trace-data=2000000", *chain(ours.url(first=True))], ["curl", "-s", f"http://{NAME}/big"], out=big)
        tap.same(len(t.payload["<"]), 2000000)
        tap.holds(big.startswith(t.payload["<"].split(b"\r\n\r\n", 1)[1]), "the beginning of it")

    def many():
        w.via([f"--trace={path}", "--trace-data", *chain(ours.url(first=True))], [PYTHON, "-c", MANY], timeout=60)
        with open(path, encoding="ascii") as file:
            told = file.read()
        tap.same((len(re.findall(r"> \d+ bytes: payload", told)), len(re.findall(r"< \d+ bytes: payload", told)) >= 20),
                 (20, True))

    def datagrams():
        """Each hop's association is a conversation of its own, told beside the others."""
        w.via([f"--trace={path}", "--trace-data", *chain(locked.url(first=True), ours.url())], [PYTHON, "-c", f"""
import socket, time
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("{ORIGIN}", 9)); time.sleep(0.5)"""])
        with open(path, encoding="ascii") as file:
            told = file.read()
        tap.same((told.count("UDP ASSOCIATE"), told.count("> 3 bytes: version"), told.count("********  PASSWD")), (2, 1, 2))

    def refused():
        got = w.via([f"--trace={path}", "--trace-data", *chain(ours.url(first=True))], ["curl", "-s", f"http://{NAME}:9/"])
        with open(path, encoding="ascii") as file:
            t = Trace(file.read())
        tap.same(got.code, 7)
        tap.holds(any(who == "viaductd" and words.startswith("failed: hop 1 of 1") for who, words in t.words), str(t.words))

    # --- captures -------------------------------------------------------------------------

    def capture(ending, last):
        def case():
            file = f"{path}.{ending}"
            urls = [locked.url(first=True), ours.url(last)]
            trace(["--trace-data", *chain(*urls)], file=file, out=nginx.page)
            how = ("-d", f"tcp.port=={locked.port},socks",
                   "-d", f"tcp.port=={ours.port},{'http' if last == 'http' else 'socks'}")
            tap.same(tshark(file, "-Y", "_ws.malformed or tcp.analysis.flags or tcp.checksum.status==0 or "
                                        "ip.checksum.status==0", "-o", "tcp.check_checksum:TRUE", "-o",
                            "ip.check_checksum:TRUE", how=how), "", "malformed, out of order, wrong sums")
            told = tshark(file, "-Y", "http.request.method==GET or http.response.code==200", "-T", "fields", "-e",
                          "tcp.stream", "-e", "http.host", "-e", "http.content_length", how=how)
            if last != "http":  # Wireshark looks for no HTTP in a tunnel of HTTP
                tap.holds(f"1\t{NAME}\t" in told and f"1\t\t{len(nginx.page)}" in told, f"HTTP inside: {told!r}")
            raw = tshark(file, "-q", "-z", "follow,tcp,raw,1", how=how)
            tap.holds(nginx.page[:200].hex() in raw.replace("\n", "").replace("\t", ""), "the page, in the last hop's stream")
            ends = tshark(file, "-Y", "tcp.flags.fin==1", "-T", "fields", "-e", "tcp.stream").split()
            tap.same(sorted(ends), ["0", "0", "1", "1"], "both streams end, both ways")
        return case

    def capture_tls():
        for scheme, dissector in (("socks5h", "socks"), ("http", "http")):
            file = f"{path}.pcapng"
            trace(["--trace-data", *chain(ours.url(scheme, first=True))],
                  ["curl", "-s", "--cacert", nginx.ca, f"https://{NAME}/"], file=file, out=nginx.page)
            told = tshark(file, "-Y", "tls.handshake.type==1", "-T", "fields", "-e",
                          "tls.handshake.extensions_server_name", how=("-d", f"tcp.port=={ours.port},{dissector}"))
            tap.same(told.split(), [NAME], f"the ClientHello, for whom, in {scheme}")

    def capture_limited():
        """What is left out is a gap, so that nobody takes a part for the whole."""
        file = f"{path}.pcap"
        trace(["--trace-data=1000", *chain(ours.url(first=True))], file=file, out=nginx.page)
        tap.same(tshark(file, "-Y", "_ws.malformed or tcp.checksum.status==0", "-o", "tcp.check_checksum:TRUE"), "")
        gaps = tshark(file, "-Y", "tcp.analysis.lost_segment and tcp.flags.fin==1", "-T", "fields", "-e", "frame.number")
        tap.same(len(gaps.split()), 1, "a gap before the end of one direction")

    def capture_refused():
        file = f"{path}.pcapng"
        w.via([f"--trace={file}", "--trace-data", *chain(ours.url(first=True))], ["curl", "-s", f"http://{NAME}:9/"])
        why = tshark(file, "-Y", "tcp.flags.reset==1", "-T", "fields", "-e", "frame.comment")
        tap.holds("hop 1 of 1" in why and "refused" in why, why)

    # --- what goes wrong ------------------------------------------------------------------

    def no_daemon():
        place = f"{w.dir}/alone"
        copy_launcher(w.build, place)
        got = w.run("app", [f"{place}/launcher/viaduct", "--trace-data", *chain(ours.url(first=True)), "--", "touch",
                            f"{w.dir}/marker"])
        tap.same(got.code, 125)
        tap.holds(b"--trace-data: viaductd is missing" in got.err and got.err.count(b"\n") <= 2, got.err)
        tap.holds(not os.path.exists(f"{w.dir}/marker"), "nothing was started")

    def not_writable():
        for file in ("/no/such/folder/x", w.dir, "/dev/full.pcap"):
            got = w.via([f"--trace={file}", "--trace-data", *chain(ours.url(first=True))], ["true"])
            if file == "/dev/full.pcap":
                os.unlink(file)
                continue
            tap.same(got.code, 125)
            tap.holds(b"it cannot be written" in got.err and got.err.count(b"\n") == 1, got.err)
        got = w.via(["--trace=/dev/full", "--trace-data", *chain(ours.url(first=True))], ["true"])
        tap.same(got.code, 125)
        tap.holds(b"/dev/full: it cannot be written: No space left" in got.err, got.err)

    def disk_full():
        """It is told once, and the command does not notice."""
        full = f"{w.dir}/full"
        os.makedirs(full)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", full], check=True)
        for more in ([], ["--trace-format", "pcap"]):
            got = w.via([f"--trace={full}/trace", "--trace-data=100000", *more, *chain(ours.url(first=True))],
                        ["curl", "-s", f"http://{NAME}/big"])
            tap.same((got.code, got.out == big), (0, True), "the command")
            tap.holds(re.search(rb"viaductd: the trace ends here, since it cannot be written: No space left", got.err),
                      got.err)
            none_left()
        got = w.via([f"--trace={full}/trace", *chain(ours.url(first=True))],
                    ["sh", "-c", f"for i in 1 2 3 4 5 6; do curl -s -o /dev/null http://{NAME}/ || exit 1; done"])
        tap.same(got.code, 0)
        tap.holds(b"the trace has gaps, since it cannot be written: No space left" in got.err, got.err)
        subprocess.run(["umount", full], check=True)

    def wrong_words():
        for words, told in ((["--trace-data=0"], "`0` is no number of bytes; allowed: 1 to 1073741824"),
                            (["--trace-data=4k"], "`4k` is no number of bytes"),
                            (["--trace-data="], "`` is no number of bytes"),
                            (["--trace-data", "--trace-format", "pcap"], "a capture needs a file")):
            got = w.via([*words, *chain(ours.url(first=True))], ["true"])
            tap.same((got.code, got.out), (125, b""))
            tap.holds(told in got.err.decode() and got.err.count(b"\n") == 1, f"{got.err}")

    for name, urls, titles in kinds:
        yield name, kind(urls, titles)
    yield "the program that is traced", programs_are_named
    yield "to the standard error", to_stderr
    yield "--trace-secrets", secrets
    yield "a hop that sends the password back", echoed_secrets
    yield "TLS of the command", ciphers
    yield "the limit", limited
    yield "a large answer", large
    yield "many at once", many
    yield "UDP ASSOCIATE", datagrams
    yield "a target that refuses", refused
    yield "pcapng, SOCKS5", capture("pcapng", "socks5h")
    yield "pcapng, HTTP", capture("pcapng", "http")
    yield "classic pcap", capture("pcap", "socks5h")
    yield "a capture of TLS", capture_tls
    yield "a capture with a limit", capture_limited
    yield "a capture of a failure", capture_refused
    yield "nothing is left running", none_left
    yield "without viaductd", no_daemon
    yield "a file that cannot be written", not_writable
    yield "a full disk", disk_full
    yield "wrong words", wrong_words
    unix.stop()
    secure.stop()


if __name__ == "__main__":
    world.main(cases, ["curl", "nginx", "tshark"])
