"""More proxies of other makers, for their manners in a handshake."""

import os
import signal
import subprocess

from .servers import PASSWORD, USER, Hop, uid_is_mapped
from .world import wait_until


def _prefix():
    """What gives up root for `nobody` needs that user, or a user namespace without root in it."""
    return [] if uid_is_mapped(65534) else ["unshare", "--user", "--map-user=1000", "--map-group=1000"]


def _home(w, name):
    os.mkdir(f"{w.dir}/{name}")
    os.chmod(f"{w.dir}/{name}", 0o777)
    return f"{w.dir}/{name}"


def squid(w, login=False):
    """With persistent connections, as it comes."""
    port = w.port()
    home = _home(w, f"squid.{port}")
    w.file(f"squid.{port}/forbidden", "1\n")
    lines = [
        f"http_port {port}",
        "cache deny all",
        f"pid_filename {home}/pid",
        f"access_log stdio:{home}/access",
        f"cache_log {home}/cache",
        f"coredump_dir {home}",
        "visible_hostname squid.test",
        "shutdown_lifetime 0 seconds",
        "pinger_enable off",
        f'acl forbidden port "{home}/forbidden"',
        "http_access deny forbidden",
    ]
    if _prefix() == []:
        lines += ["cache_effective_user nobody", "cache_effective_group nogroup"]
    if login:
        crypted = subprocess.run(
            ["openssl", "passwd", "-apr1", PASSWORD], capture_output=True, text=True, check=True
        ).stdout.strip()
        users = w.file(f"squid.{port}.users", f"{USER}:{crypted}\n")
        lines += [
            f"auth_param basic program /usr/lib/squid/basic_ncsa_auth {users}",
            "auth_param basic children 2 startup=1",
            "acl known proxy_auth REQUIRED",
            "http_access allow known",
        ]
    lines.append(f"http_access {'deny' if login else 'allow'} all")
    config = w.file(f"squid.{port}.conf", "\n".join(lines) + "\n")
    server = w.serve("squid", "proxy", [*_prefix(), "squid", "-N", "-d", "1", "-f", config], port, seconds=30)
    return Hop(server, port, ("http",), (USER, PASSWORD) if login else None)


def squid_forbids(w, hop, port):
    """From now on CONNECT to this port is refused."""
    w.file(f"squid.{hop.port}/forbidden", f"{port}\n")
    with open(f"{w.dir}/squid.{hop.port}/cache", encoding="utf-8", errors="replace") as log:
        log.seek(0, os.SEEK_END)
        hop.server.proc.send_signal(signal.SIGHUP)
        wait_until(lambda: "Accepting HTTP" in log.read(), "squid has read its configuration again")


def apache(w):
    """mod_proxy_connect with KeepAlive."""
    port = w.port()
    home = _home(w, f"apache.{port}")
    modules = "".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
        for name in ("mpm_event", "authz_core", "proxy", "proxy_connect", "proxy_http")
    )
    config = w.file(
        f"apache.{port}.conf",
        f"""{modules}
ServerRoot {home}
ServerName apache.test
Listen 0.0.0.0:{port}
{"User nobody" if _prefix() == [] else ""}
{"Group nogroup" if _prefix() == [] else ""}
PidFile {home}/pid
ErrorLog /dev/stderr
KeepAlive On
KeepAliveTimeout 30
ProxyRequests On
AllowCONNECT 1-65535
<Proxy *>
Require expr "! -f '{home}/forbidden' || %{{THE_REQUEST}} =~ m#:7 #"
</Proxy>
""",
    )
    server = w.serve("apache2", "proxy", [*_prefix(), "apache2", "-X", "-f", config], port)
    return Hop(server, port, ("http",))


def apache_forbids(w, hop, _port):
    """From now on CONNECT is refused, but to port 7."""
    w.file(f"apache.{hop.port}/forbidden", "")


def privoxy(w):
    port = w.port()
    config = w.file(
        f"privoxy.{port}.conf",
        f"""
listen-address 0.0.0.0:{port}
confdir /etc/privoxy
logdir {w.dir}
toggle 0
keep-alive-timeout 30
tolerate-pipelining 1
""",
    )
    server = w.serve("privoxy", "proxy", [*_prefix(), "privoxy", "--no-daemon", config], port)
    return Hop(server, port, ("http",))


def tor(w, more=""):
    """Its SOCKS port; there is no network behind it, so every CONNECT waits."""
    port = w.port()
    home = f"{w.dir}/tor.{port}"
    os.mkdir(home, 0o700)
    config = w.file(
        f"torrc.{port}",
        f"SocksPort 0.0.0.0:{port}\nDataDirectory {home}\nLog notice stderr\nSocksTimeout 10\n{more}",
    )
    server = w.serve("tor", "proxy", ["tor", "--defaults-torrc", "/dev/null", "-f", config], port, seconds=30)
    return Hop(server, port, ("socks5h",))
