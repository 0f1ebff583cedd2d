"""Announced names with routers far away: what tsn-dnsd adds to the distance, with 1, 10 and 100 routers.

      en: tsn-dnsd, dnsperf ---- far.py: 1 to 50 ms there and back ---- router: natf-routerd
      198.51.101.10                                                     203.0.113.1 … .100

One daemon answers on all the addresses; to tsn-dnsd each is a router of its own, with its own name, key id and address.
A router keeps 64 rows for one client, so that a hundred names need two clients.
"""
import os
import re
import subprocess
import sys

from bed import ALICE, HERE, KEY_TEXT, ROOMY, ROUTER, Failure, Router, peer, summary, wait_until
from dns import at as share_of

ROUTERS = (1, 10, 100)
DISTANCES_MS = (1, 10, 50)
NEAR, FAR = "198.51.101.10", "203.0.113."
SERVER, CLIENTS, CLIENT_ROUTERS = "198.51.102.53", ("198.51.102.101", "198.51.102.102"), 50
UPSTREAM = 5300
ROUNDS, SECONDS = 3, 1
# As many questions are under way at once as there are routers, but no more than this in a second.
RATE = 1000


def measure(bed):
    """Each number of routers at each distance."""
    most = max(ROUTERS)
    names = range(1, most + 1)
    bed.start(bed.en, "dnsmasq", "-k", "-C", bed.write("zone", f"address=/example.net/{FAR}1\n"), "-p", UPSTREAM,
              "-a", "127.0.0.1", "-z", "-R", "-h", "--local-ttl=3600", "--pid-file=")
    for number in names:
        bed.run("ip", "-n", bed.router, "addr", "add", f"{FAR}{number}/32", "dev", "lo")
    domains = "".join(f"\tlist domain 'r{number}.example.net'\n" for number in names)
    router = Router(bed, ROUTER.replace("\toption domain 'home.example.net'\n", domains) + "\tlist wan 'wan'\n\tlist wan 'far'\n"
                    + ROOMY + ALICE, [peer(f"d{number}", number, "tsn") for number in names])
    bed.nft(bed.router, 'insert rule inet fw4 input iifname "far" accept; insert rule inet fw4 output oifname "far" accept')
    router.start()
    start_server(bed, names)
    rows = []
    for milliseconds in (DISTANCES_MS[:2] if bed.quick else DISTANCES_MS):
        line = lay_line(bed, milliseconds)
        for count in ROUTERS:
            rows.append({"distance_ms": milliseconds, "routers": count, **measure_cell(bed, count)})
        bed.stop(line)
    return {"rate": RATE, "rows": rows}


def start_server(bed, names):
    """tsn-dnsd, which knows all the routers."""
    routers = "".join(f"config router 'r{number}'\n\tlist domain 'r{number}.example.net'\n\toption id '{number}'\n"
                      f"\toption address '{FAR}{number}'\n" for number in names)
    bed.write("dnsd", f"config server 'server'\n\tlist listen '{SERVER}'\n\tlist upstream '127.0.0.1#{UPSTREAM}'\n"
                      f"\tlist allow '198.51.102.0/24'\n\toption rate '0'\n{routers}")
    bed.write("dnsd-keys", "".join(f"r{number} {number} {KEY_TEXT}\n" for number in names), private=True)
    folder = bed.folder
    for address in (SERVER, *CLIENTS):
        bed.run("ip", "-n", bed.en, "addr", "add", f"{address}/32", "dev", "lo")
    bed.start(bed.en, bed.binaries / "tsn-dnsd", "-c", folder / "dnsd", "-k", folder / "dnsd-keys",
              "--run-dir", folder / "dnsd-run", "--state-dir", folder / "dnsd-state")
    wait_until(lambda: FAR in ask(bed, CLIENTS[0], "plain.example.net"), "tsn-dnsd's answer")
    bed.write("plain", "plain.example.net A\n")


def name(number):
    """The name of a host behind that router."""
    return f"alice.r{number}.example.net"


def ask(bed, client, question):
    """What tsn-dnsd says, in short."""
    return bed.run("dig", "+short", "+tries=1", "-b", client, f"@{SERVER}", question, where=bed.en, check=False)


def lay_line(bed, milliseconds):
    """A line of that length between EN and the router."""
    devices = [f"far{os.getpid()}{end}" for end in "er"]
    line = bed.start(None, sys.executable, HERE / "far.py", *devices, milliseconds, stdout=subprocess.PIPE)
    if line.stdout.readline() != b"ready\n":
        raise Failure("far.py does not come up")
    for device, where, address in zip(devices, (bed.en, bed.router), (f"{NEAR}/24", "198.51.101.1/24")):
        bed.run("ip", "link", "set", device, "netns", where)
        bed.run("ip", "-n", where, "link", "set", device, "name", "far")
        bed.run("ip", "-n", where, "addr", "add", address, "dev", "far")
        bed.run("ip", "-n", where, "link", "set", "far", "up")
    bed.run("ip", "-n", bed.en, "route", "add", f"{FAR}0/24", "dev", "far", "src", NEAR)
    return line


def measure_cell(bed, count):
    """Latency of plain and of announced names, and of a ping, in rounds."""
    rounds, seconds = (1, 1) if bed.quick else (ROUNDS, SECONDS)
    shares = {client: range(1 + at * CLIENT_ROUTERS, 1 + min(count, (at + 1) * CLIENT_ROUTERS))
              for at, client in enumerate(CLIENTS) if count > at * CLIENT_ROUTERS}
    for client, share in shares.items():
        bed.write(f"names-{client}", "".join(f"{name(number)} A\n" for number in share))
        for number in share:
            if FAR not in (told := ask(bed, client, name(number))):
                raise Failure(f"router {number} does not take the notification: {told}")
    samples = {}
    for _ in range(rounds):
        plain = share_of(times(bed, {CLIENTS[0]: "plain"}, 1, seconds), 0.5)
        announced = times(bed, {client: f"names-{client}" for client in shares}, count, seconds)
        pings = bed.run("ping", "-c", 60, "-i", "0.01", "-s", 128, f"{FAR}{count}", where=bed.en)
        trip = share_of(sorted(float(found) * 1000 for found in re.findall(r"time=([\d.]+) ms", pings)), 0.5)
        found = {"round_trip_us": trip, "announced_us": share_of(announced, 0.5),
                 "announced_p99_us": share_of(announced, 0.99), "extra_us": share_of(announced, 0.5) - plain - trip}
        for key, value in found.items():
            samples.setdefault(key, []).append(value)
    return {key: summary(values) for key, values in samples.items()}


def times(bed, files, at_once, seconds):
    """Sorted latencies of single questions, in microseconds, of all clients together, each with its file."""
    clients = [bed.start(bed.en, "dnsperf", "-s", SERVER, "-a", client, "-d", bed.folder / file, "-l", seconds, "-c", 1,
                         "-q", at_once // len(files), "-Q", RATE // len(files), "-v", stdout=subprocess.PIPE, text=True)
               for client, file in files.items()]
    text = "".join(client.communicate(timeout=60)[0] for client in clients)
    if lost := sum(map(int, re.findall(r"Queries lost:\s+(\d+)", text))):
        raise Failure(f"{lost} questions were not answered")
    return sorted(float(found) * 1e6 for found in re.findall(r"^> NOERROR \S+ \S+ ([\d.]+)$", text, re.M))
