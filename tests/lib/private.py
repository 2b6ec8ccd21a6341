"""The processes that the launcher starts beside a command, as a test of this world sees them."""

import glob

from .world import wait_until


def stat_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        text = file.read()
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 2 :].split()
    return name, fields[0], int(fields[1]), int(fields[3])


def living():
    """{pid: (name, parent)} of this world."""
    found = {}
    for path in glob.glob("/proc/[0-9]*"):
        try:
            name, state, parent, _ = stat_of(path[6:])
        except (OSError, ValueError):  # it has just ended
            continue
        if state != "Z":
            found[int(path[6:])] = name, parent
    return found


def keepers():
    return [pid for pid, (name, _) in living().items() if name == "viaduct-private"]


def mothers():
    all_ = living()
    return [pid for pid, (name, parent) in all_.items()
            if name == "viaductd" and all_.get(parent, ("",))[0] == "viaduct-private"]


def daemons():
    """The private ones: started by a keeper, and their workers."""
    above = mothers()
    return above + [pid for pid, (name, parent) in living().items() if name == "viaductd" and parent in above]


def none_left(seconds=15):
    wait_until(lambda: not keepers() and not daemons(), "the private processes end", seconds)
