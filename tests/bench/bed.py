"""The bed that every benchmark lies in: three network namespaces, the daemons, and figures with their spread.

      en 198.51.100.10 ---- 198.51.100.1 router 192.168.1.1 ---- 192.168.1.10 alice
      natf-endd, clients             natf-routerd, fw4           servers
"""
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
G1, G2, LAN, P1 = "198.51.100.10", "198.51.100.1", "192.168.1.1", "192.168.1.10"
HOME = "home.example.net"
KEY = bytes(range(32))
KEY_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
# Daemon and load generator, where each has a processor of its own.
SERVER_CPU, CLIENT_CPU = 0, 1
# What alice serves behind static forwards and in the open.
WEB, STATIC_WEB, STATIC_STREAM = 80, 8080, 5301


class Failure(Exception):
    """A benchmark cannot go on; says what happened."""


def summary(values):
    """Median and extremes of rounds: a figure is worth as much as its rounds agree."""
    values = list(values)
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "rounds": len(values)}


def quartiles(values):
    """Median and quartiles of many short measurements, so that a few odd ones decide nothing."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high, "rounds": len(values)}


def wait_until(condition, what, seconds=10):
    """Waits until the condition holds."""
    end = time.time() + seconds
    while time.time() < end:
        if condition():
            return
        time.sleep(0.05)
    raise Failure(f"{what} did not happen within {seconds} s")


def status_field(process, field):
    """A number from /proc/PID/status; KiB for sizes."""
    text = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+)", text).group(1))


def rss_kib(process):
    """Resident memory."""
    return status_field(process, "VmRSS")


def cpu_seconds(process):
    """Processor time that all threads of a process have used, as the scheduler counts it."""
    threads = pathlib.Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


class Bed:
    """Namespaces, a folder, and what was started in them; all of it is gone at the end of the `with`."""

    def __init__(self, binaries, quick):
        self.binaries, self.quick = pathlib.Path(binaries), quick
        self.en, self.router, self.alice = (f"natfbench{os.getpid()}-{name}" for name in ("en", "router", "alice"))
        self.namespaces, self.started = [], []

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="natf-bench-"))
        self.log = open(self.folder / "log", "w", encoding="utf-8")
        try:
            self._build()
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(self, kind, error, trace):
        if error is not None:
            self.log.flush()
            print((self.folder / "log").read_text()[-3000:])
        self._clean_up()

    def run(self, *words, where=None, cpu=None, timeout=120, check=True, text=None):
        """Runs a command, in a namespace if one is named, and returns what it printed."""
        words = self._words(where, cpu, words)
        done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False, input=text)
        if check and done.returncode:
            raise Failure(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def start(self, where, *words, cpu=None, **streams):
        """Starts a server; it is stopped at the end if not before."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": self.log, "stderr": self.log} | streams
        process = subprocess.Popen(self._words(where, cpu, words), **streams)
        self.started.append(process)
        return process

    @staticmethod
    def stop(process):
        """Ends what `start` began."""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

    def bench(self, *words, where=None, cpu=None, timeout=120):
        """Runs natf-bench and returns the figures that it prints."""
        return json.loads(self.run(self.binaries / "natf-bench", *words, where=where or self.en, cpu=cpu, timeout=timeout))

    def write(self, name, text, private=False):
        """Writes a file of the folder."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600 if private else 0o644)
        return path

    def nft(self, where, text):
        """Applies rules."""
        self.run("nft", "-f", "-", where=where, text=text)

    def add_namespace(self, name):
        """One more network namespace."""
        self.run("ip", "netns", "add", name)
        self.namespaces.append(name)
        self.run("ip", "-n", name, "link", "set", "lo", "up")

    def link(self, one, device, address, other, peer, gateway):
        """A cable between two namespaces."""
        self.run("ip", "link", "add", device, "netns", one, "type", "veth", "peer", "name", peer, "netns", other)
        for where, name, own in ((one, device, address), (other, peer, gateway)):
            self.run("ip", "-n", where, "addr", "add", f"{own}/24", "dev", name)
            self.run("ip", "-n", where, "link", "set", name, "up")

    @staticmethod
    def _words(where, cpu, words):
        words = [str(word) for word in words]
        pinned = ["taskset", "-c", str(cpu)] if cpu is not None else []
        return [*(["ip", "netns", "exec", where] if where else []), *pinned, *words]

    def _build(self):
        for name in (self.en, self.router, self.alice):
            self.add_namespace(name)
        self.link(self.en, "eth0", G1, self.router, "wan", G2)
        self.link(self.alice, "eth0", P1, self.router, "br-lan", LAN)
        self.run("ip", "-n", self.en, "route", "add", "default", "via", G2)
        self.run("ip", "-n", self.alice, "route", "add", "default", "via", LAN)
        self.run("sysctl", "-qw", "net.ipv4.ip_forward=1", where=self.router)
        self.nft(self.router, (HERE.parent / "lab" / "fw4.nft").read_text() + f"""
            table ip static {{
                chain dstnat {{
                    type nat hook prerouting priority dstnat - 1;
                    iifname "wan" ip daddr {G2} tcp dport {STATIC_WEB} dnat to {P1}:{WEB}
                    iifname "wan" ip daddr {G2} meta l4proto {{ tcp, udp }} th dport {STATIC_STREAM} dnat to {P1}
                }}
            }}
            insert rule inet fw4 forward ct status dnat accept
        """)

    def _clean_up(self):
        for process in reversed(self.started):
            self.stop(process)
        for name in self.namespaces:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


ROUTER = f"config router 'router'\n\toption domain '{HOME}'\n"
ALICE = f"config host 'alice'\n\toption ip '{P1}'\n\toption access 'allow'\n"
# A table that is never the limit.
ROOMY = "".join(f"\toption {name} '1000000'\n" for name in ("max_mappings", "max_per_peer", "max_per_host"))


def peer(name, number, role="node"):
    """The section and the key line of an enrolled peer; all have the same key."""
    return (f"config peer '{name}'\n\toption id '{number}'\n\toption role '{role}'\n", f"{name} {number} {KEY_TEXT}\n")


class Router:
    """natf-routerd, started anew for each measurement that fills its tables."""

    def __init__(self, bed, configuration, peers):
        self.bed, self.process = bed, None
        bed.write("router", configuration + "".join(section for section, _ in peers))
        bed.write("router-keys", "".join(line for _, line in peers), private=True)
        self.words = [bed.binaries / "natf-routerd", "-c", bed.folder / "router", "-k", bed.folder / "router-keys",
                      "--run-dir", bed.folder / "router-run", "--state-dir", bed.folder / "router-state"]

    def ask(self, *command):
        """The daemon's answer to a command; None where it does not run."""
        return json.loads(self.bed.run(*self.words, "--json", *command, where=self.bed.router, check=False) or "null")

    def start(self, *options, cpu=None):
        """Starts it with empty tables and waits until it answers."""
        self.bed.run("conntrack", "-F", where=self.bed.router, check=False)
        self.process = self.bed.start(self.bed.router, *self.words, *options, cpu=cpu)
        wait_until(lambda: self.ask("status"), "natf-routerd's start", 30)

    def stop(self, leave_nothing=False):
        """Stops it; if so wished the kernel forgets its table, too."""
        self.bed.stop(self.process)
        self.bed.run("conntrack", "-F", where=self.bed.router, check=False)
        if leave_nothing:
            self.bed.run("nft", "delete", "table", "ip", "natf", where=self.bed.router, check=False)

    def rss_kib(self):
        """Resident memory."""
        return rss_kib(self.process)


class End:
    """natf-endd with a DNS server that leads all names of the home to the router."""

    def __init__(self, bed):
        self.bed, self.process = bed, None
        bed.write("end", "config end 'end'\n\toption resolver 'none'\n\tlist upstream '127.0.0.1:5300'\n"
                         f"config home 'home'\n\toption domain '{HOME}'\n\toption id '1'\n")
        bed.write("end-keys", f"home 1 {KEY_TEXT}\n", private=True)
        bed.write("zone", f"address=/{HOME}/{G2}\n")
        bed.start(bed.en, "dnsmasq", "-k", "-C", bed.folder / "zone", "-p", "5300", "-a", "127.0.0.1", "-z", "-R", "-h",
                  "--pid-file=")
        self.words = [bed.binaries / "natf-endd", "-c", bed.folder / "end", "-k", bed.folder / "end-keys",
                      "--run-dir", bed.folder / "end-run", "--state-dir", bed.folder / "end-state"]

    def start(self, cpu=None):
        """Starts it and waits until it answers names."""
        self.process = self.bed.start(self.bed.en, *self.words, cpu=cpu)
        wait_until(lambda: self.resolve("alice").startswith("240."), "natf-endd's answer")

    def stop(self):
        """Stops it."""
        self.bed.stop(self.process)

    def resolve(self, host):
        """The virtual address of a private host name; empty where there is none."""
        answer = self.bed.run("dig", "+short", "+tries=1", "@127.0.0.153", f"{host}.{HOME}", where=self.bed.en, check=False)
        return next((line for line in answer.split() if line[0].isdigit()), "")

    def steps_us(self):
        """Median time of each step since the start."""
        return json.loads(self.bed.run(*self.words, "--json", "status", where=self.bed.en))["steps_us"]
