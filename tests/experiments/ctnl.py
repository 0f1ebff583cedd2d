"""What the experiments share: namespaces, ctnetlink, NFQUEUE and one raw nft rule, by plain netlink sockets.

Every experiment runs as root, builds its own namespaces under names that carry its process id, and takes
them down again at exit. Nothing outside those namespaces is touched.
"""
import atexit
import contextlib
import ctypes
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time

LIBC = ctypes.CDLL(None, use_errno=True)
HERE = os.path.dirname(os.path.abspath(__file__))
TCP, UDP, ICMP = 6, 17, 1
REQUEST, MULTI, ACK, DUMP, CREATE, EXCL, APPEND = 0x1, 0x2, 0x4, 0x300, 0x400, 0x200, 0x800
SEEN_REPLY, ASSURED, CONFIRMED, SRC_NAT, DST_NAT, HELPER = 0x2, 0x4, 0x8, 0x10, 0x20, 0x2000
DROP, ACCEPT, REPEAT = 0, 1, 4
FW4 = open(os.path.join(HERE, "fw4.nft")).read()


# --- namespaces ----------------------------------------------------------------------------------------

class Lab:
    """Namespaces and the links between them; `lab.sh("home", "ip addr")` runs a command in one."""

    def __init__(self, seconds=120):
        self.tag, self.names, self.children = f"x{os.getpid()}", [], []
        atexit.register(self.close)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: sys.exit(1))
        signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"not done after {seconds} s"))
        signal.alarm(seconds)

    def ns(self, *names):
        for name in names:
            run(f"ip netns add {self.tag}{name}")
            self.names.append(name)
            self.sh(name, "ip link set lo up; sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.disable_ipv6=1")

    def link(self, left, ldev, right, rdev, laddr=None, raddr=None):
        run(f"ip link add {ldev} netns {self.tag}{left} type veth peer name {rdev} netns {self.tag}{right}")
        for name, dev, addr in ((left, ldev, laddr), (right, rdev, raddr)):
            self.sh(name, f"ip link set {dev} up" + (f"; ip addr add {addr} dev {dev}" if addr else ""))

    def route(self, name, via, dest="default"):
        self.sh(name, f"ip route add {dest} via {via}")

    def sh(self, name, command, check=True, stdin=None):
        return run(f"ip netns exec {self.tag}{name} sh -c '{command}'", check, stdin)

    def nft(self, name, text, flags=""):
        return self.sh(name, f"nft {flags} -f -", stdin=text)

    def start(self, name, *argv, **options):
        options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | options
        child = subprocess.Popen(["ip", "netns", "exec", self.tag + name, *argv], **options)
        self.children.append(child)
        return child

    @contextlib.contextmanager
    def inside(self, name):
        """Sockets made here belong to the namespace and go on working outside of the block."""
        with open("/proc/self/ns/net") as home, open(f"/run/netns/{self.tag}{name}") as there:
            setns(there)
            try:
                yield
            finally:
                setns(home)

    def socket(self, name, kind=socket.SOCK_STREAM, bind=None, family=socket.AF_INET, proto=0):
        with self.inside(name):
            sock = socket.socket(family, kind, proto)
        sock.settimeout(5)
        if bind:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(bind)
        return sock

    def close(self):
        signal.alarm(0)
        for child in self.children:
            child.kill()
            child.wait()
        for name in self.names:
            run(f"ip netns pids {self.tag}{name} | xargs -r kill", check=False)
            run(f"ip netns del {self.tag}{name}", check=False)
        self.names, self.children = [], []


def setns(handle):
    if LIBC.setns(handle.fileno(), 0x40000000):
        raise OSError(ctypes.get_errno(), "setns")


def run(command, check=True, stdin=None):
    done = subprocess.run(command, shell=True, text=True, input=stdin, capture_output=True)
    if check and done.returncode:
        sys.exit(f"{command}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def home_net(lab, second=False):
    """    en 198.51.100.2 --- inet --- 203.0.113.1 home 192.168.1.1 --- alice .10, bob .11
                                 `---- 192.0.2.1 home2 192.168.1.1 --- carol .10       (second=True)     """
    lab.ns("en", "inet", "home", "alice", "bob")
    lab.link("en", "eth0", "inet", "en", "198.51.100.2/24", "198.51.100.1/24")
    lab.route("en", "198.51.100.1")
    router(lab, "home", "203.0.113", ("alice", "bob"))
    if second:
        lab.ns("home2", "carol")
        router(lab, "home2", "192.0.2", ("carol",))


def router(lab, name, net, hosts):
    lab.link(name, "wan", "inet", name, f"{net}.1/24", f"{net}.254/24")
    lab.route(name, f"{net}.254")
    lab.sh(name, "ip link add br-lan type bridge; ip link set br-lan up; ip addr add 192.168.1.1/24 dev br-lan")
    for number, host in enumerate(hosts):
        lab.link(host, "eth0", name, host, f"192.168.1.{10 + number}/24")
        lab.sh(name, f"ip link set {host} master br-lan")
        lab.route(host, "192.168.1.1")
    lab.nft(name, FW4)


# --- netlink -------------------------------------------------------------------------------------------

def attr(kind, *data):
    body = b"".join(data)
    return struct.pack("=HH", 4 + len(body), kind) + body + b"\0" * (-len(body) % 4)


def nest(kind, *data):
    return attr(kind | 0x8000, *data)


def attrs(body):
    found = {}
    while len(body) >= 4:
        length, kind = struct.unpack_from("=HH", body)
        found[kind & 0x3FFF] = body[4:length]
        body = body[(length + 3) & ~3:]
    return found


def be16(kind, value):
    return attr(kind, struct.pack("!H", value))


def be32(kind, value):
    return attr(kind, struct.pack("!I", value))


class Netlink:
    """One NETLINK_NETFILTER socket in a namespace."""

    def __init__(self, lab, name):
        self.sock = lab.socket(name, socket.SOCK_RAW, None, socket.AF_NETLINK, 12)
        self.sock.bind((0, 0))
        self.sock.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        self.seq = 0

    def message(self, subsystem, kind, flags, body, family=socket.AF_INET, res=0):
        self.seq += 1
        head = struct.pack("=IHHII", 20 + len(body), subsystem << 8 | kind, REQUEST | flags, self.seq, 0)
        return head + struct.pack("!BBH", family, 0, res) + body

    def ask(self, *message, **options):
        """Sends one message; gives (errno, [body, ..]) where 0 is success."""
        self.sock.send(self.message(*message, **options))
        bodies = []
        while True:
            for kind, flags, body in messages(self.sock.recv(1 << 18)):
                if kind in (2, 3):
                    return -struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0, bodies
                bodies.append(body[4:])


def messages(data):
    while len(data) >= 16:
        length, kind, flags = struct.unpack_from("=IHH", data)
        yield kind, flags, data[16:length]
        data = data[(length + 3) & ~3:]


def flow(kind, proto, src, sport, dst, dport):
    ip = nest(1, attr(1, socket.inet_aton(src)), attr(2, socket.inet_aton(dst)))
    return nest(kind, ip, nest(2, attr(1, bytes([proto])), be16(2, sport), be16(3, dport)))


def nat(kind, addr, port):
    ip = socket.inet_aton(addr)
    return nest(kind, attr(1, ip), attr(2, ip), nest(3, be16(1, port), be16(2, port)))


class Conntrack(Netlink):
    """`mapping` writes the forced mapping  G1:s -> G2:m  DNAT to P1:d  of the design in one message."""

    def mapping(self, g1, s, g2, m, p1, d, proto=TCP, life=5, status=SEEN_REPLY | CONFIRMED, extra=b""):
        return self.insert((proto, g1, s, g2, m), nat(13, p1, d) + extra, life, status)

    def insert(self, orig, rest, life=5, status=SEEN_REPLY | CONFIRMED, flags=CREATE | EXCL):
        proto, src, sport, dst, dport = orig
        body = flow(1, *orig) + flow(2, proto, dst, dport, src, sport) + rest + be32(3, status) + be32(7, life)
        return self.ask(1, 0, ACK | flags, body)[0]

    def change(self, orig, rest):
        return self.ask(1, 0, ACK, flow(1, *orig) + rest)[0]

    def get(self, tuple5, reply=False):
        """The entry that owns this tuple as its original (or reply) direction, else None."""
        error, bodies = self.ask(1, 1, ACK, flow(2 if reply else 1, *tuple5))
        return Entry(bodies[0]) if bodies else None

    def delete(self, tuple5, reply=False):
        return self.ask(1, 2, ACK, flow(2 if reply else 1, *tuple5))[0]

    def dump(self):
        return [Entry(body) for body in self.ask(1, 1, DUMP, b"")[1]]


class Entry:
    def __init__(self, body):
        found = attrs(body)
        self.orig, self.reply = tuple5(found[1]), tuple5(found[2])
        self.status = struct.unpack("!I", found[3])[0]
        self.timeout = struct.unpack("!I", found.get(7, b"\0" * 4))[0]
        self.labels, self.raw = found.get(22, b""), found
        tcp = attrs(attrs(found.get(4, b"")).get(1, b""))
        self.tcp_state = tcp.get(1, b"\xff")[0]
        self.helper = attrs(found.get(5, b"")).get(1, b"").rstrip(b"\0").decode()
        self.master = tuple5(found[14]) if 14 in found else None

    def __repr__(self):
        shape = lambda t: f"{t[1]}:{t[2]}->{t[3]}:{t[4]}"
        return (f"[{self.orig[0]} {shape(self.orig)} | {shape(self.reply)} st={self.status:#x} {self.timeout}s"
                + (f" tcp={self.tcp_state}" if self.orig[0] == TCP else "")
                + (f" helper={self.helper}" if self.helper else "")
                + (f" label={self.labels.hex()}" if any(self.labels) else "")
                + (f" master={shape(self.master)}" if self.master else "") + "]")


def tuple5(body):
    found = attrs(body)
    ip, proto = attrs(found[1]), attrs(found[2])
    ports = [struct.unpack("!H", proto[k])[0] if k in proto else 0 for k in (2, 3)]
    return proto[1][0], socket.inet_ntoa(ip.get(1, b"\0" * 4)[:4]), ports[0], socket.inet_ntoa(ip.get(2, b"\0" * 4)[:4]), ports[1]


class Queue(Netlink):
    """NFQUEUE number `num` of a namespace, whole packets."""

    def __init__(self, lab, name, num):
        super().__init__(lab, name)
        self.num, self.backlog = num, []
        for body in (attr(1, b"\1\0\0\2"), attr(2, struct.pack("!IB", 65535, 2))):
            error, _ = self.ask(3, 2, ACK, body, family=0, res=num)
            assert error == 0, os.strerror(error)

    def take(self, seconds=2.0):
        """(id, packet) of the next waiting packet, or None."""
        if not self.backlog and select.select([self.sock], [], [], seconds)[0]:
            for kind, _, body in messages(self.sock.recv(1 << 18)):
                if kind == 3 << 8:
                    found = attrs(body[4:])
                    self.backlog.append((struct.unpack_from("!I", found[1])[0], found[10]))
        return self.backlog.pop(0) if self.backlog else None

    def verdict(self, ident, what):
        self.sock.send(self.message(3, 1, 0, attr(2, struct.pack("!II", what, ident)), family=0, res=self.num))


def element(link, name, key, data=None, millis=10_000, delete=False):
    """Adds (or deletes) one element of a set or map of `ip natf_end`, in one batch on an open socket."""
    parts = nest(1, attr(1, key)) + (nest(2, attr(1, data)) if data else b"") + (b"" if delete else attr(4, struct.pack("!Q", millis)))
    body = attr(1, b"natf_end\0") + attr(2, name.encode() + b"\0") + nest(3, nest(1, parts))
    kind, flags = (14, ACK) if delete else (12, ACK | CREATE)
    link.sock.send(link.message(0, 16, 0, b"", family=0, res=10) + link.message(10, kind, flags, body) + link.message(0, 17, 0, b"", family=0, res=10))
    for kind, _, body in messages(link.sock.recv(4096)):
        error = -struct.unpack_from("=i", body)[0] if kind == 2 else 0
        assert error == 0, f"element: {os.strerror(error)}"


def flow_key(src, proto, sport, dst, dport):
    """The key bytes of `saddr . l4proto . sport . daddr . dport`: every field padded to four."""
    return socket.inet_aton(src) + struct.pack("!B3xH2x", proto, sport) + socket.inet_aton(dst) + struct.pack("!H2x", dport)


def ports(packet):
    """(source, sport, destination, dport) of an IPv4 packet."""
    head = (packet[0] & 15) * 4
    s, d = struct.unpack_from("!HH", packet, head)
    return socket.inet_ntoa(packet[12:16]), s, socket.inet_ntoa(packet[16:20]), d


def queue_rule(lab, name, table, chain, num, bypass=True, family=2):
    """Appends the lone xt target `NFQUEUE num` to a chain: for kernels without the nft `queue` statement."""
    link = Netlink(lab, name)
    info = struct.pack("=HHHxx", num, 1, int(bypass))
    target = attr(1, b"NFQUEUE\0"), be32(2, 3), attr(3, info)
    rule = (attr(1, table.encode() + b"\0"), attr(2, chain.encode() + b"\0"),
            nest(4, nest(1, attr(1, b"target\0"), nest(2, *target))))
    parts = [link.message(0, 16, 0, b"", family=0, res=10), link.message(10, 6, ACK | CREATE | APPEND, b"".join(rule), family=family),
             link.message(0, 17, 0, b"", family=0, res=10)]
    link.sock.send(b"".join(parts))
    for kind, _, body in messages(link.sock.recv(4096)):
        if kind == 2:
            error = -struct.unpack_from("=i", body)[0]
            assert error == 0, f"NFQUEUE rule: {os.strerror(error)}"


def check(what, good, figure=""):
    """Prints one line; a false one ends the experiment."""
    print(f"{'ok  ' if good else 'FAIL'} {what}" + (f": {figure}" if figure != "" else ""), flush=True)
    if not good:
        sys.exit(1)


def now():
    return time.monotonic()
