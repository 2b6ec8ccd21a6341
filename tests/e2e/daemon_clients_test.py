#!/usr/bin/env python3
"""viaductd in front of the programs that people point at a proxy: curl in all its proxy modes, ssh behind
nc, Chromium, git, wget, aria2c, apt, lftp, tnftp, iperf3 under dante's client, proxychains4.

They run on app, where the origin can be reached by no other way and its name is known to nobody: each
has to give what the origin has, speak to viaductd alone, and ask no name server."""

import hashlib
import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import servers, tap, world
from lib.daemon import Daemon
from lib.servers import PASSWORD, USER
from lib.world import NEAR, NEAR6, ORIGIN, ORIGIN6, wait_until

NAME = "origin.test"
LOGIN = f"{USER}:{PASSWORD}"
ALLOW = 'allow app {{ from = {{"10.1.0.0/24", "fd01::/64"}} {} }}\n'
CURL = {  # scheme: what curl resolves by itself it can be asked for by address only
    "socks4": (ORIGIN,), "socks4a": (NAME, ORIGIN), "socks5": (ORIGIN, f"[{ORIGIN6}]"),
    "socks5h": (NAME, ORIGIN, f"[{ORIGIN6}]"), "http": (NAME, ORIGIN, f"[{ORIGIN6}]")}
PAGE = b"""<!DOCTYPE html><title>page</title><p id=word>nothing</p><script>
fetch("/word").then(r => r.text()).then(t => { document.getElementById("word").textContent = t })
</script>"""
WORD = b"the word of the origin"
CHROMIUM = ["chromium", "--headless", "--disable-gpu", "--no-first-run", "--no-sandbox", "--virtual-time-budget=5000",
            "--dump-dom"]


class Place:
    """viaductd for app, with and without a login, and what the origin has."""

    def __init__(self, w):
        self.w, self.web, self.sshd = w, servers.Nginx(w), servers.Sshd(w)
        self.big = self.web.big(size=8 << 20)
        self.sum = hashlib.sha256(self.big).hexdigest()
        self.web.put("page.html", PAGE)
        self.web.put("word", WORD)
        servers.git_repository(w, self.web.root)
        listens = (f"{NEAR}:0", f"[{NEAR6}]:0")
        self.open = Daemon(w, conf=ALLOW.format(""), listens=listens)
        self.locked = Daemon(w, "-u", LOGIN, conf=ALLOW.format(f'users = {{"{USER}"}}'), listens=listens)

    def at(self, d=None):
        return NEAR, (d or self.open).port

    def url(self, scheme, d=None, login=False):
        host, port = self.at(d)
        return f"{scheme}://{LOGIN + '@' if login else ''}{host}:{port}"

    def gives(self, want, argv, d=None, **how):
        """The program does well, gives these bytes, and nothing but the proxy hears of it."""
        self.w.forget()
        got = self.w.run("app", argv, **how)
        tap.same(got.code, 0, f"exit code of {got}")
        if want is not None:
            tap.holds(got.out == want, f"the output of {got}")
        self.w.quiet(self.at(d))
        return got


def curls(p):
    def mode(scheme):
        for host in CURL[scheme]:
            p.gives(p.web.page, ["curl", "-sS", "-g", "-p", "-x", p.url(scheme), f"http://{host}/"])
            p.gives(p.web.page, ["curl", "-sS", "-g", "--cacert", p.web.ca, "-x", p.url(scheme), f"https://{host}/"])

    def by_ipv6(scheme):
        p.w.forget()
        at = NEAR6, p.open.ports[1]
        got = p.w.run("app", ["curl", "-sS", "-g", "-p", "-x", f"{scheme}://[{at[0]}]:{at[1]}", f"http://{ORIGIN}/"])
        tap.holds(got.code == 0 and got.out == p.web.page, str(got))
        p.w.quiet(at)

    def login(scheme):
        d = p.locked
        p.gives(p.web.page, ["curl", "-sS", "-p", "-x", p.url(scheme, d, True), f"http://{NAME}/"], d)
        for url in (p.url(scheme, d), p.url(scheme, d).replace("://", f"://{USER}:wrong@")):
            got = p.w.run("app", ["curl", "-sS", "-p", "-x", url, f"http://{NAME}/"])
            tap.holds(got.code in (56, 97) and not got.out, f"curl with {url}: {got}")

    def codes():
        """What curl makes of a refusal: its own exit codes tell proxy and target apart."""
        for scheme in ("socks4a", "socks5h", "http"):
            for host, port in ((NAME, 9), ("nosuch.test", 80)):
                got = p.w.run("app", ["curl", "-sS", "-p", "-x", p.url(scheme), f"http://{host}:{port}/"])
                tap.same(got.code, 56 if scheme == "http" else 97, f"exit code of {got}")

    def parallel():
        argv = ["curl", "-sS", "-Z", "--no-progress-meter", "--parallel-max", "40", "-x", p.url("socks5h")]
        outs = [f"{p.w.dir}/parallel.{n}" for n in range(40)]
        for out in outs:
            argv += ["-o", out, f"http://{NAME}/"]
        p.gives(None, argv)
        for out in outs:
            with open(out, "rb") as file:
                tap.holds(file.read() == p.web.page, out)

    for scheme in CURL:
        yield f"curl, {scheme}", lambda s=scheme: mode(s)
        yield f"curl, {scheme} by IPv6", lambda s=scheme: by_ipv6(s)
    for scheme in ("socks5h", "http"):
        yield f"curl, {scheme} with a login", lambda s=scheme: login(s)
    yield "curl's exit codes", codes
    yield "curl, forty at a time", parallel


def tunnels(p):
    def behind(mode):
        return f"ProxyCommand=nc -X {mode} -x {NEAR}:{p.open.port} %h %p"

    def ssh(mode, host):
        p.gives(b"yes\n", [*p.sshd.ssh(), "-o", behind(mode), p.sshd.there(host), "echo yes"])
        got = p.gives(None, [*p.sshd.ssh(), "-o", behind(mode), p.sshd.there(host), "sha256sum"], stdin=p.big)
        tap.same(got.out.split()[0].decode(), p.sum, "8 MB of standard input")

    def scp(mode):
        path = p.w.file("copied", "")
        p.gives(None, ["scp", "-q", *p.sshd.options(), "-P", str(p.sshd.port), "-o", behind(mode),
                       f"{p.sshd.there(NAME if mode != '4' else ORIGIN)}:{p.web.root}/big", path])
        with open(path, "rb") as file:
            tap.holds(file.read() == p.big, "the copy")

    def git(proxy):
        into = f"{p.w.dir}/clone.{p.w.port()}"
        p.gives(b"", ["git", "-c", f"http.proxy={proxy}", "clone", "-q", f"http://{NAME}/repo.git", into])
        tap.holds(os.path.exists(f"{into}/file11"), "the last file")

    def git_ssh():
        into = f"{p.w.dir}/clone.{p.w.port()}"
        command = " ".join(f"'{word}'" for word in [*p.sshd.ssh(), "-o", behind("5")])
        p.gives(b"", ["git", "clone", "-q", f"ssh://{p.sshd.there(NAME)}{p.web.root}/repo.git", into],
                env={"GIT_SSH_COMMAND": command, "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory",
                     "GIT_CONFIG_VALUE_0": "*"})
        tap.holds(os.path.exists(f"{into}/file11"), "the last file")

    for mode, host in (("5", NAME), ("4", ORIGIN), ("connect", NAME)):
        yield f"ssh behind nc -X {mode}", lambda m=mode, h=host: ssh(m, h)
        yield f"scp behind nc -X {mode}", lambda m=mode: scp(m)
    for scheme in ("socks5h", "socks4a", "http"):
        yield f"git, http.proxy={scheme}", lambda s=scheme: git(p.url(s))
    yield "git over ssh behind nc", git_ssh


def fetchers(p):
    def chromium(scheme):
        """By its own SOCKS and HTTP clients; what it asks of its maker's hosts is refused by name."""
        home = f"{p.w.dir}/chromium.{p.w.port()}"
        os.mkdir(home)
        p.w.forget()
        got = p.w.run("app", [*CHROMIUM, f"--proxy-server={p.url(scheme)}", f"--user-data-dir={home}/profile",
                              f"http://{NAME}/page.html"], env={"HOME": home}, cwd=home, timeout=50)
        p.w.quiet(p.at())
        tap.same(got.code, 0, f"exit code of {got}")
        tap.same(re.findall(rb"<p id=\"word\">(.*?)</p>", got.out), [WORD], "what the page's script fetched")
        wait_until(lambda: any(s["target"] == f"{NAME}:80" for s in p.open.lines("session" if scheme != "http" else "request")),
                   "the log")

    def wget():
        """Plain requests, and a tunnel for https:."""
        env = {"http_proxy": p.url("http", p.locked, True), "https_proxy": p.url("http", p.locked, True)}
        words = ["wget", "-q", "-O", "-", f"--ca-certificate={p.web.ca}"]
        p.gives(p.web.page + p.big, [*words, f"http://{NAME}/", f"http://{NAME}/big"], p.locked, env=env)
        p.gives(p.big + p.web.page, [*words, f"https://{NAME}/big", f"https://{NAME}/"], p.locked, env=env)

    def aria2(scheme, words):
        path = f"{p.w.dir}/aria.{scheme}"
        p.gives(None, ["aria2c", "-q", "--no-conf", *words, "-x", "8", "-s", "8", "-k", "1M", "--file-allocation=none",
                       "--async-dns=false", f"--ca-certificate={p.web.ca}", "-d", p.w.dir, "-o", f"aria.{scheme}",
                       f"{scheme}://{NAME}/big"])
        with open(path, "rb") as file:
            tap.holds(file.read() == p.big, "the file")

    def apt(scheme):
        """apt's own methods, alone: the index and the packages are another test's."""
        path = p.w.file(f"apt.{scheme}", "")
        os.unlink(path)
        p.gives(None, ["/usr/lib/apt/apt-helper", "-o", f"Acquire::http::Proxy={p.url(scheme)}", "-o",
                       "APT::Sandbox::User=root", "download-file", f"http://{NAME}/big", path, f"SHA256:{p.sum}"])
        with open(path, "rb") as file:
            tap.holds(file.read() == p.big, "the file")

    def lftp():
        words = f"set http:proxy {p.url('http')}; set net:max-retries 1; cat http://{NAME}/index.html"
        p.gives(p.web.page, ["lftp", "-c", words])

    def tnftp():
        path = f"{p.w.dir}/by.tnftp"
        p.gives(None, ["tnftp", "-V", "-o", path, f"http://{NAME}/big"], env={"http_proxy": p.url("http") + "/"})
        with open(path, "rb") as file:
            tap.holds(file.read() == p.big, "the file")

    for scheme in ("socks5", "http"):
        yield f"Chromium, --proxy-server={scheme}", lambda s=scheme: chromium(s)
    yield "wget with a login, http: and https:", wget
    yield "aria2c, http:", lambda: aria2("http", [f"--all-proxy={p.url('http')}"])
    yield "aria2c, https:", lambda: aria2("https", [f"--all-proxy={p.url('http')}"])
    for scheme in ("http", "socks5h"):
        yield f"apt, Acquire::http::Proxy={scheme}", lambda s=scheme: apt(s)
    yield "lftp", lftp
    yield "tnftp", tnftp


def proxifiers(p):
    def iperf(more):
        """UDP ASSOCIATE at 8 Mbit/s by dante's client: nothing is lost, nothing comes twice."""
        w, port = p.w, p.w.port()
        server = w.serve("iperf3", "origin", ["iperf3", "-s", "-1", "-p", str(port)], port)
        conf = w.file(f"socks.{port}.conf", f"""
route {{ from: 0.0.0.0/0 to: 10.2.0.0/24 via: {NEAR} port = {p.open.port} protocol: tcp udp
proxyprotocol: socks_v5
command: connect udpassociate
method: none }}
""")
        w.forget()
        got = w.run("app", ["socksify", "iperf3", "-u", "-b", "8M", "-l", "1200", "-t", "1", "-J", "-p", str(port), "-c", ORIGIN,
                            *more], env={"SOCKS_CONF": conf}, timeout=30)
        tap.same({address for _, address, _ in w.link.take()}, {NEAR}, "who was spoken to")
        server.stop()
        tap.same(got.code, 0, f"exit code of {got}")
        total = json.loads(got.out)["end"]["sum"]
        tap.same(total["lost_packets"], 0, "lost")
        tap.holds(total["packets"] > 500, f"{total}")

    def proxychains(kind):
        conf = p.w.file(f"pc.{kind}.conf", "strict_chain\nproxy_dns\nremote_dns_subnet 224\n[ProxyList]\n"
                                           f"{kind} {NEAR} {p.open.port}\n")
        host = ORIGIN if kind == "socks4" else NAME
        p.gives(p.web.page, ["proxychains4", "-q", "-f", conf, "curl", "-sS", f"http://{host}/"])

    def chained():
        """Two viaductd in a row, as proxychains makes a chain; the second has a login."""
        second = servers.viaductd(p.w, login=True)
        first = servers.viaductd(p.w)
        conf = p.w.file("pc.chain.conf", "strict_chain\nproxy_dns\nremote_dns_subnet 224\n[ProxyList]\n"
                        f"socks5 {NEAR} {first.port}\nhttp 10.2.0.1 {second.port} {USER} {PASSWORD}\n")
        p.w.forget()
        got = p.w.run("app", ["proxychains4", "-q", "-f", conf, "curl", "-sS", f"http://{NAME}/"])
        tap.holds(got.code == 0 and got.out == p.web.page, str(got))
        p.w.quiet(first.at(first=True))

    yield "iperf3 -u under dante's client", lambda: iperf([])
    yield "iperf3 -u under dante's client, the other way", lambda: iperf(["-R"])
    for kind in ("socks4", "socks5", "http"):
        yield f"proxychains4, {kind}", lambda k=kind: proxychains(k)
    yield "proxychains4, two hops", chained


def cases(w):
    p = Place(w)
    for part in (curls, tunnels, fetchers, proxifiers):
        yield from part(p)


if __name__ == "__main__":
    world.main(cases, ("aria2c", "chromium", "curl", "git", "iperf3", "lftp", "nc", "nginx", "proxychains4", "scp", "socksify",
                       "ssh", "sshd", "tnftp", "wget", "/usr/lib/apt/apt-helper"))
