"""vsftpd on the origin host, both families; its files; and clients that people use, each as a function
that makes the words of a session."""

import hashlib
import os

from . import netns
from .world import ORIGIN, wait_until

PORT = 21


class Vsftpd:
    """Anonymous, into a folder for what comes and with a file to take."""

    def __init__(self, w, size=10 << 20, host="origin", port=PORT, more=""):
        self.root, self.port, self.address = f"{w.dir}/ftp.{host}.{port}", port, ORIGIN
        self.incoming = f"{self.root}/in"
        os.makedirs(self.incoming)
        os.chmod(self.incoming, 0o777)
        self.data = os.urandom(1 << 20) * (size >> 20)
        with open(f"{self.root}/big", "wb") as file:
            file.write(self.data)
        os.makedirs("/run/vsftpd/empty", exist_ok=True)
        config = w.file(
            f"vsftpd.{host}.{port}.conf",
            f"""
listen=NO
listen_ipv6=YES
listen_port={port}
background=NO
run_as_launching_user=YES
anonymous_enable=YES
anon_root={self.root}
no_anon_password=YES
write_enable=YES
anon_upload_enable=YES
anon_world_readable_only=NO
anon_umask=022
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
connect_from_port_20=NO
pasv_min_port=40000
pasv_max_port=40999
connect_timeout=3
accept_timeout=3
xferlog_enable=YES
log_ftp_protocol=YES
syslog_enable=NO
xferlog_file={w.dir}/vsftpd.{port}.log
vsftpd_log_file={w.dir}/vsftpd.{port}.log
ftp_username=root
nopriv_user=nobody
{more}
""",
            0o600,
        )
        self.path = f"{w.dir}/vsftpd.{port}.log"
        self.server = w.serve("vsftpd", host, ["vsftpd", config], port)
        wait_until(lambda: netns.listening(host, port), "vsftpd listens")

    def said(self):
        """What it was told and said so far."""
        try:
            with open(self.path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def came(self, name):
        """The digest of a file that was put, which is taken away; None: it is not there."""
        path = f"{self.incoming}/{name}"
        if not os.path.exists(path):
            return None
        value = digest(path)
        os.unlink(path)
        return value


def digest(path_or_bytes):
    if isinstance(path_or_bytes, bytes):
        return hashlib.sha256(path_or_bytes).hexdigest()
    with open(path_or_bytes, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


# --- clients ---------------------------------------------------------------------------------
#
# Each: (words, what it reads) of a session at `host` that lists the folder, gets "big" as `to` and puts
# `to` back as "in/NAME". `extended`: EPRT and EPSV in place of PORT and PASV.


def tnftp(host, active, extended, to, name):
    script = f"""user anonymous x@y.test
binary
{"" if extended else "epsv4"}
ls
get big {to}
put {to} in/{name}
quit
"""
    return ["tnftp", "-n", "-v", "-A" if active else "-p", host], script.encode()


def lftp(host, active, extended, to, name):
    settings = [
        f"ftp:passive-mode {'no' if active else 'yes'}",
        f"ftp:prefer-epsv {'yes' if extended else 'no'}",
        f"ftp:use-feat {'yes' if extended else 'no'}", "ftp:use-site-utime no", "net:max-retries 1", "net:timeout 10", "cmd:fail-exit yes", "xfer:clobber yes",
    ]
    words = ";".join([f"set {s}" for s in settings])
    host = f"[{host}]" if ":" in host else host
    return ["lftp", "-c", f"{words}; open ftp://{host}; ls; get big -o {to}; put {to} -o in/{name}"], b""


def curl(host, active, extended, to, name):
    """Three commands, one after the other."""
    if active:
        way = ["--ftp-port", "-"] + ([] if extended else ["--disable-eprt"])
    else:
        way = [] if extended else ["--disable-epsv"]
    host = f"[{host}]" if ":" in host else host
    common = f"curl -sS -g --max-time 20 {' '.join(way)}"
    return ["sh", "-ec",
            f"{common} ftp://{host}/\n{common} -o {to} ftp://{host}/big\n{common} -T {to} ftp://{host}/in/{name}"], b""


CLIENTS = {"tnftp": tnftp, "lftp": lftp, "curl": curl}
