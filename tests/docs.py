#!/usr/bin/env python3
"""Holds the documents against the tree: links lead somewhere, files and functions that are named exist.

Checked in README.md and docs/: relative links with their headings, `path/file.ext` (whole or as the end of a path), `Type::function`
and, in tables, names of tests in `snake_case` with three words or more.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
TREE = FILES.stdout.split("\n")
SOURCE = "\n".join((ROOT / name).read_text() for name in TREE if name.endswith((".rs", ".js", ".py")) and (ROOT / name).exists())
FUNCTIONS = set(re.findall(r"(?:fn|def|function) (\w+)", SOURCE))
TYPES = set(re.findall(r"(?:struct|enum|trait|type|mod) (\w+)", SOURCE)) | set(re.findall(r"^    (\w+)[,({ ]", SOURCE, re.M))
FILE = re.compile(r"^[\w./*-]+\.(rs|sh|py|js|json|md|toml|service|bash)$")
TEST = re.compile(r"^[a-z][a-z0-9]*(_[a-z0-9]+){3,}$")


def anchors(text):
    """The anchors of a document's headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(document, text):
    """Yields relative links that lead nowhere."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = document.parent / path if path else document
        if not there.exists():
            yield f"link to {target}: no such file"
        elif anchor and anchor not in anchors(there.read_text()):
            yield f"link to {target}: no such heading"


def unknown_names(text):
    """Yields files, functions and tests that are named and do not exist."""
    for name in re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)):
        if FILE.match(name) and not any(pathlib.PurePath(file).match(name) for file in TREE) and not name.startswith(("/", "target/")):
            yield f"`{name}`: no such file"
        path = re.fullmatch(r"([A-Z]\w*)::(\w+)", name)
        if path and (path[1] not in TYPES or path[2] not in FUNCTIONS | TYPES):
            yield f"`{name}`: not in the sources"
    for row in re.findall(r"^\|.*$", text, re.M):
        for name in re.findall(r"`([^`]+)`", row):
            if TEST.match(name) and name not in FUNCTIONS:
                yield f"`{name}`: no such test"


def main():
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = 0
    for document in documents:
        text = document.read_text()
        for problem in [*broken_links(document, text), *unknown_names(text)]:
            print(f"{document.relative_to(ROOT)}: {problem}")
            found += 1
    print(f"{len(documents)} documents, {found} problems")
    return found != 0


if __name__ == "__main__":
    sys.exit(main())
