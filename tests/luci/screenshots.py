#!/usr/bin/env python3
"""Takes the pictures; to be started by screenshots.sh.

    screenshots.py ROOT DIRECTORY
"""
import os
import sys
import time

from browser import Browser
from png import small
from scenarios.tsn import CONFIG
from world import LAB, World

HOSTS = """
config host 'nas'
	option mac '02:00:00:00:01:10'
	option access 'allow'
	list service 'tcp:80'
	list service 'tcp:21'
	list service 'tcp:445'

config host 'desktop'
	option ip '192.168.1.11'
	option access 'allow'
	list service 'tcp:22'
	list service 'tcp:3389'
	list service 'tcp:5201'
	list peer 'laptop'
	option until '2030-12-31 18:00'

config host 'web'
	option ip '192.168.1.11'
	option access 'allow'
	list service 'tcp:80'
	list peer 'anyone'

config host 'camera'
	option ip '192.168.1.12'
	option access 'deny'
"""
LEASES = """1900000000 02:00:00:00:01:10 192.168.1.10 nas *
1900000000 02:00:00:00:01:77 192.168.1.77 printer *
1900000000 02:00:00:00:01:78 192.168.1.78 tv *
"""


def furnish(world):
    """A home with hosts, peers, flows, refusals and an announced client."""
    text = world.original
    begin = text.index("config host 'alice'")
    text = text[:begin] + HOSTS.lstrip() + "\n" + text[text.index("config peer 'laptop'"):]
    text = text.replace("\tlist domain 'cname.example.net'\n\tlist domain 'multi.example.net'\n", "")
    for name, new in (("roamer", "phone"), ("router2", "parents")):
        text = text.replace(f"config peer '{name}'", f"config peer '{new}'")
        world.router("sed", "-i", f"s/^{name} /{new} /", "/etc/natf/keys")
    world.write("/tmp/dhcp.leases", LEASES)
    world.configure(text)
    world.write("/etc/config/tsn-dnsd", CONFIG + """
config record
	option name 'nas.home.example.net'
	option type 'A'
	option value '192.168.1.10'
""")
    added = world.rpc("peer_add", name="dns", role="tsn", domain="home.example.net")
    world.router("tsn-dnsd", "enroll", added["uri"])
    world.router("/etc/init.d/tsn-dnsd", "start")
    world.lab("start", "dnsd", "isp")
    time.sleep(3)  # the neighbours are looked at every few seconds
    world.on("alice", "dig", "-p", "5353", "@192.168.1.1", "plain.example.net")
    for host, port in (("nas", 80), ("nas", 21), ("desktop", 5201)):
        world.hold(f"{host}.home.example.net", port)
    for target in ("camera:554", "camera:554", "desktop:80", "printer:631"):
        world.ping(target.replace(":", ".home.example.net:"))


def take(page, directory, name):
    page.run("document.activeElement.blur(); scrollTo(0, 0); await new Promise((done) => setTimeout(done, 500))")
    with open(os.path.join(directory, f"{name}.png"), "wb") as file:
        file.write(small(page.png(whole=not page.is_modal())))


def main():
    root, directory = sys.argv[1:]
    browser = Browser([LAB, "exec", "alice"])
    world = World(browser, root)
    try:
        furnish(world)
        page = world.page(width=1200, height=760)
        page.open("overview")
        for target in ("nas:80", "camera:554", "desktop:5201", "nas:445", "nas:80"):
            world.ping(target.replace(":", ".home.example.net:"))
            time.sleep(3)
        take(page, directory, "overview")
        page.theme(dark=True)
        take(page, directory, "overview-dark")
        page.theme(dark=False)
        for name in ("hosts", "peers", "live", "tsn", "settings"):
            if name == "live":
                world.on("client", "dig", "+time=2", "@192.0.3.53", "nas.home.example.net")
                world.on("client", "curl", "-s", "-o", "/dev/null", "http://203.0.113.2/")
            page.open(name)
            page.run("await new Promise((done) => setTimeout(done, 1500))")
            take(page, directory, name)
        page.open("status/overview")
        take(page, directory, "tile")
        page.open("why").fill("Name", "desktop").fill("Service", "http").fill("Peer", "laptop").click("Explain")
        page.shows("Refused", "#natf-steps")
        take(page, directory, "why")
        page.open("hosts").click("Edit", within=page.row("desktop"))
        page.until("return document.querySelector('.modal .cbi-map')")
        page.resize(1200, 860)
        take(page, directory, "host")
        page.open("peers").click("Enrol a peer").fill("Name", "tablet").click("Enrol")
        page.until("return document.querySelector('#natf-qr')")
        take(page, directory, "enrol")
        page.resize(390, 844, mobile=True)
        page.open("hosts")
        page.row("desktop")
        take(page, directory, "hosts-phone")
    finally:
        for process in world.held:
            process.kill()
        browser.close()


if __name__ == "__main__":
    main()
