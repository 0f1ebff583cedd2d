"""The document's sections: each takes the figures of its part and a way to draw, and returns Markdown."""
import statistics

from tables import number, spread, table

WAYS = {"natf": "NAT-f", "tsn": "TSN", "dnat": "static DNAT", "twice": "DNAT twice", "routing": "routing", "wireguard-go": "wireguard-go",
        "boringtun-cli": "boringtun", "socat": "socat"}
# Step -> the paper's microseconds (Pentium 4, 100BASE-TX), and our words for it.
STEPS = {
    "dns_rewrite": ("DNS rewriting", 7.13),
    "negotiation_start": ("negotiation start", 3.38),
    "router_processing": ("router processing", 114),
    "request_to_response": ("request to response", 388),
    "release": ("release", 27),
    "overhead": ("start-up overhead", 650),
}


def startup(found, picture):
    """N17, step by step."""
    one, many = found["one_cpu"], found["any_cpu"]
    rows = [(words, number(paper), spread(one[key]), f"{one[key]['median'] / paper:.2f}", spread(many[key]))
            for key, (words, paper) in STEPS.items()]
    for key, words in (("connect_natf", "TCP connect, NAT-f"), ("connect_dnat", "TCP connect, static forward")):
        rows.append((words, "–", spread(one[key]), "–", spread(many[key])))
    rows.append(("overhead / connect, static forward", "–", spread(one["overhead_per_connect"]), "–", spread(many["overhead_per_connect"])))
    rows.append(("the machine's speed meanwhile, SHA-256 MB/s", "–", spread(one["speed"]), "–", spread(many["speed"])))
    drawn = picture("startup", "bars", "Start of a connection, step by step", "microseconds",
                    {words: {"paper (2007)": paper, "natf, one CPU": one[key]["median"], "natf, any CPU": many[key]["median"]}
                     for key, (words, paper) in STEPS.items()})
    return (table(("step, us", "paper", "one CPU", "/ paper", "any CPU"), rows) + f"""
{drawn}
The paper's figures are of a Pentium 4 and a 100 Mbit/s network; its messages are not encrypted. "Overhead" is what a TCP connection by name
takes longer than one to a static port forward, in turns ({found['connections_per_round']} of each per round, fresh daemons in every round).
Router processing is from the kernel's receive stamp to the answer being handed to the kernel. Segments sent twice meanwhile:
{found['retransmitted_segments']}. In the round in which it was least, the overhead was {number(one['overhead']['low'], 'us')} on one CPU; the speed of
the machine, and the connect to the static forward in the same rounds, tell how much of the spread is the machine's.
""")


def mapping(found, picture):
    """Requests beside PCP."""
    natf, pcp = found["natf"], found["miniupnpd"]
    by_count = {row["mappings"]: row for row in pcp["levels"]}
    rows = []
    for row in natf["levels"]:
        other = by_count.get(row["mappings"])
        rows.append((f"{row['mappings']:,}", spread(row["latency_us"]), spread(row["latency_p99_us"]), spread(row.get("requests_per_s")),
                     spread(row["rss_kib"]), number(other["median_us"]) if other else "–",
                     number(other["requests_per_s"]) if other else "–"))
    drawn = picture("mapping", "lines", "One mapping request while others live", "live mappings", "us",
                    {"NAT-f": [(row["mappings"], row["latency_us"]["median"]) for row in natf["levels"]],
                     "miniupnpd, PCP": [(row["mappings"], row["median_us"]) for row in pcp["levels"]]})
    last = pcp["levels"][-1]
    kernel = f", the kernel {natf['kernel_bytes_per_entry']}" if natf["kernel_bytes_per_entry"] else ""
    return (table(("live mappings", "NAT-f, us", "99 %, us", "requests/s up to here", "RSS, KiB", "PCP, us", "PCP, requests/s"), rows) + f"""
{drawn}
From empty, one core for the daemon: {spread(natf['rate_from_empty'])} requests/s. A mapping takes {natf['bytes_per_mapping']:.0f} bytes of
natf-routerd{kernel}; with miniupnpd {pcp['bytes_per_mapping']:.0f} bytes of the daemon, and two rules of the firewall. miniupnpd
was asked one request after the other for {pcp['seconds_limit']} s at most and came to {last['mappings']:,} mappings
({number(last['median_us'], 'us')} for one). It looks through all rules at each request; it is not encrypted and asks nobody who he is.
""")


def throughput(found, picture):
    """Ways beside each other."""
    ways = found["ways"]
    text = ("Mbit/s that arrived, EN→IN and IN→EN; below it the ratio to static DNAT, with quartiles. "
            f"Slices of {found['slice_ms']} ms, at least {min(row['mbit']['rounds'] for row in found['rows'])} of each, alternate between\n"
            "static DNAT and the other ways; each is compared with the two of static DNAT beside it. \"DNAT twice\" is a static forward to whose\n"
            "address EN translates another one, statically, as natf-endd does with virtual addresses. It, NAT-f and the tunnels begin at EN, the\n"
            "others at a client whose kernel tracks no connections.\n")
    for streams in (1, 16):
        for protocol in ("tcp", "udp"):
            for reverse in (False, True):
                text += cell_table(found["rows"], ways, streams, protocol, reverse)
    for protocol in ("tcp", "udp"):
        curves = {WAYS[way]: [(row["size"], row["mbit"]["median"]) for row in found["rows"] if row["way"] == way
                              and (row["protocol"], row["streams"], row["reverse"]) == (protocol, 1, False)] for way in ways}
        text += "\n" + picture(f"throughput-{protocol}", "lines", f"{protocol.upper()}, one stream, EN→IN", "bytes per message", "Mbit/s",
                               {name: curve for name, curve in curves.items() if curve})
    text += ("\nProcessor time for each GB that arrived (seconds; sender and receiver, in whose name the kernel takes packets through the\n"
             "router, daemons and tunnels), one stream, EN→IN:\n\n")
    sizes = (("tcp", 1472), ("tcp", 131072), ("udp", 1472))
    rows = [(f"{protocol}, {size} B", *[spread(one["cpu_s_per_gb"]) if (one := find(found["rows"], way, 1, protocol, False, size)) else "–"
                                        for way in ways]) for protocol, size in sizes]
    text += table(("", *[WAYS[way] for way in ways]), rows)
    text += "\nThe same beside static DNAT, all cells of the ways in the kernel:\n\n"
    text += cost_table(found["rows"])
    missing = [WAYS[way] for way in found["missing"]]
    return text + f"""
Processor time depends on the machine's other work less than rates do. With NAT-f, EN's kernel tracks and translates as well. Mean of
{twice_cells(found['rows'])}. TSN's client does neither. Tunnels take each packet through a process at both ends;
they do more (all but socat encrypt), and both ends run on this machine, whose processors are the limit. A datagram of 1,472 bytes needs two packets
in a tunnel.{' Not at hand here: ' + ', '.join(missing) + '.' if missing else ''}
"""


def twice_cells(rows):
    """Mean processor time of NAT-f and of a static translation at both ends, over the cells that have both."""
    both = [row for row in rows if row["way"] == "twice"]
    ours = [find(rows, "natf", *[row[key] for key in ("streams", "protocol", "reverse", "size")]) for row in both]
    return f"{len(both)} cells: NAT-f {mean_cost(ours):.2f}, DNAT twice {mean_cost(both):.2f} of static DNAT's"


def mean_cost(rows):
    """Geometric mean of processor time beside static DNAT."""
    return statistics.geometric_mean(row["cpu_ratio_to_dnat"]["median"] for row in rows)


def cost_table(rows):
    """Processor time beside static DNAT, all cells."""
    cells = list(dict.fromkeys((row["streams"], row["protocol"], row["reverse"], row["size"]) for row in rows))
    ways = ("natf", "twice", "tsn", "routing")
    lines = [(cell_name(*cell), *[spread(one["cpu_ratio_to_dnat"]) if (one := find(rows, way, *cell)) else "–" for way in ways])
             for cell in cells]
    return table(("processor time / static DNAT's", *[WAYS[way] for way in ways]), lines)


def cell_name(streams, protocol, reverse, size):
    """A cell in words."""
    return f"{protocol.upper()}, {streams} {'stream' if streams == 1 else 'streams'}, {'IN→EN' if reverse else 'EN→IN'}, {size:,} B"


def find(rows, way, streams, protocol, reverse, size):
    """One cell."""
    wanted = (way, streams, protocol, reverse, size)
    return next((row for row in rows if (row["way"], row["streams"], row["protocol"], row["reverse"], row["size"]) == wanted), None)


def cell_table(rows, ways, streams, protocol, reverse):
    """Sizes down, ways across."""
    sizes = sorted({row["size"] for row in rows if (row["streams"], row["protocol"], row["reverse"]) == (streams, protocol, reverse)})
    lines = []
    for size in sizes:
        cells = [find(rows, way, streams, protocol, reverse, size) for way in ways]
        lines.append((f"{size:,} B", *[number(one["mbit"]["median"]) if one else "–" for one in cells]))
        lines.append(("", *[spread(one["ratio_to_dnat"]) if one and one["way"] != "dnat" else "" for one in cells]))
    title = cell_name(streams, protocol, reverse, 0).rsplit(", ", 1)[0]
    return "\n" + table((title, *[WAYS[way] for way in ways]), lines)


def crowd(found, picture):
    """Flows, hosts, peers."""
    rows = found["rows"]
    lines = [
        ("set-up, flows/s", "flows_per_s"), ("tear-down, flows/s", "ends_per_s"), ("new mapping, idle, us", "request_us_idle"),
        ("new mapping, under load, us", "request_us_load"), ("… 99 %", "request_p99_us_load"),
        ("first datagram there and back, idle, us", "echo_us_idle"), ("… under load, us", "echo_us_load"), ("… 99 %", "echo_p99_us_load"),
        ("RSS without mappings, KiB", "rss_kib_empty"), ("RSS with all, KiB", "rss_kib"), ("bytes per flow", "bytes_per_flow"),
        ("kernel's entries", "entries"), ("mappings left after the end", "left_after_end"),
    ]
    header = ("", *[f"{row['flows']:,} flows, {row['hosts']:,} hosts, {row['peers']:,} peers" for row in rows])
    drawn = picture("crowd", "lines", "A new mapping, while so many flows carry data", "flows", "us",
                    {"idle": [(row["flows"], row["request_us_idle"]["median"]) for row in rows],
                     "under load": [(row["flows"], row["request_us_load"]["median"]) for row in rows]})
    return (table(header, [(what, *[spread(row[key]) for row in rows]) for what, key in lines]) + f"""
{drawn}
Each flow is a mapping of its own, granted to its own peer, with data: a datagram goes through as soon as it is granted, and every
one came back. Under load, 10,000 datagrams a second go through all flows in turn while one more peer asks for mappings. The 1,000
mappings of its first round are among the kernel's entries. Router and all others have one processor each.
""")


def dns(found, _picture):
    """Servers beside each other."""
    servers, announcing = found["servers"], found["announcing"]
    names = list(servers)
    lines = [("answers per CPU-second, UDP", "udp_per_cpu_s"), ("answers per CPU-second, TCP", "tcp_per_cpu_s"),
             ("median at 2,000 questions/s, us", "p50_us"), ("99 %, us", "p99_us")]
    rows = [(what, *[spread(servers[name].get(key)) for name in names]) for what, key in lines]
    rows.append(("memory, MiB", *[number(servers[name]["rss_mib"]) for name in names]))
    ours = servers["tsn-dnsd"]["udp_per_cpu_s"]["median"]
    rows.insert(0, ("tsn-dnsd / this, UDP", *[f"{ours / servers[name]['udp_per_cpu_s']['median']:.2f}" for name in names]))
    return (table((f"cached answers, {found['names']:,} names", *names), rows) + "\n" + table(("announcing, router next door", ""), [
        ("plain name, us", spread(announcing["plain_us"])), ("announced name, us", spread(announcing["announced_us"])),
        ("ping of the same size, us", spread(announcing["round_trip_us"])),
        ("what announcing adds to both, us", spread(announcing["extra_us"])),
        ("processor time of tsn-dnsd for one, us", spread(announcing["tsn_dnsd_cpu_us"])),
        ("… of natf-routerd, us", spread(announcing["natf_routerd_cpu_us"])),
        ("notifications per second at the router, one core", spread(announcing["notifications_per_s"]))]) + """
Latencies are measured with the client, the servers and the router on one processor: a virtual machine takes longer to wake its other one than
any of these servers to answer. A ping is answered by the kernel; a notification wakes natf-routerd, and its answer tsn-dnsd once more.
""")


def distance(found, _picture):
    """Far routers."""
    rows = [(f"{row['distance_ms']} ms", row["routers"], f"{row['announced_us']['median'] / row['round_trip_us']['median']:.2f}",
             *[spread({key: value / 1000 if key != 'rounds' else value for key, value in row[name].items()})
               for name in ("round_trip_us", "announced_us", "announced_p99_us")], spread(row["extra_us"])) for row in found["rows"]]
    return (table(("there and back", "routers", "answer / ping", "ping, ms", "answer, ms", "99 %, ms", "beyond ping and plain name, us"), rows) + f"""
As many questions are under way at once as there are routers, up to {found['rate']:,} a second. An answer takes one round trip to its router,
however many others there are. The distance is made by a small forwarder in user space, whose own delays are in both columns.
""")


# What the board's figures are, in our words; others are shown by their own names.
BOARD = {"bin_kb": "program, kB", "ipk_kb": "package, kB", "rss_kib": "memory at rest, KiB", "rss_kib_5000": "memory with 5,000 mappings, KiB",
         "ready_s": "ready after, s", "request_us": "one mapping request, us", "ping_us": "a ping to the board, us",
         "request_over_ping": "request / ping"}


def board(found, _picture):
    """What an emulated board says of itself, each figure by program where it has several."""
    rows = []
    for key, value in found.items():
        for program, one in value.items() if isinstance(value, dict) else {"": value}.items():
            if isinstance(one, (int, float)):
                rows.append((f"{BOARD.get(key, key.replace('_', ' '))}{', ' if program else ''}{program}", number(one)))
    return (table((found.get("board", "emulated board"), ""), rows) + f"""
Made by `make bench-board` ({found.get('date', '?')}, {found.get('commit', '?')}). The board is emulated by software (QEMU): its times are those of the emulation, so compare the
request with the ping.
""")


def ordinary(found, _picture):
    """T8."""
    rows = [(row["what"], spread(row["ratio"]), spread(row["without"]), spread(row["with"]))
            for row in found["rows"]]
    flood = found["flood"]
    return (table(("connect: us; stream: Mbit/s; packet: ns of processor time", "with / without", "without natf-routerd", "with it"), rows) + f"""
"With" is with {found['guide_rows']:,} live rows in the guide table. What natf adds for everybody are the few rules of a chain in front of connection
tracking, with at most two looks into sets. From a client that has a row, the daemon looks at the first packet of a flow to a port of the router's
that some host of the home offers; the flow's other packets meet two rules more. The cost of a packet is the processor time of its
sender, in whose name the kernel takes it through the
router, and of its receiver. Each figure of a round is itself the median of hundreds of connections or of some streams; behind the median of
the rounds stand their quartiles.

While {flood['per_s']:,} notifications a second come in ({flood['guided_share']['median']:.0%} of them answered with a row), a connection to a
static forward takes {spread(flood['flooded_us'], 'us')}; before that {spread(flood['quiet_us'], 'us')}.
""")


ALL = (
    ("startup", "Start-up overhead", startup),
    ("mapping", "Mapping requests", mapping),
    ("throughput", "Throughput", throughput),
    ("crowd", "Thousands of flows", crowd),
    ("dns", "DNS server", dns),
    ("distance", "Announced names over a distance", distance),
    ("board", "On a small router", board),
    ("ordinary", "Traffic that is not ours", ordinary),
)
