"""A desk for tests of the launcher by itself: a directory of its own, an environment made by hand,
and a reader of what the launcher wrote into the session file. No namespace, no hop."""

import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

from . import tap
from .tap import holds, same

HOP = ["-x", "socks5h://127.0.0.1:9"]
OWN, CANNOT_RUN, NOT_FOUND = 125, 126, 127
NOBODY = 65534
SHM = "/dev/shm"
INSIDE = "VIADUCT_TEST_OWN_SHM"
IS_ROOT = os.geteuid() == 0


class Desk:
    """A directory of its own, and the launcher run in it with an environment made by hand."""

    def __init__(self, build):
        self.build = build
        self.viaduct = os.path.join(build, "launcher", "viaduct")
        self.library = os.path.realpath(os.path.join(build, "preload", "libviaduct.so"))
        self.dir = tempfile.mkdtemp(prefix="launcher_test.")
        os.chmod(self.dir, 0o755)
        os.mkdir(self.path("home"))

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def write(self, name, text, mode=0o600):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        os.chmod(path, mode)
        return path

    def run(self, *args, env=None, **more):
        clean = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": self.path("home"),
                 "XDG_CACHE_HOME": "/dev/null"}  # no probe of hops
        clean.update({name: value for name, value in os.environ.items()
                      if name.endswith("SAN_OPTIONS")})
        clean.update(env or {})
        return subprocess.run([self.viaduct, *args], cwd=self.dir, env=clean, timeout=30,
                              stdin=subprocess.DEVNULL, capture_output=True, check=False, **more)

    def sessions(self):
        """Those of this test: somebody who is not root has no /dev/shm of his own to count in."""
        if not IS_ROOT:
            return set()
        return {name for name in os.listdir(SHM) if name.startswith("viaduct-")}

    def refused(self, args, status, line, **more):
        """The whole standard error must be this one line; nothing may have been left behind."""
        before = self.sessions()
        got = self.run(*args, **more)
        same(got.stderr.decode(), f"viaduct: {line}\n" if line else "", "standard error")
        same((got.returncode, got.stdout), (status, b""), "status and output")
        same(self.sessions() - before, set(), "sessions left")

    def refuses_command(self, args, status, pattern, **more):
        """As refused(), by a pattern; and the marker that the command would write is not there."""
        before = self.sessions()
        got = self.run(*HOP, *args, **more)
        text = got.stderr.decode()
        holds(re.fullmatch(f"viaduct: {pattern}\n", text), f"{text!r} is no match of {pattern!r}")
        same((got.returncode, got.stdout), (status, b""), "status and output")
        same(self.sessions() - before, set(), "sessions left")

    def printed(self, *args, **more):
        got = self.run(*args, "--print-config", **more)
        same((got.returncode, got.stderr), (0, b""), "status and standard error")
        return got.stdout.decode()


def as_nobody(desk):
    """Options of subprocess.run for somebody who is not root, whom a set-id bit would change."""
    os.chmod(desk.path("home"), 0o755)
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if IS_ROOT else {}


class Plan:
    """What the launcher wrote into the session file (client/session_layout.h, client/plan.h)."""

    AT = 64

    def __init__(self, data):
        same(data[:8], b"viaduct\0", "magic")
        self.version, self.size, at, length = struct.unpack_from("<4I", data, 8)
        same((self.version, at), (5, self.AT), "version, place of the plan")
        self.plan = data[at:at + length]
        fields = struct.unpack_from("<5I5H6BI", self.plan)
        (size, self.hops_at, _, _, self.patterns_at, self.hops, self.chains, self.rules,
         self.patterns, self.chain, self.dns, self.udp, self.verbosity, self.log_json,
         self.has_stderr, self.has_log, self.timeout_ms) = fields
        same(size, length, "size of the plan")
        self.placeholder4 = ".".join(map(str, self.plan[64:68])) + f"/{self.plan[104]}"
        self.placeholder6 = self.plan[88:104]
        self.log = self.plan[108:108 + 1024].split(b"\0")[0].decode()

    @classmethod
    def of(cls, desk, *args, **more):
        got = desk.run(*args, "sh", "-c", 'head -c 32768 "$VIADUCT_SESSION"', **more)
        same(got.returncode, 0, "status")
        return cls(got.stdout)

    def hop_addresses(self):
        """The first IPv4 or IPv6 address of each hop."""
        size = 12 + 4 + 8 * 24 + 24 + 2 + 1 + 256 + 1 + 256 + 256 + 108 + 256
        found = []
        for i in range(self.hops):
            ip = self.plan[self.hops_at + i * size + 16:][:24]
            count = self.plan[self.hops_at + i * size + 4]
            if count == 0:
                found.append(None)
            elif ip[0] == 4:
                found.append(".".join(map(str, ip[8:12])))
            else:
                found.append(ip[8:24].hex())
        return found


def own_shm():
    """Starts this test again with a /dev/shm of its own: others run viaduct at the same time."""
    if os.environ.get(INSIDE) != sys.argv[0]:
        os.environ[INSIDE] = sys.argv[0]
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "shm", SHM], check=True)


def main(cases):
    """Plays cases(desk) against the build directory on the command line; the exit status."""
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} BUILD_DIR [PART-OF-A-CASE'S-NAME]")
    if IS_ROOT:
        own_shm()
    desk = Desk(os.path.abspath(sys.argv[1]))
    try:
        return tap.run(cases(desk), sys.argv[2] if len(sys.argv) > 2 else None)
    finally:
        shutil.rmtree(desk.dir)


def tests_of(module, desk):
    """(name, case) of every function test_* of a module, given by its globals."""
    for name, function in module.items():
        if name.startswith("test_"):
            yield name[5:].replace("_", " "), lambda function=function: function(desk)
