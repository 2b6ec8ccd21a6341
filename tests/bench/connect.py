#!/usr/bin/env python3
"""connect.py CONNECT VIADUCT [ROUNDS]: what a connection through a local hop costs.

The same program connects through microsocks, COUNT times a round: speaking SOCKS5 itself, and with
plain connect() under viaduct and proxychains4; rounds interleaved.
Prints the median of the paired ratios to the program that speaks SOCKS5 itself.
"""
import os
import statistics
import subprocess
import sys
import tempfile
import time

COUNT = 400


def measure(argv):
    out = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    if out.returncode:
        sys.exit(f'{argv}: {out.stderr}')
    return float(out.stdout.split()[-1])


def main(program, viaduct, rounds):
    server = subprocess.Popen([program, 'serve'], stdout=subprocess.PIPE, text=True)
    port = server.stdout.readline().strip()
    hop_port = '19180'
    hop = subprocess.Popen(['microsocks', '-i', '127.0.0.1', '-p', hop_port],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.3)
    conf = tempfile.NamedTemporaryFile('w', suffix='.conf')
    conf.write(f'strict_chain\nproxy_dns\n[ProxyList]\nsocks5 127.0.0.1 {hop_port}\n')
    conf.flush()
    ours = [viaduct, '-q', '-b', 'none', '-x', f'socks5h://127.0.0.1:{hop_port}', '--']
    theirs = ['proxychains4', '-q', '-f', conf.name]
    rows = {
        'self': [program, 'self'],
        'viaduct': ours + [program, 'blocking'],
        'self-poll': [program, 'self-poll'],
        'viaduct poll': ours + [program, 'poll'],
        'proxychains4': theirs + [program, 'blocking'],
    }
    times = {name: [] for name in rows}
    try:
        for _ in range(rounds):
            for name, argv in rows.items():
                times[name].append(measure(argv + [port, hop_port, str(COUNT)]))
    finally:
        hop.kill()
        server.kill()
    for name in rows:
        base = 'self-poll' if 'poll' in name else 'self'
        ratios = [a / b for a, b in zip(times[name], times[base])]
        print(f'  {name:14} {statistics.median(times[name]):8.1f} us  '
              f'x {statistics.median(ratios):.3f} of {base}')


if __name__ == '__main__':
    main(os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]),
         int(sys.argv[3]) if len(sys.argv) > 3 else 15)
