//! Streams from one network namespace to another and back, by several ways in turn, in slices of some milliseconds.
//!
//! One process has a thread on each side, each on a processor of its own, so that a slice needs neither programs to
//! start nor a connection to control it. Between two slices of other ways stands one of the first: the machine's speed
//! changes within seconds, but hardly from one slice to its neighbour. Each slice has new sockets, hence new flows.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    error::Error,
    fs::{self, File},
    io,
    net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::thread::{CpuSet, LinkNameSpaceType, move_into_link_name_space, sched_setaffinity};
use serde_json::json;

use crate::{
    Outcome,
    pump::{self, Gauge, Pipe},
};

const PATIENCE: Duration = Duration::from_secs(5);
/// A datagram of the greeting may be lost behind what a flood left.
const GREETING: Duration = Duration::from_millis(200);
/// Between the first datagram and the stream: what it costs to start is measured elsewhere, and natf-endd keeps the order
/// of a flow's first datagrams until the flow has paused for some milliseconds.
const BREATH: Duration = Duration::from_millis(10);
/// Nobody is done with the last slice before processor time stands still for so long.
const STILL: Duration = Duration::from_millis(3);
const LONGEST_SETTLING: Duration = Duration::from_millis(500);

/// What to send, and how often.
pub struct Settings {
    namespace: String,
    udp: bool,
    inwards: bool,
    size: usize,
    streams: usize,
    rounds: u32,
    slice: Duration,
    /// Other processes that carry the data.
    carriers: Vec<u32>,
    ways: Vec<Way>,
}

/// One way: the namespace that it begins in, where it connects to, and which address of the other side that is.
struct Way {
    name: String,
    from: String,
    to: SocketAddrV4,
    at: SocketAddrV4,
}

impl Settings {
    /// `NAMESPACE tcp|udp out|in SIZE STREAMS ROUNDS SLICE-MS PIDS WAY=NAMESPACE,ADDRESS:PORT,ADDRESS:PORT...`
    pub fn parse(words: &[&str]) -> Option<Self> {
        let [namespace, protocol, direction, size, streams, rounds, slice, carriers, ways @ ..] = words
        else {
            return None;
        };
        Some(Self {
            namespace: (*namespace).to_owned(),
            udp: *protocol == "udp",
            inwards: *direction == "in",
            size: size.parse().ok()?,
            streams: streams.parse().ok()?,
            rounds: rounds.parse().ok()?,
            slice: Duration::from_millis(slice.parse().ok()?),
            carriers: carriers.split(',').filter_map(|pid| pid.parse().ok()).collect(),
            ways: ways
                .iter()
                .map(|way| Way::parse(way))
                .collect::<Option<_>>()
                .filter(|all: &Vec<_>| !all.is_empty())?,
        })
    }
}

impl Way {
    fn parse(text: &str) -> Option<Self> {
        let (name, path) = text.split_once('=')?;
        let [from, to, at] = *path.split(',').collect::<Vec<_>>() else { return None };
        Some(Self {
            name: name.to_owned(),
            from: from.to_owned(),
            to: to.parse().ok()?,
            at: at.parse().ok()?,
        })
    }
}

/// All slices; prints a line for each.
pub fn run(settings: Settings) -> Outcome {
    let settings = Arc::new(settings);
    let gauge = Arc::new(Gauge::default());
    pin(0)?;
    let (orders, taken) = mpsc::channel();
    let (say, answers) = mpsc::channel();
    let other = Other { settings: settings.clone(), gauge: gauge.clone() };
    thread::spawn(move || {
        if let Err(error) = other.serve(&taken, &say) {
            // The other end of the channel finds out by itself.
            eprintln!("natf-bench: the other side: {error}");
        }
    });
    answers.recv()?;
    let here = Here { settings: &settings, gauge: &gauge, orders, answers };
    let (first, others) = settings.ways.split_first().ok_or("no way")?;
    for _ in 0..settings.rounds {
        for way in others {
            here.slice(first)?;
            here.slice(way)?;
        }
        if others.is_empty() {
            here.slice(first)?;
        }
    }
    here.slice(first)
}

/// This side: begins the slices and says what came of them.
struct Here<'a> {
    settings: &'a Settings,
    gauge: &'a Gauge,
    orders: mpsc::Sender<usize>,
    answers: mpsc::Receiver<Option<pump::Sent>>,
}

impl Here<'_> {
    fn slice(&self, way: &Way) -> Outcome {
        let settings = self.settings;
        let number = settings.ways.iter().position(|one| one.name == way.name).ok_or("unknown way")?;
        self.gauge.reset();
        settle(&settings.carriers)?;
        self.orders.send(number)?;
        enter(&way.from)?;
        let mut pipe = self.open(way)?;
        thread::sleep(BREATH);
        let before = processor_time(&settings.carriers)?;
        self.orders.send(number)?;
        let sent = if settings.inwards {
            pump::receive(&mut pipe, self.gauge)?;
            self.answers.recv_timeout(PATIENCE)?
        } else {
            let sent = pump::send(&mut pipe, settings.size, settings.slice, self.gauge)?;
            self.answers.recv_timeout(PATIENCE)?;
            Some(sent)
        };
        drop(pipe);
        let sent = sent.ok_or("nobody sent")?;
        let used = settle(&settings.carriers)?.saturating_sub(before);
        let arrived = self.gauge.arrived();
        println!(
            "{}",
            json!({"way": way.name, "mbit": sent.bits_per_s / 1e6,
                   "arrived": arrived, "messages": sent.messages, "cpu_ns": used.as_nanos()})
        );
        Ok(())
    }

    /// Sockets that the other side has.
    fn open(&self, way: &Way) -> Result<Pipe, Box<dyn Error>> {
        let mut pipe = Pipe::default();
        for _ in 0..self.settings.streams {
            if self.settings.udp {
                pipe.add_udp(greet(way)?)?;
            } else {
                pipe.add_tcp(TcpStream::connect_timeout(&way.to.into(), PATIENCE)?)?;
            }
        }
        // The other side begins when it has all of them.
        self.answers.recv_timeout(PATIENCE)?;
        Ok(pipe)
    }
}

/// A socket whose first datagram was answered.
fn greet(way: &Way) -> Result<UdpSocket, Box<dyn Error>> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(way.to)?;
    socket.set_read_timeout(Some(GREETING))?;
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        // What is refused or lost is tried again.
        if socket.send(b"?").is_ok() && socket.recv(&mut [0]).is_ok() {
            return Ok(socket);
        }
    }
    Err(format!("{}: {} does not answer", way.name, way.to).into())
}

/// The other side: does its part of each slice that is ordered.
struct Other {
    settings: Arc<Settings>,
    gauge: Arc<Gauge>,
}

impl Other {
    fn serve(&self, orders: &mpsc::Receiver<usize>, say: &mpsc::Sender<Option<pump::Sent>>) -> Outcome {
        pin(1)?;
        enter(&self.settings.namespace)?;
        let mut doors = BTreeMap::new();
        for way in &self.settings.ways {
            // Several ways may lead to the same one.
            if let Entry::Vacant(free) = doors.entry(way.at) {
                free.insert(self.door(way)?);
            }
        }
        say.send(None)?;
        while let Ok(number) = orders.recv() {
            let way = self.settings.ways.get(number).ok_or("no such way")?;
            let door = doors.get(&way.at).ok_or("no such door")?;
            let mut pipe = door.take(self.settings.streams)?;
            say.send(None)?;
            orders.recv()?;
            if self.settings.inwards {
                let sent = pump::send(&mut pipe, self.settings.size, self.settings.slice, &self.gauge)?;
                say.send(Some(sent))?;
            } else {
                pump::receive(&mut pipe, &self.gauge)?;
                say.send(None)?;
            }
        }
        Ok(())
    }

    fn door(&self, way: &Way) -> io::Result<Door> {
        if self.settings.udp {
            UdpSocket::bind(way.at).map(Door::Udp)
        } else {
            TcpListener::bind(way.at).map(Door::Tcp)
        }
    }
}

/// Where a way arrives.
enum Door {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Door {
    /// Takes so many streams in.
    fn take(&self, streams: usize) -> Result<Pipe, Box<dyn Error>> {
        let mut pipe = Pipe::default();
        match self {
            Self::Tcp(listener) => {
                for _ in 0..streams {
                    pipe.add_tcp(listener.accept()?.0)?;
                }
            }
            Self::Udp(socket) => {
                let mut peers = Vec::new();
                socket.set_nonblocking(false)?;
                while peers.len() < streams {
                    let (length, from) = socket.recv_from(&mut [0; 2])?;
                    if length != 1 {
                        continue;
                    }
                    socket.send_to(b"!", from)?;
                    if !peers.contains(&from) {
                        peers.push(from);
                    }
                }
                pipe.add_shared(socket.try_clone()?, peers)?;
            }
        }
        Ok(pipe)
    }
}

/// Takes this thread into a network namespace; its sockets stay in the one in which they were opened.
fn enter(namespace: &str) -> io::Result<()> {
    let namespace = File::open(format!("/run/netns/{namespace}"))?;
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// Puts this thread on a processor, where there is such a one.
fn pin(cpu: usize) -> io::Result<()> {
    let count = thread::available_parallelism().map_or(1, usize::from);
    let mut set = CpuSet::new();
    set.set(cpu % count.max(1));
    Ok(sched_setaffinity(None, &set)?)
}

/// Waits until nobody works any more; the processor time of this process and of the carriers.
fn settle(carriers: &[u32]) -> Result<Duration, Box<dyn Error>> {
    let end = Instant::now() + LONGEST_SETTLING;
    let mut last = processor_time(carriers)?;
    loop {
        thread::sleep(STILL);
        let now = processor_time(carriers)?;
        if now.saturating_sub(last) < STILL / 10 || Instant::now() > end {
            return Ok(now);
        }
        last = now;
    }
}

/// Of all threads of these processes and of this one, as the scheduler counts it.
fn processor_time(carriers: &[u32]) -> Result<Duration, Box<dyn Error>> {
    let mut sum = 0;
    for pid in carriers.iter().map(u32::to_string).chain(["self".to_owned()]) {
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread that has ended in between counts no more.
            let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            sum += text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Ok(Duration::from_nanos(sum))
}
