#!/usr/bin/env python3
"""Many small conversations at once, and whether each goes on: what a network under attack must not hurt.

flows.py serve PORT                  on a host: gives every line back, to any number of connections
flows.py drive PORT COUNT REPORT NAME...
                                     on an outside node: keeps COUNT connections to these names open, says a numbered
                                     line on each every few seconds, and opens a further connection ten times a second.
                                     A line on stdin names the phase that begins; `end` closes everything.
                                     REPORT gets a line of JSON for each phase:
                                     {"phase", "seconds", "said", "broken", "slowest_s", "opened", "refused",
                                      "p50_ms", "p99_ms", "max_ms"}
"""

import asyncio
import json
import random
import resource
import sys
import time

# Time between two lines of one conversation, in seconds.
PAUSE = (2.0, 4.0)
# A conversation without its echo for so long is broken; TCP alone repeats for minutes.
PATIENCE = 30
PROBES_PER_SECOND = 10
OPENED_PER_SECOND = 80
# A new connection: the outside node gives up after 4 s of silence.
PROBE_PATIENCE = 6


async def serve(port):
    """Answers until it is killed."""

    async def converse(reader, writer):
        try:
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(converse, "0.0.0.0", port, backlog=2048)
    await server.serve_forever()


class Phase:
    """What happened between two lines of stdin."""

    def __init__(self, name):
        self.name, self.began = name, time.monotonic()
        self.said = self.broken = self.refused = 0
        self.slowest = 0.0
        self.took = []

    def report(self):
        took = sorted(self.took) or [0.0]
        share = lambda part: round(1000 * took[min(len(took) - 1, int(part * len(took)))], 2)
        return {
            "phase": self.name,
            "seconds": round(time.monotonic() - self.began, 1),
            "said": self.said,
            "broken": self.broken,
            "slowest_s": round(self.slowest, 2),
            "opened": len(self.took),
            "refused": self.refused,
            "p50_ms": share(0.5),
            "p99_ms": share(0.99),
            "max_ms": share(1.0),
        }


class Driver:
    """The outside node's side."""

    def __init__(self, port, count, report, names):
        self.port, self.count, self.names = port, count, names
        self.file = open(report, "w", buffering=1)
        self.phase = Phase("opening")
        self.open = 0

    async def converse(self, number):
        """One conversation, from its connection to its end."""
        # Names are asked about as often; DNS servers limit that.
        await asyncio.sleep(number / OPENED_PER_SECOND)
        name = self.names[number % len(self.names)]
        try:
            reader, writer = await asyncio.open_connection(name, self.port)
        except OSError as error:
            self.phase.broken += 1
            print(f"conversation {number}: {error}", file=sys.stderr)
            return
        self.open += 1
        turn = 0
        try:
            while True:
                turn += 1
                line, began = f"{number} {turn}\n".encode(), time.monotonic()
                writer.write(line)
                heard = await asyncio.wait_for(reader.readline(), PATIENCE)
                if heard != line:
                    raise OSError(f"said {line!r}, heard {heard!r}")
                self.phase.said += 1
                self.phase.slowest = max(self.phase.slowest, time.monotonic() - began)
                await asyncio.sleep(random.uniform(*PAUSE))
        except (OSError, asyncio.TimeoutError) as error:
            self.phase.broken += 1
            port = writer.get_extra_info("sockname")[1]
            print(f"{time.time():.3f} conversation {number} from port {port}, turn {turn}: {error!r}", file=sys.stderr)
        finally:
            self.open -= 1
            writer.close()

    async def probe(self):
        """One further connection: opened, used once, closed."""
        phase, began = self.phase, time.monotonic()
        try:
            async with asyncio.timeout(PROBE_PATIENCE):
                reader, writer = await asyncio.open_connection(random.choice(self.names), self.port)
                writer.write(b"probe\n")
                good = await reader.readline() == b"probe\n"
                writer.close()
        except OSError:
            good = False
        if good:
            phase.took.append(time.monotonic() - began)
        else:
            phase.refused += 1

    async def probe_steadily(self):
        while True:
            asyncio.ensure_future(self.probe())
            await asyncio.sleep(1 / PROBES_PER_SECOND)

    async def obey(self):
        """Reads the names of phases until `end`."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while (line := (await reader.readline()).decode().strip()) not in ("", "end"):
            self.file.write(json.dumps(self.phase.report()) + "\n")
            self.phase = Phase(line)
        self.file.write(json.dumps(self.phase.report()) + "\n")

    async def run(self):
        tasks = [asyncio.ensure_future(self.converse(number)) for number in range(self.count)]
        began = time.monotonic()
        while self.open + self.phase.broken < self.count and time.monotonic() - began < 60:
            await asyncio.sleep(0.1)
        print(f"open {self.open}", flush=True)
        tasks.append(asyncio.ensure_future(self.probe_steadily()))
        await self.obey()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def main():
    words = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
    match words:
        case ["serve", port]:
            asyncio.run(serve(int(port)))
        case ["drive", port, count, report, *names] if names:
            asyncio.run(Driver(int(port), int(count), report, names).run())
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
