//! One side of a stream: sends as fast as the path takes it, or takes what comes and counts it.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    os::fd::AsFd as _,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt::{set_socket_linger, set_socket_recv_buffer_size_force},
};

/// The share of a slice after which what arrives is counted: connections have found their pace by then.
const WARM_UP: f64 = 0.25;
/// Deep enough for what comes while the receiver's processor does something else.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Nothing more comes where nothing came for so long.
const QUIET: Duration = Duration::from_millis(4);
/// How long the receiver of datagrams sleeps when it has taken all: a receiver that waits in the kernel is woken by the
/// sender, and waking another processor of a virtual machine costs the sender more than the packet.
const NAP: Duration = Duration::from_micros(50);
const LONGEST_READ: usize = 256 << 10;

/// What both sides know of the running slice.
#[derive(Default)]
pub struct Gauge {
    arrived: AtomicU64,
    over: AtomicBool,
}

impl Gauge {
    /// Before a slice.
    pub fn reset(&self) {
        self.arrived.store(0, Ordering::SeqCst);
        self.over.store(false, Ordering::SeqCst);
    }

    /// Bytes that have arrived.
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::SeqCst)
    }
}

/// What the sender saw.
pub struct Sent {
    /// Bits that arrived in a second, after the warm-up.
    pub bits_per_s: f64,
    /// All messages that were sent.
    pub messages: u64,
}

/// The sockets of one side.
#[derive(Default)]
pub struct Pipe {
    sockets: Vec<Socket>,
}

enum Socket {
    Tcp(TcpStream),
    Udp(UdpSocket),
    /// One socket for all its peers.
    Shared(UdpSocket, Vec<SocketAddr>),
}

impl Pipe {
    pub fn add_tcp(&mut self, socket: TcpStream) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        // What is still queued when the slice is over is of no interest.
        set_socket_linger(&socket, Some(Duration::ZERO))?;
        self.sockets.push(Socket::Tcp(socket));
        Ok(())
    }

    pub fn add_udp(&mut self, socket: UdpSocket) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)?;
        self.sockets.push(Socket::Udp(socket));
        Ok(())
    }

    pub fn add_shared(&mut self, socket: UdpSocket, peers: Vec<SocketAddr>) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)?;
        self.sockets.push(Socket::Shared(socket, peers));
        Ok(())
    }

    fn is_tcp(&self) -> bool {
        matches!(self.sockets.first(), Some(Socket::Tcp(_)))
    }

    fn wait(&self, what: PollFlags, at_most: Duration) -> io::Result<()> {
        let mut all: Vec<PollFd<'_>> =
            self.sockets.iter().map(|socket| PollFd::from_borrowed_fd(socket.fd(), what)).collect();
        poll(&mut all, Some(&Timespec::try_from(at_most).map_err(io::Error::other)?))?;
        Ok(())
    }
}

impl Socket {
    fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Udp(socket) | Self::Shared(socket, _) => socket.as_fd(),
        }
    }

    /// Sends one message, or one to each peer; how many were taken.
    fn send(&mut self, message: &[u8]) -> io::Result<u64> {
        match self {
            Self::Tcp(socket) => taken(socket.write(message)),
            Self::Udp(socket) => taken(socket.send(message)),
            Self::Shared(socket, peers) => {
                let mut sum = 0;
                for peer in peers {
                    sum += taken(socket.send_to(message, *peer))?;
                }
                Ok(sum)
            }
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(buffer),
            Self::Udp(socket) | Self::Shared(socket, _) => socket.recv(buffer),
        }
    }
}

/// One message if it was taken, none if there is no room or somebody on the way refused the one before.
fn taken(result: io::Result<usize>) -> io::Result<u64> {
    match result {
        Ok(_) => Ok(1),
        Err(error) if is_passing(&error) => Ok(0),
        Err(error) => Err(error),
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused | ErrorKind::Interrupted)
        || error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error())
}

/// Sends messages of that size for the time of a slice.
pub fn send(pipe: &mut Pipe, size: usize, slice: Duration, gauge: &Gauge) -> io::Result<Sent> {
    let message = vec![0x5a; size];
    let start = Instant::now();
    let mut counted_from = None;
    let mut messages = 0;
    loop {
        let mut sent = 0;
        for socket in &mut pipe.sockets {
            sent += socket.send(&message)?;
        }
        messages += sent;
        if sent == 0 {
            pipe.wait(PollFlags::OUT, QUIET)?;
        }
        let now = Instant::now();
        // Counted from the end of the warm-up, so that a thread that was not run meanwhile still has its time.
        let Some((from, before)) = counted_from else {
            counted_from = (now - start >= slice.mul_f64(WARM_UP)).then(|| (now, gauge.arrived()));
            continue;
        };
        if now - from >= slice.mul_f64(1.0 - WARM_UP) {
            // Within a slice, far below the 2^32 that such a number holds exactly.
            let arrived = f64::from(u32::try_from(gauge.arrived() - before).unwrap_or(u32::MAX));
            gauge.over.store(true, Ordering::SeqCst);
            return Ok(Sent { bits_per_s: 8.0 * arrived / (now - from).as_secs_f64(), messages });
        }
    }
}

/// Takes what comes until the slice is over and nothing more comes.
pub fn receive(pipe: &mut Pipe, gauge: &Gauge) -> io::Result<()> {
    let mut buffer = vec![0; LONGEST_READ];
    let mut last = Instant::now();
    let is_tcp = pipe.is_tcp();
    loop {
        let mut bytes = 0;
        for socket in &mut pipe.sockets {
            bytes += take(socket, &mut buffer, gauge)?;
        }
        if bytes > 0 {
            last = Instant::now();
        } else if gauge.over.load(Ordering::SeqCst) && last.elapsed() >= QUIET {
            return Ok(());
        } else if is_tcp {
            pipe.wait(PollFlags::IN, QUIET)?;
        } else {
            thread::sleep(NAP);
        }
    }
}

/// Bytes that a socket has for us, but not more than some dozens of reads at once.
fn take(socket: &mut Socket, buffer: &mut [u8], gauge: &Gauge) -> io::Result<usize> {
    let mut bytes = 0;
    for _ in 0..64 {
        match socket.receive(buffer) {
            Ok(0) => break,
            Ok(length) => {
                bytes += length;
                gauge.arrived.fetch_add(u64::try_from(length).unwrap_or(0), Ordering::SeqCst);
            }
            Err(error) if is_passing(&error) || error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}
