"""Entering network namespaces, from Python 3.11's standard library.

A socket stays in the namespace that it was made in, whatever its thread does later; so servers of
our own are threads of the test, with sockets made inside `with inside("app")`.
"""

import contextlib
import ctypes
import os
import socket
import struct
import threading

CLONE_NEWNET = 0x40000000
ESTABLISHED, SYN_SENT, UNCONNECTED, LISTEN = 1, 2, 7, 10  # states of sockets
CONNECTED = (1, 2, 4, 5, 8, 9, 11)  # all of a connection, its beginning and its end
_SOCKET = struct.Struct("=BB2x2s2s16s16s12x16xI")  # struct inet_diag_msg
_libc = ctypes.CDLL(None, use_errno=True)


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


@contextlib.contextmanager
def inside(name):
    """The calling thread works in the network namespace `name`."""
    path = f"/proc/self/task/{threading.get_native_id()}/ns/net"
    home = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def read(name, path):
    """A file of /proc/sys/net or /proc/thread-self/net as `name` sees it."""
    with inside(name), open(path, encoding="ascii") as file:
        return file.read()


def write(name, path, text):
    with inside(name), open(path, "w", encoding="ascii") as file:
        file.write(text)


class Socket:
    """As the kernel tells of it."""

    def __init__(self, data):
        family, self.state, sport, dport, src, dst, self.inode = _SOCKET.unpack(data[: _SOCKET.size])
        size = 4 if family == socket.AF_INET else 16
        self.local, self.peer = (_shown(family, src[:size], sport), _shown(family, dst[:size], dport))


def _shown(family, address, port):
    host = socket.inet_ntop(family, address)
    port = int.from_bytes(port, "big")
    return f"{host}:{port}" if family == socket.AF_INET else f"[{host}]:{port}"


def sockets(name, proto, *states, port=0):
    """Sockets in these states, on a local port (0: any). By sock_diag: the tables of /proc/net are slow to
    read, and the servers see no connection of ours."""
    with inside(name):
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)  # NETLINK_SOCK_DIAG
    found = []
    with netlink:
        for family in (socket.AF_INET, socket.AF_INET6):
            asked = struct.pack("=BBBxI", family, proto, 0, sum(1 << state for state in states)) + struct.pack("!H", port) + bytes(46)
            netlink.send(struct.pack("=IHHII", 16 + len(asked), 20, 0x301, 0, 0) + asked)  # SOCK_DIAG_BY_FAMILY, dump
            while not _take(netlink.recv(1 << 16), found):
                pass
    return found


def _take(data, found):
    """Whether it was the last of a dump."""
    while data:
        length, kind = struct.unpack("=IH", data[:6])
        if kind == 2:  # NLMSG_ERROR
            number = -struct.unpack("=i", data[16:20])[0]
            raise OSError(number, f"sock_diag: {os.strerror(number)}")
        if kind == 3:  # NLMSG_DONE
            return True
        found.append(Socket(data[16:length]))
        data = data[(length + 3) & ~3 :]
    return False


def listening(name, port, proto="tcp"):
    """Whether something listens on the port (any address)."""
    return bool(sockets(name, socket.IPPROTO_TCP, LISTEN, port=port) if proto == "tcp" else sockets(name, socket.IPPROTO_UDP, UNCONNECTED, port=port))
