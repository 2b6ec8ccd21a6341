#!/usr/bin/env python3
"""failed.py TESTLOG: the programs that did not end well, by the names that meson test takes."""
import json
import sys

with open(sys.argv[1], encoding='utf-8') as file:
    for program in map(json.loads, file):
        if program['result'] not in ('OK', 'EXPECTEDFAIL', 'SKIP'):
            print(program['name'].rpartition(' / ')[2])
