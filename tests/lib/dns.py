"""A name server that logs every query; it knows what a test tells it."""

import ipaddress
import select
import socket
import struct
import threading

from . import netns

TYPES = {1: "A", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 65: "HTTPS"}
NXDOMAIN = 3


def _question(message):
    """(name, type, end) of the first question."""
    labels, at = [], 12
    while message[at]:
        length = message[at]
        labels.append(message[at + 1 : at + 1 + length].decode("latin-1"))
        at += 1 + length
    kind = struct.unpack("!H", message[at + 1 : at + 3])[0]
    return ".".join(labels).lower(), TYPES.get(kind, str(kind)), at + 5


def _name(text):
    out = b""
    for label in text.split("."):
        out += bytes([len(label)]) + label.encode("ascii")
    return out + b"\0"


def _record(kind, data):
    return b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data


class Dns:
    """Listens on (address, 53) of a namespace, UDP and TCP."""

    def __init__(self, ns, address):
        self.names = {}
        self.records = {}
        self.log = []
        self.lock = threading.Lock()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with netns.inside(ns):
            self.udp = socket.socket(family, socket.SOCK_DGRAM)
            self.tcp = socket.socket(family, socket.SOCK_STREAM)
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.udp.bind((address, 53))
        self.tcp.bind((address, 53))
        self.tcp.listen(16)
        threading.Thread(target=self._serve, daemon=True).start()

    def know(self, name, *addresses):
        """The name has these addresses (none: it exists, without any)."""
        self.names[name.lower()] = [ipaddress.ip_address(a) for a in addresses]

    def know_record(self, name, kind, data):
        """One record of another type, its data as on the wire."""
        self.names.setdefault(name.lower(), [])
        self.records[name.lower(), kind] = data

    def know_reverse(self, address, name):
        self.names[ipaddress.ip_address(address).reverse_pointer] = name

    def forget(self, name):
        self.names.pop(name.lower(), None)

    def take(self):
        """[(name, type, "udp" or "tcp")] asked since the last take."""
        while select.select([self.udp], [], [], 0)[0]:
            self._serve_udp()
        with self.lock:
            log, self.log = self.log, []
        return log

    def _answers(self, name, kind):
        known = self.names[name]
        if (name, kind) in self.records:
            return [_record(next(n for n, k in TYPES.items() if k == kind), self.records[name, kind])]
        if isinstance(known, str):
            return [_record(12, _name(known))] if kind == "PTR" else []
        version = {"A": 4, "AAAA": 6}.get(kind)
        return [_record(1 if a.version == 4 else 28, a.packed) for a in known if a.version == version]

    def _reply(self, query, proto):
        name, kind, end = _question(query)
        self.log.append((name, kind, proto))
        known = name in self.names
        answers = self._answers(name, kind) if known else []
        flags = 0x8580 | (0 if known else NXDOMAIN)
        head = query[:2] + struct.pack("!HHHHH", flags, 1, len(answers), 0, 0)
        return head + query[12:end] + b"".join(answers)

    def _serve_udp(self):
        with self.lock:
            try:
                query, whence = self.udp.recvfrom(4096, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            try:
                self.udp.sendto(self._reply(query, "udp"), whence)
            except (IndexError, struct.error):
                self.log.append(("(not a query)", query.hex(), "udp"))

    def _serve_tcp(self, conn):
        with conn:
            conn.settimeout(5)
            try:
                while head := conn.recv(2, socket.MSG_WAITALL):
                    query = conn.recv(struct.unpack("!H", head)[0], socket.MSG_WAITALL)
                    with self.lock:
                        reply = self._reply(query, "tcp")
                    conn.sendall(struct.pack("!H", len(reply)) + reply)
            except (OSError, IndexError, struct.error):
                return

    def _serve(self):
        while True:
            for ready in select.select([self.udp, self.tcp], [], [])[0]:
                if ready is self.udp:
                    self._serve_udp()
                else:
                    conn, _ = self.tcp.accept()
                    threading.Thread(target=self._serve_tcp, args=(conn,), daemon=True).start()
