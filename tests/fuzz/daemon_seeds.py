#!/usr/bin/env python3
"""daemon_seeds.py DIR: scripts for fuzz_daemon (tests/fuzz/feed.h), a file each in DIR: the transcripts of
the other targets' seeds, said to a whole worker, and whole sessions."""
import pathlib
import struct
import sys

SEEDS = pathlib.Path(__file__).parent / 'seeds'
(CLIENT_SAYS, TARGET_SAYS, CLIENT_ENDS, TARGET_ENDS, CLIENT_LEAVES, TARGET_LEAVES, TIME, COMES, FATE,
 DATAGRAM, NAMES, HOLD, SHORTAGE, SIGNAL, HELPER) = range(15)
(SOON, AT_ONCE, REFUSED, REFUSED_LATER, SILENT, UNREACHABLE, ENDED) = range(7)
DIRECT, USERS, CHAIN, CHAIN_NAMES = range(4)
# Listeners, the newest first: of DIRECT five, of the others the last two.
FORWARD, HTTP, PROXY_LINE, V6, V4 = range(5)
OTHERS_V6, OTHERS_V4 = range(2)

GREETING = b'\5\1\0'
LOGIN = b'\5\1\2\1\3ann\12wonderland'
HASHED = b'\5\1\2\1\3bob\12wonderland'
BY_NAME = b'\0\3\13example.com\0\120'
BY_ADDRESS = b'\0\1\313\0\161\120\0\120'  # 203.0.113.80:80


def op(which, who=0, rest=b''):
    return bytes([which, who]) + rest


def says(which, data, who=0, chunk=255):
    return b''.join(op(which, who, bytes([len(part)]) + part)
                    for part in (data[i:i + chunk] for i in range(0, len(data), chunk)))


def client(data, who=0, chunk=255):
    return says(CLIENT_SAYS, data, who, chunk)


def target(data, who=0, chunk=255):
    return says(TARGET_SAYS, data, who, chunk)


def datagram(data, sender=0, who=0):
    return op(DATAGRAM, who, bytes([sender, min(len(data), 255)]) + data[:255])


def value(which, number):
    return op(which, 0, bytes([number]))


TALK = target(b'hello') + client(b'more') + target(b'and more') + op(CLIENT_ENDS) + op(TARGET_ENDS)
CONNECT = GREETING + b'\5\1' + BY_NAME
ASSOCIATE = GREETING + b'\5\3\0\1\0\0\0\0\0\0'
BIND = GREETING + b'\5\2' + BY_ADDRESS
GRANTED = b'\5\0\0\1\306\63\144\2\47\17'
TO_TARGET = b'\0\0\0\1\313\0\161\120\0\65question'


def of_accept(data):
    world = USERS if data[0] & 4 else DIRECT
    listener = OTHERS_V4 if world == USERS else V4
    for chunk, name in ((255, ''), (3, '-slowly')):
        yield name, bytes([world, listener]) + client(data[3:], chunk=chunk) + TALK


def of_shake(data):
    for world, command, name in ((CHAIN, CONNECT, ''), (CHAIN, BIND, '-bind'), (CHAIN_NAMES, CONNECT, '-names')):
        yield name, (bytes([world, OTHERS_V4]) + client(command) + target(data[6:]) + target(data[6:], 1)
                     + TALK)


def of_udp(data):
    yield '', (bytes([DIRECT, V4]) + client(ASSOCIATE) + datagram(data[2:]) + datagram(TO_TARGET, 0, 1)
               + datagram(b'answer', 6))
    yield '-chain', (bytes([CHAIN, OTHERS_V4]) + client(ASSOCIATE) + target(b'\5\0' + GRANTED)
                     + target(b'\5\0' + GRANTED) + target(b'\5\0' + GRANTED) + datagram(TO_TARGET, 0, 1)
                     + datagram(data[2:], 7))


def of_http(data):
    body = data[2:]
    if data[0] & 1 or body.startswith(b'HTTP/'):
        request = b'GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n'
        yield '', bytes([DIRECT, HTTP]) + client(request) + target(body) + op(TARGET_ENDS)
    else:
        answer = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
        yield '', bytes([DIRECT, HTTP]) + client(body) + target(answer) + client(body) + target(answer)


def of_proxyline(data):
    yield '', bytes([DIRECT, PROXY_LINE]) + client(data + CONNECT) + TALK


SOURCES = {'fuzz_accept': of_accept, 'fuzz_shake': of_shake, 'fuzz_udp': of_udp, 'fuzz_http': of_http,
           'fuzz_proxyline': of_proxyline}


def sessions():
    direct, users = bytes([DIRECT, V4]), bytes([USERS, OTHERS_V4])
    for fate in range(7):
        yield f'fate-{fate}', direct + value(FATE, fate) + client(CONNECT) + TALK + value(TIME, 7)
    for answer in range(8):
        yield f'names-{answer}', (direct + value(NAMES, answer) + client(CONNECT) + value(TIME, 5)
                                  + value(TIME, 7) + TALK)
    for kind in range(11):
        yield f'time-{kind}', direct + client(CONNECT) + target(b'x') + value(TIME, kind)
        yield f'half-closed-{kind}', direct + client(CONNECT) + op(CLIENT_ENDS) + value(TIME, kind)
    for gone in (CLIENT_LEAVES, TARGET_LEAVES):
        yield f'reset-{gone}', direct + client(CONNECT) + target(b'x') + client(b'y') + op(gone)
        yield f'drained-{gone}', direct + client(CONNECT) + op(SIGNAL, 1) + target(b'x') + op(gone)
    yield 'held', direct + client(CONNECT) + op(HOLD) + client(b'x' * 60000) + op(HOLD) + TALK
    yield 'held-and-reset', direct + client(CONNECT) + op(HOLD) + client(b'x' * 60000) + op(CLIENT_LEAVES)
    yield 'shortage', direct + value(SHORTAGE, 3) + client(CONNECT) + value(TIME, 3) + TALK
    yield 'crowd', direct + value(COMES, 0) * 12 + client(CONNECT, 3) + client(CONNECT, 4) + TALK
    yield 'v6', bytes([DIRECT, V6]) + client(GREETING + b'\5\1\0\4' + b'\x20\1\x0d\xb8' + bytes(12) + b'\0\120') + TALK
    for peer in range(6):
        yield f'bind-{peer}', direct + client(BIND) + value(COMES, peer) + client(b'file', 0) + client(b'ok', 1)
        yield f'login-{peer}', users + value(HELPER, peer) + client((LOGIN, HASHED)[peer % 2] + CONNECT[3:]) + TALK
    yield 'login-wrong', users + client(b'\5\1\2\1\3ann\5wrong' + CONNECT[3:]) + TALK
    yield 'login-hashed-wrong', users + client(b'\5\1\2\1\3bob\5wrong' + CONNECT[3:]) + TALK
    yield 'removed', users + client(LOGIN + CONNECT[3:]) + op(SIGNAL, 0) + TALK
    yield 'basic', users + client(b'CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\nProxy-Authorization: Basic '
                                  b'YW5uOndvbmRlcmxhbmQ=\r\n\r\n') + TALK
    yield 'forward', bytes([DIRECT, FORWARD]) + client(b'x') + TALK
    yield 'forward-all-down', bytes([DIRECT, FORWARD]) + value(FATE, REFUSED) + value(TIME, 5) + client(b'x')
    hop = target(b'\5\0') + target(GRANTED)
    yield 'chain', bytes([CHAIN, OTHERS_V4]) + client(CONNECT) + hop + target(b'HTTP/1.1 200 OK\r\n\r\n') + TALK
    yield 'chain-falls-back', (bytes([CHAIN, OTHERS_V4]) + value(FATE, REFUSED) + client(CONNECT)
                               + target(b'\0\132' + bytes(6)) + TALK)
    yield 'chain-is-slow', bytes([CHAIN, OTHERS_V4]) + client(CONNECT) + value(TIME, 7) + hop + TALK
    yield 'chain-is-checked', bytes([CHAIN, OTHERS_V4]) + value(TIME, 7) + hop + target(b'HTTP/1.1 200 OK\r\n\r\n')
    query = struct.pack('>H', 12) + bytes(12)
    yield 'names-of-the-chain', bytes([CHAIN_NAMES, OTHERS_V4]) + client(CONNECT) + hop + target(query)


def write(folder):
    for source, make in SOURCES.items():
        for path in sorted((SEEDS / source).iterdir()):
            for name, script in make(path.read_bytes()):
                (folder / f'{source[5:]}-{path.name}{name}').write_bytes(script)
    for name, script in sessions():
        (folder / f'session-{name}').write_bytes(script)
    for path in (SEEDS / 'fuzz_daemon').iterdir():
        (folder / f'found-{path.name}').write_bytes(path.read_bytes())


if __name__ == '__main__':
    pathlib.Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    write(pathlib.Path(sys.argv[1]))
