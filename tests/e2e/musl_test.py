#!/usr/bin/env python3
"""The library built for musl, in dynamically linked programs of musl's, without the launcher: what
connects, in which way it waits, names, datagrams, and what it starts. The sniffer looks on."""

import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import datagrams, servers, tap, world
from lib.world import FAR, ORIGIN

NAME = "v4.origin.test"
WAYS = ("block", "poll", "ppoll", "select", "pselect", "epoll")
STARTS = ("execve", "execvp", "execl", "fexecve", "syscall", "execveat-path", "posix_spawn", "posix_spawnp", "vfork")
# execveat() is no function of musl's.
BUILD = ["musl-gcc", "-D_GNU_SOURCE", "-w", "-Dexecveat(a,b,c,d,e)=syscall(SYS_execveat,a,b,c,d,e)",
         "-Dstrerrorname_np=strerror"]


def cases(w):
    servers.Nginx(w)
    hop, ours = servers.microsocks(w), servers.viaductd(w)
    echo = datagrams.Echo("origin", ORIGIN)
    library = f"{w.build}/preload/musl/libviaduct.so"

    def build(name, *how):
        path = w.file(f"programs/{name}{''.join(how)}", "", 0o755)
        subprocess.run([*BUILD, *how, "-o", path, f"{w.source}/tests/e2e/probes/{name}.c"], check=True)
        return path

    probe, starter, static = build("narrow_probe"), build("exec_probe"), build("visit_probe", "-static")

    def run(argv, through=hop):
        w.forget()
        words = [f"LD_PRELOAD={library}", f"VIADUCT_PROXY={through.url('socks5h', first=True)}"]
        return w.run("app", ["env", *words, *argv], timeout=15)

    def carried(got):
        tap.same((got.code, got.out, got.err), (0, FAR.encode() + b"\n", b""), "whom the origin saw")
        w.quiet(hop.at(first=True))

    def needs():
        """musl's libc by the name that its loader knows as itself."""
        told = subprocess.run(["readelf", "-d", library], check=True, capture_output=True, text=True).stdout
        tap.same(re.findall(r"\(NEEDED\).*\[(.*)\]", told), ["libc.so"])

    def waits(way):
        carried(run([probe, way, NAME, "80"]))
        carried(run([probe, way, ORIGIN, "80"]))

    def fails():
        got = run([probe, "poll", NAME, "81"])
        tap.same(got.code, 1, "exit code")
        tap.holds(re.search(rb"viaduct: .*: v4\.origin\.test:81: ", got.err), f"a line: {got.err}")
        w.quiet(hop.at(first=True))

    def datagram():
        got = run([probe, "udp", NAME, str(echo.at[1])], ours)
        tap.same((got.code, got.out, got.err), (0, b"hello\n", b""), "the answer")

    def refused(got, call, why):
        tap.same(got.out, f"{call}: Permission denied\n".encode(), call)
        tap.holds(why in got.err.decode(), f"{call}: {got.err}")
        w.quiet()

    def starts(call):
        for how in ("A=1", "clear", "unset"):
            carried(run([starter, "-e", how, call, probe, "poll", NAME, "80"]))
        refused(run([starter, call, "/usr/bin/curl", f"http://{ORIGIN}/"]), call, "is built for another libc")
        refused(run([starter, call, static, ORIGIN]), call, "is statically linked")

    def elsewhere():
        """Whatever changes the directory of a child before it looks for its program."""
        refused(run([starter, "spawn-elsewhere", probe, "poll", NAME, "80"]), "spawn-elsewhere",
                "nothing tells in which directory it lies")

    def shell():
        """/bin/sh is of the other libc here."""
        for call in ("system", "popen"):
            refused(run([starter, call, probe, "poll", NAME, "80"]), call, "/bin/sh is not started")

    yield "what it needs", needs
    for way in WAYS:
        yield f"connects: {way}", lambda way=way: waits(way)
    yield "a failure is told", fails
    yield "datagrams", datagram
    for call in STARTS:
        yield f"starts by {call}", lambda call=call: starts(call)
    yield "a child elsewhere", elsewhere
    yield "the shell", shell


if __name__ == "__main__":
    world.main(cases, ("microsocks", "musl-gcc", "readelf"))
