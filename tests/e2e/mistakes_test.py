#!/usr/bin/env python3
"""Mistakes that people make at first: each is answered by a line that says what is wrong, where, and
what to try. One row each; the words are looked for in the one or two lines that viaduct says."""

import os
import re
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import hostile, servers, tap, world
from lib.hostile import Scripted
from lib.world import NEAR, ORIGIN, ORIGIN6

NAME = "v4.origin.test"
CURL = ["curl", "-sS", "-m", "9", "-o", "/dev/null", f"http://{NAME}/"]
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: http://portal.test/\r\nContent-Length: 0\r\n\r\n"
PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9\r\n\r\n<html>hi\n"


def cases(w):
    servers.Nginx(w)
    ours, locked = servers.viaductd(w), servers.viaductd(w, login=True)
    micro, tiny = servers.microsocks(w), servers.tinyproxy(w)
    only_443 = servers.tinyproxy(w, only_port=443)
    portal, page, ssh, mute, strict = (Scripted("proxy", NEAR, w.port(), script) for script in (
        hostile.http_answer(REDIRECT), hostile.http_answer(PAGE), hostile.says(b"SSH-2.0-OpenSSH_9\r\n"),
        hostile.silent, hostile.talks((3, b"HTTP/1.1 400 Bad Request\r\n\r\n"))))
    good = f"socks5h://{NEAR}:{ours.port}"
    for name, text in (
        ("open.conf", "chain default {\n  hops = {\"http://h\"}\n"),
        ("word.conf", "bypass = {\"*.lan\"}\nchian default { }\n"),
        ("url.conf", "proxy a { url = \"socks9://h\" }\n"),
        ("name.conf", "proxy office { url = \"http://h\" }\nchain default { hops = {\"ofice\"} }\n"),
        ("good.conf", "chain default { hops = {\"http://h\"} }\nchain home { hops = {\"http://h\"} }\n"),
        ("quote.conf", "dns = \"remote\nudp = \"deny\"\n"),
    ):
        w.file(name, text, 0o600)
    w.file("plain.txt", "hello\n")
    static = w.build + "/tests/e2e/leaks/leak_probe_static"
    setid = f"{w.dir}/setid"
    shutil.copy("/bin/true", setid)
    os.chown(setid, 0, 1000)
    os.chmod(setid, 0o2755)

    def at(hop, scheme, login=""):
        return f"{scheme}://{login}{NEAR}:{hop.port}"

    # What was meant; options and command; exit status; words of: what is wrong, where, what to try.
    # The last may be "": what is wrong says it.
    # fmt: off
    rows = [
        # --- URLs
        ("a scheme misspelt", ["-x", "sock5://h", "true"], 125, "bad scheme", "`sock5://h`", "allowed: socks4, .*as in socks5h://HOST:PORT"),
        ("no scheme", ["-x", f"{NEAR}:1080", "true"], 125, "no scheme", f"`{NEAR}:1080`", "as in socks5h://HOST:PORT"),
        ("one slash too few", ["-x", "socks5h:/h:1", "true"], 125, "no scheme", "`socks5h:/h:1`", "as in socks5h://"),
        ("a port too high", ["-x", "http://h:99999", "true"], 125, "bad port", "`http://h:99999`", "allowed: 1 to 65535"),
        ("a port that is none", ["-x", "http://h:http", "true"], 125, "bad port", "`http://h:http`", "allowed: 1 to 65535"),
        ("no host", ["-x", "socks5h://:1080", "true"], 125, "bad host", "`socks5h://:1080`", "allowed: a name"),
        ("IPv6 without brackets", ["-x", "socks5h://fd01::1:1080", "true"], 125, "bad host", "fd01::1:1080", r"in brackets, as in socks5h://\[2001:db8::1\]:1080"),
        ("a password with %", ["-x", "http://me:50%off@h", "true"], 125, "bad password", r"http://me:\*\*\*@h", "%XX for special ones"),
        ("a path", ["-x", "http://h:1/proxy", "true"], 125, "bad proxy URL", "`http://h:1/proxy`", r"allowed: scheme://"),
        ("an option of a URL misspelt", ["-x", "http://h?time=3", "true"], 125, "bad option", "time=3", "allowed: timeout=SECONDS"),
        ("a hop that does not resolve", ["-x", "http://no.such.test:1", "true"], 125, "name cannot be resolved", r"hop 1 \(http://no.such.test:1\)", "try how it is spelled, or its address"),
        # --- the command line
        ("nothing at all", [], 125, "no command is given", "", r"usage: viaduct \[OPTIONS\]"),
        ("no chain", ["true"], 125, "no proxy is given", "", "give one with -x socks5h://HOST:PORT, in .*viaduct.conf or in ALL_PROXY"),
        ("an option misspelt", ["--proxi", good, "true"], 125, "unknown option", "`--proxi`", "`viaduct -h` lists"),
        ("an option without its value", ["-x"], 125, "URL is missing", "-x", "`viaduct -h` shows"),
        ("a mode that is none", ["-x", good, "-m", "fast", "true"], 125, "unknown mode", "-m: .*`fast`", "allowed: strict, dynamic"),
        ("a DNS mode that is none", ["-x", good, "-d", "tor", "true"], 125, "unknown DNS mode", "-d: .*`tor`", "allowed: .*remote, local"),
        ("a time that is none", ["-x", good, "-t", "5s", "true"], 125, "bad timeout", "-t: .*`5s`", "allowed: seconds"),
        ("a network that is none", ["-x", good, "-b", "10.0.0.0/99", "true"], 125, "bad pattern", "-b: .*`10.0.0.0/99`", "allowed: an address, ADDRESS/BITS"),
        ("a chain that is not there", ["-f", f"{w.dir}/good.conf", "-c", "work", "true"], 125, "no chain `work`", "good.conf", "-c takes one of: default, home"),
        ("a log in no folder", ["-x", good, "--log", "/no/such/log", "true"], 125, "No such file or directory", "--log /no/such/log", "a file that you may write"),
        ("a target without a port", ["-x", good, "--check", "example.com"], 125, "no port", "`example.com`", "allowed: HOST:PORT"),
        ("a command for --check", ["-x", good, "--check", "h:1", "curl"], 125, "starts no command", "`curl`", r"usage: .*--check \[HOST:PORT\]"),
        # --- configuration
        ("no such file", ["-f", "/no/such.conf", "true"], 125, "No such file", "/no/such.conf", "with -f"),
        ("a folder", ["-f", "/tmp", "true"], 125, "not a configuration file", "/tmp", "allowed: a regular file"),
        ("a brace is missing", ["-f", f"{w.dir}/open.conf", "true"], 125, "`{` is never closed", "open.conf:1", "`}` is missing"),
        ("a word misspelt", ["-f", f"{w.dir}/word.conf", "true"], 125, "unknown option `chian`", "word.conf:2", "allowed: proxy, chain"),
        ("a URL in it", ["-f", f"{w.dir}/url.conf", "true"], 125, "bad scheme", "url.conf:1", "as in socks5h://"),
        ("a proxy that is not there", ["-f", f"{w.dir}/name.conf", "true"], 125, "unknown proxy `ofice`", "name.conf:2", "allowed: office, or a URL"),
        ("a quote is missing", ["-f", f"{w.dir}/quote.conf", "true"], 125, "no closing quote", "quote.conf:2", ""),
        # --- programs
        ("a command misspelt", ["-x", good, "crul"], 127, "command not found", "crul", "how it is spelled, or its path"),
        ("a folder for a command", ["-x", good, "/tmp"], 126, "Is a directory", "/tmp", "name a program in it"),
        ("a file that is no program", ["-x", good, f"{w.dir}/plain.txt"], 126, "Permission denied", "plain.txt", r"chmod \+x"),
        ("a static program", ["-x", good, "--engine", "preload", static], 125, "static", "leak_probe_static", "--engine supervise|dynamically|another"),
        ("viaduct inside viaduct", ["-x", good, w.viaduct, "-x", good, "true"], 125, "viaduct inside viaduct|already inside", "", "leave out one"),
        # --- proxies
        ("a wrong port", ["-x", f"socks5h://{NEAR}:9", *CURL], 7, "cannot be reached: Connection refused", rf"{NAME}:80: hop 1 of 1 \(socks5h://{NEAR}:9\)", "try whether the proxy runs, and its port"),
        ("http for a SOCKS port", ["-x", at(micro, "http"), *CURL], 7, "does not speak the protocol", "hop 1 of 1", "try socks5h:// for it"),
        ("SOCKS for an HTTP port", ["-t", "1", "-x", at(tiny, "socks5h"), *CURL], 28, "did not answer in time", "hop 1 of 1", "try --check"),
        ("SOCKS for a port that says so", ["-x", at(strict, "socks5h"), *CURL], 7, "does not speak the protocol", "hop 1 of 1", "try http:// for it"),
        ("no login", ["-x", at(locked, "socks5h"), *CURL], 7, "wants a login", "hop 1 of 1", "try USER:PASSWORD@"),
        ("no login, HTTP", ["-x", at(locked, "http"), *CURL], 7, r"wants a login \(HTTP 407\)", "hop 1 of 1", "try USER:PASSWORD@"),
        ("a wrong login", ["-x", at(locked, "socks5h", "alice:wrong@"), *CURL], 7, "refused the login", "hop 1 of 1 .*alice@", "try the login once more"),
        ("a captive portal that sends elsewhere", ["-x", at(portal, "http"), *CURL], 7, "HTTP 302", "hop 1 of 1", "try a browser"),
        ("a captive portal's page", ["-x", at(page, "http"), "--check"], 1, "web page", "", "captive portal"),
        ("an SSH server", ["-x", at(ssh, "socks5h"), *CURL], 7, "does not speak the protocol", "hop 1 of 1", "how SSH begins"),
        ("a web server", ["-x", good, "-x", f"http://{ORIGIN}:80", *CURL], 7, r"HTTP 40\d", rf"hop 2 of 2 \(http://{ORIGIN}:80\)", "a web server"),
        ("a proxy for port 443 only", ["-x", at(only_443, "http"), *CURL], 7, r"does not allow this connection \(HTTP 403\)", "hop 1 of 1", "try port 443"),
        ("a server that says nothing", ["-t", "1", "-x", at(mute, "socks4a"), *CURL], 28, "did not answer in time", "hop 1 of 1", "try --check"),
        ("a second hop that is not there", ["-x", good, "-x", f"http://{ORIGIN}:9", *CURL], 7, "cannot be reached: hop 1 says", "hop 2 of 2", "as the hop before sees"),
        ("IPv6 through SOCKS4", ["-x", at(ours, "socks4"), "curl", "-sS", f"http://[{ORIGIN6}]/"], 7, "cannot carry this kind of address", "hop 1 of 1", "try socks5h"),
        ("a target that listens nowhere", ["-x", good, "curl", "-sS", f"http://{ORIGIN}:9/"], 7, "the target refused the connection", f"{ORIGIN}:9: hop 1 of 1", ""),
        ("a target misspelt", ["-x", good, "curl", "-sS", "http://no.such.test/"], 7, "the target is unreachable", "no.such.test:80: hop 1 of 1", "try how its name is spelled"),
    ]
    daemon_rows = [
        ("a daemon open to everybody", ["-l", "0.0.0.0:0"], "open to everybody", "listener 0.0.0.0:0", "give --user NAME:PASSWORD"),
        ("a kind of listener that is none", ["-l", "sock://127.0.0.1:0"], "bad listener", "`sock://127.0.0.1:0`", "allowed: "),
        ("a user without a password", ["-u", "alice"], "bad user", "--user", "allowed: NAME:PASSWORD"),
        ("an option of the daemon misspelt", ["--listne", "x"], "unknown option", "`--listne`", "--help"),
        ("a users file that is not there", ["--users", "/no/users"], "No such file", "`/no/users`", ""),
        ("a port that is taken", ["-l", f"{NEAR}:{ours.port}", "-u", "a:b"], "Address already in use", f"{NEAR}:{ours.port}", "another port"),
    ]
    # fmt: on

    def say(got, what, where, attempt):
        lines = [line for line in got.err.decode().splitlines() if not line.startswith("curl: ")]
        text = "\n".join(lines) or re.sub(r"\s+", " ", got.out.decode())
        tap.holds(len(lines) <= 2, f"one or two lines: {lines}")
        tap.holds(all(len(line) <= 300 for line in lines), "no line is too long to read")
        for words in (what, where, attempt):
            tap.holds(re.search(words, text), f"{words!r} is not in {text!r}")
        tap.holds("Traceback" not in text and "wrong@" not in text and "50%off" not in text, text)

    def row(argv, code, what, where, attempt):
        def case():
            got = w.run("app", [w.viaduct, *argv])
            tap.holds(code is None or got.code == code, f"exit code {got.code}, want {code}")
            say(got, what, where, attempt)
        return case

    def daemon_row(argv, what, where, attempt):
        def case():
            got = w.run("proxy", [w.viaductd, *argv])
            tap.same(got.code, 1)
            say(got, what, where, attempt)
        return case

    def http_proxy():
        got = w.run("app", [w.viaduct, "true"], env={"http_proxy": "http://h:1"})
        tap.same(got.code, 125)
        say(got, "no proxy is given", "http_proxy and https_proxy do not count", "give one with -x")

    def all_proxy():
        got = w.run("app", [w.viaduct, "true"], env={"ALL_PROXY": "socks9://h:1"})
        tap.same(got.code, 125)
        say(got, "bad scheme", "ALL_PROXY", "as in socks5h://HOST:PORT")

    def other_rights():
        launcher = w.launcher_for_all()
        got = w.run("app", [launcher, "-x", good, setid])
        tap.same(got.code, 125)
        say(got, "runs with other rights", "setid", "start viaduct from inside instead")

    def unreadable():
        """For whoever is not root."""
        path = w.file("secret.conf", "chain default { hops = {\"http://h\"} }\n", 0o000)
        os.chmod(w.dir, 0o755)
        got = w.run("app", ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--reuid=0", "--no-new-privs",
                            w.viaduct, "-f", path, "true"])
        if got.code == 125 and "Permission denied" in got.err.decode():
            say(got, "Permission denied", "secret.conf", "with -f")
        else:
            tap.fail(f"{got}")

    tap.holds(len(rows) >= 40, "the table is long")
    for name, *rest in rows:
        yield name, row(*rest)
    for name, *rest in daemon_rows:
        yield name, daemon_row(*rest)
    yield "http_proxy instead of ALL_PROXY", http_proxy
    yield "ALL_PROXY with a scheme that is none", all_proxy
    yield "a setuid or setgid program", other_rights
    yield "a configuration that may not be read", unreadable


if __name__ == "__main__":
    world.main(cases, ["curl", "microsocks", "tinyproxy", "nginx", "setpriv"])
