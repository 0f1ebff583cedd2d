#!/usr/bin/env python3
"""Sends every datagram back, in order: udp_echo.py PORT."""

import socket
import sys

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind(("0.0.0.0", int(sys.argv[1])))
    while True:
        data, peer = server.recvfrom(65535)
        server.sendto(data, peer)
