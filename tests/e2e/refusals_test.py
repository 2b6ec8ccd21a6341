#!/usr/bin/env python3
"""Which file the launcher takes for a command, and which programs it refuses because the library could
not carry their connections: each by a file that the test makes."""

import os
import shutil
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import desk as desk_of
from lib import tap
from lib.desk import CANNOT_RUN, HOP, IS_ROOT, NOBODY, NOT_FOUND, OWN, as_nobody
from lib.tap import holds, same

# --- the command's file ----------------------------------------------------------------------------


def test_not_found(desk):
    desk.refused(HOP + ["nosuch"], NOT_FOUND, "nosuch: command not found; try how it is spelled, or its path")
    desk.refused(HOP + ["./nosuch"], NOT_FOUND, "./nosuch: No such file or directory")
    desk.refused(HOP + ["/bin/true/x"], NOT_FOUND, "/bin/true/x: Not a directory")
    desk.refused(HOP + ["/" + "x" * 5000], NOT_FOUND, "`(too long)`: command not found")
    desk.refused(HOP + ["true"], NOT_FOUND, "true: command not found; try how it is spelled, or its path", env={"PATH": "/nowhere:"})


def test_cannot_run(desk):
    desk.write("plain", "#!/bin/sh\n", 0o644)
    desk.refused(HOP + ["./plain"], CANNOT_RUN, "./plain: Permission denied; chmod +x makes a program of a file, if it is one")
    desk.refused(HOP + ["/tmp"], CANNOT_RUN, "/tmp: Is a directory; name a program in it")
    desk.refused(HOP + ["plain"], CANNOT_RUN, "plain: found, but it may not be executed",
                 env={"PATH": desk.dir})
    desk.write("binary", b"\0\1\2\3", 0o755)
    desk.refused(HOP + ["./binary"], CANNOT_RUN, "./binary is neither a program nor a script")
    path = desk.path("busy")
    shutil.copy("/bin/true", path)
    with open(path, "r+b"):
        desk.refused(HOP + ["./busy"], CANNOT_RUN, "./busy: Text file busy")


def test_path_search(desk):
    """As execvp: an empty part is the working directory, what may not run is passed over."""
    desk.write("one/prog", "#!/bin/sh\necho one\n", 0o644)
    desk.write("two/prog", "#!/bin/sh\necho two\n", 0o755)
    desk.write("prog", "#!/bin/sh\necho here\n", 0o755)
    one, two = desk.path("one"), desk.path("two")
    for path, want in ((f"{one}:{two}", b"two\n"), (f":{two}", b"here\n"), (f"{two}:", b"two\n"),
                       (f"{one}::", b"here\n")):
        got = desk.run(*HOP, "prog", env={"PATH": path})
        same((got.stdout, got.returncode), (want, 0), path)


def test_scripts(desk):
    desk.write("s1", "#!/bin/sh\necho \"s1 $*\"\n", 0o755)
    same(desk.run(*HOP, "./s1", "a", "b c").stdout, b"s1 a b c\n", "script")
    desk.write("s2", "echo \"s2 $0 $*\"\n", 0o755)
    same(desk.run(*HOP, "./s2", "a").stdout, b"s2 ./s2 a\n", "script without #!")
    desk.write("empty", "", 0o755)
    same(desk.run(*HOP, "./empty").returncode, 0, "empty script")
    desk.write("s3", f"#! \t{desk.path('s1')} x y\n", 0o755)
    same(desk.run(*HOP, "./s3", "z").stdout, f"s1 x y ./s3 z\n".encode(), "script of a script")
    desk.write("s4", "#!/usr/bin/env sh\necho s4\n", 0o755)
    same(desk.run(*HOP, "./s4").stdout, b"s4\n", "env")
    desk.write("s5", "#!/nowhere/sh\n", 0o755)
    desk.refused(HOP + ["./s5"], CANNOT_RUN,
                 "./s5: its interpreter /nowhere/sh: No such file or directory")
    for text in ("#!", "#!\n", "#!  \n", "#!" + "x" * 400, "#!/bin/sh"):
        desk.write("s6", text, 0o755)
        desk.refused(HOP + ["./s6"], CANNOT_RUN, "./s6 has a #! line that names no interpreter, or too many scripts that run scripts")
    desk.write("s7", f"#!{desk.path('s7')}\n", 0o755)
    desk.refused(HOP + ["./s7"], CANNOT_RUN, f"{desk.path('s7')} has a #! line that names no interpreter, or too many scripts that run scripts")


# --- programs that the library cannot carry --------------------------------------------------------


def honours_setuid(path):
    return not os.statvfs(path).f_flag & os.ST_NOSUID


def test_setuid(desk):
    if not IS_ROOT:
        path = shutil.which("su") or "/usr/bin/passwd"
        desk.refuses_command([path, "--help"], OWN, f"{path} runs with other rights .*")
        return
    path = desk.path("setid")
    rights = (r"\./setid runs with other rights \(setuid or setgid\), so that the system keeps the "
              r"library out of it; start viaduct from inside instead, as in: sudo viaduct \.\.\.")
    rows = [  # owner, group, mode, who starts it is root, refused
        (1, 0, 0o4755, True, True), (0, 1, 0o2755, True, True), (0, 0, 0o4755, True, False),
        (0, 0, 0o2755, True, False), (0, 1, 0o2745, True, False), (0, 1, 0o6755, True, True),
        (0, 0, 0o4755, False, True), (0, 0, 0o2755, False, True),
        (NOBODY, NOBODY, 0o6755, False, False),
    ]
    holds(honours_setuid(desk.dir), "the test's directory honours setuid")
    for uid, gid, mode, root, refused in rows:
        shutil.copy("/bin/true", path)
        os.chown(path, uid, gid)
        os.chmod(path, mode)
        who = {} if root else as_nobody(desk)
        tap.note(f"{uid}:{gid} {mode:o} root={root}")
        if refused:
            desk.refuses_command(["./setid"], OWN, rights, **who)
        else:
            got = desk.run(*HOP, "./setid", **who)
            same((got.returncode, got.stderr), (0, b""), "not refused")
    os.chown(path, 1, 0)
    os.chmod(path, 0o4755)
    got = subprocess.run(["setpriv", "--no-new-privs", desk.viaduct, *HOP, path],
                         env={"PATH": "/bin"}, capture_output=True, check=False)
    same((got.returncode, got.stderr), (0, b""), "with no_new_privs the bits count for nothing")
    script = desk.write("script", "#!/bin/sh\nexit 3\n")
    os.chown(script, 1, 0)
    os.chmod(script, 0o4755)
    same(desk.run(*HOP, "./script").returncode, 3, "set-id bits of a script count for nothing")
    desk.write("script2", f"#!{path}\n", 0o755)
    desk.refuses_command(["./script2"], OWN, f"{path} runs with other rights .*")


def test_capabilities(desk):
    if not IS_ROOT:
        tap.note("only root can give capabilities to a file")
        return
    path = desk.path("capable")
    shutil.copy("/bin/true", path)
    os.chmod(path, 0o755)
    gains = (r"\./capable has file capabilities, so that the system keeps the library out of it; "
             r"run a copy of it without them, or run viaduct as root")

    def give(flags, permitted, inheritable):
        os.setxattr(path, "security.capability",
                    struct.pack("<5I", 0x02000000 | flags, permitted, inheritable, 0, 0))

    net_raw = 1 << 13
    for flags, permitted, inheritable in ((1, net_raw, 0), (0, net_raw, 0), (1, 0, net_raw)):
        give(flags, permitted, inheritable)
        desk.refuses_command(["./capable"], OWN, gains, **as_nobody(desk))
        same(desk.run(*HOP, "./capable").returncode, 0, "root gains nothing")
    give(0, 0, net_raw)
    same(desk.run(*HOP, "./capable", **as_nobody(desk)).returncode, 0, "inheritable alone")
    os.removexattr(path, "security.capability")
    same(desk.run(*HOP, "./capable", **as_nobody(desk)).returncode, 0, "without")


def test_unreadable_program(desk):
    path = desk.path("dark")
    shutil.copy("/bin/true", path)
    os.chmod(path, 0o711 if IS_ROOT else 0o311)
    desk.refuses_command(["./dark"], OWN, r"\./dark cannot be read, so nothing tells whether its "
                                          r"connections can be carried \(Permission denied\)",
                         **as_nobody(desk))


BY_LIBRARY = ["--engine", "preload"]


def test_static(desk):
    source = desk.write("true.c", "int main(void) { return 0; }\n")
    for name, flags in (("static", ["-static"]), ("static-pie", ["-static-pie", "-fPIE"])):
        subprocess.run(["cc", *flags, "-o", desk.path(name), source], check=True)
        desk.refuses_command([*BY_LIBRARY, "./" + name], OWN,
                             rf"\./{name} is statically linked: it loads no library that could "
                             r"carry its connections; use a dynamically linked build of it")
    desk.write("script", f"#!{desk.path('static')}\n", 0o755)
    desk.refuses_command([*BY_LIBRARY, "./script"], OWN, f"{desk.path('static')} is statically linked: .*")
    subprocess.run(["cc", "-o", desk.path("dynamic"), source], check=True)
    same(desk.run(*HOP, "./dynamic").returncode, 0, "the same program, dynamic")


def own_loader():
    with open("/bin/true", "rb") as file:
        data = file.read()
    at, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for i in range(count):
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", data, at + i * size)
        if kind == 3:
            return data[offset:offset + length - 1].decode()
    raise tap.Failed("/bin/true has no loader")


def elf(loader=None, notes=b"", sections=(), **changed):
    """A small ELF file: program headers, their contents, and sections by name."""
    head = {"magic": b"\x7fELF", "bits": 2, "order": 1, "type": 3, "machine": 62, "phentsize": 56,
            "phnum": None, "phoff": 64, "shentsize": 64, "shstrndx": 1, "shnum": None,
            "shoff": None, "interp_len": None, **changed}
    parts, body = [], b""
    start = 64 + 56 * 3
    if loader is not None:
        text = loader.encode() + b"\0"
        length = head["interp_len"] or len(text)
        parts.append(struct.pack("<IIQQQQQQ", 3, 4, start + len(body), 0, 0, length, length, 1))
        body += text
    if notes:
        parts.append(struct.pack("<IIQQQQQQ", 4, 4, start + len(body), 0, 0, len(notes),
                                 len(notes), 4))
        body += notes
    parts.append(struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 4096, 4096, 4096))
    names = b"\0.shstrtab\0" + b"".join(name.encode() + b"\0" for name in sections)
    table = struct.pack("<10I", *[0] * 10) + b"\0" * 24
    names_at = start + len(body)
    table += struct.pack("<IIQQQQIIQQ", 1, 3, 0, 0, names_at, len(names), 0, 0, 1, 0)
    for name in sections:
        table += struct.pack("<IIQQQQIIQQ", names.index(name.encode()), 1, 0, 0, 0, 0, 0, 0, 1, 0)
    pick = lambda key, value: value if head[key] is None else head[key]
    top = struct.pack("<4sBBBBQHHIQQQIHHHHHH", head["magic"], head["bits"], head["order"], 1, 0, 0,
                      head["type"], head["machine"], 1, 0, head["phoff"],
                      pick("shoff", names_at + len(names)), 0, 64, head["phentsize"],
                      pick("phnum", len(parts)), head["shentsize"],
                      pick("shnum", len(sections) + 2), head["shstrndx"])
    return top + b"".join(parts).ljust(56 * 3, b"\0") + body + names + table


def note(name, text):
    pad = lambda data: data + b"\0" * (-len(data) % 4)
    return struct.pack("<III", len(name), len(text), 4) + pad(name) + pad(text)


MALFORMED = r"\./crafted is a malformed program \(its ELF headers make no sense\)"
GO = (r"\./crafted is a Go program: it makes its system calls past libc, where nothing can carry "
      r"them; give it the proxy itself, most take HTTPS_PROXY or ALL_PROXY")


def test_crafted_elf(desk):
    loader = own_loader()
    other = desk.write("ld-other.so.1", "x", 0o755)
    go_note = note(b"Go\0\0", b"id")
    rows = [
        (elf(loader, bits=1), OWN, r"\./crafted is built for another word size than the library; "
                                   r"use a build for this one \(it is a 32-bit program\)"),
        (elf(loader, machine=183), OWN, r"\./crafted is built for another machine; use a build for "
                                        r"this one \(it is for ELF machine 183\)"),
        (elf(loader, order=2), OWN, r"\./crafted is built for another machine; .*"),
        (elf(None), OWN, r"\./crafted is statically linked: .*"),
        (elf(None, type=2), OWN, r"\./crafted is statically linked: .*"),
        (elf(other), OWN, rf"\./crafted is built for another libc; use a build for this one \(its "
                          rf"loader is {other}, not {loader}\)"),
        (elf("/nowhere/ld-musl-x86_64.so.1"), CANNOT_RUN,
         r"\./crafted: its loader /nowhere/ld-musl-x86_64\.so\.1: No such file or directory"),
        (elf(loader, sections=(".text", ".go.buildinfo")), OWN, GO),
        (elf(loader, notes=go_note), OWN, GO),
        (elf(loader, notes=note(b"GNU\0", b"abc") + note(b"", b"") + go_note), OWN, GO),
        (elf(loader, notes=note(b"odd", b"x") + go_note), OWN, GO),
        (elf(None, sections=(".go.buildinfo",)), OWN, GO),
        (elf(loader, type=1), OWN, MALFORMED),
        (elf(loader, phnum=0), OWN, MALFORMED),
        (elf(loader, phnum=65535), OWN, MALFORMED),
        (elf(loader, phnum=1000), OWN, MALFORMED),
        (elf(loader, phentsize=55), OWN, MALFORMED),
        (elf(loader, phoff=2**63), OWN, MALFORMED),
        (elf(loader, phoff=2**64 - 1), OWN, MALFORMED),
        (elf(loader, interp_len=1), OWN, MALFORMED),
        (elf(loader, interp_len=3), OWN, MALFORMED),
        (elf(loader, interp_len=5000), OWN, MALFORMED),
        (elf(loader, interp_len=5000).ljust(8192, b"\0"), OWN, MALFORMED),
        (elf(loader, interp_len=2**63), OWN, MALFORMED),
        (elf("ld.so"), OWN, MALFORMED),
        (elf(""), OWN, MALFORMED),
    ]
    for data, status, pattern in rows:
        desk.write("crafted", data, 0o755)
        desk.refuses_command([*BY_LIBRARY, "./crafted"], status, pattern)


def test_sections_that_make_no_sense(desk):
    """The kernel does not look at sections; a broken table tells nothing and is no reason."""
    missing = r"\./crafted: its loader /nowhere/ld\.so: No such file or directory"
    for changed in ({"shnum": 65535}, {"shnum": 0}, {"shoff": 2**64 - 8}, {"shoff": 2**40},
                    {"shstrndx": 9}, {"shstrndx": 0}, {"shentsize": 1}):
        data = elf("/nowhere/ld.so", sections=(".text",), **changed)
        desk.write("crafted", data, 0o755)
        desk.refuses_command(["./crafted"], CANNOT_RUN, missing)


def test_truncated_elf(desk):
    """Every head of a program: never started, never a crash."""
    whole = elf("/nowhere/ld.so", notes=note(b"GNU\0", b"x" * 20), sections=(".text",))
    before = desk.sessions()
    for length in [*range(0, 260), *range(260, len(whole), 9)]:
        desk.write("crafted", whole[:length], 0o755)
        got = desk.run(*HOP, *BY_LIBRARY, "./crafted")
        if 0 < length < 4:  # text, which the shell cannot make sense of
            same(got.returncode, NOT_FOUND, f"{length} bytes")
        elif length:
            holds(got.returncode in (OWN, CANNOT_RUN), f"{length} bytes: {got.returncode}")
            holds(got.stderr.startswith((b"viaduct: ./crafted: ", b"viaduct: ./crafted is ")), f"{length} bytes: {got.stderr}")
    fresh = desk.sessions() - before
    holds(len(fresh) <= 4, f"{len(fresh)} sessions for what was not started")


def test_mangled_elf(desk):
    """Each byte of the headers in turn: the loader is nowhere, so nothing can start."""
    whole = elf("/nowhere/ld.so", notes=note(b"GNU\0", b"x" * 20), sections=(".text",))
    for at in range(4, len(whole), 3):
        data = bytearray(whole)
        data[at] ^= 0xFF
        desk.write("crafted", bytes(data), 0o755)
        got = desk.run(*HOP, *BY_LIBRARY, "./crafted")
        holds(got.returncode in (OWN, CANNOT_RUN), f"byte {at}: {got.returncode}")
        holds(got.stderr.startswith(b"viaduct: ./crafted"), f"byte {at}: {got.stderr}")


def test_loader_itself(desk):
    """ld.so has no interpreter of its own, but it does load the library."""
    got = desk.run(*HOP, own_loader(), "/bin/echo", "hello")
    same((got.returncode, got.stdout), (0, b"hello\n"), "ld.so as the command")


def test_nested(desk):
    want = "already inside a viaduct session (VIADUCT_SESSION is set): the outer chain would " \
           "carry the inner one; leave out one of them"
    desk.refused(HOP + ["true"], OWN, want, env={"VIADUCT_SESSION": "/dev/shm/x"})
    desk.refuses_command([desk.viaduct, *HOP, "true"], OWN,
                         f"{desk.viaduct}: viaduct inside viaduct; leave out one of them")
    got = desk.run(*HOP, "env", desk.viaduct, *HOP, "touch", desk.path("marker"))
    holds(got.returncode != 0, "an inner launcher behind env")
    holds(not os.path.exists(desk.path("marker")), "the command was started")


if __name__ == "__main__":
    sys.exit(desk_of.main(lambda desk: desk_of.tests_of(globals(), desk)))
