"""A long wire between the hosts proxy and origin: what is sent on it arrives later.

    proxy 10.3.0.1, fd03::1 ==== (DELAY each way) ==== 10.3.0.2, fd03::2 origin

Networks behind origin that it does not forward to are silent.
"""

import ctypes
import errno
import fcntl
import socket
import struct
import subprocess
import threading
import time

from lib import netns
from lib.world import wait_until

DELAY = 0.25
NEAR, NEAR6, FAR, FAR6 = "10.3.0.1", "fd03::1", "10.3.0.2", "fd03::2"
SILENT, SILENT6 = "10.9.0.9", "fd09::9"
LINKS = """
link add wire0 netns proxy type veth peer name end0 netns wire
link add wire0 netns origin type veth peer name end1 netns wire
"""
SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17


def _ip(*words, stdin=None):
    subprocess.run(["ip", *words], input=stdin, text=True, check=True, capture_output=True)


def _whole_checksums(host, device):
    """Frames go through user space, so the kernel must not leave checksums to a network card."""
    value = ctypes.create_string_buffer(struct.pack("II", ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP", device.encode(), ctypes.addressof(value))
    with netns.inside(host), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCETHTOOL, request)


class _Carrier:
    """One direction: frames of one device appear on the other, DELAY later."""

    def __init__(self, source, sink):
        self.source, self.sink = source, sink
        self.queue, self.more = [], threading.Condition()
        threading.Thread(target=self._take, daemon=True).start()
        threading.Thread(target=self._give, daemon=True).start()

    def _take(self):
        while True:
            frame, where = self.source.recvfrom(65536)
            if where[2] == socket.PACKET_OUTGOING:
                continue
            with self.more:
                self.queue.append((time.monotonic() + DELAY, frame))
                self.more.notify()

    def _give(self):
        while True:
            with self.more:
                while not self.queue:
                    self.more.wait()
                due, frame = self.queue.pop(0)
            time.sleep(max(0.0, due - time.monotonic()))
            self.sink.send(frame)


def _answers(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with netns.inside("proxy"), socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(3)
        return sock.connect_ex((address, 1)) == errno.ECONNREFUSED


def lay():
    """Lays the wire; once per world."""
    _ip("netns", "add", "wire")
    _ip("-batch", "-", stdin=LINKS)
    for host, four, six in (("proxy", NEAR, NEAR6), ("origin", FAR, FAR6)):
        _whole_checksums(host, "wire0")
        _ip("-n", host, "addr", "add", f"{four}/24", "dev", "wire0")
        _ip("-n", host, "addr", "add", f"{six}/64", "dev", "wire0", "nodad")
        _ip("-n", host, "link", "set", "wire0", "up")
    ends = []
    for device in ("end0", "end1"):
        netns.write("wire", f"/proc/sys/net/ipv6/conf/{device}/disable_ipv6", "1")
        _ip("-n", "wire", "link", "set", device, "promisc", "on", "up")
        with netns.inside("wire"):
            end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        end.bind((device, 3))
        ends.append(end)
    carriers = [_Carrier(ends[0], ends[1]), _Carrier(ends[1], ends[0])]
    _ip("-n", "proxy", "route", "add", f"{SILENT}/32", "via", FAR)
    _ip("-n", "proxy", "route", "add", f"{SILENT6}/128", "via", FAR6)
    _ip("-n", "origin", "route", "add", "blackhole", f"{SILENT6}/128")
    for address in (FAR, FAR6):
        wait_until(lambda a=address: _answers(a), f"{address} answers over the long wire")
    return carriers
