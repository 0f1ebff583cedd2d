"""The first table: ratios with their bars, and what is known about those that miss."""
import statistics

from tables import number, table

# Why a figure may miss its bar; shown only where it does.
CAUSES = {
    "negotiation": "The request is sealed in this step (XChaCha20-Poly1305, with a fresh random nonce), and the packet was handed to a process; "
                   "the paper's prototype does neither.",
    "wake": "Daemons and programs of one connection wake each other several times, and what that costs depends on the machine's speed of the moment: "
            "see the lowest round, and the connect of a static forward in the same rounds.",
    "across": "The same on several CPUs: each wake-up crosses from one CPU of a virtual machine to another. Compare the column for one CPU.",
    "daemon": "The kernel answers a ping by itself; a notification is opened, checked and answered by natf-routerd, and its answer by tsn-dnsd: two "
              "processes woken, and messages sealed and opened at both ends. Processor time of each stands in the section on the DNS server.",
    "machine": "Time of one core. On a machine with other work the figure sinks with it; see the spread.",
    "kernel": "Both ways are the kernel's own code from the second packet on. See the quartiles, and how far plain routing lies from 1.",
    "translation": "EN's kernel tracks and translates the connection as well, on the same processors; the client of a static forward does not. What "
                   "NAT-f takes beyond such a translation made statically is the row that compares the two.",
    "guided client": "The first packet of a flow from a client that has a row, to a port that some host offers, waits until the daemon has looked "
                     "at it. The flow's other packets, other ports and other clients never meet the daemon.",
    "rules": "A few rules in front of connection tracking, for every packet; the quartiles show what the machine does to the figure.",
    "memory": "0.7 MiB of it is the daemon's own; the rest are pages of the program and of libc, which "
    "the kernel maps in runs as far as they lie in the page cache: it differs by some 200 KiB from start to start.",
    "speed": "The bars were set on a machine of twice the speed, where dnsmasq gave 202,000 answers per CPU-second, a median of 38 us and 94 us at "
             "99 %. What it gives here stands beside each figure.",
    "growth": "Bigger tables. See the spread of the rounds.",
}


def glance(figures):
    """All rows for which there are figures."""
    rows, causes = [], {}
    for part, find in FINDERS.items():
        if part in figures:
            for what, value, unit, least, bar, peer, cause in find(figures[part]):
                met = value >= bar if least else value <= bar
                rows.append((what, number(value, unit), f"{'≥' if least else '≤'} {number(bar, unit)}", peer, "yes" if met else "**no**"))
                if not met:
                    causes.setdefault(cause, []).append(what)
    text = "## At a glance\n\n" + table(("figure", "measured", "bar", "beside", "met"), rows)
    if causes:
        text += "\nWhat misses its bar, and why:\n\n" + "".join(
            f"* {'; '.join(whats)}: {CAUSES[cause]}\n" for cause, whats in causes.items())
    return text


def of_startup(found):
    """The paper's steps."""
    one, many = found["one_cpu"], found["any_cpu"]

    def best(figure):
        return f"best round: {number(figure['low'], 'us')}"

    yield "start-up overhead of a TCP connection, one CPU", mid(one["overhead"]), "us", False, 100, f"paper: 650 us; {best(one['overhead'])}", "wake"
    yield "… daemons and programs on any CPU", mid(many["overhead"]), "us", False, 100, best(many["overhead"]), "across"
    yield "router processing, one CPU", mid(one["router_processing"]), "us", False, 30, f"paper: 114 us; {best(one['router_processing'])}", "wake"
    yield "DNS rewriting", mid(one["dns_rewrite"]), "us", False, 7.13, "paper: 7.13 us", "wake"
    yield "negotiation start", mid(one["negotiation_start"]), "us", False, 3.38, "paper: 3.38 us", "negotiation"
    yield "TCP segments sent twice", found["retransmitted_segments"], "", False, 0, "paper: 0", "wake"


def of_mapping(found):
    """Requests."""
    levels = {row["mappings"]: row for row in found["natf"]["levels"]}
    first, last = levels[0], levels[max(levels)]
    pcp = found["miniupnpd"]["levels"][-1]
    near = min(levels, key=lambda level: abs(level - pcp["mappings"]))
    yield (f"request latency with {max(levels):,} mappings / with none", mid(last["latency_us"]) / mid(first["latency_us"]), "x", False,
           1.3, f"miniupnpd, 50 to {pcp['mappings']}: {pcp['median_us'] / found['miniupnpd']['levels'][0]['median_us']:.0f} x", "growth")
    yield (f"request latency / miniupnpd's, {pcp['mappings']} mappings", mid(levels[near]["latency_us"]) / pcp["median_us"], "x", False, 1,
           f"{pcp['median_us']:,.0f} us", "growth")
    yield ("requests per second, one core", mid(found["natf"]["rate_from_empty"]), "", True, 50_000,
           f"miniupnpd: {found['miniupnpd']['levels'][0]['requests_per_s']:,.0f} at first", "machine")
    yield "memory of natf-routerd at rest", mid(first["rss_kib"]), "KiB", False, 4096, "", "memory"
    yield "… with 20,000 mappings", mid(levels[20_000]["rss_kib"]), "KiB", False, 6144, "", "memory"


def of_throughput(found):
    """Ratios to the static forward, as the geometric mean of all cells."""
    for way, name in (("natf", "NAT-f"), ("tsn", "TSN"), ("routing", "plain routing")):
        ratios = [mid(row["ratio_to_dnat"]) for row in found["rows"] if row["way"] == way]
        mean = statistics.geometric_mean(ratios)
        yield (f"throughput of {name} / static DNAT, mean of {len(ratios)} cells", mean, "x", True, 0.97,
               f"cells: {min(ratios):.2f} to {max(ratios):.2f}", "translation" if way == "natf" else "kernel")
        costs = [mid(row["cpu_ratio_to_dnat"]) for row in found["rows"] if row["way"] == way]
        yield (f"processor time of {name} / static DNAT, mean of {len(costs)} cells", statistics.geometric_mean(costs), "x", False, 1.03,
               f"cells: {min(costs):.2f} to {max(costs):.2f}", "translation" if way == "natf" else "kernel")
    cells = [row for row in found["rows"] if row["way"] == "twice"]
    key = ("streams", "protocol", "reverse", "size")
    wanted = {tuple(row[name] for name in key): mid(row["cpu_ratio_to_dnat"]) for row in cells}
    beside = [mid(row["cpu_ratio_to_dnat"]) / wanted[cell] for row in found["rows"]
              if row["way"] == "natf" and (cell := tuple(row[name] for name in key)) in wanted]
    yield (f"processor time of NAT-f / static DNAT with a static translation at EN, mean of {len(beside)} cells",
           statistics.geometric_mean(beside), "x", False, 1.03, f"cells: {min(beside):.2f} to {max(beside):.2f}", "kernel")
    longest = {row["way"]: mid(row["mbit"]) for row in found["rows"]
               if (row["protocol"], row["streams"], row["size"], row["reverse"]) == ("tcp", 1, 131072, False)}
    for way in ("wireguard-go", "boringtun-cli", "socat"):
        if way in longest:
            yield (f"throughput of NAT-f / {way}, TCP, 128 KiB", longest["natf"] / longest[way], "x", True, 1,
                   f"{longest[way]:,.0f} Mbit/s", "kernel")


def of_crowd(found):
    """Growth."""
    few, many = found["rows"][0], found["rows"][-1]
    middle = found["rows"][1]
    yield (f"request latency beside {many['flows']:,} live flows / beside {few['flows']:,}",
           mid(many["request_us_load"]) / mid(few["request_us_load"]), "x", False, 1.3, "", "growth")
    yield (f"set-up rate of {many['flows']:,} flows / of {few['flows']:,}", mid(many["flows_per_s"]) / mid(few["flows_per_s"]), "x", True,
           0.7, f"{mid(middle['flows_per_s']):,.0f} flows/s for {middle['flows']:,}", "growth")


def of_dns(found):
    """Beside dnsmasq and unbound."""
    servers, announcing = found["servers"], found["announcing"]
    ours = servers["tsn-dnsd"]
    for other in ("dnsmasq", "unbound"):
        yield (f"cached answers per CPU-second / {other}'s", mid(ours["udp_per_cpu_s"]) / mid(servers[other]["udp_per_cpu_s"]), "x", True, 1,
               f"{mid(servers[other]['udp_per_cpu_s']):,.0f}", "machine")
    dnsmasq = servers["dnsmasq"]
    yield "cached answers per CPU-second, UDP", mid(ours["udp_per_cpu_s"]), "", True, 200_000, f"dnsmasq: {mid(dnsmasq['udp_per_cpu_s']):,.0f}", "speed"
    yield "… TCP", mid(ours["tcp_per_cpu_s"]), "", True, 100_000, f"unbound: {mid(servers['unbound']['tcp_per_cpu_s']):,.0f}", "speed"
    for name, key, bar in (("median", "p50_us", 45), ("99 %", "p99_us", 110)):
        yield f"answer at 2,000 questions/s, {name}", mid(ours[key]), "us", False, bar, f"dnsmasq: {mid(dnsmasq[key]):.0f} us", "speed"
    yield "memory with 10,000 names", ours["rss_mib"], "MiB", False, 7, f"dnsmasq: {servers['dnsmasq']['rss_mib']:.1f} MiB", "memory"
    yield "announced name, beyond a plain one and one round trip", mid(announcing["extra_us"]), "us", False, 100, "", "daemon"
    yield "notifications per second, one core", mid(announcing["notifications_per_s"]), "", True, 10_000, "", "machine"


def of_ordinary(found):
    """T8."""
    for row in found["rows"]:
        ratio = mid(row["ratio"])
        is_stream = row["what"].startswith("stream")
        yield (f"with natf-routerd / without: {row['what']}", ratio, "x", is_stream, 0.95 if is_stream else 1.05,
               f"quartiles: {row['ratio']['low']:.2f} to {row['ratio']['high']:.2f}",
               "guided client" if row["what"].endswith("offered port") else "rules")


def mid(figure):
    """The median."""
    return figure["median"]


FINDERS = {"startup": of_startup, "mapping": of_mapping, "throughput": of_throughput, "crowd": of_crowd, "dns": of_dns,
           "ordinary": of_ordinary}
