"""Hops for viaductd's upstreams: configurations, and by which of them connections go."""

from . import hostile, tap, world
from .daemon import HOME
from .flights import echo, relays
from .visit import SOCKS5
from .world import ORIGIN

HERE, VANISH = "127.0.0.1", "10.2.0.88"


def hops_of(urls):
    return ", ".join(f'"{url}"' for url in urls)


def upstream(*urls, name="", more=""):
    return f"upstream {name} {{ hops = {{{hops_of(urls)}}} {more} }}\n"


def talk(d, target, way=SOCKS5, data=b"PING", **how):
    """The reply's code, of a visit that carries bytes if it is good, and its line in the log."""
    with d.visit(way, target, **how) as visit:
        if visit.ok:
            visit.sock.sendall(data)
            tap.same(visit.read(len(data)), data, "what came back")
    return visit.code, d.session(visit)


def ways(d, target, count=1, **how):
    """The hops of so many connections that are all good."""
    result = []
    for _ in range(count):
        code, line = talk(d, target, **how)
        tap.same(code, how.get("way", SOCKS5).good, f"reply: {line}")
        result.append(line["via"])
    return result


class Hops:
    """Three that bear everything, an origin that echoes, and who is not there."""

    def __init__(self, w):
        self.w = w
        w.hosts(HOME, f"{ORIGIN} a.one.test a.two.test a.three.test\n")
        # packets to this address are lost
        world._must(["ip", "-n", HOME, "neigh", "add", VANISH, "lladdr", "02:00:00:00:00:99", "dev", "org1",
                     "nud", "permanent"])
        self.origin = hostile.Scripted("origin", ORIGIN, 7, echo)
        self.hops = [hostile.Scripted(HOME, HERE, w.port(), relays()) for _ in range(3)]
        self.urls = [hop.url("socks5h") for hop in self.hops]
        self.target = (ORIGIN, 7)

    def nobody(self):
        return f"socks5h://{HERE}:{self.w.port()}"
