#!/usr/bin/env python3
"""Who resolves a name, and who sees it: schemes, -d, rules and bypass, and the resolver's calls."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, servers, tap, world
from lib.servers import chain
from lib.world import NAMES, NEAR, NEAR6, ORIGIN, ORIGIN6, PYTHON

NAME = "v4.origin.test"
# CALL NAME PORT: connects to what a call of old gives for the name; prints what comes.
CLASSIC = """
import ctypes, socket, sys
libc = ctypes.CDLL(None)
class Host(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("aliases", ctypes.c_void_p), ("type", ctypes.c_int), ("length", ctypes.c_int),
                ("list", ctypes.POINTER(ctypes.POINTER(ctypes.c_ubyte * 4)))]
call, name, port = sys.argv[1], sys.argv[2].encode(), int(sys.argv[3])
words = [name, socket.AF_INET] if "2" in call else [name]
found, error, buf = ctypes.POINTER(Host)(), ctypes.c_int(), ctypes.create_string_buffer(4096)
if call.endswith("_r"):
    getattr(libc, call)(*words, ctypes.byref(Host()), buf, ctypes.c_size_t(4096), ctypes.byref(found), ctypes.byref(error))
else:
    getattr(libc, call).restype = ctypes.POINTER(Host)
    found = getattr(libc, call)(*words)
sock = socket.create_connection((".".join(map(str, found.contents.list[0].contents)), port), 10)
sock.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
print(sock.makefile().read().splitlines()[-1])
"""
# NAME: asks without waiting, and is told in each way that there is.
ASYNCHRONOUS = """
import ctypes, os, signal, sys, threading
libc = ctypes.CDLL(None)
class Question(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("service", ctypes.c_char_p), ("request", ctypes.c_void_p),
                ("result", ctypes.c_void_p), ("r", ctypes.c_int), ("rest", ctypes.c_int * 5)]
called = threading.Event()
told = []
@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def by_thread(value):
    told.append(value)
    called.set()
class Event(ctypes.Structure):
    _fields_ = [("value", ctypes.c_void_p), ("signo", ctypes.c_int), ("notify", ctypes.c_int),
                ("function", type(by_thread)), ("attributes", ctypes.c_void_p), ("rest", ctypes.c_int * 16)]
def ask(how):
    question = Question(sys.argv[1].encode(), b"80")
    r = libc.getaddrinfo_a(1, (ctypes.POINTER(Question) * 1)(ctypes.pointer(question)), 1, how and ctypes.byref(how))
    return r, libc.gai_error(ctypes.byref(question)), bool(question.result)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
print(*ask(None))
print(*ask(Event(value=7, signo=signal.SIGUSR1, notify=0)))
info = signal.sigtimedwait([signal.SIGUSR1], 5)
print(info and (info.si_code, info.si_pid == os.getpid()))
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
print(*ask(Event(value=9, notify=2, function=by_thread)))
print(called.wait(5), told)
"""
HERE = b"HTTP/1.0 200 OK\r\n\r\nthis host\n"  # said by servers that app reaches directly


def cases(w):
    web = servers.Nginx(w)
    ours, other = servers.viaductd(w), servers.microsocks(w)
    first = ours.at(first=True)
    probe = w.probe("names_probe")
    near = [
        hostile.Scripted("proxy", NEAR, port, hostile.http_answer(HERE, then=hostile.closes_at_once))
        for port in (8080, 8081)
    ]
    remote = ["-q", *chain(ours.url("socks5h", first=True))]

    def curl(options, url, code=0, page=web.page):
        w.forget()
        got = w.via(options, ["curl", "-sS", url])
        tap.same(got.code, code, "exit code")
        if code == 0:
            tap.same(got.out, page, "page")
        return got

    def asked():
        return {(name, kind) for name, kind, _ in w.names.take()}

    def seen_here():
        """The query was seen at app's own name server, and the hop was spoken to."""
        tap.same({name for name, _ in asked()}, {NAME}, "names asked")
        tap.same(set(w.link.take()), {("udp", NAMES, 53), ("tcp", *first)}, "on the link")

    def asked_for(options):
        """What a hop is asked for by curl: (host, port)."""
        wanted = []

        def script(peer):
            peer.socks5_greeting()
            wanted.append(peer.socks5_request()[1:])
            peer.say(hostile.socks5_reply(5))

        with hostile.Scripted("proxy", NEAR, w.port(), script) as hop:
            w.forget()
            got = w.via(
                [word.replace("HOP", f"{NEAR}:{hop.port}") for word in options],
                ["curl", "-sS", f"http://{NAME}/"],
            )
        tap.same(got.code, 7, "curl's exit code: refused")
        return wanted

    # --- schemes and -d -------------------------------------------------------------------

    def resolves_here(scheme):
        w.names.know(NAME, ORIGIN)
        curl(["-q", *chain(ours.url(scheme, first=True))], f"http://{NAME}/")
        seen_here()

    def resolves_there(scheme):
        curl(["-q", *chain(ours.url(scheme, first=True))], f"http://{NAME}/")
        w.quiet(first)

    def unknown_here(scheme):
        w.names.forget(NAME)
        curl(["-q", *chain(ours.url(scheme, first=True))], f"http://{NAME}/", code=6)
        tap.same({name for name, _ in asked()}, {NAME}, "names asked")
        tap.same(set(w.link.take()), {("udp", NAMES, 53)}, "on the link")

    def last_hop_decides():
        w.names.know(NAME, ORIGIN)
        curl(["-q", *chain(ours.url("socks5h", first=True), other.url("socks5"))], f"http://{NAME}/")
        seen_here()
        w.names.forget(NAME)
        curl(["-q", *chain(ours.url("socks5", first=True), other.url("socks5h"))], f"http://{NAME}/")
        w.quiet(first)

    def option_d():
        w.names.know(NAME, ORIGIN)
        tap.same(asked_for(["-q", "-x", "socks5h://HOP"]), [(NAME, 80)], "default of socks5h")
        tap.same(asked(), set(), "names asked")
        tap.same(asked_for(["-q", "-d", "remote", "-x", "socks5h://HOP"]), [(NAME, 80)], "-d remote")
        tap.same(asked(), set(), "names asked")
        tap.same(asked_for(["-q", "-d", "local", "-x", "socks5h://HOP"]), [(ORIGIN, 80)], "-d local")
        tap.same({name for name, _ in asked()}, {NAME}, "names asked")
        tap.same(asked_for(["-q", "-x", "socks5://HOP"]), [(ORIGIN, 80)], "default of socks5")
        w.names.forget(NAME)

    # --- rules and bypass -----------------------------------------------------------------

    def config(text, dns=""):
        return [
            "-f",
            w.file(
                "rules.conf",
                f"""
chain default {{ hops = {{"{ours.url("socks5h", first=True)}"}} }}
chain other {{ hops = {{"{other.url("socks5h", first=True)}"}} }}
{dns}
{text}
""",
                0o600,
            ),
        ]

    def rule_chain():
        w.far_names.know("hidden.onion", ORIGIN)
        options = config('rule tor { match = {"*.onion"}  chain = "other" }')
        curl(options, "http://hidden.onion/")
        w.quiet(other.at(first=True))
        curl(options, f"http://{NAME}/")
        w.quiet(first)
        # a name that a rule knows is not asked for here, whatever else is resolved here
        curl(
            config('rule tor { match = {"*.onion"}  chain = "other" }', 'dns = "local"'),
            "http://hidden.onion/",
        )
        w.quiet(other.at(first=True))

    def rule_refuse():
        options = config('rule no_ads { match = {"*.ads.test", "*:25"}  action = "refuse" }')
        got = curl(options, "http://x.ads.test/", code=7)
        tap.holds(
            got.err.decode().splitlines()[0].endswith(": x.ads.test:80: refused by rule no_ads"), "the line"
        )
        w.quiet()
        curl(options, f"http://{NAME}:25/", code=7)
        w.quiet()
        curl(options, f"http://{ORIGIN}:25/", code=7)
        w.quiet()
        curl(options, f"http://{ORIGIN}:1518/")
        w.quiet(first)
        # refused names are not asked for in any DNS mode
        curl(
            config('rule no { match = {"*.ads.test"}  action = "refuse" }', 'dns = "local"'),
            "http://x.ads.test/",
            code=7,
        )
        w.quiet()

    def rule_order():
        """First match counts, and rules come before bypass."""
        options = config(
            f"""
rule one {{ match = {{"{ORIGIN}"}}  chain = "other" }}
rule two {{ match = {{"{ORIGIN}/24", "{NEAR}:8081"}}  action = "refuse" }}
bypass = {{"{NEAR}/24"}}"""
        )
        curl(options, f"http://{ORIGIN}/")
        w.quiet(other.at(first=True))
        curl(options, f"http://{NEAR}:8081/", code=7)
        w.quiet()
        curl(options, f"http://{NEAR}:8080/", page=b"this host\n")
        w.quiet((NEAR, 8080))

    def rule_by_real_address():
        """Of a name that was resolved here, rules see the name as well as the address."""
        w.names.know("named.test", ORIGIN)
        dns = 'dns = "local"'
        curl(
            config('rule no { match = {"named.test"}  action = "refuse" }', dns), "http://named.test/", code=7
        )
        curl(
            config(f'rule no {{ match = {{"{ORIGIN}"}}  action = "refuse" }}', dns),
            "http://named.test/",
            code=7,
        )
        tap.same(set(w.link.take()), {("udp", NAMES, 53)}, "on the link")

    def bypass_address():
        for rule in (NEAR, f"{NEAR}/24", f"{NEAR}:8080", "10.0.0.0/8:8080", "*:8080"):
            curl([*remote, "-b", rule], f"http://{NEAR}:8080/", page=b"this host\n")
            w.quiet((NEAR, 8080))
        for rule in ("10.1.0.9", "10.1.1.0/24", f"{NEAR}:8081", "10.0.0.0/8:8081", "near.test"):
            curl([*remote, "-b", rule], f"http://{NEAR}:8080/", page=b"this host\n")
            w.quiet(first)

    def bypass_six():
        with hostile.Scripted("proxy", NEAR6, 8080, hostile.http_answer(HERE, then=hostile.closes_at_once)):
            for rule, direct in (
                (NEAR6, True),
                ("fd01::/16", True),
                (f"[{NEAR6}]:8080", True),
                (f"[{NEAR6}]:8081", False),
                ("fd02::/16", False),
            ):
                curl([*remote, "-b", rule], f"http://[{NEAR6}]:8080/", page=b"this host\n")
                w.quiet((NEAR6, 8080) if direct else first)

    def bypass_name():
        w.names.know("box.lan", NEAR)
        w.far_names.know("box.lan", NEAR)
        for rule in ("box.lan", "*.lan", "box.lan:8080"):
            curl([*remote, "-b", rule], "http://box.lan:8080/", page=b"this host\n")
            tap.same({name for name, _ in asked()}, {"box.lan"}, "names asked")
            tap.same(set(w.link.take()), {("udp", NAMES, 53), ("tcp", NEAR, 8080)}, "on the link")
        for rule in ("lan", "*.box.lan", "box.lan.test"):
            curl([*remote, "-b", rule], "http://box.lan:8080/", page=b"this host\n")
            w.quiet(first)

    def bypass_name_of_old():
        """What the calls of old have told of a name is that name when it is connected to."""
        w.names.know("box.lan", NEAR)
        for name in ("gethostbyname", "gethostbyname2", "gethostbyname_r", "gethostbyname2_r"):
            w.forget()
            got = w.via([*remote, "-b", "box.lan"], [PYTHON, "-c", CLASSIC, name, "box.lan", "8080"])
            tap.same((got.code, got.out, got.err), (0, b"this host\n", b""), name)
            tap.same(set(w.link.take()), {("udp", NAMES, 53), ("tcp", NEAR, 8080)}, f"{name}: on the link")

    def bypass_loopback():
        with hostile.Scripted(
            "app", "127.0.0.1", 8082, hostile.http_answer(HERE, then=hostile.closes_at_once)
        ):
            for name in ("127.0.0.1", "localhost"):
                curl(remote, f"http://{name}:8082/", page=b"this host\n")
                w.quiet()
            # without the default the hop is asked, and nothing listens there
            curl([*remote, "-b", "none"], "http://127.0.0.1:8082/", code=7)
            w.quiet(first)

    # --- the resolver's calls -------------------------------------------------------------

    def call(argv, code=0, options=None):
        w.forget()
        got = w.via(options or remote, argv)
        tap.same((got.code, got.err), (code, b""), "exit code and standard error")
        w.quiet()
        return got.out.decode()

    def is_placeholder(text):
        return text.startswith(("198.18.", "198.19."))

    def classic_calls():
        for argv in ([probe, "gethostbyname", NAME], [probe, "gethostbyname2", NAME, "4"]):
            words = call(argv).split()
            tap.same((words[0], words[1], words[-1]), (NAME, "4", "length=4"))
            tap.holds(is_placeholder(words[2]) and len(words) == 4, f"one placeholder: {words}")
        words = call([probe, "gethostbyname2", NAME, "6"]).split()
        tap.holds(
            words[1] == "6" and words[2].startswith("fd") and words[3] == "length=16",
            f"an IPv6 placeholder: {words}",
        )
        tap.same(call([probe, "gethostbyname", ORIGIN]), f"{ORIGIN} 4 {ORIGIN} length=4\n", "a numeric name")
        perl = 'my @h = gethostbyname($ARGV[0]); print "$h[0] ", join(".", unpack("C4", $h[4]))'
        words = call(["perl", "-e", perl, NAME]).split()
        tap.holds(words[0] == NAME and is_placeholder(words[1]), f"perl: {words}")
        python = """
import socket, sys
print(*socket.gethostbyname_ex(sys.argv[1])[0::2], socket.gethostbyname(sys.argv[1]))
"""
        tap.holds(call([PYTHON, "-c", python, NAME]).startswith(f"{NAME} ['198.1"), "python")

    def reentrant_calls():
        for argv in ([probe, "gethostbyname_r", NAME], [probe, "gethostbyname2_r", NAME, "4"]):
            words = call(argv).split()
            tap.same((words[0], words[1], words[2], words[4:]), ("ERANGE", NAME, "4", ["length=4"]))
        words = call([probe, "gethostbyname2_r", NAME, "6"]).split()
        tap.same((words[0], words[1], words[2], words[4:]), ("ERANGE", NAME, "6", ["length=16"]))

    def without_waiting():
        """getaddrinfo_a(): told of it by nothing, by a signal, by a thread; nobody here is asked."""
        told = call([PYTHON, "-c", ASYNCHRONOUS, NAME])
        tap.same(told.splitlines(), ["0 0 True", "0 0 True", "(-60, True)", "0 0 True", "True [9]"])

    def impossible_names():
        """Names that no protocol can carry are unknown at once."""
        for name in ("a" * 64 + ".test", ".".join(["abcdefg"] * 36), "a..b", ".", ""):
            tap.same(call([probe, "gethostbyname", name], code=1), "HOST_NOT_FOUND\n", f"{name!r}")

    def getent():
        out = call(["getent", "hosts", NAME])
        tap.holds(out.split()[-1] == NAME, f"getent hosts: {out}")
        for database in ("ahosts", "ahostsv4"):
            lines = call(["getent", database, NAME]).splitlines()
            tap.holds(len(lines) == 3 and all(is_placeholder(line) for line in lines), f"{database}: {lines}")
        lines = call(["getent", "ahostsv6", NAME]).splitlines()
        tap.holds(len(lines) == 3 and all(line.startswith("fd") for line in lines), f"ahostsv6: {lines}")

    def same_in_every_process():
        script = (
            "for n in a.test b.test A.TEST a.test; do getent ahostsv4 $n | head -n 1 | cut -d' ' -f 1; done"
        )
        one, two, three, four = call(["sh", "-c", script]).split()
        tap.holds(one == three == four != two, f"{one} {two} {three} {four}")

    def forward_then_back():
        for how in ("gethostbyaddr", "gethostbyaddr_r", "getnameinfo"):
            script = f'a=$(getent ahostsv{{}} {NAME} | head -n 1 | cut -d" " -f 1); exec {probe} {how} "$a"'
            for family in "46":
                out = call(["sh", "-c", script.replace("{}", family)])
                tap.holds(NAME in out.split(), f"{how}, IPv{family}: {out}")
        script = f"""
a=$(getent ahostsv4 {NAME} | head -n 1 | cut -d' ' -f 1)
{probe} getnameinfo $a numeric
{probe} getnameinfo $a name
"""
        numeric, name = call(["sh", "-c", script]).splitlines()
        tap.holds(is_placeholder(numeric.split()[1]), f"NI_NUMERICHOST: {numeric}")
        tap.same(name, f"ok {NAME} 80", "NI_NAMEREQD")

    def no_other_way_back():
        """Reverse lookups of real addresses do not leave the machine."""
        w.names.know_reverse(ORIGIN, "told.test")
        for address in (ORIGIN, ORIGIN6):
            tap.same(call([probe, "gethostbyaddr", address], code=1), "HOST_NOT_FOUND\n")
            tap.same(call([probe, "gethostbyaddr_r", address], code=1).split()[1], "HOST_NOT_FOUND")
            tap.same(call([probe, "getnameinfo", address]), f"ok {address} 80\n")
            tap.same(call([probe, "getnameinfo", address, "name"], code=1).split(), ["EAI_NONAME"])
        call(["getent", "hosts", ORIGIN], code=2)
        w.forget()
        got = w.via(["-q", "-d", "local", *chain(ours.url(first=True))], ["getent", "hosts", ORIGIN])
        tap.same(got.out.split()[1:], [b"told.test"], "with -d local")
        w.forget()

    def local_names():
        """/etc/hosts, the own host's name, localhost and numbers are answered here."""
        w.hosts("app", f"{ORIGIN} written.test\n")
        w.hosts("proxy", f"{ORIGIN} written.test\n")
        tap.same(call(["getent", "ahostsv4", "written.test"]).split()[0], ORIGIN)
        tap.same(call([probe, "gethostbyname", "written.test"]).split()[2], ORIGIN)
        tap.same(call(["getent", "ahostsv4", "apphost"]).split()[0], "127.0.1.1", "own host name")
        tap.same(call([probe, "gethostbyaddr", ORIGIN]).split()[0], "written.test", "the way back")
        curl(remote, "http://written.test/")
        w.quiet(first)

    def told_once(table):
        """The rows, without repeated results: of ::1 and 127.0.0.1 in /etc/hosts libc makes two alike."""
        rows = [re.split(r"(\[.*?\])", line) for line in table.splitlines()]
        return [" ".join(dict.fromkeys(part.strip() for part in row)) for row in rows]

    def table_of_getaddrinfo():
        """Every combination of flags gives what the real resolver gives for a name with an address."""
        argv = [probe, "getaddrinfo", NAME, "v6.origin.test"]
        direct = w.run("proxy", argv)
        tap.holds(direct.code == 0 and len(direct.out) > 1000, f"direct: {direct}")
        want, got = told_once(direct.out.decode()), told_once(call(argv))
        wrong = [f"\n  got  {g}\n  want {x}" for g, x in zip(got, want) if g != x]
        tap.holds(len(got) == len(want) and not wrong, "".join(wrong))

    def unknown_placeholder():
        w.forget()
        got = w.via(chain(ours.url(first=True)), ["curl", "-sS", "http://198.18.77.77/"])
        tap.same(got.code, 7, "exit code")
        line = got.err.decode().splitlines()[0]
        tap.holds(line.endswith(": 198.18.77.77:80: no name is known behind this placeholder address"), line)
        w.quiet()

    def dig():
        """Own resolvers: what they ask over UDP is answered inside, TCP goes through the chain."""
        w.forget()
        got = w.via(remote, ["dig", "+tries=1", "+time=1", "+short", NAME])
        tap.holds(got.code == 0 and is_placeholder(got.out.decode()), f"a placeholder: {got}")
        w.quiet()
        w.names.know(NAME, ORIGIN)
        got = w.via(remote, ["dig", "+tcp", "+short", NAME])
        tap.same((got.code, got.out), (0, f"{ORIGIN}\n".encode()))
        w.names.forget(NAME)
        w.link.expect(first)
        tap.same(w.names.take(), [(NAME, "A", "tcp")], "asked by the hop, for app")

    for scheme in ("socks5", "socks4"):
        yield f"{scheme}: the query is seen here", lambda s=scheme: resolves_here(s)
        yield f"{scheme}: a name unknown here is unknown", lambda s=scheme: unknown_here(s)
    for scheme in ("socks5h", "socks4a", "http"):
        yield f"{scheme}: no query is seen here", lambda s=scheme: resolves_there(s)
    yield "the last hop's scheme decides", last_hop_decides
    yield "-d local and -d remote", option_d
    yield "a rule sends *.suffix through another chain", rule_chain
    yield "a rule refuses names and ports", rule_refuse
    yield "the first rule that matches counts", rule_order
    yield "rules see the name behind a real address", rule_by_real_address
    yield "bypass by address, network and port", bypass_address
    yield "bypass by IPv6 address", bypass_six
    yield "bypass by name", bypass_name
    yield "bypass by name, of the calls of old", bypass_name_of_old
    yield "bypass of loopback, and none", bypass_loopback
    yield "gethostbyname and gethostbyname2", classic_calls
    yield "gethostbyname_r and gethostbyname2_r: buffer and ERANGE", reentrant_calls
    yield "getaddrinfo_a: without waiting", without_waiting
    yield "names that cannot be", impossible_names
    yield "getent hosts and ahosts", getent
    yield "a name has one placeholder in all processes", same_in_every_process
    yield "from a name to its placeholder and back", forward_then_back
    yield "no other reverse lookup", no_other_way_back
    yield "names that this machine knows", local_names
    yield "getaddrinfo: the table of flags", table_of_getaddrinfo
    yield "a placeholder that nobody was given", unknown_placeholder
    yield "dig over UDP and TCP", dig
    for server in near:
        server.stop()


if __name__ == "__main__":
    world.main(cases, ("curl", "getent", "dig", "perl", PYTHON, "microsocks", "nginx"))
