#!/usr/bin/env python3
"""Finding out which hops bear a flight: what the launcher's probe makes of real and of scripted hops,
that nobody waits for it or notices it, and what it keeps."""

import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, proxies, servers, tap, world
from lib.servers import PASSWORD, USER, chain
from lib.sniffer import Sniffer
from lib.world import FAR, NEAR, PYTHON, wait_until

DAY = 24 * 60 * 60
HEAD = "viaduct hops 1\n"
BUSY = ("viaduct-probe", "viaduct-full", "viaduct")  # its name among the processes; at first it is its parent's


def probes():
    """The processes that are probing; those that have ended become this one's children."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
                name, _, rest = file.read().partition("(")[2].rpartition(") ")
        except OSError:
            continue
        if name in BUSY and rest[0] != "Z":
            found.append(int(pid))
    return found


class Cache:
    """A cache folder of its own, and launches that use it."""

    count = 0

    def __init__(self, w):
        Cache.count += 1
        self.w, self.base = w, f"{w.dir}/cache{Cache.count}"
        self.path = f"{self.base}/viaduct/hops"

    def launch(self, *urls, argv=("true",), options=()):
        got = self.w.via(
            ["-q", *options, *chain(*urls)], list(argv), env={"XDG_CACHE_HOME": self.base}, timeout=10
        )
        tap.same(got.code, 0, "exit code")
        return got

    def lines(self):
        """{way: (word, seconds left)}"""
        try:
            with open(self.path, encoding="ascii") as file:
                text = file.read()
        except FileNotFoundError:
            return {}
        tap.holds(text.startswith(HEAD), f"the head of {text!r}")
        rows = (line.split(" ", 2) for line in text[len(HEAD) :].splitlines())
        return {way: (word, int(until) - time.time()) for word, until, way in rows}

    def settle(self):
        """Until no probe is under way."""
        wait_until(lambda: not probes(), "the probe ends", 20)

    def learn(self, *urls):
        self.launch(*urls)
        self.settle()
        return self.lines()

    def put(self, text, mode=0o600):
        os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)
        with open(self.path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        os.chmod(self.path, mode)


# --- scripts of hops --------------------------------------------------------------------------


def plain_hop(peer):
    """Exact reads: bears a flight."""
    peer.socks5_greeting()
    peer.socks5_request()
    peer.say(hostile.socks5_reply(7))


def one_at_a_time(peer):
    """Takes each segment for one message, as microsocks does."""
    peer.heard += peer.sock.recv(4096)
    peer.say(b"\5\0")
    peer.heard += peer.sock.recv(4096)
    peer.say(hostile.socks5_reply(7))


def overwrites(peer):
    """Answers all at once, one answer on top of the other."""
    peer.heard += peer.sock.recv(4096)
    if len(peer.heard) > 3:
        peer.say(b"\5\7\0\1" + bytes(6))
    else:
        peer.say(b"\5\0")
        peer.socks5_request()
        peer.say(hostile.socks5_reply(7))


def closes_on_commands(peer):
    """Ends without a word on what it does not know, as ssh -D does."""
    peer.socks5_greeting()
    peer.socks5_request()


def closes_on_flights(peer):
    peer.heard += peer.sock.recv(4096)
    if len(peer.heard) > 3:
        return
    peer.say(b"\5\0")
    peer.socks5_request()
    peer.say(hostile.socks5_reply(7))


def wants_login(status=0, reply=7):
    def script(peer):
        peer.socks5_greeting(2)
        peer.socks5_login(status)
        if status == 0:
            peer.socks5_request()
            peer.say(hostile.socks5_reply(reply))

    return script


def wants_none(peer):
    """A login is given, and it chooses 00."""
    methods = peer.socks5_greeting(None)
    peer.say(b"\5\0" if 0 in methods else b"\5\xff")
    peer.socks5_request()
    peer.say(hostile.socks5_reply(7))


def web(peer):
    peer.heard += peer.sock.recv(4096)
    peer.say(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


# What the hop does, its script, with a login?, the word that is kept and for how long, connections.
HOPS = [
    ("answers exactly", plain_hop, False, "flight", DAY, 1),
    ("takes a segment for a message", one_at_a_time, False, "serial", DAY, 1),
    ("overwrites its answers", overwrites, False, "serial", DAY, 1),
    ("closes on commands that it does not know", closes_on_commands, False, "flight", DAY, 2),
    ("closes on flights", closes_on_flights, False, "serial", DAY, 2),
    ("is silent", hostile.silent, False, "serial", 60, 2),
    ("closes at once", hostile.closes_at_once, False, "serial", 60, 2),
    ("says yes", wants_login(reply=0), True, "flight", DAY, 2),
    ("takes the login", wants_login(), True, "flight", DAY, 2),
    ("refuses the login", wants_login(status=1), True, "serial", 60, 1),
    ("is a web server", web, True, "serial", 60, 1),
    ("wants no login", wants_none, True, "serial", DAY, 1),
]
KEEPS_SILENT_OF = ("is a web server", "wants no login")  # who is not to see the login


def cases(w):
    far = Sniffer("proxy", "org1")

    def real(make, login, word):
        hop = make(w, login) if login is not None else make(w)
        cache = Cache(w)
        w.forget()
        far.take()
        lines = cache.learn(hop.url("socks5h", first=True))
        shown = f"socks5h://{USER + '@' if login else ''}{NEAR}:{hop.port}"
        tap.same([(way, said) for way, (said, _) in lines.items()], [(shown, word)], "kept")
        w.quiet(hop.at(first=True))
        tap.same(far.take(), {}, "packets behind the hop")
        hop.server.stop()

    def ssh(w):
        return servers.ssh_d(w, servers.Sshd(w))

    def scripted(what, script, login, word, seconds, connections):
        with hostile.Scripted("proxy", NEAR, w.port(), script) as hop:
            cache = Cache(w)
            url = hop.url("socks5h", f"{USER}:{PASSWORD}" if login else "")
            lines = cache.learn(url)
            tap.same([said for said, _ in lines.values()], [word], "the word")
            (left,) = (left for _, left in lines.values())
            tap.holds(seconds - 20 < left <= seconds, f"it holds for {left:.0f} s")
            tap.same(len(hop.peers), connections, "connections")
            heard = b"".join(peer.heard for peer in hop.peers)
            tap.holds(heard or script is hostile.closes_at_once, "it was told something")
            if what in KEEPS_SILENT_OF:
                tap.holds(PASSWORD.encode() not in heard, "the password was not told")
            for name in (PASSWORD, "s3c"):
                with open(cache.path, encoding="ascii") as file:
                    tap.holds(name not in file.read(), "the password is not kept")
            cache.learn(url)
            tap.same(len(hop.peers), connections, "connections, with what is kept")

    def behind_others():
        """Each hop of a chain by itself, behind those before it."""
        one, two, three = servers.viaductd(w), servers.microsocks(w), servers.viaductd(w, login=True)
        cache = Cache(w)
        urls = [one.url("socks5h", first=True), two.url("socks5h"), three.url("socks5h")]
        ways = [re.sub(":s3cret", "", " ".join(urls[:n])) for n in (1, 2, 3)]
        lines = cache.learn(*urls)
        tap.same({way: word for way, (word, _) in lines.items()},
                 dict(zip(ways, ("flight", "serial", "flight"))), "kept")
        # the same hop on another way is another hop
        lines = cache.learn(urls[0], f"socks5h://{FAR}:{two.port}", f"socks5h://{FAR}:{one.port}")
        tap.same(len(lines), 4, "ways")

    def behind_a_dead_one():
        port = w.port()
        with hostile.Scripted("proxy", FAR, w.port(), plain_hop) as hop:
            cache = Cache(w)
            lines = cache.learn(f"socks5h://{NEAR}:{port}", hop.url("socks5h"))
            tap.same([word for word, _ in lines.values()], ["serial", "serial"], "kept")
            tap.holds(all(left <= 60 for _, left in lines.values()), "for a minute")
            tap.same(len(hop.peers), 0, "connections")

    def alternatives():
        """Hops that stand in for each other are asked each by itself."""
        first, second = servers.viaductd(w), servers.microsocks(w)
        cache = Cache(w)
        config = w.file(
            "modes.conf",
            f'chain default {{ hops = {{"{first.url("socks5h", first=True)}",'
            f' "{second.url("socks5h", first=True)}"}} mode = "failover" }}\n',
            0o600,
        )
        cache.launch(options=["-f", config])
        cache.settle()
        tap.same({way: word for way, (word, _) in cache.lines().items()},
                 {f"socks5h://{NEAR}:{first.port}": "flight", f"socks5h://{NEAR}:{second.port}": "serial"})

    # --- nobody notices -----------------------------------------------------------------------

    def nobody_waits():
        """A probe that takes its time holds nothing of the command, and is none of its children."""
        text = "import os; print(open(f'/proc/self/task/{os.getpid()}/children').read().split(), end='')"
        with hostile.Scripted("proxy", NEAR, w.port(), hostile.silent) as hop:
            cache = Cache(w)
            got = cache.launch(hop.url("socks5h"), argv=[PYTHON, "-c", text])
            running = probes()
            tap.same((got.out, got.err), (b"[]", b""), "the command's children, and standard error")
            tap.holds(got.seconds < 0.9, f"the command took {got.seconds:.2f} s, and its pipes were closed")
            tap.same(len(running), 1, "probes that go on")
            held = [os.readlink(f"/proc/{running[0]}/fd/{fd}") for fd in os.listdir(f"/proc/{running[0]}/fd")]
            known = [x for x in held if x == "/dev/null" or x == f"{cache.base}/viaduct" or x.startswith("socket:")]
            tap.same(held, known, "what the probe has open")
            with open(f"/proc/{running[0]}/stat", encoding="ascii") as file:
                session = int(file.read().rpartition(")")[2].split()[3])
            tap.same(session, running[0], "its session is its own")
            cache.settle()

    def it_ends():
        """Many silent hops, and more time than anybody has."""
        with hostile.Scripted("proxy", NEAR, w.port(), hostile.silent) as hop:
            cache = Cache(w)
            hops = ", ".join(f'"{hop.url("socks5h", f"user{n}")}"' for n in range(12))
            config = w.file("many.conf", f'chain default {{ hops = {{{hops}}} mode = "failover" }}\n', 0o600)
            began = time.monotonic()
            cache.launch(options=["-f", config])
            cache.settle()
            tap.holds(8 < time.monotonic() - began < 15.5, f"after {time.monotonic() - began:.1f} s")
            tap.holds(cache.lines(), "what was found out is kept")

    def with_signals_blocked():
        """It ends, though the command was started with every signal ignored."""
        with hostile.Scripted("proxy", NEAR, w.port(), plain_hop) as hop:
            cache = Cache(w)
            script = f'trap "" ALRM TERM CHLD; exec {w.viaduct} -q -x {hop.url("socks5h")} true'
            got = w.run("app", ["sh", "-c", script], env={"XDG_CACHE_HOME": cache.base})
            tap.same(got.code, 0)
            cache.settle()
            tap.same([word for word, _ in cache.lines().values()], ["flight"])

    def many_launches():
        """At once: one of them probes."""
        with hostile.Scripted("proxy", NEAR, w.port(), one_at_a_time) as hop:
            cache = Cache(w)
            script = f"for i in 1 2 3 4 5 6 7 8; do {w.viaduct} -q -x {hop.url('socks5h')} true & done; wait"
            got = w.run("app", ["sh", "-c", script], env={"XDG_CACHE_HOME": cache.base})
            tap.same((got.code, got.err), (0, b""))
            cache.settle()
            tap.same([word for word, _ in cache.lines().values()], ["serial"])
            tap.same(len(hop.peers), 1, "connections")

    def not_wanted():
        cache = Cache(w)
        with hostile.Scripted("proxy", NEAR, w.port(), plain_hop) as hop:
            url = hop.url("socks5h")
            for option in ("pipeline=off", "pipeline=lead", "probe=no"):
                cache.launch(f"{url}?{option}")
            for scheme in ("http", "socks4", "socks4a"):
                cache.launch(hop.url(scheme))
            for env in ({"XDG_CACHE_HOME": "/dev/null"}, {"XDG_CACHE_HOME": "/proc/none"},
                        {"XDG_CACHE_HOME": "", "HOME": ""}, {"XDG_CACHE_HOME": "here", "HOME": "there"}):
                got = w.via(["-q", "-x", url], ["true"], env=env)
                tap.same((got.code, got.err), (0, b""))
            time.sleep(0.3)
            tap.same((len(hop.peers), probes(), os.path.exists(cache.base)), (0, [], False))

    def at_home():
        """$HOME/.cache, which need not be there."""
        home = f"{w.dir}/newhome"
        os.mkdir(home, 0o700)
        with hostile.Scripted("proxy", NEAR, w.port(), plain_hop) as hop:
            got = w.via(["-q", "-x", hop.url("socks5h")], ["true"], env={"XDG_CACHE_HOME": "", "HOME": home})
            tap.same((got.code, got.err), (0, b""))
            wait_until(lambda: os.path.exists(f"{home}/.cache/viaduct/hops"), "it is kept")
        for name, mode in ((".cache", 0o700), (".cache/viaduct", 0o700), (".cache/viaduct/hops", 0o600)):
            tap.same(os.stat(f"{home}/{name}").st_mode & 0o777, mode, name)

    # --- what stands in the file ----------------------------------------------------------------

    def is_believed(text, mode=0o600, prepare=None):
        """Whether nothing is asked when this stands there ({way} is the hop's)."""
        with hostile.Scripted("proxy", NEAR, w.port(), plain_hop) as hop:
            cache = Cache(w)
            way = hop.url("socks5h")
            now = int(time.time())
            if isinstance(text, str):
                text = text.format(way=way, soon=now + 1000, past=now - 5, far=now + 2 * DAY)
            cache.put(text, mode)
            if prepare:
                prepare(cache)
            cache.launch(way)
            cache.settle()
            return not hop.peers, cache

    def good_files():
        for text in ("flight {soon} {way}\n", "serial {soon} {way}\n",
                     "nonsense\n\nflight x {way}\nserial {soon} {way}\n",
                     "serial {soon} socks5h://10.9.9.9:1080\nserial {soon} {way}\n",
                     "flight {soon} {way}\nserial {soon} {way}\n"):
            tap.holds(is_believed(HEAD + text)[0], f"believed: {text!r}")

    def bad_files():
        for text in ("", "x", HEAD[:-1], HEAD, "viaduct hops 2\nflight {soon} {way}\n", "flight {soon} {way}\n",
                     HEAD + "flight {past} {way}\n", HEAD + "flight {far} {way}\n", HEAD + "flight {soon} {way}",
                     HEAD + "flight  {soon} {way}\n", HEAD + "FLIGHT {soon} {way}\n", HEAD + "flight {soon} {way} \n",
                     HEAD + "flight -1 {way}\n", HEAD + "flight 99999999999999999999999 {way}\n",
                     HEAD + "flight {soon}\n", HEAD + "{way}\n", HEAD + "flight {soon} {way}\r\n",
                     HEAD + "x" * 70000 + "\nflight {soon} {way}\n", os.urandom(5000), bytes(70000),
                     HEAD.encode() + b"\n" * 3000 + b" " * 300 + bytes(300)):
            believed, cache = is_believed(text)
            tap.holds(not believed, f"not believed: {text[:80]!r}")
            tap.same(list(cache.lines().values())[0][0], "flight", "afterwards, in front")
            tap.same(os.stat(cache.path).st_mode & 0o777, 0o600, "mode")

    def not_ours():
        """What others may have written, and what is no file."""
        good = HEAD + "flight {soon} {way}\n"

        def replaced(cache, by):
            os.rename(cache.path, f"{cache.path}.real")
            by(cache)

        for name, prepare in (
            ("a symlink", lambda c: replaced(c, lambda c: os.symlink(f"{c.path}.real", c.path))),
            ("a FIFO", lambda c: replaced(c, lambda c: os.mkfifo(c.path))),
            ("a dangling link", lambda c: replaced(c, lambda c: os.symlink("nowhere", c.path))),
            ("a link for the new file", lambda c: (os.chmod(c.path, 0o666),
                                                   os.symlink(c.path, f"{c.path}.new"))),
        ):
            believed, cache = is_believed(good, 0o600, prepare)
            tap.holds(not believed, f"not believed: {name}")
            tap.holds(os.path.isfile(cache.path) and not os.path.islink(cache.path), f"{name}: a file afterwards")
        tap.holds(not is_believed(good, 0o620)[0], "others may write it")
        tap.holds(not is_believed(good, 0o602)[0], "everybody may write it")
        if servers.uid_is_mapped(1234):
            tap.holds(not is_believed(good, prepare=lambda c: os.chown(c.path, 1234, 0))[0], "somebody else's")

    def bad_folders():
        """Where nothing can be kept, nothing is asked; and nothing there is touched."""
        def folder(cache):
            return os.path.dirname(cache.path)

        for name, prepare in (
            ("others may write there", lambda c: os.chmod(folder(c), 0o777)),
            ("a link", lambda c: (os.rename(folder(c), f"{c.base}/real"), os.symlink("real", folder(c)))),
            ("a file", lambda c: (os.unlink(c.path), os.rmdir(folder(c)), open(folder(c), "wb").close())),
        ):
            believed, _ = is_believed("x", prepare=prepare)
            tap.holds(believed, f"nothing is asked: {name}")

    def others_are_kept():
        """Lines about other ways stay, those that hold no longer go, the newest stand in front."""
        now = int(time.time())
        with hostile.Scripted("proxy", NEAR, w.port(), plain_hop) as hop:
            cache = Cache(w)
            many = "".join(f"serial {now + 500} socks5h://10.9.9.9:{port}\n" for port in range(1, 1400))
            cache.put(HEAD + f"flight {now - 5} socks5h://old:1\nserial {now - 9} {hop.url('socks5h')}\n" + many)
            lines = cache.learn(hop.url("socks5h"))
            tap.same(list(lines)[0], hop.url("socks5h"), "first")
            tap.holds("socks5h://10.9.9.9:1" in lines and "socks5h://old:1" not in lines, "the others")
            tap.same(lines[hop.url("socks5h")][0], "flight")
            tap.holds(os.stat(cache.path).st_size < 65536, "its size")

    for name, make, login, word in (
        ("microsocks", servers.microsocks, False, "serial"),
        ("microsocks with login", servers.microsocks, True, "serial"),
        ("dante", servers.danted, False, "flight"),
        ("dante with login", servers.danted, True, "flight"),
        ("ssh -D", ssh, None, "flight"),
        ("tor", proxies.tor, None, "serial"),
        ("viaductd", servers.viaductd, False, "flight"),
        ("viaductd with login", servers.viaductd, True, "flight"),
    ):
        yield f"{name}: {word}, and nothing is seen behind it", lambda a=(make, login, word): real(*a)
    for row in HOPS:
        yield f"a hop{' with login' if row[2] else ''} that {row[0]}: {row[3]}", lambda a=row: scripted(*a)
    yield "hops of a chain, each behind those before it", behind_others
    yield "hops behind a dead one", behind_a_dead_one
    yield "hops that stand in for each other", alternatives
    yield "the command does not wait for it", nobody_waits
    yield "it ends by itself", it_ends
    yield "signals ignored by whoever starts the launcher", with_signals_blocked
    yield "many launches at once", many_launches
    yield "where it is not wanted, or could not be kept", not_wanted
    yield "the folder is made", at_home
    yield "files that are believed", good_files
    yield "files that are not", bad_files
    yield "files of others, and what is no file", not_ours
    yield "folders of others", bad_folders
    yield "lines about other ways", others_are_kept


if __name__ == "__main__":
    world.main(cases, ("microsocks", "danted", "sshd", "ssh", "tor", "openssl", PYTHON))
