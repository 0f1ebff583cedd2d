#!/usr/bin/env python3
"""Two tunnel devices with a distance between them: what goes into one comes out of the other after half a round trip.

usage (root): far.py DEVICE DEVICE ROUND-TRIP-MS        prints "ready"; the devices may then be moved to namespaces

Kernels without netem need something like this. It keeps the order of packets and loses none below some thousands a second.
"""
import collections
import fcntl
import os
import select
import struct
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
LONGEST = 65536
# select() sleeps somewhat longer than it is told to; the rest is spent looking at the clock.
EARLY = 0.0001


def open_device(name):
    """Creates a tunnel device and returns its descriptor."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return tun


def take(tun, queue, due):
    """Queues everything that waits at a device."""
    while True:
        try:
            queue.append((due, os.read(tun, LONGEST)))
        except (BlockingIOError, OSError):
            return


def carry(one, other, half):
    """Carries packets for ever."""
    ways = {one: (other, collections.deque()), other: (one, collections.deque())}
    while True:
        now = time.monotonic()
        for to, queue in ways.values():
            while queue and queue[0][0] <= now:
                try:
                    os.write(to, queue.popleft()[1])
                except OSError:
                    # The device is down, or the packet none that it takes: as on any line, it is lost.
                    continue
        next_due = min((queue[0][0] for _, queue in ways.values() if queue), default=None)
        wait = None if next_due is None else max(0, next_due - time.monotonic() - EARLY)
        for tun in select.select([one, other], [], [], wait)[0]:
            take(tun, ways[tun][1], time.monotonic() + half)


def main():
    """Opens the devices and carries."""
    one, other, milliseconds = sys.argv[1:]
    devices = open_device(one), open_device(other)
    print("ready", flush=True)
    carry(*devices, float(milliseconds) / 2000)


if __name__ == "__main__":
    main()
