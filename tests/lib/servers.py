"""Real servers: proxies of other makers, ours, and what an origin has.

A Hop listens on all addresses of its host, so that the same one can stand anywhere in a chain:
url(first=True) names it as app sees it, url() as the hop before it does.
"""

import os
import subprocess

from . import netns
from .world import FAR, FAR6, NEAR, NEAR6, ORIGIN, ORIGIN6, wait_until

USER, PASSWORD = "alice", "s3cret"


class Hop:
    """A proxy server and the schemes that it speaks."""

    def __init__(self, server, port, schemes, login=None, host="proxy"):
        self.server, self.port, self.schemes, self.login, self.host = server, port, schemes, login, host

    def at(self, first=False, six=False):
        """(address, port)"""
        if self.host == "app":
            return "127.0.0.1", self.port
        if first:
            return (NEAR6 if six else NEAR), self.port
        return (FAR6 if six else FAR), self.port

    def url(self, scheme=None, first=False, six=False, login=True):
        """login: True gives the right one where there is one; a string ("user:pw") any other."""
        scheme = scheme or self.schemes[0]
        address, port = self.at(first, six)
        address = f"[{address}]" if ":" in address else address
        if login is True:
            login = ":".join(self.login) if self.login else ""
        return f"{scheme}://{login + '@' if login else ''}{address}:{port}"

    def __str__(self):
        return self.server.name + (" with login" if self.login else "")


def chain(*urls):
    """-x URL for each."""
    return [word for url in urls for word in ("-x", url)]


def _login(given):
    return (USER, PASSWORD) if given else None


# --- proxies of other makers ----------------------------------------------------------------


def microsocks(w, login=False, host="proxy"):
    port = w.port()
    words = ["-u", USER, "-P", PASSWORD] if login else []
    # "::" takes IPv4 too
    server = w.serve("microsocks", host, ["microsocks", "-i", "::", "-p", str(port), *words], port)
    return Hop(server, port, ("socks5h", "socks5"), _login(login), host)


def danted(w, login=False):
    port = w.port()
    if login:
        crypted = subprocess.run(
            ["openssl", "passwd", "-6", PASSWORD], capture_output=True, text=True, check=True
        ).stdout.strip()
        _add_user(USER, crypted)
    # SOCKS4 has no password: it is offered only where none is asked for.
    config = w.file(
        f"danted.{port}.conf",
        f"""
logoutput: stderr
internal: 0.0.0.0 port = {port}
internal: :: port = {port}
external: org1
clientmethod: none
socksmethod: {"username" if login else "none"}
user.privileged: root
user.unprivileged: root
client pass {{ from: 0/0 to: 0/0 }}
socks pass {{ from: 0/0 to: 0/0 }}
""",
    )
    server = w.serve("danted", "proxy", ["danted", "-f", config, "-N", "1"], port)
    schemes = (
        ("socks5h", "socks5") if login else ("socks5h", "socks5", "socks4")
    )  # it takes a SOCKS4a name for address 0.0.0.1
    return Hop(server, port, schemes, _login(login))


def _add_user(name, crypted):
    """A user of the private /etc of this test's world."""
    with open("/etc/passwd", "r+", encoding="ascii") as file:
        if f"\n{name}:" in file.read():
            return
        file.write(f"{name}:x:2000:2000::/:/usr/sbin/nologin\n")
    with open("/etc/shadow", "a", encoding="ascii") as file:
        file.write(f"{name}:{crypted}:19000::::::\n")


def tinyproxy(w, login=False, host="proxy", upstream=None, only_port=None):
    """upstream: "http 10.1.0.1:8080", as its manual has it; only_port: the one CONNECT may go to."""
    port = w.port()
    lines = [
        f"Port {port}",
        "Timeout 600",
        "MaxClients 100",
        "LogLevel Info",
        "DisableViaHeader Yes",
        # one for each family, else it opens whatever getaddrinfo tells first
        "Listen 0.0.0.0",
        "Listen ::",
    ]
    if login:
        lines.append(f"BasicAuth {USER} {PASSWORD}")
    if upstream:
        lines.append(f"Upstream {upstream}")
    if only_port:
        lines.append(f"ConnectPort {only_port}")
    config = w.file(f"tinyproxy.{port}.conf", "\n".join(lines) + "\n")
    server = w.serve("tinyproxy", host, ["tinyproxy", "-d", "-c", config], port)
    return Hop(server, port, ("http",), _login(login), host)


def ssh_d(w, sshd):
    """`ssh -D` on the proxy host: a SOCKS 4, 4a and 5 server whose far end is the origin host."""
    port = w.port()
    server = w.serve("ssh -D", "proxy", [*sshd.ssh(), "-N", "-D", f"*:{port}", sshd.there()], port)
    return Hop(server, port, ("socks5h", "socks5", "socks4a", "socks4"))


# --- ours -----------------------------------------------------------------------------------


def viaductd(w, login=False, host="proxy", upstream=(), more="", port=None, options=("-v",)):
    """upstream: URLs; more: lines for its configuration."""
    port = port or w.port()
    lines = [
        f'listen all4 {{ url = "mixed://0.0.0.0:{port}" }}',
        f'listen all6 {{ url = "mixed://[::]:{port}" }}',
    ]
    words = list(options)
    if login:
        words += ["-u", f"{USER}:{PASSWORD}"]
    # Its own host's addresses, where the next hops are, must be named to be allowed.
    lines.append('allow all { to = {"0.0.0.0/0", "::/0", "*"} }')
    for url in upstream:
        words += ["-x", url]
    config = w.file(f"viaductd.{port}.conf", "\n".join(lines) + "\n" + more, 0o600)
    server = w.serve("viaductd", host, [w.viaductd, "-f", config, *words], port)
    schemes = ("socks5h", "http") if login else ("socks5h", "http", "socks4a", "socks5", "socks4")
    return Hop(server, port, schemes, _login(login), host)


# --- what an origin has ---------------------------------------------------------------------

WEB_PORTS = (25, 80, 1518)


class Nginx:
    """HTTP on 80, 25 and 1518, HTTPS on 443, both families; a git repository; a big file."""

    def __init__(self, w):
        self.root = f"{w.dir}/www"
        os.makedirs(self.root)
        self.ca = f"{w.dir}/origin.pem"
        key = f"{w.dir}/origin.key"
        names = f"DNS:origin.test,DNS:v4.origin.test,DNS:v6.origin.test,IP:{ORIGIN},IP:{ORIGIN6}"
        subprocess.run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=origin.test",
                "-keyout",
                key,
                "-out",
                self.ca,
                "-addext",
                f"subjectAltName={names}",
            ],
            check=True,
            capture_output=True,
        )
        self.page = b"This is the page of the origin.\n" + bytes(range(256)) * 8
        self.put("index.html", self.page)
        listens = "".join(f"listen {p}; listen [::]:{p};\n" for p in WEB_PORTS)
        config = w.file(
            "nginx.conf",
            f"""
user root; daemon off; master_process off; pid {w.dir}/nginx.pid; error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off; default_type application/octet-stream;
    client_body_temp_path {w.dir}/body; proxy_temp_path {w.dir}/proxy; fastcgi_temp_path {w.dir}/fcgi;
    uwsgi_temp_path {w.dir}/uwsgi; scgi_temp_path {w.dir}/scgi;
    server {{
        {listens} listen 443 ssl; listen [::]:443 ssl;
        ssl_certificate {self.ca}; ssl_certificate_key {key};
        root {self.root};
        location = /whoami {{ return 200 "$remote_addr $remote_port $server_addr $server_port\\n"; }}
    }}
}}
""",
        )
        self.server = w.serve("nginx", "origin", ["nginx", "-e", "stderr", "-c", config], 80)
        # all of its ports are opened before it goes on
        wait_until(lambda: netns.listening("origin", 443), "nginx listens on 443")

    def put(self, name, data):
        with open(f"{self.root}/{name}", "wb") as file:
            file.write(data)

    def big(self, name="big", size=32 << 20):
        """A big file that no compression makes small."""
        data = os.urandom(1 << 20) * (size >> 20)
        self.put(name, data)
        return data


class Sshd:
    """sshd on origin, port 22, with keys of its own.

    Where the test is not root outside, sshd runs in one more user namespace as an ordinary user:
    it cannot give up privileges to users that are not mapped.
    """

    def __init__(self, w, host="origin", address=ORIGIN, port=22):
        self.address, self.port = address, port
        self.keys = f"{w.dir}/keys.{host}.{port}"
        os.mkdir(self.keys, 0o700)
        for name in ("host", "user"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{self.keys}/{name}"], check=True
            )
        os.rename(f"{self.keys}/user.pub", f"{self.keys}/authorized")
        as_root = uid_is_mapped(65534)
        self.user = "root" if as_root else "tester"
        prefix = [] if as_root else ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
        config = w.file(
            f"sshd.{host}.{port}.conf",
            f"""
Port {port}
HostKey {self.keys}/host
AuthorizedKeysFile {self.keys}/authorized
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
PrintLastLog no
AcceptEnv *
MaxStartups 100
Subsystem sftp internal-sftp
""",
        )
        self.known = w.file(f"known.{host}.{port}", "")
        self.server = w.serve("sshd", host, [*prefix, "/usr/sbin/sshd", "-D", "-e", "-f", config], port)

    def options(self):
        """Words for ssh and scp."""
        return [
            "-F",
            "none",
            "-i",
            f"{self.keys}/user",
            "-o",
            "StrictHostKeyChecking=accept-new",
            "-o",
            f"UserKnownHostsFile={self.known}",
            "-o",
            "BatchMode=yes",
            "-o",
            "LogLevel=ERROR",
            "-o",
            "GlobalKnownHostsFile=none",
            "-o",
            "CheckHostIP=no",
        ]

    def ssh(self):
        return ["ssh", *self.options(), "-p", str(self.port)]

    def there(self, name=None):
        return f"{self.user}@{name or self.address}"


def uid_is_mapped(uid):
    with open("/proc/self/uid_map", encoding="ascii") as file:
        for line in file:
            first, _, count = (int(word) for word in line.split())
            if first <= uid < first + count:
                return True
    return False


def git_repository(w, www):
    """A repository with some history under the web root, ready for dumb HTTP; its path."""
    work, bare = f"{w.dir}/work.git", f"{www}/repo.git"
    env = w.env(
        {
            f"GIT_{who}_{what}": value
            for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "A"), ("EMAIL", "a@origin.test"), ("DATE", "2024-01-01T00:00:00Z"))
        }
    )

    def git(*words):
        subprocess.run(["git", *words], env=env, check=True, capture_output=True)

    git("init", "-q", "-b", "main", work)
    for number in range(12):
        w.file(f"work.git/file{number}", f"line {number}\n" * (200 * number + 1))
        git("-C", work, "add", "-A")
        git("-C", work, "commit", "-q", "-m", f"change {number}")
    git("clone", "-q", "--bare", work, bare)
    git("-C", bare, "gc", "-q")
    git("-C", bare, "update-server-info")
    return bare
