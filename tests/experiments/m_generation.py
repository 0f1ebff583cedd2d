#!/usr/bin/env python3
"""A ruleset that is replaced in one transaction, again and again: does it harm connections that it allows all the time?

    en 198.51.100.2 -- inet -- 203.0.113.1 home (fw4, and a static forward of port 80) -- alice 192.168.1.10

Nothing of natf runs. Whatever fw4's last rule rejects of established connections is marked by a rule before it.
"""
import selectors
import socket
import subprocess
import threading
import time
from ctnl import *

COUNT, SECONDS, MARK = 200, 60, 57005
FORWARD = "table ip forward80 { chain pre { type nat hook prerouting priority -100; ip daddr 203.0.113.1 tcp dport 80 dnat to 192.168.1.10; }; }\n"


def ruleset(before_reject):
    """fw4 and the static forward; `before_reject` stands where fw4 is about to reject."""
    forwarding = FW4.replace("chain forward_wan {", "chain forward_wan {\nct status dnat accept\n")
    return "flush ruleset\n" + forwarding.replace("chain handle_reject {", f"chain handle_reject {{\n{before_reject}\n") + FORWARD


def echo(listener, over):
    """Gives back what comes in, on any number of connections."""
    ready = selectors.DefaultSelector()
    ready.register(listener, selectors.EVENT_READ)
    while not over.is_set():
        for key, _ in ready.select(0.1):
            if key.fileobj is listener:
                ready.register(listener.accept()[0], selectors.EVENT_READ)
                continue
            try:
                data = key.fileobj.recv(100)
                key.fileobj.send(data)
            except OSError:
                data = b""
            if not data:
                ready.unregister(key.fileobj)
                key.fileobj.close()


def talk(clients, over):
    """One byte to and fro on each connection, round by round; how many broke. A side that is not told of it hears nothing more."""
    broken = 0
    while not over.is_set():
        for client in list(clients):
            try:
                client.send(b"x")
                good = client.recv(1) == b"x"
            except OSError:
                good = False
            if not good:
                clients.remove(client)
                broken += 1
    return broken


def replace(lab, text, over):
    """How often the ruleset was replaced until `over`."""
    times = 0
    while not over.is_set():
        lab.nft("home", text)
        times += 1
        time.sleep(0.02)
    return times


def main():
    for what, before_reject in (("as fw4 has it", ""), ("silent towards established connections", "ct state established,related drop")):
        lab = Lab(3 * SECONDS)
        home_net(lab)
        lab.sh("home", "sysctl -qw net.netfilter.nf_conntrack_events=1")
        text = ruleset(f"ct state established,related ct mark set {MARK}\n{before_reject}")
        lab.nft("home", text)
        marked = lab.start("home", "conntrack", "-E", "-e", "UPDATES", "-p", "tcp", "-m", str(MARK), stdout=subprocess.PIPE, text=True)
        time.sleep(0.5)
        over = threading.Event()
        server = lab.socket("alice", bind=("", 80))
        server.listen(COUNT)
        threading.Thread(target=echo, args=(server, over)).start()
        clients = []
        for _ in range(COUNT):
            clients.append(lab.socket("en"))
            clients[-1].connect(("203.0.113.1", 80))
        threading.Timer(SECONDS, over.set).start()
        counted = []
        replacing = threading.Thread(target=lambda: counted.append(replace(lab, text, over)))
        replacing.start()
        broken = talk(clients, over)
        replacing.join()
        time.sleep(0.5)
        marked.terminate()
        lines = marked.communicate()[0].splitlines()
        flows = {next(word for word in line.split() if word.startswith("sport=")) for line in lines}
        check(f"ruleset replaced {counted[0]} times, last rule {what}", True, f"{broken} of {COUNT} connections broke, {len(flows)} marked there")


main()
