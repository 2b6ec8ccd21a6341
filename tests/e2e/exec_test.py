#!/usr/bin/env python3
"""Programs that start programs: by every call of libc, with an environment of their own making, by
shells, make and xargs. What is started stays in the chain; what the library could not carry is not
started (EACCES and a line). The sniffer looks on: app speaks to the hop alone, or to nobody."""

import os
import re
import shutil
import stat
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import servers, tap, world
from lib.servers import chain
from lib.world import FAR, ORIGIN, PYTHON

REPLACING = ("execve", "execv", "execvp", "execvpe", "execl", "execlp", "execle", "fexecve", "execveat-path",
             "execveat-dir", "execveat-fd", "syscall", "syscall-at")
SPAWNING = ("posix_spawn", "posix_spawnp", "spawn-elsewhere", "spawn-at", "vfork", "vfork-search")
BY_SHELL = ("system", "popen", "wordexp")
CALLS = REPLACING + SPAWNING + BY_SHELL
SEARCHING = ("execvp", "execvpe", "execlp", "posix_spawnp", "vfork-search")  # along PATH
RUN_TEXTS = ("execvp", "execvpe", "execlp", "vfork-search", *BY_SHELL)  # hand a text without #! to the shell
ENVIRONMENTS = ("clear", "null", "unset", "many", "twice", "LD_PRELOAD=", "VIADUCT_SESSION=/nowhere")

BY_LIBRARY = ("--engine", "preload")

CANNOT = {
    "static": "is statically linked: it loads no library that could carry its connections; use a dynamically "
              "linked build of it",
    "narrow": "is built for another word size than the library; use a build for this one (it is a 32-bit program)",
    "go": "is a Go program: it makes its system calls past libc, where nothing can carry them; give it the proxy "
          "itself, most take HTTPS_PROXY or ALL_PROXY",
    "musl": "is built for another libc; use a build for this one (its loader is {dir}/ld-musl.so.1, not "
            "/lib64/ld-linux-x86-64.so.2)",
    "script": "is statically linked: it loads no library that could carry its connections; use a dynamically "
              "linked build of it",
}
RIGHTS = ("runs with other rights (setuid or setgid), so that the system keeps the library out of it; start viaduct "
          "from inside instead, as in: sudo viaduct ...")
GAINS = ("has file capabilities, so that the system keeps the library out of it; run a copy of it without them, or "
         "run viaduct as root")


def copy(source, path, mode=0o755):
    shutil.copyfile(source, path)
    os.chmod(path, mode)
    return path


def make_targets(w):
    """Files that cannot be carried, each a program that would connect; {name: path}."""
    folder = f"{w.dir}/targets"
    os.mkdir(folder)
    source = f"{w.source}/tests/e2e/probes/visit_probe.c"
    paths = {name: f"{folder}/{name}" for name in CANNOT}
    subprocess.run(["cc", "-D_GNU_SOURCE", "-static", "-o", paths["static"], source], check=True)
    subprocess.run(["cc", "-D_GNU_SOURCE", f"-Wl,--dynamic-linker={folder}/ld-musl.so.1", "-o", paths["musl"],
                    source], check=True)
    copy("/lib64/ld-linux-x86-64.so.2", f"{folder}/ld-musl.so.1")
    probe = w.probe("visit_probe")
    copy(probe, paths["narrow"])
    with open(paths["narrow"], "r+b") as file:
        file.seek(4)
        file.write(b"\1")
    note = w.file("note", "Go build information")
    subprocess.run(["objcopy", "--add-section", f".go.buildinfo={note}", probe, paths["go"]], check=True)
    paths["script"] = w.file("targets/script", f"#!{paths['static']}\n", 0o755)
    return paths


def cases(w):
    web = servers.Nginx(w)
    sshd = servers.Sshd(w)
    hop = servers.microsocks(w)
    options = chain(hop.url(first=True))
    library = os.path.realpath(w.library)
    probe, visit, load = w.probe("exec_probe"), w.probe("visit_probe"), w.probe("load_probe")
    plugin = f"{w.build}/tests/e2e/plugins/plugin.so"
    targets = make_targets(w)
    url = f"http://{ORIGIN}/whoami"
    curl = ["/usr/bin/curl", "-sS", url]

    def via(argv, more=(), **how):
        w.forget()
        return w.via([*options, *more], argv, **{"timeout": 8, **how})

    def carried(argv, times=1, **how):
        """So many answers to whoami, all of which name the hop; app spoke to the hop alone."""
        got = via(argv, **how)
        tap.same((got.code, got.err), (0, b""), "exit code and standard error")
        saw = [line for line in got.out.splitlines() if line.startswith(b"10.")]
        tap.same([line.split()[0] for line in saw if not line.startswith(ORIGIN.encode())], [FAR.encode()] * times,
                 "whom the origin saw")
        w.quiet(hop.at(first=True))

    def refused(got, path, why, call):
        """One line, EACCES, and nobody was spoken to."""
        said = [line for line in got.err.decode().splitlines() if line.startswith("viaduct: ")]
        tap.same([re.sub(r"\[\d+\]", "", line).split(": ", 2)[2] for line in said],
                 [f"{path} is not started: it {why}"], f"{call}: lines")
        if call in BY_SHELL:
            tap.same(got.code, 126, f"{call}: exit code")
        else:
            tap.same((got.code, got.out), (1, f"{call}: EACCES\n".encode()), f"{call}: exit code and output")
            tap.same(len(got.err.splitlines()), 1, f"{call}: lines on the standard error")
        w.quiet()

    # --- what stays in the chain -----------------------------------------------------------------

    def stays(call):
        argv = ["curl", *curl[1:]] if call in SEARCHING else curl
        carried([probe, call, *argv])
        for how in ENVIRONMENTS:
            tap.note(how)
            carried([probe, "-e", how, call, *argv])

    def keeps_foreign(call):
        """Another preloaded library stays, behind ours; the rest of the environment is the program's."""
        got = via([probe, "-e", "clear", "-e", "A=1", "-e", f"LD_PRELOAD={plugin}", "-e", "B=2", call, "/usr/bin/env"])
        variables = dict(line.split("=", 1) for line in got.out.decode().splitlines())
        tap.same(variables.pop("LD_PRELOAD", None), f"{library}:{plugin}")
        tap.holds(variables.pop("VIADUCT_SESSION", "").startswith("/dev/shm/viaduct-"), "the session")
        for name in ("PWD", "_", "OLDPWD", "SHLVL"):
            variables.pop(name, None)  # the shell's
        variables.pop("__LLVM_PROFILE_RT_INIT_ONCE", None)  # of scripts/coverage
        tap.same((got.code, got.err, variables), (0, b"", {"A": "1", "B": "2"}), "the rest")

    def scripts(call):
        script = w.file("script", f"#!/bin/sh\nexec curl -sS {url}\n", 0o755)
        carried([probe, "-e", "clear", call, script])
        text = w.file("text", 'exec curl -sS "$1"\n', 0o755)
        if call in RUN_TEXTS:
            carried([probe, "-e", "clear", call, text, url])
        else:
            got = via([probe, call, text])
            tap.same((got.out, got.err), (f"{call}: ENOEXEC\n".encode(), b""), "a text without #!")

    # --- what is not started -----------------------------------------------------------------------

    def cannot(name):
        why = CANNOT[name].format(dir=os.path.dirname(targets[name]))
        for call in CALLS:
            for how in ("A=1", "clear"):
                tap.note(f"{call} {how}")
                got = via([probe, "-e", how, call, targets[name], ORIGIN], more=BY_LIBRARY)
                shown = targets[name]
                if call in ("fexecve", "execveat-fd"):
                    shown = "/proc/self/fd/{}".format(re.findall(rb"/fd/(\d+)", got.err)[0].decode())
                elif call == "execveat-dir":
                    shown = "/proc/self/fd/{}/{}".format(re.findall(rb"/fd/(\d+)", got.err)[0].decode(), name)
                elif call == "spawn-elsewhere" or call == "spawn-at":
                    shown = re.findall(r"\]: (.*) is not started", got.err.decode())[0]
                    tap.holds(shown.endswith(f"/{name}"), f"the line names it: {shown}")
                refused(got, shown, why, call)

    def directories():
        """Where nothing tells in which directory the child will look, nothing is started."""
        for name in ("static", "plain"):
            path = targets[name] if name in targets else copy(visit, f"{w.dir}/plain.visit")
            got = via([probe, "spawn-opened", path, ORIGIN])
            tap.same((got.code, got.out), (1, b"spawn-opened: EACCES\n"), name)
            nothing_goes(got, "a program is not started: nothing tells in which directory it lies")
            got = via([probe, "spawnp-elsewhere", path, ORIGIN], cwd="/")
            tap.same((got.code, got.out, got.err), (1, b"spawnp-elsewhere: ENOENT\n", b""), name)
            w.quiet()

    def nobody(argv):
        return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *argv]

    def as_nobody(argv):
        """viaduct itself run by an ordinary user, from a place where that one can read it."""
        w.forget()
        return w.run("app", nobody([w.launcher_for_all(), *options, "--", *argv]), cwd="/")

    def other_rights():
        path = copy(visit, f"{w.dir}/setuid")
        opened = copy(probe, f"{w.dir}/opened")
        os.chmod(path, 0o4755)
        for call in CALLS:
            if call in ("fexecve", "execveat-fd", "execveat-dir", "spawn-elsewhere", "spawn-at"):
                continue
            refused(as_nobody([opened, call, path, ORIGIN]), path, RIGHTS, call)
            refused(as_nobody([opened, "-e", "clear", call, path, ORIGIN]), path, RIGHTS, call)
        got = as_nobody([opened, "execve", copy(visit, f"{w.dir}/plain"), ORIGIN])
        tap.same((got.code, got.out, got.err), (0, FAR.encode() + b"\n", b""), "a program without the bit")

    def capabilities():
        path = copy(visit, f"{w.dir}/capable")
        opened = copy(probe, f"{w.dir}/opened")
        os.setxattr(path, "security.capability", struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0))
        for call in ("execve", "execvp", "posix_spawn", "vfork", "system"):
            refused(as_nobody([opened, call, path, ORIGIN]), path, GAINS, call)

    def known_tools():
        """sudo, ping and passwd as an ordinary user has them: by copies with the bit."""
        for name in ("su", "passwd", "mount"):
            path = copy(shutil.which(name, path=world.PATH), f"{w.dir}/{name}", 0o4755)
            os.chmod(path, 0o4755)
            got = as_nobody(["sh", "-c", f"{path} --help"])
            refused(got, path, RIGHTS, "system")

    def kernel_judges(call):
        """What the kernel refuses by itself keeps its errno, without a line of ours."""
        plain = w.file("plain", "#!/bin/sh\n", 0o644)
        for path, number in (("/nowhere/none", "ENOENT"), (plain, "EACCES"), (w.dir, "EACCES"),
                             (f"{plain}/x", "ENOTDIR"), ("/" + "x" * 5000, "ENAMETOOLONG"), ("", "ENOENT")):
            if call in BY_SHELL:
                got = via([probe, call, path])
                tap.holds(got.code in (126, 127) and b"viaduct" not in got.err, f"{path}: {got}")
                continue
            if call.startswith(("fexecve", "execveat-", "spawn-")) and (len(path) > 4000 or not path):
                continue  # the probe cannot open it
            got = via([probe, call, path])
            if got.out.startswith(b"open: "):
                continue
            tap.same((got.code, got.out, got.err), (1, f"{call}: {number}\n".encode(), b""), path[:40])
        w.quiet()

    def many_arguments():
        got = via([probe, "execl-5000", "/bin/sh", "-c", 'echo "$#"'])
        tap.same((got.code, got.out, got.err), (0, b"5000\n", b""), "execl with 5,000 arguments")

    def marks(call):
        """A child started five times leaves nothing behind in this process."""
        for how in (["A=1"], ["many"], ["clear"], ["many", "unset"]):
            words = [word for one in how for word in ("-e", one)]
            got = via([probe, *words, "-r", "5", call, "/bin/true"])
            tap.same((got.code, got.out, got.err), (0, b"", b""), f"{call} {how}")
            got = via([probe, *words, "-r", "5", call, targets["static"]], more=BY_LIBRARY)
            tap.same(set(got.out.splitlines()) - {b"environ moved"}, {f"{call}: EACCES".encode()}, f"{call} {how}")

    # --- shells and other starters -----------------------------------------------------------------

    def shell(script, times=1, **how):
        carried(["sh", "-c", script], times, **how)

    def standalone():
        """Without the launcher, the library named as seen from a folder that is left at once."""
        for name, folder in (("./libviaduct.so", os.path.dirname(library)), ("preload/libviaduct.so", w.build)):
            w.forget()
            got = w.run("app", ["sh", "-c", f"cd / && env -i /usr/bin/curl -sS {url}"], cwd=folder, timeout=8,
                        env={"LD_PRELOAD": name, "VIADUCT_PROXY": hop.url(first=True)})
            tap.same((got.code, got.out.split()[:1]), (0, [FAR.encode()]), name)
            w.quiet(hop.at(first=True))

    def starters():
        shell(f"env -i curl -sS {url}")
        shell(f"env -i sh -c 'env -u LD_PRELOAD curl -sS {url}'")
        shell(f"unset LD_PRELOAD VIADUCT_SESSION; curl -sS {url}")
        shell(f"LD_PRELOAD= exec curl -sS {url}")
        shell(f"for i in 1 2 3 4 5; do (curl -sS {url}) & done; wait", 5)
        shell(f"seq 9 | xargs -P 4 -I% curl -sS {url}", 9)
        shell(f"nice nohup timeout 9 setsid -w stdbuf -oL curl -sS {url} 2>&1")
        shell(f"find /etc/passwd -exec curl -sS {url} ';'")
        shell(f"perl -e 'system(\"curl\", \"-sS\", \"{url}\"); print `curl -sS {url}`; exec \"curl -sS {url}\"'", 3)
        shell(f"/lib64/ld-linux-x86-64.so.2 /usr/bin/curl -sS {url}")

    def make():
        recipes = "".join(f"t{i}:\n\t@env -i /usr/bin/curl -sS {url}\n" for i in range(8))
        path = w.file("Makefile", "all: " + " ".join(f"t{i}" for i in range(8)) + "\n" + recipes)
        carried(["make", "-s", "-j4", "-f", path], 8)

    def daemonizes():
        """setsid, two forks, no terminal, descriptors closed; it tells by a file."""
        told = f"{w.dir}/told"
        text = f"""
import os, resource, subprocess
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
os.chdir("/")
os.closerange(0, 1024)
os.environ.clear()
for fd in (0, 1, 2): os.open("/dev/null", os.O_RDWR)
out = subprocess.run(["/usr/bin/curl", "-sS", "{url}"], stdout=subprocess.PIPE, env={{}}).stdout
import urllib.request
out += urllib.request.urlopen("{url}").read()
open("{told}.new", "wb").write(out)
os.rename("{told}.new", "{told}")
"""
        got = via([PYTHON, "-c", text])
        tap.same((got.code, got.out, got.err), (0, b"", b""))
        world.wait_until(lambda: os.path.exists(told), "the daemon tells")
        with open(told, "rb") as file:
            tap.same([line.split()[0] for line in file.read().splitlines()], [FAR.encode()] * 2)
        w.quiet(hop.at(first=True))

    def python_subprocess():
        """fork, vfork and posix_spawn, as subprocess chooses; with a folder, groups, an environment."""
        text = f"""
import os, subprocess, sys
curl = ["/usr/bin/curl", "-sS", "{url}"]
for how in ({{}}, {{"env": {{}}}}, {{"cwd": "/", "env": {{"A": "1"}}}}, {{"start_new_session": True}},
            {{"close_fds": False}}, {{"close_fds": False, "env": {{}}}}, {{"preexec_fn": os.getpid}},
            {{"shell": True, "args": " ".join(curl), "env": {{}}}}):
    subprocess.run(**{{"args": curl, **how}}, check=True)
sys.stdout.flush()
pid = os.posix_spawn(curl[0], curl, {{}})
os.waitpid(pid, 0)
os.execve(curl[0], curl, {{}})
"""
        carried([PYTHON, "-c", text], 10)

    def ssh_proxy_command():
        there = sshd.there("v4.origin.test")
        got = via([*sshd.ssh(), "-o", "ProxyCommand=env -i nc %h %p", there, "echo $SSH_CONNECTION"])
        tap.same((got.code, got.out.split()[:1], got.err), (0, [FAR.encode()], b""))
        w.quiet(hop.at(first=True))

    def git_over_ssh():
        servers.git_repository(w, web.root)
        command = " ".join(["env", "-i", *sshd.ssh()])
        got = via(["git", "clone", "-q", f"ssh://{sshd.there('origin.test')}{web.root}/repo.git", f"{w.dir}/clone"],
                  env={"GIT_SSH_COMMAND": command})
        tap.same((got.code, got.out, got.err), (0, b"", b""))
        tap.holds(os.path.exists(f"{w.dir}/clone/file3"), "a file of the repository")
        w.quiet(hop.at(first=True))

    # --- where the session cannot be reached -------------------------------------------------------

    def nothing_goes(got, why):
        """Refused with one line, and nobody was spoken to."""
        said = [line for line in got.err.decode().splitlines() if line.startswith("viaduct: ")]
        tap.same(len(said), 1, "lines of viaduct")
        tap.holds(re.search(why, said[0]), f"{said[0]!r} tells: {why}")
        tap.holds(got.code not in (0, None), "it failed")
        w.quiet()

    def other_user():
        opened = w.launcher_for_all()
        w.forget()
        got = w.run("app", [opened, *options, "--", *nobody(curl)], cwd="/")
        nothing_goes(got, "every connection is refused: its session cannot be reached")
        tap.holds(b"curl: (7)" in got.err, "curl says that it could not connect")
        static = copy(targets["static"], f"{w.dir}/static")
        w.forget()
        got = w.run("app", [opened, *options, "--", *nobody(["sh", "-c", f"{static} {ORIGIN}"])])
        nothing_goes(got, f"{static} is not started: it is statically linked")

    def other_user_without_library():
        """A user who may not read the library would run without it."""
        home = f"{w.dir}/closed"
        shutil.copytree(os.path.dirname(os.path.dirname(w.launcher_for_all())), home)
        os.chmod(home, 0o700)
        w.forget()
        got = w.run("app", [f"{home}/launcher/viaduct", *options, "--", *nobody(curl)], cwd="/")
        nothing_goes(got, "/usr/bin/curl is not started: the library .*/libviaduct.so cannot be read")

    def jail(with_library):
        path = f"{w.dir}/jail.{w.port()}"
        folders = ["/usr", "/lib", "/lib64", "/bin", "/etc"]
        if with_library:
            folders.append(os.path.dirname(library))
        for folder in folders:
            os.makedirs(path + folder)
            subprocess.run(["mount", "--rbind", folder, path + folder], check=True)
        copy(targets["static"], f"{path}/static")
        copy(probe, f"{path}/exec_probe")
        return path

    def chrooted():
        inside = jail(True)
        got = via(["chroot", inside, *curl])
        nothing_goes(got, "every connection is refused: its session cannot be reached")
        got = via(["chroot", inside, "/static", ORIGIN])
        nothing_goes(got, "/static is not started: it is statically linked")
        for call in ("fexecve", "execveat-fd", "execveat-dir"):  # /proc is not there either
            got = via(["chroot", inside, "/exec_probe", call, "/static", ORIGIN])
            nothing_goes(got, "is not started: it cannot be read")
        got = via(["chroot", inside, "/usr/bin/env", "-i", *curl])
        nothing_goes(got, "every connection is refused: its session cannot be reached")

    def static_shell():
        """What libc starts by itself for system() and its like."""
        inside = jail(True)
        subprocess.run(["mount", "--bind", targets["static"], f"{inside}/bin/sh"], check=True)
        for call, want in (("system", b"system: EACCES\n"), ("popen", b"popen: EACCES\n"), ("wordexp", b"wordexp: WRDE_CMDSUB\n")):
            got = via(["chroot", inside, "/exec_probe", call, "/bin/true"])
            tap.same(got.out, want)
            nothing_goes(got, "/bin/sh is not started: it is statically linked")

    def chrooted_without_library():
        got = via(["chroot", jail(False), *curl])
        nothing_goes(got, "/usr/bin/curl is not started: the library .*/libviaduct.so cannot be read")

    # --- loading -----------------------------------------------------------------------------------

    def loading():
        for how in ("dlopen", "deepbind", "dlmopen-base"):
            carried([load, how, plugin, ORIGIN])
            carried([load, how, "plugin.so", ORIGIN])  # along the program's RUNPATH

    def new_namespace():
        """LM_ID_NEWLM would bring another libc, whose connect() nothing intercepts."""
        got = via([load, "dlmopen", plugin, ORIGIN])
        tap.holds(got.code == 1 and b"viaduct" in got.out, f"dlerror() tells: {got.out}")
        nothing_goes(got, "dlmopen\\(\\) is refused")

    def by_number():
        carried([load, "syscall", ORIGIN])
        carried([load, "fast-open", ORIGIN])
        got = via([load, "datagram", ORIGIN], more=["--udp", "deny"])
        tap.same(got.out, b"sendto: EACCES\nsendmsg: EACCES\nsendmmsg: EACCES\n")
        w.quiet()

    def remote_commands():
        """libc connects and asks for names by itself in these."""
        for how in ("rcmd", "rcmd_af", "rexec", "rexec_af", "ruserok"):
            for host in (ORIGIN, "origin.test"):
                got = via([load, how, host])
                tap.same((got.code, got.out), (0, b"-1 EACCES\n"), how)
                said = got.err.decode().splitlines()
                tap.holds(len(said) == 1 and f"{how}() is refused" in said[0], f"{how} says: {said}")
                w.quiet()

    for call in CALLS:
        yield f"{call}: stays in the chain", lambda c=call: stays(c)
    for call in CALLS:
        yield f"{call}: scripts", lambda c=call: scripts(c)
        yield f"{call}: the kernel's own errors", lambda c=call: kernel_judges(c)
        yield f"{call}: a foreign library stays", lambda c=call: keeps_foreign(c)
    for name in CANNOT:
        yield f"not started: {name}", lambda n=name: cannot(n)
    if servers.uid_is_mapped(65534):
        yield "not started: setuid", other_rights
        yield "not started: file capabilities", capabilities
        yield "not started: su, passwd, mount", known_tools
        yield "another user, who cannot reach the session", other_user
        yield "another user, who cannot read the library", other_user_without_library
    yield "not started: from a directory that nobody knows", directories
    for call in SPAWNING:
        yield f"{call}: no mark in the parent", lambda c=call: marks(c)
    yield "execl with many arguments", many_arguments
    yield "shells and other starters", starters
    yield "without the launcher", standalone
    yield "make -j", make
    yield "a daemon", daemonizes
    yield "python's subprocess", python_subprocess
    yield "ssh with ProxyCommand", ssh_proxy_command
    yield "git over ssh without an environment", git_over_ssh
    yield "chroot", chrooted
    yield "a shell that is statically linked", static_shell
    yield "chroot without the library", chrooted_without_library
    yield "dlopen", loading
    yield "a new link namespace", new_namespace
    yield "syscall()", by_number
    yield "rcmd and rexec", remote_commands


if __name__ == "__main__":
    world.main(cases, ("curl", "cc", "objcopy", "make", "xargs", "perl", "setpriv", "chroot", "git", "ssh", "nc", PYTHON,
                       "microsocks", "nginx", "sshd"))
