"""The small world of a test: three hosts in network namespaces of their own.

    app 10.1.0.2, fd01::2 ---- 10.1.0.1, fd01::1 proxy 10.2.0.1, fd02::1 ---- 10.2.0.2, fd02::2 origin
                  (app0)       10.1.0.53 (names)

The proxy host does not forward, but app has its default route there: what a program sends beside
the chain is seen on the link by the sniffer and arrives nowhere.

A test file executes itself again in fresh network, mount, pid, ipc and uts namespaces (as root, or
as the root of a new user namespace): tests in parallel cannot meet, and when the test ends, however
it ends, the kernel ends everything that it started. /etc, /run and /dev/shm are private copies.
"""

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from . import netns, tap
from .dns import Dns
from .parts import copy_launcher
from .sniffer import Sniffer

INSIDE = "VIADUCT_TEST_INSIDE"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
APP, APP6 = "10.1.0.2", "fd01::2"
NEAR, NEAR6 = "10.1.0.1", "fd01::1"  # the proxy host as app sees it: where hop 1 listens
NAMES = "10.1.0.53"  # app's name server
FAR, FAR6 = "10.2.0.1", "fd02::1"  # the proxy host as origin sees it: where later hops listen
ORIGIN, ORIGIN6 = "10.2.0.2", "fd02::2"
HOSTS = ("app", "proxy", "origin")
NO_CACHE = "/dev/null"  # as XDG_CACHE_HOME: what cannot be kept viaduct does not try out
PYTHON = "/usr/bin/python3"  # the system's: it is one of the programs under test

SYSCTLS = {
    "net/ipv4/ip_forward": "0",
    "net/ipv4/ip_unprivileged_port_start": "0",
    "net/ipv6/conf/all/forwarding": "0",
    "net/ipv6/conf/all/disable_ipv6": "0",
    "net/ipv6/conf/default/disable_ipv6": "0",
    "net/ipv6/conf/all/accept_ra": "0",
    "net/ipv6/conf/default/accept_ra": "0",
    "net/ipv6/conf/default/router_solicitations": "0",
}

# An address of the link that nobody has is unreachable after 0.1 s instead of 3 s.
NEIGHBOURS = {"retrans_time_ms": "100", "mcast_solicit": "1"}

LINKS = """
link add app0 netns app type veth peer name app1 netns proxy
link add org1 netns proxy type veth peer name org0 netns origin
"""
ADDRESSES = {
    "app": f"""
link set lo up
link set app0 addrgenmode none
addr add {APP}/24 dev app0
addr add {APP6}/64 dev app0 nodad
link set app0 up
route add default via {NEAR}
route add default via {NEAR6}
""",
    "proxy": f"""
link set lo up
link set app1 addrgenmode none
link set org1 addrgenmode none
addr add {NEAR}/24 dev app1
addr add {NAMES}/24 dev app1
addr add {NEAR6}/64 dev app1 nodad
addr add {FAR}/24 dev org1
addr add {FAR6}/64 dev org1 nodad
link set app1 up
link set org1 up
""",
    "origin": f"""
link set lo up
link set org0 addrgenmode none
addr add {ORIGIN}/24 dev org0
addr add {ORIGIN6}/64 dev org0 nodad
link set org0 up
""",
}


class Result:
    """What a program did: code (None: it had to be killed), out and err (bytes), seconds."""

    def __init__(self, argv, code, out, err, seconds):
        self.argv, self.code, self.out, self.err, self.seconds = argv, code, out, err, seconds

    def __str__(self):
        code = "killed: too late" if self.code is None else f"exit code {self.code}"
        return (
            f"$ {' '.join(self.argv)}\n{code} after {self.seconds:.2f} s\n"
            f"stdout: {tap.short(self.out)}\nstderr:\n{self.err.decode('utf-8', 'replace')[-3000:]}"
        )


class Server:
    """A process that was started, with its output in a file."""

    def __init__(self, name, proc, path):
        self.name, self.proc, self.path, self.port = name, proc, path, None

    @property
    def pid(self):
        return self.proc.pid

    def log(self):
        with open(self.path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def running(self):
        return self.proc.poll() is None

    def stop(self, seconds=5):
        """The exit code; SIGKILL for one that does not end by SIGTERM."""
        if self.running():
            self.proc.terminate()
            try:
                self.proc.wait(seconds)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        return self.proc.returncode


def wait_until(condition, what, seconds=10.0):
    """Asks again and again, with little time between, until condition() is true; its value."""
    deadline = time.monotonic() + seconds
    pause = 0.001
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            tap.fail(f"waited {seconds} s in vain: {what}")
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def _answers(host, address):
    """Whether the other end of a link is up: a closed port is refused at once."""
    with netns.inside(host), socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as sock:
        sock.settimeout(1)
        return sock.connect_ex((address, 1)) == errno.ECONNREFUSED


def _must(argv, stdin=None):
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip() or done.returncode}")


def _write(path, text, mode=0o644):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


class World:
    """Made once per test file; see the module's head."""

    def __init__(self, build):
        self.build = os.path.abspath(build)
        self.viaduct = f"{self.build}/launcher/viaduct"
        self.viaductd = f"{self.build}/daemon/viaductd"
        self.library = f"{self.build}/preload/libviaduct.so"
        self.source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        self.servers, self.next_port = [], 2000
        self._mounts()
        self._network()
        self.names = Dns("proxy", NAMES)  # what app can ask
        self.far_names = Dns("proxy", "127.0.0.1")  # what hops can ask
        self.far_names.know("origin.test", ORIGIN, ORIGIN6)
        self.far_names.know("v4.origin.test", ORIGIN)
        self.far_names.know("v6.origin.test", ORIGIN6)
        self.link = Sniffer("app", "app0")

    # --- its making ------------------------------------------------------------------------

    def _mounts(self):
        _must(["mount", "-t", "tmpfs", "-o", "mode=755", "run", "/run"])
        _must(["mount", "-t", "tmpfs", "-o", "mode=1777", "shm", "/dev/shm"])
        self.dir = "/run/world"
        for path in (self.dir, "/run/netns", "/run/sshd", f"{self.dir}/home"):
            os.mkdir(path)
        private = f"{self.dir}/etc"
        # What an unprivileged user may not read (shadow, host keys) is not needed.
        subprocess.run(["cp", "-dR", "/etc", private], capture_output=True, check=False)
        for name in ("resolv.conf", "hosts", "nsswitch.conf", "passwd", "group", "shadow"):
            try:
                os.unlink(f"{private}/{name}")
            except FileNotFoundError:
                pass
        self._files(private)
        _must(["mount", "--bind", private, "/etc"])

    def _files(self, etc):
        home = f"{self.dir}/home"
        hosts = "127.0.0.1 localhost\n::1 localhost\n"
        resolver = "nameserver {}\noptions timeout:1 attempts:1\n"
        _write(f"{etc}/hosts", hosts)
        _write(f"{etc}/resolv.conf", resolver.format("127.0.0.1"))
        _write(f"{etc}/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n")
        _write(
            f"{etc}/passwd",
            f"root:x:0:0:root:{home}:/bin/sh\n"
            f"tester:x:1000:1000:tester:{home}:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n"
            "sshd:x:22:65534::/run/sshd:/usr/sbin/nologin\n",
        )
        _write(f"{etc}/group", "root:x:0:\ntester:x:1000:\nnogroup:x:65534:\n")
        _write(f"{etc}/shadow", "root:*:19000::::::\ntester:*:19000::::::\n", 0o600)
        for name, server, more in (
            ("app", NAMES, ""),
            ("proxy", "127.0.0.1", ""),
            (
                "origin",
                "127.0.0.1",
                f"{ORIGIN} origin.test v4.origin.test\n" f"{ORIGIN6} origin.test v6.origin.test\n",
            ),
        ):
            os.makedirs(f"{etc}/netns/{name}")
            _write(f"{etc}/netns/{name}/resolv.conf", resolver.format(server))
            _write(f"{etc}/netns/{name}/hosts", hosts + f"127.0.1.1 {name}host\n" + more)

    def _network(self):
        for name in HOSTS:
            _must(["ip", "netns", "add", name])
            for key, value in SYSCTLS.items():
                netns.write(name, f"/proc/sys/{key}", value)
        _must(["ip", "-batch", "-"], LINKS)
        for name, text in ADDRESSES.items():
            _must(["ip", "-n", name, "-batch", "-"], text)
        for key, value in NEIGHBOURS.items():
            for name, device in (("app", "app0"), ("proxy", "app1"), ("proxy", "org1")):
                for version in ("ipv4", "ipv6"):
                    netns.write(name, f"/proc/sys/net/{version}/neigh/{device}/{key}", value)

        for name, address in (("app", NEAR), ("app", NEAR6), ("proxy", ORIGIN), ("proxy", ORIGIN6)):
            wait_until(lambda n=name, a=address: _answers(n, a), f"{address} answers {name}")

    # --- its use ---------------------------------------------------------------------------

    def hosts(self, host, text):
        """Adds lines to a host's /etc/hosts (for programs that start afterwards)."""
        with open(f"/etc/netns/{host}/hosts", "a", encoding="utf-8") as file:
            file.write(text)

    def file(self, name, text, mode=0o644):
        """Writes a file; its path."""
        path = f"{self.dir}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _write(path, text, mode)
        return path

    def answers_for_others(self):
        """The proxy's host asks for its neighbours also when it sends in the name of another: an IPv6
        neighbour is asked from an address of one's own, if it cannot be the sender's a link-local one."""
        _must(["ip", "-n", "proxy", "addr", "add", "fe80::1/64", "dev", "app1", "nodad"])

    def port(self):
        """A port that nothing in this world uses."""
        self.next_port += 1
        return self.next_port

    def probe(self, name):
        """A program of tests/e2e/probes."""
        return f"{self.build}/tests/e2e/{name}"

    def launcher_for_all(self):
        """A copy of the launcher and its library that every user can read; the launcher's path."""
        home = f"{self.dir}/build"
        copy_launcher(self.build, home)
        return f"{home}/launcher/viaduct"

    def env(self, more=None):
        env = {"PATH": PATH, "HOME": f"{self.dir}/home", "LANG": "C", "USER": "root", "LOGNAME": "root"}
        env["XDG_CACHE_HOME"] = NO_CACHE
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS"):
            if name in os.environ:
                env[name] = os.environ[name]
        env.update(more or {})
        return env

    def popen(self, host, argv, env=None, **how):
        how.setdefault("start_new_session", True)
        return subprocess.Popen(["ip", "netns", "exec", host, *argv], env=self.env(env), **how)

    def run(self, host, argv, timeout=20, stdin=None, env=None, cwd=None):
        """Runs a program to its end; Result. Its whole session is killed when it is too late."""
        began = time.monotonic()
        proc = self.popen(
            host,
            argv,
            env,
            cwd=cwd or self.dir,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        )
        try:
            out, err = proc.communicate(stdin, timeout)
            code = proc.returncode
        except subprocess.TimeoutExpired:
            os.killpg(proc.pid, signal.SIGKILL)
            out, err = proc.communicate()
            code = None
        result = Result(argv, code, out, err, time.monotonic() - began)
        tap.note(result)
        return result

    def via(self, options, argv, **how):
        """Runs a program on host app through viaduct with these options."""
        return self.run("app", [self.viaduct, *options, "--", *argv], **how)

    def serve(self, name, host, argv, port, env=None, seconds=15, proto="tcp"):
        """Starts a server, waits until it listens on the port; Server."""
        handle, path = tempfile.mkstemp(prefix=f"{name}.", suffix=".log", dir=self.dir)
        with os.fdopen(handle, "wb") as log:
            proc = self.popen(host, argv, env, cwd=self.dir, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        server = Server(name, proc, path)
        server.port = port
        self.servers.append(server)
        try:
            wait_until(
                lambda: not server.running() or netns.listening(host, port, proto),
                f"{name} listens on port {port}",
                seconds,
            )
            if not server.running():
                tap.fail(f"{name} ended with {proc.returncode}")
        except tap.Failed as error:
            tap.fail(f"{error}\n$ {' '.join(argv)}\n{server.log()}")
        return server

    def quiet(self, *wanted):
        """Since the last call app asked no name server, and spoke to exactly these (address, port)."""
        self.link.expect(*wanted)
        asked = self.names.take()
        if asked:
            tap.fail(f"names were asked: {asked}")

    def forget(self):
        """What was seen so far is no longer of interest."""
        self.link.take()
        self.names.take()
        self.far_names.take()

    def close(self):
        for server in reversed(self.servers):
            server.stop()
        self.link.close()


def need(*programs):
    """Programs that must be there: their lack fails the test."""
    missing = [p for p in programs if not shutil.which(p, path=PATH)]
    if missing:
        tap.fail(f"not installed: {', '.join(missing)} (see tests/lib/packages)")


def _enter():
    if os.environ.get(INSIDE) == "1":
        return
    # sys.executable may be a wrapper's shim in the caller's home; any python3 will do here.
    how = ["unshare", "--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--mount-proc", "--kill-child"]
    if os.geteuid() != 0:
        how += ["--user", "--map-root-user"]
    os.environ[INSIDE] = "1"
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    try:
        os.execvp("unshare", [*how, sys.executable, *sys.argv])
    except OSError as error:
        print(f"1..1\nnot ok 1 - unshare: {error}")
        sys.exit(1)


def main(cases, programs=()):
    """A test file's whole life: NAME_test.py BUILD_DIR [PART_OF_A_CASE'S_NAME]. cases(world) yields
    (name, function)."""
    if len(sys.argv) not in (2, 3):
        sys.exit(f"usage: {sys.argv[0]} BUILD_DIR [PART-OF-A-CASE'S-NAME]")
    _enter()
    sys.stdout.reconfigure(line_buffering=True)
    socket.sethostname("apphost")
    try:
        need("ip", "mount", *programs)
        world = World(sys.argv[1])
    except (tap.Failed, RuntimeError, OSError) as error:
        print(f"not ok 1 - the test's world\n# {error}\n1..1")
        sys.exit(1)
    try:
        status = tap.run(cases(world), sys.argv[2] if len(sys.argv) == 3 else None)
    finally:
        world.close()
    sys.exit(status)
