#!/usr/bin/env python3
"""What the launcher leaves in the environment of the command and in the session file."""

import fcntl
import json
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import desk as desk_of
from lib.desk import HOP, IS_ROOT, OWN, Plan, SHM
from lib.parts import copy_launcher
from lib.tap import holds, same

# --- environment and session -----------------------------------------------------------------------


def environment_of(desk, *args, **more):
    got = desk.run(*HOP, *args, "env", "-0", **more)
    same(got.returncode, 0, "status")
    pairs = (item.split("=", 1) for item in got.stdout.decode().split("\0") if item)
    return dict(pairs), got.stderr.decode()


PROXY_VARIABLES = [name + "_proxy" for name in ("http", "https", "all", "ftp")]
PROXY_VARIABLES += [name.upper() for name in PROXY_VARIABLES]


def test_proxy_environment(desk):
    given = {name: "http://10.9.9.9" for name in PROXY_VARIABLES}
    given.update({"no_proxy": "x", "KEPT": "yes"})
    got, told = environment_of(desk, env=given)
    same(told, "", "nothing is said")
    same([name for name in PROXY_VARIABLES if name in got], [], "variables left")
    same((got["KEPT"], got["no_proxy"]), ("yes", "x"), "the others")
    _, told = environment_of(desk, "-v", env=given)
    same(told.splitlines()[0],
         "viaduct: removed from the command's environment: http_proxy, HTTP_PROXY, https_proxy, "
         "HTTPS_PROXY, all_proxy, ALL_PROXY, ftp_proxy, FTP_PROXY", "-v")
    got, _ = environment_of(desk, "--keep-proxy-env", env=given)
    same([got.get(name) for name in PROXY_VARIABLES], ["http://10.9.9.9"] * 8, "kept")


def test_preload(desk):
    got, _ = environment_of(desk)
    same(got["LD_PRELOAD"], desk.library, "LD_PRELOAD")
    holds(re.fullmatch(r"/dev/shm/viaduct-[a-z2-7]{24}", got["VIADUCT_SESSION"]), "session's path")
    others, _ = environment_of(desk, env={"LD_PRELOAD": "libc.so.6 libm.so.6"})
    same(others["LD_PRELOAD"], desk.library + ":libc.so.6 libm.so.6", "ours first")
    holds(others["VIADUCT_SESSION"] != got["VIADUCT_SESSION"], "each run has its own session")


def test_library_missing(desk):
    copy_launcher(desk.build, desk.path())
    os.remove(desk.path("preload", "libviaduct.so"))
    lonely = desk.path("launcher", "viaduct")
    marker = desk.path("marker")
    got = subprocess.run([lonely, *HOP, "touch", marker], capture_output=True, check=False,
                         env={"PATH": "/bin:/usr/bin"})
    if os.path.exists("/usr/local/lib/x86_64-linux-gnu/viaduct/libviaduct.so"):
        same(got.returncode, 0, "an installed library is found")
        return
    holds(re.fullmatch(rb"viaduct: libviaduct\.so is missing; it belongs to /.*\n", got.stderr),
          got.stderr)
    same((got.returncode, os.path.exists(marker)), (OWN, False), "status, and whether it started")


def test_part_of_the_launcher_missing(desk):
    if not os.path.exists(f"{desk.build}/launcher/viaduct-full"):
        return  # built as one program
    copy_launcher(desk.build, desk.path("apart"))
    os.remove(desk.path("apart", "launcher", "viaduct-full"))
    config = desk.write("some.conf", 'chain default { hops = {"socks5h://127.0.0.1:9"} }\n')

    def run(*options, command="true", env=()):
        return subprocess.run([desk.path("apart", "launcher", "viaduct"), *options, command],
                              capture_output=True, check=False,
                              env={"PATH": "/bin:/usr/bin", "XDG_CACHE_HOME": "/dev/null", **dict(env)})

    for plain in ([], ["-q"], ["-d", "remote"], ["-m", "dynamic"], ["-b", "10.0.0.0/8"], ["--udp", "deny"],
                  ["-t", "3"], ["--keep-proxy-env"], ["-x", "http://a:b@127.0.0.1:8080"]):
        got = run(*HOP, *plain)
        same((got.returncode, got.stderr), (0, b""), f"{plain}: the straight way")
    got = run(env={"ALL_PROXY": "socks5h://127.0.0.1:9"})
    same((got.returncode, got.stderr), (0, b""), "ALL_PROXY")
    for options in (["-v", *HOP], ["--audit", *HOP], ["--log", desk.path("log"), *HOP], ["-f", config],
                    ["--isolate", *HOP], ["--print-config", *HOP], ["-x", "socks9://x"], []):
        got = run(*options)
        holds(re.fullmatch(rb"viaduct: viaduct-full is missing; it belongs to /.*\n", got.stderr), got)
        same(got.returncode, OWN, f"{options}: status")
    same(run(*HOP, command="no-such-command").returncode, OWN, "the command is not there")


def test_path_with_a_space(desk):
    """LD_PRELOAD cannot name such a path: refused, not silently unproxied."""
    place = desk.path("a place")
    copy_launcher(desk.build, place)
    got = subprocess.run([place + "/launcher/viaduct", *HOP, "true"], capture_output=True,
                         env={"PATH": "/bin:/usr/bin"}, check=False)
    same((got.returncode, got.stderr.decode()),
         (OWN, f"viaduct: {place}/preload/libviaduct.so: the loader takes no path with a space or "
               "a colon; install viaduct elsewhere\n"), "refusal")


def test_plan(desk):
    plan = Plan.of(desk, *HOP)
    same((plan.hops, plan.chains, plan.rules, plan.patterns), (1, 1, 1, 3), "counts")
    same((plan.dns, plan.udp, plan.verbosity, plan.timeout_ms), (0, 0, 1, 30000), "defaults")
    same((plan.has_stderr, plan.has_log, plan.log_json), (1, 0, 0), "where to say it")
    same(plan.hop_addresses(), ["127.0.0.1"], "hops")
    holds(plan.placeholder6[0] == 0xFD and plan.placeholder6[14:] == b"\0\0", "a /112 of a ULA")
    plan = Plan.of(desk, *HOP, "-vv", "-t", "1.5", "--udp", "direct", "-d", "local", "-b", "none",
                   "--log", "x.log", "--log-format", "json")
    same((plan.dns, plan.udp, plan.verbosity, plan.timeout_ms), (2, 3, 3, 1500), "options")
    same((plan.rules, plan.patterns), (0, 0), "-b none")
    same((plan.has_log, plan.log_json, plan.log), (1, 1, desk.path("x.log")), "an absolute path")
    same(Plan.of(desk, *HOP, "-q").verbosity, 0, "-q")
    same(Plan.of(desk, *HOP, "-v", "-v").verbosity, 3, "-v -v")


def test_plan_takes_what_is_used(desk):
    desk.write("x.conf", """
chain default { hops = "http://10.0.0.1" }
chain a { hops = {"http://10.0.0.2", "socks5h://10.0.0.3"} }
chain unused { hops = "http://nosuch.invalid" }
rule one { match = {"*.x", "*.y:25"} chain = "a" }
rule two { match = "10.0.0.0/8" action = "refuse" }
""")
    plan = Plan.of(desk, "-f", "x.conf")
    same((plan.hops, plan.chains, plan.rules, plan.patterns), (3, 2, 3, 6), "counts")
    same(plan.hop_addresses(), ["10.0.0.1", "10.0.0.2", "10.0.0.3"], "hops")


def test_hop_names(desk):
    plan = Plan.of(desk, "-x", "socks5h://localhost:9", "-x", "http://nosuch.invalid", "-x",
                   "socks4://127.0.0.3", "-x", "http://localhost")
    first, second, third, last = plan.hop_addresses()
    holds(first in ("127.0.0.1", "00" * 15 + "01"), f"hop 1 is resolved: {first}")
    same((second, third), (None, "127.0.0.3"), "behind socks5h and http the hop before resolves")
    same(last, "127.0.0.1", "behind socks4, which takes IPv4 only")


def test_ipv6_only_hop(desk):
    plan = Plan.of(desk, "-x", "socks5h://[::1]:9")
    same(plan.hop_addresses(), ["127.0.0.1", "00" * 15 + "01"], "a hop of our own stands for it")
    place = desk.path("alone")  # without viaductd
    copy_launcher(os.path.dirname(os.path.dirname(desk.viaduct)), place)
    alone = [place + "/launcher/viaduct", "-x", "socks5h://[::1]:9", "-v", "true"]
    got = subprocess.run(alone, capture_output=True, env={"PATH": "/bin:/usr/bin"}, check=False)
    same((got.returncode, got.stderr.decode()),
         (0, "viaduct: chain `default`: a first hop has IPv6 addresses only, and viaductd is missing; "
             "IPv4 sockets are refused\n"), "without viaductd")


def test_remote_dns_by_scheme(desk):
    """dns = "remote" asks a last hop that takes addresses only for names as well."""
    def scheme(*args):
        plan = Plan.of(desk, *args)
        return plan.plan[plan.hops_at]

    same(scheme("-x", "socks5://127.0.0.1"), 3, "socks5")
    same(scheme("-x", "socks5://127.0.0.1", "-d", "remote"), 4, "socks5h")
    same(scheme("-x", "socks4://127.0.0.1", "-d", "remote"), 2, "socks4a")
    same(scheme("-x", "socks5h://127.0.0.1", "-d", "local"), 4, "local: the scheme stays")


def test_placeholder_range(desk):
    same(Plan.of(desk, *HOP).placeholder4, "198.18.0.0/15", "the usual range")
    same(Plan.of(desk, "-x", "http://198.19.1.1").placeholder4, "100.126.0.0/15",
         "a hop lies in the first")
    same(Plan.of(desk, *HOP, "-b", "198.18.0.0/16", "-b", "100.64.0.0/10").placeholder4,
         "10.254.0.0/15", "patterns lie in the first ones")
    same(Plan.of(desk, *HOP, "-b", "128.0.0.0/1").placeholder4, "198.18.0.0/15",
         "half of everything is like a default route")
    desk.refused(HOP + ["-b", "198.18.0.0/15", "-b", "100.64.0.0/10", "-b", "10.0.0.0/8", "-b",
                        "172.16.0.0/12", "true"], OWN,
                 "no range of addresses is free to stand for names; one of 198.18.0.0/15, "
                 "100.126.0.0/15, 100.112.0.0/15, 10.254.0.0/15, 10.250.0.0/15 and 172.30.0.0/15 "
                 "must be in no route, interface or rule")


def test_placeholder_routes(desk):
    """Interfaces and routes count; in a network namespace that the test makes for itself."""
    inside = f"""
ip link set lo up
{desk.viaduct} -x http://127.0.0.1 sh -c 'head -c 8192 "$VIADUCT_SESSION"' > range1
ip addr add 198.18.7.1/32 dev lo
{desk.viaduct} -x http://127.0.0.1 sh -c 'head -c 8192 "$VIADUCT_SESSION"' > range2
ip route add 100.64.0.0/10 dev lo
{desk.viaduct} -x http://127.0.0.1 sh -c 'head -c 8192 "$VIADUCT_SESSION"' > range3
"""
    unshare = ["unshare", "-n"] if IS_ROOT else ["unshare", "-Urn"]
    got = subprocess.run([*unshare, "sh", "-ec", inside], cwd=desk.dir, capture_output=True,
                         env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, check=False)
    same((got.returncode, got.stderr), (0, b""), "the script")
    for name, want in (("range1", "198.18.0.0/15"), ("range2", "100.126.0.0/15"),
                       ("range3", "10.254.0.0/15")):
        with open(desk.path(name), "rb") as file:
            same(Plan(file.read()).placeholder4, want, name)


def test_session_file(desk):
    got = desk.run(*HOP, "sh", "-c", 'stat -c "%a %u %F" "$VIADUCT_SESSION"', umask=0o777)
    same(got.stdout.decode(), f"600 {os.getuid()} regular file\n", "whatever the umask")
    got = desk.run(*HOP, "sh", "-c", 'stat -c "%s %b %B" "$VIADUCT_SESSION"')
    size, blocks, unit = map(int, got.stdout.split())
    holds(size > 2**25 and blocks * unit < 2**20, f"sparse: {size} bytes, {blocks * unit} in use")


def test_session_limits(desk):
    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    desk.refused(HOP + ["true"], OWN, "the session file in /dev/shm: File too large",
                 preexec_fn=small_files)


def test_sweep(desk):
    """What nobody uses and nobody touched for a minute is removed; nothing else is."""
    def old(name, age):
        path = os.path.join(SHM, name)
        with open(path, "wb"):
            pass
        os.utime(path, (time.time() - age,) * 2)
        return path

    names = {}
    try:
        names["abandoned"] = old("viaduct-test-abandoned", 100)
        names["young"] = old("viaduct-test-young", 30)
        names["other"] = old("viaductx-test-other", 100)
        names["locked"] = old("viaduct-test-locked", 100)
        names["link"] = os.path.join(SHM, "viaduct-test-link")
        os.symlink(names["other"], names["link"])
        names["fifo"] = os.path.join(SHM, "viaduct-test-fifo")
        os.mkfifo(names["fifo"])
        os.utime(names["fifo"], (time.time() - 100,) * 2)
        if IS_ROOT:
            names["foreign"] = old("viaduct-test-foreign", 100)
            os.chown(names["foreign"], 1, 1)
        stamp = f"{SHM}/viaduct.swept-{os.geteuid()}"
        if os.path.exists(stamp):
            os.unlink(stamp)
        with open(names["locked"], "rb") as locked:
            fcntl.flock(locked, fcntl.LOCK_SH)
            desk.run(*HOP, "true")
            left = {what for what, path in names.items() if os.path.lexists(path)}
        old("viaduct-test-abandoned", 100)
        desk.run(*HOP, "true")
        holds(os.path.exists(names["abandoned"]), "two sweeps within a moment")
        os.utime(stamp, (time.time() - 100,) * 2)
        desk.run(*HOP, "true")
        holds(not os.path.exists(names["abandoned"]), "no sweep after a while")
        holds(time.time() - os.stat(stamp).st_mtime < 10, "the stamp was not renewed")
        same(left, set(names) - {"abandoned"}, "what is left")
    finally:
        for path in names.values():
            if os.path.lexists(path):
                os.unlink(path)


def test_log(desk):
    env = {"http_proxy": "x"}
    got = desk.run(*HOP, "-v", "--log", "run.log", "true", env=env)
    same(got.stderr, b"", "nothing on the standard error")
    with open(desk.path("run.log"), encoding="ascii") as file:
        same(file.read(), "viaduct: removed from the command's environment: http_proxy\n", "text")
    same(stat.S_IMODE(os.stat(desk.path("run.log")).st_mode), 0o600, "mode")
    desk.run(*HOP, "-v", "--log=json.log", "--log-format=json", "true", env=env)
    with open(desk.path("json.log"), encoding="ascii") as file:
        line = json.loads(file.readline())
    same((line["program"], line["message"]),
         ("viaduct", "removed from the command's environment: http_proxy"), "JSON")
    holds(abs(line["time"] - time.time()) < 60 and isinstance(line["pid"], int), "time and pid")
    got = desk.run(*HOP, "--log=err.log", "nosuch")
    same(got.stderr, b"viaduct: nosuch: command not found; try how it is spelled, or its path\n", "errors are seen in both places")
    with open(desk.path("err.log"), "rb") as file:
        same(file.read(), got.stderr, "err.log")


def test_closed_descriptors(desk):
    """Without a standard error there is nowhere to talk to, and nothing else may go wrong."""
    script = f'exec 2>&-; exec {desk.viaduct} {" ".join(HOP)} sh -c "exit 5"'
    status = subprocess.run(["sh", "-c", script], env={"PATH": "/bin:/usr/bin"}, check=False)
    same(status.returncode, 5, "status")


if __name__ == "__main__":
    sys.exit(desk_of.main(lambda desk: desk_of.tests_of(globals(), desk)))
