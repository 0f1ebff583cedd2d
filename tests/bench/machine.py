"""What the figures were measured on: machine, kernel, versions."""
import datetime
import hashlib
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
# How each program tells its version.
PROGRAMS = {
    "miniupnpd": ("miniupnpd", "--version"),
    "dnsmasq": ("dnsmasq", "--version"),
    "unbound": ("unbound", "-V"),
    "nsd": ("nsd", "-v"),
    "dnsperf": ("dnsperf", "-h"),
    "wireguard-go": ("wireguard-go", "--version"),
    "boringtun-cli": ("boringtun-cli", "--version"),
    "socat": ("socat", "-V"),
    "nft": ("nft", "--version"),
}


def now():
    """Commit, time and machine of a measurement."""
    return {"commit": commit(), "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "machine": machine(), "versions": versions()}


def commit():
    """The commit that was built, with a mark where the tree differs from it."""
    text = subprocess.run(["git", "-C", HERE, "describe", "--always", "--dirty=-changed"], capture_output=True, text=True,
                          check=False).stdout.strip()
    return text or "unknown"


def machine():
    """One line that names the machine."""
    cpu = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text()).group(1)) / 1024 / 1024
    virtual = "hypervisor" in pathlib.Path("/proc/cpuinfo").read_text()
    return (f"{os.cpu_count()} CPUs, {cpu.group(1) if cpu else platform.machine()}{', virtual machine' if virtual else ''}, "
            f"{memory:.0f} GiB, Linux {platform.release()}")


def speed():
    """Megabytes of SHA-256 that a processor does in a second just now: in a virtual machine this changes by the minute."""
    block, times = bytes(1_000_000), []
    for _ in range(9):
        start = time.perf_counter()
        hashlib.sha256(block).digest()
        times.append(time.perf_counter() - start)
    return 1 / statistics.median(times)


def versions():
    """Version of each program that is there."""
    found = {}
    for name, words in PROGRAMS.items():
        if shutil.which(words[0]):
            done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
            number = re.search(r"\d+\.\d+(\.\d+)*", done.stdout + done.stderr)
            found[name] = number.group(0) if number else "?"
    return found
