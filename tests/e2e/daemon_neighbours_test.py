#!/usr/bin/env python3
"""viaductd among other servers: nginx before and behind it, redsocks as its client, and as its upstream
hops squid, apache, ssh -D and shadowsocks; unbound for its names."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import dns, hostile, netns, proxies, servers, tap, world
from lib.daemon import HOME, Daemon
from lib.visit import HTTP, SOCKS4A, SOCKS5, WAYS
from lib.world import APP, FAR, NEAR, ORIGIN, ORIGIN6, wait_until

HERE = "127.0.0.1"
UNBOUND, ELSEWHERE = "127.0.0.54", "127.0.0.55"
ALLOW = 'allow app { from = {"10.1.0.0/24", "fd01::/64", "127.0.0.0/8"} to = {"*"} }\n'


def echo(peer):
    """Says by whom it is visited, then everything back."""
    peer.say(f"{peer.sock.getpeername()[0]}\n".encode())
    peer.sock.settimeout(None)
    while data := peer.sock.recv(65536):
        peer.say(data)


def line_of(sock):
    line = b""
    while not line.endswith(b"\n") and (byte := sock.recv(1)):
        line += byte
    return line.decode().strip()


def talks(visit, seen=None):
    """A tunnel to `echo` that works both ways; who it was for the origin. (None of these neighbours passes
    on a half-close.)"""
    tap.holds(visit.ok, f"reply {visit.code}")
    got = line_of(visit.sock)
    tap.same(got, seen or got, "whom the origin sees")
    data = os.urandom(200000)
    visit.sock.sendall(data)
    tap.holds(visit.read(len(data)) == data, "200 kB there and back")
    visit.close()
    return got


# --- nginx ------------------------------------------------------------------------------------


def nginx_stream(w, servers_text, port):
    conf = w.file(f"stream.{port}.conf", f"""
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
user root; daemon off; master_process off; pid {w.dir}/stream.{port}.pid; error_log stderr;
events {{ worker_connections 512; }}
stream {{ {servers_text} }}
""")
    return w.serve("nginx", HOME, ["nginx", "-e", "stderr", "-c", conf], port)


def balancers(w, target):
    def before():
        """nginx's stream module with proxy_protocol in front of two viaductd, one killed under way."""
        farm = [Daemon(w, conf=f'listen farm {{ url = "{HERE}:0" proxy_protocol = true }}\n{ALLOW}', listens=1)
                for _ in range(2)]
        port = w.port()
        lines = "".join(f"server {HERE}:{d.port} max_fails=1 fail_timeout=10s; " for d in farm)
        nginx_stream(w, f"upstream farm {{ {lines} }} server {{ listen {NEAR}:{port}; proxy_pass farm; proxy_protocol on; "
                        "proxy_connect_timeout 1s; }", port)
        for number in range(8):
            talks(farm[0].visit(WAYS[2 + number % 2], target, at=(NEAR, port), ns="app"), FAR)
        tap.holds(all(d.lines("session") for d in farm), "both have had some")
        farm[0].signal(signal.SIGKILL)
        for _ in range(8):
            talks(farm[0].visit(SOCKS5, target, at=(NEAR, port), ns="app"), FAR)
        for d in farm:
            tap.same({s["client"].rsplit(":", 1)[0] for s in d.lines("session")}, {APP}, "whose sessions they are")

    def behind():
        """forward:// with send_proxy, and nginx that reads the line: the origin's side knows the client."""
        port = w.port()
        nginx_stream(w, f"server {{ listen {HERE}:{port} proxy_protocol; return $proxy_protocol_addr; }}", port)
        for version in ("v1", "v2"):
            d = Daemon(w, conf=f'listen f {{ url = "forward://{NEAR}:0" targets = {{"{HERE}:{port}"}} send_proxy = "{version}" }}\n',
                       listens=1)
            with netns.inside("app"):
                with socket.create_connection((NEAR, d.port), 10) as sock:
                    tap.same(sock.recv(100), APP.encode(), version)

    def hop():
        """nginx between a viaductd and its upstream hop: a plain relay changes nothing."""
        inner, port = servers.viaductd(w), w.port()
        nginx_stream(w, f"server {{ listen {HERE}:{port}; proxy_pass {HERE}:{inner.port}; }}", port)
        d = Daemon(w, "-x", f"socks5h://{HERE}:{port}")
        for way in WAYS:
            talks(d.visit(way, target, how="flight"), FAR)

    yield "nginx stream in front, one of two viaductd killed", before
    yield "nginx stream behind, told of the client", behind
    yield "nginx stream before a hop", hop


# --- redsocks ---------------------------------------------------------------------------------


def redirector(w, target):
    def redsocks(kind, login):
        """app's programs know of nothing: netfilter there hands what they send to redsocks, which speaks
        to viaductd."""
        d = Daemon(w, *(["-u", "alice:s3cret"] if login else []), conf=ALLOW, listens=(f"{NEAR}:0",))
        port = w.port()
        words = 'login = "alice"; password = "s3cret";' if login else ""
        conf = w.file(f"redsocks.{port}.conf", f"""
base {{ log_debug = off; log_info = on; log = "stderr"; daemon = off; redirector = iptables; }}
redsocks {{ local_ip = 127.0.0.1; local_port = {port}; ip = {NEAR}; port = {d.port}; type = {kind}; {words} }}
""")
        server = w.serve("redsocks", "app", ["redsocks", "-c", conf], port)
        with netns.inside("app"):
            subprocess.run(["nft", "-f", "-"], text=True, check=True, input=f"""table ip red {{
  chain c {{
    type nat hook output priority -100
    ip daddr {ORIGIN} tcp dport {target[1]} redirect to :{port}
  }}
}}
""")
        try:
            w.forget()
            with netns.inside("app"):
                sock = socket.create_connection((ORIGIN, target[1]), 10)
            tap.same(line_of(sock), FAR, "whom the origin sees")
            data = os.urandom(100000)
            sock.sendall(data)
            got = b""
            while len(got) < len(data) and (more := sock.recv(65536)):
                got += more
            tap.holds(got == data, "what came back")
            sock.close()
            w.quiet((NEAR, d.port))
            line = wait_until(lambda: [s for s in d.lines("session") if s["target"] != "-"], "the log")[0]
            tap.same([line["target"], line["user"]], [f"{ORIGIN}:{target[1]}", "alice" if login else "-"])
        finally:
            with netns.inside("app"):
                subprocess.run(["nft", "delete", "table", "ip", "red"], check=True)
            server.stop()

    for kind, login in (("socks4", False), ("socks5", False), ("socks5", True), ("http-connect", False), ("http-connect", True)):
        yield f"redsocks, {kind}{' with a login' if login else ''}", lambda k=kind, g=login: redsocks(k, g)


# --- hops of other makers -----------------------------------------------------------------------


def shadowsocks(w):
    """ss-local as a SOCKS5 hop on the proxy host, ss-server on the origin's."""
    far, near = w.port(), w.port()
    words = ["-k", "s3cret", "-m", "aes-256-gcm", "-t", "30"]
    w.serve("ss-server", "origin", ["ss-server", "-s", ORIGIN, "-p", str(far), *words], far)
    server = w.serve("ss-local", HOME, ["ss-local", "-s", ORIGIN, "-p", str(far), "-b", HERE, "-l", str(near), *words], near)
    return servers.Hop(server, near, ("socks5h", "socks5"), None)


def hops(w, target):
    ours = servers.viaductd(w, login=True)

    def carried(d, seen, name):
        for way in WAYS:
            host = name if way is not WAYS[0] else target[0]
            talks(d.visit(way, (host, target[1]), how="flight"), seen)

    def squid():
        """With its login, alone and in front of another hop; a wrong login is told."""
        hop = proxies.squid(w, login=True)
        carried(Daemon(w, "-x", hop.url()), FAR, "v4.origin.test")
        carried(Daemon(w, *servers.chain(hop.url(), ours.url())), FAR, "v4.origin.test")
        d = Daemon(w, "-x", hop.url(login="alice:wrong"))
        tap.same(d.visit(HTTP, target).code, 502, "a wrong login")
        wait_until(lambda: "refused the login" in d.log(), "it is told")
        tap.holds("wrong@" not in d.log(), d.log())

    def apache():
        carried(Daemon(w, "-x", proxies.apache(w).url()), FAR, "v4.origin.test")

    def ssh_d():
        """Its far end is the origin's host; it says nothing of why it could not connect."""
        hop = servers.ssh_d(w, servers.Sshd(w))
        for scheme in hop.schemes:
            d = Daemon(w, "-x", hop.url(scheme))
            talks(d.visit(SOCKS5, target, how="flight"), ORIGIN)
        d = Daemon(w, "-x", hop.url())
        tap.holds(not d.visit(SOCKS5, (ORIGIN, 1)).ok, "a closed port")

    def ss():
        hop = shadowsocks(w)
        at = f"socks5h://{HERE}:{hop.port}"
        d = Daemon(w, "-x", at)
        carried(d, ORIGIN, "origin.test")
        inner = servers.viaductd(w, host="origin")
        chained = Daemon(w, "-x", at, "-x", f"http://{ORIGIN}:{inner.port}")
        talks(chained.visit(SOCKS4A, target, how="flight"), ORIGIN)
        # it says yes before it has connected: what comes is an end, and no bytes
        visit = d.visit(SOCKS5, (ORIGIN, 1))
        try:
            tap.same(visit.rest(), b"", "a closed port behind ss-local")
        except ConnectionResetError:
            pass

    yield "squid with a login", squid
    yield "apache", apache
    yield "ssh -D", ssh_d
    yield "shadowsocks", ss


# --- unbound ----------------------------------------------------------------------------------

LONG = [".".join([letter * 63] * 3) for letter in "abc"]  # an answer with all of them has more than 512 bytes
ZONE = f"""$ORIGIN u.test.
@ 3600 IN SOA ns.u.test. a.u.test. 1 3600 3600 3600 60
@ 3600 IN NS ns.u.test.
ns 3600 IN A {UNBOUND}
both 60 IN A {ORIGIN}
both 60 IN AAAA {ORIGIN6}
four 60 IN A {ORIGIN}
six 60 IN AAAA {ORIGIN6}
brief 1 IN A {ORIGIN}
one 60 IN CNAME two.u.test.
two 60 IN CNAME both.u.test.
loop 60 IN CNAME loop2.u.test.
loop2 60 IN CNAME loop.u.test.
lost 60 IN CNAME nowhere.u.test.
text 60 IN TXT "no address"
long 60 IN CNAME {LONG[0]}
{LONG[0]} 60 IN CNAME {LONG[1]}
{LONG[1]} 60 IN CNAME {LONG[2]}
{LONG[2]} 60 IN A {ORIGIN}
"""


class Unbound:
    """Authority for u.test; what is below slow.test it asks elsewhere for, and of broken.test it can tell nothing."""

    def __init__(self, w):
        zone = w.file("u.test.zone", ZONE)
        conf = w.file("unbound.conf", f"""
server:
  interface: {UNBOUND}
  port: 53
  do-daemonize: no
  use-syslog: no
  log-queries: yes
  chroot: ""
  username: ""
  directory: "{w.dir}"
  pidfile: ""
  module-config: "iterator"
  do-not-query-localhost: no
  max-udp-size: 512
  outgoing-interface: {HERE}
  local-zone: "test." nodefault
  use-caps-for-id: no
  infra-keep-probing: yes
auth-zone:
  name: "u.test."
  zonefile: "{zone}"
  for-upstream: yes
  for-downstream: no
forward-zone:
  name: "slow.test."
  forward-addr: {ELSEWHERE}
auth-zone:
  name: "broken.test."
  primary: {HERE}@9
  for-upstream: yes
  for-downstream: no
  fallback-enabled: no
remote-control:
  control-enable: no
""")
        self.server = w.serve("unbound", HOME, ["unbound", "-d", "-c", conf], 53, proto="udp")
        wait_until(lambda: "start of service" in self.server.log(), "unbound serves")

    def asked(self, name):
        """[(type)] of the queries for a name so far."""
        return [line.split()[-2] for line in self.server.log().splitlines() if f" {name}. " in line]


class Slow(dns.Dns):
    """Answers after a while."""

    def _reply(self, query, proto):
        time.sleep(0.15)
        return super()._reply(query, proto)


def names(w, target):
    unbound, slow = Unbound(w), Slow(HOME, ELSEWHERE)
    for name in ("a.slow.test", "b.slow.test"):
        slow.know(name, ORIGIN)
    path = w.file("resolv.unbound", f"nameserver {UNBOUND}\noptions timeout:1 attempts:2\n")
    words = ["sh", "-c", f'mount --bind {path} /etc/resolv.conf && exec "$0" "$@"']
    d = Daemon(w, conf="timeouts { connect = 2 }\n", words=words)
    port = target[1]

    def reaches(name, way=SOCKS5):
        with d.visit(way, (name, port)) as visit:
            tap.holds(visit.ok, f"{name}: code {visit.code}")
            line_of(visit.sock)

    def refused(name, code=4):
        tap.same(d.visit(SOCKS5, (name, port)).code, code, f"REP for {name}")
        visit = d.visit(HTTP, (name, port))
        tap.same([visit.code, visit.error], [504, "connection_timeout"] if code == 6 else [502, "dns_error"], f"HTTP for {name}")

    def families():
        for name, peer in (("both.u.test", f"[{ORIGIN6}]:{port}"), ("four.u.test", f"{ORIGIN}:{port}"),
                           ("six.u.test", f"[{ORIGIN6}]:{port}")):
            with d.visit(SOCKS5, (name, port)) as visit:
                tap.holds(visit.ok, name)
            tap.same(d.session(visit)["peer"], peer, name)
            tap.same(sorted(unbound.asked(name)), ["A", "AAAA"], f"queries for {name}")

    def lives():
        """Within its TTL a name is not asked for again, afterwards it is."""
        for _ in range(3):
            reaches("four.u.test")
        tap.same(len(unbound.asked("four.u.test")), 2, "queries within the TTL")
        reaches("brief.u.test")
        first = len(unbound.asked("brief.u.test"))
        time.sleep(2.1)
        reaches("brief.u.test")
        tap.holds(len(unbound.asked("brief.u.test")) > first, "a name that had a second to live is asked for again")

    def slowly():
        """The name that is slow to come makes nobody else wait."""
        done = []
        thread = threading.Thread(target=lambda: done.append(d.visit(SOCKS5, ("a.slow.test", port))))
        thread.start()
        time.sleep(0.05)
        reaches("both.u.test")
        tap.same(done, [], "who asked for the slow name waits")
        thread.join()
        tap.holds(done[0].ok, f"and gets it: {done[0].code}")

    def dead():
        """unbound cannot tell; what it knows itself it still tells."""
        refused("x.broken.test")
        reaches("both.u.test")
        refused("nowhere.u.test")

    def truncated():
        """The answer is fetched by TCP then."""
        got = w.run(HOME, ["dig", f"@{UNBOUND}", "+ignore", "+noedns", "long.u.test"])
        tap.holds(re.search(rb"flags:[^;]* tc", got.out), f"unbound truncates: {got}")
        reaches("long.u.test", SOCKS4A)

    def stopped():
        """The name server stands still, then goes on."""
        os.kill(unbound.server.pid, signal.SIGSTOP)
        try:
            refused("unknown-yet.u.test", 6)
            reaches("both.u.test")
        finally:
            os.kill(unbound.server.pid, signal.SIGCONT)
        refused("unknown-yet.u.test", 4)

    yield "unbound: A and AAAA", families
    yield "unbound: TTL", lives
    yield "unbound: CNAME", lambda: [reaches("one.u.test", way) for way in WAYS[1:]]
    yield "unbound: a CNAME that leads nowhere", lambda: refused("lost.u.test")
    yield "unbound: CNAMEs in a ring", lambda: refused("loop.u.test")
    yield "unbound: a name without addresses", lambda: refused("text.u.test")
    yield "unbound: an answer that is truncated", truncated
    yield "unbound: slow", slowly
    yield "unbound: SERVFAIL", dead
    yield "unbound: dead and back", stopped


def cases(w):
    servers_at = [hostile.Scripted("origin", ORIGIN, w.port(), echo)]
    servers_at.append(hostile.Scripted("origin", ORIGIN6, servers_at[0].port, echo))
    target = ORIGIN, servers_at[0].port
    for part in (balancers, redirector, hops, names):
        yield from part(w, target)


if __name__ == "__main__":
    world.main(cases, ("apache2", "dig", "ip", "nft", "nginx", "redsocks", "squid", "ss-local", "ss-server", "ssh", "sshd", "unbound"))
