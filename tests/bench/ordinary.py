"""Traffic that is not ours (T8): never slower because natf-routerd runs, guides clients and is flooded.

The same connections and streams through the same router, by turns with and without the daemon and its table:

      forward                EN to a static port forward; others have rows in the guide table, EN has none
      …, client has a row    the same, but EN has one: for another service
      …, offered port        the same, to a port that another host offers: the daemon looks at it, and lets it pass
      outbound               alice to EN, by masquerading
"""
import json
import statistics
import subprocess
import time

from bed import (ALICE, CLIENT_CPU, G1, G2, HOME, KEY, P1, ROUTER, SERVER_CPU, STATIC_STREAM, STATIC_WEB, WEB, Failure, Router, peer,
                 quartiles, summary, wait_until)
from throughput import BASE, path, soft_interrupts, stream

ROWS = 1000
OUT_PORT = 8081
# A service of alice's to which clients are guided; nobody serves it here.
GUIDED_PORT = 9999
# A static forward at a port that is a service of bob's, too.
OFFERED_PORT = 8090
BOB = f"config host 'bob'\n\toption ip '192.168.1.20'\n\toption access 'allow'\n\tlist service 'tcp:{OFFERED_PORT}'\n"
STREAM = {"protocol": "tcp", "reverse": False, "streams": 1, "size": 131072}
PACKETS = {"protocol": "udp", "reverse": False, "streams": 1, "size": 64}
FLOOD_PER_S = 5000
SLICES = 8


def measure(bed):
    """All cases, with and without, in turns."""
    router = Router(bed, ROUTER + "\toption guide_lifetime '600'\n" + ALICE + f"\tlist service 'tcp:{GUIDED_PORT}'\n" + BOB,
                    [peer("dnsd", 3, "tsn"), peer("other", 4, "tsn")])
    bed.nft(bed.router, f'add rule ip static dstnat iifname "wan" ip daddr {G2} tcp dport {OFFERED_PORT} dnat to {P1}:{WEB}')
    bed.start(bed.alice, bed.binaries / "natf-bench", "accept", f"{P1}:{WEB}", cpu=SERVER_CPU)
    bed.start(bed.en, bed.binaries / "natf-bench", "accept", f"{G1}:{OUT_PORT}", cpu=SERVER_CPU)
    for where, to in ((bed.en, f"{G2}:{STATIC_WEB}"), (bed.alice, f"{G1}:{OUT_PORT}")):
        words = (bed.binaries / "natf-bench", "connect", to, to, 1)
        wait_until(lambda where=where, words=words: bed.run(*words, where=where, check=False), "the servers' start")
    rounds, connections = (2, 100) if bed.quick else (11, 400)
    samples = {}
    for turn in range(rounds):
        for case in ("without", "with") if turn % 2 == 0 else ("with", "without"):
            if case == "with":
                router.start(cpu=SERVER_CPU)
            for name, value in one_round(bed, router, case == "with", connections).items():
                samples.setdefault(name, {}).setdefault(case, []).append(value)
            if case == "with":
                router.stop(leave_nothing=True)
    rows = [{"what": name, "without": quartiles(found["without"]), "with": quartiles(found["with"]),
             "ratio": quartiles([one / other for one, other in zip(found["with"], found["without"])])}
            for name, found in samples.items()]
    return {"rows": rows, "flood": measure_flood(bed, router), "guide_rows": ROWS}


def one_round(bed, router, running, connections):
    """Connections in us, streams in Mbit/s, packets in ns; first while others have rows, then EN as well."""
    if running:
        guide_others(bed)
    found = {"connect, outbound": connect(bed, bed.alice, f"{G1}:{OUT_PORT}", connections)}
    for who in ("", ", client has a row"):
        if who and running:
            guide_client(bed, router)
        found[f"connect, forward{who}"] = connect(bed, bed.en, f"{G2}:{STATIC_WEB}", connections)
        found[f"stream, TCP{who}"] = statistics.median(one["mbit"] for one in slices(bed, STREAM))
        # Whatever else the machine does, processor time tells more than a rate would.
        found[f"packet, UDP {PACKETS['size']} B{who}"] = statistics.median(one["cpu_ns"] / one["messages"] for one in slices(bed, PACKETS))
    found["connect, forward, client has a row, offered port"] = connect(bed, bed.en, f"{G2}:{OFFERED_PORT}", connections)
    return found


def slices(bed, cell):
    """Some short streams from EN by the static forward."""
    return stream(bed, {BASE: path(bed.en, G2, STATIC_STREAM)}, soft_interrupts(), cell, SLICES)


def connect(bed, where, to, connections):
    """Median time until a TCP connection stands."""
    return bed.bench("connect", to, to, connections, where=where, cpu=CLIENT_CPU)["first_us"]


def guide_others(bed):
    """Announces many clients that never come."""
    found = bed.bench("notify-rate", G2, G1, KEY.hex(), 4, f"alice.{HOME}", ROWS)
    if found["guided"] < 0.9 * ROWS:
        raise Failure(f"the guide table is not full: {found}")


def guide_client(bed, router):
    """Announces EN."""
    before = router.ask("status")["guide"]
    found = bed.bench("notify", G2, G1, KEY.hex(), 3, f"alice.{HOME}", G1)
    if found["outcome"] != "guided" or router.ask("status")["guide"] <= before:
        raise Failure(f"EN has no row: {found}, {before} rows before")


def measure_flood(bed, router):
    """Connections while notifications keep coming: whether those that are not ours wait for those that are."""
    router.start(cpu=SERVER_CPU)
    rounds, seconds, connections = (1, 2, 100) if bed.quick else (5, 6, 400)
    samples = {}
    for _ in range(rounds):
        quiet = connect(bed, bed.en, f"{G2}:{STATIC_WEB}", connections)
        words = ("notify-rate", G2, G1, KEY.hex(), 4, f"alice.{HOME}", FLOOD_PER_S * seconds, FLOOD_PER_S)
        flood = bed.start(bed.en, bed.binaries / "natf-bench", *words, cpu=SERVER_CPU, stdout=subprocess.PIPE, text=True)
        # It seals them all before it sends the first.
        before = handled(router)
        wait_until(lambda: handled(router) > before, "the first notification", 30)
        time.sleep(0.2)
        flooded = connect(bed, bed.en, f"{G2}:{STATIC_WEB}", connections)
        if flood.poll() is not None:
            raise Failure("the flood was over before the connections were")
        told = json.loads(flood.communicate(timeout=60)[0])
        for key, value in {"quiet_us": quiet, "flooded_us": flooded, "guided_share": told["guided"] / told["sent"]}.items():
            samples.setdefault(key, []).append(value)
    router.stop(leave_nothing=True)
    return {"per_s": FLOOD_PER_S, **{key: summary(values) for key, values in samples.items()}}


def handled(router):
    """How many notifications the router has taken."""
    return router.ask("counters")["notifications"]
