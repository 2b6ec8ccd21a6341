"""Faults to order (tests/lib/faults.c): which call fails, with what, after how many that went well; and
whether it did.

    faults = Faults(w, "name")
    d = Daemon(w, words=faults.words())
    with faults.fails("recv", errno.ECONNRESET, skip=2, pid=worker): ...
"""

import contextlib
import mmap
import struct

from . import tap

SHORT = -1  # one byte of the work is done
DIES = -2  # the process is killed when the call has done its work
HEAD, CLOCK, ROW, ROWS = struct.Struct("=Ii"), struct.Struct("=q"), struct.Struct("24siIIII"), 64
AT = HEAD.size + CLOCK.size
CALLS = ("socket", "socketpair", "bind", "listen", "accept4", "connect", "getsockname", "getpeername", "getsockopt",
         "setsockopt", "shutdown", "epoll_create1", "epoll_ctl", "epoll_wait", "eventfd", "timerfd_create", "pipe2",
         "signalfd", "getifaddrs", "poll", "ppoll", "recvmmsg", "sendmmsg", "fork", "posix_fallocate64", "send", "sendto", "recv",
         "recvfrom", "read", "write", "splice", "sendmsg", "recvmsg", "close", "open", "open64", "malloc", "calloc",
         "realloc", "send datagram", "sendto datagram", "recv datagram", "recvfrom datagram")


class Faults:
    """A file of orders, shared with the processes that are started with env()."""

    def __init__(self, w, name="faults"):
        self.library = f"{w.build}/tests/lib/faults.so"
        size = AT + ROW.size * ROWS
        self.path = w.file(name, "", 0o666)
        with open(self.path, "r+b") as file:
            file.truncate(size)
            self.map = mmap.mmap(file.fileno(), size)
        self.reset()

    def env(self):
        return {"LD_PRELOAD": self.library, "VIADUCT_FAULTS": self.path}

    def words(self):
        """In front of a command."""
        return ("env", *(f"{name}={value}" for name, value in self.env().items()))

    def reset(self):
        """Nothing fails, and nothing was counted."""
        self.arm(False)
        for number, call in enumerate(CALLS):
            self._write(number, call, 0, 0, 0)

    def arm(self, on=True, pid=0):
        HEAD.pack_into(self.map, 0, on, pid)

    def clock(self, seconds):
        """The time of day is so much later from now on, or earlier; it stays until it is set anew."""
        CLOCK.pack_into(self.map, HEAD.size, seconds)

    def _write(self, number, call, error, skip, times):
        ROW.pack_into(self.map, AT + number * ROW.size, call.encode(), error, skip, times, 0, 0)

    def order(self, call, error, skip=0, times=1):
        self._write(CALLS.index(call), call, error, skip, times)

    def counts(self):
        """{call: (how often it was made, how often it failed by order)}, of those that were made."""
        rows = (ROW.unpack_from(self.map, AT + n * ROW.size) for n in range(len(CALLS)))
        return {row[0].rstrip(b"\0").decode(): row[4:] for row in rows if row[4]}

    def seen(self):
        return {call: made for call, (made, _) in self.counts().items()}

    def fired(self, call):
        return self.counts().get(call, (0, 0))[1]

    @contextlib.contextmanager
    def fails(self, call, error, skip=0, times=1, pid=0):
        """Within, the call fails; it must have, when this is left in order."""
        self.reset()
        self.order(call, error, skip, times)
        self.arm(pid=pid)
        yield
        fired = self.fired(call)
        self.reset()
        tap.holds(fired > 0, f"{call} was never made to fail")
