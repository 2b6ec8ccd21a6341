#!/usr/bin/env python3
"""Programs that bring a network stack or an event loop of their own, each through two hops to a
service of its kind: Chromium, PostgreSQL, Redis, aria2, Java's HttpClient, node, Python's asyncio.

The origin's name is known to the last hop alone. Every program gives the bytes that the service
has, speaks to the first hop and to nobody else, and no name server is asked."""

import glob
import hashlib
import os
import re
import struct
import subprocess
import sys
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import servers, tap, world
from lib.servers import chain
from lib.world import ORIGIN, PYTHON

NAME = "far.test"
MANY = 20  # connections at a time

# The page is whole when its script ran and the picture of another port came or failed.
PAGE = b"""<!DOCTYPE html><title>page</title><p id=word>nothing</p><p id=picture>nothing</p><script>
const say = (id, text) => { document.getElementById(id).textContent = text }
fetch("/word").then(r => r.text()).then(t => say("word", t))
</script><img src="http://far.test:1518/picture" onload="say('picture', 'picture ' + this.naturalWidth)">"""
WORD = b"the word of the origin"

# None of the options is for viaduct's sake: there is no window here.
CHROMIUM = ["chromium", "--headless", "--disable-gpu", "--no-first-run"]

PY_ASYNCIO = """
import asyncio, sys
host, count = sys.argv[1], int(sys.argv[2])
async def get():
    reader, writer = await asyncio.open_connection(host, 80)
    writer.write(f"GET / HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n".encode())
    status = (await reader.readline()).split()[1]
    length = 0
    while (line := await reader.readline()) != b"\\r\\n":
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    body = await reader.readexactly(length)
    writer.close()
    await writer.wait_closed()
    assert status == b"200", status
    return body
async def main():
    for body in await asyncio.gather(*(get() for _ in range(count))):
        sys.stdout.buffer.write(body)
asyncio.run(main())
"""
NODE_FETCH = """
const [url, count] = process.argv.slice(1);
Promise.all(Array.from({length: +count}, () => fetch(url, {headers: {connection: "close"}})
    .then(r => r.arrayBuffer()).then(b => process.stdout.write(Buffer.from(b)))))
"""
JAVA = """
import java.net.URI;
import java.net.http.*;
import java.util.*;
import java.util.concurrent.CompletableFuture;

public class Fetch {
    public static void main(String[] arguments) throws Exception {
        List<CompletableFuture<HttpResponse<byte[]>>> all = new ArrayList<>();
        for (int i = 0; i < Integer.parseInt(arguments[1]); i++) {
            HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
            all.add(client.sendAsync(HttpRequest.newBuilder(URI.create(arguments[0])).build(),
                                     HttpResponse.BodyHandlers.ofByteArray()));
        }
        for (CompletableFuture<HttpResponse<byte[]>> one : all)
            System.out.write(one.get().body());
        System.out.flush();
    }
}
"""


def picture(width, height):
    """A PNG, black."""
    def part(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(height * (width + 1)))
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", rows) + part(b"IEND", b"")


def as_ordinary_user():
    """Words in front of a server that does not want to be root."""
    if servers.uid_is_mapped(1000):
        return ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]
    return ["unshare", "--user", "--map-user=1000", "--map-group=1000"]


def postgres(w):
    """A cluster of its own on the origin host; its port."""
    home, port, words = f"{w.dir}/postgres", w.port(), as_ordinary_user()
    tools = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"))
    tap.holds(tools, "not installed: postgresql")
    bin_dir = os.path.dirname(tools[-1])
    os.mkdir(home)
    if servers.uid_is_mapped(1000):
        os.chown(home, 1000, 1000)
    made = w.run("origin", [*words, f"{bin_dir}/initdb", "-D", f"{home}/data", "-U", "alice", "-A", "trust", "-N"])
    tap.same(made.code, 0, "initdb")
    with open(f"{home}/data/pg_hba.conf", "a", encoding="ascii") as file:
        file.write("host all all 10.2.0.0/24 trust\n")
    w.serve(
        "postgres",
        "origin",
        [*words, f"{bin_dir}/postgres", "-D", f"{home}/data", "-p", str(port), "-k", home, "-F",
         "-c", f"listen_addresses={ORIGIN}", "-c", "shared_buffers=1MB", "-c", "max_connections=30",
         "-c", "dynamic_shared_memory_type=mmap"],
        port,
    )
    return port


def redis(w):
    port = w.port()
    w.serve(
        "redis-server",
        "origin",
        ["redis-server", "--port", str(port), "--bind", ORIGIN, "--protected-mode", "no", "--save", "",
         "--dir", w.dir],
        port,
    )
    return port


def cases(w):
    web = servers.Nginx(w)
    web.put("page.html", PAGE)
    web.put("word", WORD)
    web.put("picture", picture(77, 7))
    big = hashlib.sha256(web.big(size=16 << 20)).hexdigest().encode()
    w.hosts("proxy", f"{ORIGIN} {NAME}\n")
    one, two = servers.microsocks(w), servers.viaductd(w)
    options = chain(one.url("socks5h", first=True), two.url("socks5h"))

    def through(argv, quiet=True, **how):
        """What the program did, having spoken to the first hop alone."""
        w.forget()
        got = w.via([*options, *(["-q"] if quiet else [])], argv, **how)
        w.quiet(one.at(first=True))
        return got

    def gives(want, argv, **how):
        got = through(argv, quiet=False, **how)
        tap.same((got.code, got.out, got.err), (0, want, b""), "exit code, output, standard error")

    # --- Chromium ------------------------------------------------------------------------------

    def load(launcher, words, flags):
        """Its own resolver and QUIC find UDP refused: it goes on with getaddrinfo() and TCP. What it
        asks of its maker's hosts fails at the last hop."""
        home = f"{w.dir}/chromium.{w.port()}"
        os.mkdir(home)
        os.chmod(home, 0o777)
        w.forget()
        got = w.run("app", [*words, launcher, *options, "--", *CHROMIUM, *flags, f"--user-data-dir={home}/profile",
                            "--virtual-time-budget=5000", "--dump-dom", f"http://{NAME}/page.html"],
                    env={"HOME": home}, cwd=home, timeout=50)
        w.quiet(one.at(first=True))
        tap.same(got.code, 0, "exit code")
        for id_, text in ((b"word", WORD), (b"picture", b"picture 77")):
            tap.same(re.findall(rb'<p id="%s">(.*?)</p>' % id_, got.out), [text], id_)
        said = re.findall(r"^viaduct: .*", got.err.decode("utf-8", "replace"), re.MULTILINE)
        tap.holds(not any("is not started" in line or NAME in line for line in said), f"all else works: {said}")

    def chromium():
        load(w.viaduct, [], ["--no-sandbox"])

    def chromium_in_its_sandbox():
        load(w.launcher_for_all(), as_ordinary_user(), [])

    # --- data bases ----------------------------------------------------------------------------

    def psql(port, *words):
        return ["psql", "-X", "-A", "-t", "-q", "-h", NAME, "-p", str(port), "-U", "alice", "-d", "postgres", *words]

    def ask_postgres():
        port = postgres(w)
        rows = "".join(f"{i}|{'x' * 100}\n" for i in range(1, 5001)).encode()
        gives(rows, psql(port, "-c", "select i, repeat('x', 100) from generate_series(1, 5000) i"))
        gives(b"10.2.0.1\n", psql(port, "-c", "select inet_client_addr()"))
        numbers = "".join(f"{i}\n" for i in range(20000)).encode()
        gives(b"199990000\n", psql(port, "-c", "create table n (i int)", "-c", "\\copy n from pstdin",
                                   "-c", "select sum(i) from n"), stdin=numbers)
        gives(f"{NAME}:{port} - accepting connections\n".encode(), ["pg_isready", "-h", NAME, "-p", str(port)])
        got = through(psql(port, "-c", "select nonsense"))
        tap.same(got.code, 1, "psql's exit code")
        tap.holds(b'column "nonsense" does not exist' in got.err, "the server's own error")

    def no_postgres():
        """A closed port: psql's own words for what connect() said."""
        got = through(psql(9))
        tap.same(got.code, 2, "psql's exit code")
        tap.holds(b"Connection refused" in got.err, "ECONNREFUSED is told")

    def ask_redis():
        port = redis(w)
        cli = ["redis-cli", "-h", NAME, "-p", str(port)]
        gives(b"PONG\n", [*cli, "PING"])
        value = b"v" * 300000
        gives(b"OK\n", [*cli, "-x", "SET", "key"], stdin=value)
        gives(value + b"\n", [*cli, "GET", "key"])
        many = b"".join(b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n" for _ in range(5000))
        got = through([*cli, "--pipe"], stdin=many)
        tap.holds(got.code == 0 and b"errors: 0, replies: 5000" in got.out, "the pipe")
        gives(b"5000\n", [*cli, "GET", "n"])
        got = through(["redis-benchmark", "-h", NAME, "-p", str(port), "-c", str(MANY), "-n", "2000", "-q", "-t",
                       "incr"])
        tap.holds(got.code == 0 and b"INCR: " in got.out, "redis-benchmark")
        gives(b"2000\n", [*cli, "GET", "counter:__rand_int__"])

    # --- event loops ---------------------------------------------------------------------------

    def aria2():
        """Its own resolver, c-ares, is answered inside."""
        got = through(["aria2c", "-q", "--split=8", "--min-split-size=1M",
                       "--max-connection-per-server=8", "--allow-overwrite=true", "-d", w.dir, "-o", "aria",
                       f"http://{NAME}/big"])
        tap.same((got.code, got.out, got.err), (0, b"", b""), "exit code, output, standard error")
        with open(f"{w.dir}/aria", "rb") as file:
            tap.same(hashlib.sha256(file.read()).hexdigest().encode(), big, "the file")

    def java():
        folder = os.path.dirname(w.file("java/Fetch.java", JAVA))
        subprocess.run(["javac", "-J-Xshare:auto", "-d", folder, f"{folder}/Fetch.java"], check=True)
        gives(web.page * MANY, ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", folder, "Fetch",
                                f"http://{NAME}/", str(MANY)], timeout=40)

    def apt():
        """Its methods, which go on as another user where root runs it, fetch an index and a package."""
        repo, state = f"{web.root}/debian", f"{w.dir}/apt"
        for path in (repo, f"{state}/lists/partial", f"{state}/cache/archives/partial"):
            os.makedirs(path)
        w.file("deb/p/DEBIAN/control", "Package: p\nVersion: 1\nArchitecture: all\nMaintainer: A <a@b.test>\n"
                                       "Description: x\n")
        w.file("deb/p/usr/share/p", os.urandom(40000).hex())
        tap.same(w.run("app", ["dpkg-deb", "-b", "--root-owner-group", f"{w.dir}/deb/p", f"{repo}/p.deb"]).code, 0)
        with open(f"{repo}/p.deb", "rb") as file:
            data = file.read()
        web.put("debian/Packages", (f"Package: p\nVersion: 1\nArchitecture: all\nFilename: ./p.deb\nSize: {len(data)}\n"
                                    f"SHA256: {hashlib.sha256(data).hexdigest()}\n\n").encode())
        told = [f"Dir::Etc::sourcelist={w.file('apt/sources.list', f'deb [trusted=yes] http://{NAME}/debian ./{chr(10)}')}",
                "Dir::Etc::sourceparts=-", f"Dir::State::lists={state}/lists", f"Dir::Cache={state}/cache",
                f"Dir::State::status={w.file('apt/status', '')}", "APT::Get::List-Cleanup=0", "Debug::NoLocking=1",
                "Acquire::Languages=none"]
        if servers.uid_is_mapped(1000):
            told.append("APT::Sandbox::User=alice")
            with open("/etc/passwd", "a", encoding="ascii") as file:
                file.write("alice:x:1000:1000::/:/bin/false\n")
            for path in (f"{state}/lists/partial", f"{state}/cache/archives/partial"):
                os.chown(path, 1000, 0)
            for path in (w.dir, state, f"{state}/lists", f"{state}/cache", f"{state}/cache/archives"):
                os.chmod(path, 0o755)
        else:
            told.append("APT::Sandbox::User=root")
        words = [word for option in told for word in ("-o", option)]
        for more in (["update"], ["-y", "--download-only", "--no-install-recommends", "install", "p"]):
            got = through(["apt-get", *words, *more], timeout=50)
            tap.holds(got.code == 0 and got.err == b"", str(got))
        with open(f"{state}/cache/archives/p_1_all.deb", "rb") as file:
            tap.same(file.read(), data, "what was fetched")

    yield "apt-get update, install", apt
    yield "Chromium as root, which it wants without its sandbox", chromium
    if w.run("app", [*as_ordinary_user(), "unshare", "--user", "--pid", "true"]).code == 0:
        yield "Chromium in its sandbox", chromium_in_its_sandbox
    yield "PostgreSQL: psql, COPY, pg_isready", ask_postgres
    yield "psql is told of a closed port", no_postgres
    yield "Redis: redis-cli, a pipe, redis-benchmark", ask_redis
    yield "aria2c, eight parts", aria2
    yield f"Java's HttpClient, {MANY} at a time", java
    yield f"node's fetch, {MANY} at a time", lambda: gives(
        web.page * MANY, ["node", "--no-warnings", "-e", NODE_FETCH, f"http://{NAME}/", str(MANY)]
    )
    yield f"Python's asyncio, {MANY} at a time", lambda: gives(
        web.page * MANY, [PYTHON, "-c", PY_ASYNCIO, NAME, str(MANY)]
    )


if __name__ == "__main__":
    world.main(cases, ("chromium", "psql", "redis-server", "redis-cli", "aria2c", "java", "javac", "node", PYTHON, "apt-get", "dpkg-deb",
                       "microsocks", "nginx", "setpriv"))
