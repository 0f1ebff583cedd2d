"""Throughput and processor time of one way into the home beside the others (the paper's table 5).

      NAT-f       natf-endd translates at EN, the router by the mapping          kernel
      TSN         EN is announced, the router by a guide table's row             kernel
      DNAT        a static port forward at the router                            kernel
      routing     no translation at all, the same firewall                       kernel
      wireguard-go, boringtun, socat    a tunnel from EN to the router           user space; socat's without encryption

The ways take turns within each round, forwards and backwards, so that what drifts hurts all alike.
"""
import itertools
import json
import os
import shutil
import subprocess
import time

from bed import (ALICE, G1, G2, HOME, KEY, P1, ROUTER, STATIC_IPERF, End, Failure, Router, machine_busy_seconds, peer,
                 summary, wait_until)

SIZES = (64, 128, 256, 512, 1024, 1472)
FEW_SIZES = (64, 1472)
# Messages so long that the path is the limit, not the programs' system calls; TCP only.
LONG = 131072
SECONDS = 1
# WireGuard's usual one; it leaves room for its own headers.
TUNNEL_MTU = 1420
# Each way has a server of its own, so that what is late on one does not disturb the next.
NATF_PORT, TSN_PORT, ROUTING_PORT, TUNNEL_PORT = 5201, 5202, 5203, 5210
TRIES, TRY_SECONDS = 3, 12
servers = {}


def measure(bed):
    """All cells: each way, protocol, direction, number of streams and message size."""
    ways = prepare(bed)
    kernel = {name: way for name, way in ways.items() if name in ("natf", "tsn", "dnat", "routing")}
    rounds, few = (1, 1) if bed.quick else (3, 2)
    sizes, few_sizes = ((64, 1472), (1472,)) if bed.quick else (SIZES, FEW_SIZES)
    rows = []
    for streams, of_kernel, of_all in ((1, sizes, few_sizes), (16, few_sizes, (1472,))):
        for protocol, reverse in itertools.product(("tcp", "udp"), (False, True)):
            for size in of_kernel + ((LONG,) if protocol == "tcp" else ()):
                takes_all = size in (*of_all, LONG)
                rows += measure_cell(bed, ways if takes_all else kernel, few if streams > 1 else rounds,
                                     {"protocol": protocol, "reverse": reverse, "streams": streams, "size": size})
    return {"seconds": SECONDS, "ways": list(ways), "missing": [way for way in TUNNELS if way not in ways], "rows": rows}


def measure_cell(bed, ways, rounds, cell):
    """One cell by every way, in turns."""
    rates, costs = {way: [] for way in ways}, {way: [] for way in ways}
    for turn in range(rounds):
        for way in list(ways)[:: 1 if turn % 2 == 0 else -1]:
            if way == "tsn":
                announced(bed)
            rate, cost = iperf(bed, *ways[way], cell)
            rates[way].append(rate)
            costs[way].append(cost)
    # Round by round: what was measured one after the other is compared.
    ratios = {way: summary(one / other for one, other in zip(rates[way], rates["dnat"])) for way in ways}
    return [{"way": way, **cell, "mbit": summary(rates[way]), "cpu_s_per_gb": summary(costs[way]),
             "ratio_to_dnat": ratios[way]} for way in ways]


def iperf(bed, address, port, cell):
    """Mbit/s that arrived, and seconds of processor time of this machine for each GB of them."""
    end, busy = transfer(bed, address, port, cell)
    arrived = received_bits(end, cell["protocol"])
    return arrived / 1e6, busy / (arrived * SECONDS / 8e9)


def transfer(bed, address, port, cell):
    """What iperf3 says of a transfer of which something arrived, and this machine's processor time for it."""
    # Client and server on a CPU of their own: where they share one now and then, figures are noise.
    words = ["iperf3", "-J", "-A", "0,1", "-c", address, "-p", port, "-t", SECONDS, "-l", cell["size"], "-P", cell["streams"]]
    words += ["-R"] if cell["reverse"] else []
    words += ["-u", "-b", "0"] if cell["protocol"] == "udp" else []
    for _ in range(TRIES):
        before = machine_busy_seconds()
        try:
            text = bed.run(*words, where=bed.en, timeout=TRY_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            # Where a flood of datagrams takes the control connection's own, both ends wait for ever.
            serve(bed, address, port)
            continue
        end = json.loads(text or "{}").get("end", {})
        if received_bits(end, cell["protocol"]):
            return end, machine_busy_seconds() - before
        # The server may still be busy with the end of the last one.
        time.sleep(0.3)
    raise Failure(f"iperf3 {address}:{port} {cell}: no figures in {TRIES} tries")


def serve(bed, address, port):
    """Starts a server at alice, in place of the one before it. It answers from the address that is asked: UDP needs that."""
    own = address if address.startswith("192.168.1.") else P1
    if port in servers:
        bed.stop(servers[port])
    servers[port] = bed.start(bed.alice, "iperf3", "-s", "-B", own, "-p", port, stdout=subprocess.DEVNULL)


def received_bits(end, protocol):
    """Bits per second that the receiver got."""
    if protocol == "tcp":
        return end.get("sum_received", {}).get("bits_per_second", 0)
    found = end.get("sum", {})
    return found.get("bits_per_second", 0) * (1 - found.get("lost_percent", 0) / 100)


def prepare(bed):
    """Makes every way work; name -> address and port that EN connects to."""
    bed.nft(bed.router, f"""
        insert rule inet fw4 forward ip daddr 192.168.1.0/24 accept
        insert rule inet fw4 input ip saddr {G1} udp dport 51820-51829 accept
    """)
    services = "".join(f"\tlist service '*:{port}'\n" for port in (NATF_PORT, TSN_PORT))
    router = Router(bed, ROUTER + "\toption guide_lifetime '600'\n" + ALICE + services,
                    [peer("laptop", 1), peer("dnsd", 3, "tsn")])
    router.start()
    end = End(bed)
    end.start()
    ways = {"natf": (end.resolve("alice"), NATF_PORT), "tsn": (announced(bed), TSN_PORT), "dnat": (G2, STATIC_IPERF),
            "routing": (P1, ROUTING_PORT)}
    for number, (name, start) in enumerate(TUNNELS.items()):
        if shutil.which(name):
            ways[name] = (tunnel(bed, number, start), TUNNEL_PORT + number)
    for name, (address, port) in ways.items():
        serve(bed, address, port)
        wait_until(lambda to=(address, port): iperf_answers(bed, *to), f"an answer by way of {name}")
    return ways


def iperf_answers(bed, address, port):
    """Whether a short transfer works."""
    text = bed.run("iperf3", "-J", "-c", address, "-p", port, "-n", "10K", "--connect-timeout", 1000, where=bed.en, check=False)
    return "sum_received" in text


def announced(bed):
    """Announces EN to alice (T4) and returns the address that it then connects to."""
    found = bed.bench("notify", G2, G1, KEY.hex(), 3, f"alice.{HOME}", G1)
    if found["outcome"] != "guided":
        raise Failure(f"the router does not take the notification: {found}")
    return G2


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
