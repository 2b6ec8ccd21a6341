"""Scripted hops that bear a flight, and some that do not."""

import socket

from . import netns
from .hostile import join, socks5_reply
from .servers import PASSWORD, USER

LOGIN = f"{USER}:{PASSWORD}"


def echo(peer):
    while data := peer.sock.recv(4096):
        peer.heard += data
        peer.say(data)


def relays(login=None, early=None, pause=0.0, gives=0):
    """A hop that bears a flight: hands on to what it is asked for. `early` gets what came in the
    first segment; after a pause it answers."""

    def script(peer):
        if early is not None:
            early.append(peer.sock.recv(4096, socket.MSG_PEEK))
        peer.socks5_greeting(2 if login else 0)
        if login:
            peer.socks5_login()
        _, host, port = peer.socks5_request()
        peer.pause(pause)
        if gives:
            peer.say(socks5_reply(gives))
            return
        try:
            with netns.inside("proxy"):
                other = socket.create_connection((host, port))
        except OSError:
            peer.say(socks5_reply(5))
            return
        peer.say(socks5_reply(0))
        join(peer.sock, other)

    return script


def one_at_a_time(then):
    """Takes each segment for one message and forgets what comes behind, as microsocks does."""

    def script(peer):
        peer.heard += peer.sock.recv(4096)
        peer.say(b"\5\0")
        peer.heard += peer.sock.recv(4096)
        then(peer)

    return script


def closes_on_flights(then):
    def script(peer):
        peer.heard += peer.sock.recv(4096)
        if len(peer.heard) > 3:
            return
        peer.say(b"\5\0")
        peer.heard += peer.sock.recv(4096)
        then(peer)

    return script


def replies(code):
    return lambda peer: peer.say(socks5_reply(code))


def echoes(peer):
    peer.say(socks5_reply(0))
    echo(peer)


def web(peer):
    """A web server where a proxy was thought to be: takes anything for a request."""
    peer.heard += peer.sock.recv(4096)
    peer.say(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    peer.wait_for_end()
