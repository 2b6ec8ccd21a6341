#!/usr/bin/env python3
"""Certificates of viaductd: what is wrong with them is said, a reload takes up new ones, and clients
may have to show theirs."""

import os
import ssl
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import daemon, hostile, tap, tls, world
from lib.daemon import HOME
from lib.tls import Authority
from lib.visit import SOCKS5
from lib.world import wait_until

HERE = "127.0.0.1"


def certificates(w, ca, cert, target):
    def serial(d):
        visit = tls.inside(ca, d, SOCKS5, target)
        try:
            return visit.sock.obj.getpeercert()["serialNumber"], visit
        except OSError as error:
            tap.fail(str(error))

    def changes():
        """The same paths, other certificates: new connections get them, old ones live on."""
        path, key = f"{ca.dir}/live.pem", f"{ca.dir}/live.key"

        def put(pair):
            for source, to in zip(pair, (path, key)):
                with open(source, "rb") as have, open(f"{to}.new", "wb") as out:
                    out.write(have.read())
                os.replace(f"{to}.new", to)
        first, second, other = ca.sign(HERE), ca.sign(HERE), ca.sign(HERE)
        put(first)
        d = tls.secure(ca, (path, key))
        before, old = serial(d)
        stop, counts = threading.Event(), []

        def transfer():
            block = os.urandom(100_000)
            count = 0
            while not stop.is_set():
                tls.echoes(old, block)
                count += 1
            counts.append(count)
        thread = threading.Thread(target=transfer, daemon=True)
        thread.start()
        put(second)
        daemon.reload(d, d.text)
        after, new = serial(d)
        tap.holds(before != after, f"another one: {before}, {after}")
        put((second[0], other[1]))
        said = daemon.reload(d, d.text, good=False)
        tap.holds("does not belong to the certificate" in said and key in said, said)
        tap.same(serial(d)[0], after, "the old one is kept")
        os.unlink(key)
        said = daemon.reload(d, d.text, good=False)
        tap.holds(f"key `{key}`: No such file or directory" in said, said)
        tap.same(serial(d)[0], after, "the old one is kept again")
        stop.set()
        thread.join(10)
        tap.holds(counts and counts[0] > 0, "the transfer went on")
        tls.echoes(old)
        tls.echoes(new)

    # what the file says of the listener: what is said of that
    mistakes = {
        "": "has no cert",
        'cert = ""': "empty cert",
        'key = "{key}"': "beside `cert` only",
        'client_ca = "{ca}"': "beside `cert` only",
        'cert = "/nonexistent" key = "{key}"': "certificate `/nonexistent`: No such file or directory",
        'cert = "{cert}" key = "/nonexistent"': "key `/nonexistent`: No such file or directory",
        'cert = "{cert}"': "holds no private key in PEM",
        'cert = "{key}" key = "{key}"': "holds no certificate in PEM",
        'cert = "{junk}" key = "{key}"': "holds no certificate in PEM",
        'cert = "{cert}" key = "{junk}"': "holds no private key in PEM",
        'cert = "{cert}" key = "{other}"': "does not belong to the certificate",
        'cert = "{cert}" key = "{secret}"': "is encrypted; allowed: a key without passphrase",
        'cert = "{cert}" key = "{key}" client_ca = "{junk}"': "client_ca `{junk}`: holds no certificate in PEM",
        'cert = "{cert}" key = "{key}" client_ca = "/none"': "client_ca `/none`: No such file",
        'cert = "/" key = "{key}"': "certificate `/`: ",
    }

    def said(*words):
        got = w.run(HOME, [w.viaductd, *words, "--check-config"])
        return got.code, (got.err + got.out).decode()

    def told():
        paths = {"cert": cert[0], "key": cert[1], "ca": ca.path, "junk": w.file("junk.pem", "junk\n"),
                 "other": ca.sign("x")[1], "secret": ca.sign("y", encrypt="passphrase")[1]}
        for text, words in mistakes.items():
            conf = w.file("mistake.conf", 'listen t { url = "https://127.0.0.1:0" ' + text.format(**paths) + " }\n")
            code, got = said("-f", conf)
            tap.holds(code == 1 and words.format(**paths) in got and len(got.splitlines()) == 1, f"{text}: {got}")
        for url in ("redirect://127.0.0.1:1", "forward://127.0.0.1:1", "tproxy://127.0.0.1:1"):
            conf = w.file("mistake.conf", f'listen t {{ url = "{url}" targets = "x:1" cert = "{cert[0]}" }}\n'
                          .replace('targets = "x:1"', 'targets = "x:1"' if url.startswith("forward") else ""))
            tap.holds("`cert` in listen `t`; allowed: with https://" in said("-f", conf)[1], url)
        none = w.file("none.conf", "")
        for words, text in ((("-l", "https://127.0.0.1:0"), "no certificate; give --tls-cert FILE"),
                            (("-l", "https://127.0.0.1:0", "--tls-key", cert[1]), "give --tls-cert FILE too"),
                            (("--tls-cert", cert[0], "--tls-key", cert[1]), "for listeners that -l gives")):
            code, got = said("-f", none, *words)
            tap.holds(code == 1 and text in got, got)

    def warned():
        old, open_key = ca.expired(HERE), ca.sign(HERE)
        os.chmod(open_key[1], 0o644)
        for pair, words in ((old, "has expired"), (open_key, "can be read by others")):
            path = pair[0] if pair is old else pair[1]
            code, got = said("-l", "https://127.0.0.1:0", "--tls-cert", pair[0], "--tls-key", pair[1], "-f", w.file("n", ""))
            tap.holds(code == 0 and f"`{path}`: {words}" in got, got)
        d = tls.secure(ca, old)
        tap.same(d.log().count(f"certificate `{old[0]}`: has expired"), 1, "in the log")
        context = ca.context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        tap.holds(tls.inside(ca, d, SOCKS5, target, context=context).ok, "it is used nevertheless")

    def clients():
        """client_ca: who has no certificate of it gets no further than TLS."""
        others = Authority(w, "others")
        d = tls.secure(ca, cert, more=f'client_ca = "{others.path}"')
        good, bad = others.sign("client.test"), ca.sign("stranger.test")
        with tls.inside(ca, d, SOCKS5, target, context=ca.context(good)) as visit:
            tls.echoes(visit)
        for context in (ca.context(), ca.context(bad)):
            try:
                visit = tls.inside(ca, d, SOCKS5, target, context=context)
                tap.holds(not visit.ok, "a stranger")
            except (ssl.SSLError, ConnectionError):
                pass
        for kind, more, code in (("https", f'client_ca = "{others.path}"', 0), ("https", "", 1),
                                 ("mixed", f'client_ca = "{others.path}"', 1)):
            conf = f'listen t {{ url = "{kind}://0.0.0.0:1" cert = "{cert[0]}" key = "{cert[1]}" {more} }}\n'
            tap.same(said("-f", w.file("wide.conf", conf))[0], code, f"{kind} {more}: whether it is open to everybody")
        lines = wait_until(lambda: [s for s in d.lines("session") if s["end"] == "tls-failed"][1:], "both are logged")
        tap.holds(lines[0]["error"] == "tls_certificate_error", lines)

    yield "certificates change under a transfer", changes
    yield "what is wrong with a certificate is said", told
    yield "what is questionable is said", warned
    yield "certificates of clients", clients


def cases(w):
    server = hostile.Scripted(HOME, HERE, w.port(), tls.echo)
    ca = Authority(w)
    cert = ca.sign(HERE, "localhost")
    yield from certificates(w, ca, cert, (HERE, server.port))


if __name__ == "__main__":
    world.main(cases, ("openssl",))
