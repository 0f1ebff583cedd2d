#!/usr/bin/env python3
"""Drives the views in a headless Chromium on alice. To be started by run.sh, which sets up the lab.

    views.py ROOT [SCENARIO...]     ROOT: the root directory of router1; all scenarios, or those named
"""
from scenarios.hostile import from_the_daemon, from_the_file, from_the_network
from scenarios.hosts import add_and_delete, allow_and_deny, allow_discovered, refuse_wrong_input
from scenarios.live import announced, live, many
from scenarios.looks import japanese, keyboard, looks
from scenarios.overview import overview, service, tile, warnings
from scenarios.peers import enrol, rename, revoke
from scenarios.rights import acl, expiry, rights
from scenarios.settings import settings
from scenarios.tsn import tsn
from scenarios.why import why
from world import run

if __name__ == "__main__":
    run([overview, tile, warnings, allow_and_deny, add_and_delete, refuse_wrong_input, allow_discovered, enrol, rename, revoke,
         live, announced, many, why, tsn, settings, acl, rights, from_the_network, from_the_file, from_the_daemon, looks, keyboard,
         japanese, service, expiry])
