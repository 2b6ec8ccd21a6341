#!/usr/bin/env python3
"""FTP through a chain: active (PORT, EPRT) by SOCKS BIND and passive (PASV, EPSV), by the clients that
people use; what a hop without BIND makes of it; and listeners that are none of the proxy's business."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import ftp, netns, servers, tap, world
from lib.servers import chain
from lib.world import ORIGIN, ORIGIN6, PYTHON, wait_until

NAME = "v4.origin.test"
# (client, active, extended, host): what each says on the control connection
ACTIVE = [
    ("tnftp", False, ORIGIN, "PORT"), ("tnftp", True, ORIGIN, "EPRT"), ("lftp", False, ORIGIN, "PORT"),
    ("curl", False, ORIGIN, "PORT"), ("curl", True, ORIGIN, "EPRT"),
]
PASSIVE = [
    ("tnftp", False, "PASV"), ("tnftp", True, "EPSV"), ("lftp", False, "PASV"), ("lftp", True, "EPSV"),
    ("curl", False, "PASV"), ("curl", True, "EPSV"),
]


class Transfers:
    """Whole sessions: list, get 10 MB, put it back; compared by checksum."""

    def __init__(self, w):
        self.w, self.server, self.count = w, ftp.Vsftpd(w), 0
        self.sum = ftp.digest(self.server.data)

    def session(self, client, active, extended, host, options):
        self.count += 1
        to, name = f"{self.w.dir}/got.{self.count}", f"put.{self.count}"
        words, script = ftp.CLIENTS[client](host, active, extended, to, name)
        before = len(self.server.said())
        self.w.forget()
        got = self.w.via(["-v", *options], words, stdin=script, timeout=50)
        said = self.server.said()[before:]
        tap.note(said[-2000:])
        return got, to, name, said

    def works(self, client, active, extended, host, word, hop, options):
        got, to, name, said = self.session(client, active, extended, host, options)
        tap.same(got.code, 0, f"exit code\n{got}")
        tap.holds(b"big" in got.out, f"the listing\n{got}")
        tap.holds(os.path.exists(to), f"something was got\n{got}")
        tap.same(ftp.digest(to), self.sum, "what was got")
        tap.same(self.server.came(name), self.sum, f"what was put\n{got}")
        os.unlink(to)
        for other in {"PORT", "EPRT", "PASV", "EPSV"}:
            tap.same(f'"{other}' in said, other == word, f"{other} was said")
        self.w.quiet(hop)


def active_and_passive(w, t, hops):
    ours, dante, micro, tiny = hops["ours"], hops["dante"], hops["micro"], hops["tiny"]

    def ways(hop, schemes):
        for scheme in schemes:
            yield f"{hop.server.name} {scheme}", chain(hop.url(scheme, first=True)), hop

    one = [*ways(ours, ("socks5h", "socks4", "socks4a", "socks5")), *ways(dante, ("socks5h", "socks4"))]
    two = [
        (f"{a.server.name}, {b.server.name} {scheme}", chain(a.url(first=True), b.url(scheme)), a)
        for a, b, scheme in ((ours, ours, "socks5h"), (tiny, ours, "socks4"), (micro, dante, "socks5h"))
    ]
    for index, (what, options, hop) in enumerate([*one, *two]):
        # every client everywhere would take long: all of them at the first, and at each a few
        rows = ACTIVE if index == 0 else [ACTIVE[index % 5], ACTIVE[(index + 2) % 5]]
        for client, extended, host, word in rows:
            yield (f"{what}: {client} {word}", lambda c=client, e=extended, h=host, o=options, x=hop, s=word:
                   t.works(c, True, e, h, s, x.at(first=True), o))
    for client, extended, host, word in ACTIVE:
        yield (f"by name: {client} {word}", lambda c=client, e=extended, s=word:
               t.works(c, True, e, NAME, s, ours.at(first=True), chain(ours.url(first=True))))
    for client in ftp.CLIENTS:
        yield (f"IPv6: {client} EPRT", lambda c=client:
               t.works(c, True, True, ORIGIN6, "EPRT", ours.at(first=True), chain(ours.url(first=True))))
    for client, extended, word in PASSIVE:
        for hop in (ours, micro):
            yield (f"{hop.server.name}: {client} {word}", lambda c=client, e=extended, x=hop, s=word:
                   t.works(c, False, e, ORIGIN, s, x.at(first=True), chain(x.url(first=True))))


def without_bind(w, t, hops, sshd):
    """Active mode fails, and says so; passive mode goes on."""
    last = {"micro": hops["micro"].url(first=True), "tiny": hops["tiny"].url(first=True),
            "ssh -D": servers.ssh_d(w, sshd).url(first=True)}

    def fails(client, url):
        got, to, name, said = t.session(client, True, client == "curl", ORIGIN, chain(url))
        tap.holds(not os.path.exists(to) or os.path.getsize(to) == 0, "nothing was got")
        tap.same(t.server.came(name), None, "nothing was put")
        tap.holds(b"viaduct: " in got.err and b": hop 1 of 1 (" in got.err, f"a line tells why\n{got}")
        tap.holds(got.seconds < 20, f"in time: {got.seconds:.1f} s")
        tap.holds('"150 ' not in said, f"no data connection\n{said}")

    for what, url in last.items():
        for client in ftp.CLIENTS:
            yield f"no BIND, {what}: {client}, active", lambda c=client, u=url: fails(c, u)
        yield (f"no BIND, {what}: lftp, passive", lambda u=url:
               t.works("lftp", False, False, ORIGIN, "PASV", (u.split("//")[1].split(":")[0], int(u.rsplit(":", 1)[1])), chain(u)))


RULES = """
table inet door {
    ct helper ftp { type "ftp" protocol tcp; }
    chain in {
        type filter hook input priority 0; policy drop;
        iifname { "lo", "app1" } accept
        ct state established,related accept
        meta l4proto { icmp, ipv6-icmp } accept
    }
    chain out {
        type filter hook output priority 0;
        tcp dport 21 %s
    }
}
"""


def firewall(w, t, hops):
    """The proxy host lets in only what its connection tracker expects: the server's connections to the
    address and port that PORT told."""
    def nft(text):
        with netns.inside("proxy"):
            return subprocess.run(["nft", "-f", "-"], input=text, capture_output=True, text=True, check=False)

    def with_rules(helper, check):
        done = nft(RULES % helper)
        if done.returncode:
            tap.fail(f"this kernel has no helper for FTP (nf_conntrack_ftp): {done.stderr}")
        try:
            check()
        finally:
            nft("delete table inet door")

    def passes():
        for client in ("tnftp", "lftp", "curl"):
            t.works(client, True, False, ORIGIN, "PORT", hops["ours"].at(first=True), chain(hops["ours"].url(first=True)))
        t.works("tnftp", True, True, ORIGIN, "EPRT", hops["dante"].at(first=True), chain(hops["dante"].url(first=True)))

    def is_stopped():
        got, to, _, said = t.session("curl", True, False, ORIGIN, chain(hops["ours"].url(first=True)))
        tap.holds(got.code != 0 and not os.path.exists(to), f"{got}")
        tap.holds("425 " in said, f"the server could not connect\n{said}")

    yield "a firewall with nf_conntrack_ftp lets it in", lambda: with_rules('ct helper set "ftp"', passes)
    yield "a firewall without it does not", lambda: with_rules("accept", is_stopped)


def local(w, hops, web, sshd):
    """Listeners that mean this machine."""
    options = chain(hops["ours"].url(first=True))
    config = w.file("ssh_config", f"""
Host *
    IdentityFile {sshd.keys}/user
    StrictHostKeyChecking accept-new
    UserKnownHostsFile {sshd.known}
    GlobalKnownHostsFile none
    BatchMode yes
    LogLevel ERROR
    CheckHostIP no
    ExitOnForwardFailure yes
""", 0o600)
    ssh = ["ssh", "-F", config, "-N"]

    def served(what, argv, port, ask, host="app", quiet=True):
        """`argv` through viaduct, which opens `port` on `host`; what `ask` gives there."""
        w.forget()
        proc = w.popen("app", [w.viaduct, *options, "--", *argv], cwd=w.dir, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                       stdin=subprocess.DEVNULL)
        try:
            wait_until(lambda: netns.listening(host, port) or proc.poll() is not None, f"{what} listens")
            got = w.run(host, ask)
        finally:
            proc.kill()
            err = proc.communicate()[1]
        tap.same((got.code, got.err), (0, b""), f"{what}: {err}\n{got}")
        if quiet:
            w.link.expect(*([hops["ours"].at(first=True)] if "ssh" in argv else []))
        return got.out

    def web_server():
        port = w.port()
        w.file("www-app/index.html", "local\n")
        out = served("http.server", [PYTHON, "-m", "http.server", "-d", f"{w.dir}/www-app", "-b", "0.0.0.0", str(port)],
                     port, ["curl", "-sS", f"http://127.0.0.1:{port}/"])
        tap.same(out, b"local\n")

    def for_others():
        """Who listens on all addresses is reached from elsewhere, too."""
        port = w.port()
        proc = w.popen("app", [w.viaduct, *options, "--", PYTHON, "-m", "http.server", "-d", f"{w.dir}/www-app", str(port)],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: netns.listening("app", port), "http.server listens")
            tap.same(w.run("proxy", ["curl", "-sS", f"http://10.1.0.2:{port}/"]).out, b"local\n")
        finally:
            proc.kill()
            proc.wait()

    def netcat():
        port = w.port()
        out = served("nc -l", ["sh", "-c", f"echo hello | nc -N -l 127.0.0.1 {port}"], port,
                     ["sh", "-c", f"nc -N 127.0.0.1 {port} </dev/null"])
        tap.same(out, b"hello\n")

    def forward():
        port = w.port()
        out = served("ssh -L", [*ssh, "-L", f"127.0.0.1:{port}:{ORIGIN}:80", sshd.there()], port,
                     ["curl", "-sS", f"http://127.0.0.1:{port}/"])
        tap.holds(out == web.page, "the page through ssh -L")

    def dynamic():
        port = w.port()
        out = served("ssh -D", [*ssh, "-D", f"127.0.0.1:{port}", sshd.there()], port,
                     ["curl", "-sS", "-x", f"socks5h://127.0.0.1:{port}", f"http://{ORIGIN}/"])
        tap.holds(out == web.page, "the page through ssh -D")

    def remote():
        port, here = w.port(), w.port()
        w.serve("http.server", "app", [PYTHON, "-m", "http.server", "-d", f"{w.dir}/www-app", str(here)], here)
        out = served("ssh -R", [*ssh, "-R", f"127.0.0.1:{port}:127.0.0.1:{here}", sshd.there()], port,
                     ["curl", "-sS", f"http://127.0.0.1:{port}/"], host="origin")
        tap.same(out, b"local\n", "the page through ssh -R")

    def jump():
        w.forget()
        got = w.via(options, ["ssh", "-F", config, "-J", sshd.there(), sshd.there("origin.test"), "echo jumped"])
        tap.same((got.code, got.out), (0, b"jumped\n"), f"{got}")
        w.quiet(hops["ours"].at(first=True))

    yield "local: python's http.server", web_server
    yield "local: for others", for_others
    yield "local: nc -l", netcat
    yield "local: ssh -L", forward
    yield "local: ssh -D", dynamic
    yield "local: ssh -R", remote
    yield "local: ssh -J", jump


def cases(w):
    web, sshd = servers.Nginx(w), servers.Sshd(w)
    hops = {"ours": servers.viaductd(w), "dante": servers.danted(w), "micro": servers.microsocks(w),
            "tiny": servers.tinyproxy(w)}
    t = Transfers(w)
    yield from active_and_passive(w, t, hops)
    yield from without_bind(w, t, hops, sshd)
    yield from firewall(w, t, hops)
    yield from local(w, hops, web, sshd)


if __name__ == "__main__":
    world.main(cases, ("ip", "ssh", "sshd", "nft", "vsftpd", "tnftp", "lftp", "curl", "nc", "nginx", "danted", "microsocks",
                       "tinyproxy", PYTHON))
