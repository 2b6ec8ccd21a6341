#!/usr/bin/env python3
"""The leak table: every hooked call, by name and by address, IPv4 and IPv6, TCP and UDP. Through
viaduct no packet goes anywhere but to the first hop, and no name is asked for; without it the same
rows are seen, which shows that they could leak. A hook without a row is a failure."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import servers, tap, world
from lib.servers import chain
from lib.world import NAMES, NEAR, PYTHON

NAME, ADDRESS, SILENT = 4, 8, 64
WITH = {1: "TCP", 2: "UDP", 4: "by name", 8: "by address", 16: "IPv4", 32: "IPv6"}
GROUP_REPORTS = "224.0.0.22"  # where IGMPv3 tells of groups that were joined


# What each of some calls gives: show(result of a call of libc).
CALLS = """
import ctypes, errno, os, socket, struct
libc = ctypes.CDLL("libc.so.6", use_errno=True)
libc.syscall.restype = ctypes.c_long
def show(result):
    print(errno.errorcode[ctypes.get_errno()] if result < 0 else "ok")
def join(group, name=socket.IP_ADD_MEMBERSHIP):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    value = socket.inet_aton(group) + bytes(4)
    show(libc.setsockopt(s.fileno(), 0, name, value, len(value)))
def join6(group, name=socket.IPV6_JOIN_GROUP):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    value = socket.inet_pton(socket.AF_INET6, group) + bytes(4)
    show(libc.setsockopt(s.fileno(), 41, name, value, len(value)))
"""
REFUSALS = """
join("239.3.3.3")
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
show(libc.setsockopt(s.fileno(), 0, 35, bytes(3), 3))
show(libc.setsockopt(s.fileno(), 0, 35, None, 8))
show(libc.mount(b"10.3.0.1:/x", b"/mnt", b"nfs", 0, b"addr=10.3.0.1"))
show(libc.mount(b"none", b"/mnt", b"tmpfs", 0, None))
show(libc.fsopen(b"cifs", 0))
show(libc.iruserok(0x01020304, 0, b"me", b"you"))
show(libc.socket(43, socket.SOCK_STREAM, 0))
show(libc.syscall(425, 4, None))
show(libc.syscall(249, b"dns_resolver", b"x.leak.test", None, 0))
show(libc.syscall(41, socket.AF_INET, socket.SOCK_RAW, 1))
"""


class Row:
    def __init__(self, line):
        index, given, calls = line.split(" ", 2)
        self.index, self.given = int(index), int(given)
        self.calls, self.remark = re.fullmatch(r"([^(]*?) *(\(.*\))?", calls).groups()

    def __str__(self):
        how = ", ".join(words for bit, words in WITH.items() if self.given & bit)
        return f"{self.calls} {self.remark or ''} {how}"


def row_of_address(address, port):
    """The index of the row whose target this is, None if it is nobody's."""
    if address.startswith("fd03::"):
        return int(address[6:] or "0", 16)
    if address.startswith(("10.3.", "239.3.")):
        high, low = address.split(".")[2:]
        return int(high) * 256 + int(low)
    if address in ("10.1.0.255", "255.255.255.255"):
        return port - 40000
    return None


def row_of_name(name):
    words = name.lower().rstrip(".").split(".")
    if name.endswith(".leak.test") and words[0][1:].isdigit():
        return int(words[0][1:])
    if name.endswith(".3.10.in-addr.arpa"):
        low, high = words[:2] if len(words) == 6 else ("0", words[0])
        return int(high) * 256 + int(low)
    if name.endswith("ip6.arpa"):
        return int("".join(reversed(words[:4])), 16)
    return None


def hooks_of_map(w):
    with open(f"{w.source}/preload/libviaduct.map", encoding="ascii") as file:
        return set(re.findall(r"^\s+(\w+);", file.read(), re.M))


def cases(w):
    yield from cases_of(w, f"{w.build}/tests/e2e/leaks/leak_probe", hooks_of_map(w))


def cases_of(w, probe, hooks):
    plain, ours = servers.microsocks(w), servers.viaductd(w)
    listed = w.run("app", [probe, "list"])
    rows = {row.index: row for row in map(Row, listed.out.decode().splitlines())}

    def told(index):
        return str(rows[index]) if index in rows else f"row {index}"

    def seen():
        """({index: what was seen of it}, what belongs to no row)"""
        found, others = {}, []
        packets = [(row_of_address(where[1], where[2]), where) for where in w.link.take()]
        asked = [(row_of_name(name), (name, kind)) for name, kind, _ in w.names.take()]
        for index, what in packets + asked:
            if index is None:
                others.append(what)
            else:
                found.setdefault(index, []).append(what)
        return found, others

    def covers_every_hook():
        tap.holds(len(hooks) > 90, f"{len(hooks)} hooks in the map")
        covered = {call for row in rows.values() for call in row.calls.split()}
        tap.same(sorted(hooks - covered), [], "hooks without a row")

    def seen_without():
        w.forget()
        got = w.run("app", [probe, "play"])
        tap.same(got.code, 0, "exit code")
        found, others = seen()
        joins = [row.index for row in rows.values() if "group" in (row.remark or "")]
        if any(where[1] == GROUP_REPORTS for where in others):
            found.update({index: GROUP_REPORTS for index in joins})
        missing = [told(row.index) for row in rows.values()
                   if not row.given & SILENT and row.index not in found]
        tap.holds(not missing, "not seen, so they cannot fail: " + "; ".join(missing))
        tap.holds(len(found) > 150, f"{len(found)} rows were seen")

    def nothing_leaves(hop, options=()):
        def play():
            address, port = hop.at(first=True)
            w.forget()
            got = w.via(["-q", "-b", "none", *options, *chain(hop.url(first=True))], [probe, "play"])
            tap.same((got.code, got.out), (0, b""), "exit code, and rows that died")
            found, others = seen()
            tap.same({told(index): what for index, what in found.items()}, {}, "what leaked")
            beside = [what for what in others
                      if what != ("tcp", address, port) and what[:2] != ("udp", NEAR)]
            tap.same(beside, [], f"on the link, beside {hop} (names at {NAMES})")
        return play

    def refusals():
        got = w.via(chain(ours.url(first=True)), [PYTHON, "-c", CALLS + REFUSALS])
        tap.same(got.out.decode().split(),
                 ["ENETUNREACH", "EINVAL", "EFAULT", "EACCES", "ok", "EACCES", "EACCES", "EACCES", "ENOSYS",
                  "ENOKEY", "EACCES"])
        said = [line.split("]: ", 1)[1] for line in got.err.decode().splitlines()]
        tap.same(said[:2], ["239.3.3.3:0: multicast, broadcast and link-local addresses are not carried",
                            "mounting a network file system is refused: the kernel goes around the chain"])

    def groups_by_rule():
        options = ["-b", "239.3.0.0/16", *chain(ours.url(first=True))]
        got = w.via(options, [PYTHON, "-c", CALLS + 'join("239.3.3.3"); join("239.4.4.4")'])
        tap.same(got.out.decode().split(), ["ok", "ENETUNREACH"])
        w.forget()
        options = ["-b", "ff15::/16", *chain(ours.url(first=True))]
        got = w.via(options, [PYTHON, "-c", CALLS + 'join6("ff15::1"); join6("ff16::1"); join6("ff16::1", 27)\n'
                              's = socket.socket(socket.AF_INET6); show(libc.setsockopt(s.fileno(), 41, 20, bytes(3), 3))'])
        tap.same(got.out.decode().split(), ["ok", "ENETUNREACH", "ENETUNREACH", "EINVAL"], "groups of IPv6, and an anycast address")
        w.forget()

    yield "every hook has a row", covers_every_hook
    yield "without viaduct the rows are seen", seen_without
    yield "nothing leaves: a hop without UDP", nothing_leaves(plain)
    yield "nothing leaves: a hop with UDP", nothing_leaves(ours)
    yield "nothing leaves: UDP denied", nothing_leaves(ours, ["--udp", "deny"])
    yield "refusals: errno and line", refusals
    yield "groups that a rule lets pass", groups_by_rule


if __name__ == "__main__":
    world.main(cases, ("microsocks", PYTHON))
