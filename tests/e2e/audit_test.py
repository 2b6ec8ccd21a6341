#!/usr/bin/env python3
"""--audit: what became of each target and name, and a launcher that stays behind without being
noticed: exit statuses, signals, job control."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import servers, tap, world
from lib.servers import chain
from lib.world import NAMES, NEAR, ORIGIN, PYTHON, wait_until

NAME = "v4.origin.test"
HEAD = "viaduct: audit: observed: "
COUNTS = re.compile(r"viaduct: audit: names: (\d+) stayed \((\d+) lookups\), (\d+) lookups asked here; "
                    r"DNS past the chain: (\d+)")
MANY = 10000

# Connects to many ports of an address that a rule refuses: 10.9.0.0 + i % DIFFERENT.
CROWD = """
import socket, sys
for i in range(int(sys.argv[1])):
    s = socket.socket()
    at = i % int(sys.argv[2])
    s.connect_ex((f"10.9.{at // 250}.{at % 250 + 1}", 80))
    s.close()
"""


class Audit:
    """What was printed as text."""

    def __init__(self, text):
        lines = text.splitlines()
        heads = [i for i, line in enumerate(lines) if line.startswith(HEAD)]
        tap.same(len(heads), 1, "tables")
        lines = lines[heads[0]:]
        counts = COUNTS.fullmatch(lines[1])
        tap.holds(counts, f"the second line: {lines[1]}")
        self.stayed, self.lookups, self.asked, self.left = map(int, counts.groups())
        self.rows, self.not_shown = {}, 0
        for line in lines[2:]:
            more = re.match(r"  and (\d+) more", line)
            words = [word for word in re.split(r" {2,}", line.strip()) if word]
            if more:
                self.not_shown = int(more[1])
            elif line.startswith("  ") and words[0] != "TARGET":
                self.rows[words[0], words[1], words[2]] = words[3:]


def cases(w):
    servers.Nginx(w)
    ours = servers.viaductd(w)
    via_hop = chain(ours.url("socks5h", first=True))
    rules = w.file(
        "audit.conf",
        f"""
chain default {{ hops = {{"{ours.url("socks5h", first=True)}"}} }}
rule crowd {{ match = {{"10.9.0.0/16", "*.ads.test"}}  action = "refuse" }}
bypass = {{"{NEAR}"}}
""",
        0o600,
    )

    def audit(options, argv, code=0, **how):
        got = w.via(["--audit", "-q", *options], argv, **how)
        tap.same(got.code, code, "exit code")
        return Audit(got.err.decode())

    # --- the table ------------------------------------------------------------------------

    def everything():
        script = f"""
curl -s -o /dev/null http://{NAME}/; curl -s -o /dev/null http://{NAME}/
curl -s -o /dev/null http://{ORIGIN}/
curl -s http://x.ads.test/
curl -s http://{NEAR}:9/
exit 3"""
        a = audit(["-f", rules], ["sh", "-c", script], 3)
        tap.same((a.stayed, a.asked, a.left), (2, 0, 0), "names stayed, asked here, DNS past the chain")
        tap.same(a.rows[f"{NAME}:80", "name, tcp", "chain default"][:2], ["ok", "2"])
        tap.same(a.rows[f"{ORIGIN}:80", "address, tcp", "chain default"][:2], ["ok", "1"])
        tap.same(a.rows["x.ads.test:80", "name", "refused (crowd)"], ["EACCES", "1"])
        tap.same(a.rows[f"{NEAR}:9", "address", "direct (bypass)"], ["1"])
        tap.holds((NAME, "lookup", "stayed: chain default") in a.rows, f"the name's row: {a.rows}")
        tap.holds(("x.ads.test", "lookup", "stayed: refused (crowd)") in a.rows, f"{a.rows}")

    def failures():
        a = audit(via_hop, ["curl", "-s", f"http://{ORIGIN}:9/"], 7)
        tap.same(a.rows[f"{ORIGIN}:9", "address, tcp", "chain default"][:2], ["ECONNREFUSED", "1"])

    def non_blocking():
        script = f"""
import asyncio
async def main():
    await asyncio.gather(*(asyncio.open_connection('{ORIGIN}', 80) for _ in range(20)))
asyncio.run(main())"""
        a = audit(via_hop, [PYTHON, "-c", script])
        tap.same(a.rows[f"{ORIGIN}:80", "address, tcp", "chain default"][:2], ["ok", "20"])

    def bytes_of_handshake():
        """3 and 2 for the methods, 10 and 10 for request and reply by address; a name is counted."""
        a = audit(["-x", f"{ours.url('socks5h', first=True)}?pipeline=off"],
                  ["sh", "-c", f"curl -s -o /dev/null http://{ORIGIN}/; curl -s -o /dev/null http://{ORIGIN}/; "
                               f"curl -s -o /dev/null http://{NAME}/"])
        tap.same(a.rows[f"{ORIGIN}:80", "address, tcp", "chain default"][3], "25")
        tap.same(a.rows[f"{NAME}:80", "name, tcp", "chain default"][3], str(25 - 4 + 1 + len(NAME)))

    def asked_here():
        w.names.know(NAME, ORIGIN)
        a = audit(["-d", "local", *via_hop], ["curl", "-s", "-o", "/dev/null", f"http://{NAME}/"])
        w.names.forget(NAME)
        tap.same((a.stayed, a.left), (0, 0), "names stayed, DNS past the chain")
        tap.holds(a.asked >= 1 and (NAME, "lookup", "asked here") in a.rows, f"{a.rows}")

    def as_json():
        got = w.via(["--audit", "--log-format", "json", *via_hop],
                    ["curl", "-s", "-o", "/dev/null", f"http://{NAME}/"])
        told = json.loads(got.err.decode().splitlines()[-1])
        tap.same((got.code, told["message"], told["observer"]), (0, "audit", "system calls"))
        tap.same((told["names_stayed"], told["dns_past_chain"], told["not_shown"]), (1, 0, 0))
        row = [r for r in told["targets"] if r["target"] == f"{NAME}:80"][0]
        tap.same((row["given"], row["protocol"], row["way"], row["chain"], row["result"], row["count"]),
                 ("name", "tcp", "chain", "default", "ok", 1))
        tap.holds(row["handshake_bytes_mean"] >= 25, "bytes of handshake")

    def into_a_file():
        path = f"{w.dir}/audit.log"
        got = w.via(["--audit", "--log", path, *via_hop], ["true"])
        tap.same((got.code, got.err), (0, b""), "exit code and standard error")
        with open(path, encoding="ascii") as file:
            Audit(file.read())

    def silent_without():
        got = w.via(via_hop, ["curl", "-s", "-o", "/dev/null", f"http://{NAME}/"])
        tap.same((got.code, got.err), (0, b""))

    # --- many -----------------------------------------------------------------------------

    def children():
        script = f"""
for i in $(seq 40); do curl -s -o /dev/null http://{NAME}/ & done; wait
exec env -i PATH=$PATH sh -c 'exec curl -s -o /dev/null http://{NAME}/'"""
        a = audit(via_hop, ["sh", "-c", script])
        tap.same(a.rows[f"{NAME}:80", "name, tcp", "chain default"][:2], ["ok", "41"])
        tap.same((a.stayed, a.lookups), (1, 41), "names, lookups")

    def one_target():
        a = audit(["-f", rules], [PYTHON, "-c", CROWD, str(MANY), "1"])
        tap.same(a.rows, {("10.9.0.1:80", "address", "refused (crowd)"): ["EACCES", str(MANY)]})
        tap.same(a.not_shown, 0, "not shown")

    def many_targets():
        a = audit(["-f", rules], [PYTHON, "-c", CROWD, str(MANY), str(MANY)])
        shown = sum(int(row[1]) for row in a.rows.values())
        tap.holds(2000 < len(a.rows) <= 4096, f"{len(a.rows)} rows")
        tap.same(shown + a.not_shown, MANY, "rows and what is not shown")

    def crowd_of_processes():
        script = f"for i in 1 2 3 4 5 6 7 8; do {PYTHON} -c '{CROWD}' 500 50 & done; wait"
        a = audit(["-f", rules], ["sh", "-c", script])
        tap.same((len(a.rows), {row[1] for row in a.rows.values()}), (50, {"80"}), "rows, their counts")

    # --- leaks ----------------------------------------------------------------------------

    def dns_past_the_chain():
        for options, argv in ((["--udp", "direct"], []), (["-b", ORIGIN], ["+tcp"]), (["-b", ORIGIN], [])):
            dig = ["dig", f"@{ORIGIN}", "+tries=1", "+time=1", *argv, NAME]
            got = w.via(["--audit", "-q", *options, *via_hop], dig)
            tap.same(got.code, 125, f"exit code with {options} {argv}")
            tap.holds(Audit(got.err.decode()).left > 0, "it is counted")
            tap.same(got.err.decode().splitlines()[-1],
                     "viaduct: a leak: DNS went past the chain, which should have resolved all names")
        a = audit(["-d", "local", "--udp", "direct", *via_hop], ["dig", f"@{NAMES}", NAME])
        tap.same(a.left, 0, "with local names it is no leak")

    # --- the launcher as parent -----------------------------------------------------------

    def statuses():
        for code in (0, 1, 7, 125, 255):
            audit(via_hop, ["sh", "-c", f"exit {code}"], code)
        for command, code in (("/no/such", 127), ("/etc/passwd", 126)):
            got = w.via(["--audit", *via_hop], [command])
            tap.same((got.code, len(got.err.splitlines())), (code, 1), command)
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV):
            audit(via_hop, ["sh", "-c", f"kill -{int(number)} $$"], -number)

    def start(script, **how):
        argv = [w.viaduct, "--audit", "-q", *via_hop, "--", "sh", "-c", script]
        return w.popen("app", argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)

    def default_dispositions():
        """However the tests themselves were started: nohup, in the background."""
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)

    def signals():
        """What is sent to the launcher reaches the command. (No shell: dash drops signals that come
        while it starts a program.)"""
        for name in ("TERM", "HUP", "INT", "USR1", "QUIT"):
            code = (
                f"import signal, sys, time; signal.signal(signal.SIG{name}, "
                f"lambda *_: (print(\"got {name}\"), sys.exit(9))); print(\"up\", flush=True); time.sleep(30)"
            )
            proc = start(f"exec {PYTHON} -c '{code}'", preexec_fn=default_dispositions)
            tap.same(proc.stdout.readline(), b"up\n")
            proc.send_signal(getattr(signal, f"SIG{name}"))
            out, err = proc.communicate(timeout=5)
            tap.same((out.strip(), proc.returncode), (f"got {name}".encode(), 9), name)
            Audit(err.decode())

    def mask_and_dispositions():
        """The command gets what the launcher was started with."""
        script = "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status"
        with_audit = w.via(["--audit", *via_hop], ["sh", "-c", script])
        without = w.via(via_hop, ["sh", "-c", script])
        tap.same(with_audit.out, without.out)

    def state(pid):
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0]

    def stops_and_goes_on():
        proc = start("echo $$; kill -STOP $$; echo on; exit 4")
        inner = int(proc.stdout.readline())
        wait_until(lambda: state(proc.pid) == "T" and state(inner) == "T", "both are stopped")
        proc.send_signal(signal.SIGCONT)
        out, _ = proc.communicate(timeout=5)
        tap.same((out, proc.returncode), (b"on\n", 4))

    def arguments_are_blank():
        proc = start("echo up; sleep 1; : secret-word")
        proc.stdout.readline()
        with open(f"/proc/{proc.pid}/cmdline", "rb") as file:
            line = file.read()
        proc.communicate()
        tap.holds(line.startswith(w.viaduct.encode()), f"its name: {line}")
        tap.holds(not line[len(w.viaduct):].strip(b"\0"), f"its arguments: {line}")

    def terminal():
        """Ctrl-C reaches the command once; the terminal stays its own."""
        script = ("trap 'n=$((n+1))' INT; echo up; i=0; while [ $i -lt 40 ]; do sleep 0.05; i=$((i+1)); done;"
                  "echo interrupts=$n tty=$(ps -o tpgid= -p $$ | tr -d ' ') group=$(ps -o pgid= -p $$ | tr -d ' ')")
        pid, master = pty.fork()
        if pid == 0:
            os.execvpe("ip", ["ip", "netns", "exec", "app", w.viaduct, "--audit", "-q", *via_hop, "--", "sh",
                              "-c", script], w.env())
        told = b""
        while b"up" not in told:
            told += os.read(master, 1000)
        time.sleep(0.3)
        os.write(master, b"\x03")
        try:
            while b"audit: names" not in told:
                told += os.read(master, 1000)
        except OSError:
            pass
        _, status = os.waitpid(pid, 0)
        os.close(master)
        found = re.search(rb"interrupts=(\d*) tty=(\d+) group=(\d+)", told)
        tap.holds(found and found[1] == b"1" and found[2] == found[3], f"the command said {told}")
        tap.same(status, 0, "status")

    yield "connections, refusals, bypass and names", everything
    yield "a connection that fails", failures
    yield "non-blocking connections", non_blocking
    yield "bytes of handshake", bytes_of_handshake
    yield "names that are asked here", asked_here
    yield "as JSON", as_json
    yield "into the log file", into_a_file
    yield "nothing is told without --audit", silent_without
    yield "many children, and exec with a scrubbed environment", children
    yield "10,000 connections to one target", one_target
    yield "10,000 targets: the rows are bounded", many_targets
    yield "8 processes at once", crowd_of_processes
    yield "DNS past the chain: status 125", dns_past_the_chain
    yield "exit statuses", statuses
    yield "signals go on to the command", signals
    yield "signal masks and dispositions", mask_and_dispositions
    yield "stopped and continued", stops_and_goes_on
    yield "the launcher's arguments are blank", arguments_are_blank
    yield "Ctrl-C on a terminal", terminal


if __name__ == "__main__":
    world.main(cases, ("curl", "dig", "nginx", "ps", PYTHON))
