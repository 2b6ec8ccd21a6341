#!/usr/bin/env python3
"""32-bit programs: carried by the library that is built for them, and refused where it is not. They
share the session with 64-bit ones, which start them and are started by them. The sniffer looks on."""

import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import datagrams, servers, tap, world
from lib.parts import copy_launcher
from lib.servers import chain
from lib.world import FAR, ORIGIN, PYTHON

NAME = "v4.origin.test"
WAYS = ("block", "poll", "ppoll", "select", "pselect", "epoll")
STARTS = ("execve", "execvp", "execl", "fexecve", "syscall", "posix_spawn", "posix_spawnp", "vfork")
BY_SHELL = ("system", "popen", "wordexp")
REFUSED = "is built for another word size than the library; use a build for this one"
NEEDS = f"{REFUSED}, or install viaduct's library for it (it is a 32-bit program)"


def cases(w):
    servers.Nginx(w)
    hop, ours = servers.microsocks(w), servers.viaductd(w)
    echo = datagrams.Echo("origin", ORIGIN)
    narrow = {name: w.probe(f"lib32/{name}") for name in ("narrow_probe", "narrow_probe_time64", "exec_probe")}
    wide = {name: w.probe(name) for name in ("exec_probe", "visit_probe")}
    libraries = os.path.realpath(w.library), os.path.realpath(f"{w.build}/preload/lib32/libviaduct.so")
    visit = [narrow["narrow_probe"], "block", NAME, "80"]

    def via(argv, more=(), launcher=w.viaduct, **how):
        w.forget()
        return w.run("app", [launcher, *more, *chain(hop.url(first=True)), "--", *argv], timeout=15, **how)

    def carried(got):
        tap.same((got.code, got.out, got.err), (0, FAR.encode() + b"\n", b""), "whom the origin saw")
        w.quiet(hop.at(first=True))

    def waits(way):
        for name in ("narrow_probe", "narrow_probe_time64"):
            carried(via([narrow[name], way, NAME, "80"]))
            carried(via([narrow[name], way, ORIGIN, "80"]))

    def is_narrow():
        """The programs are what they are called, and call what they were built for."""
        for name, symbol in (("narrow_probe", "ppoll"), ("narrow_probe_time64", "__ppoll64")):
            with open(narrow[name], "rb") as file:
                tap.same(file.read(5)[4], 1, "ELF class")
            told = subprocess.run(["nm", "-D", "--undefined-only", narrow[name]], check=True,
                                  capture_output=True, text=True).stdout
            tap.holds(re.search(rf" (__)?{symbol}(_chk)?@", told), f"{name} calls {symbol}")

    def fails():
        got = via(["sh", "-c", f"exec {narrow['narrow_probe']} poll {NAME} 81"])
        tap.same((got.code, got.out), (1, b"poll: ECONNREFUSED\n"))
        tap.holds(b": v4.origin.test:81: " in got.err, f"a line: {got.err}")
        w.quiet(hop.at(first=True))

    def datagram():
        w.forget()
        got = w.via(chain(ours.url("socks5h", first=True)), [narrow["narrow_probe"], "udp", NAME, str(echo.at[1])])
        tap.same((got.code, got.err), (0, b""), "exit code and standard error")
        tap.holds(b"hello" in got.out, f"the answer: {got.out}")

    # --- from one to the other -----------------------------------------------------------------------

    def starts(call):
        for how in ("A=1", "clear", "unset", "twice"):
            carried(via([wide["exec_probe"], "-e", how, call, *visit]))
            carried(via([narrow["exec_probe"], "-e", how, call, *visit]))
            carried(via([narrow["exec_probe"], "-e", how, call, wide["visit_probe"], ORIGIN]))

    def there_and_back():
        carried(via([narrow["exec_probe"], "execve", "/bin/sh", "-c", " ".join(visit)]))
        carried(via([wide["exec_probe"], "execve", narrow["exec_probe"], "posix_spawn", "/bin/sh", "-c",
                     " ".join(visit)]))

    def variables(first, last, library, more=None):
        got = via([first, "-e", "A=1", "execve", last, "execve", "/usr/bin/env"], env=more)
        told = dict(line.split("=", 1) for line in got.out.decode().splitlines())
        tap.same((got.code, got.err), (0, b""), "exit code and standard error")
        return told["LD_PRELOAD"]

    def environment():
        """Each program has the one library that it can load; what else is preloaded stays."""
        for first in (wide, narrow):
            tap.same(variables(first["exec_probe"], narrow["exec_probe"], libraries[1]), libraries[0])
        code = "import os; print(os.environ['LD_PRELOAD'])"
        got = via([narrow["exec_probe"], "-e", f"LD_PRELOAD=x.so:{libraries[1]}", "execve", PYTHON, "-c", code])
        tap.same(got.out.decode().split(), [f"x.so:{libraries[0]}"], "the twin's place is kept")

    def names():
        """A placeholder address that a 64-bit process was given means the same name to a 32-bit one."""
        code = (f"import os, socket; a = socket.gethostbyname('{NAME}'); "
                f"os.execv('{narrow['narrow_probe']}', ['x', 'poll', a, '80'])")
        carried(via([PYTHON, "-c", code]))

    # --- what is refused -----------------------------------------------------------------------------

    def without(path):
        home = f"{w.dir}/{path}"
        copy_launcher(w.build, home)
        return f"{home}/launcher/viaduct"

    def refused(got, code, line):
        tap.same((got.code, got.out), (code, b""), "exit code and output")
        tap.same(re.sub(r"\[\d+\]", "", got.err.decode()), line + "\n")
        w.quiet()

    def no_library():
        launcher = without("alone")
        refused(via(visit, launcher=launcher), 125, f"viaduct: {visit[0]} {NEEDS}")
        got = via(["sh", "-c", " ".join(visit)], launcher=launcher)
        tap.same(got.code, 126, "by a shell")
        tap.holds(f"sh: {visit[0]} is not started: it {NEEDS}" in re.sub(r"\[\d+\]", "", got.err.decode()), "a line")
        w.quiet()

    def wrong_library():
        """What stands in its place is looked at: the loader would go on without it."""
        launcher = without("wrong")
        place = f"{w.dir}/wrong/preload/lib32/libviaduct.so"
        os.makedirs(os.path.dirname(place))
        for content in (libraries[0], "/etc/passwd", "/dev/null"):
            shutil.copyfile(content, place)
            refused(via(visit, launcher=launcher), 125, f"viaduct: {visit[0]} {NEEDS}")
            got = via([wide["exec_probe"], "execve", *visit], launcher=launcher)
            tap.same((got.code, got.out), (1, b"execve: EACCES\n"), content)
            w.quiet()
        shutil.copyfile(libraries[1], place)
        carried(via(visit, launcher=launcher))

    def supervised():
        for option in ("--strict", "--audit", "--engine=supervise"):
            refused(via(visit, [option]), 125,
                    f"viaduct: {visit[0]} is a 32-bit program: --engine supervise, --audit and --strict cannot be "
                    "had with it; use a build for this word size, or leave the option out")
            got = via([wide["exec_probe"], "execve", *visit], [option])
            tap.holds(b"10." not in got.out, f"{option}: not carried past the library: {got}")
            w.quiet()

    def static():
        path = f"{w.dir}/static"
        subprocess.run(["cc", "-m32", "-idirafter", "/usr/include/x86_64-linux-gnu", "-static", "-D_GNU_SOURCE", "-w",
                        "-o", path, f"{w.source}/tests/e2e/probes/visit_probe.c"], check=True)
        refused(via([path, ORIGIN]), 125, f"viaduct: {path} {REFUSED} (it is a 32-bit program)")

    yield "the programs are 32-bit ones", is_narrow
    for way in WAYS:
        yield f"connects: {way}", lambda way=way: waits(way)
    yield "a failure is told", fails
    yield "datagrams", datagram
    for call in STARTS + BY_SHELL:
        yield f"started by {call}, and starting", lambda call=call: starts(call)
    yield "64, 32, 64 and 32 bits", there_and_back
    yield "LD_PRELOAD", environment
    yield "names are shared", names
    yield "without the library", no_library
    yield "with a file that is no such library", wrong_library
    yield "no supervisor", supervised
    yield "statically linked", static


if __name__ == "__main__":
    world.main(cases, ("cc", "microsocks", "nm", PYTHON))
