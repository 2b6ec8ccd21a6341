#!/usr/bin/env python3
"""hooks.py HOOKS TUNNELS VIADUCT: what the preloaded library costs a program that runs.

First calls that are hooked, beside libc's own in the same process, while nothing is under way. Then
connections through a local microsocks, blocking and not, beside the same program that speaks SOCKS5
itself in the same manner; under viaduct and under proxychains4, in rounds of random order. Ratios
count; they are printed, not judged.
"""
import contextlib
import os
import random
import statistics
import subprocess
import sys
import tempfile

from daemons import await_port, free_port, server
from results import keep

ROUNDS, COUNT, OPEN = 9, 500, (10, 1000, 10000)
PAIRS, PAIRED = 100, 400  # of those that differ by a few parts in a hundred


def figure(argv):
    run = subprocess.run(argv, capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(f'{argv}: {run.returncode}\n{run.stdout}{run.stderr}')
    return float(run.stdout.split()[-1])


def calls(hooks, under):
    print('calls with nothing under way, hooked / not:')
    sys.stdout.flush()
    return subprocess.run([*under, hooks, 'calls'], check=False).returncode


def connections(hooks, target, hop, ways):
    """Ratios of each way to the program that speaks SOCKS5 itself, in the same manner."""
    took = {name: [] for name in ways}
    ratios = {name: [] for name in ways}
    words = [str(target), str(hop), str(PAIRED)]
    all_ways = {'blocking': [hooks, 'itself', *words], 'nonblocking': [hooks, 'itself-nonblocking', *words]}
    all_ways |= {name: [*under, hooks, way, *words] for name, (under, way) in ways.items()}
    for _ in range(PAIRS):
        order = random.sample(list(all_ways), len(all_ways))  # who comes next finds the machine as the one before left it
        one = {name: figure(all_ways[name]) for name in order}
        for name, (_, way) in ways.items():
            took[name].append(one[name])
            ratios[name].append(one[name] / one[way])
    print(f'a connection through microsocks / one of a program that speaks SOCKS5 itself, '
          f'medians of {PAIRS} rounds of {PAIRED}:')
    for name in ways:
        keep('connection', *name.split(', '), ratios[name])
        low, high = min(ratios[name]), max(ratios[name])
        print(f'  {name:26} {statistics.median(ratios[name]):.2f}  ({low:.2f} to {high:.2f}),'
              f' {statistics.median(took[name]):.0f} us')


def growth(hooks, target, hop, under):
    """With many descriptors open, to those with few; each pair in one round."""
    ratios = {(way, count): [] for way in ('blocking', 'nonblocking') for count in OPEN}
    for _ in range(ROUNDS):
        for way in ('blocking', 'nonblocking'):
            took = [figure([*under, hooks, way, str(target), str(hop), str(COUNT), str(count)]) for count in OPEN]
            for count, one in zip(OPEN, took):
                ratios[way, count].append(one / took[0])
    print(f'a connection with 1,000 and 10,000 other descriptors open / with {OPEN[0]}, under viaduct:')
    for way in ('blocking', 'nonblocking'):
        print(f'  {way:12} ' + ', '.join(f'{keep("descriptors", way, str(count), ratios[way, count]):.2f}'
                                        for count in OPEN[1:]))


def main(hooks, tunnels, viaduct):
    hop, quiet = free_port(), {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}
    under = [viaduct, '-q', '-b', 'none', '-x', f'socks5h://127.0.0.1:{hop}?probe=no', '--']
    with contextlib.ExitStack() as stack:
        conf = stack.enter_context(tempfile.NamedTemporaryFile('w', suffix='.conf'))
        conf.write(f'strict_chain\nquiet_mode\n[ProxyList]\nsocks5 127.0.0.1 {hop}\n')
        conf.flush()
        peer = ['proxychains4', '-q', '-f', conf.name]
        echo = stack.enter_context(server(tunnels, '--serve', '127.0.0.1:0',
                                          stdout=subprocess.PIPE, text=True))
        target = echo.stdout.readline().split()[1].rpartition(':')[2]
        stack.enter_context(server('microsocks', '-i', '127.0.0.1', '-p', str(hop), **quiet))
        await_port(hop)
        bad = calls(hooks, under)
        connections(hooks, target, hop, {
            'viaduct, blocking': (under, 'blocking'),
            'viaduct, non-blocking': (under, 'nonblocking'),
            'proxychains4, blocking': (peer, 'blocking'),
            'proxychains4, non-blocking': (peer, 'nonblocking'),
        })
        growth(hooks, target, hop, under)
    return bad


if __name__ == '__main__':
    sys.exit(main(*map(os.path.abspath, sys.argv[1:4])))
