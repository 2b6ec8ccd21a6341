#!/usr/bin/env python3
"""syscalls.py TUNNELS VIADUCTD: the system calls of one tunnel, by strace, of viaductd and microsocks.

1,000 tunnels, one after the other, of 64 bytes and their echo; what the servers call meanwhile, for
one tunnel. Calls that are made less than once in fifty tunnels are left out.
"""
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time

from daemons import await_port, family, free_port, server

COUNT, SELDOM = 1000, 0.02
QUIET = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}


def calls(pid, load, path):
    pids = [word for one in family(pid) for word in ('-p', str(one))]
    trace = subprocess.Popen(['strace', '-f', '-c', '-U', 'name,calls', '-o', path, *pids], stderr=subprocess.PIPE, text=True)
    trace.stderr.readline()  # it is attached
    time.sleep(0.3)
    subprocess.run(load, check=True, **QUIET)
    time.sleep(0.3)
    trace.terminate()
    trace.wait()
    with open(path, encoding='ascii') as file:
        found = re.findall(r'^(\w+) +(\d+)$', file.read(), re.M)
    return {name: int(count) / COUNT for name, count in found if int(count) >= SELDOM * COUNT and name != 'total'}


def main(tunnels, viaductd):
    ports = [free_port(), free_port()]
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory())
        echo = stack.enter_context(server(tunnels, '--serve', '127.0.0.1:0', stdout=subprocess.PIPE, text=True))
        target = '127.0.0.1:' + echo.stdout.readline().split()[1]
        servers = {'viaductd': [viaductd, '-q', '-w', '1', '-l', f'127.0.0.1:{ports[0]}'],
                   'microsocks': ['microsocks', '-i', '127.0.0.1', '-p', str(ports[1])]}
        for port, (name, argv) in zip(ports, servers.items()):
            process = stack.enter_context(server(*argv, **QUIET))
            await_port(port)
            load = [tunnels, '--proxy', f'127.0.0.1:{port}', '--target', target, '--sequential', str(COUNT)]
            got = calls(process.pid, load, f'{place}/{name}')
            print(f'{name}: {sum(got.values()):.1f} system calls for a tunnel: ' +
                  ', '.join(f'{call} {count:.1f}' for call, count in sorted(got.items(), key=lambda item: -item[1])))


if __name__ == '__main__':
    main(*map(os.path.abspath, sys.argv[1:3]))
