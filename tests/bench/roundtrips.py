#!/usr/bin/env python3
"""roundtrips.py VIADUCT VIADUCTD [LINK]: how many round trips a chain costs, beside proxychains4.

Chains of 1, 2, 3 and 5 SOCKS5 hops (viaductd), each a link of LINK seconds, there and back, behind
the one before it (0.15 by default); a target that is next to the last hop. Counted is the time from
connect() to the first byte that the target sends back, in links; connecting to a hop costs none, so
that the handshakes alone are seen, and 1 for each hop is what the program's own bytes need. Medians
of rounds that alternate; they are printed, not judged.
"""
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from bench.daemons import await_port, free_port, server
from bench.results import keep
from lib.delay import Delayed

HERE, ROUNDS, CHAINS = '127.0.0.1', 3, (1, 2, 3, 5)

PROGRAM = '''
import socket, sys, time
for _ in range(2):
    s = socket.socket()
    began = time.monotonic()
    s.connect((sys.argv[1], int(sys.argv[2])))
    s.sendall(b"x")
    assert s.recv(1) == b"x"
    took = time.monotonic() - began
    s.close()
print(took)
'''


def echo(listener):
    def serve(sock):
        with sock:
            while data := sock.recv(4096):
                sock.sendall(data)

    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


def seconds(under, target):
    """Of the second of two connections: the first may find things out."""
    argv = [*under, '/usr/bin/python3', '-c', PROGRAM, HERE, str(target)]
    run = subprocess.run(argv, capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(f'{argv}: {run.returncode}\n{run.stdout}{run.stderr}')
    return float(run.stdout)


def chain_of(viaduct, links, option):
    words = [word for link in links for word in ('-x', link.url(options=option))]
    return [viaduct, '-q', '-b', 'none', *words, '--']


def peer_of(stack, links):
    conf = stack.enter_context(tempfile.NamedTemporaryFile('w', suffix='.conf'))
    conf.write('strict_chain\nquiet_mode\ntcp_read_time_out 60000\n[ProxyList]\n')
    conf.writelines(f'socks5 {HERE} {link.port}\n' for link in links)
    conf.flush()
    return ['proxychains4', '-q', '-f', conf.name]


def figures(stack, viaduct, hops, target, link):
    print(f'round trips to the first byte back, links of {link * 1000:.0f} ms, medians of {ROUNDS}:')
    print('  hops   viaduct, known hops   viaduct, serial   proxychains4')
    for count in CHAINS:
        links = [stack.enter_context(Delayed(None, HERE, 0, (HERE, hop), link / 2)) for hop in hops[:count]]
        ways = {'known': chain_of(viaduct, links, '?pipeline=lead'),
                'serial': chain_of(viaduct, links, '?pipeline=off'), 'peer': peer_of(stack, links)}
        took = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, under in ways.items():
                took[name].append(seconds(under, target) / link)
        names = ('viaduct', 'viaduct, serial', 'proxychains4')
        known, serial, peer = (keep('roundtrips', name, str(count), took[way]) for name, way in zip(names, ways))
        print(f'  {count:4}   {known:19.2f}   {serial:15.2f}   {peer:12.2f}')
        sys.stdout.flush()


def main(viaduct, viaductd, link):
    quiet = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((HERE, 0)))
        threading.Thread(target=echo, args=(listener,), daemon=True).start()
        hops = [free_port() for _ in range(max(CHAINS))]
        for port in hops:
            stack.enter_context(server(viaductd, '-q', '-w', '1', '-l', f'{HERE}:{port}', **quiet))
            await_port(port)
        figures(stack, viaduct, hops, listener.getsockname()[1], link)


if __name__ == '__main__':
    main(*map(os.path.abspath, sys.argv[1:3]), float(sys.argv[3]) if len(sys.argv) > 3 else 0.15)
