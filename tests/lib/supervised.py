"""Programs that load no library of this libc: made from tests/e2e/supervised when a test needs them."""

import glob
import os
import shutil
import subprocess

from . import tap

_HOW = {
    "static": ("lookup.c", ["cc", "-static", "-D_GNU_SOURCE", "-w"]),
    "static-pie": ("lookup.c", ["cc", "-static-pie", "-fPIE", "-D_GNU_SOURCE", "-w"]),
    "dynamic": ("lookup.c", ["cc", "-D_GNU_SOURCE"]),
    "musl-static": ("lookup.c", ["musl-gcc", "-static", "-D_GNU_SOURCE"]),
    "musl": ("lookup.c", ["musl-gcc", "-D_GNU_SOURCE"]),
    "datagram": ("datagram.c", ["cc", "-static", "-D_GNU_SOURCE", "-w"]),
    "datagram-musl": ("datagram.c", ["musl-gcc", "-static", "-D_GNU_SOURCE"]),
    "datagram-dynamic": ("datagram.c", ["cc", "-D_GNU_SOURCE"]),
    "raw": ("raw.c", ["cc", "-static", "-no-pie", "-D_GNU_SOURCE"]),
    "raw-dynamic": ("raw.c", ["cc", "-D_GNU_SOURCE"]),
}
_GO = {"go": "0", "go-cgo": "1"}
LOOKUPS = ("static", "static-pie", "musl-static", "musl")


def _run(argv, env=None):
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr}")


def rustc():
    """A Rust compiler, or None: the system's, or one that the user has from rustup."""
    home = os.environ.get("RUSTUP_HOME") or os.path.join(os.environ.get("HOME", "/"), ".rustup")
    own = sorted(glob.glob(f"{home}/toolchains/stable*/bin/rustc"))
    return shutil.which("rustc", path="/usr/bin") or (own[0] if own else None)


class Programs:
    """{name: path}, built on first use, all that is not C into the build directory: it takes long."""

    def __init__(self, w):
        self.w, self.source = w, f"{w.source}/tests/e2e/supervised"
        self.folder = f"{w.build}/tests/e2e/supervised-programs"
        os.makedirs(self.folder, exist_ok=True)

    def _is_fresh(self, path, source):
        return os.path.exists(path) and os.path.getmtime(path) > os.path.getmtime(source)

    def __getitem__(self, name):
        path = f"{self.folder}/{name}"
        if name in _GO:
            self._go(path, _GO[name])
        elif name == "rust":
            self._rust(path)
        else:
            source, how = _HOW[name]
            if not self._is_fresh(path, f"{self.source}/{source}"):
                _run([*how, "-o", path, f"{self.source}/{source}"])
        return path

    def _go(self, path, cgo):
        source = f"{self.source}/visit.go"
        if self._is_fresh(path, source):
            return
        env = {"PATH": os.environ.get("PATH", "") + ":/usr/bin:/bin", "GOCACHE": f"{self.folder}/cache", "HOME": "/root",
               "CGO_ENABLED": cgo, "GO111MODULE": "off", "GOFLAGS": "-p=2"}
        _run(["/usr/bin/go", "build", "-o", path, source], env)

    def _rust(self, path):
        source = f"{self.source}/visit.rs"
        if not self._is_fresh(path, source):
            _run([rustc(), "-O", "-C", "target-feature=+crt-static", "-o", path, source])


def told(got, far, origin):
    """The line of /whoami: (who came, whom he came to)."""
    lines = [line.split() for line in got.out.decode().splitlines() if line.startswith((far, origin))]
    tap.holds(lines, f"the origin told who came: {got.out}")
    return [(line[0], line[2]) for line in lines]
