#!/usr/bin/env python3
"""What each crate costs in flash: sums the symbols of a program that is linked but not stripped.

    CARGO_PROFILE_FLASH_STRIP=false openwrt/build/cross.sh mipsel_24kc natf-routerd
    openwrt/build/size.py target/openwrt/mipsel_24kc/natf-routerd [--symbols N]

A generic function counts for the crate that wrote it, not for the one that asked for it; what is inlined counts where it
was inlined; strings and tables without a symbol are one line of their own.
"""

import argparse
import collections
import re
import subprocess

# A path's first part in a legacy symbol, after what a trait implementation puts before it: `<T as Trait>::f`, `&T`, `[T]`.
LEGACY = re.compile(r"^_?_ZN\d+(.*)")
CRATE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:\.\.|::)")
PRIMITIVE = {"LT", "GT", "RF", "BP", "u7b", "u7d", "u20", "u27", "C", "as", "dyn", "mut"}


def crate(name):
    """The crate that a demangled symbol belongs to."""
    plain = re.sub(r"^<*(?:&|mut |dyn |\[|\(|\*|const )*", "", name)
    found = CRATE.match(plain) or CRATE.search(plain)
    if found and "::" in name:
        return found.group(1)
    return "C: musl, compiler's helpers"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("program")
    arguments.add_argument("--symbols", type=int, default=0, help="also the N largest symbols")
    arguments = arguments.parse_args()
    listed = subprocess.run(["nm", "-S", "--size-sort", "-C", arguments.program], check=True, capture_output=True, text=True)
    crates, symbols, seen = collections.Counter(), [], set()
    for line in listed.stdout.splitlines():
        address, size, kind, name = line.split(maxsplit=3)
        if kind in "bB" or address in seen:
            continue
        seen.add(address)
        crates[crate(name)] += int(size, 16)
        symbols.append((int(size, 16), name))
    sections = subprocess.run(["size", "-A", "-d", arguments.program], check=True, capture_output=True, text=True)
    sizes = {part[0]: int(part[1]) for line in sections.stdout.splitlines() if (part := line.split()) and part[0].startswith(".")}
    loaded = {name: size for name, size in sizes.items() if not re.match(r"\.(debug|comment|symtab|strtab|bss|tbss|sbss|pdr|gnu|mdebug)", name)}
    crates["no symbol: strings, tables, unwinding"] = sum(loaded.values()) - sum(crates.values())
    for name, size in crates.most_common():
        print(f"{size:9} {name}")
    print(f"{sum(loaded.values()):9} in all;", ", ".join(f"{name} {size}" for name, size in sorted(loaded.items(), key=lambda item: -item[1])[:6]))
    for size, name in sorted(symbols, reverse=True)[: arguments.symbols]:
        print(f"{size:9} {name}")


if __name__ == "__main__":
    main()
