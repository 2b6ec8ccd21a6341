#!/usr/bin/env python3
"""datagrams.py DATAGRAMS VIADUCT VIADUCTD: what a datagram through the chain costs the program.

A datagram of 1,200 bytes and its echo through one hop: of a program that speaks to the relay itself,
and of one that knows nothing of it and runs under viaduct, in rounds that alternate. Ratios count;
they are printed, not judged.
"""
import contextlib
import os
import statistics
import subprocess
import sys

from daemons import await_port, free_port, server
from results import keep

ROUNDS, COUNT = 9, 20000


def figures(argv):
    run = subprocess.run(argv, capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(f'{argv}: {run.returncode}\n{run.stdout}{run.stderr}')
    return [float(word) for word in run.stdout.split()[-2:]]


def main(datagrams, viaduct, viaductd):
    hop = free_port()
    under = [viaduct, '-q', '-b', 'none', '-x', f'socks5h://127.0.0.1:{hop}?probe=no', '--']
    with contextlib.ExitStack() as stack:
        echo = stack.enter_context(server(datagrams, 'serve', stdout=subprocess.PIPE, text=True))
        target = echo.stdout.readline().strip()
        stack.enter_context(server(viaductd, '-q', '-l', f'127.0.0.1:{hop}', '-a', '127.0.0.0/8'))
        await_port(hop)
        words = [target, str(hop), str(COUNT)]
        pairs = [(figures([datagrams, 'itself', *words]),
                  figures([*under, datagrams, 'plain', *words])) for _ in range(ROUNDS)]
    print(f'a datagram and its echo through one hop / one of a program that speaks to the relay '
          f'itself, medians of {ROUNDS} rounds of {COUNT}:')
    for at, name in enumerate(('processor time', 'time')):
        ratios = [via[at] / itself[at] for itself, via in pairs]
        keep('datagram', 'viaduct', name, ratios)
        print(f'  {name:16} {statistics.median(ratios):.2f}  ({min(ratios):.2f} to '
              f'{max(ratios):.2f}), {statistics.median(via[at] for _, via in pairs):.1f} us')
    return 0


if __name__ == '__main__':
    sys.exit(main(*map(os.path.abspath, sys.argv[1:4])))
