#!/usr/bin/env python3
"""Drives the views in a headless Chromium on alice. To be started by run.sh, which sets up the lab.

    views.py ROOT [SCENARIO...]     ROOT: the root directory of router1; all scenarios, or those named
"""
from scenarios.hosts import allow_and_deny, add_and_delete, refuse_wrong_input, allow_discovered
from scenarios.overview import overview, service, warnings, tile
from scenarios.peers import enrol, rename, revoke
from scenarios.settings import settings
from world import run

if __name__ == "__main__":
    run([overview, tile, warnings, allow_and_deny, add_and_delete, refuse_wrong_input, allow_discovered, enrol, rename, revoke,
         settings, service])
