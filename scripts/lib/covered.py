"""covered.py SUMMARY: a table by folder of gcovr's JSON summary; fails below the least shares of lines."""
import json
import sys

LEAST = {'proto': 90}
LEAST_ELSEWHERE = 80


def folders(summary):
    """{folder: [lines, lines run, branches, branches taken]}"""
    found = {}
    for file in summary['files']:
        row = found.setdefault(file['filename'].split('/')[0], [0, 0, 0, 0])
        for place, key in enumerate(('line_total', 'line_covered', 'branch_total', 'branch_covered')):
            row[place] += file[key]
    return found


def share(part, whole):
    return 100 * part / whole if whole else 100


def main(path):
    with open(path, encoding='utf-8') as file:
        found = folders(json.load(file))
    few = 0
    print(f"{'folder':10} {'lines':>7} {'run':>7} {'branches':>9} {'taken':>7}")
    for folder, (lines, run, branches, taken) in sorted(found.items()):
        good = share(run, lines) >= LEAST.get(folder, LEAST_ELSEWHERE)
        few += not good
        print(f"{folder:10} {lines:7} {share(run, lines):6.1f}% {branches:9} {share(taken, branches):6.1f}%"
              f"{'' if good else '  too few'}")
    return 1 if few or not found else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
