#!/usr/bin/env python3
"""report.py RESULTS DIRECTORY: the figures of a run of scripts/bench as DIRECTORY/benchmarks.md, with plots
in DIRECTORY/benchmarks.

RESULTS is what results.py kept. The plots are made by gnuplot, as SVG.
"""
import json
import os
import platform
import subprocess
import sys

COLOURS = {'viaduct': '#2a78d6', 'viaductd': '#2a78d6', 'viaduct, serial': '#86b6ef'}
OTHERS = ('#8a8984', '#b5b3ac', '#62615c', '#cfcdc6', '#a09e97', '#76746f')

PLOT = '''set terminal svg size 720,{height} font "sans-serif,12" background "#ffffff"
set output "{path}"
set title "{title}"
set border 3 lc rgb "#8a8984"
set tics nomirror textcolor rgb "#40403d"
set grid {grid} lc rgb "#e6e5e1"
set key {key}
{more}
$data << END
{data}
END
plot {curves}
'''


class Report:
    def __init__(self, path, directory):
        self.directory, self.tables = directory, {}
        with open(path, encoding='utf-8') as file:
            for line in file:
                row = json.loads(line)
                table = self.tables.setdefault(row['table'], {})
                table.setdefault(row['row'], {})[row['column']] = row

    def has(self, *tables):
        return all(name in self.tables for name in tables)

    def value(self, table, row, column):
        cell = self.tables.get(table, {}).get(row, {}).get(column)
        return cell and cell['median']

    def table(self, name, columns, form, head=''):
        """Rows as they came; `columns`: (key, title), `form`: a number to text, one for all or each."""
        forms = form if isinstance(form, (list, tuple)) else [form] * len(columns)
        lines = ['| ' + ' | '.join([head, *(title for _, title in columns)]) + ' |',
                 '|---|' + '---:|' * len(columns)]
        for row, cells in self.tables[name].items():
            texts = [of(cells[key]) if key in cells else '' for (key, _), of in zip(columns, forms)]
            lines.append('| ' + ' | '.join([row, *texts]) + ' |')
        return '\n'.join(lines) + '\n'

    def plot(self, name, script):
        path = os.path.join(self.directory, 'benchmarks', f'{name}.svg')
        subprocess.run(['gnuplot'], input=script.replace('{path}', path), text=True, check=True)
        return f'![{name}](benchmarks/{name}.svg)\n'

    def bars(self, name, title, table, column):
        """A horizontal bar for each row, with its number."""
        rows = [(row, cells[column]['median']) for row, cells in self.tables[table].items() if column in cells]
        data = '\n'.join(f'{len(rows) - i} {value} "{row}" {self.colour(row, i)} "{short(value)}"'
                         for i, (row, value) in enumerate(rows))
        most = max(value for _, value in rows)
        return self.plot(name, PLOT.format(
            path='{path}', height=70 + 34 * len(rows), title=title, grid='x', key='off', data=data,
            more=f'set style fill solid 1 noborder\nset yrange [0.4:{len(rows) + 0.6}]\nset xrange [0:{most * 1.15}]\n'
                 'set boxwidth 0.6\nset lmargin 22',
            curves='$data using ($2/2):1:($2/2):(0.3):4:ytic(3) with boxxyerror lc rgb variable, '
                   '$data using 2:1:5 with labels left offset 0.6,0 textcolor rgb "#40403d"'))

    @staticmethod
    def colour(row, index):
        return int(COLOURS.get(row, OTHERS[index % len(OTHERS)])[1:], 16)

    def lines(self, name, title, table, xlabel, ylabel):
        # What lies on another line is drawn over it, dashed.
        rows = dict(sorted(self.tables[table].items(), key=lambda item: ',' in item[0]))
        xs = sorted({int(column) for cells in rows.values() for column in cells})
        data = '\n'.join(' '.join([str(x), *(str(cells[str(x)]['median']) if str(x) in cells else 'NaN'
                                             for cells in rows.values())]) for x in xs)
        curves = ', '.join(f'$data using 1:{i + 2} with linespoints lw 2 {"dt 2" if "," in row else ""} pt 7 ps 0.6 lc {self.colour(row, i)} title "{row}"'
                           for i, row in enumerate(rows)).replace(' lc ', ' lc rgb ')
        return self.plot(name, PLOT.format(
            path='{path}', height=320, title=title, grid='y', key='top left', data=data,
            more=f'set xlabel "{xlabel}"\nset ylabel "{ylabel}"\nset yrange [0:*]\nset xtics 1', curves=curves))


def short(value):
    return f'{value:,.0f}' if value >= 100 else f'{value:.3g}'


def spread(digits, scale=1.0):
    return lambda cell: (f"{cell['median'] * scale:.{digits}f}" if cell['low'] == cell['high'] else
                         f"{cell['median'] * scale:.{digits}f} ({cell['low'] * scale:.{digits}f} to {cell['high'] * scale:.{digits}f})")


def client(r):
    if r.has('start'):
        yield '## Starting a program\n\n`/bin/true`: what is added to a bare start, milliseconds; 200 paired rounds.\n\n'
        yield r.table('start', [('ms', 'ms')], lambda cell: f"{cell['median']:.3f}") + '\n'
    if r.has('roundtrips'):
        yield '## Round trips to the first byte\n\nSOCKS5 hops that are known; connecting to a hop is not counted.\n\n'
        yield r.table('roundtrips', [(str(n), f'{n} hops') for n in (1, 2, 3, 5)], spread(2)) + '\n'
        yield r.lines('roundtrips', 'Round trips to the first byte', 'roundtrips', 'hops', 'round trips') + '\n'
    if r.has('loop'):
        yield '## Event loops\n\n8 connections of an asyncio program at once, through a hop that takes 1.0 s.\n\n'
        yield r.table('loop', [('gap', 'the loop stands still, ms'), ('all', 'all are open after, s')], [spread(0), spread(2)]) + '\n'
        yield r.bars('loop', 'Longest pause of the event loop, ms (the hop takes 1 s)', 'loop', 'gap') + '\n'
    if r.has('connection'):
        yield ('## A connection\n\nThrough a local microsocks, to one of a program that speaks SOCKS5 itself in the same '
               'manner.\n\n')
        yield r.table('connection', [('blocking', 'blocking'), ('non-blocking', 'non-blocking')], spread(2)) + '\n'
    if r.has('descriptors'):
        yield 'The same under viaduct with other descriptors open, to 10 of them:\n\n'
        yield r.table('descriptors', [('1000', '1,000'), ('10000', '10,000')], spread(2)) + '\n'
    if r.has('datagram'):
        yield ('## A datagram\n\nOne of 1,200 bytes and its echo through a hop, to a program that speaks to the relay '
               'itself.\n\n')
        yield r.table('datagram', [('processor time', 'processor time'), ('time', 'time')], spread(2)) + '\n'


def loads(r, table):
    columns = [('per_second', 'per second'), ('cpu', 'CPU us'), ('p50_us', 'p50 ms'), ('p99_us', 'p99 ms'), ('p999_us', 'p99.9 ms')]
    return (r.table(table, columns, [spread(0), spread(1), *[spread(2, 1e-3)] * 3]) + '\nOne to another, in the same rounds:\n\n' +
            r.table(f'{table}, ratios', [('per_second', 'per second'), ('cpu', 'CPU'), ('p99_us', 'p99')], spread(2)))


def daemon(r):
    cells = [('1 down', '1 down'), ('1 up', '1 up'), ('8 down', '8 down'), ('8 up', '8 up')]
    if r.has('throughput', 'cpu'):
        yield '## Bytes through the daemon\n\nOne worker, 1 and 8 streams. GB/s:\n\n' + r.table('throughput', cells, spread(2))
        yield '\nProcessor seconds for a GB:\n\n' + r.table('cpu', cells, spread(3)) + '\n'
        yield 'viaductd to others, in the same rounds:\n\n' + r.table('throughput, ratios', cells, spread(3)) + '\n'
        yield r.bars('throughput', 'GB/s, one stream down', 'throughput', '1 down') + '\n'
    if r.has('throughput, paced', 'cpu, paced'):
        yield ('The same with the congestion control that this machine has elsewhere, which paces: the kernel sets a timer '
               'for each\nsegment. GB/s, one round:\n\n' + r.table('throughput, paced', cells, spread(2)))
        yield '\nProcessor seconds for a GB:\n\n' + r.table('cpu, paced', cells, spread(3)) + '\n'
    if r.has('tunnels'):
        yield ('## Tunnels\n\n64 bytes and their echo, 64 at a time; one worker if nothing is said. nginx has one target\nand no '
               'handshake, and so has viaductd with `forward://`; SOCKS5 takes two round trips more.\n\n')
        yield loads(r, 'tunnels') + '\n'
    if r.has('beside microsocks'):
        yield 'With as many workers as processors, viaductd to microsocks, in the same rounds:\n\n'
        yield r.table('beside microsocks', [('tunnels/s', 'tunnels/s'), ('CPU', 'CPU for each')], spread(2)) + '\n'
    if r.has('echoes'):
        yield '## Small messages\n\n64 bytes and their echo, again and again through 64 open tunnels; one worker if nothing\nis said.\n\n'
        yield loads(r, 'echoes') + '\n'
    if r.has('idle'):
        yield '## Tunnels that do nothing\n\nKiB (PSS) for each; viaductd with two workers:\n\n'
        yield r.table('idle', [('1000', '1,000'), ('5000', '5,000'), ('10000', '10,000')], spread(2)) + '\n'
    if r.has('growth'):
        yield 'CPU us of a new tunnel with so many others open:\n\n'
        yield r.table('growth', [('10', '10'), ('1000', '1,000'), ('10000', '10,000')], spread(0)) + '\n'
    if r.has('datagrams'):
        yield '## Datagrams through the daemon\n\nOf 1,200 bytes, one client, one way.\n\n'
        columns = ('most per second', 'lost at 50,000/s, %')
        yield r.table('datagrams', [(name, name) for name in columns], [spread(0), spread(2)]) + '\n'
    if r.has('stuck'):
        yield '## Clients stuck in the handshake\n\nTunnels of viaductd beside so many of them:\n\n'
        yield r.table('stuck', [('0', 'none'), ('1000', '1,000')], spread(0)) + '\n'


def main(path, directory):
    report = Report(path, directory)
    os.makedirs(os.path.join(directory, 'benchmarks'), exist_ok=True)
    with open(os.path.join(directory, 'benchmarks.md'), 'w', encoding='utf-8') as out:
        out.write('# Benchmarks\n\nWritten by `scripts/bench`, which runs the peers of Debian and viaduct side by side, in rounds '
                  'that alternate.\nMedians, with the lowest and the highest round in brackets; on another machine the ratios '
                  'count, not the\nfigures. Everything runs on one machine: load and servers share its processors. Loopback of a '
                  'network namespace\nfor each, congestion control reno.\n\n')
        out.write(f'{platform.system()} {platform.release()}, {os.cpu_count()} processors.\n\n')
        for part in (client, daemon):
            out.writelines(part(report))


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2])
