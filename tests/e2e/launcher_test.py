#!/usr/bin/env python3
"""The launcher's command line and configuration: what holds, and with which words it refuses. No hop
is dialled and no namespace is needed; every refusal is checked to have started nothing."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import desk as desk_of
from lib.desk import HOP, IS_ROOT, NOBODY, NOT_FOUND, OWN, Plan
from lib.tap import holds, same

SCHEMES = "socks4, socks4a, socks5, socks5h, http or https, as in socks5h://HOST:PORT"
PATTERNS = ("an address, ADDRESS/BITS, a name, *.SUFFIX or *, each with an optional :PORT (IPv6 "
            "with a port in brackets)")

# --- the command line ------------------------------------------------------------------------------

CHAIN_CONF = 'chain default { hops = "http://10.0.0.1" }\n'

OPTIONS = [  # arguments behind which `touch marker` stands, and the error
    ([], "no proxy is given; give one with -x socks5h://HOST:PORT, in "
         "~/.config/viaduct/viaduct.conf or in ALL_PROXY"),
    (["-x"], None),
    (["--stricter"], "unknown option `--stricter`; `viaduct -h` lists what is allowed"),
    (["--prox=http://h"], "unknown option `--prox`; `viaduct -h` lists what is allowed"),
    (["-k", "2"], "unknown option `-k`; `viaduct -h` lists what is allowed"),
    (["-qz"], "unknown option `-z`; `viaduct -h` lists what is allowed"),
    (["--chek"], "unknown option `--chek`; `viaduct -h` lists what is allowed"),
    (["--engines", "auto"], "unknown option `--engines`; `viaduct -h` lists what is allowed"),
    (["--engine", "x"], "--engine: unknown engine `x`; allowed: auto, preload, supervise"),
    (["--quiet=yes"], "--quiet takes no value"),
    (["-x", "foo"], f"-x: no scheme in the proxy URL `foo`; allowed: {SCHEMES}"),
    (["-x", "socks5h://u:secret@h:99999"],
     "-x: bad port in the proxy URL `socks5h://u:***@h:99999`; allowed: 1 to 65535"),
    (HOP + ["--proxy=socks5h://unix:/run/x"],
     "chain `default`: hop 2 (socks5h://unix:/run/x): a unix socket is on this machine, where no hop "
     "leads to; allowed: for hop 1"),
    (["-x", "socks5h://unix:x"], "-x: bad port in the proxy URL `socks5h://unix:x`; allowed: 1 to 65535"),
    (["-x", "http://h"] * 17, "-x: too many hops; allowed: up to 16"),
    (HOP + ["-c", "other"], "-x and -c both name a chain; allowed: one of them"),
    (["-c", "other"], "-c other: no configuration was found that could have this chain"),
    (HOP + ["-f", "nowhere"], "nowhere: No such file or directory; give another configuration with -f"),
    (HOP + ["-n", "2"], "-n: it has no meaning in mode `strict`; allowed: with random, round_robin, "
                        "failover"),
    (HOP + ["-m", "dynamic", "-n", "1"], "-n: it has no meaning in mode `dynamic`; allowed: with "
                                         "random, round_robin, failover"),
    (HOP + ["-m", "random", "-n", "2"], "-n: chain `default` has 1 hops; allowed: 1 to 1"),
    (HOP + ["-m", "random", "-n", "0"], "-n: `0` is no number of hops; allowed: 1 to 16"),
    (HOP + ["-m", "random", "-n", "x"], "-n: `x` is no number of hops; allowed: 1 to 16"),
    (HOP + ["-m", "fast"], "-m: unknown mode `fast`; allowed: strict, dynamic, random, "
                           "round_robin, failover"),
    (HOP + ["-d", "here"], "-d: unknown DNS mode `here`; allowed: auto, remote, local, chain"),
    (HOP + ["-x", "http://127.0.0.1:9", "--udp", "proxy"],
     "UDP mode `proxy`: hop 2 of chain `default` (http://127.0.0.1:9) does not carry UDP, only "
     "SOCKS5 does; allowed: auto, deny, direct"),
    (HOP + ["--udp", "yes"], "--udp: unknown UDP mode `yes`; allowed: auto, proxy, deny, direct"),
    (["-x", "http://127.0.0.1", "-x", "socks5://u@127.0.0.1", "--isolate"],
     "--isolate: chain `default` has no SOCKS5 hop without a login"),
    (HOP + ["--isolate=yes"], "--isolate takes no value"),
    (HOP + ["-b", "1.2.3.4/99"], f"-b: bad pattern `1.2.3.4/99`; allowed: {PATTERNS}"),
    (HOP + ["-b", ""], f"-b: bad pattern ``; allowed: {PATTERNS}"),
    (HOP + ["-t", "0"], "-t: bad timeout `0`; allowed: seconds from 0.001 to 86400"),
    (HOP + ["-t", "soon"], "-t: bad timeout `soon`; allowed: seconds from 0.001 to 86400"),
    (HOP + ["--log", "no/where"], "--log no/where: No such file or directory; try a file that you may write"),
    (HOP + ["--log="], "--log: no file is named"),
    (HOP + ["--log-format", "xml"], "--log-format: unknown log format `xml`; allowed: text, json"),
    (["-x", "http://nosuch.invalid"],
     "chain `default`: hop 1 (http://nosuch.invalid:8080): its name cannot be resolved: .*"),
    (["-x", "socks5://127.0.0.1", "-x", "http://nosuch.invalid"],
     "chain `default`: hop 2 (http://nosuch.invalid:8080): its name cannot be resolved: .*"),
    (["-x", "socks4a://127.0.0.1", "-x", "http://[::1]"],
     "chain `default`: hop 2 (http://[::1]:8080): it has IPv6 addresses only, which the SOCKS4 hop "
     "before it cannot carry"),
]


def option_cases(desk):
    def case(args, line):
        def play():
            marker = desk.path("marker")
            command = ["--", "touch", marker]
            if line is None:  # the option swallows what comes next
                desk.refused(args, OWN, "-x: URL is missing; `viaduct -h` shows how it is given")
            elif line.endswith(".*"):
                got = desk.run(*args, *command, env={"RES_OPTIONS": "attempts:1 timeout:1"})
                holds(got.stderr.decode().startswith("viaduct: " + line[:-2]), got.stderr)
                same(got.returncode, OWN, "status")
            else:
                desk.refused(args + command, OWN, line)
            holds(not os.path.exists(marker), "the command was started")
        return play

    for args, line in OPTIONS:
        yield "option: " + " ".join(args)[:60], case(args, line)


def test_no_command(desk):
    want = "no command is given; usage: viaduct [OPTIONS] [--] COMMAND [ARG...]"
    desk.refused([], OWN, want)
    desk.refused(HOP, OWN, want)
    desk.refused(HOP + ["--"], OWN, want)
    desk.refused(HOP + [""], NOT_FOUND, "``: command not found")
    desk.refused(["--proxy"], OWN, "--proxy: URL is missing; `viaduct -h` shows how it is given")


def test_help(desk):
    got = desk.run("-h")
    same((got.returncode, got.stderr), (0, b""), "-h")
    for word in (b"usage: viaduct", b"-x, --proxy URL", b"--keep-proxy-env", b"127"):
        holds(word in got.stdout, f"-h tells {word}")
    same(desk.run("--help").stdout, got.stdout, "--help")
    got = desk.run("-V")
    holds(re.fullmatch(rb"viaduct \d+\.\d+\.\d+\n", got.stdout), got.stdout)
    same(desk.run("--version").stdout, got.stdout, "--version")
    with open("/dev/full", "wb") as full:
        clean = {"PATH": "/bin"}
        status = subprocess.run([desk.viaduct, "-h"], stdout=full, env=clean, check=False).returncode
    same(status, OWN, "-h into a full device")


def test_options_end(desk):
    """What stands behind the command belongs to it, with or without --."""
    for args in (["echo", "-v", "--", "x"], ["--", "echo", "-v", "--", "x"]):
        got = desk.run(*HOP, *args)
        same((got.returncode, got.stdout), (0, b"-v -- x\n"), str(args))


def test_status_passed(desk):
    same(desk.run(*HOP, "sh", "-c", "exit 7").returncode, 7, "status")
    same(desk.run(*HOP, "sh", "-c", "kill -9 $$").returncode, -signal.SIGKILL, "signal")


def wait_for_line(pid, there, gone):
    """The command line of a process, once it has one text and the other no more."""
    late = time.monotonic() + 10
    line = b""
    while there not in line or gone in line:
        holds(time.monotonic() < late, f"process {pid} shows {line}")
        time.sleep(0.01)
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            line = file.read()
    return line


def test_passwords_blanked(desk):
    """Long before the launcher becomes the command: here it waits for a reader of its log."""
    fifo = desk.path("log.fifo")
    os.mkfifo(fifo)
    with subprocess.Popen([desk.viaduct, "-x", "http://u:topsecret@127.0.0.1", "--log", fifo,
                           "sleep", "30"], env={"PATH": "/bin:/usr/bin"}) as child:
        try:
            shown = wait_for_line(child.pid, b"--log", b"topsecret")
            with open(fifo, "rb"):
                shown += wait_for_line(child.pid, b"sleep", b"--log")
                with open(f"/proc/{child.pid}/environ", "rb") as file:
                    shown += file.read()
            holds(b"topsecret" not in shown, f"the password is shown: {shown}")
        finally:
            child.kill()


# --- configuration ---------------------------------------------------------------------------------


def test_search_order(desk):
    def conf(name, port):
        return desk.write(name, f'chain default {{ hops = "http://10.0.0.1:{port}" }}\n')

    def port(*args, **env):
        return re.search(r"10\.0\.0\.1:(\d+)", desk.printed(*args, env=env))[1]

    conf("home/.config/viaduct/viaduct.conf", 1)
    conf("xdg/viaduct/viaduct.conf", 2)
    xdg, other, named = desk.path("xdg"), conf("other.conf", 3), conf("named.conf", 4)
    try:
        same(port(), "1", "~/.config")
        same(port(XDG_CONFIG_HOME=""), "1", "an empty XDG_CONFIG_HOME")
        same(port(XDG_CONFIG_HOME="xdg"), "1", "a relative XDG_CONFIG_HOME")
        same(port(XDG_CONFIG_HOME=xdg), "2", "XDG_CONFIG_HOME")
        same(port(XDG_CONFIG_HOME=xdg, VIADUCT_CONF=other), "3", "VIADUCT_CONF")
        same(port("-f", named, XDG_CONFIG_HOME=xdg, VIADUCT_CONF=other), "4", "-f")
        same(port("--config=named.conf"), "4", "--config")
        env = {"VIADUCT_CONF": "/nowhere"}
        desk.refused(["true"], OWN, "/nowhere: No such file or directory; give another configuration with -f", env=env)
    finally:
        shutil.rmtree(desk.path("home/.config"))


def test_unreadable_configuration(desk):
    """A file that is there but cannot be read is an error, not the next one's turn."""
    path = desk.write("home/.config/viaduct/viaduct.conf", CHAIN_CONF, 0)
    try:
        if IS_ROOT:
            os.chmod(desk.path("home/.config/viaduct"), 0o700)
            os.chmod(path, 0o600)
            os.chown(path, 0, 0)
            want = path + ": Permission denied; give another configuration with -f"
            desk.refused(["true"], OWN, want, user=NOBODY)
        else:
            desk.refused(["true"], OWN, path + ": Permission denied; give another configuration with -f")
    finally:
        shutil.rmtree(desk.path("home/.config"))


def test_configuration_error(desk):
    desk.write("bad.conf", 'proxy a { url = "http://h" }\nchain default { hops = {"b"} }\n')
    marker = desk.path("marker")
    desk.refused(["-f", "bad.conf", "touch", marker], OWN,
                 "bad.conf:2: unknown proxy `b`; allowed: a, or a URL such as socks5h://HOST:PORT")
    holds(not os.path.exists(marker), "the command was started")


def test_unserved_in_configuration(desk):
    hop = 'hops = "http://10.0.0.1"'
    rows = [
        (CHAIN_CONF + 'udp = "proxy"',
         "UDP mode `proxy`: hop 1 of chain `default` (http://10.0.0.1:8080) does not carry UDP, "
         "only SOCKS5 does; allowed: auto, deny, direct"),
    ]
    for text, want in rows:
        desk.write("x.conf", text)
        desk.refused(["-f", "x.conf", "true"], OWN, want)
    desk.write("x.conf", f'chain default {{ {hop} mode = "dynamic" }}')
    holds('mode = "dynamic"' in desk.printed("-f", "x.conf"), "as the file says")
    holds('mode = "strict"' in desk.printed("-f", "x.conf", "-m", "strict"), "-m comes first")
    desk.write("x.conf", CHAIN_CONF + f'chain unused {{ {hop} mode = "random" }}')
    holds("unused" in desk.printed("-f", "x.conf"), "what nothing uses does no harm")


def test_chain_choice(desk):
    desk.write("x.conf", 'chain a { hops = "http://10.0.0.1:1" }\nchain b { hops = "http://10.0.0.2" }')
    desk.refused(["-f", "x.conf", "true"], OWN,
                 "x.conf: no chain `default`; -c takes one of: a, b")
    desk.refused(["-f", "x.conf", "-c", "z", "true"], OWN,
                 "x.conf: no chain `z`; -c takes one of: a, b")
    text = desk.printed("-f", "x.conf", "-c", "b")
    holds("# for what no rule matches: chain b (-c)" in text, text)
    plan = Plan.of(desk, "-f", "x.conf", "-c", "b")
    same(plan.hop_addresses(), ["10.0.0.2"], "the hops of the chain in use")
    desk.write("x.conf", 'bypass = "*.lan"')
    desk.refused(["-f", "x.conf", "-c", "z", "true"], OWN,
                 'x.conf: no chain `z`, and no other; chain z { hops = {"URL"} } gives one')


def test_password_warning(desk):
    text = 'chain default { hops = "http://u:p@10.0.0.1" }\n'
    desk.write("x.conf", text, 0o644)
    want = b"viaduct: x.conf: contains passwords and can be read by everybody; chmod o-r helps\n"
    same(desk.run("-f", "x.conf", "true").stderr, want, "warning")
    same(desk.run("-q", "-f", "x.conf", "true").stderr, b"", "-q")
    desk.write("x.conf", text, 0o640)
    same(desk.run("-f", "x.conf", "true").stderr, b"", "a file of mode 640")


def test_print_config(desk):
    """What is printed is a configuration that prints the same again; passwords are masked."""
    desk.write("x.conf", """
proxy office { url = "socks5h://alice:topsecret@gw.example:1080" }
proxy exit { url = 'http://10.0.0.2:3128' timeout = 8 }
chain default { hops = {"office", "exit"} }
chain "a \\"b\\"" { hops = {"socks5h://[::1]:9050"} }
rule tor { match = {"*.onion", "*:25"} chain = "a \\"b\\"" }
rule no { match = "10.0.0.0/8" action = "refuse" }
bypass = {"*.lan"}
dns = "remote"
""")
    first = desk.printed("-f", "x.conf", "-b", "[2001:db8::1]:443", "-t", "2.5", "--udp", "direct")
    holds("topsecret" not in first and "alice:***@gw.example" in first, first)
    holds('bypass = {"*.lan", "[2001:db8::1]:443"}' in first and "timeout = 2.500" in first, first)
    desk.write("y.conf", first)
    lines = first.splitlines()
    same(desk.printed("-f", "y.conf").splitlines()[1:], lines[1:], "printed again")
    other = desk.printed(*HOP, "-f", "x.conf")
    holds("office" not in other and 'hops = {"socks5h://127.0.0.1:9"}' in other, "-x replaces")
    holds('match = {"*.onion", "*:25"}' in other, "-x leaves the rules")


def bypass_of(text):
    return re.search(r"^bypass = \{(.*)\}$", text, re.M)[1].replace('"', "").split(", ")


def test_bypass(desk):
    usual = ["127.0.0.0/8", "::1", "localhost"]
    same(bypass_of(desk.printed(*HOP)), usual, "default")
    same(bypass_of(desk.printed(*HOP, "-b", "*.lan")), usual + ["*.lan"], "-b adds")
    holds(bypass_of(desk.printed(*HOP, "-b", "none")) == [""], "none clears")
    args = ["-b", "a.lan", "-b", "none", "-b", "b.lan:80"]
    same(bypass_of(desk.printed(*HOP, *args)), ["b.lan:80"], "none clears what came before it")
    desk.write("x.conf", CHAIN_CONF + 'bypass = "10.0.0.0/8"')
    same(bypass_of(desk.printed("-f", "x.conf", "-b", "c")), ["10.0.0.0/8", "c"], "file and -b")
    desk.write("x.conf", CHAIN_CONF + "bypass = {}")
    same(bypass_of(desk.printed("-f", "x.conf")), [""], "an empty bypass")


def test_all_proxy(desk):
    def hops(*args, **env):
        return re.search(r"hops = \{(.*)\}", desk.printed(*args, env=env))[1]

    same(hops(ALL_PROXY="socks5h://10.0.0.1:1"), '"socks5h://10.0.0.1:1"', "ALL_PROXY")
    same(hops(all_proxy="10.0.0.1:1"), '"http://10.0.0.1:1"', "no scheme: as curl, HTTP")
    same(hops(ALL_PROXY="http://10.0.0.1", all_proxy="http://10.0.0.2"), '"http://10.0.0.2:8080"',
         "lower case first")
    same(hops(*HOP, ALL_PROXY="http://10.0.0.1"), '"socks5h://127.0.0.1:9"', "-x comes first")
    env = {"ALL_PROXY": "socks9://u:secret@h"}
    desk.refused(["true"], OWN, f"ALL_PROXY: bad scheme in the proxy URL `socks9://u:***@h`; "
                                f"allowed: {SCHEMES}", env=env)
    empty = {"ALL_PROXY": "", "all_proxy": ""}
    desk.refused(["true"], OWN, OPTIONS[0][1], env=empty)


def test_no_proxy(desk):
    usual = ["127.0.0.0/8", "::1", "localhost"]
    env = {"ALL_PROXY": "http://10.0.0.1", "NO_PROXY": ".lan, a.b,,10.0.0.0/8 ::2,*.x,1.2.3.4"}
    want = ["lan", "*.lan", "a.b", "*.a.b", "10.0.0.0/8", "::2", "*.x", "1.2.3.4"]
    same(bypass_of(desk.printed(env=env)), usual + want, "NO_PROXY")
    same(bypass_of(desk.printed(*HOP, env=env)), usual, "not with -x")
    env["NO_PROXY"] = "a*b,good"
    got = desk.run("-v", "--print-config", env=env)
    same(got.stderr.decode(), "viaduct: NO_PROXY: `a*b` is not understood and goes through the "
                              "chain\n", "a strange entry")
    env["NO_PROXY"] = "a,*"
    desk.refused(["true"], OWN, "NO_PROXY=* would send everything directly; give the chain with "
                                "-x, or start the command without viaduct", env=env)


def cases(desk):
    yield from option_cases(desk)
    yield from desk_of.tests_of(globals(), desk)


if __name__ == "__main__":
    sys.exit(desk_of.main(cases))
