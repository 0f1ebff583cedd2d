"""Mapping requests while more and more mappings live, beside PCP MAP at miniupnpd.

Router and client have a CPU each. NAT-f's requests are sealed and answered sealed; PCP has neither.
"""
import json
import os
import pathlib
import signal
import time

from bed import (ALICE, CLIENT_CPU, G1, G2, KEY, LAN, ROOMY, ROUTER, SERVER_CPU, Failure, Router, peer, rss_kib,
                 summary, wait_until)

LEVELS = (0, 100, 500, 1000, 5000, 10_000, 20_000, 50_000)
ROUNDS, REQUESTS = 5, 300
# miniupnpd takes a public address only.
OUTSIDE = "9.9.9.1"
INSIDE = "192.168.1.0/24"
PCP_MAPPINGS, PCP_STEP, PCP_SECONDS = 1000, 50, 25


def measure(bed):
    """Both."""
    return {"natf": measure_natf(bed), "miniupnpd": measure_miniupnpd(bed)}


def measure_natf(bed):
    """Latency and memory at each level, and the rate at which the table fills up to it."""
    router = Router(bed, ROUTER + "\toption pending '120'\n" + ROOMY + ALICE, [peer("bench", 2)])
    runs = [measure_levels(bed, router) for _ in range(1 if bed.quick else 3)]
    rows = [{"mappings": level, **{key: summary(run[at][key] for run in runs) for key in runs[0][at]}}
            for at, level in enumerate(LEVELS)]
    grown = rows[-1]["rss_kib"]["median"] - rows[0]["rss_kib"]["median"]
    return {"levels": rows, "bytes_per_mapping": 1024 * grown / LEVELS[-1], "kernel_bytes_per_entry": entry_size(),
            "rate_from_empty": measure_rate(bed, router)}


def measure_levels(bed, router):
    """One way up through the levels."""
    router.start(cpu=SERVER_CPU)
    bed.bench("latency", G2, G1, KEY.hex(), 2, 50, 0, cpu=CLIENT_CPU)
    rows, flow = [], 50
    for level in LEVELS:
        row = {}
        if (missing := level - router.ask("status")["mappings"]) > 0:
            row["requests_per_s"] = asked(bed.bench("rate", G2, G1, KEY.hex(), 2, missing, flow, cpu=CLIENT_CPU), missing)
            flow += missing
        rounds = []
        for _ in range(ROUNDS):
            rounds.append(bed.bench("latency", G2, G1, KEY.hex(), 2, REQUESTS // ROUNDS, flow, cpu=CLIENT_CPU))
            flow += REQUESTS // ROUNDS
        row["latency_us"] = summary(found["median_us"] for found in rounds)["median"]
        row["latency_p99_us"] = max(found["p99_us"] for found in rounds)
        row["rss_kib"] = router.rss_kib()
        rows.append(row)
    live = router.ask("status")["mappings"]
    router.stop()
    if live < LEVELS[-1]:
        raise Failure(f"only {live} of {LEVELS[-1]} mappings live: the sweep took longer than they wait")
    return rows


def asked(found, count):
    """The rate, if the requests were granted."""
    if found["answered"] < 0.99 * count or not found["last_is_grant"]:
        raise Failure(f"not all requests were granted: {found}")
    return found["requests_per_s"]


def measure_rate(bed, router):
    """Requests per second into an empty table, one processor."""
    count, rates = (20_000, []) if bed.quick else (100_000, [])
    for _ in range(3):
        router.start(cpu=SERVER_CPU)
        rates.append(asked(bed.bench("rate", G2, G1, KEY.hex(), 2, count, 0, cpu=CLIENT_CPU), count))
        router.stop()
    return summary(rates)


def entry_size():
    """Bytes of one entry of the kernel's connection table, where the kernel tells."""
    try:
        lines = pathlib.Path("/proc/slabinfo").read_text().splitlines()
    except OSError:
        return None
    sizes = [int(line.split()[3]) for line in lines if line.startswith("nf_conntrack ")]
    return sizes[0] if sizes else None


def measure_miniupnpd(bed):
    """PCP MAP by the same client program, as far as it gets in its time."""
    bed.nft(bed.router, """
        table inet filter {
            chain miniupnpd { }
            chain prerouting_miniupnpd { }
            chain postrouting_miniupnpd { }
            chain forward { type filter hook forward priority 0; jump miniupnpd; }
            chain prerouting { type nat hook prerouting priority dstnat; jump prerouting_miniupnpd; }
            chain postrouting { type nat hook postrouting priority srcnat; jump postrouting_miniupnpd; }
        }
    """)
    file = bed.write("miniupnpd", "ext_ifname=wan\nlistening_ip=br-lan\nenable_natpmp=yes\nenable_upnp=no\nsecure_mode=no\n"
                                  f"uuid=6d9b3c6e-6d2b-4f0d-9f0a-0d5f3b6c6a11\nallow 1-65535 {INSIDE} 1-65535\n")
    pid_file = bed.folder / "miniupnpd.pid"
    # Without -d it goes into the background by itself.
    bed.run("miniupnpd", "-f", file, "-o", OUTSIDE, "-N", "-P", pid_file, where=bed.router, cpu=SERVER_CPU)
    wait_until(pid_file.exists, "miniupnpd's start")
    daemon = Daemon(pid_file)
    try:
        time.sleep(0.5)
        empty = rss_kib(daemon)
        text = bed.run(bed.binaries / "natf-bench", "pcp", LAN, 200 if bed.quick else PCP_MAPPINGS, PCP_STEP, PCP_SECONDS,
                       where=bed.alice, cpu=CLIENT_CPU)
        rows = [json.loads(line) for line in text.splitlines()]
        return {"levels": rows, "seconds_limit": PCP_SECONDS,
                "bytes_per_mapping": 1024 * (rss_kib(daemon) - empty) / rows[-1]["mappings"]}
    finally:
        os.kill(daemon.pid, signal.SIGTERM)


class Daemon:
    """A process that put itself into the background."""

    def __init__(self, pid_file):
        self.pid = int(pid_file.read_text())
