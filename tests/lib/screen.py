"""A terminal of given size: what a program draws on it, and a picture of that."""

import fcntl
import html
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios
import time

CONTROL = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])")
COLOURS = {"31": "#e06c75", "32": "#98c379", "33": "#e5c07b", "34": "#61afef", "36": "#56b6c2"}
PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #1e222a }}
pre {{ margin: 12px; color: #dcdfe4; font: 14px/17px "DejaVu Sans Mono", monospace }}
</style><pre>{}</pre>
"""


def draw(w, argv, env=None, columns=100, seconds=30):
    """Runs it on host app with a terminal as standard output; (exit code, bytes written)."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 50, columns, 0, 0))
    proc = w.popen("app", argv, {"TERM": "xterm", "LANG": "C.UTF-8", **(env or {})}, stdout=theirs, stderr=theirs)
    os.close(theirs)
    data, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        if not select.select([ours], [], [], 0.1)[0]:
            continue
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        data += part
    os.close(ours)
    return proc.wait(5), data


class Screen:
    """What stands there in the end: lines of (text, colours)."""

    def __init__(self, data):
        self.lines, self.spans, self.colours = [""], [[]], set()
        colour, at = "", 0
        text = data.decode("utf-8").replace("\r\n", "\n")
        while at < len(text):
            control = CONTROL.match(text, at)
            if control:
                at = control.end()
                if control[2] == "m":
                    colour = control[1] if control[1] != "0" else ""
                    self.colours.add(control[1])
                continue
            if text[at] == "\r":
                self.lines[-1], self.spans[-1] = "", []
            elif text[at] == "\n":
                self.lines.append("")
                self.spans.append([])
            else:
                self.lines[-1] += text[at]
                self.spans[-1].append((colour, text[at]))
            at += 1

    @property
    def text(self):
        return "\n".join(self.lines)

    def _span(self, colour, letter):
        letter = html.escape(letter)
        if colour == "1":
            return f"<b>{letter}</b>"
        if colour == "2":
            return f'<span style="color:#7f848e">{letter}</span>'
        return f'<span style="color:{COLOURS[colour]}">{letter}</span>' if colour in COLOURS else letter

    def picture(self, path, columns):
        """PATH.html, and PATH.png where there is a browser."""
        body = "\n".join("".join(self._span(*letter) for letter in line) for line in self.spans)
        with open(f"{path}.html", "w", encoding="utf-8") as file:
            file.write(PAGE.format(body))
        browser = shutil.which("chromium")
        if browser:
            size = f"{columns * 9 + 30},{len(self.lines) * 17 + 30}"
            subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", f"--screenshot={path}.png",
                            f"--window-size={size}", f"file://{path}.html"], capture_output=True, timeout=60,
                           check=False, env={**os.environ, "HOME": os.path.dirname(path)})
        return os.path.exists(f"{path}.png")
