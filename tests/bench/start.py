#!/usr/bin/env python3
"""start.py VIADUCT [ROUNDS]: what starting a program under viaduct costs, beside proxychains4.

Starts /bin/true bare, under viaduct and under proxychains4 in turn, ROUNDS times (200 by default),
and prints the medians of the paired differences from bare, and their ratio. The hop is never
dialled; viaduct has its cache of hops to read, where this one is known. Exit status 0 unless a start failed; the ratio is printed, not judged.
"""
import os
import statistics
import sys
import tempfile
import time

from results import keep

HOP = '127.0.0.1', 9


def spent(argv, environment):
    """Milliseconds from start to end of a command."""
    began = time.perf_counter_ns()
    pid = os.posix_spawn(argv[0], argv, environment)
    _, status = os.waitpid(pid, 0)
    took = time.perf_counter_ns() - began
    if status:
        sys.exit(f'{argv}: wait status {status}')
    return took / 1e6


def median_and_spread(values):
    values = sorted(values)
    n = len(values)
    return f'{statistics.median(values):6.3f} ms  (middle half {values[n // 4]:.3f} to {values[3 * n // 4]:.3f})'


def remember(cache):
    os.mkdir(f'{cache}/viaduct', 0o700)
    with open(f'{cache}/viaduct/hops', 'w', encoding='ascii') as file:
        file.write(f'viaduct hops 1\nflight {int(time.time()) + 3600} socks5h://{HOP[0]}:{HOP[1]}\n')


def main(viaduct, rounds):
    with tempfile.TemporaryDirectory() as cache, tempfile.NamedTemporaryFile('w', suffix='.conf') as conf:
        environment = {'PATH': os.environ['PATH'], 'LC_ALL': 'C', 'XDG_CACHE_HOME': cache}
        remember(cache)
        conf.write(f'strict_chain\nproxy_dns\n[ProxyList]\nsocks5 {HOP[0]} {HOP[1]}\n')
        conf.flush()
        true = '/bin/true'
        commands = {
            'bare': [true],
            'viaduct': [viaduct, '-q', '-x', f'socks5h://{HOP[0]}:{HOP[1]}', '--', true],
            'proxychains4': ['/usr/bin/proxychains4', '-q', '-f', conf.name, true],
        }
        times = {name: [] for name in commands}
        for turn in range(rounds + 10):
            for name, argv in commands.items():
                took = spent(argv, environment)
                if turn >= 10:  # the first ones warm the caches
                    times[name].append(took)
    added = {name: [a - b for a, b in zip(times[name], times['bare'])] for name in commands}
    print(f'start of {true}, {rounds} rounds, paired:')
    print(f"  bare                 {median_and_spread(times['bare'])}")
    for name in ('viaduct', 'proxychains4'):
        print(f'  {name:12} adds    {median_and_spread(added[name])}')
    for name in commands:
        keep('start', name, 'ms', added[name] if name != 'bare' else times[name])
    ratio = statistics.median(added['viaduct']) / statistics.median(added['proxychains4'])
    print(f'  viaduct / proxychains4: {ratio:.2f}')


if __name__ == '__main__':
    main(os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200)
