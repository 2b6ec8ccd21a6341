"""covered.py SUMMARY: a table by folder of what llvm-cov exports; fails below the least shares of lines."""
import json
import os
import sys

LEAST = {'proto': 90}
LEAST_ELSEWHERE = 80
FOLDERS = ('proto', 'conf', 'client', 'preload', 'launcher', 'daemon')


def folders(summary):
    """{folder: [lines, lines run, branches, branches taken]}"""
    found = {folder: [0, 0, 0, 0] for folder in FOLDERS}
    for file in summary['data'][0]['files']:
        row = found.get(os.path.basename(os.path.dirname(file['filename'])))
        if row is None:
            continue
        for place, kind in ((0, 'lines'), (2, 'branches')):
            row[place] += file['summary'][kind]['count']
            row[place + 1] += file['summary'][kind]['covered']
    return found


def share(part, whole):
    return 100 * part / whole if whole else 0


def main(path):
    with open(path, encoding='utf-8') as file:
        found = folders(json.load(file))
    few = 0
    print(f"{'folder':10} {'lines':>7} {'run':>7} {'branches':>9} {'taken':>7}")
    for folder, (lines, run, branches, taken) in found.items():
        good = share(run, lines) >= LEAST.get(folder, LEAST_ELSEWHERE)
        few += not good
        print(f"{folder:10} {lines:7} {share(run, lines):6.1f}% {branches:9} {share(taken, branches):6.1f}%"
              f"{'' if good else '  too few'}")
    return 1 if few else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
