"""Which IP packets leave a link, and whereto.

An AF_PACKET socket sees every packet that the kernel hands to the device, before anything can
drop it. The upkeep of the IPv6 link itself (neighbour discovery, multicast membership: ICMPv6 130
to 137 and 143) is nobody's traffic and is left out; everything else counts.
"""

import ipaddress
import select
import socket
import struct
import threading

from . import netns
from .tap import fail

ETH_P_ALL = 3
SO_RCVBUFFORCE = 33
SOL_PACKET = 263
PACKET_STATISTICS = 6
PACKET_OUTGOING = 4
IPV4, IPV6 = 0x0800, 0x86DD
PROTOS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6", 132: "sctp", 136: "udplite"}
LINK_UPKEEP = set(range(130, 138)) | {143}
EXTENSIONS = {0, 43, 44, 60}


def _ports(proto, rest):
    if proto in (6, 17, 132, 136) and len(rest) >= 4:
        return struct.unpack("!HH", rest[:4])[1]
    return 0


def _read_v4(packet):
    proto, start = packet[9], (packet[0] & 15) * 4
    first_part = struct.unpack("!H", packet[6:8])[0] & 0x1FFF == 0
    target = str(ipaddress.ip_address(packet[16:20]))
    return proto, target, packet[start:] if first_part else b""


def _read_v6(packet):
    proto, rest = packet[6], packet[40:]
    while proto in EXTENSIONS and len(rest) >= 8:
        length = 8 if proto == 44 else (rest[1] + 1) * 8
        proto, rest = rest[0], rest[length:]
    return proto, str(ipaddress.ip_address(packet[24:40])), rest


def _opens(proto, rest):
    """Anything but a TCP segment of a connection that was there before: SYN without ACK."""
    return proto != 6 or len(rest) < 14 or rest[13] & 0x12 == 0x02


def classify(ethertype, packet):
    """((proto, address, port), whether it begins something) of an IP packet, or None for what is not
    counted."""
    if ethertype == IPV4 and len(packet) >= 20:
        proto, target, rest = _read_v4(packet)
    elif ethertype == IPV6 and len(packet) >= 40:
        proto, target, rest = _read_v6(packet)
        if proto == 58 and rest and rest[0] in LINK_UPKEEP:
            return None
    else:
        return None
    return (PROTOS.get(proto, str(proto)), target, _ports(proto, rest)), _opens(proto, rest)


class Sniffer:
    """Records what leaves `device` in namespace `ns` until close()."""

    def __init__(self, ns, device):
        with netns.inside(ns):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        except PermissionError:  # not root: the thread below must be quick enough
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.sock.bind((device, ETH_P_ALL))
        self.sock.setblocking(False)
        self.lock = threading.Lock()
        self.seen, self.begun, self.known = {}, set(), set()
        self.open = True
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()

    def _drain(self):
        while True:
            try:
                packet, where = self.sock.recvfrom(160)
            except BlockingIOError:
                return
            if where[2] != PACKET_OUTGOING:
                continue
            known = classify(where[1], packet)
            if known:
                what, begins = known
                self.seen[what] = self.seen.get(what, 0) + 1
                if begins:
                    self.begun.add(what)

    def _follow(self):
        while self.open:
            select.select([self.sock], [], [], 0.2)
            with self.lock:
                if self.open:
                    self._drain()

    def close(self):
        with self.lock:
            self.open = False
        self.thread.join()
        self.sock.close()

    def take(self):
        """{(proto, address, port): packets} since the last take. The kernel queues a packet here
        while it is sent: what a program sent is seen when the program has ended. Goodbyes to
        connections of earlier takes (no SYN among the packets) are left out."""
        with self.lock:
            self._drain()
            seen = {w: n for w, n in self.seen.items() if w in self.begun or w not in self.known}
            self.known |= self.begun
            self.seen, self.begun = {}, set()
            stats = self.sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        dropped = struct.unpack("II", stats)[1]
        if dropped:
            fail(f"the sniffer lost {dropped} packets: it cannot tell what was sent")
        return seen

    def expect(self, *wanted):
        """Exactly the (address, port) of `wanted` were spoken to by TCP since the last take, and
        nobody else by any protocol."""
        wanted = {("tcp", address, port) for address, port in wanted}
        seen = self.take()
        if set(seen) != wanted:
            beside = set(seen) - wanted
            fail(f"on the link: {seen}; missing: {wanted - set(seen)}; must not be there: {beside}")
