#!/usr/bin/env python3
"""Runs the benchmarks, each in a bed of its own, and writes what they found.

usage (root): bench.py [--quick] [--only PART,PART...] BINARIES FOLDER

Each part leaves FOLDER/PART.json; a part that fails leaves none, and the rest goes on. headlines.py adds natf.json, report.py makes
the document.
"""
import argparse
import importlib
import json
import os
import pathlib
import signal
import sys
import time
import traceback

import headlines
import machine
from bed import Bed

PARTS = ("startup", "mapping", "throughput", "crowd", "dns", "distance", "ordinary")


def run_part(name, binaries, quick):
    """The figures of one part, with when and where they were measured."""
    start, load = time.time(), os.getloadavg()[0]
    with Bed(binaries, quick) as bed:
        figures = importlib.import_module(name).measure(bed)
    return {"measured": machine.now() | {"quick": quick, "seconds": round(time.time() - start), "load": load}, "figures": figures}


def main():
    """Parses the command line, runs the parts; fails where one failed."""
    parser = argparse.ArgumentParser(description="Runs the benchmarks of natf.")
    parser.add_argument("--quick", action="store_true", help="few rounds, to see that it works")
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("binaries", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    call = parser.parse_args()
    parts = call.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--only: unknown {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    # So that beds are cleaned up then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench.py: terminated"))
    call.folder.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in parts:
        path = call.folder / f"{name}.json"
        path.unlink(missing_ok=True)
        print(f"{name} ...", flush=True)
        try:
            found = run_part(name, call.binaries.resolve(), call.quick)
        except Exception:  # whatever it is, the other parts are still worth measuring
            traceback.print_exc()
            failed.append(name)
            continue
        path.write_text(json.dumps(found, indent=1) + "\n")
        print(f"{name}: {found['measured']['seconds']} s", flush=True)
    headlines.write(call.folder)
    if failed:
        sys.exit(f"bench.py: failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
