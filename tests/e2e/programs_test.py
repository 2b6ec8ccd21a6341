#!/usr/bin/env python3
"""Real programs through two hops, `viaduct -q -x socks5h://H1 -x http://H2`: each gives the bytes
and the exit code that it gives where the origin is reached directly, speaks to H1 alone, and asks
no name server."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import servers, tap, world
from lib.servers import chain
from lib.world import ORIGIN, ORIGIN6, PYTHON

PY_SOCKET = """
import socket, sys
s = socket.create_connection((sys.argv[1], 80))
s.sendall(b"GET / HTTP/1.0\\r\\nHost: origin.test\\r\\n\\r\\n")
data = b""
while part := s.recv(65536):
    data += part
sys.stdout.buffer.write(data.split(b"\\r\\n\\r\\n", 1)[1])
"""
PY_URLLIB = """
import sys, urllib.request
sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1]).read())
"""
PY_ASYNCIO = """
import asyncio, sys
async def get(host):
    reader, writer = await asyncio.open_connection(host, 80)
    writer.write(b"GET / HTTP/1.0\\r\\nHost: origin.test\\r\\n\\r\\n")
    data = await reader.read()
    writer.close()
    return data.split(b"\\r\\n\\r\\n", 1)[1]
async def main():
    for page in await asyncio.gather(*(get(host) for host in sys.argv[1:])):
        sys.stdout.buffer.write(page)
asyncio.run(main())
"""
NODE_HTTP = """
require("http").get({host: process.argv[1], port: 80, agent: false}, r => r.pipe(process.stdout));
"""
NODE_FETCH = """
fetch(process.argv[1], {headers: {connection: "close"}}).then(r => r.arrayBuffer())
    .then(b => process.stdout.write(Buffer.from(b)));
"""
PERL_INET = """
use IO::Socket::INET;
my $s = IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => 80, Proto => "tcp") or die "$!";
print $s "GET / HTTP/1.0\\r\\nHost: origin.test\\r\\n\\r\\n";
local $/; my $data = <$s>; $data =~ s/^.*?\\r\\n\\r\\n//s; binmode STDOUT; print $data;
"""
GIT_CLONE = """
rm -rf clone && git clone -q "$1" clone && git -C clone log --format='%H %s' && git -C clone fsck --strict &&
cat clone/file* | sha256sum
"""
RANDOM = os.urandom(1 << 20)
REQUEST = b"GET / HTTP/1.0\r\nHost: origin.test\r\n\r\n"


def programs(web, sshd):
    """name: (argv, standard input)"""
    ssh_command = " ".join(sshd.ssh())
    ssh, scp = sshd.ssh(), ["scp", "-q", *sshd.options(), "-P", str(sshd.port)]
    shell = ["sh", "-c"]
    curl = ["curl", "-sS"]
    return {
        "curl by name": ([*curl, "http://origin.test/"], None),
        "curl by IPv4 literal": ([*curl, f"http://{ORIGIN}/"], None),
        "curl by IPv6 literal": ([*curl, f"http://[{ORIGIN6}]/"], None),
        "curl by a name with IPv6 only": ([*curl, "http://v6.origin.test/"], None),
        "one family asked for": (
            [*shell, "curl -sS -4 http://origin.test/ && wget -6 -q -O - http://origin.test/"],
            None,
        ),
        "curl by HTTPS": ([*curl, "--cacert", web.ca, "https://origin.test/"], None),
        "curl by HTTPS, IPv6 literal": ([*curl, "--cacert", web.ca, f"https://[{ORIGIN6}]/"], None),
        "curl, 8 MB": ([*shell, "curl -sS http://origin.test/big | sha256sum"], None),
        "curl, three in parallel": (
            [
                *shell,
                "curl -sS -Z --no-progress-meter -o 1 -o 2 -o 3 http://origin.test/ "
                f"http://{ORIGIN}/ http://v4.origin.test/ && cat 1 2 3",
            ],
            None,
        ),
        "wget by name": (["wget", "-q", "-O", "-", "http://origin.test/"], None),
        "wget by IPv6 literal": (["wget", "-q", "-O", "-", f"http://[{ORIGIN6}]/"], None),
        "wget by HTTPS": (
            ["wget", "-q", "-O", "-", f"--ca-certificate={web.ca}", "https://origin.test/"],
            None,
        ),
        "wget tells of a missing page": (["wget", "-q", "-O", "-", "http://origin.test/none"], None),
        "ssh, a command and its exit code": (
            [*ssh, sshd.there("origin.test"), "echo out; echo err >&2; exit 3"],
            None,
        ),
        "ssh by address, data both ways": ([*ssh, sshd.there(ORIGIN6), "cat"], RANDOM),
        "scp from there": (
            [*shell, '"$@" got && sha256sum got', "-", *scp, f"{sshd.there('origin.test')}:{web.root}/big"],
            None,
        ),
        "scp to there": (
            [
                *shell,
                f'"$@" && cat {web.root}/sent | sha256sum; rm {web.root}/sent',
                "-",
                *scp,
                f"{web.root}/big",
                f"{sshd.there('origin.test')}:{web.root}/sent",
            ],
            None,
        ),
        "git over http": ([*shell, GIT_CLONE, "-", "http://origin.test/repo.git"], None),
        "git over ssh": (
            [
                *shell,
                f"export GIT_SSH_COMMAND='{ssh_command}'\n{GIT_CLONE}",
                "-",
                f"ssh://{sshd.there('origin.test')}{web.root}/repo.git",
            ],
            None,
        ),
        "nc by name": (["nc", "origin.test", "80"], REQUEST),
        "nc by IPv4 literal": (["nc", ORIGIN, "80"], REQUEST),
        "python3, socket": ([PYTHON, "-c", PY_SOCKET, "origin.test"], None),
        "python3, socket to IPv6": ([PYTHON, "-c", PY_SOCKET, ORIGIN6], None),
        "python3, urllib": ([PYTHON, "-c", PY_URLLIB, "http://origin.test/"], None),
        "python3, asyncio": ([PYTHON, "-c", PY_ASYNCIO, "origin.test", ORIGIN, "v4.origin.test"], None),
        "node, http": (["node", "--no-warnings", "-e", NODE_HTTP, "origin.test"], None),
        "node, fetch": (["node", "--no-warnings", "-e", NODE_FETCH, "http://origin.test/"], None),
        "perl, IO::Socket::INET": (["perl", "-e", PERL_INET, "origin.test"], None),
    }


def plain(data):
    """What an answer says of the moment it was given is left out."""
    return re.sub(rb"\r\nDate: [^\r]*", b"", data)


def cases(w):
    web = servers.Nginx(w)
    web.big(size=8 << 20)
    servers.git_repository(w, web.root)
    sshd = servers.Sshd(w)
    pairs = {
        "microsocks, tinyproxy": (servers.microsocks(w), servers.tinyproxy(w)),
        "two viaductd": (servers.viaductd(w), servers.viaductd(w)),
    }
    direct = {}

    def compare(name, argv, stdin, pair):
        if name not in direct:
            direct[name] = w.run("proxy", argv, stdin=stdin)
        want = direct[name]
        tap.holds(want.code is not None and (want.out or want.code), f"direct: {want}")
        one, two = pairs[pair]
        w.forget()
        got = w.via(["-q", *chain(one.url("socks5h", first=True), two.url("http"))], argv, stdin=stdin)
        tap.same(got.code, want.code, "exit code")
        tap.same(plain(got.out), plain(want.out), "standard output")
        tap.same(got.err, want.err, "standard error")
        w.quiet(one.at(first=True))

    def silent_by_default():
        one, two = pairs["two viaductd"]
        got = w.via(chain(one.url(first=True), two.url("http")), ["curl", "-sS", "http://origin.test/"])
        tap.same((got.code, got.out, got.err), (0, web.page, b""))

    def half_close():
        """nc -N ends its side after the request; hops of other makers end the tunnel then. Again
        and again: the ends of both directions meet in every order."""
        one, two = pairs["two viaductd"]
        options = ["-q", *chain(one.url(first=True), two.url("http"))]
        for _ in range(20):
            got = w.via(options, ["nc", "-N", "origin.test", "80"], stdin=REQUEST, timeout=5)
            tap.same((got.code, got.out.split(b"\r\n\r\n", 1)[1]), (0, web.page))

    def sees_the_hop():
        """The origin's own word for who came: the last hop, not app."""
        one, two = pairs["microsocks, tinyproxy"]
        got = w.via(
            ["-q", *chain(one.url(first=True), two.url("http"))], ["curl", "-sS", f"http://{ORIGIN}/whoami"]
        )
        tap.same(got.out.split()[0], b"10.2.0.1", "whom the origin saw")

    for pair in pairs:
        for name, (argv, stdin) in programs(web, sshd).items():
            yield f"{pair}: {name}", lambda n=name, a=argv, i=stdin, p=pair: compare(n, a, i, p)
    yield "without -q a success is silent too", silent_by_default
    yield "two viaductd: a half-closed connection", half_close
    yield "the origin sees the last hop", sees_the_hop


if __name__ == "__main__":
    world.main(
        cases,
        (
            "curl",
            "wget",
            "ssh",
            "scp",
            "git",
            "nc",
            "node",
            "perl",
            PYTHON,
            "microsocks",
            "tinyproxy",
            "sshd",
            "nginx",
            "openssl",
        ),
    )
