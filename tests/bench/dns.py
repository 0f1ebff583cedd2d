#!/usr/bin/env python3
"""Benchmarks of tsn-dnsd: cached answers beside dnsmasq and unbound in one run, and what announcing costs.

      en 198.51.100.10 ------------------ 198.51.100.1 router ---- alice
      nsd (10,000 names)                  natf-routerd, fw4
      tsn-dnsd, dnsmasq, unbound
      dnsperf

usage (root): dns.py BINARIES OUTPUT.json        prints a table, writes the figures as JSON

Answers are counted per second of the server's own CPU time: on a shared machine that is the figure that can be
repeated. The servers take turns, each in several rounds.
"""
import json
import os
import pathlib
import re
import statistics
import sys
import tempfile
import time

import natf
from natf import EN, G1, G2, KEY, KEY_TEXT, ROUTER, run, start, wait_until

NAMES = 10_000
ROUNDS = 3
SECONDS = 4
TICK = os.sysconf("SC_CLK_TCK")
UPSTREAM = 5300
PORTS = {"tsn-dnsd": 5301, "dnsmasq": 5302, "unbound": 5303}
# The server on one CPU, the client on the other one.
SERVER_CPU, CLIENT_CPU = 0, 1


def write_configuration(folder):
    records = "".join(f"n{number} A 192.0.2.{number % 250 + 1}\n" for number in range(NAMES))
    (folder / "bench.zone").write_text(
        "$ORIGIN bench.example.org.\n$TTL 3600\n@ SOA ns hostmaster 1 3600 600 86400 60\n NS ns\nns A 127.0.0.1\n" + records)
    (folder / "home.zone").write_text(
        "$ORIGIN home.example.net.\n$TTL 3600\n@ SOA ns hostmaster 1 3600 600 86400 60\n NS ns\nns A 127.0.0.1\n"
        f"@ A {G2}\n* A {G2}\n")
    (folder / "nsd.conf").write_text(f"""
server:
    ip-address: 127.0.0.1@{UPSTREAM}
    server-count: 1
    username: ""
    zonesdir: "{folder}"
    database: ""
    zonelistfile: "{folder}/zone.list"
    xfrdfile: "{folder}/xfrd.state"
    pidfile: "{folder}/nsd.pid"
remote-control:
    control-enable: no
zone:
    name: bench.example.org
    zonefile: bench.zone
zone:
    name: home.example.net
    zonefile: home.zone
""")
    (folder / "dnsmasq.conf").write_text(
        f"no-resolv\nno-hosts\nserver=127.0.0.1#{UPSTREAM}\nport={PORTS['dnsmasq']}\nlisten-address=127.0.0.1\n"
        "bind-interfaces\ncache-size=20000\nuser=root\npid-file=\n")
    (folder / "unbound.conf").write_text(f"""
server:
    interface: 127.0.0.1@{PORTS['unbound']}
    num-threads: 1
    username: ""
    chroot: ""
    directory: "{folder}"
    pidfile: "{folder}/unbound.pid"
    use-syslog: no
    do-not-query-localhost: no
    module-config: "iterator"
    so-reuseport: no
    outgoing-range: 512
    num-queries-per-thread: 512
    access-control: 0.0.0.0/0 allow
forward-zone:
    name: "."
    forward-addr: 127.0.0.1@{UPSTREAM}
remote-control:
    control-enable: no
""")
    (folder / "dnsd").write_text(f"""
config server 'server'
    list listen '127.0.0.1#{PORTS["tsn-dnsd"]}'
    list upstream '127.0.0.1#{UPSTREAM}'
    option cache_size '20000'
    option rate '0'

config router 'home'
    list domain 'home.example.net'
    option id '3'
""")
    (folder / "dnsd-keys").write_text(f"home 3 {KEY_TEXT}\n")
    (folder / "dnsd-keys").chmod(0o600)
    (folder / "router").write_text(
        "config router 'router'\n\toption domain 'home.example.net'\n\toption max_guide '65536'\n"
        "config host 'alice'\n\toption ip '192.168.1.10'\n\toption access 'allow'\n"
        "config peer 'dnsd'\n\toption id '3'\n\toption role 'tsn'\n"
        "config peer 'bench'\n\toption id '4'\n\toption role 'tsn'\n")
    (folder / "router-keys").write_text(f"dnsd 3 {KEY_TEXT}\nbench 4 {KEY_TEXT}\n")
    (folder / "router-keys").chmod(0o600)
    (folder / "names").write_text("".join(f"n{number}.bench.example.org A\n" for number in range(NAMES)))
    (folder / "plain").write_text("n1.bench.example.org A\n")
    (folder / "announced").write_text("alice.home.example.net A\n")


def start_servers(binaries, folder, log):
    start(EN, log, "nsd", "-d", "-c", folder / "nsd.conf")
    return {
        "tsn-dnsd": start(EN, log, binaries / "tsn-dnsd", "-c", folder / "dnsd", "-k", folder / "dnsd-keys",
                          "--run-dir", folder / "dnsd-run", "--state-dir", folder / "dnsd-state", cpu=SERVER_CPU),
        "dnsmasq": start(EN, log, "dnsmasq", "--keep-in-foreground", "-C", folder / "dnsmasq.conf", cpu=SERVER_CPU),
        "unbound": start(EN, log, "unbound", "-d", "-c", folder / "unbound.conf", cpu=SERVER_CPU),
    }


def answers(port):
    reply = run("dig", "+short", "+tries=1", "+time=1", "-p", port, "@127.0.0.1", "n7.bench.example.org", where=EN, check=False)
    return reply.strip() == "192.0.2.8"


def cpu_seconds(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def rss_mib(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


def dnsperf(port, data, *options):
    """Runs dnsperf and returns its output and the number of NOERROR answers."""
    text = run("taskset", "-c", CLIENT_CPU, "dnsperf", "-s", "127.0.0.1", "-p", port, "-d", data, *options, where=EN)
    done = int(re.search(r"Queries completed:\s+(\d+)", text).group(1))
    codes = re.search(r"Response codes:\s+(.*)", text).group(1)
    if done == 0 or not re.fullmatch(r"NOERROR \d+ \(100\.00%\)\s*", codes):
        sys.exit(f"dns.py: not all answers are good at port {port}: {done} completed, {codes}")
    return text, done


def per_cpu_second(process, port, folder, mode):
    before = cpu_seconds(process)
    _, done = dnsperf(port, folder / "names", "-m", mode, "-l", SECONDS, "-c", 4, "-q", 100)
    return done / max(cpu_seconds(process) - before, 1 / TICK)


def latencies(port, data, rate=2000, seconds=SECONDS):
    """Sorted latencies of single questions, in microseconds."""
    text, _ = dnsperf(port, data, "-l", seconds, "-c", 1, "-q", 100, "-Q", rate, "-v")
    return sorted(float(found) * 1e6 for found in re.findall(r"^> NOERROR \S+ \S+ ([\d.]+)$", text, re.M))


def at(sorted_values, share):
    return sorted_values[min(int(len(sorted_values) * share), len(sorted_values) - 1)]


def measure_answers(servers, folder):
    figures = {}
    for name, port in PORTS.items():
        # Twice, so that the cache is full whatever was lost.
        for _ in range(2):
            dnsperf(port, folder / "names", "-n", 1, "-c", 1, "-q", 50)
    found = {(name, mode): [] for name in PORTS for mode in ("udp", "tcp")}
    times = {name: [] for name in PORTS}
    for _ in range(ROUNDS):
        for name, port in PORTS.items():
            for mode in ("udp", "tcp"):
                # dnsmasq answers TCP in a child for each connection, whose CPU time is not its own.
                if (name, mode) != ("dnsmasq", "tcp"):
                    found[name, mode].append(per_cpu_second(servers[name], port, folder, mode))
            times[name].append(latencies(port, folder / "names"))
    for name in PORTS:
        key = {"tsn-dnsd": ""}.get(name, f"{name}_")
        figures[f"{key}udp_q_per_cpu_s"] = statistics.median(found[name, "udp"])
        if found[name, "tcp"]:
            figures[f"{key}tcp_q_per_cpu_s"] = statistics.median(found[name, "tcp"])
        figures[f"{key}p50_us"] = statistics.median(at(values, 0.5) for values in times[name])
        figures[f"{key}p99_us"] = statistics.median(at(values, 0.99) for values in times[name])
        figures[f"{key}rss_mib"] = rss_mib(servers[name])
    figures["dnsmasq_q_per_cpu_s"] = figures["dnsmasq_udp_q_per_cpu_s"]
    return figures


def measure_announcing(binaries, folder, log):
    """What an announced name costs beyond a plain one and one round trip to the router, and the router's rate."""
    router = natf.Router(binaries, folder, log)
    router.start()
    port = PORTS["tsn-dnsd"]
    extra = []
    for _ in range(ROUNDS):
        plain = at(latencies(port, folder / "plain", rate=200), 0.5)
        announced = at(latencies(port, folder / "announced", rate=200), 0.5)
        pings = run("ping", "-q", "-c", 300, "-i", "0.005", "-s", 128, G2, where=EN)
        round_trip = float(re.search(r"= [\d.]+/([\d.]+)/", pings).group(1)) * 1000
        extra.append((announced - plain - round_trip, plain, announced, round_trip))
    middle = sorted(extra)[len(extra) // 2]
    keys = ("announce_extra_us", "announce_plain_us", "announce_announced_us", "announce_round_trip_us")
    figures = dict(zip(keys, middle))
    router.stop()
    rates = []
    for _ in range(ROUNDS):
        router.start(cpu=SERVER_CPU)
        words = [binaries / "natf-bench", "notify-rate", G2, G1, KEY.hex(), 4, "alice.home.example.net", 30_000]
        found = json.loads(run("taskset", "-c", CLIENT_CPU, *words, where=EN))
        if found["guided"] < 29_000:
            sys.exit(f"dns.py: not all notifications were answered: {found}")
        rates.append(found["notifications_per_s"])
        router.stop()
    return figures | {"notifications_per_s": statistics.median(rates)}


def report(figures):
    rows = (
        ("udp_q_per_cpu_s", "cached answers per CPU-second, UDP", 200_000, max),
        ("dnsmasq_q_per_cpu_s", "  dnsmasq", None, None),
        ("unbound_udp_q_per_cpu_s", "  unbound", None, None),
        ("tcp_q_per_cpu_s", "cached answers per CPU-second, TCP", 100_000, max),
        ("unbound_tcp_q_per_cpu_s", "  unbound", None, None),
        ("p50_us", "latency at 2,000 questions/s, median (us)", 45, min),
        ("dnsmasq_p50_us", "  dnsmasq", None, None),
        ("unbound_p50_us", "  unbound", None, None),
        ("p99_us", "latency at 2,000 questions/s, 99th percentile (us)", 110, min),
        ("dnsmasq_p99_us", "  dnsmasq", None, None),
        ("unbound_p99_us", "  unbound", None, None),
        ("rss_mib", "memory with 10,000 names (MiB)", 7, min),
        ("dnsmasq_rss_mib", "  dnsmasq", None, None),
        ("unbound_rss_mib", "  unbound", None, None),
        ("announce_extra_us", "announced name, beyond one round trip (us)", 100, min),
        ("notifications_per_s", "notifications per second at the router, one core", 10_000, max),
    )
    print(f"\n{'':52}{'median':>12}{'bar':>10}")
    for key, what, bar, better in rows:
        if key in figures:
            missed = bar is not None and better(figures[key], bar) != figures[key]
            print(f"{what:52}{figures[key]:>12.1f}{bar if bar is not None else '':>10}{'  MISSED' if missed else ''}")
    if figures["udp_q_per_cpu_s"] < figures["dnsmasq_q_per_cpu_s"]:
        print("fewer cached answers per CPU-second than dnsmasq: MISSED")


def main():
    binaries, output = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    folder = pathlib.Path(tempfile.mkdtemp(prefix="natf-bench-"))
    log = open(folder / "log", "w", encoding="utf-8")
    try:
        natf.build_topology()
        write_configuration(folder)
        servers = start_servers(binaries, folder, log)
        for name, port in PORTS.items():
            wait_until(lambda port=port: answers(port), f"the first answer of {name}")
        figures = measure_answers(servers, folder)
        if "--no-announcing" not in sys.argv:
            figures |= measure_announcing(binaries, folder, log)
        report(figures)
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(figures, indent=1) + "\n")
        print(f"figures: {output}")
    except BaseException:
        log.flush()
        print((folder / "log").read_text()[-3000:], file=sys.stderr)
        raise
    finally:
        natf.clean_up(folder)


if __name__ == "__main__":
    main()
