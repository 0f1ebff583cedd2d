#!/usr/bin/env python3
"""Draws what tests/netns/under-fire.sh measured: plot.py DIRECTORY writes DIRECTORY/soak.svg.

DIRECTORY/figures: a heading, then a row a second: seconds and the columns that the heading names ("nan" where there was none).
"""

import json
import math
import pathlib
import sys

WIDTH, HEIGHT, LEFT, TOP, GAP = 900, 150, 70, 30, 50
# Title, and the columns with their colours; one diagram below the other.
DIAGRAMS = [
    ("resident memory, KiB", {"routerd_kib": "#1a6fb0", "endd_kib": "#c7591f"}),
    ("mappings of the router", {"mappings": "#1a6fb0"}),
    ("entries of connection tracking", {"router_entries": "#1a6fb0", "en_entries": "#c7591f"}),
]


def read(path):
    """Columns by name, as lists of floats."""
    lines = [line.split() for line in path.read_text().splitlines()]
    rows = [row for row in lines[1:] if len(row) == len(lines[0])]
    return {name: [float(row[place]) for row in rows] for place, name in enumerate(lines[0])}


def polyline(xs, ys, scale_x, scale_y, colour):
    """A line that breaks where a daemon was just being killed (no figure, or none resident)."""
    path, pen = [], "M"
    for x, y in zip(xs, ys):
        if math.isnan(y) or y == 0:
            pen = "M"
            continue
        path.append(f"{pen}{scale_x(x):.1f},{scale_y(y):.1f}")
        pen = "L"
    return f'<path d="{" ".join(path)}" fill="none" stroke="{colour}" stroke-width="1.2"/>'


def diagram(columns, title, lines, top):
    """One diagram as SVG elements."""
    xs = columns["seconds"]
    highest = max([y for name in lines for y in columns[name] if not math.isnan(y)] + [1]) * 1.1
    last = max(xs + [1])
    scale_x = lambda x: LEFT + (WIDTH - LEFT - 20) * x / last
    scale_y = lambda y: top + HEIGHT - HEIGHT * y / highest
    names = ", ".join(f'<tspan fill="{colour}">{name}</tspan>' for name, colour in lines.items())
    parts = [f'<text x="{LEFT}" y="{top - 8}">{title}: {names}</text>']
    for part in (0, 0.5, 1):
        y = scale_y(highest * part)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y:.1f}" y2="{y:.1f}" stroke="#bbb" stroke-width="0.5"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{highest * part:.0f}</text>')
    parts.append(f'<text x="{WIDTH - 20}" y="{top + HEIGHT + 16}" text-anchor="end">{last:.0f} s</text>')
    return parts + [polyline(xs, columns[name], scale_x, scale_y, colour) for name, colour in lines.items()]


def main(directory):
    columns = read(directory / "figures")
    parts = []
    for place, (title, lines) in enumerate(DIAGRAMS):
        parts += diagram(columns, title, lines, TOP + place * (HEIGHT + GAP))
    height = TOP + len(DIAGRAMS) * (HEIGHT + GAP)
    style = 'font-family="sans-serif" font-size="12" style="background:#fff"'
    text = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" {style}>\n' + "\n".join(parts) + "\n</svg>\n"
    (directory / "soak.svg").write_text(text)
    phases = [json.loads(line) for line in (directory / "phases").read_text().splitlines()]
    total = lambda name: sum(phase[name] for phase in phases)
    print(f"{columns['seconds'][-1]:.0f} s: {total('said')} lines, {total('broken')} conversations broken, {total('opened')} further ones opened, {total('refused')} refused")
    memory = [kib for kib in columns["routerd_kib"] if kib]
    print(f"natf-routerd: {memory[0]:.0f} KiB at first, {max(memory):.0f} at most, {memory[-1]:.0f} at the end; plot in {directory / 'soak.svg'}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
