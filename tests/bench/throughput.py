"""Throughput and processor time of one way into the home beside the others (the paper's table 5).

      NAT-f       natf-endd translates at EN, the router by the mapping          kernel
      TSN         the client is announced, the router by a guide table's row     kernel
      DNAT        a static port forward at the router                            kernel
      DNAT twice  the same, with one more static translation at EN               kernel
      routing     no translation at all, the same firewall                       kernel
      wireguard-go, boringtun, socat    a tunnel from EN to the router           user space; socat's without encryption

NAT-f, the second translation and the tunnels begin at EN; the others at a guest of the same router that has nothing
installed. Slices of some milliseconds alternate between static DNAT and the others; each is compared with its neighbours.
"""
import itertools
import json
import math
import os
import pathlib
import shutil

from bed import ALICE, G1, G2, HOME, KEY, P1, ROOMY, ROUTER, STATIC_STREAM, End, Failure, Router, peer, quartiles, wait_until

SIZES = (64, 128, 256, 512, 1024, 1472)
FEW_SIZES = (64, 1472)
# Messages so long that the path is the limit, not the programs' system calls; TCP only.
LONG = 131072
KERNEL = ("natf", "tsn", "routing")
BASE = "dnat"
ROUNDS, SLICE_MS = 12, 50
# WireGuard's usual one; it leaves room for its own headers.
TUNNEL_MTU = 1420
NATF_PORT, TSN_PORT, ROUTING_PORT, TUNNEL_PORT = 5201, 5202, 5203, 5210
# A client that has nothing installed; not even its kernel keeps track of connections.
GUEST, GUEST_GATEWAY = "198.51.103.10", "198.51.103.1"
# What EN translates to the router's address, as natf-endd does with a virtual one.
TRANSLATED = "192.0.2.1"


def measure(bed):
    """All cells: each way, protocol, direction, number of streams and message size."""
    ways, carriers = prepare(bed)
    sizes, few_sizes = ((64, 1472), (1472,)) if bed.quick else (SIZES, FEW_SIZES)
    rows = []
    for streams, of_kernel, of_all in ((1, sizes, few_sizes), (16, few_sizes, (1472,))):
        for protocol, reverse in itertools.product(("tcp", "udp"), (False, True)):
            for size in of_kernel + ((LONG,) if protocol == "tcp" else ()):
                chosen = list(ways) if size in (*of_all, LONG) else [BASE, *KERNEL]
                announced(bed)
                cell = {"protocol": protocol, "reverse": reverse, "streams": streams, "size": size}
                rows += measure_cell(bed, {way: ways[way] for way in chosen}, carriers, cell)
    return {"slice_ms": SLICE_MS, "ways": list(ways), "missing": [way for way in TUNNELS if way not in ways], "rows": rows}


def measure_cell(bed, ways, carriers, cell):
    """One cell by every way; rates, processor time, and both beside the neighbouring slices of static DNAT."""
    found = stream(bed, ways, carriers, cell, 3 if bed.quick else ROUNDS)
    samples = {way: {key: [] for key in ("mbit", "s_per_gb", "ratio", "cpu_ratio")} for way in ways}
    for at, one in enumerate(found):
        ours = samples[one["way"]]
        for key in ("mbit", "s_per_gb"):
            ours[key].append(one[key])
        if one["way"] != BASE:
            neighbours = found[at - 1], found[at + 1]
            for name, key in (("ratio", "mbit"), ("cpu_ratio", "s_per_gb")):
                if beside := math.sqrt(neighbours[0][key] * neighbours[1][key]):
                    ours[name].append(one[key] / beside)
    if silent := [way for way, ours in samples.items() if not quartiles(ours["mbit"])["median"]]:
        raise Failure(f"{cell}: nothing arrives by way of {', '.join(silent)}")
    return [{"way": way, **cell, "mbit": quartiles(ours["mbit"]), "cpu_s_per_gb": quartiles(ours["s_per_gb"]),
             "ratio_to_dnat": quartiles(ours["ratio"] or [1.0, 1.0]), "cpu_ratio_to_dnat": quartiles(ours["cpu_ratio"] or [1.0, 1.0])}
            for way, ours in samples.items()]


def stream(bed, ways, carriers, cell, rounds):
    """All slices of a cell, one after the other: what arrived, and the processor time that it took."""
    words = ("udp" if cell["protocol"] == "udp" else "tcp", "in" if cell["reverse"] else "out", cell["size"], cell["streams"], rounds,
             SLICE_MS, ",".join(map(str, carriers)) or "-")
    paths = [f"{way}={','.join(path)}" for way, path in ways.items()]
    text = bed.run(bed.binaries / "natf-bench", "stream", bed.alice, *words, *paths, timeout=300)
    found = [json.loads(line) for line in text.splitlines()]
    # Of a tunnel that is overrun nothing may arrive in a whole slice.
    return [one | {"s_per_gb": one["cpu_ns"] / max(one["arrived"], 1)} for one in found]


def path(start, address, port, own=P1):
    """A way's words for natf-bench: where it begins, connects to, and arrives."""
    return start, f"{address}:{port}", f"{own}:{port}"


def soft_interrupts():
    """The kernel's threads that carry packets where senders and receivers do not."""
    return [int(file.parent.name) for file in pathlib.Path("/proc").glob("[0-9]*/comm") if file.read_text().startswith("ksoftirqd")]


def prepare(bed):
    """Makes every way work; name -> its path, and the processes that carry data."""
    guest = f"natfbench{os.getpid()}-guest"
    bed.add_namespace(guest)
    bed.link(guest, "eth0", GUEST, bed.router, "guest", GUEST_GATEWAY)
    bed.run("ip", "-n", guest, "route", "add", "default", "via", GUEST_GATEWAY)
    bed.nft(bed.router, f"""
        add rule ip static dstnat iifname "guest" ip daddr {G2} meta l4proto {{ tcp, udp }} th dport {STATIC_STREAM} dnat to {P1}
        insert rule inet fw4 forward ip daddr 192.168.1.0/24 accept
        insert rule inet fw4 input ip saddr {G1} udp dport 51820-51829 accept
    """)
    bed.nft(bed.en, f"""
        table ip twice {{
            chain output {{
                type nat hook output priority -100;
                ip daddr {TRANSLATED} dnat to {G2}
            }}
        }}
    """)
    services = "".join(f"\tlist service '*:{port}'\n" for port in (NATF_PORT, TSN_PORT))
    router = Router(bed, ROUTER + "\toption guide_lifetime '600'\n\tlist wan 'wan'\n\tlist wan 'guest'\n" + ROOMY + ALICE + services,
                    [peer("laptop", 1), peer("dnsd", 3, "tsn")])
    router.start()
    end = End(bed)
    end.start()
    announced(bed)
    ways = {BASE: path(guest, G2, STATIC_STREAM), "natf": path(bed.en, end.resolve("alice"), NATF_PORT), "tsn": path(guest, G2, TSN_PORT),
            "twice": path(bed.en, TRANSLATED, STATIC_STREAM), "routing": path(guest, P1, ROUTING_PORT)}
    for number, (name, start) in enumerate(TUNNELS.items()):
        if shutil.which(name):
            inner = tunnel(bed, number, start)
            wait_until(lambda to=inner: bed.run("ping", "-c1", "-W1", to, where=bed.en, check=False).find(" 1 received") > 0, name)
            ways[name] = path(bed.en, inner, TUNNEL_PORT + number, inner)
    return ways, [process.pid for process in bed.started] + soft_interrupts()


def announced(bed):
    """Announces the guest to alice (T4)."""
    found = bed.bench("notify", G2, G1, KEY.hex(), 3, f"alice.{HOME}", GUEST)
    if found["outcome"] != "guided":
        raise Failure(f"the router does not take the notification: {found}")


def tunnel(bed, number, start):
    """A tunnel from EN to the router with an address of alice's of its own behind it."""
    ends = [(bed.en, f"nfb{os.getpid()}e{number}", f"10.77.{number}.1", G1, G2),
            (bed.router, f"nfb{os.getpid()}r{number}", f"10.77.{number}.2", G2, G1)]
    port, inner = 51820 + number, f"192.168.1.{21 + number}"
    start(bed, ends, port)
    for where, device, address, _, _ in ends:
        wait_until(lambda place=(where, device): device_exists(bed, *place), f"tunnel {device}")
        bed.run("ip", "-n", where, "addr", "replace", f"{address}/30", "dev", device)
        bed.run("ip", "-n", where, "link", "set", device, "mtu", TUNNEL_MTU, "up")
    bed.run("ip", "-n", bed.alice, "addr", "add", f"{inner}/24", "dev", "eth0")
    bed.run("ip", "-n", bed.en, "route", "add", inner, "dev", ends[0][1])
    return inner


def device_exists(bed, where, device):
    """Whether the namespace has it."""
    return device in bed.run("ip", "-n", where, "-br", "link", check=False)


def wireguard(program, *options):
    """How to start a WireGuard of user space at both ends."""
    def start(bed, ends, port):
        keys = [bed.run("wg", "genkey").strip() for _ in ends]
        public = [bed.run("wg", "pubkey", text=key).strip() for key in keys]
        for at, (where, device, *_, other) in enumerate(ends):
            bed.start(where, program, *options, device)
            wait_until(lambda place=(where, device): bed.run("wg", "show", place[1], where=place[0], check=False), program)
            file = bed.write(f"{device}.conf", f"[Interface]\nPrivateKey = {keys[at]}\nListenPort = {port}\n[Peer]\n"
                             f"PublicKey = {public[1 - at]}\nAllowedIPs = 0.0.0.0/0\nEndpoint = {other}:{port}\n", private=True)
            bed.run("wg", "setconf", device, file, where=where)
    return start


def socat(bed, ends, port):
    """A tunnel that only packs packets into datagrams."""
    for where, device, address, own, other in ends:
        bed.start(where, "socat", "-b", "65536", f"UDP4-DATAGRAM:{other}:{port},bind={own}:{port}",
                  f"TUN:{address}/30,tun-name={device},iff-no-pi,iff-up")


TUNNELS = {"wireguard-go": wireguard("wireguard-go", "--foreground"),
           "boringtun-cli": wireguard("boringtun-cli", "--foreground", "--disable-drop-privileges"),
           "socat": socat}
