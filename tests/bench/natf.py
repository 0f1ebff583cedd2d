#!/usr/bin/env python3
"""Benchmarks of NAT-f in network namespaces: medians, each beside what it is compared with, in one run.

      en 198.51.100.10 ---- 198.51.100.1 router 192.168.1.1 ---- 192.168.1.10 alice
      natf-endd, natf-bench              natf-routerd, fw4            natf-bench accept, iperf3

usage (root): natf.py BINARIES OUTPUT.json        prints a table, writes the figures as JSON

Times are measured twice: with everybody on one CPU, as on a router with one, and across the CPUs of this machine.
In a virtual machine, waking another CPU costs more than the whole negotiation, and its host decides how much.
"""
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
EN, ROUTER, ALICE = (f"natfbench{os.getpid()}-{name}" for name in ("en", "router", "alice"))
G1, G2, P1 = "198.51.100.10", "198.51.100.1", "192.168.1.10"
KEY = bytes(range(32))
KEY_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
STATIC_PORT, PORT, IPERF, STATIC_IPERF = 8080, 80, 5201, 5301
# An address that EN's own nftables translate to the router's: what NAT-f does at EN, written by hand.
LOCAL_DNAT = "203.0.113.9"
SIZES = (64, 128, 256, 512, 1024, 1472)
ROUNDS = 5
THROUGHPUT_ROUNDS = 5
started = []


def run(*words, where=None, timeout=120, check=True):
    """Runs a command, in a namespace if one is named, and returns what it printed."""
    words = [str(word) for word in words]
    if where:
        words = ["ip", "netns", "exec", where, *words]
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode:
        sys.exit(f"natf.py: {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def start(where, log, *words, cpu=None):
    words = ["ip", "netns", "exec", where, *(["taskset", "-c", str(cpu)] if cpu is not None else []), *map(str, words)]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    started.append(process)
    return process


def build_topology():
    for name in (EN, ROUTER, ALICE):
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
    for one, device, address, other, peer, gateway in (
        (EN, "eth0", G1, ROUTER, "wan", G2),
        (ALICE, "eth0", P1, ROUTER, "br-lan", "192.168.1.1"),
    ):
        run("ip", "link", "add", device, "netns", one, "type", "veth", "peer", "name", peer, "netns", other)
        run("ip", "-n", one, "addr", "add", f"{address}/24", "dev", device)
        run("ip", "-n", other, "addr", "add", f"{gateway}/24", "dev", peer)
        run("ip", "-n", one, "link", "set", device, "up")
        run("ip", "-n", other, "link", "set", peer, "up")
        run("ip", "-n", one, "route", "add", "default", "via", gateway)
    run("sysctl", "-qw", "net.ipv4.ip_forward=1", where=ROUTER)
    fw4 = (HERE.parent / "lab" / "fw4.nft").read_text()
    rules = fw4 + f"""
        table ip static {{
            chain dstnat {{
                type nat hook prerouting priority dstnat - 1;
                iifname "wan" tcp dport {STATIC_PORT} dnat to {P1}:{PORT}
                iifname "wan" meta l4proto {{ tcp, udp }} th dport {STATIC_IPERF} dnat to {P1}:{IPERF}
            }}
        }}
        insert rule inet fw4 forward ct status dnat accept
    """
    local = f"table ip local {{ chain dstnat {{ type nat hook output priority -100; ip daddr {LOCAL_DNAT} dnat to {G2}; }}; }}"
    for where, text in ((ROUTER, rules), (EN, local)):
        nft = subprocess.run(["ip", "netns", "exec", where, "nft", "-f", "-"], input=text, text=True, capture_output=True)
        if nft.returncode:
            sys.exit(f"natf.py: nft: {nft.stderr}")


def write_configuration(folder):
    (folder / "router").write_text(
        "config router 'router'\n\toption domain 'home.example.net'\n\toption pending '60'\n"
        "\toption max_mappings '200000'\n\toption max_per_peer '200000'\n\toption max_per_host '200000'\n"
        f"config host 'alice'\n\toption ip '{P1}'\n\toption access 'allow'\n"
        "config peer 'laptop'\n\toption id '1'\nconfig peer 'bench'\n\toption id '2'\n"
    )
    (folder / "end").write_text(
        "config end 'end'\n\toption resolver 'none'\n\tlist upstream '127.0.0.1:5300'\n"
        "config home 'home'\n\toption domain 'home.example.net'\n\toption id '1'\n"
    )
    for name, text in (("router-keys", f"laptop 1 {KEY_TEXT}\nbench 2 {KEY_TEXT}\n"), ("end-keys", f"home 1 {KEY_TEXT}\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    (folder / "zone").write_text("address=/home.example.net/" + G2 + "\n")


def wait_until(condition, what, seconds=10):
    end = time.time() + seconds
    while time.time() < end:
        if condition():
            return
        time.sleep(0.05)
    sys.exit(f"natf.py: {what} did not happen within {seconds} s")


class Router:
    """natf-routerd, started anew for each measurement that fills its table."""

    def __init__(self, binaries, folder, log):
        self.words = [binaries / "natf-routerd", "-c", folder / "router", "-k", folder / "router-keys",
                      "--run-dir", folder / "run", "--state-dir", folder / "state"]
        self.log, self.process = log, None

    def ask(self, command):
        return json.loads(run(*self.words, "--json", command, where=ROUTER, check=False) or "null")

    def start(self, *options, cpu=None):
        run("conntrack", "-F", where=ROUTER, check=False)
        self.process = start(ROUTER, self.log, *self.words, *options, cpu=cpu)
        wait_until(lambda: self.ask("status"), "natf-routerd's start")

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        run("conntrack", "-F", where=ROUTER, check=False)

    def rss_kib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))


def bench(binaries, mode, count, first, cpu=None):
    words = [binaries / "natf-bench", mode, G2, G1, KEY.hex(), 2, count, first]
    words = ["taskset", "-c", str(cpu), *words] if cpu is not None else words
    return json.loads(run(*words, where=EN))


def measure_requests(binaries, router):
    figures = {}
    for key, cpu in (("router_us", 0), ("router_across_cpus_us", 1)):
        router.start("--measure", cpu=0)
        figures["rss_kib"] = router.rss_kib()
        bench(binaries, "latency", 200, 0, cpu=cpu)
        for at in range(ROUNDS):
            bench(binaries, "latency", 400, 1000 + 400 * at, cpu=cpu)
        figures[key] = router.ask("status")["router_us"]
        router.stop()
    router.start(cpu=0)
    few = [bench(binaries, "latency", 10, 0, cpu=1) and bench(binaries, "latency", 400, 1000 + 400 * at, cpu=1)["median_us"]
           for at in range(ROUNDS)]
    filled = bench(binaries, "rate", 20000, 100000, cpu=1)
    figures["mappings_filled"] = router.ask("status")["mappings"]
    many = [bench(binaries, "latency", 400, 10000 + 400 * at, cpu=1)["median_us"] for at in range(ROUNDS)]
    figures["rss_kib_20k"] = router.rss_kib()
    figures["latency_us"], figures["latency_us_20k"] = statistics.median(few), statistics.median(many)
    figures["latency_ratio_20k"] = figures["latency_us_20k"] / figures["latency_us"]
    router.stop()
    rates = []
    for _ in range(3):
        router.start(cpu=0)
        found = bench(binaries, "rate", 100000, 0, cpu=1)
        if found["answered"] < 99000 or not found["last_is_grant"] or not filled["last_is_grant"]:
            print("natf.py: not all requests were granted:", found, filled, file=sys.stderr)
        rates.append(found["requests_per_s"])
        router.stop()
    figures["requests_per_s"] = statistics.median(rates)
    return figures


def resolve(binaries, folder, name):
    answer = run("dig", "+short", "+tries=1", "@127.0.0.153", name, where=EN, check=False)
    return next((line for line in answer.split() if line[0].isdigit()), "")


def retransmitted():
    text = run("nstat", "-az", "TcpRetransSegs", where=EN)
    return int(re.search(r"TcpRetransSegs\s+(\d+)", text).group(1))


def measure_connections(binaries, virtual, daemons):
    """Connection times by name and by static forward, with everybody on one CPU and across all of them."""
    figures, before = {}, retransmitted()
    for suffix, cpus in (("us", "0"), ("across_cpus_us", f"0-{os.cpu_count() - 1}")):
        for process in daemons:
            run("taskset", "-apc", cpus, process.pid)
        words = ["taskset", "-c", cpus, binaries / "natf-bench", "connect", f"{virtual}:{PORT}", f"{G2}:{STATIC_PORT}"]
        run(*words, 50, where=EN)
        rounds = [json.loads(run(*words, 200, where=EN)) for _ in range(ROUNDS)]
        for key, found in (("overhead", "difference_us"), ("connect_natf", "first_us"), ("connect_dnat", "second_us")):
            figures[f"{key}_{suffix}"] = statistics.median(one[found] for one in rounds)
    return figures | {"retransmitted_segments": retransmitted() - before}


def iperf(address, port, protocol, size, reverse):
    # Client and server on a CPU of their own: where they share one now and then, figures are noise.
    words = ["iperf3", "-J", "-A", "0,1", "-c", address, "-p", port, "-t", "1", "-l", size]
    words += ["-R"] if reverse else []
    words += ["-u", "-b", "0"] if protocol == "udp" else []
    found = json.loads(run(*words, where=EN, timeout=20, check=False) or "{}").get("end", {})
    if protocol == "udp":
        found = found.get("sum", {})
        return found.get("bits_per_second", 0) * (1 - found.get("lost_percent", 0) / 100)
    return found.get("sum_received", {}).get("bits_per_second", 0)


def measure_throughput(virtual):
    ways = {"natf": (virtual, IPERF), "dnat": (G2, STATIC_IPERF), "local": (LOCAL_DNAT, STATIC_IPERF)}
    rows = []
    for protocol in ("tcp", "udp"):
        for reverse in (False, True):
            for size in SIZES:
                found = {way: [] for way in ways}
                for turn in range(THROUGHPUT_ROUNDS):
                    for way in list(ways)[:: 1 if turn % 2 == 0 else -1]:
                        found[way].append(iperf(*ways[way], protocol, size, reverse) / 1e6)
                median = {way: statistics.median(rates) for way, rates in found.items()}
                rows.append({
                    "protocol": protocol, "direction": "IN->EN" if reverse else "EN->IN", "size": size,
                    **{f"{way}_mbit": median[way] for way in ways},
                    "ratio": median["natf"] / (median["dnat"] or 1),
                    "ratio_local": median["natf"] / (median["local"] or 1),
                    # How far the rounds of one and the same way lie apart: what a ratio is worth.
                    "spread": max((max(rates) - min(rates)) / (max(rates) or 1) for rates in found.values()),
                })
                print("  {protocol} {direction} {size:5} B  {natf_mbit:8.0f} {dnat_mbit:8.0f} {local_mbit:8.0f} Mbit/s"
                      "  {ratio:6.3f} {ratio_local:6.3f}  spread {spread:.2f}".format(**rows[-1]))
    return {"throughput": rows, "throughput_ratio_min": min(row["ratio"] for row in rows),
            "throughput_ratio_local_min": min(row["ratio_local"] for row in rows)}


def clean_up(folder):
    """Ends what was started and removes namespaces and files."""
    for process in reversed(started):
        process.terminate()
    for process in started:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
    for name in (EN, ROUTER, ALICE):
        subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(folder, ignore_errors=True)


def report(figures):
    bars = (
        ("router_us", "router processing, receive stamp to reply sent", 30, 114, "us"),
        ("router_across_cpus_us", "  the same, requests arrive on another CPU", 30, 114, "us"),
        ("overhead_us", "start-up overhead of a TCP connection", 100, 650, "us"),
        ("overhead_across_cpus_us", "  the same, daemons and programs on any CPU", 100, 650, "us"),
        ("retransmitted_segments", "retransmitted segments meanwhile", 0, 0, ""),
        ("latency_ratio_20k", "latency with 20,000 live mappings / with few", 1.3, None, "x"),
        ("rss_kib", "natf-routerd RSS at rest", 4096, None, "KiB"),
        ("rss_kib_20k", "natf-routerd RSS with 20,000 mappings", 6144, None, "KiB"),
    )
    print(f"\n{'':52}{'median':>12}{'bar':>10}{'paper':>8}")
    for key, what, bar, paper, unit in bars:
        mark = "" if figures[key] <= bar else "  MISSED"
        print(f"{what:52}{figures[key]:>12.2f}{bar:>10}{paper if paper is not None else '-':>8} {unit}{mark}")
    for key, what, bar in (("requests_per_s", "mapping requests per second, one core", 50000),
                           ("throughput_ratio_min", "throughput / static DNAT, worst of all", 0.97),
                           ("throughput_ratio_local_min", "  the same, EN translates in both", 0.97)):
        if key in figures:
            mark = "" if figures[key] >= bar else "  MISSED"
            print(f"{what:52}{figures[key]:>12.2f}{bar:>10}{'-':>8}{mark}")


def main():
    binaries, output = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    folder = pathlib.Path(tempfile.mkdtemp(prefix="natf-bench-"))
    log = open(folder / "log", "w", encoding="utf-8")
    try:
        build_topology()
        write_configuration(folder)
        router = Router(binaries, folder, log)
        figures = measure_requests(binaries, router)
        router.start("--measure")
        start(EN, log, "dnsmasq", "-k", "-C", folder / "zone", "-p", "5300", "-a", "127.0.0.1", "-z", "-R", "-h", "--pid-file=")
        end = start(EN, log, binaries / "natf-endd", "-c", folder / "end", "-k", folder / "end-keys",
              "--run-dir", folder / "end-run", "--state-dir", folder / "end-state")
        server = start(ALICE, log, binaries / "natf-bench", "accept", f"{P1}:{PORT}")
        start(ALICE, log, "iperf3", "-s", "-p", IPERF)
        wait_until(lambda: resolve(binaries, folder, "alice.home.example.net").startswith("240."), "natf-endd's answer")
        virtual = resolve(binaries, folder, "alice.home.example.net")
        figures |= measure_connections(binaries, virtual, (router.process, end, server))
        status = run(binaries / "natf-endd", "--run-dir", folder / "end-run", "--json", "status", where=EN, check=False)
        figures["steps_us"] = json.loads(status or "{}").get("steps_us")
        if "--no-throughput" not in sys.argv:
            print("throughput in turn: NAT-f, static DNAT, static DNAT with one more at EN; NAT-f's ratio to both")
            figures |= measure_throughput(virtual)
        report(figures)
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(figures, indent=1) + "\n")
        print(f"\nsteps at the EN (us): {figures['steps_us']}\nfigures: {output}")
    except BaseException:
        log.flush()
        print((folder / "log").read_text()[-3000:], file=sys.stderr)
        raise
    finally:
        clean_up(folder)


if __name__ == "__main__":
    main()
