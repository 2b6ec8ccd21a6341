#!/usr/bin/env python3
"""datapath.py BENCH_DIR VIADUCTD ROUNDS PART...: what the daemon costs, beside peers and bare relays.

Bytes in 1 and 8 streams, datagrams, tunnels that do nothing, tunnels one after the other and with
others open, with clients stuck in the handshake. Peers: microsocks, danted, nginx (a plain TCP
relay), and two relays of our own that do nothing else (relay.c). One worker each where that can be
said. In rounds that alternate; medians are printed, not judged; fails when something does not work.
"""
import contextlib
import os
import re
import resource
import socket
import subprocess
import sys
import tempfile

from daemons import await_port, cpu_seconds, free_port, held, server
from results import keep

HERE, MIB, CLIENTS, ECHOES = '127.0.0.1', {1: 2048, 8: 512}, 64, 500
CONTROL = '/proc/sys/net/ipv4/tcp_congestion_control'
# So many that the first of all clients, which come at once, are less than one in a hundred; danted
# binds a port for each connection, of some 28,000 that wait a minute afterwards.
TUNNELS, FEWER = 8000, {'danted': 2000}
STUCK, IDLE = 1000, (1000, 5000, 10000)
FILES = 16384  # more than a worker needs for its half of them
QUIET = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}


class Peer:
    """A server under measure; `plain`: it has one target and no handshake."""

    def __init__(self, process, port, plain=False):
        self.pid, self.port, self.plain = process.pid, port, plain


class Bench:
    def __init__(self, stack, programs, viaductd, rounds):
        self.stack, self.programs, self.viaductd, self.rounds = stack, programs, viaductd, rounds
        self.under = ''  # whose turn it is
        self.dir = stack.enter_context(tempfile.TemporaryDirectory())
        streams = self.serve([f'{programs}/streams', 'serve'], stdout=subprocess.PIPE, text=True)
        echo = self.serve([f'{programs}/tunnels', '--serve', f'{HERE}:0'], stdout=subprocess.PIPE, text=True)
        self.streams, self.echo = (int(p.stdout.readline().split()[1]) for p in (streams, echo))

    def serve(self, argv, **options):
        return self.stack.enter_context(server(*argv, **(options or QUIET)))

    def file(self, name, text):
        path = f'{self.dir}/{name}'
        with open(path, 'w', encoding='ascii') as file:
            file.write(text)
        return path

    def peer(self, argv, port, plain=False):
        process = self.serve(argv)
        await_port(port)
        return Peer(process, port, plain)

    def viaduct(self, workers=1):
        port = free_port()
        return self.peer([self.viaductd, '-q', '-w', str(workers), '-l', f'{HERE}:{port}'], port)

    def forward(self, target):
        """What nginx does: to one target, without a handshake."""
        port = free_port()
        conf = self.file('forward.conf', f'workers = 1\nlisten a {{ url = "forward://{HERE}:{port}" '
                         f'targets = {{"{HERE}:{target}"}} }}\n')
        return self.peer([self.viaductd, '-q', '-f', conf], port, True)

    def microsocks(self):
        port = free_port()
        return self.peer(['microsocks', '-i', HERE, '-p', str(port)], port)

    def danted(self):
        port = free_port()
        conf = self.file('danted.conf', f'''logoutput: /dev/null
internal: {HERE} port = {port}
external: lo
clientmethod: none
socksmethod: none
user.privileged: root
user.unprivileged: root
client pass {{ from: 0/0 to: 0/0 }}
socks pass {{ from: 0/0 to: 0/0 }}
''')
        return self.peer(['/usr/sbin/danted', '-f', conf], port)

    def nginx(self, target):
        port = free_port()
        conf = self.file(f'nginx.{target}.conf', f'''load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off; worker_processes 1; pid {self.dir}/nginx.{target}.pid; error_log /dev/null;
events {{ worker_connections 65536; }}
stream {{ server {{ listen {HERE}:{port}; proxy_pass {HERE}:{target}; }} }}
''')
        return self.peer(['/usr/sbin/nginx', '-c', conf], port, True)

    def splice(self, target):
        port = free_port()
        return self.peer([f'{self.programs}/relay', 'splice', str(port), '1', str(target)], port, True)

    def socks5(self, workers=1):
        port = free_port()
        return self.peer([f'{self.programs}/relay', 'socks5', str(port), str(workers)], port)

    # --- measures ---

    def run(self, *argv):
        got = subprocess.run(argv, capture_output=True, text=True, check=False)
        if got.returncode:
            sys.exit(f'{self.under}: {argv}: {got.returncode}\n{got.stdout}{got.stderr}')
        return got.stdout

    def flow(self, peer, count, way):
        """(GB/s, the server's CPU s/GB)"""
        proxy, target = (0, peer.port if peer else self.streams) if not peer or peer.plain else (peer.port, self.streams)
        before = cpu_seconds(peer.pid) if peer else 0
        out = self.run(f'{self.programs}/streams', str(proxy), str(target), str(count), str(MIB[count]), way)
        spent = (cpu_seconds(peer.pid) if peer else 0) - before
        return float(out.split()[-1]), spent / (count * MIB[count] * 2**20 / 1e9)

    def load(self, peer, count=2000, echoes=1):
        """The figures of `tunnels`, and microseconds of the server's CPU for each."""
        before = cpu_seconds(peer.pid)
        where = ['--direct', '--target', f'{HERE}:{peer.port}'] if peer.plain else [
            '--proxy', f'{HERE}:{peer.port}', '--target', f'{HERE}:{self.echo}']
        out = self.run(f'{self.programs}/tunnels', *where, '--sequential', str(count), '--clients', str(CLIENTS),
                       '--echoes', str(echoes))
        figures = {name: float(value) for name, value in re.findall(r'(\w+)=([\d.]+)', out.splitlines()[-1])}
        return figures, (cpu_seconds(peer.pid) - before) * 1e6 / count / echoes

    @contextlib.contextmanager
    def idle(self, peer, count):
        process = subprocess.Popen([f'{self.programs}/streams', 'idle', str(peer.port), str(self.streams), str(count)],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if process.stdout.readline() != 'ready\n':
            sys.exit(f'{count} tunnels: they did not all come up')
        yield
        process.stdin.close()
        process.wait()


def ratios(table, row, got, one, other, cells):
    """Of one to another, round by round; `got`: {(name, cell): [figure]}."""
    return [keep(table, row, str(cell), [a / b for a, b in zip(got[one, cell], got[other, cell])]) for cell in cells]


def streams(bench, tables=('throughput', 'cpu')):
    with open(CONTROL, encoding='ascii') as file:
        print(f'bytes through the daemon, one worker, congestion control {file.read().strip()}:')
    print('                                               GB/s                CPU s/GB')
    print('                                      1 down  1 up 8 down  8 up   1 down  1 up 8 down  8 up')
    peers = {'direct': None, 'viaductd': bench.viaduct(), 'splice relay': bench.splice(bench.streams),
             'nginx stream': bench.nginx(bench.streams), 'danted': bench.danted(), 'microsocks': bench.microsocks()}
    cells = [(count, way) for count in MIB for way in ('down', 'up')]
    got = {(name, cell): [] for name in peers for cell in cells}
    for _ in range(bench.rounds):
        for cell in cells:
            for name, peer in peers.items():
                bench.under = name
                got[name, cell].append(bench.flow(peer, *cell))
    for name in peers:
        words = [f'{count} {way}' for count, way in cells]
        rates = [keep(tables[0], name, word, [rate for rate, _ in got[name, cell]])
                 for word, cell in zip(words, cells)]
        costs = [keep(tables[1], name, word, [cost for _, cost in got[name, cell]]) for word, cell in zip(words, cells)]
        print(f'  {name:32}' + ''.join(f'{rate:7.2f}' for rate in rates) + '  ' + ''.join(f'{cost:7.3f}' for cost in costs))
    for what, number, other in (('GB/s', 0, 'splice relay'), ('CPU', 1, 'splice relay'), ('CPU', 1, 'danted'), ('CPU', 1, 'microsocks')):
        one = {(name, f'{count} {way}'): [figures[number] for figures in rounds] for (name, (count, way)), rounds in got.items()}
        row = f'{what}, to {other}'
        print(f'  {row:32}' + ''.join(f'{each:7.3f}' for each in ratios(
            tables[0] + ', ratios', row, one, 'viaductd', other, [f'{count} {way}' for count, way in cells])))


def paced(bench):
    """Where the congestion control of the machine is one that paces."""
    streams(bench, ('throughput, paced', 'cpu, paced'))


def loads(bench, table, others, count, echoes):
    """Each of the peers under `tunnels`, and viaductd to some of the others."""
    print('                       per second   CPU us   p50 ms   p99 ms   p99.9 ms')
    peers = {'viaductd': bench.viaduct(), 'viaductd, 2 workers': bench.viaduct(2), 'bare SOCKS5 relay': bench.socks5(),
             'bare relay, 2 workers': bench.socks5(2), 'viaductd, forward': bench.forward(bench.echo),
             'nginx stream': bench.nginx(bench.echo), 'danted': bench.danted(), 'microsocks': bench.microsocks()}
    columns = ('per_second', 'p50_us', 'p99_us', 'p999_us')
    got = {(name, column): [] for name in peers for column in (*columns, 'cpu')}
    for _ in range(2 * bench.rounds + 1):
        for name, peer in peers.items():
            bench.under = name
            figures, cost = bench.load(peer, min(count, FEWER.get(name, count)), echoes)
            got[name, 'cpu'].append(cost)
            for column in columns:
                got[name, column].append(figures[column])
    for name in peers:
        rate, p50, p99, p999 = (keep(table, name, column, got[name, column]) for column in columns)
        cost = keep(table, name, 'cpu', got[name, 'cpu'])
        print(f'  {name:22} {rate:8.0f} {cost:8.1f} {p50 / 1e3:8.2f} {p99 / 1e3:8.2f} {p999 / 1e3:10.2f}')
    for one, other in others:
        rate, cost, p99 = ratios(f'{table}, ratios', f'{one}, to {other}', got, one, other, ('per_second', 'cpu', 'p99_us'))
        print(f'  {one} / {other}: {rate:.2f} per second, {cost:.2f} CPU, {p99:.2f} p99')


def tunnels(bench):
    print(f'tunnels of 64 bytes and their echo, {CLIENTS} at a time, one worker if nothing is said:')
    loads(bench, 'tunnels', (('viaductd', 'bare SOCKS5 relay'), ('viaductd, 2 workers', 'bare relay, 2 workers'),
                             ('viaductd, forward', 'nginx stream'), ('viaductd', 'nginx stream'),
                             ('bare SOCKS5 relay', 'nginx stream'), ('viaductd', 'microsocks')), TUNNELS, 1)


def echoes(bench):
    print(f'64 bytes and their echo through {CLIENTS} open tunnels, {ECHOES} times each:')
    loads(bench, 'echoes', (('viaductd', 'bare SOCKS5 relay'), ('viaductd, forward', 'nginx stream'),
                            ('viaductd', 'nginx stream')), CLIENTS, ECHOES)


def datagrams(bench):
    print('datagrams of 1,200 bytes, one client, one way:')
    peers = {'viaductd': bench.viaduct(), 'danted': bench.danted()}
    got = {(name, what): [] for name in peers for what in ('most per second', 'lost at 50,000/s, %')}
    for _ in range(bench.rounds):
        for name, peer in peers.items():
            for rate, what in ((0, 'most per second'), (50000, 'lost at 50,000/s, %')):
                words = bench.run(f'{bench.programs}/packets', str(peer.port), '1200', str(rate), '2').split()
                sent, received, each = int(words[1]), int(words[3]), float(words[7])
                got[name, what].append(each if rate == 0 else 100 * (1 - received / sent))
    for name in peers:
        most, lost = (keep('datagrams', name, what, got[name, what]) for what in ('most per second', 'lost at 50,000/s, %'))
        print(f'  {name:19} {most:8.0f} per second at most, {lost:.2f} % lost at 50,000 per second')


def idle(bench):
    print('KiB of memory (PSS) for each tunnel that does nothing; viaductd with 2 workers:')
    for name, make, counts in (('viaductd', lambda: bench.viaduct(2), IDLE), ('microsocks', bench.microsocks, IDLE[:1]),
                               ('danted', bench.danted, IDLE[:1])):
        for count in counts:
            peer = make()  # a new one: what was freed would be used again
            bench.load(peer)  # what is allocated once
            _, before = held(peer.pid)
            with bench.idle(peer, count):
                kib = keep('idle', name, str(count), (held(peer.pid)[1] - before) / count)
            print(f'  {name:12} {count:6} tunnels: {kib:7.2f} KiB each')


def growth(bench):
    peer, costs = bench.viaduct(2), {}
    bench.load(peer)
    for _ in range(bench.rounds):
        for count in (10, *IDLE[::2]):
            with bench.idle(peer, count):
                costs.setdefault(count, []).append(bench.load(peer)[1])
    print('CPU us of a new tunnel of viaductd with others open: ' +
          ', '.join(f'{keep("growth", "viaductd", str(count), each):.0f} with {count}' for count, each in costs.items()))


def stuck(bench):
    peer, loads = bench.viaduct(), {0: [], STUCK: []}
    for _ in range(2 * bench.rounds + 1):
        for count, got in loads.items():
            with contextlib.ExitStack() as stack:
                for _ in range(count):
                    stack.enter_context(socket.create_connection((HERE, peer.port))).send(b'\5')
                figures, cost = bench.load(peer)
                got.append((figures['per_second'], cost))
    print('tunnels of viaductd beside clients stuck in the handshake:')
    for count, got in loads.items():
        rate = keep('stuck', 'per second', str(count), [one for one, _ in got])
        cost = keep('stuck', 'CPU us for each', str(count), [one for _, one in got])
        print(f'  {count:6} of them: {rate:8.0f} per second, {cost:.0f} us of CPU each')


PARTS = {'streams': streams, 'paced': paced, 'tunnels': tunnels, 'echoes': echoes, 'datagrams': datagrams, 'idle': idle, 'growth': growth,
         'stuck': stuck}


def main(programs, viaductd, rounds, parts):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < FILES:
        sys.exit(f'a process may have {most} descriptors here, {FILES} are needed')
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4 * FILES), most))
    for part in parts:
        with contextlib.ExitStack() as stack:
            PARTS[part](Bench(stack, programs, viaductd, rounds))
        sys.stdout.flush()


if __name__ == '__main__':
    main(os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
