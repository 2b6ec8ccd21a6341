#!/usr/bin/env python3
"""--engine: programs that no library reaches are carried by a supervisor: static ones, musl's, Go's,
Rust's, and system calls without any library. The sniffer looks on: app speaks to the hop alone, and
asks nobody for names."""

import os
import pty
import re
import select
import shutil
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, servers, supervised, tap, world
from lib.servers import chain
from lib.world import FAR, NEAR, ORIGIN, PYTHON, wait_until

NAME = "v4.origin.test"
EACCES, ENOSYS, ECONNREFUSED, EISCONN = 13, 38, 111, 106
SUPERVISOR = "viaduct-superv"


def supervisors():
    """Pids of all supervisors; of those that have ended nobody here takes notice."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat", encoding="ascii") as file:
                _, name, state, *_ = file.read().split()
        except OSError:
            continue
        if name == f"({SUPERVISOR})" and state != "Z":
            found.append(int(entry))
    return found


def cases(w):
    servers.Nginx(w)
    hop = servers.microsocks(w)
    options = chain(hop.url(first=True))
    programs = supervised.Programs(w)
    for name in (*supervised.LOOKUPS, "go", "go-cgo", "raw", "dynamic"):
        programs[name]  # built before any case has begun to count
    url = f"http://{NAME}/whoami"

    def via(argv, more=(), **how):
        w.forget()
        return w.via([*options, *more], argv, **{"timeout": 15, **how})

    def carried(got, times=1, code=0, err=b""):
        """So many answers, all of which name the hop; app spoke to the hop alone, and asked nobody."""
        tap.same((got.code, got.err), (code, err), "exit code and standard error")
        tap.same(supervised.told(got, FAR, ORIGIN), [(FAR, ORIGIN)] * times, "who came")
        w.quiet(hop.at(first=True))

    # --- programs ---------------------------------------------------------------------------------

    def lookup(name):
        for host in (NAME, ORIGIN):
            got = via([programs[name], host, "80"])
            carried(got)
            peer = got.out.decode().splitlines()[0]
            tap.holds(re.fullmatch(r"peer 198\.1[89]\..*" if host == NAME else rf"peer {ORIGIN}", peer),
                      f"the peer is the target: {peer}")

    def go(name, environment):
        for target in (url, f"http://{ORIGIN}/whoami"):
            got = via([programs[name], target, "1"], env=environment)
            carried(got)
            tap.same(got.out.split()[4], b"1", "answered")
            got = via([programs[name], target, "100"], env=environment)
            carried(got)
            tap.same(got.out.split()[4], b"100", "answered")

    def rust():
        carried(via([programs["rust"], NAME, "80"]))
        carried(via([programs["rust"], ORIGIN, "80"]))

    def busybox():
        carried(via(["busybox", "wget", "-q", "-O", "-", url]))
        carried(via(["busybox", "sh", "-c", f"busybox wget -q -O - {url}; busybox wget -q -O - {url}"]), 2)

    def raw():
        got = via([programs["raw"], "connect", ORIGIN, "80"])
        carried(got)
        tap.same(got.out.split()[0], b"0", "what connect() gave")
        got = via([programs["raw"], "nonblocking", ORIGIN, "80"])
        carried(got)
        got = via([programs["raw"], "fastopen", ORIGIN, "80"])
        carried(got)
        tap.same(got.out.split()[0], b"22", "what sendto() gave")

    def refused_connection():
        """The line and the errno are those of the library."""
        for name in ("static", "dynamic"):
            got = via([programs[name], ORIGIN, "9"])
            tap.same((got.code, got.out), (2, b"connect: Connection refused\n"), name)
            line = re.sub(r"\[\d+\]", "", got.err.decode())
            tap.same(line, f"viaduct: {name}: {ORIGIN}:9: hop 1 of 1 ({hop.url(first=True)}) says that the target "
                           "refused the connection (SOCKS5 reply 5)\n", name)
            w.quiet(hop.at(first=True))

    def rules():
        conf = w.file("rules.conf", f"""
chain default {{ hops = {{"{hop.url(first=True)}"}} }}
rule ads {{ match = {{"*.ads.test", "10.9.0.0/16"}}  action = "refuse" }}
bypass = {{"{NEAR}"}}
""", 0o600)
        w.forget()
        for target in ("x.ads.test", "10.9.1.1"):
            got = w.via(["-f", conf], [programs["static"], target, "80"])
            tap.same((got.code, got.out), (2, b"connect: Permission denied\n"), target)
            tap.holds(f"{target}:80: refused by rule ads" in got.err.decode(), f"the line: {got.err}")
        w.quiet()
        got = w.via(["-f", conf], [programs["static"], NEAR, str(hop.port)])
        tap.same((got.code, got.err), (0, b""), "direct")
        got = w.via(["-f", conf], [programs["static"], NEAR, "9"])
        tap.same((got.code, got.out, got.err), (2, b"connect: Connection refused\n", b""), "direct and refused")
        w.quiet(hop.at(first=True), (NEAR, 9))

    def local_names():
        """With names resolved here the name server is asked, and nobody else."""
        w.names.know(NAME, ORIGIN)
        for name in ("static", "musl-static", "go"):
            argv = [programs[name], url, "1"] if name == "go" else [programs[name], NAME, "80"]
            w.forget()
            got = w.via(["-d", "local", *options], argv, timeout=15)
            tap.same(supervised.told(got, FAR, ORIGIN), [(FAR, ORIGIN)], name)
            tap.holds(w.names.take(), f"{name} asked")
        w.names.forget(NAME)
        w.forget()

    def unknown_names():
        """A name that the hop does not know."""
        got = via([programs["static"], "none.origin.test", "80"])
        tap.holds(got.code == 2 and b"connect: " in got.out, f"{got}")
        w.quiet(hop.at(first=True))

    # --- calls ------------------------------------------------------------------------------------

    def calls():
        for call, want in (("io_uring", -ENOSYS), ("x32", -ENOSYS)):
            got = via([programs["raw"], call, ORIGIN, "80"])
            tap.same((got.out, got.err), (f"{want}\n".encode(), b""), call)
        for words in (("2", "3", "1"), ("10", "3", "58"), ("2", "2", "1"), ("17", "3", "0"), ("2", "5", "132"),
                      ("21", "5", "0")):
            got = via([programs["raw"], "socket", *words])
            tap.same(got.out, f"-{EACCES}\n".encode(), f"socket({', '.join(words)})")
            tap.holds(got.err.startswith(b"viaduct: raw["), f"a line: {got.err}")
        for words in (("1", "1", "0"), ("16", "3", "0"), ("2", "1", "6"), ("10", "2", "17"), ("2", "2049", "0")):
            got = via([programs["raw"], "socket", *words])
            tap.holds(int(got.out) >= 0 and got.err == b"", f"socket({', '.join(words)}): {got}")
        w.quiet()

    def narrow_calls():
        """i386 by int 0x80: refused, with a line; calls that reach nobody stay as they are."""
        got = via([programs["raw"], "i386", ORIGIN, "80"])
        tap.same(got.out.split()[0], f"-{EACCES}".encode(), "connect()")
        tap.holds(b"32-bit program" in got.err, f"a line: {got.err}")
        w.quiet()

    def arguments():
        """The kernel's own errors: EBADF, ENOTSOCK, EFAULT, EINVAL for lengths."""
        got = via([programs["raw"], "bad", ORIGIN, "80"])
        tap.same((got.out, got.err), (b"-9 -88 -14 -22 -22 -22\n", b""))
        got = via([programs["raw"], "again", ORIGIN, "80"])
        tap.same(got.out.split()[:2], [b"0", f"-{EISCONN}".encode()], "a second connect()")

    def datagrams_denied():
        for call in ("sendto", "sendmsg", "sendmmsg"):
            got = via([programs["raw"], call, ORIGIN, "9"], more=["--udp", "deny"])
            tap.same(got.out, f"-{EACCES}\n".encode(), call)
            tap.holds(b"UDP is refused" in got.err, f"a line: {got.err}")
        w.quiet()

    # --- starting ---------------------------------------------------------------------------------

    def pipeline():
        """A shell that the library is in, and programs of all kinds."""
        parts = [f"{programs['static']} {NAME} 80", f"{programs['musl']} {NAME} 80",
                 f"{programs['musl-static']} {ORIGIN} 80", f"{programs['go']} {url} 1", f"curl -sS {url}",
                 f"env -i {programs['static']} {NAME} 80", f"busybox wget -q -O - {url}",
                 f"busybox sh -c 'curl -sS {url}'", f"(exec -a wget busybox -q -O - {url})",
                 f"{programs['raw']} connect {ORIGIN} 80", f"env -i busybox env -i curl -sS {url}",
                 f"timeout 9 nice {programs['dynamic']} {NAME} 80"]
        script = w.file("pipeline", "#!/bin/bash\n" + "\n".join(f"{part} | cat | grep ^10" for part in parts), 0o755)
        carried(via([script]), len(parts))
        carried(via(["busybox", "sh", "-c", f"{programs['dynamic']} {NAME} 80 | cat"]))
        carried(via(["busybox", "sh", "-c", f"{programs['musl']} {NAME} 80; {programs['dynamic']} {NAME} 80;"
                                            f"sh -c '{programs['musl']} {NAME} 80; curl -sS {url}'"]), 4)
        carried(via([PYTHON, "-c", f"import os; os.execv('{programs['static']}', ['x', '{NAME}', '80'])"]))
        carried(via([PYTHON, "-c", "import os, subprocess; subprocess.run(['%s', '%s', '80'], check=True, env={})"
                     % (programs["static"], NAME)]))

    def forced():
        """--engine supervise: the library is in nothing."""
        got = via(["sh", "-c", f"echo $LD_PRELOAD; curl -sS {url}; {programs['static']} {NAME} 80"],
                  more=["--engine", "supervise"])
        tap.same(got.out.split(b"\n")[0], b"", "LD_PRELOAD")
        carried(got, 2)
        got = via([programs["static"], NAME, "80"], more=["--engine", "preload"])
        tap.same((got.code, got.out), (125, b""))
        tap.holds(b"is statically linked" in got.err, f"{got.err}")
        w.quiet()
        got = via(["true"], more=["--engine", "magic"])
        tap.same((got.code, got.err), (125, b"viaduct: --engine: unknown engine `magic`; allowed: auto, preload, "
                                            b"supervise\n"))

    def script_of_static():
        path = w.file("static.script", f"#!{shutil.which('busybox')} sh\nbusybox wget -q -O - {url}\n", 0o755)
        carried(via([path]))

    def what_stays():
        """Process, parent, descriptors, signals and exit status are as without viaduct."""
        script = ("echo $PPID; ls /proc/$$/fd; grep -E '^Sig(Blk|Ign|Cgt)' /proc/$$/status; "
                  "grep -E '^Sig(Blk|Ign)' /proc/self/status; exit 7")
        argv = ["busybox", "sh", "-c", script]
        with_it, without = via(argv), w.run("app", argv)
        tap.same((with_it.code, with_it.err), (7, b""))
        tap.same(with_it.out.split(b"\n")[1:], without.out.split(b"\n")[1:])
        got = via(["busybox", "sh", "-c", "kill -TERM $$"])
        tap.same(got.code, -signal.SIGTERM)
        got = via(["/no/such/static"])
        tap.same(got.code, 127)

    def ends_with_the_last():
        """The supervisor stays for a daemon, and goes with it; nobody waits for its descriptors."""
        began = time.monotonic()
        got = via(["busybox", "sh", "-c", f"(sleep 2; busybox wget -q -O {w.dir}/later {url}) >/dev/null 2>&1 </dev/null &"])
        tap.same((got.code, got.err), (0, b""))
        tap.holds(time.monotonic() - began < 1.5, "the command ended at once")
        tap.same(len(supervisors()), 1, "supervisors")
        wait_until(lambda: os.path.exists(f"{w.dir}/later") and os.path.getsize(f"{w.dir}/later"), "the daemon's visit")
        wait_until(lambda: not supervisors(), "the supervisor ends")
        w.quiet(hop.at(first=True))

    # --- hostile times ----------------------------------------------------------------------------

    def slow_hop(seconds):
        """A hop that answers a request late, then is the origin itself."""
        def script(peer):
            peer.socks5_greeting()
            peer.socks5_request()
            peer.pause(seconds)
            peer.say(b"\5\0\0\1\0\0\0\0\0\0")
            peer.read_until(b"\r\n\r\n")
            peer.say(f"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n{FAR} 1 {ORIGIN} 80\n".encode())
            peer.sock.close()
        return hostile.Scripted("proxy", NEAR, w.port(), script)

    def parallel():
        """50 at once through a hop that takes a second: all together, and no timer waits; the best of some
        tries, as others want the processors, too."""
        delay = 1.0
        slow = slow_hop(delay)
        at = chain(f"socks5h://{NEAR}:{slow.port}?pipeline=off")
        for name in ("go", "go-cgo"):
            tries = []  # (by how much it was too much, the longest gap of the timer, all)
            while len(tries) < 12 and (not tries or min(tries)[0] > 1):
                got = w.via(at, [programs[name], url, "50"], timeout=30)
                words = got.out.split()
                tap.same((got.code, words[4]), (0, b"50"), f"{name}: {got.err[-500:]}")
                gap, took = float(words[6]), float(words[5])
                tries.append((max(gap / (0.05 * delay), took / (1.3 * delay)), gap, took))
            bad, gap, took = min(tries)
            tap.holds(bad <= 1, f"{name}: the timer waited {gap:.3f} s, all took {took:.2f} s")
        slow.stop()

    def signal_storm():
        """1,000 signals a second while the chain is made: one answer, and a true one."""
        slow = slow_hop(1.0)
        w.forget()
        got = w.via(chain(f"socks5h://{NEAR}:{slow.port}?pipeline=off"), [programs["raw"], "storm", ORIGIN, "80"])
        words = got.out.split()
        tap.same((got.code, words[0]), (0, b"0"), f"what connect() gave: {got}")
        tap.holds(int(words[2]) > 0, "signals came")
        tap.same(supervised.told(got, FAR, ORIGIN), [(FAR, ORIGIN)])
        slow.stop()

    def killed_caller():
        """Who is killed while he waits leaves nothing under way."""
        slow = slow_hop(30)
        proc = w.popen("app", [w.viaduct, *chain(f"socks5h://{NEAR}:{slow.port}?pipeline=off"), "--", programs["raw"],
                               "connect", ORIGIN, "80"])
        wait_until(lambda: slow.peers, "the hop is asked")
        os.killpg(proc.pid, signal.SIGINT)
        tap.same(proc.wait(5), -signal.SIGINT)
        wait_until(lambda: not supervisors(), "the supervisor ends")
        slow.stop()

    def supervisor_killed():
        """New connections fail; none is made directly."""
        script = f"echo up; read x; busybox wget -q -O - {url}; busybox wget -q -O - http://{ORIGIN}/whoami; exit 4"
        w.forget()
        proc = w.popen("app", [w.viaduct, *options, "--", "busybox", "sh", "-c", script], stdin=-1, stdout=-1, stderr=-1)
        tap.same(proc.stdout.readline(), b"up\n")
        for pid in supervisors():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not supervisors(), "the supervisor is gone")
        out, err = proc.communicate(b"\n", 15)
        tap.same((proc.returncode, out), (4, b""), f"{err}")
        w.quiet()

    def own_filter():
        """A program that has a seccomp filter of its own, before or behind ours."""
        got = via([programs["raw"], "filtered", ORIGIN, "80"])
        tap.same(got.out.splitlines()[:2], [b"0 -1", b"0"], "its filter, fchmod(), connect()")
        tap.same(supervised.told(got, FAR, ORIGIN), [(FAR, ORIGIN)])
        w.quiet(hop.at(first=True))

    # --- the terminal -----------------------------------------------------------------------------

    def terminal(script, keys):
        """Types at an interactive shell; all that it told."""
        pid, master = pty.fork()
        if pid == 0:
            os.execvpe("ip", ["ip", "netns", "exec", "app", "bash", "--norc", "--noprofile", "-i"], w.env({"PS1": "> "}))
        told = b""
        os.write(master, script.encode() + b"\n")
        for wanted, key in keys:
            deadline = time.monotonic() + 10
            while wanted not in told:
                tap.holds(time.monotonic() < deadline, f"{wanted} in {told}")
                if select.select([master], [], [], 0.2)[0]:
                    told += os.read(master, 4096)
            told = told[told.index(wanted) + len(wanted):]
            os.write(master, key)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(master)

    def job_control():
        """Ctrl-C, Ctrl-Z and fg, as if the command stood alone."""
        words = " ".join([w.viaduct, *options, "--", "busybox", "sh", "-c"])
        terminal(f"{words} 'trap \"echo inter''rupted; exit 3\" INT; echo awa''ke; while :; do sleep 0.1; done'; echo code''=$?",
                 ((b"awake", b"\x03"), (b"interrupted", b""), (b"code=3", b"")))
        terminal(f"{words} 'echo awa''ke; read x; echo go''ne; exit 5'; echo stop''ped",
                 ((b"awake", b"\x1a"), (b"stopped", b"fg; echo code''=$?\n"), (b"read x", b"\n"), (b"gone", b""),
                  (b"code=5", b"")))

    # --- who runs it ------------------------------------------------------------------------------

    def nobody():
        opened = w.launcher_for_all()
        static = shutil.copy(programs["static"], f"{w.dir}/nobody.static")
        w.forget()
        argv = [opened, *options, "--", "sh", "-c", f"{static} {NAME} 80; busybox wget -q -O - {url}"]
        carried(w.run("app", ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *argv], cwd="/"), 2)

    def user_namespace():
        w.forget()
        carried(w.run("app", ["unshare", "--user", "--map-root-user", w.viaduct, *options, "--", programs["static"], NAME,
                              "80"]))

    for name in supervised.LOOKUPS:
        yield f"{name}", lambda n=name: lookup(n)
    for name, environment in (("go", {}), ("go-cgo", {}), ("go-cgo", {"GODEBUG": "netdns=cgo"}),
                              ("go-cgo", {"GODEBUG": "netdns=go"})):
        yield f"{name} {environment.get('GODEBUG', '')}", lambda n=name, e=environment: go(n, e)
    if supervised.rustc():
        programs["rust"]
        yield "rust", rust
    yield "busybox", busybox
    yield "system calls by the instruction", raw
    yield "a connection that is refused", refused_connection
    yield "rules", rules
    yield "names resolved here", local_names
    yield "names that nobody knows", unknown_names
    yield "io_uring, x32, kinds of sockets", calls
    if os.uname().machine == "x86_64":
        yield "calls of i386", narrow_calls
    yield "arguments that make no sense", arguments
    yield "datagrams that are refused", datagrams_denied
    yield "a pipeline of everything", pipeline
    yield "--engine", forced
    yield "a script of a static shell", script_of_static
    yield "what stays as it is", what_stays
    yield "the supervisor ends with the last descendant", ends_with_the_last
    yield "50 at once through a slow hop", parallel
    yield "a storm of signals", signal_storm
    yield "a caller that is killed", killed_caller
    yield "the supervisor is killed", supervisor_killed
    yield "a seccomp filter of the program's own", own_filter
    yield "Ctrl-C, Ctrl-Z and fg", job_control
    if servers.uid_is_mapped(65534):
        yield "an ordinary user", nobody
        yield "a user namespace", user_namespace


if __name__ == "__main__":
    world.main(cases, ("busybox", "cc", "curl", "go", "musl-gcc", "nginx", "microsocks", PYTHON))
