#!/usr/bin/env python3
"""Event loops do not stall: programs that connect many times at once, through a hop that takes its
time, need that time once, and go on with other things meanwhile.

Times are fractions of the hop's own delay. A busy machine can only make them longer, so the best of
some runs counts."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, servers, tap, world
from lib.hostile import socks5_reply
from lib.servers import chain
from lib.world import NEAR, ORIGIN, PYTHON

HERE = os.path.dirname(os.path.abspath(__file__))
NAME = "v4.origin.test"
DELAY = 1.0  # seconds
TOTAL = 1.3  # of the delay, for all connections together
STALL = 0.05  # of the delay, the longest silence of a timer
SLOW = 3.0
TRIES = 10
TICKER_STALL = 0.02 / SLOW


def slow(seconds):
    """A SOCKS5 hop that takes its time before it connects."""

    def script(peer):
        peer.socks5_greeting()
        _, host, port = peer.socks5_request()
        peer.pause(seconds)
        peer.say(socks5_reply(0))
        hostile.hand_on(peer, "proxy", ORIGIN if host == NAME else host, port)

    return script


class Slow(hostile.Scripted):
    def __init__(self, w, seconds):
        super().__init__("proxy", NEAR, w.port(), slow(seconds), backlog=512)

    def options(self):
        return chain(self.url("socks5h"))


def best_of(run, good):
    """Runs until good(result) raises nothing, at most TRIES times."""
    for attempt in range(TRIES):
        try:
            return good(run())
        except tap.Failed:
            if attempt + 1 == TRIES:
                raise
    return None


def numbers(result):
    tap.same(result.code, 0, f"exit code\n{result}")
    return [float(word) for word in result.out.split()]


def in_time(seconds, delay=DELAY, total=TOTAL):
    tap.holds(
        delay * 0.9 <= seconds <= delay * total,
        f"took {seconds:.2f} s, the hop {delay} s; want at most {total} times that",
    )


def judge(count):
    """Of what loop_asyncio.py and its like print."""

    def check(result):
        good, seconds, *gap = numbers(result)
        tap.same(good, count, f"answers\n{result}")
        in_time(seconds)
        if gap:
            tap.holds(gap[0] <= STALL * DELAY, f"a timer was {gap[0]:.3f} s late")

    return check


# --- programs ---------------------------------------------------------------------------------


def curl(w, hop, nginx):
    urls = [word for i in range(20) for word in (f"http://{NAME}/?{i}", "-o", f"{w.dir}/page{i}")]
    argv = ["curl", "-sS", "--fail", "--parallel", "--parallel-immediate", "--parallel-max", "20", *urls]

    def check(result):
        tap.same(result.code, 0, f"exit code\n{result}")
        for i in range(20):
            with open(f"{w.dir}/page{i}", "rb") as file:
                tap.same(file.read(), nginx.page, "a page")
        in_time(result.seconds)

    best_of(lambda: w.via(hop.options(), argv), check)


def aria2c(w, hop, nginx):
    for i in range(20):
        nginx.put(f"file{i}", nginx.page + bytes([i]))
    listed = w.file("aria.txt", "".join(f"http://{ORIGIN}/file{i}\n" for i in range(20)))
    folder = f"{w.dir}/aria"
    argv = ["aria2c", "-q", "-j20", "-x1", "--no-conf", "--allow-overwrite=true", "-d", folder, "-i", listed]

    def check(result):
        tap.same(result.code, 0, f"exit code\n{result}")
        for i in range(20):
            with open(f"{folder}/file{i}", "rb") as file:
                tap.same(file.read(), nginx.page + bytes([i]), "a file")
        in_time(result.seconds)

    best_of(lambda: w.via(hop.options(), argv), check)


def asyncio_loop(w, hop):
    argv = [PYTHON, f"{HERE}/loop_asyncio.py", NAME, "80", "50"]
    best_of(lambda: w.via(hop.options(), argv), judge(50))


def node(w, hop):
    argv = ["node", f"{HERE}/loop_node.js", NAME, "80", "20"]
    best_of(lambda: w.via(hop.options(), argv), judge(20))


def java(w, hop, classes, when):
    argv = ["java", "-cp", classes, "Nio", ORIGIN, "80", "20", when]
    best_of(lambda: w.via(hop.options(), argv, timeout=40), judge(20))


def nginx_pass(w, hop, origin):
    """nginx itself runs through the chain, its worker process included."""
    port = w.port()
    config = w.file(
        "pass.conf",
        f"""
user root; daemon off; worker_processes 1; pid {w.dir}/pass.pid; error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off; client_body_temp_path {w.dir}/p1; proxy_temp_path {w.dir}/p2;
    fastcgi_temp_path {w.dir}/p3; uwsgi_temp_path {w.dir}/p4; scgi_temp_path {w.dir}/p5;
    server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{ORIGIN}:80; }} }}
}}
""",
    )
    argv = [w.viaduct, *hop.options(), "--", "nginx", "-e", "stderr", "-c", config]
    server = w.serve("nginx", "app", argv, port)
    urls = [
        word for i in range(20) for word in (f"http://127.0.0.1:{port}/?{i}", "-o", f"{w.dir}/passed{i}")
    ]
    ask = ["curl", "-sS", "--fail", "--parallel", "--parallel-immediate", "--parallel-max", "20", *urls]

    def check(result):
        tap.same(result.code, 0, f"exit code\n{result}\n{server.log()}")
        for i in range(20):
            with open(f"{w.dir}/passed{i}", "rb") as file:
                tap.same(file.read(), origin.page, "a page")
        in_time(result.seconds)

    best_of(lambda: w.run("app", ask), check)
    server.stop()


def ticker(w, hop):
    argv = [f"{w.build}/tests/async/async_ticker", ORIGIN, "80"]

    def check(result):
        error, seconds, gap = numbers(result)
        tap.same(error, 0, f"SO_ERROR\n{result}")
        in_time(seconds, SLOW)
        tap.holds(gap <= TICKER_STALL * SLOW, f"the timer was {gap * 1000:.1f} ms late")

    best_of(lambda: w.via(hop.options(), argv), check)


# --- programs that wait anyway ------------------------------------------------------------------


def wget(w, hop, nginx):
    def check(result):
        tap.same(result.code, 0, f"exit code\n{result}")
        tap.same(result.out, nginx.page, "the page")
        in_time(result.seconds)

    best_of(lambda: w.via(hop.options(), ["wget", "-qO-", f"http://{NAME}/"]), check)


def ssh(w, hop, sshd):
    def check(result):
        tap.same((result.code, result.out), (0, b"there\n"), f"exit code\n{result}")

    best_of(lambda: w.via(hop.options(), [*sshd.ssh(), sshd.there(NAME), "echo", "there"]), check)


def git(w, hop, nginx):
    servers.git_repository(w, nginx.root)
    result = w.via(hop.options(), ["git", "clone", "-q", f"http://{NAME}/repo.git", f"{w.dir}/cloned"])
    tap.same(result.code, 0, f"exit code\n{result}")
    tap.holds(os.path.exists(f"{w.dir}/cloned/file11"), "the last file was cloned")


def compiled(w):
    """The Java program's classes; compiling is not what is measured."""
    folder = f"{w.dir}/classes"
    result = w.run("app", ["javac", "-d", folder, f"{HERE}/Nio.java"], timeout=60)
    tap.same(result.code, 0, f"javac\n{result}")
    return folder


def cases(w):
    nginx, sshd = servers.Nginx(w), servers.Sshd(w)
    hop, slower = Slow(w, DELAY), Slow(w, SLOW)
    classes = compiled(w)
    yield "curl --parallel, 20 at once", lambda: curl(w, hop, nginx)
    yield "asyncio, 50 at once", lambda: asyncio_loop(w, hop)
    yield "node, 20 at once", lambda: node(w, hop)
    yield "aria2c, 20 at once", lambda: aria2c(w, hop, nginx)
    yield "Java NIO, 20 at once, registered before connect()", lambda: java(w, hop, classes, "before")
    yield "Java NIO, 20 at once, registered after connect()", lambda: java(w, hop, classes, "after")
    yield "nginx proxy_pass, 20 at once", lambda: nginx_pass(w, hop, nginx)
    yield "an epoll that a timer wakes, 3 s", lambda: ticker(w, slower)
    yield "wget", lambda: wget(w, hop, nginx)
    yield "ssh", lambda: ssh(w, hop, sshd)
    yield "git clone", lambda: git(w, hop, nginx)
    hop.stop()
    slower.stop()


if __name__ == "__main__":
    world.main(cases, ("aria2c", "curl", "git", "java", "javac", "nginx", "node", "ssh", "wget"))
