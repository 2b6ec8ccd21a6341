#!/usr/bin/env python3
"""Which rule leads to which of viaductd's upstreams, and what is wrong with a configuration of them."""

import base64
import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, servers, tap, world
from lib.daemon import HOME, Daemon
from lib.flights import echo
from lib.upstreams import HERE, Hops, talk, upstream, ways
from lib.visit import HTTP, SOCKS5, Visit, dial
from lib.web import Client, Web, get
from lib.world import FAR, ORIGIN, wait_until


def rules(x):
    w, urls, target = x.w, x.urls, x.target

    def by_user():
        conf = ('allow a { users = {"alice"} upstream = "one" }\nallow b { users = {"bob"} upstream = "direct" }\n'
                "allow c { }\n" + upstream(urls[0], name="one") + upstream(urls[1]))
        d = Daemon(w, *[word for name in ("alice", "bob", "eve") for word in ("-u", f"{name}:x")], conf=conf)
        for way in (SOCKS5, HTTP):
            for name, via, title in (("alice", urls[0], "one"), ("bob", "-", None), ("eve", urls[1], "default")):
                code, line = talk(d, target, way=way, login=(name, "x"))
                tap.same((code, line["via"], line.get("upstream")), (way.good, via, title), name)

    def by_target():
        far = [servers.viaductd(w, options=("-q",)).url("socks5h") for _ in range(3)]
        conf = (f'allow a {{ to = {{"*.one.test", "{ORIGIN}:9"}} upstream = "one" }}\n'
                'allow b { to = {"*.two.test"} upstream = "two" }\nallow rest { to = {"10.0.0.0/8"} upstream = "direct" }\n'
                'allow all { }\n'
                + upstream(far[0], name="one") + upstream(far[1], name="two") + upstream(far[2]))
        with hostile.Scripted("origin", ORIGIN, 9, echo):
            d = Daemon(w, conf=conf)
            rows = ((("a.one.test", 7), far[0]), (("a.two.test", 7), far[1]), (("a.three.test", 7), far[2]),
                    ((ORIGIN, 7), "-"), ((ORIGIN, 9), far[0]))
            for where, via in rows:
                tap.same(ways(d, where), [via], str(where))

    def by_source():
        conf = (f'allow a {{ from = {{"{HERE}"}} upstream = "one" }}\nallow b {{ from = {{"{FAR}"}} }}\n'
                + upstream(urls[0], name="one") + upstream(urls[1]))
        d = Daemon(w, conf=conf, listens=("0.0.0.0:0",))
        tap.same(ways(d, target), [urls[0]])
        with Visit((FAR, d.port), SOCKS5, target, ns=HOME) as visit:
            echoes_once(visit)
        tap.same(d.session(visit)["via"], urls[1])

    def echoes_once(visit):
        tap.same(visit.code, 0)
        visit.sock.sendall(b"x")
        tap.same(visit.read(1), b"x")

    def by_command_line():
        d = Daemon(w, "-a", f"to={ORIGIN} upstream=one", "-a", "to=* upstream=direct",
                   conf=upstream(urls[0], name="one"))
        tap.same(ways(d, target), [urls[0]])
        tap.same(ways(d, ("v4.origin.test", 7)), ["-"], "no default upstream, and none is needed")

    def kept_connection():
        """HTTP: a connection to an origin serves only who would go the same way."""
        web = Web(w, "origin", ORIGIN)
        conf = ('allow a { users = {"alice"} upstream = "one" }\nallow b { }\n'
                + upstream(urls[0], name="one") + upstream(urls[1]))
        d = Daemon(w, "-u", "alice:x", "-u", "bob:x", conf=conf)
        client, seen = Client(d), []
        for user in ("alice", "alice", "bob", "bob", "alice"):
            before = [len(hop.peers) for hop in x.hops]
            login = base64.b64encode(f"{user}:x".encode()).decode()
            client.say(get(web.at, fields=f"Proxy-Authorization: Basic {login}\r\n"))
            tap.same(client.response()[0], 200)
            seen.append([len(hop.peers) - count for hop, count in zip(x.hops, before)])
        tap.same(seen, [[1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]])
        web.server.stop()

    def forwarded():
        """Fixed targets, whose client says nothing: by the rule for the target."""
        conf = (f'listen f {{ url = "forward://{HERE}:0" targets = {{"{ORIGIN}:7"}} }}\n'
                f'listen m {{ url = "{HERE}:0" }}\nallow a {{ to = {{"{ORIGIN}:7"}} upstream = "one" }}\nallow b {{ }}\n'
                + upstream(urls[0], name="one") + upstream(urls[1]))
        d = Daemon(w, conf=conf, listens=2)
        sock = dial((HERE, d.ports[0]), HOME)
        sock.sendall(b"hello")
        tap.same(sock.recv(5, socket.MSG_WAITALL), b"hello")
        sock.close()
        tap.same(wait_until(lambda: d.lines("session"), "its line")[0]["via"], urls[0])
        tap.same(talk(d, (ORIGIN, 1), at=(HERE, d.ports[1]))[1]["via"], urls[1], "another port of it")

    yield "rules for fixed targets", forwarded
    yield "rules by user", by_user
    yield "rules by target", by_target
    yield "rules by source", by_source
    yield "rules of the command line", by_command_line
    yield "a kept connection goes the way of who asks", kept_connection


def words(x):
    """What is wrong, and where."""
    w = x.w
    one = upstream("socks5h://h", name="one")

    def check(conf, *options, says=None):
        path = w.file(f"check.{w.port()}.conf", conf, 0o600)
        got = w.run(HOME, [w.viaductd, "-f", path, "--check-config", *options])
        text = got.err.decode()
        if says is None:
            tap.same((got.code, text), (0, ""))
        else:
            tap.holds(got.code != 0 and says.replace("FILE", path) in text, f"{says!r} in {text!r}")

    def unknown():
        check(one + "\nallow a {\n upstream = \"two\" }\n", says="FILE:4: unknown upstream `two`; allowed: direct, one")
        check(one + 'upstream two {\n hops = "http://h"\n fallback = "three" }\n',
              says="FILE:4: unknown upstream `three`; allowed: direct, one, two")
        check(one, "-a", "to=* upstream=two", says="unknown upstream `two`; allowed: direct, one")
        check(one + 'deny a {\n upstream = "one" }\n', says="FILE:3: `upstream` in deny `a`; allowed: in allow rules only")
        check(one, "--deny", "to=* upstream=one", says="`upstream` in deny `to=* upstream=one`")
        check('allow a { upstream = "default" }\n', says="unknown upstream `default`")
        check('allow a { upstream = "default" }\n', "-x", "socks5h://h")

    def fallback():
        check(one + upstream("http://h", name="b", more='fallback = "direct"'), says="cannot fall back to `direct`")
        check(upstream("http://h", name="a", more='fallback = "b"') + upstream("http://h", name="b", more='fallback = "a"'),
              says="the fallbacks of upstream `a` go in a circle")
        check(upstream("http://h", more='fallback = "default"'), says="go in a circle")

    def mode():
        check("", "-m", "random", says="--mode and --pick are for an upstream")
        check(upstream("http://h"), "-n", "2", says="--pick has no meaning in mode strict")
        check(upstream("http://h"), "-m", "random", "-n", "2", says="--pick: bad number `2`; allowed: 1 to 1")
        check(upstream("http://h"), "-m", "loose", says="--mode: unknown mode `loose`; allowed: strict, dynamic, random")
        check(upstream("http://h"), "-n", "0", says="--pick: bad number `0`; allowed: 1 to 16")

    def printed():
        """What is printed reads back as the same."""
        conf = ('allow a { to = {"*.test"} upstream = "one" }\nallow b { upstream = "direct" }\n'
                + upstream("socks5h://u:secret@h:1", "http://i:2", more='mode = "round_robin" pick = 2 proxy_protocol = "v2"')
                + upstream("socks5h://h", name="one", more='fallback = "default" check = 2.5 rise = 4 fall = 5')
                + upstream("http://h", name='"a b"', more='check = 9 check_target = "t.test:80"'))

        def show(text):
            path = w.file(f"print.{w.port()}.conf", text, 0o600)
            got = w.run(HOME, [w.viaductd, "-f", path, "--print-config", "-w", "1"])
            tap.same((got.code, got.err), (0, b""))
            return got.out.decode()

        first = show(conf)
        for part in ('upstream "default" { hops = {"socks5h://u@h:1", "http://i:2"}  mode = "round_robin"  pick = 2',
                     'fallback = "default"', "check = 2.500  rise = 4  fall = 5", 'check_target = "t.test:80"',
                     'upstream = "one"', 'upstream = "direct"'):
            tap.holds(part in first, f"{part} in {first}")
        tap.holds("secret" not in first, "no password")
        tap.same(show(first.replace("u@h", "u:secret@h")), first, "once more")

    yield "unknown upstreams", unknown
    yield "wrong fallbacks", fallback
    yield "wrong modes", mode
    yield "--print-config", printed


def cases(w):
    socket.setdefaulttimeout(20)
    x = Hops(w)
    for part in (rules, words):
        yield from part(x)
    for hop in (*x.hops, x.origin):
        hop.stop()


world.main(cases, ("ip",))
