#!/usr/bin/env python3
"""Names by the thousand from many processes at once; who owns what getaddrinfo() gives; what this
machine is called, and its networks."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import servers, tap, world
from lib.servers import chain
from lib.world import PYTHON

COUNT = 10000
CTYPES = """
import ctypes, sys
libc = ctypes.CDLL(None)
class Net(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("aliases", ctypes.POINTER(ctypes.c_char_p)),
                ("type", ctypes.c_int), ("net", ctypes.c_uint32)]
libc.getnetbyname.restype = libc.getnetbyaddr.restype = ctypes.POINTER(Net)
def show(found):
    print(found.contents.name.decode(), hex(found.contents.net)) if found else print("none")
def by_name_r(name, room):
    net, result, error = Net(), ctypes.POINTER(Net)(), ctypes.c_int()
    buf = ctypes.create_string_buffer(room)
    return libc.getnetbyname_r(name, ctypes.byref(net), buf, ctypes.c_size_t(room), ctypes.byref(result),
                               ctypes.byref(error)), bool(result)
"""


def cases(w):
    hop = servers.microsocks(w)
    remote = ["-q", *chain(hop.url(first=True))]
    crowd = w.probe("names_crowd")

    def run(argv, options=(), code=0):
        w.forget()
        got = w.via([*remote, *options], argv, timeout=50)
        tap.same(got.code, code, "exit code")
        w.quiet()
        return got

    def many():
        got = run([crowd, str(COUNT)], ["--audit"])
        tap.same(got.out.decode(), f"{COUNT} the same everywhere, {COUNT} different\n")
        counts = re.search(r"names: (\d+) stayed \((\d+) lookups\), (\d+) lookups asked", got.err.decode())
        tap.same([int(n) for n in counts.groups()], [COUNT, COUNT * 32, 0], "names, lookups, asked here")

    def ownership():
        for name in ("v4.origin.test", "localhost", "apphost"):
            tap.same(run([crowd, "leak", "2000", name]).out, b"0\n", f"bytes left behind by {name}")

    def host_id():
        direct = w.run("app", ["hostid"])
        tap.same(run(["hostid"]).out, direct.out, "of a name in /etc/hosts")
        # of one that only a name server could know
        got = run(["unshare", "--uts", "sh", "-c", "hostname nobody.knows; exec hostid"])
        tap.same(got.out, b"007f0100\n", "loopback's")

    def networks():
        with open("/etc/networks", "w", encoding="ascii") as file:
            file.write("loopback 127.0.0.0\nlab 10.2 research\n")
        script = CTYPES + """
show(libc.getnetbyname(b"lab")); show(libc.getnetbyname(b"RESEARCH")); show(libc.getnetbyname(b"other"))
show(libc.getnetbyaddr(0x0a020000, 2)); show(libc.getnetbyaddr(0x0a090000, 2))
print(by_name_r(b"lab", 200), by_name_r(b"lab", 2)[0], by_name_r(b"other", 200))
"""
        out = run([PYTHON, "-c", script]).out.decode().splitlines()
        tap.same(out, ["lab 0xa020000", "lab 0xa020000", "none", "lab 0xa020000", "none",
                       "(0, True) 34 (0, False)"])

    def one_family():
        """An answer for any family has one address: two would be two connections to one target."""
        got = run(["getent", "ahosts", "v6.origin.test"])
        tap.same(len({line.split()[0] for line in got.out.splitlines()}), 1, "addresses")

    yield "10,000 names from 8 processes of 4 threads", many
    yield "freeaddrinfo() and the pieces of a list", ownership
    yield "gethostid() asks nobody", host_id
    yield "getnetbyname() and getnetbyaddr() look into files only", networks
    yield "one address for any family", one_family


if __name__ == "__main__":
    world.main(cases, ("getent", "hostid", "hostname", "microsocks", PYTHON))
