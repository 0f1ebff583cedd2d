"""What the start of a connection costs, step by step, beside the paper's figures (N17).

Measured twice: with everybody on one CPU, as on a router with one, and across the CPUs of this machine. In a virtual
machine, waking another CPU costs more than the whole negotiation, and its host decides how much.
"""
import os
import re

import machine
from bed import ALICE, G1, G2, HOME, KEY, P1, ROOMY, ROUTER, STATIC_WEB, WEB, End, Router, peer, summary

ONE_CPU = "0"
ANY_CPU = f"0-{os.cpu_count() - 1}"


def measure(bed):
    """All steps on one CPU and on any."""
    router = Router(bed, ROUTER + ROOMY + ALICE, [peer("laptop", 1), peer("bench", 2)])
    rounds, connections, questions = (2, 60, 100) if bed.quick else (7, 300, 300)
    known = bed.write("known", f"alice.{HOME} A\n")
    figures = {"connections_per_round": connections}
    end = End(bed)
    server = bed.start(bed.alice, bed.binaries / "natf-bench", "accept", f"{P1}:{WEB}")
    before = retransmitted(bed)
    for place, cpus in (("one_cpu", ONE_CPU), ("any_cpu", ANY_CPU)):
        bed.run("taskset", "-apc", cpus, server.pid)
        samples = {}
        for _ in range(rounds):
            for name, value in one_round(bed, router, end, cpus, connections, questions, known).items():
                samples.setdefault(name, []).append(value)
        figures[place] = {name: summary(values) for name, values in samples.items()}
    figures["retransmitted_segments"] = retransmitted(bed) - before
    return figures


def one_round(bed, router, end, cpus, connections, questions, known):
    """Fresh daemons, questions, connections; the median of each step."""
    router.start("--measure", cpu=cpus)
    end.start(cpu=cpus)
    bench = (G2, G1, KEY.hex(), 2)
    bed.bench("latency", *bench, 200, 0, cpu=cpus)
    bed.bench("latency", *bench, 1024, 1000, cpu=cpus)
    found = {"router_processing": router.ask("status")["router_us"]}
    bed.run("dnsperf", "-s", "127.0.0.153", "-d", known, "-n", questions, "-c", 1, "-q", 1, where=bed.en, cpu=cpus)
    virtual = end.resolve("alice")
    ways = (f"{virtual}:{WEB}", f"{G2}:{STATIC_WEB}")
    bed.bench("connect", *ways, 30, cpu=cpus)
    times = bed.bench("connect", *ways, connections, cpu=cpus)
    found |= {"connect_natf": times["first_us"], "connect_dnat": times["second_us"], "overhead": times["difference_us"]}
    found |= end.steps_us()
    found |= {"overhead_per_connect": times["difference_us"] / times["second_us"], "speed": machine.speed()}
    end.stop()
    router.stop()
    return found


def retransmitted(bed):
    """TCP segments that EN has sent again."""
    text = bed.run("nstat", "-az", "TcpRetransSegs", where=bed.en)
    return int(re.search(r"TcpRetransSegs\s+(\d+)", text).group(1))
