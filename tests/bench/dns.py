"""tsn-dnsd beside dnsmasq and unbound: cached answers, and what announcing costs.

      en 198.51.100.10 ------------------ 198.51.100.1 router ---- alice
      nsd (10,000 names)                  natf-routerd, fw4
      tsn-dnsd, dnsmasq, unbound
      dnsperf

Answers are counted per second of the server's own CPU time: on a shared machine that is the figure that can be
repeated. The servers take turns, each in several rounds.
"""
import re

from bed import (ALICE, CLIENT_CPU, G1, G2, HOME, KEY, KEY_TEXT, ROUTER, SERVER_CPU, Failure, Router, cpu_seconds, peer, rss_kib,
                 summary, wait_until)

NAMES = 10_000
ROUNDS, SECONDS = 5, 2
UPSTREAM = 5300
PORTS = {"tsn-dnsd": 5301, "dnsmasq": 5302, "unbound": 5303}


def measure(bed):
    """Cached answers of all three, then announced names."""
    folder = bed.folder
    write_configuration(folder)
    servers = start_servers(bed)
    for name, port in PORTS.items():
        wait_until(lambda port=port: answers(bed, port), f"the first answer of {name}")
    return {"names": NAMES, "servers": measure_answers(bed, servers), "announcing": measure_announcing(bed, servers["tsn-dnsd"])}


def write_configuration(folder):
    """Zones, servers, questions."""
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
    (folder / "names").write_text("".join(f"n{number}.bench.example.org A\n" for number in range(NAMES)))
    (folder / "plain").write_text("n1.bench.example.org A\n")
    (folder / "announced").write_text("alice.home.example.net A\n")


def start_servers(bed):
    """All of them, on one CPU."""
    folder = bed.folder
    bed.start(bed.en, "nsd", "-d", "-c", folder / "nsd.conf")
    return {
        "tsn-dnsd": bed.start(bed.en, bed.binaries / "tsn-dnsd", "-c", folder / "dnsd", "-k", folder / "dnsd-keys",
                              "--run-dir", folder / "dnsd-run", "--state-dir", folder / "dnsd-state", cpu=SERVER_CPU),
        "dnsmasq": bed.start(bed.en, "dnsmasq", "--keep-in-foreground", "-C", folder / "dnsmasq.conf", cpu=SERVER_CPU),
        "unbound": bed.start(bed.en, "unbound", "-d", "-c", folder / "unbound.conf", cpu=SERVER_CPU),
    }


def answers(bed, port):
    """Whether the server at that port answers a name as the zone has it."""
    words = ("dig", "+short", "+tries=1", "+time=1", "-p", port, "@127.0.0.1", "n7.bench.example.org")
    return bed.run(*words, where=bed.en, check=False).strip() == "192.0.2.8"


def dnsperf(bed, port, data, *options, cpu=CLIENT_CPU):
    """Runs dnsperf and returns its output and the number of NOERROR answers."""
    text = bed.run("dnsperf", "-s", "127.0.0.1", "-p", port, "-d", data, *options, where=bed.en, cpu=cpu)
    done = int(re.search(r"Queries completed:\s+(\d+)", text).group(1))
    codes = re.search(r"Response codes:\s+(.*)", text).group(1)
    if done == 0 or not re.fullmatch(r"NOERROR \d+ \(100\.00%\)\s*", codes):
        raise Failure(f"not all answers are good at port {port}: {done} completed, {codes}")
    return text, done


def per_cpu_second(bed, process, port, mode, seconds):
    """Answers for each second of the server's CPU time."""
    before = cpu_seconds(process)
    _, done = dnsperf(bed, port, bed.folder / "names", "-m", mode, "-l", seconds, "-c", 4, "-q", 100)
    return done / (cpu_seconds(process) - before)


def latencies(bed, port, data, rate, seconds):
    """Sorted latencies of single questions, in microseconds.

    The client shares the server's processor: to wake the other one of a virtual machine takes longer than an answer.
    """
    text, _ = dnsperf(bed, port, data, "-l", seconds, "-c", 1, "-q", 100, "-Q", rate, "-v", cpu=SERVER_CPU)
    return sorted(float(found) * 1e6 for found in re.findall(r"^> NOERROR \S+ \S+ ([\d.]+)$", text, re.M))


def at(sorted_values, share):
    """The value below which that share lies."""
    return sorted_values[min(int(len(sorted_values) * share), len(sorted_values) - 1)]


def measure_answers(bed, servers):
    """Rate and latency of each server, in turns."""
    rounds, seconds = (1, 1) if bed.quick else (ROUNDS, SECONDS)
    names = bed.folder / "names"
    for port in PORTS.values():
        # Twice, so that the cache is full whatever was lost.
        for _ in range(2):
            dnsperf(bed, port, names, "-n", 1, "-c", 1, "-q", 50)
    found = {name: {} for name in PORTS}
    for _, (name, port) in ((turn, one) for turn in range(rounds) for one in PORTS.items()):
        samples = {"udp_per_cpu_s": per_cpu_second(bed, servers[name], port, "udp", seconds)}
        # dnsmasq answers TCP in a child for each connection, whose CPU time is not its own.
        if name != "dnsmasq":
            samples["tcp_per_cpu_s"] = per_cpu_second(bed, servers[name], port, "tcp", seconds)
        times = latencies(bed, port, names, 2000, seconds)
        samples |= {"p50_us": at(times, 0.5), "p99_us": at(times, 0.99)}
        for key, value in samples.items():
            found[name].setdefault(key, []).append(value)
    return {name: {**{key: summary(values) for key, values in rows.items()}, "rss_mib": rss_kib(servers[name]) / 1024}
            for name, rows in found.items()}


def measure_announcing(bed, server):
    """What an announced name costs beyond a plain one and one round trip to the router, and the router's rate."""
    router = Router(bed, ROUTER + "\toption max_guide '65536'\n" + ALICE, [peer("dnsd", 3, "tsn"), peer("bench", 4, "tsn")])
    router.start(cpu=SERVER_CPU)
    rounds, seconds = (2, 1) if bed.quick else (ROUNDS, SECONDS)
    samples = {}
    for _ in range(rounds):
        plain = at(latencies(bed, PORTS["tsn-dnsd"], bed.folder / "plain", 200, seconds), 0.5)
        daemons = {"tsn_dnsd": server, "natf_routerd": router.process}
        before = {name: cpu_seconds(daemon) for name, daemon in daemons.items()}
        times = latencies(bed, PORTS["tsn-dnsd"], bed.folder / "announced", 200, seconds)
        announced = at(times, 0.5)
        used = {f"{name}_cpu_us": (cpu_seconds(daemon) - before[name]) * 1e6 / len(times) for name, daemon in daemons.items()}
        # As big as a notification.
        pings = bed.run("ping", "-q", "-c", 200, "-i", "0.005", "-s", 128, G2, where=bed.en, cpu=SERVER_CPU)
        trip = float(re.search(r"= [\d.]+/([\d.]+)/", pings).group(1)) * 1000
        found = {"extra_us": announced - plain - trip, "plain_us": plain, "announced_us": announced, "round_trip_us": trip, **used}
        for key, value in found.items():
            samples.setdefault(key, []).append(value)
    router.stop()
    for _ in range(rounds):
        router.start(cpu=SERVER_CPU)
        words = ("notify-rate", G2, G1, KEY.hex(), 4, f"alice.{HOME}", 30_000)
        found = bed.bench(*words, cpu=CLIENT_CPU)
        if found["guided"] < 29_000:
            raise Failure(f"not all notifications were answered: {found}")
        samples.setdefault("notifications_per_s", []).append(found["notifications_per_s"])
        router.stop()
    return {key: summary(values) for key, values in samples.items()}
