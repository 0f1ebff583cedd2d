#!/usr/bin/env python3
"""A ruleset that is replaced in one transaction, again and again: does it harm connections that it allows all the time?

    alice 192.168.1.10 -- home 203.0.113.1 (fw4, masquerading) -- inet -- en 198.51.100.2 port 80

Nothing of natf runs; alice talks to a server outside. Whatever fw4's last rule rejects of connections that stand is marked by a rule before it.
"""
import selectors
import socket
import subprocess
import threading
import time
from ctnl import *

COUNT, SECONDS, MARK = 200, 60, 57005


def ruleset(before):
    """fw4 after `before`; its last rule marks what it rejects of connections that stand."""
    marking = f"chain handle_reject {{\nct state established,related ct mark set {MARK}\n"
    return before + FW4.replace("chain handle_reject {", marking)


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
    """Bytes to and fro on all connections at once; how many broke, in how many rounds. A side that is not told of it hears nothing more."""
    count, rounds = len(clients), 0
    while not over.is_set():
        rounds += 1
        for step in (lambda one: one.send(b"x") == 1, lambda one: one.recv(1) == b"x"):
            for client in list(clients):
                try:
                    good = step(client)
                except OSError:
                    good = False
                if not good:
                    clients.remove(client)
    return count - len(clients), rounds


def replace(lab, text, over):
    """How often the ruleset was replaced until `over`."""
    times = 0
    while not over.is_set():
        lab.nft("home", text)
        times += 1
        time.sleep(0.02)
    return times


def main():
    for what, before in (("fw4 reload does", ""), ("fw4 stop and nft flush ruleset do", "delete table inet fw4\n")):
        lab = Lab(SECONDS + 30)
        home_net(lab)
        lab.sh("home", "sysctl -qw net.netfilter.nf_conntrack_events=1")
        text = ruleset(before)
        lab.nft("home", ruleset(""))
        # As on most routers, somebody listens to what changes.
        lab.start("home", "nft", "monitor")
        marked = lab.start("home", "conntrack", "-E", "-e", "UPDATES", "-p", "tcp", "-m", str(MARK), stdout=subprocess.PIPE, text=True)
        time.sleep(0.5)
        over = threading.Event()
        server = lab.socket("en", bind=("", 80))
        server.listen(COUNT)
        answering = threading.Thread(target=echo, args=(server, over))
        answering.start()
        clients = []
        for _ in range(COUNT):
            clients.append(lab.socket("alice"))
            clients[-1].connect(("198.51.100.2", 80))
            clients[-1].settimeout(2)
        threading.Timer(SECONDS, over.set).start()
        counted = []
        replacing = threading.Thread(target=lambda: counted.append(replace(lab, text, over)))
        replacing.start()
        broken, rounds = talk(clients, over)
        replacing.join()
        answering.join()
        time.sleep(0.5)
        marked.terminate()
        lines = marked.communicate()[0].splitlines()
        flows = {next(word for word in line.split() if word.startswith("sport=")) for line in lines}
        check(f"tables replaced as {what}, {counted[0]} times in {rounds} rounds", True,
              f"{broken} of {COUNT} connections broke, {len(flows)} were rejected by fw4")
        lab.close()


main()
