#!/usr/bin/env python3
"""The completions, asked of the shells themselves: each offers every option that --help tells of, and
no other; values where they are words; and behind the options it completes the command."""

import os
import pty
import re
import select
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import desk as desk_of
from lib.tap import holds, same

HERE = os.path.dirname(os.path.abspath(__file__))
FILES = os.path.join(os.path.dirname(os.path.dirname(HERE)), "docs", "completions")
MODES = {"strict", "dynamic", "random", "round_robin", "failover"}


def environment(desk):
    """The shells find the programs by name."""
    bin_dir = desk.path("bin")
    os.makedirs(bin_dir, exist_ok=True)
    for program in (desk.viaduct, desk.viaduct.replace("launcher/viaduct", "daemon/viaductd")):
        link = os.path.join(bin_dir, os.path.basename(program))
        if not os.path.islink(link):
            os.symlink(os.path.abspath(program), link)
    return {"PATH": f"{bin_dir}:/usr/bin:/bin", "HOME": desk.path("home"), "TERM": "dumb", "LANG": "C"}


def told(desk, program):
    got = subprocess.run([program, "--help"], capture_output=True, text=True, env=environment(desk), check=True)
    words = [words for line in got.stdout.splitlines() if re.match(r" +-", line)
             for words in re.split(r"\s{2,}", line.strip()) if words.startswith("-")]
    return {option for word in words for option in re.findall(r"(?<![\w-])(--[a-z-]+|-\w)(?![\w])", word)}


def run(desk, argv, text=None):
    got = subprocess.run(argv, input=text, capture_output=True, text=True, env=environment(desk), timeout=30,
                         cwd=desk.dir, check=False)
    holds(got.returncode == 0, f"{argv}: {got.returncode}\n{got.stdout}{got.stderr}")
    return got.stdout


def bash(desk, line):
    """What bash offers for the last word."""
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    script = (
        f". {FILES}/viaduct.bash\nCOMP_WORDS=({quoted})\nCOMP_CWORD={len(words) - 1}\n"
        f"_{words[0]}\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    )
    return set(run(desk, ["bash", "--norc", "-c", script]).split())


def fish(desk, line):
    name = line.split(" ", maxsplit=1)[0]
    out = run(desk, ["fish", "--no-config", "-c", f"source {FILES}/{name}.fish; complete -C '{line}'"])
    return {text.split("\t")[0] for text in out.splitlines()}


def read_until_quiet(fd, seconds):
    data = b""
    while select.select([fd], [], [], seconds)[0]:
        try:
            part = os.read(fd, 65536)
        except OSError:
            break
        if not part:
            break
        data += part
    return data.decode(errors="replace")


def zsh(desk, line):
    """Typed into a zsh on a terminal, with a Tab behind it."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execvpe("zsh", ["zsh", "-f"], environment(desk))
    try:
        setup = (
            f"PS1=''; LISTMAX=1000; stty columns 200; fpath=({FILES} $fpath); autoload -Uz compinit; "
            f"compinit -u -D; setopt no_auto_menu no_always_last_prompt list_ambiguous; bindkey '^I' "
            f"list-choices; print rea''dy\n"
        )
        os.write(fd, setup.encode())
        deadline = time.monotonic() + 20
        seen = ""
        while "ready" not in seen and time.monotonic() < deadline:
            seen += read_until_quiet(fd, 0.2)
        holds("ready" in seen, f"zsh: {seen}")
        os.write(fd, line.encode() + b"\t")
        return read_until_quiet(fd, 1.5)
    finally:
        os.close(fd)
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def test_bash(desk):
    for program in ("viaduct", "viaductd"):
        offered = {word for word in bash(desk, f"{program} -") if word != "--"}
        same(offered, told(desk, program), program)
        same(bash(desk, f"{program} --log-format "), {"text", "json"}, "values")
    same(bash(desk, "viaduct -m "), MODES, "modes")
    same(bash(desk, "viaduct --mode r"), {"random", "round_robin"}, "modes that begin with r")
    same(bash(desk, "viaduct -c "), set(), "a name that we do not know")
    desk.write("some.conf", "")
    holds("some.conf" in bash(desk, "viaduct -f som"), "files")


def test_bash_command(desk):
    for line in ("viaduct -q bas", "viaduct -- bas", "viaduct -x http://h -q bas", "viaduct --dns=local bas"):
        holds("bash" in bash(desk, line), f"commands behind: {line}")
    desk.write("an_argument", "")
    holds("an_argument" in bash(desk, "viaduct -q cat an_a"), "the command's own arguments")
    same(bash(desk, "viaduct -q cat --pro"), set(), "options behind the command are its own")


def test_fish(desk):
    for program in ("viaduct", "viaductd"):
        offered = fish(desk, f"{program} -") | fish(desk, f"{program} --")
        same({word for word in offered if re.fullmatch(r"-\w|--[a-z-]+=?", word)}, told(desk, program), program)
    same(fish(desk, "viaduct -m "), MODES, "modes")
    same(fish(desk, "viaduct --log-format "), {"text", "json"}, "values")
    desk.write("some.conf", "")
    holds("some.conf" in fish(desk, "viaduct -f som"), "files")


def test_fish_command(desk):
    for line in ("viaduct -q bas", "viaduct -- bas", "viaduct -x http://h -q bas"):
        holds("bash" in fish(desk, line), f"commands behind: {line}")


def test_zsh(desk):
    for program in ("viaduct", "viaductd"):
        shown = zsh(desk, f"{program} --")
        missing = {word for word in told(desk, program) if word.startswith("--") and word not in shown}
        same(missing, set(), f"{program}: {shown}")
    shown = zsh(desk, "viaduct -m ")
    same({mode for mode in MODES if mode in shown}, MODES, f"modes: {shown}")


def test_zsh_command(desk):
    shown = zsh(desk, "viaduct -q uniq")
    holds("uniq" in shown.replace("viaduct -q uniq", "", 1), f"commands: {shown}")


def cases(desk):
    yield from desk_of.tests_of(globals(), desk)


if __name__ == "__main__":
    sys.exit(desk_of.main(cases))
