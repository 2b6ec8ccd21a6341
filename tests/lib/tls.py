"""TLS for tests: an authority that signs what it is asked to, and a client that says each alert when
it is told to, which a socket of Python's ssl does not."""

import ipaddress
import os
import socket
import ssl
import struct
import subprocess

from . import tap
from .daemon import HOME, Daemon
from .visit import Visit

HERE = "127.0.0.1"
CUT = "cut"  # the end of a connection without close_notify, or by a reset


def _openssl(*words):
    subprocess.run(["openssl", *words], check=True, capture_output=True)


class Authority:
    """Signs certificates; `path` is its own."""

    def __init__(self, w, name="authority"):
        self.w, self.dir, self.name = w, os.path.join(w.dir, name), name
        os.makedirs(self.dir)
        self.path, self.key = f"{self.dir}/ca.pem", f"{self.dir}/ca.key"
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key,
                 "-out", self.path, "-days", "30", "-subj", f"/CN={name}",
                 "-addext", "basicConstraints=critical,CA:TRUE")
        self.count = 0

    def sign(self, *names, days=("-days", "30"), encrypt=None):
        """(certificate, key): paths of files. Names are host names and addresses."""
        self.count += 1
        base = f"{self.dir}/{self.count}"
        alternatives = ",".join(("IP:" if _is_ip(name) else "DNS:") + name for name in names)
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                 *(("-passout", f"pass:{encrypt}") if encrypt else ("-nodes",)),
                 "-keyout", f"{base}.key", "-out", f"{base}.csr", "-subj", f"/CN={names[0]}",
                 "-addext", f"subjectAltName={alternatives}")
        _openssl("x509", "-req", "-in", f"{base}.csr", "-CA", self.path, "-CAkey", self.key, "-copy_extensions", "copy",
                 "-set_serial", str(self.count), *days, "-out", f"{base}.pem")
        return f"{base}.pem", f"{base}.key"

    def expired(self, *names):
        """Over since yesterday."""
        return self.sign(*names, days=("-days", "-1"))

    def context(self, cert=None, alpn=("http/1.1",)):
        """Of a client that trusts nobody else."""
        context = ssl.create_default_context(cafile=self.path)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if cert:
            context.load_cert_chain(*cert)
        return context

    def wrap(self, name="127.0.0.1", context=None):
        """For Visit: sock -> Tls"""
        return lambda sock: Tls(sock, context or self.context(), name)


def _is_ip(name):
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Tls:
    """TLS over a connected socket, with the face of a socket as far as tests need one."""

    def __init__(self, sock, context, name, session=None):
        self.sock, self.inside, self.outside = sock, ssl.MemoryBIO(), ssl.MemoryBIO()
        self.obj = context.wrap_bio(self.inside, self.outside, server_hostname=name, session=session)
        self._do(self.obj.do_handshake)

    def _flush(self):
        data = self.outside.read()
        if data:
            self.sock.sendall(data)

    def _do(self, action, *arguments):
        while True:
            try:
                result = action(*arguments)
                self._flush()
                return result
            except ssl.SSLWantReadError:
                self._flush()
                data = self.sock.recv(1 << 16)
                if data:
                    self.inside.write(data)
                else:
                    self.inside.write_eof()
            except ssl.SSLError:
                self._flush()
                raise

    def sendall(self, data):
        data = memoryview(data)
        while data:
            data = data[self._do(self.obj.write, data[:1 << 16]):]

    def recv(self, count):
        """b"" behind close_notify; ConnectionError (CUT) where the connection ends without."""
        try:
            return self._do(self.obj.read, count)
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLEOFError as error:
            raise ConnectionError(CUT) from error

    def finish(self):
        """close_notify, and FIN: this side says no more."""
        try:
            self.obj.unwrap()
        except ssl.SSLWantReadError:
            pass
        self._flush()
        self.sock.shutdown(socket.SHUT_WR)

    def bare_end(self):
        """FIN, without a word of TLS."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

    def __getattr__(self, name):
        return getattr(self.sock, name)


def echo(peer):
    peer.sock.settimeout(None)
    while data := peer.sock.recv(65536):
        peer.say(data)


def secure(ca, cert, *options, conf="", kind="https", more=""):
    """A file that has a listener with this certificate."""
    port = ca.w.port()
    text = f'listen t {{ url = "{kind}://{HERE}:{port}" cert = "{cert[0]}" key = "{cert[1]}" {more} }}\n'
    d = Daemon(ca.w, *options, conf=text + conf, listens=1)
    d.text = text
    return d


def inside(ca, d, way, target, name=HERE, context=None, **how):
    return Visit(d.at, way, target, ns=HOME, wrap=ca.wrap(name, context), **how)


def echoes(visit, data=b"hello"):
    visit.sock.sendall(data)
    tap.same(visit.read(len(data)), data, "echo")


def hello(ca, name=HERE):
    """A ClientHello, as it goes over the wire."""
    inside_bio, outside = ssl.MemoryBIO(), ssl.MemoryBIO()
    obj = ca.context().wrap_bio(inside_bio, outside, server_hostname=name)
    try:
        obj.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outside.read()
