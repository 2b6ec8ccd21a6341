#!/usr/bin/env python3
"""Datagrams through one, two and three hops: connected and not, by address and by name, every way
to send and to receive, every size, across processes, at 5,000 a second; who is shown as the source,
what is refused, and that nothing but hop 1 is spoken to."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import servers, tap, world
from lib.datagrams import ECHO, Echo, Forger, header
from lib.servers import chain
from lib.world import APP, APP6, NEAR, NEAR6, ORIGIN, ORIGIN6, PYTHON

LARGEST = 65507  # of a UDP datagram over IPv4

HEAD = f"""
import array, asyncio, ctypes, errno, fcntl, os, select, socket, struct, subprocess, sys, termios, threading, time
T4, T6, MAPPED, BY_NAME = ({ORIGIN!r}, {ECHO}), ({ORIGIN6!r}, {ECHO}), ("::ffff:{ORIGIN}", {ECHO}), ("v4.origin.test", {ECHO})
s4 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
for s in (s4, s6):
    s.settimeout(5)
def fails(call, *numbers):
    try:
        got = call()
    except OSError as error:
        assert error.errno in numbers, error
        return
    raise SystemExit(f"no error: {{got}}")
def echoes(s, data, to=None, whence=None):
    s.send(data) if to is None else s.sendto(data, to)
    got, source = s.recvfrom(70000)
    assert got == data, (len(got), len(data))
    assert source[:2] == (whence or to or s.getpeername())[:2], source
"""


def ways(w, run, first):
    def unconnected():
        run(
            """
for s, to in ((s4, T4), (s6, T6), (s6, MAPPED), (s4, T4)):
    echoes(s, b"hello", to)
"""
        )

    def connected():
        run(
            f"""
for s, to, own in ((s4, T4, "{APP}"), (s6, T6, None)):
    s.connect(to)
    before = s.getsockname()
    assert own is None or before[0] == own, before
    assert s.getpeername()[:2] == to, s.getpeername()
    echoes(s, b"hello")
    assert (s.getsockname(), s.getpeername()[:2]) == (before, to), s.getsockname()
    s.settimeout(None)
    os.write(s.fileno(), b"written")
    assert os.read(s.fileno(), 100) == b"written"
    os.writev(s.fileno(), [b"a", b"", b"bc"])
    parts = [bytearray(1), bytearray(9)]
    assert os.readv(s.fileno(), parts) == 3 and bytes(parts[0] + parts[1][:2]) == b"abc"
    s.settimeout(5)
    s.sendmsg([b"x", b"y"])
    assert s.recvmsg(10) == (b"xy", [], 0, s.getpeername())
    echoes(s, b"", None)
"""
        )

    def by_loopback():
        """A first hop on this machine: what the socket tells is the address towards the target."""
        hop = servers.viaductd(w, host="app")
        w.forget()
        text = f"""
for s, to, own in ((s4, T4, "{APP}"), (s6, T6, "{APP6}")):
    s.connect(to)
    before = s.getsockname()
    assert before[0] == own and before[1] != 0, before
    echoes(s, b"hello")
    assert s.getsockname() == before, s.getsockname()
"""
        got = w.via(chain(hop.url(), first.url(first=True)), [PYTHON, "-c", HEAD + text])
        tap.same((got.code, got.err), (0, b""), "exit code and standard error")
        tap.same({what[1] for what in w.link.take()}, {NEAR}, "on the link")

    def by_name():
        """A name goes to the last hop as it is; the answer is shown as from its placeholder."""
        w.far_names.know("b.test", ORIGIN)
        run(
            f"""
a = socket.getaddrinfo("v4.origin.test", {ECHO}, socket.AF_INET)[0][4]
b = socket.getaddrinfo("b.test", {ECHO} + 1, socket.AF_INET)[0][4]
assert a[0].startswith("198.18.") and a[0] != b[0]
for _ in range(3):
    echoes(s4, b"one", a)
    echoes(s4, b"two", b)
    echoes(s4, b"three", (T4[0], {ECHO} + 2))
six = socket.getaddrinfo("v6.origin.test", {ECHO}, socket.AF_INET6)[0][4]
echoes(s6, b"six", six)
echoes(s6, b"mapped", ("::ffff:" + a[0], a[1]))
s4.connect(a)
echoes(s4, b"connected")
"""
        )

    def again():
        """Connected elsewhere, loosened, connected again: on one association, by one port."""
        run(
            f"""
s4.connect(T4)
echoes(s4, b"one")
port = s4.getsockname()[1]
s4.connect((T4[0], {ECHO} + 1))
assert s4.getpeername() == (T4[0], {ECHO} + 1)
echoes(s4, b"two")
assert ctypes.CDLL(None).connect(s4.fileno(), b"\\0" * 16, 16) == 0
fails(s4.getpeername, errno.ENOTCONN)
echoes(s4, b"three", T4)
s4.connect(T4)
echoes(s4, b"four")
assert s4.getsockname()[1] == port
s6.sendto(b"not connected yet", T6)
s6.connect(T6)
assert s6.recv(99) == b"not connected yet"
"""
        )

    def no_gap():
        """Connected while an answer is under way, which comes as if it had been so before."""
        run(
            """
echoes(s4, b"begin", T4)
for number in range(400):
    s4.sendto(b"%d" % number, T4)
    for _ in range(number % 100 * 20):
        pass
    s4.connect(T4)
    assert s4.recv(99) == b"%d" % number
    assert ctypes.CDLL(None).connect(s4.fileno(), b"\\0" * 16, 16) == 0
"""
        )

    def sizes():
        run(
            """
s4.connect(T4)
s4.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
s4.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
for size in (0, 1, 2, 1200, 1472, 1473, 9000, 60000, %d):
    echoes(s4, os.urandom(size))
for size in (%d, 65507, 65508, 100000):
    fails(lambda: s4.send(bytes(size)), errno.EMSGSIZE)
echoes(s4, b"alive")
"""
            % (LARGEST - 10 * 3, LARGEST - 9)
        )

    yield "a socket that is not connected", unconnected
    yield "a connected socket", connected
    yield "by a hop on loopback", by_loopback
    yield "by name", by_name
    yield "connected again and again", again
    yield "connected while an answer is under way", no_gap
    yield "every size", sizes


def calls(w, run):
    def as_the_kernel():
        """Flags, lengths, small buffers and FIONREAD as of the payload alone."""
        run(
            """
for connects in (False, True):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    if connects:
        s.connect(T4)
    def send(data):
        s.send(data) if connects else s.sendto(data, T4)
        assert select.select([s], [], [], 5)[0]
    whole = bytes(range(256))
    count = array.array("i", [0])
    for _ in range(2):
        send(whole)
        fcntl.ioctl(s, termios.FIONREAD, count)
        assert count[0] == 256, count
        assert s.recv(1000, socket.MSG_PEEK) == whole
        assert s.recv(3, socket.MSG_PEEK | socket.MSG_TRUNC)[:3] == whole[:3]
        assert s.recvmsg(1000, 0, socket.MSG_PEEK) == (whole, [], 0, T4)
        data, _, flags, whence = s.recvmsg(100)
        assert (data, flags, whence) == (whole[:100], socket.MSG_TRUNC, T4)
        fcntl.ioctl(s, termios.FIONREAD, count)
        assert count[0] == 0, count
    send(whole)
    buffer = bytearray(7)
    assert s.recv_into(buffer, 7, socket.MSG_TRUNC) == 256 and bytes(buffer) == whole[:7]
    for sizes in ((256,), (1, 255), (1,) * 256, (100, 0, 0, 300), (4,) * 500):
        send(whole)
        parts = [bytearray(size) for size in sizes]
        assert s.recvmsg_into(parts)[0] == 256 and b"".join(parts)[:256] == whole
        assert not any(b"".join(parts)[256:]), "nothing behind the end"
        s.sendmsg([whole[:1]] * 3 + [whole[1:]], [], 0, *([] if connects else [T4]))
        assert s.recv(999) == whole[:1] * 3 + whole[1:]
    s.setblocking(False)
    fails(lambda: s.recv(9), errno.EAGAIN)
    s.settimeout(None)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 100000))
    began = time.monotonic()
    fails(lambda: s.recv(9), errno.EAGAIN)
    assert 0.09 < time.monotonic() - began < 2
"""
        )

    def control_data():
        run(
            """
s4.setsockopt(socket.IPPROTO_IP, 8, 1)
s4.setsockopt(socket.SOL_SOCKET, 29, 1)
s4.connect(T4)
s4.send(b"hello")
data, control, flags, whence = s4.recvmsg(100, 500)
assert (data, flags, whence) == (b"hello", 0, T4)
assert {(level, kind) for level, kind, _ in control} == {(0, 8), (1, 29)}, control
s4.sendmsg([b"marked"], [(socket.IPPROTO_IP, socket.IP_TOS, struct.pack("i", 8))])
assert s4.recv(100) == b"marked"
"""
        )

    def no_segments():
        """The kernel must not cut or join what has headers: it looks like an older one."""
        run(
            """
for name in (103, 104, 1):
    fails(lambda: s4.setsockopt(17, name, 1200), errno.ENOPROTOOPT)
fails(lambda: s4.getsockopt(17, 103), errno.ENOPROTOOPT)
s4.connect(T4)
fails(lambda: s4.sendmsg([bytes(3000)], [(17, 103, struct.pack("H", 1200))]), errno.EIO)
fails(lambda: s4.send(b"x", socket.MSG_MORE), errno.EOPNOTSUPP)
with open("/etc/hosts", "rb") as file:
    fails(lambda: os.sendfile(s4.fileno(), file.fileno(), 0, 10), errno.EACCES)
r, w = os.pipe()
os.write(w, b"spliced")
fails(lambda: os.splice(r, s4.fileno(), 7), errno.EACCES)
echoes(s4, b"alive")
t = socket.socket()
t.setsockopt(socket.SOL_SOCKET, 60, 1)
""", said=True
        )

    def readiness():
        run(
            """
s4.setblocking(False)
s4.connect(T4)
epoll, poll = select.epoll(), select.poll()
epoll.register(s4, select.EPOLLIN | select.EPOLLET)
poll.register(s4, select.POLLIN)
assert not epoll.poll(0.01) and not poll.poll(10)
for data in (b"one", b"two"):
    s4.send(data)
    assert epoll.poll(5) and poll.poll(0) and select.select([s4], [], [], 0)[0]
    assert s4.recv(9) == data
assert not epoll.poll(0.01) and not poll.poll(10) and not select.select([s4], [], [], 0)[0]
class Talks(asyncio.DatagramProtocol):
    def __init__(self, done):
        self.done = done
    def datagram_received(self, data, whence):
        self.done.set_result((data, whence))
async def main():
    loop = asyncio.get_running_loop()
    for how in ({"remote_addr": BY_NAME}, {"remote_addr": T4}, {"local_addr": ("0.0.0.0", 0)}):
        done = loop.create_future()
        transport, _ = await loop.create_datagram_endpoint(lambda: Talks(done), **how)
        transport.sendto(b"hello", None if "remote_addr" in how else T4)
        assert (await asyncio.wait_for(done, 5))[0] == b"hello"
asyncio.run(main())
"""
        )

    def processes_and_threads():
        run(
            """
s4.settimeout(None)
s4.connect(T4)
echoes(s4, b"first")
os.set_inheritable(s4.fileno(), True)
s4_number = s4.fileno()
text = "import os, sys; os.write(N, b'from another program'); print(os.read(N, 99))".replace("N", str(s4.fileno()))
for how in ([], ["env", "-i"]):
    out = subprocess.run([*how, sys.executable, "-c", text], close_fds=False, capture_output=True, check=True).stdout
    assert out == b"b'from another program'\\n", out
echoes(s4, b"second")
if os.fork() == 0:
    s4.send(b"from a child")
    os._exit(0)
os.wait()
assert s4.recv(99) == b"from a child"
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
socket.send_fds(a, [b"x"], [s4.fileno()])
passed = socket.socket(fileno=socket.recv_fds(b, 1, 1)[1][0])
echoes(passed, b"passed")
copy = socket.socket(fileno=os.dup(s4.fileno()))
s4.close()
echoes(copy, b"a copy")
got = []
listener = threading.Thread(target=lambda: got.append(copy.recv(99)))
listener.start()
time.sleep(0.05)
copy.send(b"to a thread")
listener.join(5)
assert got == [b"to a thread"]
sys.stdout.flush()
os.set_inheritable(copy.fileno(), True)
text = text.replace(str(s4_number), str(copy.fileno()))
os.execv(sys.executable, [sys.executable, "-c", text])
"""
        )

    def waits_before():
        """A thread that receives before the socket has anything to do with the chain, or with names."""
        run(
            """
def waits(s):
    got = []
    thread = threading.Thread(target=lambda: got.append(s.recvfrom(2000)))
    thread.start()
    time.sleep(0.1)
    return thread, got
s4.bind(("0.0.0.0", 0))
s4.settimeout(None)
thread, got = waits(s4)
s4.sendto(b"hello", T4)
thread.join(5)
assert got == [(b"hello", T4)], got
other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
other.bind(("127.0.0.1", 0))
thread, got = waits(other)
echoes(s4, b"something is carried", T4)
s4.sendto(b"direct" * 200, other.getsockname())
thread.join(5)
assert got[0][0] == b"direct" * 200, got
waiting = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
waiting.bind(("0.0.0.0", 0))
thread, got = waits(waiting)
waiting.connect(T4)
waiting.send(b"connected")
thread.join(5)
assert got == [(b"connected", T4)], got
"""
        )

    def many_sockets():
        run(
            """
def work(number):
    for _ in range(15):
        sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(4)]
        for at, s in enumerate(sockets):
            s.settimeout(10)
            if at % 2:
                s.connect(T4)
                s.send(b"%d %d" % (number, at))
            else:
                s.sendto(b"%d %d" % (number, at), T4)
        for at, s in enumerate(sockets):
            assert s.recvfrom(99) == (b"%d %d" % (number, at), T4)
            s.close()
    done.append(number)
done = []
threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
children = []
for _ in range(2):
    children.append(os.fork())
    if not children[-1]:
        work(9)
        os._exit(0)
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(40)
assert sorted(done) == list(range(6)), done
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
""",
            which=(0, 1),
        )

    yield "a thread that waits before", waits_before
    yield "hundreds of sockets, threads and children", many_sockets
    yield "flags, lengths and buffers", as_the_kernel
    yield "control data", control_data
    yield "no segments, no splicing", no_segments
    yield "poll, select, epoll, asyncio", readiness
    yield "exec, fork, passing, copies, threads", processes_and_threads


def sources(w, run, echo):
    def one_mapping():
        """As STUN asks: all targets see one address and port, and each answers by it."""
        run(
            f"""
for _ in range(2):
    for port in ({ECHO}, {ECHO} + 1, {ECHO} + 2):
        echoes(s4, b"stun", (T4[0], port))
"""
        )
        seen = [one.seen[-1][0] for one in echo]
        tap.same(len(set(seen)), 1, f"what the targets see: {seen}")
        tap.holds(seen[0][0] != APP, "not the program's own address")

    def strangers():
        """What comes from elsewhere than the target of a connected socket is not heard; a socket
        that is not connected hears what a rule lets pass, and nobody else."""
        for one in range(3):
            forger = Forger(w, (b"x", b"", header((ORIGIN, ECHO)) + b"forged", b"\0" * 1000),
                            (("proxy", APP), ("app", APP)))
            run(
                forger.script
                + f"""
s4.connect(T4)
echoes(s4, b"one")
s4.sendto(b"elsewhere", (T4[0], {ECHO} + 1))
echoes(s4, b"two")
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(0.3)
echoes(s, b"three", T4)
tell(s4, s)
for one in (s4, s):
    one.settimeout(0.2)
    try:
        raise SystemExit(f"heard {{one.recvfrom(99)}}")
    except TimeoutError:
        pass
near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
near.sendto(b"from here", ("127.0.0.1", s.getsockname()[1]))
assert s.recvfrom(99) == (b"from here", ("127.0.0.1", near.getsockname()[1]))
""",
                which=(one,),
            )

    def bypassed_beside():
        """One socket for both: what is bypassed goes directly, and is heard."""
        run(
            f"""
for _ in range(3):
    echoes(s4, b"carried", T4)
    echoes(s4, b"direct", ("{NEAR}", 999))
s4.connect(("{NEAR}", 999))
echoes(s4, b"direct")
s4.connect(T4)
echoes(s4, b"carried")
s6.connect(("{NEAR6}", 999))
echoes(s6, b"direct")
""",
            more=["-b", f"{NEAR}:999", "-b", NEAR6], beside={("udp", NEAR, 999), ("udp", NEAR6, 999)},
        )

    yield "one mapping for all targets", one_mapping
    yield "strangers", strangers
    yield "what is bypassed, on the same socket", bypassed_beside


def refused(w, hop, micro, web):
    def script(options, text):
        w.forget()
        got = w.via(options, [PYTHON, "-c", HEAD + text])
        tap.same(got.code, 0, "exit code")
        return [line.split("]: ", 1)[1] for line in got.err.decode().splitlines() if "]: " in line]

    def http_hop():
        options = chain(hop.url(first=True), web.url())
        said = script(options, """
fails(lambda: s4.sendto(b"x", T4), errno.EACCES)
s4.connect(T4)
assert s4.getsockname()[0] == "%s"
fails(lambda: s4.send(b"x"), errno.EACCES)
fails(lambda: s4.send(b"x"), errno.EACCES)
""" % APP)
        line = f"{ORIGIN}:{ECHO}: UDP is refused: hop 2 of 2 ({web.url()}) does not carry UDP: only SOCKS5 does"
        tap.same(set(said), {line})
        w.quiet()
        got = w.via(["--udp", "proxy", *options], ["true"])
        tap.same((got.code, got.err.decode()), (125,
            f"viaduct: UDP mode `proxy`: hop 2 of chain `default` ({web.url()}) does not carry UDP, "
            "only SOCKS5 does; allowed: auto, deny, direct\n"))

    def hop_without():
        """A SOCKS5 hop that knows no UDP ASSOCIATE says so when it is asked."""
        for options, number in ((chain(micro.url(first=True)), "hop 1 of 1"),
                                (chain(hop.url(first=True), micro.url()), "hop 2 of 2")):
            said = script(options, """
s4.connect(T4)
deadline = time.monotonic() + 5
while time.monotonic() < deadline:
    try:
        s4.send(b"x")
        time.sleep(0.01)
    except OSError as error:
        assert error.errno in (errno.EACCES, errno.EOPNOTSUPP, errno.ECONNREFUSED), error
        break
else:
    raise SystemExit("never told")
""")
            tap.holds(said and number in said[0] and "support" in said[0], f"said: {said}")

    yield "a hop that speaks HTTP", http_hop
    yield "a SOCKS5 hop without UDP", hop_without


def rates(w, hops):
    def rate(count):
        """5,000 datagrams a second of 1,200 bytes, with few enough under way for every buffer."""
        text = """
s4.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
s4.connect(T4)
echoes(s4, b"begin")
count, got, data = 10000, [], os.urandom(1190)
def listen():
    try:
        while len(got) < count:
            got.append(s4.recv(2000))
    except TimeoutError:
        pass
listener = threading.Thread(target=listen)
listener.start()
began = time.monotonic()
for number in range(count):
    while number - len(got) > 40 and listener.is_alive():
        time.sleep(0.0002)
    time.sleep(max(0, began + number / 5000 - time.monotonic()))
    s4.send(number.to_bytes(10, "big") + data)
listener.join()
assert len(got) == count, f"{count - len(got)} are lost"
assert got == [number.to_bytes(10, "big") + data for number in range(count)], "in order and intact"
print(f"{count / (time.monotonic() - began):.0f}/s")
"""
        w.forget()
        got = w.via(chain(*[hop.url(first=i == 0) for i, hop in enumerate(hops[:count])]),
                    [PYTHON, "-c", HEAD + text], timeout=55)
        tap.same((got.code, got.err), (0, b""), "exit code and standard error")
        tap.same({what[1] for what in w.link.take()}, {NEAR}, "on the link")

    for count in (1, 2, 3):
        yield f"10,000 datagrams through {count} hops, none lost", lambda c=count: rate(c)


def cases(w):
    hops = [servers.viaductd(w) for _ in range(3)]
    echo = [Echo("origin", ORIGIN, ECHO + i) for i in range(3)]
    Echo("origin", ORIGIN6)
    Echo("proxy", NEAR, 999), Echo("proxy", NEAR6, 999)
    options = [chain(*[hop.url(first=i == 0) for i, hop in enumerate(hops[:count])]) for count in (1, 2, 3)]

    def run(text, more=(), beside=(), said=False, which=(0, 1, 2)):
        """With each chain: it ends well, is silent, only hop 1 is spoken to and no name is asked for."""
        for one in which:
            w.forget()
            got = w.via([*options[one], *more], [PYTHON, "-c", HEAD + text])
            tap.same((got.code, got.err if not said else b""), (0, b""), f"{one + 1} hops: exit code and standard error")
            beside_hop = {what for what in w.link.take() if what[1] != NEAR or what[2] == 999}
            tap.same(beside_hop, set(beside), f"{one + 1} hops: on the link")
            tap.same(w.names.take(), [], "names asked")

    for part in (ways(w, run, hops[0]), calls(w, run), sources(w, run, echo),
                 refused(w, hops[0], servers.microsocks(w), servers.tinyproxy(w)), rates(w, hops)):
        yield from part


if __name__ == "__main__":
    world.main(cases, (PYTHON, "microsocks", "tinyproxy"))
