"""Many flows of many peers to many hosts at once: does a mapping cost more where there are more of everything?

200 peers (addresses of EN) open 50 flows each to 1,000 hosts (addresses of alice); then a tenth and ten times of all
that. The router has a CPU, everybody else the other one.
"""
import json
import subprocess

from bed import CLIENT_CPU, G1, G2, HOME, KEY, P1, ROOMY, ROUTER, SERVER_CPU, Failure, Router, peer, summary, wait_until

# Flows, hosts, peers.
SIZES = ((1_000, 100, 20), (10_000, 1_000, 200), (100_000, 10_000, 2_000))
PORT = 7
FIRST_ID = 1000
SOURCES, HOSTS = "198.18", "10.1"
ROUNDS = 3


def measure(bed):
    """Each size, in rounds."""
    for where, network in ((bed.en, f"{SOURCES}.0.0/16"), (bed.alice, f"{HOSTS}.0.0/16")):
        bed.run("ip", "-n", where, "route", "add", "local", network, "dev", "lo")
    bed.run("ip", "-n", bed.router, "route", "add", f"{SOURCES}.0.0/16", "via", G1)
    bed.run("ip", "-n", bed.router, "route", "add", f"{HOSTS}.0.0/16", "via", P1)
    bed.start(bed.alice, bed.binaries / "natf-bench", "echo", PORT, cpu=CLIENT_CPU)
    sizes, rounds = (SIZES[:2], 1) if bed.quick else (SIZES, ROUNDS)
    rows = []
    for flows, hosts, peers in sizes:
        found = [one_crowd(bed, flows, hosts, peers) for _ in range(rounds)]
        rows.append({"flows": flows, "hosts": hosts, "peers": peers,
                     **{key: summary(one[key] for one in found) for key in found[0]}})
    return {"rows": rows}


def one_crowd(bed, flows, hosts, peers):
    """Sets the crowd up, looks at the router after each phase."""
    router = Router(bed, ROUTER + "\toption pending '60'\n" + ROOMY + "".join(map(host, range(hosts))),
                    [peer(f"p{number}", FIRST_ID + number) for number in range(peers + 1)])
    router.start(cpu=SERVER_CPU)
    words = ("crowd", G2, f"{SOURCES}.0.1", hosts, peers, flows, KEY.hex(), PORT)
    client = bed.start(bed.en, bed.binaries / "natf-bench", *words, cpu=CLIENT_CPU,
                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    empty_rss = router.rss_kib()
    phases = {}
    for name in ("idle", "up", "load", "down"):
        line = client.stdout.readline()
        if not line:
            raise Failure(f"natf-bench crowd ended before '{name}'")
        phases[name] = json.loads(line) | {"rss_kib": router.rss_kib(), "entries": entries(bed),
                                           "mappings": router.ask("status")["mappings"]}
        client.stdin.write("\n")
        client.stdin.flush()
    client.wait(10)
    gone = phases["down"]["mappings"]
    router.stop()
    check(phases, flows)
    return {
        "flows_per_s": phases["up"]["flows_per_s"], "ends_per_s": phases["down"]["ends_per_s"],
        "rss_kib_empty": empty_rss, "rss_kib": phases["up"]["rss_kib"], "entries": phases["up"]["entries"],
        "bytes_per_flow": 1024 * (phases["up"]["rss_kib"] - phases["idle"]["rss_kib"]) / flows,
        "left_after_end": max(0, gone - PROBES),
        **{f"{key}_idle": phases["idle"][key] for key in TIMES}, **{f"{key}_load": phases["load"][key] for key in TIMES},
        "load_lost": 1 - phases["load"]["echoed"] / max(1, phases["load"]["sent"]),
    }


# What the probing peer has mapped for itself by the end.
PROBES = 2000
TIMES = ("request_us", "request_p99_us", "echo_us", "echo_p99_us")


def check(phases, flows):
    """Every flow was granted, and nearly every first datagram came back."""
    if phases["up"]["granted"] != flows or phases["up"]["echoed"] < 0.99 * flows:
        raise Failure(f"not every flow works: {phases['up']}")
    if phases["down"]["ended"] < 0.99 * flows:
        raise Failure(f"not every flow was ended: {phases['down']}")


def host(number):
    """The section of a host."""
    return (f"config host 'h{number}'\n\toption ip '{HOSTS}.{number // 250}.{number % 250 + 1}'\n"
            "\toption access 'allow'\n")


def entries(bed):
    """How many entries the router's connection table has."""
    return int(bed.run("sysctl", "-n", "net.netfilter.nf_conntrack_count", where=bed.router))
