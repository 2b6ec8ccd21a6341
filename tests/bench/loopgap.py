#!/usr/bin/env python3
"""loopgap.py VIADUCT VIADUCTD [SECONDS]: how long an event loop stands still while it connects.

An asyncio program opens 8 connections at once through a hop that takes SECONDS (1.0 by default) to
answer, and looks at the clock every 10 ms meanwhile. Under viaduct and under proxychains4: the longest
time between two looks, and the time until all are open. Printed, not judged.
"""
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from bench.daemons import await_port, free_port, server
from bench.results import keep
from lib.delay import Delayed

HERE = '127.0.0.1'

PROGRAM = '''
import asyncio, sys, time
async def tick(gaps):
    last = time.monotonic()
    while True:
        await asyncio.sleep(0.01)
        now = time.monotonic()
        gaps.append(now - last)
        last = now
async def main():
    gaps, began = [], time.monotonic()
    ticker = asyncio.create_task(tick(gaps))
    await asyncio.sleep(0.05)
    opened = await asyncio.gather(*(asyncio.open_connection(sys.argv[1], int(sys.argv[2])) for _ in range(8)))
    took = time.monotonic() - began
    await asyncio.sleep(0.05)
    print(max(gaps), took)
asyncio.run(main())
'''


def main(viaduct, viaductd, delay):
    quiet = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((HERE, 0)))
        target = listener.getsockname()[1]
        threading.Thread(target=lambda: [listener.accept() for _ in range(100)], daemon=True).start()
        hop = free_port()
        stack.enter_context(server(viaductd, '-q', '-w', '1', '-l', f'{HERE}:{hop}', **quiet))
        await_port(hop)
        slow = stack.enter_context(Delayed(None, HERE, 0, (HERE, hop), delay / 4))
        conf = stack.enter_context(tempfile.NamedTemporaryFile('w', suffix='.conf'))
        conf.write(f'strict_chain\nquiet_mode\ntcp_read_time_out 60000\n[ProxyList]\nsocks5 {HERE} {slow.port}\n')
        conf.flush()
        ways = {'viaduct': [viaduct, '-q', '-b', 'none', '-x', slow.url(options='?pipeline=off'), '--'],
                'proxychains4': ['proxychains4', '-q', '-f', conf.name]}
        print(f'8 connections of an asyncio program through a hop that takes {delay:.1f} s:')
        for name, under in ways.items():
            run = subprocess.run([*under, '/usr/bin/python3', '-c', PROGRAM, HERE, str(target)],
                                 capture_output=True, text=True, check=False)
            if run.returncode:
                sys.exit(f'{name}: {run.returncode}\n{run.stdout}{run.stderr}')
            gap, took = map(float, run.stdout.split())
            keep('loop', name, 'gap', gap * 1000)
            keep('loop', name, 'all', took)
            print(f'  {name:13} the loop stands still for {gap * 1000:6.0f} ms at most, all open after {took:.2f} s')


if __name__ == '__main__':
    main(*map(os.path.abspath, sys.argv[1:3]), float(sys.argv[3]) if len(sys.argv) > 3 else 1.0)
