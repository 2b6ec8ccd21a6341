#!/usr/bin/env python3
"""Chain modes: which hops a connection takes, what becomes of dead ones, and that one hop's failure is
no failure of the connection while another hop can stand in."""

import collections
import os
import re
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import datagrams, hostile, servers, tap, world
from lib.servers import chain
from lib.world import NEAR, ORIGIN, PYTHON

# COUNT connections from each of PROCESSES, one after the other or from THREADS at a time; each asks
# the web server for a page. Prints the failures.
CLIENT = """
import os, socket, sys, threading, time
count, processes, threads, address, pause = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), \
    sys.argv[4], float(sys.argv[5])
def one():
    try:
        with socket.create_connection((address, 80), 25) as s:
            s.settimeout(25)
            s.sendall(b'HEAD / HTTP/1.0\\r\\n\\r\\n')
            if not s.recv(4).startswith(b'HTTP'):
                print('odd answer', flush=True)
    except OSError as error:
        print(error, flush=True)
    time.sleep(pause)
def many():
    for _ in range(count):
        one()
for _ in range(processes):
    pid = os.fork() if processes > 1 else 0
    if pid == 0:
        ts = [threading.Thread(target=many) for _ in range(threads)]
        [t.start() for t in ts]
        [t.join() for t in ts]
        if processes > 1:
            os._exit(0)
    else:
        os.waitpid(pid, 0)
"""


def cases(w):
    servers.Nginx(w)
    hops = [servers.microsocks(w), servers.viaductd(w), servers.microsocks(w)]
    urls = [hop.url("socks5h", first=True) for hop in hops]
    nobody = f"socks5h://{NEAR}:{w.port()}"

    def run(options, count=1, processes=1, threads=1, address=ORIGIN, pause=0.0):
        words = [PYTHON, "-c", CLIENT, *map(str, (count, processes, threads, address, pause))]
        got = w.via(["-v", *options], words, timeout=50)
        tap.same(got.code, 0, "exit code")
        return got

    def ways(got):
        """The hops of each connection that came up, in order."""
        lines = re.findall(r"connected through (.*) in \d+ ms", got.err.decode())
        return [tuple(line.split(", ")) for line in lines]

    def all_well(got, count):
        tap.same(got.out, b"", "failures")
        tap.same(len(ways(got)), count, "connections")

    # --- dynamic ------------------------------------------------------------------------------

    def dynamic():
        """A dead hop is left out, and known to be dead from then on, in every process."""
        for position in range(3):
            order = urls[:2]
            order.insert(position, nobody)
            w.forget()
            got = run([*chain(*order), "-m", "dynamic"], count=2, processes=2)
            all_well(got, 4)
            tap.same(set(ways(got)), {tuple(urls[:2])}, "ways")
            tap.same(got.err.count(b"another way is tried"), 1, "how often it was found out")
            seen = set(w.link.take())
            tap.holds(hops[0].at(first=True) in {(a, p) for _, a, p in seen}, f"on the link: {seen}")

    def dynamic_all_alive():
        got = run([*chain(*urls), "-m", "dynamic"], count=3)
        all_well(got, 3)
        tap.same(set(ways(got)), {tuple(urls)}, "ways")

    def all_dead():
        """Fails, says so, and goes nowhere else."""
        for mode in ("dynamic", "failover", "random", "round_robin"):
            port = int(nobody.rpartition(":")[2])
            w.forget()
            got = run([*chain(nobody, nobody), "-m", mode])
            tap.holds(b"refused" in got.out or b"unreachable" in got.out, "the program was told")
            tap.holds(b"cannot be reached: Connection refused" in got.err, "the line")
            tap.same(set(w.link.take()), {("tcp", NEAR, port)}, "on the link")

    # --- the others ---------------------------------------------------------------------------

    def random():
        got = run([*chain(*urls), "-m", "random"], count=60)
        all_well(got, 60)
        tap.same(set(ways(got)), {(url,) for url in urls}, "each is taken")

    def random_two():
        got = run([*chain(*urls), "-m", "random", "-n", "2"], count=60)
        all_well(got, 60)
        taken = set(ways(got))
        tap.same({len(way) for way in taken}, {2}, "hops")
        tap.same(taken, {(a, b) for a in urls for b in urls if a != b}, "each pair is taken")

    def round_robin():
        """In turn, over all processes of the session."""
        got = run([*chain(*urls), "-m", "round_robin"], count=3, processes=4)
        all_well(got, 12)
        tap.same(ways(got), [(url,) for url in urls] * 4, "ways")

    def round_robin_two():
        got = run([*chain(*urls), "-m", "round_robin", "-n", "2"], count=3)
        all_well(got, 3)
        tap.same(ways(got), [(urls[0], urls[1]), (urls[2], urls[0]), (urls[1], urls[2])], "ways")

    def failover():
        got = run([*chain(*urls), "-m", "failover"], count=3)
        all_well(got, 3)
        tap.same(set(ways(got)), {(urls[0],)}, "ways")
        got = run([*chain(nobody, *urls), "-m", "failover"], count=3)
        all_well(got, 3)
        tap.same(set(ways(got)), {(urls[0],)}, "ways")
        tap.same(got.err.count(b"another way is tried"), 1, "how often it was found out")

    def failover_of_two():
        got = run([*chain(nobody, *urls), "-m", "failover", "-n", "2"], count=2)
        all_well(got, 2)
        tap.same(set(ways(got)), {(urls[0], urls[1])}, "ways")

    def by_configuration():
        hops_of = ", ".join(f'"{url}"' for url in urls)
        path = w.file("modes.conf", f'chain default {{ hops = {{{hops_of}}} mode = "round_robin" pick = 2 }}\n')
        got = run(["-f", path], count=3)
        all_well(got, 3)
        tap.same(ways(got)[0], (urls[0], urls[1]), "the first way")
        got = run(["-f", path, "-m", "failover", "-n", "1"], count=2)
        tap.same(set(ways(got)), {(urls[0],)}, "-m and -n come first")

    def event_loop():
        """The same without blocking."""
        code = (
            "import asyncio\nasync def one():\n"
            f"    r, w = await asyncio.open_connection('{ORIGIN}', 80)\n"
            "    w.write(b'HEAD / HTTP/1.0\\r\\n\\r\\n')\n    assert (await r.read(4)) == b'HTTP'\n"
            "async def all():\n    await asyncio.gather(*[one() for _ in range(20)])\nasyncio.run(all())\n"
        )
        for mode in ("dynamic", "failover"):
            got = w.via(["-v", *chain(nobody, urls[0]), "-m", mode], [PYTHON, "-c", code])
            tap.same(got.code, 0, "exit code")
            tap.same(collections.Counter(ways(got)), {(urls[0],): 20}, "ways")

    # --- what is whose fault --------------------------------------------------------------------

    def the_targets_fault():
        """A target that refuses is asked once: no other hop could do better."""
        heard = []

        def refusing(peer):
            peer.socks5_greeting()
            heard.append(peer.socks5_request())
            peer.say(hostile.socks5_reply(5))

        ports = [w.port(), w.port()]
        with hostile.Scripted("proxy", NEAR, ports[0], refusing), hostile.Scripted(
            "proxy", NEAR, ports[1], refusing
        ):
            options = [w2 for port in ports for w2 in ("-x", f"socks5h://{NEAR}:{port}?pipeline=off")]
            got = run([*options, "-m", "failover"])
        tap.holds(b"Connection refused" in got.out, "the program is told")
        tap.same(heard, [(1, ORIGIN, 80)], "requests")

    def a_refused_login():
        other = servers.microsocks(w, login=True)
        bad = other.url("socks5h", first=True, login="eve:wrong")
        got = run([*chain(bad, urls[0]), "-m", "failover"], count=2)
        all_well(got, 2)
        tap.holds(b"refused the login" in got.err and b"another way is tried" in got.err, "the line")
        tap.holds(b"wrong" not in got.err, "no password")

    def a_hop_that_is_no_good():
        """Whatever it does instead of speaking the protocol."""
        for script in (hostile.closes_at_once, hostile.says(b"SSH-2.0-x\r\n"), hostile.resets_after(3)):
            with hostile.Scripted("proxy", NEAR, w.port(), script) as bad:
                got = run([*chain(bad.url("socks5h"), urls[1]), "-m", "dynamic"], count=2)
            all_well(got, 2)
            tap.same(set(ways(got)), {(urls[1],)}, "ways")

    def a_silent_hop():
        """Takes up its own limit, not the whole time."""
        with hostile.Scripted("proxy", NEAR, w.port(), hostile.silent) as bad:
            url = bad.url("socks5h") + "?timeout=0.5"
            got = run([*chain(url, urls[0]), "-m", "failover"], count=2)
        all_well(got, 2)
        tap.holds(got.seconds < 5, f"{got.seconds:.1f} s")

    # --- killed and revived ---------------------------------------------------------------------

    def under_load():
        """A hop ends and comes back while connections are made: none fails."""
        mine = servers.viaductd(w)
        result = []
        options = [*chain(mine.url("socks5h", first=True), urls[2]), "-m", "failover"]
        load = threading.Thread(
            target=lambda: result.append(run(options, count=40, threads=6, pause=0.02))
        )
        load.start()
        world.wait_until(lambda: mine.server.log().count("session") > 5, "the first hop is taken")
        for _ in range(2):
            time.sleep(0.2)
            mine.server.proc.kill()
            mine.server.proc.wait()
            time.sleep(0.3)
            mine = servers.viaductd(w, port=mine.port)
        load.join()
        got = result[0]
        odd = [line for line in got.out.splitlines() if line]
        # what was up when the hop was killed is lost with it; what is set up meanwhile is not
        tap.holds(len(odd) <= 12 and not any(b"refused" in line or b"unreachable" in line for line in odd),
                  f"failures: {odd}")
        taken = collections.Counter(ways(got))
        tap.holds(len(taken) == 2 and min(taken.values()) > 5, f"both were taken: {taken}")

    def names_stay():
        """In these modes any hop may be the last; one that takes no names has them resolved here."""
        w.names.know("here.test", ORIGIN)
        w.forget()
        got = run([*chain(urls[0], hops[1].url("socks5", first=True)), "-m", "failover"], address="here.test")
        all_well(got, 1)
        tap.same({name for name, _, _ in w.names.take()}, {"here.test"}, "names asked")
        w.forget()
        got = run([*chain(*urls), "-m", "random"], count=6, address="origin.test")
        all_well(got, 6)
        tap.same(w.names.take(), [], "names asked")

    def datagram_ways():
        """An association is made over hops that live, and keeps them."""
        code = (
            "import socket, time\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            f"s.settimeout(10)\ns.connect(('{ORIGIN}', 7))\n"
            "for _ in range(3):\n    s.send(b'hello')\n    print(s.recv(99))\n"
        )
        ours = [servers.viaductd(w), servers.viaductd(w)]
        alive = [hop.url("socks5h", first=True) for hop in ours]
        datagrams.Echo("origin", ORIGIN, 7)
        for mode, given in (("dynamic", [alive[0], nobody, alive[1]]), ("failover", [nobody, *alive]),
                            ("random", alive), ("round_robin", alive)):
            w.forget()
            got = w.via(["-q", *chain(*given), "-m", mode], [PYTHON, "-c", code])
            tap.same((got.code, got.out), (0, b"b'hello'\n" * 3), mode)
            seen = {(address, port) for _, address, port in w.link.take()}
            tap.same({address for address, _ in seen}, {NEAR}, "on the link")

    yield "datagrams", datagram_ways
    yield "dynamic leaves dead hops out", dynamic
    yield "dynamic with all alive is strict", dynamic_all_alive
    yield "all dead: fails closed, in every mode", all_dead
    yield "random takes each", random
    yield "random takes each pair", random_two
    yield "round_robin goes in turn over processes", round_robin
    yield "round_robin with two", round_robin_two
    yield "failover takes the first that lives", failover
    yield "failover of two", failover_of_two
    yield "by configuration, and -m and -n before it", by_configuration
    yield "event loops", event_loop
    yield "a target's refusal is final", the_targets_fault
    yield "a refused login is the hop's fault", a_refused_login
    yield "so is nonsense", a_hop_that_is_no_good
    yield "so is silence", a_silent_hop
    yield "hops killed and revived under load", under_load
    yield "names in these modes", names_stay


world.main(cases, ("nginx", "microsocks"))
