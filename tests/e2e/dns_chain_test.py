#!/usr/bin/env python3
"""Queries of programs with a resolver of their own, for what is no address, with --dns chain: by TCP
through the chain to its name servers, for the names that may be asked for there."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import servers, tap, world
from lib.dns import Dns
from lib.servers import chain
from lib.world import NAMES, ORIGIN, PYTHON

SERVER = "10.2.0.54"  # a name server that the chain's far end reaches
MAIL, TEXT = b"\0\x0a\4mail\4here\4test\0", b"\5hello"
ASK = ("import socket, struct, sys\n"
       "def ask(name, kind):\n"
       "    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n    s.settimeout(5)\n"
       "    labels = b''.join(bytes([len(l)]) + l.encode() for l in name.split('.')) + b'\\0'\n"
       "    s.sendto(struct.pack('!6H', 7, 0x100, 1, 0, 0, 0) + labels + struct.pack('!2H', kind, 1), ('%s', 53))\n"
       "    flags, _, count = struct.unpack('!3H', s.recv(512)[2:8])\n"
       "    return ('cut ' if flags & 0x200 else '') + str(flags & 15), count\n" % NAMES)


def cases(w):
    hop = servers.viaductd(w)
    first = chain(hop.url("socks5", first=True))
    subprocess.run(["ip", "-n", "origin", "addr", "add", f"{SERVER}/24", "dev", "org0"], check=True)
    far = Dns("origin", SERVER)
    conf = w.file("dns.conf", f'dns = "chain"\nnameservers = {{"{SERVER}"}}\n')
    options = [*first, "-f", conf]

    def other_types():
        """A program with a resolver of its own asks for them by TCP, through the chain."""
        far.know_record("only.here.test", "MX", MAIL)
        far.know_record("only.here.test", "TXT", TEXT)
        for words, said in ((["MX"], b"10 mail.here.test.\n"), (["TXT"], b'"hello"\n'), (["+tcp", "TXT"], b'"hello"\n')):
            for engine in ("preload", "supervise"):
                w.forget()
                far.take()
                got = w.via(["-q", "--engine", engine, *options],
                            ["dig", "+short", "+tries=1", "+time=5", *words, "only.here.test"])
                tap.same(got.out, said, f"{words} {engine}: {got}")
                tap.same(far.take(), [("only.here.test", words[-1], "tcp")], "asked at the far end")
                w.quiet(hop.at(first=True))

    def as_cares_asks():
        script = ("require('dns').resolveMx('only.here.test', (e, a) => require('dns').resolveTxt('only.here.test', (f, b) => "
                  "console.log(e, a[0].exchange, f, b[0][0])))")
        w.forget()
        got = w.via(["-q", *options], ["node", "-e", script])
        tap.same(got.out, b"null mail.here.test null hello\n", got)
        w.quiet(hop.at(first=True))

    def not_of_all_names():
        """What a rule refuses, or sends by another chain, is nobody's business there; nor is what is known here."""
        conf = w.file("types.conf", f'dns = "chain"\nnameservers = {{"{SERVER}"}}\nchain other {{ hops = "{hop.url("socks5", first=True)}" }}\n'
                      'rule no { match = "*.secret.test" action = "refuse" }\nrule o { match = "*.other.test" chain = "other" }\n'
                      'rule here { match = "*.home.test" action = "direct" }\n')
        script = ASK + ("print([ask(n, 15) for n in ('a.secret.test', 'a.other.test', 'apphost', 'far.test')])\n"
                        "print(ask('far.test', 1)[0], ask('far.test', 65), ask('1.2.0.10.in-addr.arpa', 12))\n")
        w.forget()
        far.take()
        got = w.via(["-q", "-f", conf, *first], [PYTHON, "-c", script])
        tap.same(got.out, b"[('5', 0), ('5', 0), ('5', 0), ('cut 0', 0)]\n0 ('0', 0) ('3', 0)\n", got)
        tap.same((far.take(), w.far_names.take()), ([], []), "asked")
        w.quiet()

    def types_by_resolv_conf():
        """Without name servers of its own: those of resolv.conf, as the far end reaches them."""
        w.names.know_record("at.home.test", "TXT", TEXT)
        w.forget()
        got = w.via(["-q", "-d", "chain", *first], ["dig", "+short", "+tries=1", "+time=5", "TXT", "at.home.test"])
        tap.same(got.out, b'"hello"\n', got)
        tap.same(w.names.take(), [("at.home.test", "TXT", "tcp")], "asked")
        w.quiet(hop.at(first=True))

    def types_of_nobody():
        """The server is gone: there is no answer, and no other way."""
        conf = w.file("gone.conf", f'dns = "chain"\nnameservers = {{"{ORIGIN}:9"}}\n')
        w.forget()
        got = w.via(["-f", conf, *first], ["dig", "+tries=1", "+time=3", "TXT", "only.here.test"])
        tap.holds(got.code != 0 and b"hello" not in got.out, got)
        tap.holds(f"{ORIGIN}:9: ".encode() in got.err, got)
        w.quiet(hop.at(first=True))

    for case in (other_types, as_cares_asks, not_of_all_names, types_by_resolv_conf, types_of_nobody):
        yield case.__name__.replace("_", " "), case


if __name__ == "__main__":
    world.main(cases, ("dig", "node"))
