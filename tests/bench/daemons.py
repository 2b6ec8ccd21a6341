#!/usr/bin/env python3
"""daemons.py TUNNELS VIADUCTD: tunnels through viaductd beside microsocks, side by side.

10,000 tunnels, 64 at a time, in rounds that alternate between the two, then 500 open at once; every
tunnel carries bytes to an echo server and back. Prints tunnels per second and processor time for
each, their ratios, and what viaductd holds before and after. Fails when a tunnel does.
"""
import contextlib
import os
import re
import socket
import statistics
import subprocess
import sys
import time

from results import keep

ROUNDS, COUNT, CLIENTS, TOGETHER = 5, 2000, 64, 500
TICKS = os.sysconf('SC_CLK_TCK')


@contextlib.contextmanager
def server(*argv, **options):
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as s:
        return s.getsockname()[1]


def await_port(port):
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', port), 1):
            return
        time.sleep(0.05)
    sys.exit(f'nobody listens on port {port}')


def family(pid):
    """A process and its descendants; those of danted come and go."""
    try:
        with open(f'/proc/{pid}/task/{pid}/children', encoding='ascii') as f:
            return [pid, *(one for child in f.read().split() for one in family(child))]
    except OSError:
        return []


def cpu_seconds(pid):
    """Of a process and its family, those that have ended too: of these alone the kernel counts ticks."""
    total = 0
    for one in family(pid):
        with contextlib.suppress(OSError), open(f'/proc/{one}/stat', encoding='ascii') as f:
            fields = f.read().rpartition(')')[2].split()
            total += time.clock_gettime(~int(one) << 3 | 2) + sum(map(int, fields[13:15])) / TICKS
    return total


def held(pid):
    """(descriptors, KiB of memory) of a process and its children."""
    fds = kib = 0
    for one in family(pid):
        fds += len(os.listdir(f'/proc/{one}/fd'))
        with open(f'/proc/{one}/smaps_rollup', encoding='ascii') as f:
            kib += int(re.search(r'^Pss:\s+(\d+)', f.read(), re.M)[1])
    return fds, kib


class Bench:
    def __init__(self, tunnels, target):
        self.tunnels, self.target, self.bad = tunnels, target, 0

    def load(self, port, pid, *how):
        """Runs the load program: (its figures, microseconds of the server's CPU per tunnel)."""
        before = cpu_seconds(pid)
        run = subprocess.run([self.tunnels, '--proxy', f'127.0.0.1:{port}', '--target', self.target,
                              *map(str, how)], capture_output=True, text=True, check=False)
        figures = dict(re.findall(r'(\w+)=([\d.]+)', run.stdout.splitlines()[-1]))
        if run.returncode:
            print(f'  errors: {run.stdout}{run.stderr}')
            self.bad += 1
        spent = cpu_seconds(pid) - before
        return figures, spent * 1e6 / float(figures['tunnels'])


def compare(bench, servers):
    rates = {name: [] for name in servers}
    costs = {name: [] for name in servers}
    for _ in range(ROUNDS):
        for name, (port, pid) in servers.items():
            figures, cost = bench.load(port, pid, '--sequential', COUNT, '--clients', CLIENTS)
            rates[name].append(float(figures['per_second']))
            costs[name].append(cost)
    print(f'{ROUNDS * COUNT} tunnels each, {CLIENTS} at a time, medians of {ROUNDS} rounds:')
    for name in servers:
        keep('default workers', name, 'tunnels/s', rates[name])
        keep('default workers', name, 'CPU us', costs[name])
        print(f'  {name:11} {statistics.median(rates[name]):8.0f} tunnels/s'
              f' (from {min(rates[name]):.0f} to {max(rates[name]):.0f}),'
              f' {statistics.median(costs[name]):5.0f} us of CPU each')
    for what, of in (('tunnels/s', rates), ('CPU', costs)):
        ratio = keep('beside microsocks', 'viaductd', what, [a / b for a, b in zip(of['viaductd'], of['microsocks'])])
        print(f'  viaductd / microsocks, {what}: {ratio:.2f}')


def together(bench, servers):
    print(f'{TOGETHER} tunnels open at once:')
    for name, (port, pid) in servers.items():
        figures, _ = bench.load(port, pid, '--parallel', TOGETHER)
        print(f"  {name:11} {figures['errors']} errors, {figures['seconds']} s in all, "
              f"99 % within {int(figures['p99_us']) / 1000:.1f} ms")


def main(tunnels, viaductd):
    ports = {'microsocks': free_port(), 'viaductd': free_port()}
    quiet = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}
    with contextlib.ExitStack() as stack:
        echo = stack.enter_context(server(tunnels, '--serve', '127.0.0.1:0',
                                          stdout=subprocess.PIPE, text=True))
        bench = Bench(tunnels, '127.0.0.1:' + echo.stdout.readline().split()[1])
        peer = stack.enter_context(server('microsocks', '-i', '127.0.0.1', '-p',
                                          str(ports['microsocks']), **quiet))
        ours = stack.enter_context(server(viaductd, '-q', '-l', f"127.0.0.1:{ports['viaductd']}",
                                          **quiet))
        for port in ports.values():
            await_port(port)
        servers = {'microsocks': (ports['microsocks'], peer.pid),
                   'viaductd': (ports['viaductd'], ours.pid)}
        for port, pid in servers.values():  # the first ones warm up
            bench.load(port, pid, '--parallel', TOGETHER)
        time.sleep(0.5)
        before = held(ours.pid)
        compare(bench, servers)
        together(bench, servers)
        time.sleep(0.5)
        after = held(ours.pid)
        print(f'viaductd held {before[0]} descriptors and {before[1]} KiB before, '
              f'{after[0]} and {after[1]} after')
        if after[0] != before[0]:
            print('  descriptors were left behind')
            bench.bad += 1
    return 1 if bench.bad else 0


if __name__ == '__main__':
    sys.exit(main(*map(os.path.abspath, sys.argv[1:3])))
