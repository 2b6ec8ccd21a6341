"""Entering network namespaces, from Python 3.11's standard library.

A socket stays in the namespace that it was made in, whatever its thread does later; so servers of
our own are threads of the test, with sockets made inside `with inside("app")`.
"""

import contextlib
import ctypes
import os
import threading

CLONE_NEWNET = 0x40000000
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


def listening(name, port, proto="tcp"):
    """Whether something listens on the port (any address). Asks the kernel, so that the server
    sees no connection of ours."""
    state = {"tcp": "0A", "udp": "07"}[proto]
    for table in (proto, proto + "6"):
        for line in read(name, f"/proc/thread-self/net/{table}").splitlines()[1:]:
            fields = line.split()
            if fields[3] == state and int(fields[1].rsplit(":", 1)[1], 16) == port:
                return True
    return False
