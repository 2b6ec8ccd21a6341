#!/usr/bin/env python3
"""What is not to be carried is refused at once, with an errno and a line, and nothing leaves: UDP
where the option says so, raw and packet sockets, other transports, multicast. What is bypassed
works. TCP in one call (MSG_FASTOPEN) is carried."""

import errno
import os
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import netns, servers, tap, world
from lib.servers import chain
from lib.world import APP, APP6, NEAR, NEAR6, ORIGIN, ORIGIN6, PYTHON

# Runs a script that has s4, s6 (UDP sockets) and shows what each call gives: show(call).
HEAD = """
import errno, os, socket, sys
s4 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
for s in (s4, s6):
    s.settimeout(3)
def show(call):
    try:
        print(call())
    except OSError as error:
        print(errno.errorcode.get(error.errno, error))
"""
UDP_LINE = "UDP is refused: the chain does not carry it"


class Echo:
    """Sends every datagram back, with a mark."""

    def __init__(self, host, address, port):
        with netns.inside(host):
            self.sock = socket.socket(
                socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM
            )
        self.sock.bind((address, port))
        self.at = address, port
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            data, whence = self.sock.recvfrom(2048)
            self.sock.sendto(b"echo " + data, whence)


def cases(w):
    web = servers.Nginx(w)
    micro = servers.microsocks(w)
    four, six = Echo("proxy", NEAR, 999), Echo("proxy", NEAR6, 999)
    options = [*chain(micro.url(first=True)), "--udp", "deny"]

    def script(text, more=()):
        """(what was printed, line by line; what viaduct said, without its beginning)"""
        w.forget()
        got = w.via([*options, *more], [PYTHON, "-c", HEAD + text])
        tap.same(got.code, 0, "exit code")
        said = [line.split("]: ", 1)[1] for line in got.err.decode().splitlines() if "]: " in line]
        return got.out.decode().splitlines(), said

    def sendto():
        out, said = script(
            f"show(lambda: s4.sendto(b'x', ('{ORIGIN}', 53)))\nshow(lambda: s6.sendto(b'x', ('{ORIGIN6}', 54)))"
        )
        tap.same(out, ["EACCES", "EACCES"])
        tap.same(said, [f"{ORIGIN}:53: {UDP_LINE}", f"[{ORIGIN6}]:54: {UDP_LINE}"])
        w.quiet()

    def sendmsg():
        out, said = script(
            f"show(lambda: s4.sendmsg([b'a', b'b'], [], 0, ('{ORIGIN}', 53)))\n"
            f"show(lambda: s6.sendmsg([b'a', b'b'], [], 0, ('::ffff:{ORIGIN}', 53)))"
        )
        tap.same(out, ["EACCES", "EACCES"])
        tap.same(said[0], f"{ORIGIN}:53: {UDP_LINE}")
        w.quiet()

    def by_name():
        out, said = script("show(lambda: s4.sendto(b'x', ('origin.test', 123)))")
        tap.same((out, said), (["EACCES"], [f"origin.test:123: {UDP_LINE}"]))
        w.quiet()

    def connected():
        """connect() tells the source address, as programs want it to; sending is refused."""
        out, said = script(
            f"""
show(lambda: s4.connect(('{ORIGIN}', 53)))
show(lambda: s4.getsockname()[0])
show(lambda: s4.getpeername())
show(lambda: s4.send(b'x'))
show(lambda: os.write(s4.fileno(), b'x'))
show(lambda: s6.connect(('{ORIGIN6}', 53)))
show(lambda: s6.getsockname()[0])
show(lambda: s6.send(b'x'))
"""
        )
        tap.same(out, ["None", APP, str((ORIGIN, 53)), "EACCES", "EACCES", "None", APP6, "EACCES"])
        tap.holds(said and all(UDP_LINE in line for line in said), f"said: {said}")
        w.quiet()

    def connected_for_libc():
        """Nor has it in another program, and even what libc writes by itself stays here: the socket is
        connected to its own address."""
        out, _ = script(
            f"s4.connect(('{ORIGIN}', 53))\nimport ctypes, subprocess\n"
            "show(lambda: ctypes.CDLL(None).dprintf(s4.fileno(), b'%s', b'from inside'))\n"
            "show(lambda: subprocess.run(['sh', '-c', 'echo x >&0'], stdin=s4.fileno()).returncode)"
        )
        tap.same(out, ["11", "1"])
        w.quiet()

    def bound_source():
        out, _ = script(
            f"s4.bind(('{APP}', 5555))\nshow(lambda: s4.connect(('{ORIGIN}', 53)))\nshow(s4.getsockname)"
        )
        tap.same(out, ["None", str((APP, 5555))])
        w.quiet()

    def own_resolver():
        """Loopback is bypassed, but a resolver there would pass the names on."""
        asks = ("show(lambda: s4.sendto(b'x', ('127.0.0.53', 53)))\n"
                "show(lambda: socket.create_connection(('127.0.0.53', 53)))\n")
        out, said = script(asks)
        tap.same(out, ["EACCES", "EACCES"])
        tap.same(said, ["127.0.0.53:53: a name server of this machine is not asked: the proxy resolves names"] * 2)
        out, _ = script(asks, ["-d", "local"])
        tap.same(out, ["1", "ECONNREFUSED"])

    def bypassed():
        for rule in (f"{NEAR}:999", "10.1.0.0/24"):
            out, said = script(
                f"show(lambda: s4.sendto(b'x', ('{NEAR}', 999)))\nshow(lambda: s4.recvfrom(99))\n"
                f"show(lambda: s4.connect(('{NEAR}', 999)))\nshow(lambda: s4.send(b'y'))\nshow(lambda: s4.recv(99))",
                ["-b", rule],
            )
            tap.same(out, ["1", str((b"echo x", (NEAR, 999))), "None", "1", str(b"echo y")])
            tap.same(said, [])
            tap.same(set(w.link.take()), {("udp", *four.at)}, "on the link")
        out, _ = script(
            f"show(lambda: s6.sendto(b'x', ('{NEAR6}', 999)))\nshow(lambda: s6.recv(99))", ["-b", NEAR6]
        )
        tap.same(out, ["1", str(b"echo x")])
        tap.same(set(w.link.take()), {("udp", *six.at)}, "on the link")
        out, _ = script(f"show(lambda: s4.sendto(b'x', ('{NEAR}', 998)))", ["-b", f"{NEAR}:999"])
        tap.same(out, ["EACCES"], "another port")
        w.quiet()

    def direct():
        """Past the chain, but for what is known by a placeholder only, and for name servers."""
        out, said = script(
            f"show(lambda: s4.sendto(b'x', ('{NEAR}', 999)))\nshow(lambda: s4.recvfrom(99))\n"
            f"show(lambda: s4.connect(('{NEAR}', 999)))\nshow(lambda: s4.send(b'y'))\nshow(lambda: s4.recv(99))\n"
            "show(lambda: s6.sendto(b'x', ('::ffff:' + socket.gethostbyname('origin.test'), 7)))\n"
            "show(lambda: s6.sendto(b'no query', ('::ffff:10.1.0.53', 53)))",
            ["--udp", "direct"],
        )
        tap.same(out, ["1", str((b"echo x", (NEAR, 999))), "None", "1", str(b"echo y"), "EACCES", "8"])
        tap.same(said, [f"origin.test:7: {UDP_LINE}"])
        tap.same(set(w.link.take()), {("udp", *four.at)}, "on the link")

    def loopback():
        out, said = script(
            """
t = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
t.bind(("127.0.0.1", 0))
show(lambda: s4.sendto(b"here", t.getsockname()))
show(lambda: t.recv(99))
"""
        )
        tap.same((out, said), (["4", str(b"here")], []))

    def multicast():
        for address in ("224.0.0.251", "255.255.255.255", "239.1.2.3"):
            out, said = script(
                "s4.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)\n"
                f"show(lambda: s4.sendto(b'x', ('{address}', 5353)))"
            )
            tap.holds(out[0] in ("EACCES", "ENETUNREACH"), f"{address}: {out}")
            tap.holds(said and said[0].startswith(f"{address}:5353: "), f"said: {said}")
            w.quiet()
        out, _ = script("show(lambda: s6.sendto(b'x', ('ff02::fb', 5353, 0, socket.if_nametoindex('app0'))))")
        tap.holds(out[0] in ("EACCES", "ENETUNREACH"), f"mDNS: {out}")
        w.quiet()
        out, said = script("t = socket.socket()\nshow(lambda: t.connect(('224.0.0.1', 80)))")
        tap.same(
            (out, said),
            (
                ["ENETUNREACH"],
                ["224.0.0.1:80: multicast, broadcast and link-local addresses are not carried"],
            ),
        )
        w.quiet()

    def other_sockets():
        for arguments in (
            "AF_INET, socket.SOCK_RAW, 1",
            "AF_INET, socket.SOCK_RAW, 255",
            "AF_INET6, socket.SOCK_RAW, 58",
            "AF_INET, socket.SOCK_DGRAM, 1",
            "AF_INET6, socket.SOCK_DGRAM, 58",
            "AF_PACKET, socket.SOCK_RAW, 0",
            "AF_PACKET, socket.SOCK_DGRAM, 0",
            "AF_INET, socket.SOCK_STREAM, 132",
            "AF_INET, socket.SOCK_SEQPACKET, 132",
            "AF_INET, socket.SOCK_DGRAM, 136",
        ):
            out, said = script(f"show(lambda: socket.socket(socket.{arguments}))")
            tap.same(out, ["EACCES"], arguments)
            tap.same(len(said), 1, f"lines for {arguments}")
        w.quiet()

    def local_sockets():
        """What does not leave the machine is no business of ours."""
        out, said = script(
            """
a, b = socket.socketpair()
show(lambda: a.send(b"x"))
show(lambda: b.recv(9))
u = socket.socket(socket.AF_UNIX)
u.bind("\\0viaduct-test")
u.listen()
c = socket.socket(socket.AF_UNIX)
show(lambda: c.connect("\\0viaduct-test"))
n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
show(lambda: n.bind((0, 0)))
"""
        )
        tap.same((out, said), (["1", str(b"x"), "None", "None"], []))
        got = w.via(options, ["sh", "-c", "ip -o addr show dev app0 && ss -Htan"])
        tap.same((got.code, got.err), (0, b""))
        tap.holds(APP.encode() in got.out, "ip works")

    def fast_open():
        request = b"GET / HTTP/1.0\r\nHost: origin.test\r\n\r\n"
        text = """
t = socket.socket({family})
show(lambda: {call})
data = b""
while part := t.recv(65536):
    data += part
show(lambda: data.split(b"\\r\\n\\r\\n", 1)[1])
show(t.getpeername)
"""
        for family, address, call in (
            ("socket.AF_INET", ORIGIN, f"t.sendto({request!r}, socket.MSG_FASTOPEN, ('{ORIGIN}', 80))"),
            ("socket.AF_INET6", ORIGIN6, f"t.sendto({request!r}, socket.MSG_FASTOPEN, ('{ORIGIN6}', 80))"),
            (
                "socket.AF_INET",
                ORIGIN,
                f"t.sendmsg([{request!r}], [], socket.MSG_FASTOPEN, ('{ORIGIN}', 80))",
            ),
        ):
            out, said = script(text.format(family=family, call=call))
            tap.same((out[0], said), (str(len(request)), []))
            tap.same(out[1], repr(web.page), "the page")
            tap.holds(address in out[2], f"getpeername: {out[2]}")
            w.quiet(micro.at(first=True))

    def fast_open_refused():
        out, _ = script(
            f"t = socket.socket()\nshow(lambda: t.sendto(b'x', socket.MSG_FASTOPEN, ('{ORIGIN}', 9)))"
        )
        tap.same(out, ["ECONNREFUSED"])
        w.quiet(micro.at(first=True))

    def many_lines():
        """A program that repeats itself is told once."""
        out, said = script(f"for _ in range(20):\n    show(lambda: s4.sendto(b'x', ('{ORIGIN}', 53)))")
        tap.same((set(out), len(out), len(said)), ({"EACCES"}, 20, 1))
        w.quiet()

    def kernel_judges_arguments():
        """Calls that the kernel refuses anyway keep its errno."""
        out, _ = script(
            """
show(lambda: s4.send(b"x"))
show(lambda: socket.socket().sendto(b"x", 0, ("127.0.0.1", 9)))
show(lambda: s4.getpeername())
s4.close()
show(lambda: socket.socket(fileno=1))
"""
        )
        tap.same(out[:3], [errno.errorcode[errno.EDESTADDRREQ], "EPIPE", "ENOTCONN"])

    yield "sendto", sendto
    yield "sendmsg, and an IPv4-mapped address", sendmsg
    yield "by name", by_name
    yield "connect tells the source, sending is refused", connected
    yield "a connected socket has no way out", connected_for_libc
    yield "a bound source is kept", bound_source
    yield "a resolver on loopback", own_resolver
    yield "bypassed UDP works", bypassed
    yield "--udp direct", direct
    yield "UDP on loopback works", loopback
    yield "multicast and broadcast", multicast
    yield "raw, packet, ICMP, SCTP and UDP-Lite sockets", other_sockets
    yield "local sockets work", local_sockets
    yield "MSG_FASTOPEN is carried", fast_open
    yield "MSG_FASTOPEN to a closed target", fast_open_refused
    yield "twenty datagrams, one line", many_lines
    yield "the kernel's own errors", kernel_judges_arguments


if __name__ == "__main__":
    world.main(cases, ("ip", "ss", PYTHON, "microsocks", "nginx"))
