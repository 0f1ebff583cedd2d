#!/usr/bin/env python3
"""Holds the dependencies against what is allowed, and `unsafe` against where it may be.

- every crate that a daemon is built from comes from crates.io, under one of LICENCES, and in one version only;
- `unsafe` stands in the files of UNSAFE only, and a reason stands before each block.
"""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
DAEMONS = {"natf-routerd", "natf-endd", "tsn-dnsd"}
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"
LICENCES = {"MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Unicode-3.0", "Zlib", "Unlicense", "0BSD"}
UNSAFE = {"natf-kernel/src/sys.rs", "natf-kernel/src/udp_batch.rs"}
# Lines that a reason may stand above its block.
REASON_WITHIN = 6


def shipped():
    """The packages that the daemons are built from, for Linux: everything but dev-dependencies."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-musl"]
    data = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    packages = {package["id"]: package for package in data["packages"]}
    edges = {
        node["id"]: [dep["pkg"] for dep in node["deps"] if any(kind["kind"] != "dev" for kind in dep["dep_kinds"])]
        for node in data["resolve"]["nodes"]
    }
    waiting = [id for id, package in packages.items() if package["name"] in DAEMONS]
    found = {}
    while waiting:
        id = waiting.pop()
        if id not in found:
            found[id] = packages[id]
            waiting += edges[id]
    return list(found.values())


def is_allowed(licence):
    """Whether an SPDX expression can be met: one side of each OR, every side of AND."""
    expression = re.sub(r"\s+WITH\s+LLVM-exception", "", licence.replace("/", " OR "))
    words = re.sub(r"[\w.-]+", lambda word: word[0].lower() if word[0] in ("OR", "AND") else str(word[0] in LICENCES), expression)
    return bool(re.fullmatch(r"[\s()]*(True|False)([\s()]|or|and|True|False)*", words)) and eval(words)  # only the words matched


def wrong_packages(packages):
    """Yields what is wrong with the packages."""
    versions = {}
    for package in packages:
        name = f"{package['name']} {package['version']}"
        versions.setdefault(package["name"], []).append(package["version"])
        if package["source"] not in (None, REGISTRY):
            yield f"{name}: comes from {package['source']}"
        if not package["license"] or not is_allowed(package["license"]):
            yield f"{name}: its licence is {package['license']}"
    for name, several in versions.items():
        # Procedural macros and their parsers run in the compiler only.
        if len(several) > 1 and name != "syn":
            yield f"{name}: in {len(several)} versions: {', '.join(sorted(several))}"


def wrong_unsafe():
    """Yields `unsafe` in other places or without a reason."""
    files = subprocess.run(["git", "ls-files", "*/src/*.rs"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for file in files:
        lines = (ROOT / file).read_text().split("\n")
        for number, line in enumerate(lines):
            code = line.split("//")[0]
            if not re.search(r"\bunsafe\b(?!_)", code):
                continue
            if file not in UNSAFE:
                yield f"{file}:{number + 1}: unsafe outside the kernel layer"
            elif not any(re.search("SAFETY:|# Safety", above) for above in lines[max(0, number - REASON_WITHIN) : number + 1]):
                yield f"{file}:{number + 1}: unsafe without its reason"


def main():
    packages = shipped()
    problems = [*wrong_packages(packages), *wrong_unsafe()]
    print("\n".join(problems + [f"{len(packages)} packages in the daemons, {len(problems)} problems"]))
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
