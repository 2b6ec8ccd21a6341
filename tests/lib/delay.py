"""Links between hops: a TCP relay that hands every byte on a fixed time after it came, and one that
counts how often a tunnel's bytes waited for each other.

The connection itself is made at once, so that what a handshake costs in round trips is seen alone:
one takes twice `seconds`.
"""

import contextlib
import queue
import socket
import threading
import time

from . import netns


class Trips:
    """Counts the round trips of tunnels through `count` hops, made one after the other, whatever time they
    take: with a delay on each link this would be the time, with nothing else in it.

    Each end of a link has a clock of crossings (Lamport's): what is sent bears the sender's, and whoever
    receives it has seen one crossing more. A crossing is half of a round trip."""

    def __init__(self, count):
        self.clocks, self.lock, self.tunnels = [0] * (count + 1), threading.Lock(), []

    def begin(self):
        with self.lock:
            self.clocks = [0] * len(self.clocks)
            self.tunnels.append(0)

    def leaves(self, place):
        with self.lock:
            return self.clocks[place]

    def arrives(self, place, sent):
        with self.lock:
            self.clocks[place] = max(self.clocks[place], sent + 1)
            if place == 0:
                self.tunnels[-1] = self.clocks[0] / 2


class Delayed:
    """Listens on (address, port) of `host` and relays to (to_address, to_port) of it. Without a host
    it is the caller's own. With `trips` it is the link behind that many others of what is counted."""

    def __init__(self, host, address, port, to, seconds, trips=None, place=0):
        self.where = netns.inside if host else contextlib.nullcontext
        with self.where(host):
            self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.listener.listen(64)
        self.host, self.at, self.to, self.seconds = host, self.listener.getsockname(), to, seconds
        self.port, self.trips, self.place = self.at[1], trips, place
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def url(self, scheme="socks5h", login="", options=""):
        return f"{scheme}://{login + '@' if login else ''}{self.at[0]}:{self.port}{options}"

    def stop(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                with self.where(self.host):
                    far = socket.create_connection(self.to)
            except OSError:
                near.close()
                continue
            if self.trips and self.place == 0:
                self.trips.begin()
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, sink, place, there in ((near, far, self.place, self.place + 1),
                                               (far, near, self.place + 1, self.place)):
                line = queue.SimpleQueue()
                threading.Thread(target=self._take, args=(source, line, place), daemon=True).start()
                threading.Thread(target=self._hand_on, args=(line, sink, there), daemon=True).start()

    def _take(self, source, line, place):
        data = b"."
        while data:
            try:
                data = source.recv(65536)
            except OSError:
                data = b""
            line.put((time.monotonic() + self.seconds, data, self.trips.leaves(place) if self.trips else 0))

    def _hand_on(self, line, sink, there):
        data = b"."
        while data:
            due, data, sent = line.get()
            time.sleep(max(0, due - time.monotonic()))
            try:
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                if self.trips:
                    self.trips.arrives(there, sent)
                sink.sendall(data)
            except OSError:
                return
