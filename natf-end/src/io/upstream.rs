//! Asking the upstream DNS servers: one after the other, over UDP or TCP, until one has an answer.
//!
//! Every query leaves from a socket of its own, connected to the server (so that only the server's datagrams
//! come in, and a dead one is noticed at once), from a random port and with a random id (RFC 5452, 9.2).

use std::{
    cell::{Cell, RefCell},
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    rc::Rc,
    time::{Duration, Instant},
};

use domain::base::{Message, iana::OptRcode};
use smol::{
    Async, Timer,
    future::or,
    io::{AsyncReadExt, AsyncWriteExt},
};
use thiserror::Error;

use crate::dns::{Addresses, a_query_for, is_reply_to};

/// A server that says nothing for so long is passed over.
const SERVER_TIMEOUT: Duration = Duration::from_secs(1);
/// How often every server is asked.
const ROUNDS: usize = 2;
/// After so long the client has given up or asks again (the stub resolver of glibc waits 5 s).
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// Servers of the list that are used.
const SERVERS_MAX: usize = 8;
/// Datagrams are taken up to here; the few that are longer are fetched by TCP.
const DATAGRAM_MAX: usize = 4096;

/// The way of a DNS message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram, which may be truncated.
    Udp,
    /// A stream, with a length in front of each message.
    Tcp,
}

/// An upstream's reply, with the id of the query that was handed in.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The message.
    pub bytes: Vec<u8>,
    /// How it came.
    pub over: Transport,
}

/// Why there is no reply.
#[derive(Debug, Error)]
pub enum UpstreamError {
    /// The list is empty.
    #[error("no upstream DNS server is known")]
    NoServers,
    /// None of them answered; the last one failed like this.
    #[error("none of {servers} upstream DNS servers answered, {last} last")]
    Failed {
        /// Servers in the list.
        servers: usize,
        /// The server asked last.
        last: SocketAddr,
        /// What happened there.
        #[source]
        source: io::Error,
    },
    /// A name that cannot be asked for, or that has no address.
    #[error("name {0:?} has no IPv4 address")]
    NoAddress(String),
}

/// The servers, with a memory of which one works.
#[derive(Debug, Default)]
pub struct Upstreams {
    servers: RefCell<Rc<[SocketAddr]>>,
    preferred: Cell<usize>,
}

impl Upstreams {
    /// With this list, first server first.
    pub fn new(servers: &[SocketAddr]) -> Self {
        let upstreams = Self::default();
        upstreams.replace(servers);
        upstreams
    }

    /// Takes another list; queries under way stay with theirs.
    pub fn replace(&self, servers: &[SocketAddr]) {
        let servers: Rc<[_]> = servers.iter().copied().take(SERVERS_MAX).collect();
        if **self.servers.borrow() != *servers {
            self.preferred.set(0);
            *self.servers.borrow_mut() = servers;
        }
    }

    /// The list.
    pub fn servers(&self) -> Rc<[SocketAddr]> {
        self.servers.borrow().clone()
    }

    /// Asks until a server answers. SERVFAIL, REFUSED and NOTIMP count as an answer only if no other server
    /// knows better.
    pub async fn exchange(&self, query: &[u8], over: Transport) -> Result<Answered, UpstreamError> {
        let servers = self.servers();
        let deadline = Instant::now() + QUERY_TIMEOUT;
        let (mut failure, mut helpless) = (None, None);
        let start = self.preferred.get();
        for attempt in 0..servers.len() * ROUNDS {
            let index = (start + attempt) % servers.len();
            let over_once = helpless.is_some() && attempt >= servers.len();
            let Some(server) = servers.get(index).filter(|_| !over_once && Instant::now() < deadline) else {
                break;
            };
            match within(SERVER_TIMEOUT, ask(*server, query, over)).await {
                Ok(bytes) if is_helpless(&bytes) => {
                    helpless.get_or_insert(bytes);
                }
                Ok(bytes) => {
                    self.preferred.set(index);
                    return Ok(Answered { bytes, over });
                }
                Err(error) => failure = Some((*server, error)),
            }
        }
        match (helpless, failure) {
            (Some(bytes), _) => Ok(Answered { bytes, over }),
            (None, Some((last, source))) => {
                Err(UpstreamError::Failed { servers: servers.len(), last, source })
            }
            (None, None) => Err(UpstreamError::NoServers),
        }
    }

    /// Asks over UDP, and over TCP when the answer does not fit a datagram.
    pub async fn exchange_whole(&self, query: &[u8]) -> Result<Answered, UpstreamError> {
        let short = self.exchange(query, Transport::Udp).await?;
        if !is_truncated(&short.bytes) {
            return Ok(short);
        }
        self.exchange(query, Transport::Tcp).await.or(Ok(short))
    }

    /// The addresses of a name now, past all rewriting: to dial a router whose answer is out of date.
    pub async fn addresses_of(&self, name: &str) -> Result<Addresses, UpstreamError> {
        let none = || UpstreamError::NoAddress(name.to_owned());
        let query = a_query_for(name).ok_or_else(none)?;
        let answered = self.exchange_whole(&query).await?;
        let reply = Message::from_slice(&answered.bytes).map_err(|_| none())?;
        Addresses::of(reply).ok().flatten().ok_or_else(none)
    }
}

/// Ends `work` with an error after `limit`.
pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    or(work, async {
        Timer::after(limit).await;
        Err(io::ErrorKind::TimedOut.into())
    })
    .await
}

async fn ask(server: SocketAddr, query: &[u8], over: Transport) -> io::Result<Vec<u8>> {
    let asked = with_id(query, random_id()?);
    let mut reply = match over {
        Transport::Udp => ask_udp(server, &asked).await?,
        Transport::Tcp => ask_tcp(server, &asked).await?,
    };
    if let (Some(to), Some(from)) = (reply.get_mut(..2), query.get(..2)) {
        to.copy_from_slice(from);
    }
    Ok(reply)
}

async fn ask_udp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = Async::<UdpSocket>::bind((any, 0))?;
    socket.get_ref().connect(server)?;
    socket.send(query).await?;
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let reply = buffer.get(..length).unwrap_or_default();
        if !is_reply_to(query, reply) {
            continue;
        }
        if length == DATAGRAM_MAX {
            return ask_tcp(server, query).await;
        }
        buffer.truncate(length);
        return Ok(buffer);
    }
}

async fn ask_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = Async::<TcpStream>::connect(server).await?;
    write_message(&mut stream, query).await?;
    let reply = read_message(&mut stream).await?;
    if is_reply_to(query, &reply) { Ok(reply) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Reads one message with its length in front (RFC 1035, 4.2.2).
pub(super) async fn read_message(stream: &mut Async<TcpStream>) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes one message with its length in front, in one segment (RFC 7766, 8).
pub(super) async fn write_message(stream: &mut Async<TcpStream>, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(message);
    stream.write_all(&bytes).await
}

fn random_id() -> io::Result<[u8; 2]> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(id)
}

fn with_id(query: &[u8], id: [u8; 2]) -> Vec<u8> {
    let mut query = query.to_vec();
    if let Some(place) = query.get_mut(..2) {
        place.copy_from_slice(&id);
    }
    query
}

fn is_truncated(reply: &[u8]) -> bool {
    Message::from_slice(reply).is_ok_and(|reply| reply.header().tc())
}

/// Whether another server may know better.
fn is_helpless(reply: &[u8]) -> bool {
    let helpless = [OptRcode::SERVFAIL, OptRcode::REFUSED, OptRcode::NOTIMP];
    Message::from_slice(reply).is_ok_and(|reply| helpless.contains(&reply.opt_rcode()))
}
