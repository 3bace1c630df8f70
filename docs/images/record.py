#!/usr/bin/env python3
"""Records the first minute with `secrets` on a real terminal, and the list of `secrets pick`, and draws
them as SVG files.

    docs/images/record.py SECRETS     writes first-minute-*.svg and pick-*.svg, light and dark

It types the commands below into a terminal of 94 columns, in a temporary home.
"""

import fcntl
import html
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unicodedata
from pathlib import Path

COLUMNS = 94
VALUE = "sk_test_51Hx0aBcDeFgHiJkLmNoPq9Qz7"
# A command, then what is typed at its hidden prompts.
STEPS = [
    ("secrets init", ["correct horse battery staple", "correct horse battery staple"]),
    ("secrets unlock", ["correct horse battery staple"]),
    ("secrets create stripe-key", [VALUE]),
    ("cat app.env.tmpl", []),
    ("secrets render app.env.tmpl -o .env", []),
    ("secrets run -- sh -c 'echo \"charging with $STRIPE_KEY\"'", []),
    ("secrets scan .", []),
    ("secrets lock", []),
]
TEMPLATE = "PORT=3000\nSTRIPE_KEY={{ secrets.stripe-key }}\n"
PALETTES = {
    "light": {"back": "#ffffff", "frame": "#d0d7de", "text": "#1f2328", "dim": "#59636e",
              "31": "#cf222e", "33": "#9a6700", "32": "#1a7f37", "36": "#1b7c83", "34": "#0969da"},
    "dark": {"back": "#0d1117", "frame": "#30363d", "text": "#e6edf3", "dim": "#8d96a0",
             "31": "#ff7b72", "33": "#d29922", "32": "#3fb950", "36": "#39c5cf", "34": "#58a6ff"},
}


def record(program):
    """Returns the lines of the session, each as a list of (style, text)."""
    home = tempfile.mkdtemp()
    try:
        tools = Path(home) / "bin"
        tools.mkdir()
        os.symlink(program, tools / "secrets")
        work = Path(home) / "app"
        work.mkdir()
        (work / "app.env.tmpl").write_text(TEMPLATE)
        environment = {
            "HOME": home, "TERM": "xterm-256color", "LANG": "C.UTF-8", "TZ": "UTC",
            "PATH": f"{tools}:/usr/local/bin:/usr/bin:/bin",
            "XDG_RUNTIME_DIR": home, "SHELL": "/bin/sh",
        }
        lines = []
        for command, answers in STEPS:
            lines.append([("prompt", "$ "), ("", command)])
            text = run(command, answers, work, environment)
            text = text.replace(str(home), "/home/you")
            lines += [styled(line) for line in text.splitlines()]
        return lines
    finally:
        shutil.rmtree(home, ignore_errors=True)


# The secrets of the list, with a name and the time by which the value must be replaced.
LISTED = [
    ("database-url", "Main database", None, "postgres://app:s3cr3t-and-long@db.example.com/app"),
    ("github-token", "Release bot", "20d", "ghp_exampleExampleExampleExample4f2a"),
    ("sentry-dsn", "", None, "https://key@sentry.example.com/42"),
    ("session-key", "Signs cookies", None, "4d1f8a0be27c59d3a6610fe5c7d2b894"),
    ("stripe-key-live", "Stripe, live", "25d", "sk_live_exampleExampleExample4242"),
    ("stripe-key-test", "Stripe, test", None, "sk_test_exampleExampleExample1881"),
]
LIST_LINES = 13


def record_list(program):
    """Returns the screen of `secrets pick` after two letters were typed."""
    home = tempfile.mkdtemp()
    try:
        environment = {
            "HOME": home, "TERM": "xterm-256color", "LANG": "C.UTF-8", "TZ": "UTC",
            "PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": home, "SECRETS_PASSPHRASE": "correct horse battery staple",
        }

        def secrets(*arguments, value=""):
            subprocess.run([program, *arguments, "-q"], input=value, text=True, env=environment,
                           cwd=home, check=True, stderr=subprocess.DEVNULL)

        secrets("init", "--kdf-memory", "19", "--kdf-iterations", "1", "--kdf-parallelism", "1")
        for tag, name, expires, value in LISTED:
            more = ["--name", name] if name else []
            secrets("-p", "web", "create", tag, *more, *(["--expires", expires] if expires else []), value=value)
        secrets("-p", "web", "create", "tls-key", "--restricted", value="-----BEGIN PRIVATE KEY-----")
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(home)
            time.sleep(0.3)
            os.execve(program, ["secrets", "-p", "web", "pick"], environment)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LIST_LINES, COLUMNS, 0, 0))
        output = read_for(terminal, 1.5)
        os.write(terminal, b"ey")
        output += read_for(terminal, 0.7)
        os.write(terminal, b"\x1b[B")
        output += read_for(terminal, 0.7)
        os.write(terminal, b"\x1b")
        read_for(terminal, 0.5)
        os.waitpid(child, 0)
        return [[("prompt", "$ "), ("", "secrets pick")]] + screen(output.decode())
    finally:
        shutil.rmtree(home, ignore_errors=True)


def read_for(terminal, seconds):
    """Returns what is printed in this time."""
    output, end = b"", time.time() + seconds
    while time.time() < end:
        ready, _, _ = select.select([terminal], [], [], 0.1)
        if ready:
            try:
                output += os.read(terminal, 65536)
            except OSError:
                break
    return output


def screen(output):
    """Returns the lines of a screen to which this was printed, each as a list of (style, text)."""
    cells = [[("", " ")] * COLUMNS for _ in range(LIST_LINES)]
    x = y = 0
    style = []
    for piece in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|.", output, re.S):
        if piece.startswith("\x1b["):
            numbers = [int(n) for n in re.findall(r"\d+", piece)] or [0]
            if piece.endswith("H"):
                y, x = ([n - 1 for n in numbers] + [0])[:2] if len(numbers) > 1 else (0, 0)
            elif piece.endswith("J"):
                cells = [[("", " ")] * COLUMNS for _ in range(LIST_LINES)]
            elif piece.endswith("m"):
                for number in numbers:
                    if number in (0, 22, 27, 39):
                        gone = {0: style, 22: ["1", "2"], 27: ["7"], 39: ["36"]}[number]
                        style = [it for it in style if it not in gone]
                    else:
                        style.append(str(number))
        elif piece >= " " and y < LIST_LINES and x < COLUMNS:
            cells[y][x] = (";".join(sorted(set(style))), piece)
            x += 2 if unicodedata.east_asian_width(piece) == "W" else 1
    lines = []
    for row in cells:
        line = []
        for style_of_cell, character in row:
            if line and line[-1][0] == style_of_cell:
                line[-1] = (style_of_cell, line[-1][1] + character)
            else:
                line.append((style_of_cell, character))
        while line and not line[-1][1].strip() and "7" not in line[-1][0].split(";"):
            line.pop()
        lines.append(line or [("", "")])
    return lines


def run(command, answers, directory, environment):
    """Runs a command on a pseudo-terminal and types each answer when the program waits for one."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(directory)
        shell = f"stty cols {COLUMNS}; exec {command}" if "|" not in command else command
        os.execve("/bin/sh", ["sh", "-c", shell], environment)
    output, waiting = b"", list(answers)
    while True:
        ready, _, _ = select.select([terminal], [], [], 0.7)
        if not ready:
            # Nothing was printed for a while: if the last line is a prompt, somebody types.
            last = output.rsplit(b"\n", 1)[-1].strip()
            if waiting and last.endswith(b":"):
                os.write(terminal, waiting.pop(0).encode() + b"\n")
            continue
        try:
            piece = os.read(terminal, 4096)
        except OSError:
            break
        if not piece:
            break
        output += piece
    os.waitpid(child, 0)
    return output.decode().replace("\r\n", "\n").replace("\r", "")


def styled(line):
    """Splits a line at its colour sequences into (style, text)."""
    parts, style = [], ""
    for piece in re.split(r"(\x1b\[[0-9;?]*[A-Za-z])", line):
        code = re.fullmatch(r"\x1b\[([0-9;]*)m", piece)
        if code:
            style = "" if code.group(1) in ("", "0") else code.group(1)
        elif piece and not piece.startswith("\x1b"):
            parts.append((style, piece))
    return parts or [("", "")]


def draw(lines, colours):
    """Returns an SVG of the lines. Each character is one cell, so that columns stay aligned."""
    cell, height, margin = 8.4, 20, 16
    size = (2 * margin + COLUMNS * cell, 2 * margin + len(lines) * height)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]:.0f}" height="{size[1]}"'
        f' viewBox="0 0 {size[0]:.0f} {size[1]}" role="img"'
        ' aria-label="A terminal session with secrets">',
        f'<rect x=".5" y=".5" width="{size[0] - 1:.0f}" height="{size[1] - 1}" rx="8"'
        f' fill="{colours["back"]}" stroke="{colours["frame"]}"/>',
        '<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,monospace" font-size="14"'
        f' fill="{colours["text"]}" xml:space="preserve">',
    ]
    for number, line in enumerate(lines):
        spans, column = [], 0
        for style, text in line:
            attributes = ""
            if "7" in style.split(";"):
                out.append(f'<rect x="{margin + column * cell:.1f}" y="{margin + number * height}"'
                           f' width="{len(text) * cell:.1f}" height="{height}" fill="{colours["dim"]}"/>')
                attributes += f' fill="{colours["back"]}"'
            elif "2" in style.split(";"):
                attributes += f' fill="{colours["dim"]}"'
            column += len(text)
            if style == "prompt":
                attributes = f' fill="{colours["dim"]}"'
            for code in style.split(";"):
                if code in colours:
                    attributes += f' fill="{colours[code]}"'
                if code == "1":
                    attributes += ' font-weight="bold"'
            spans.append(f"<tspan{attributes}>{html.escape(text, quote=False)}</tspan>")
        width = sum(len(text) for _, text in line) * cell
        length = f' textLength="{width:.1f}" lengthAdjust="spacingAndGlyphs"' if width else ""
        y = margin + (number + 0.75) * height
        out.append(f'<text x="{margin}" y="{y:.0f}"{length}>{"".join(spans)}</text>')
    return "\n".join(out + ["</g>", "</svg>", ""])


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    program, folder = Path(sys.argv[1]).resolve(), Path(__file__).parent
    for picture, lines in [("first-minute", record(program)), ("pick", record_list(program))]:
        for name, colours in PALETTES.items():
            (folder / f"{picture}-{name}.svg").write_text(draw(lines, colours))


if __name__ == "__main__":
    main()
