#!/usr/bin/env python3
"""supervise.py HOOKS SYSCALLS TUNNELS VIADUCT: what a supervisor costs a static program.

A blocking connection through a local microsocks, beside the same program that speaks SOCKS5 itself,
in rounds that alternate; and what other system calls cost more below the filter. The goals are at
most 1.4 times, and less than 60 ns.
"""
import contextlib
import os
import statistics
import subprocess
import sys

from daemons import await_port, free_port, server
from results import keep

ROUNDS, COUNT, CALLS = 15, 500, 3000
KINDS = ('one that does nothing', 'a read', 'a receive')


def figures(argv):
    run = subprocess.run(argv, capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(f'{argv}: {run.returncode}\n{run.stdout}{run.stderr}')
    return [float(word) for word in run.stdout.split()[-3:]]


def connections(hooks, target, hop, under):
    words = [str(target), str(hop), str(COUNT)]
    ratios, took = [], []
    for _ in range(ROUNDS):
        base = figures([hooks, 'itself', *words])[-1]
        one = figures([*under, hooks, 'blocking', *words])[-1]
        ratios.append(one / base)
        took.append(one)
    print(f'a connection of a static program / one of a program that speaks SOCKS5 itself, median of {ROUNDS} '
          f'rounds of {COUNT}:\n  {keep("supervised", "connection", "viaduct", ratios):.2f}  ({min(ratios):.2f} to '
          f'{max(ratios):.2f}), {statistics.median(took):.0f} us')


def calls(syscalls, under):
    more = [[] for _ in KINDS]
    for _ in range(ROUNDS):
        base = figures([syscalls, str(CALLS)])
        supervised = figures([*under, syscalls, str(CALLS)])
        for list_of, one, other in zip(more, base, supervised):
            list_of.append(other - one)
    print('other system calls, ns more below the filter, medians:')
    for name, values in zip(KINDS, more):
        print(f'  {name:22} {keep("supervised", name, "ns", values):.1f}')


def main(hooks, syscalls, tunnels, viaduct):
    hop, quiet = free_port(), {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}
    under = [viaduct, '-q', '-b', 'none', '-x', f'socks5h://127.0.0.1:{hop}?probe=no', '--']
    with contextlib.ExitStack() as stack:
        echo = stack.enter_context(server(tunnels, '--serve', '127.0.0.1:0', stdout=subprocess.PIPE, text=True))
        target = echo.stdout.readline().split()[1].rpartition(':')[2]
        stack.enter_context(server('microsocks', '-i', '127.0.0.1', '-p', str(hop), **quiet))
        await_port(hop)
        connections(hooks, target, hop, under)
        calls(syscalls, under)


if __name__ == '__main__':
    sys.exit(main(*map(os.path.abspath, sys.argv[1:5])))
