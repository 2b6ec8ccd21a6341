#!/usr/bin/env python3
"""Real programs that speak UDP, through one, two and three hops: dig, node, socat, iperf3, openssl's
DTLS, a one-shot time query. Nothing but hop 1 is spoken to."""

import os
import socket
import struct
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import netns, servers, tap, world
from lib.datagrams import ECHO, Echo
from lib.servers import chain
from lib.world import NEAR, ORIGIN, ORIGIN6, PYTHON

NAME = "v4.origin.test"
NTP_TO_UNIX = 2208988800


class Clock(threading.Thread):
    """Answers as an NTP server of stratum 1 does, on port 123: the time is 1,000,000,000."""

    def __init__(self):
        super().__init__(daemon=True)
        with netns.inside("origin"):
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((ORIGIN, 123))
        self.start()

    def run(self):
        while True:
            query, whence = self.sock.recvfrom(512)
            now = struct.pack("!II", 1_000_000_000 + NTP_TO_UNIX, 0)
            self.sock.sendto(struct.pack("!BBbb12x", 0x24, 1, 4, -20) + now + query[40:48] + now + now, whence)


def cases(w):
    hops = [servers.viaductd(w) for _ in range(3)]
    chains = [chain(*[hop.url(first=i == 0) for i, hop in enumerate(hops[:count])]) for count in (1, 2, 3)]
    Echo("origin", ORIGIN), Echo("origin", ORIGIN6), Clock()
    config = w.file("dnsmasq.conf", "no-resolv\nno-hosts\nbind-interfaces\nuser=\n"
                                    f"listen-address={ORIGIN},{ORIGIN6}\nhost-record=far.test,192.0.2.7,2001:db8::7\n"
                                    "txt-record=big.test," + ",".join("x" * 200 for _ in range(5)) + "\n")
    w.serve("dnsmasq", "origin", ["dnsmasq", "-k", "-C", config, "--pid-file="], 53, proto="udp")

    def run(options, argv, code=0, **how):
        w.forget()
        got = w.via(options, argv, **how)
        tap.same(got.code, code, "exit code")
        tap.same({what[1] for what in w.link.take()}, {NEAR}, "on the link")
        tap.same(w.names.take(), [], "names asked")
        return got

    def dig(options):
        for server in (ORIGIN, ORIGIN6, NAME):
            words = ["dig", "+tries=1", "+time=5", "+short", f"@{server}"]
            tap.same(run(options, [*words, "far.test"]).out, b"192.0.2.7\n", server)
            tap.same(run(options, [*words, "far.test", "AAAA"]).out, b"2001:db8::7\n", server)
        tap.same(len(run(options, ["dig", "+tries=1", "+time=5", "+short", "+bufsize=4096", f"@{ORIGIN}", "big.test", "TXT"]).out.split()), 5)
        got = run(options, ["dig", "+tries=1", "+time=5", "+bufsize=1232", "+ignore", f"@{ORIGIN}", "far.test", "MX"])
        tap.holds(b";; SERVER: " + ORIGIN.encode() + b"#53" in got.out, f"whom dig saw: {got.out}")

    def dig_over_ipv4(options):
        for server in (ORIGIN, NAME):
            got = run(options, ["dig", "+tries=1", "+time=5", "+short", f"@{server}", "far.test"])
            tap.same(got.out, b"192.0.2.7\n", server)

    def node(options, second=ORIGIN6):
        text = """
const s = require('dgram').createSocket('udp4');
let left = 20;
s.on('message', (data, from) => {
    if (data.toString() !== 'hello ' + left) process.exit(2);
    if (--left) return s.send('hello ' + left, PORT, 'NAME');
    const c = require('dgram').createSocket('udp' + ('SECOND'.includes(':') ? 6 : 4));
    c.on('message', (data) => { console.log(from.port, c.remoteAddress().address, data.toString()); process.exit(0); });
    c.connect(PORT, 'SECOND', () => c.send('connected'));
});
s.bind(0, () => s.send('hello ' + left, PORT, 'NAME'));
setTimeout(() => process.exit(3), 9000);
"""
        text = text.replace("PORT", str(ECHO)).replace("SECOND", second).replace("NAME", NAME)
        tap.same(run(options, ["node", "-e", text]).out, f"{ECHO} {second} connected\n".encode())

    def socat(options):
        for kind in ("UDP", "UDP-DATAGRAM"):
            got = run(options, ["socat", "-t", "0.3", "-", f"{kind}:{ORIGIN}:{ECHO}"], stdin=b"through socat")
            tap.same(got.out, b"through socat", kind)

    def netcat(options):
        got = run(options, ["nc", "-u", "-w", "1", NAME, str(ECHO)], stdin=b"through nc")
        tap.same(got.out, b"through nc")

    def iperf(options):
        port = w.port()
        server = w.serve("iperf3", "origin", ["iperf3", "-s", "-1", "-p", str(port)], port)
        for more in ([], ["-R"]):
            got = run(options, ["iperf3", "-u", "-b", "8M", "-l", "1200", "-t", "1", "-J", "-p", str(port), "-c", ORIGIN, *more], timeout=30)
            text = got.out.decode()
            tap.holds('"lost_packets":\t0' in text, f"lost: {text[-1500:]}")
            server.stop()
            server = w.serve("iperf3", "origin", ["iperf3", "-s", "-1", "-p", str(port)], port)
        server.stop()

    def dtls(options):
        key, port = f"{w.dir}/dtls.pem", w.port()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=origin.test", "-keyout", key, "-out", key + ".crt"], check=True, capture_output=True)
        server = w.serve("openssl", "origin", ["sh", "-c", "sleep 60 | openssl s_server -dtls1_2"
                                               f" -accept {ORIGIN}:{port} -key {key} -cert {key}.crt"], port, proto="udp")
        run(options, ["sh", "-c", f"(echo through; sleep 0.5) | exec openssl s_client -dtls1_2 -connect {ORIGIN}:{port}"])
        tap.holds("\nthrough\n" in server.log(), f"the server's log: {server.log()}")
        server.stop()

    def clock(options):
        text = f"""
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect(("{NAME}", 123))
s.send(b"\\x23" + bytes(39) + b"cookie!!")
reply = s.recv(512)
assert reply[24:32] == b"cookie!!" and reply[1] == 1
print(struct.unpack("!I", reply[40:44])[0] - {NTP_TO_UNIX})
"""
        tap.same(run(options, [PYTHON, "-c", text]).out, b"1000000000\n")

    for count, options in enumerate(chains, 1):
        for name, case in (("dig @server", dig), ("node's dgram", node), ("socat", socat), ("nc -u", netcat), ("iperf3 -u", iperf),
                           ("DTLS", dtls), ("a time query", clock)):
            yield f"{name}, {count} hops", lambda o=options, c=case: c(o)

    dante = servers.danted(w)
    for name, options in (("dante", chain(dante.url(first=True))),
                          ("dante, viaductd", chain(dante.url(first=True), hops[0].url())),
                          ("viaductd, dante", chain(hops[0].url(first=True), dante.url()))):
        yield f"dig @server, {name}", lambda o=options: dig_over_ipv4(o)
        yield f"node's dgram, {name}", lambda o=options: node(o, ORIGIN)


if __name__ == "__main__":
    world.main(cases, ("danted", "dig", "dnsmasq", "iperf3", "nc", "node", "openssl", "socat", PYTHON))
