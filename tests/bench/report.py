#!/usr/bin/env python3
"""Writes the document and its plots from the figures of all parts.

usage: report.py FOLDER DOCUMENT        reads FOLDER/PART.json, writes DOCUMENT and plots in a folder beside it
"""
import json
import pathlib
import sys

import plot
import sections
from glance import glance

PARTS = ("startup", "mapping", "throughput", "crowd", "dns", "distance", "board", "ordinary")


def main():
    """Reads, writes."""
    folder, document = map(pathlib.Path, sys.argv[1:])
    paths = {name: folder / f"{name}.json" for name in PARTS}
    found = {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}
    # What another program left under such a name; the board's figures are made elsewhere.
    found = {name: part for name, part in found.items() if "measured" in part or name == "board"}
    measured = {name: part["measured"] for name, part in found.items() if "measured" in part}
    figures = {name: part.get("figures", part) for name, part in found.items()}
    if not measured:
        sys.exit(f"report.py: no figures in {folder}; run bench.py first")
    pictures = document.with_suffix("")
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.glob("*.svg"):
        old.unlink()

    def picture(name, kind, *words):
        """Draws a plot; returns the line that shows it."""
        (pictures / f"{name}.svg").write_text(getattr(plot, kind)(*words))
        return f"![{words[0]}]({pictures.name}/{name}.svg)\n"

    text = [head(measured), glance(figures)]
    for number, (name, title, write) in enumerate(sections.ALL, 1):
        body = write(figures[name], picture) if name in figures else "Not measured in this run.\n"
        text.append(f"## {number}. {title}\n\n{body}")
    document.write_text("\n".join(text))
    print(f"{document}: {len(figures)} of {len(PARTS)} parts")


def head(measured):
    """What was measured where."""
    newest = max(measured.values(), key=lambda one: one["date"])
    versions = ", ".join(f"{name} {number}" for name, number in newest["versions"].items())
    parts = ", ".join(f"{name} ({one['date']}, {one['commit']}, {one['seconds']} s, load before it {one['load']:.1f})" for name, one in measured.items())
    quick = "\n**Figures of a quick run: they show that everything works, and little else.**\n" if any(
        one["quick"] for one in measured.values()) else ""
    return f"""# Benchmarks

Written by `make bench` (root, Debian 12, about 15 minutes); figures as JSON in `target/bench/`. `QUICK=1 make bench` shows in
three minutes that everything works. Every comparison is made in one run, by turns, on the same machine: absolute
times differ from machine to machine, ratios little. A figure is the median of its rounds; behind it stand the lowest and the highest
round, or quartiles where it says so.
{quick}
* Machine: {newest['machine']}
* Versions: natf {newest['commit']}, {versions}
* Measured: {parts}
* All nodes are network namespaces on this machine; its processors do the work of everybody, load generators included. "One
  CPU" pins all of them to the first one.
"""


if __name__ == "__main__":
    main()
