"""Figures of a run: printed by who measures, and kept for the report where one is wanted.

With BENCH_RESULTS in the environment each figure is a line of JSON in that file (report.py).
"""
import json
import os
import statistics


def keep(table, row, column, values):
    """`values`: one number, or those of all rounds, of which the median counts."""
    path = os.environ.get('BENCH_RESULTS')
    values = [values] if isinstance(values, (int, float)) else list(values)
    if path:
        with open(path, 'a', encoding='utf-8') as file:
            json.dump({'table': table, 'row': row, 'column': column, 'median': statistics.median(values),
                       'low': min(values), 'high': max(values)}, file)
            file.write('\n')
    return statistics.median(values)
