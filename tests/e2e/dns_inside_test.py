#!/usr/bin/env python3
"""Programs with a resolver of their own, while names are the last hop's: what they ask the name
servers of resolv.conf by datagrams is answered inside the process, by their own socket, and no
query leaves. Every way to send and to receive; what is no query; who is asked for real."""

import os
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, servers, tap, world
from lib.datagrams import Forger
from lib.servers import chain
from lib.world import APP, NAMES, NEAR, NEAR6, ORIGIN, PYTHON

NAME = "v4.origin.test"
A, PTR, MX, TXT, AAAA, HTTPS = 1, 12, 15, 16, 28, 65
NOERROR, FORMERR, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 3, 4, 5

# For scripts inside: query(), told() of an answer, s4 and s6.
HEAD = f"""
import array, asyncio, ctypes, fcntl, os, select, socket, struct, subprocess, sys, termios, threading, time
NAMES, SERVER, MAPPED = {NAMES!r}, ({NAMES!r}, 53), ("::ffff:{NAMES}", 53)
def query(name, kind=1, number=7):
    labels = b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\\0"
    return struct.pack("!6H", number, 0x100, 1, 0, 0, 0) + labels + struct.pack("!2H", kind, 1)
def told(answer):
    number, flags, _, count = struct.unpack("!4H", answer[:8])
    at = 12 + answer[12:].index(0) + 5
    data = []
    for _ in range(count):
        kind, _, _, size = struct.unpack("!HHIH", answer[at + 2:at + 12])
        raw = answer[at + 12:at + 12 + size]
        data.append(socket.inet_ntoa(raw) if kind == 1 else socket.inet_ntop(10, raw) if kind == 28 else raw)
        at += 12 + size
    return number, flags & 15, data
s4 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
for s in (s4, s6):
    s.settimeout(3)
"""


def queries(w, first, script):
    def unconnected():
        w.far_names.know("a.test", ORIGIN)
        for sock, server, shown in (("s4", "SERVER", "SERVER"), ("s6", "MAPPED", "(*MAPPED, 0, 0)")):
            script(
                f"""
{sock}.sendto(query("a.test"), {server})
data, whence = {sock}.recvfrom(512)
assert whence == {shown}, whence
number, code, ips = told(data)
assert (number, code, len(ips)) == (7, 0, 1) and ips[0].startswith("198.18."), ips
assert socket.getaddrinfo("A.test", 0, socket.AF_INET)[0][4][0] == ips[0], "one name, one address"
"""
            )

    def connected():
        script(
            """
for sock, server in ((s4, SERVER), (s6, MAPPED)):
    sock.connect(server)
    assert sock.getpeername()[:2] == server, sock.getpeername()
    port = sock.getsockname()[1]
    for number in range(5):
        sock.send(query("b%d.test" % number, number=number))
    assert [told(sock.recv(512))[0] for _ in range(5)] == list(range(5))
    os.write(sock.fileno(), query("c.test"))
    assert told(os.read(sock.fileno(), 512))[1] == 0
    assert sock.recvfrom.__self__.getsockname()[1] == port
    sock.send(query("d.test"))
    data, _, _, whence = sock.recvmsg(512)
    assert whence[:2] == server, whence
    sock.connect(server)
    sock.send(query("e.test"))
    assert told(sock.recv(512))[1] == 0
"""
        )

    def types():
        w.hosts("app", f"#{' 192.0.2.1 no.test' * 2000}\n192.0.2.9\tlong.test # 192.0.2.1\n"
                       f"192.0.2.8 {'x' * 4070}.test 192.0.2.1 no.test\n\n192.0.2.7 last.test more.test")
        script(
            f"""
def ask(name, kind):
    s4.sendto(query(name, kind), SERVER)
    return told(s4.recv(512))[1:]
assert ask("x.test", {AAAA}) == (0, []), "AAAA"
assert ask("x.test", {HTTPS}) == (0, []), "HTTPS"
for kind in ({MX}, {TXT}, 33, 6, 2, 255):
    assert ask("x.test", kind) == ({REFUSED}, []), kind
assert ask("localhost", {A}) == (0, ["127.0.0.1"])
assert ask("localhost", {AAAA}) == (0, ["::1"])
assert ask("apphost", {A}) == (0, ["127.0.1.1"])
assert ask("long.test", {A}) == (0, ["192.0.2.9"])
assert ask("more.test", {A}) == (0, ["192.0.2.7"])
assert ask("no.test", {A})[1][0].startswith("198.18.")
ip = ask("x.test", {A})[1][0]
back = ".".join(reversed(ip.split("."))) + ".in-addr.arpa"
assert ask(back, {PTR}) == (0, [b"\\1x\\4test\\0"]), ask(back, {PTR})
assert ask("2.0.2.10.in-addr.arpa", {PTR}) == ({NXDOMAIN}, [])
assert ask("1.0.0.127.in-addr.arpa", {PTR}) == (0, [b"\\11localhost\\0"])
assert ask("10.1", {A})[0] in ({NXDOMAIN}, {REFUSED}), "a number"
assert ask("a_b.test", {A})[0] == 0
assert ask("X.TEST", {A})[1] == [ip], "the same name"
"""
        )

    def cut():
        """A query cut at every byte: an error or silence, never a crash; then a whole one."""
        script(
            """
whole = query("cut.test")
s4.settimeout(0.01)
for sock in (s4, s6):
    for end in range(len(whole)):
        sock.sendto(whole[:end], SERVER if sock is s4 else MAPPED)
    got = []
    sock.settimeout(0.2)
    try:
        while True:
            got.append(told(sock.recv(512) + b"\\0" * 5)[1])
    except TimeoutError:
        pass
    assert set(got) == {1} and len(got) == len(whole) - 12, got
    for odd in (b"", whole[:2] + b"\\x81" + whole[3:], whole + b"x", whole * 40, b"\\xff" * 1300):
        sock.sendto(odd, SERVER if sock is s4 else MAPPED)
    sock.sendto(whole, SERVER if sock is s4 else MAPPED)
    sock.settimeout(3)
    while told(sock.recv(512) + b"\\0" * 5)[1]:
        pass
"""
        )

    def edns():
        got = w.via(first, ["dig", "+tries=1", "+time=2", "+bufsize=4096", NAME])
        tap.holds(b"status: NOERROR" in got.out and b"EDNS: version: 0" in got.out, f"dig: {got.out}")
        for words, status in (
            (["MX"], "REFUSED"), (["AAAA"], "NOERROR"), (["HTTPS"], "NOERROR"), (["CH"], "REFUSED"),
            (["+opcode=status"], "NOTIMP"), (["+edns=1", "+noednsnegotiation"], "BADVERS"),
            ([f"@{NAMES}"], "NOERROR"),
        ):
            got = w.via(first, ["dig", "+tries=1", "+time=2", *words, NAME])
            tap.holds(f"status: {status}".encode() in got.out, f"dig {words}: {got.out}")

    def servers_of_resolv_conf():
        """Each of them, also where a bypass rule matches; and read again when the file changes."""
        path = "/etc/netns/app/resolv.conf"
        with open(path, encoding="ascii") as file:
            before = file.read()
        try:
            for text, servers_ in (
                (f"nameserver {NAMES}\nnameserver 127.0.0.53\nnameserver {NEAR6}\n",
                 [(NAMES, 53), ("127.0.0.53", 53), (NEAR6, 53)]),
                ("# none\noptions ndots:1\n", [("127.0.0.1", 53)]),
                ("nameserver\tfe80::1%app0 # scoped\n", [("fe80::1%app0", 53)]),
            ):
                with open(path, "w", encoding="ascii") as file:
                    file.write(text)
                for bypass in ([], ["-b", "10.0.0.0/8", "-b", "::/0", "-b", "127.0.0.0/8"]):
                    script(
                        f"""
for server in {servers_!r}:
    family, *_, server = socket.getaddrinfo(*server, type=socket.SOCK_DGRAM)[0]
    for connects in (False, True):
        s = socket.socket(family, socket.SOCK_DGRAM)
        s.settimeout(3)
        if connects:
            s.connect(server)
            s.send(query("y.test"))
        else:
            s.sendto(query("y.test"), server)
        data, whence = s.recvfrom(512)
        assert whence == server and told(data)[1] == 0, whence
""", [*first, *bypass])
        finally:
            with open(path, "w", encoding="ascii") as file:
                file.write(before)

    def changes_meanwhile():
        path = "/etc/netns/app/resolv.conf"
        with open(path, encoding="ascii") as file:
            before = file.read()
        try:
            script(
                """
s4.sendto(query("z.test"), SERVER)
assert told(s4.recv(512))[1] == 0
with open("/etc/resolv.conf", "w") as file:
    file.write("nameserver 192.0.2.53\\n")
s4.sendto(query("z.test"), ("192.0.2.53", 53))
assert s4.recvfrom(512)[1] == ("192.0.2.53", 53)
"""
            )
        finally:
            with open(path, "w", encoding="ascii") as file:
                file.write(before)

    yield "a socket that is not connected", unconnected
    yield "a connected socket", connected
    yield "types of records, local names", types
    yield "queries cut at every byte", cut
    yield "dig: EDNS, classes, opcodes", edns
    yield "the name servers of resolv.conf, and bypass", servers_of_resolv_conf
    yield "resolv.conf changes", changes_meanwhile


def calls(w, first, script):
    def many_at_once():
        """sendmmsg() of A and AAAA at once, recvmmsg() with a time limit."""
        script(
            """
libc = ctypes.CDLL(None, use_errno=True)
class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]
class Message(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("namelen", ctypes.c_uint), ("iov", ctypes.POINTER(Iovec)),
                ("iovlen", ctypes.c_size_t), ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t),
                ("flags", ctypes.c_int), ("pad", ctypes.c_int), ("len", ctypes.c_uint)]
def messages(buffers, name=None):
    array = (Message * len(buffers))()
    for message, buffer in zip(array, buffers):
        message.iov = ctypes.pointer(Iovec(ctypes.addressof(buffer), len(buffer)))
        message.iovlen = 1
        if name is not None:
            message.name, message.namelen = ctypes.addressof(name), len(name)
    return array
def both(fd, name=None):
    out = [ctypes.create_string_buffer(q, len(q)) for q in (query("pair.test", 1, 1), query("pair.test", 28, 2))]
    assert libc.sendmmsg(fd, messages(out, name), 2, 0) == 2
    room = [ctypes.create_string_buffer(512) for _ in range(4)]
    array = messages(room)
    limit = (ctypes.c_long * 2)(0, 300000000)
    assert libc.recvmmsg(fd, array, 4, 0x10000, limit) == 2
    answers = [told(buffer.raw[:message.len]) for buffer, message in zip(room, array[:2])]
    assert [a[0] for a in answers] == [1, 2] and [len(a[2]) for a in answers] == [1, 0], answers
sockaddr = struct.pack("=HH4s8x", socket.AF_INET, socket.htons(53), socket.inet_aton(NAMES))
both(s4.fileno(), ctypes.create_string_buffer(sockaddr, 16))
s4.connect(SERVER)
both(s4.fileno())
"""
        )

    def as_the_kernel():
        """MSG_PEEK, MSG_TRUNC, small buffers, several buffers, FIONREAD, readv and writev."""
        script(
            """
for connects in (False, True):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(3)
    if connects:
        s.connect(SERVER)
    def ask():
        s.send(query("k.test")) if connects else s.sendto(query("k.test"), SERVER)
    ask()
    whole = s.recv(512)
    ask()
    count = array.array("i", [0])
    fcntl.ioctl(s, termios.FIONREAD, count)
    assert count[0] == len(whole), count
    assert s.recv(512, socket.MSG_PEEK) == whole
    assert s.recv(5, socket.MSG_PEEK) == whole[:5]
    assert s.recv(0, socket.MSG_PEEK | socket.MSG_TRUNC) == b""
    data, _, flags, whence = s.recvmsg(512, 100, socket.MSG_PEEK)
    assert (data, flags, whence) == (whole, 0, SERVER), (data, flags, whence)
    data, _, flags, _ = s.recvmsg(9)
    assert (data, flags) == (whole[:9], socket.MSG_TRUNC), flags
    fcntl.ioctl(s, termios.FIONREAD, count)
    assert count[0] == 0, count
    ask()
    parts = [bytearray(3), bytearray(0), bytearray(20), bytearray(200)]
    n, _, flags, _ = s.recvmsg_into(parts)
    assert n == len(whole) and b"".join(parts)[:n] == whole and flags == 0
    assert not any(b"".join(parts)[n:]), "nothing behind the end"
    ask()
    buffer = bytearray(7)
    assert s.recv_into(buffer, 7, socket.MSG_TRUNC) == len(whole) and bytes(buffer) == whole[:7]
    if connects:
        os.writev(s.fileno(), [query("k.test")[:9], query("k.test")[9:]])
        parts = [bytearray(10), bytearray(500)]
        assert os.readv(s.fileno(), parts) == len(whole) and b"".join(parts)[:len(whole)] == whole
    s.setblocking(False)
    try:
        s.recv(512)
        raise SystemExit("more than was asked for")
    except BlockingIOError:
        pass
"""
        )

    def readiness():
        script(
            """
s4.setblocking(False)
def ready(seconds):
    epoll = select.epoll()
    epoll.register(s4, select.EPOLLIN | select.EPOLLET)
    poll = select.poll()
    poll.register(s4, select.POLLIN)
    return bool(epoll.poll(seconds)), bool(poll.poll(0)), bool(select.select([s4], [], [], 0)[0])
assert ready(0.01) == (False,) * 3
s4.sendto(query("p.test"), SERVER)
assert ready(1) == (True,) * 3
assert told(s4.recv(512))[1] == 0
assert ready(0.01) == (False,) * 3
class Asks(asyncio.DatagramProtocol):
    def __init__(self, done):
        self.done = done
    def connection_made(self, transport):
        transport.sendto(query("q.test"))
    def datagram_received(self, data, whence):
        self.done.set_result((told(data)[1], whence))
async def main():
    done = asyncio.get_running_loop().create_future()
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: Asks(done), remote_addr=SERVER)
    assert await asyncio.wait_for(done, 3) == (0, SERVER)
asyncio.run(main())
"""
        )

    def processes_and_threads():
        script(
            """
s4.connect(SERVER)
os.set_inheritable(s4.fileno(), True)
s4.send(query("t.test", number=1))
text = "import os, sys; d = os.read(%d, 512); os.write(%d, d[:0] + bytes.fromhex(sys.argv[1])); print(d[:2].hex(), os.read(%d, 512)[:2].hex())"
text = text.replace("%d", str(s4.fileno()))
out = subprocess.run([sys.executable, "-c", text, query("u.test", number=2).hex()], close_fds=False,
                     capture_output=True, check=True).stdout
assert out == b"0001 0002\\n", out
if os.fork() == 0:
    s4.send(query("v.test", number=3))
    os._exit(0)
os.wait()
assert told(s4.recv(512))[0] == 3
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
socket.send_fds(a, [b"x"], [s4.fileno()])
passed = socket.socket(fileno=socket.recv_fds(b, 1, 1)[1][0])
passed.send(query("w.test", number=4))
assert told(passed.recv(512))[0] == 4 and passed.getpeername() == SERVER
got = []
listener = threading.Thread(target=lambda: got.append(s4.recv(512)))
listener.start()
time.sleep(0.05)
s4.send(query("x.test", number=5))
listener.join(3)
assert told(got[0])[0] == 5
"""
        )

    def dissolved():
        script(
            """
libc = ctypes.CDLL(None)
s4.connect(SERVER)
s4.send(query("y.test", number=1))
assert libc.connect(s4.fileno(), b"\\0" * 16, 16) == 0
try:
    s4.getpeername()
    raise SystemExit("it has a peer still")
except OSError:
    pass
assert s4.recvfrom(512)[1] == SERVER
s4.sendto(query("z.test", number=2), SERVER)
assert told(s4.recv(512))[0] == 2
s4.connect(SERVER)
s4.send(query("z.test", number=3))
assert told(s4.recv(512))[0] == 3
"""
        )

    def forged():
        """Whoever sends to the program's port is not heard: no more than by a connected socket."""
        forger = Forger(w, (b"x", b"", b"\0" * 44, b"\0\7\x81\x80" + b"\0" * 100, b"\0" * 1000),
                        (("app", "127.0.0.1"), ("app", APP), ("proxy", APP)))
        script(
            forger.script
            + """
s5 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s5.settimeout(3)
s5.connect(SERVER)
s4.sendto(query("f.test", number=1), SERVER)
tell(s4, s5)
assert told(s4.recv(512))[0] == 1
s5.send(query("f.test", number=2))
assert told(s5.recv(512))[0] == 2
for s in (s4, s5):
    s.settimeout(0.2)
    try:
        raise SystemExit(f"heard {s.recv(512)}")
    except TimeoutError:
        pass
""",
            [*first, "-b", "none"], beside={("icmp", NEAR, 0)},
        )

    yield "sendmmsg and recvmmsg", many_at_once
    yield "flags, lengths and buffers", as_the_kernel
    yield "poll, select, epoll, asyncio", readiness
    yield "exec, fork, passing, threads", processes_and_threads
    yield "AF_UNSPEC, and connected again", dissolved
    yield "forged answers", forged


def exceptions(w, first, script):
    def resolved_here():
        """A name that a rule has resolved here is asked for, on the same socket as others."""
        w.names.know("box.lan", NEAR)
        w.names.know("other.lan", NEAR)
        for connects in (False, True):
            script(
                f"""
if {connects}:
    s4.connect(SERVER)
def ask(name, number, kind=1):
    q = query(name, kind, number)
    s4.send(q) if {connects} else s4.sendto(q, SERVER)
for number in range(3):
    ask("far.test", 10 * number)
    ask("box.lan", 10 * number + 1)
    ask("box.lan", 10 * number + 2, 28)
    ask("other.lan", 10 * number + 3)
    ask("far.test", 10 * number + 4, 28)
    got = dict()
    for _ in range(5):
        data, whence = s4.recvfrom(512)
        assert whence == SERVER, whence
        n, code, ips = told(data)
        got[n - 10 * number] = ips
        assert code == 0
    assert got[1] == got[3] == ["{NEAR}"] and got[2] == got[4] == [] and got[0][0].startswith("198.18."), got
    assert not {connects} or s4.getpeername() == SERVER
s = socket.create_connection(("{NEAR}", 8080), 3)
print(s.recv(9))
""",
                [*first, "-b", "*.lan"], asked={"box.lan", "other.lan"}, beside={("tcp", NEAR, 8080)},
            )

    def tcp():
        """A bypass does not lead around the chain to a name server of resolv.conf."""
        w.names.know(NAME, ORIGIN)
        w.forget()
        got = w.via([*first, "-b", "10.0.0.0/8"], ["dig", "+tcp", "+short", "+tries=1", NAME])
        tap.same((got.code, got.out), (0, f"{ORIGIN}\n".encode()))
        tap.same(w.names.take(), [(NAME, "A", "tcp")], "asked by the hop, for app")
        tap.holds((NAMES, 53) not in {what[1:] for what in w.link.take()}, "not by app")
        w.names.forget(NAME)

    def named_by_the_user():
        """A server that is none of resolv.conf's is a target like others: through the chain."""
        w.forget()
        got = w.via(first, ["dig", f"@{ORIGIN}", "+short", "+tries=1", "+time=3", "MX", NAME])
        tap.same(got.out, b"10 mail.test.\n")
        tap.same(w.names.take(), [], "names asked")
        tap.same({what[1] for what in w.link.take()}, {NEAR}, "on the link")

    def asked_with_local_dns():
        w.names.know(NAME, ORIGIN)
        w.forget()
        got = w.via([*first, "-d", "local", "-b", f"{NAMES}:53"], ["dig", "+short", "+tries=1", NAME])
        tap.same(got.out, f"{ORIGIN}\n".encode())
        tap.same({name for name, *_ in w.names.take()}, {NAME}, "names asked")
        w.names.forget(NAME)
        w.forget()

    def by_unix_sockets():
        """nscd and systemd-resolved would ask."""
        for path in ("/run/nscd/socket", "/var/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve"):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(path)
                listener.listen()
                text = f"u = socket.socket(socket.AF_UNIX)\nprint(u.connect_ex({path!r}))\n"
                tap.same(script(text), "111\n", "refused")
                got = w.via([*first, "-d", "local"], [PYTHON, "-c", HEAD + text])
                tap.same(got.out, b"0\n", "with -d local")

    def no_loopback():
        """Where a socket cannot hear itself, the query does not leave either."""
        script(
            """
import errno
s4.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"app0")
bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
bound.bind(("10.1.0.2", 0))
bound.setsockopt(socket.IPPROTO_IP, 50, struct.pack("!I", socket.if_nametoindex("app0")))
s6.setsockopt(socket.IPPROTO_IPV6, 76, struct.pack("!I", socket.if_nametoindex("app0")))
for s, server in ((s4, SERVER), (bound, SERVER), (s6, MAPPED)):
    try:
        s.sendto(query("n.test"), server)
        raise SystemExit("it was sent")
    except OSError as error:
        assert error.errno == errno.ENETUNREACH, error
"""
        )
        got = w.via(["-q", *first], ["unshare", "--net", PYTHON, "-c", HEAD + """
for s, server in ((s4, SERVER), (s6, MAPPED)):
    try:
        s.sendto(query("n.test"), server)
        raise SystemExit("it was sent")
    except OSError as error:
        pass
"""])
        tap.same((got.code, got.err), (0, b""), "with loopback down")

    yield "a name that a rule has resolved here", resolved_here
    yield "TCP to a name server that is bypassed", tcp
    yield "a server that the user named", named_by_the_user
    yield "-d local", asked_with_local_dns
    yield "resolvers behind unix sockets", by_unix_sockets
    yield "a socket that cannot hear itself", no_loopback


def programs(w, first, _script):
    web = servers.Nginx(w)

    def node():
        text = (
            "const dns = require('dns');"
            f"dns.resolve4('{NAME}', (e, a) => dns.reverse(a[0], (f, n) => dns.resolveMx('{NAME}', (g) => "
            "console.log(e, a.length, a[0].slice(0, 7), f, n[0], g.code))))"
        )
        w.forget()
        got = w.via(first, ["node", "-e", text])
        tap.same(got.out, f"null 1 198.18. null {NAME} EREFUSED\n".encode())
        w.quiet()

    def aria2():
        """c-ares, its own resolver, and then the download through the chain."""
        w.forget()
        got = w.via(first, ["aria2c", "--no-conf", "-q", "-d", w.dir, "-o", "fetched", "--allow-overwrite",
                            f"http://{NAME}/"])
        tap.same(got.code, 0, "exit code")
        with open(f"{w.dir}/fetched", "rb") as file:
            tap.same(file.read(), web.page, "the page")
        tap.same({what[1] for what in w.link.take()}, {NEAR}, "on the link")
        tap.same(w.names.take(), [], "names asked")

    yield "node's dns.resolve", node
    yield "aria2c with c-ares", aria2


def cases(w):
    hop = servers.viaductd(w)
    first = chain(hop.url(first=True))
    near = world_near(w)

    def script(text, options=None, asked=(), beside=()):
        """Runs it; nothing is said, only hop 1 is spoken to, no name is asked for but `asked`."""
        w.forget()
        got = w.via(options or first, [PYTHON, "-c", HEAD + text], timeout=50)
        tap.same((got.code, got.err), (0, b""), "exit code and standard error")
        wanted = {("udp", NAMES, 53)} if asked else set()
        link = {what for what in w.link.take() if what[1:] != hop.at(first=True)}
        tap.same(link, wanted | set(beside), "on the link")
        tap.same({name for name, *_ in w.names.take()}, set(asked), "names asked")
        return got.out.decode()

    config = w.file("dnsmasq.conf", f"no-resolv\nno-hosts\nbind-interfaces\nlisten-address={ORIGIN}\n"
                                    f"mx-host={NAME},mail.test,10\nuser=\n")
    w.serve("dnsmasq", "origin", ["dnsmasq", "-k", "-C", config, "--pid-file="], 53, proto="udp")
    for part in (queries, calls, exceptions, programs):
        yield from part(w, first, script)
    near.stop()


def world_near(w):
    """A server that app reaches directly."""
    return hostile.Scripted("proxy", NEAR, 8080, lambda peer: peer.say(b"near"))


if __name__ == "__main__":
    world.main(cases, ("aria2c", "dig", "dnsmasq", "node", PYTHON, "nginx"))
