//! Asking the upstream servers: over UDP, over TCP where a datagram does not do, the next one beside the one that is
//! slow, until there is an answer or the time is over.
//!
//! Every query leaves from a socket of its own, connected to the server (so that only the server's datagrams come in,
//! and a dead one is noticed at once), from a random port, with a random id and letters of random case (RFC 5452, 9.2).

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    pin::Pin,
    task::Poll,
    time::{Duration, Instant},
};

use natf_proto::Random;
use smol::{
    Async, Timer,
    future::or,
    io::{AsyncReadExt as _, AsyncWriteExt as _},
};

use crate::core::{
    answer::Answer,
    asking::{Asking, Manner},
    counters::Counters,
    question::Key,
    received::{Lifetimes, Received, judge},
    reply::{UDP_SIZE, extended},
    upstreams::Upstreams,
};

/// All asking ends within this time: a client's patience is 5 s (glibc), and something has to be left of it.
pub const TIME_MAX: Duration = Duration::from_millis(3_500);
/// How often every server is asked.
const ROUNDS: usize = 3;
/// Attempts at the same time.
const ATTEMPTS_MAX: usize = 3;
/// Datagrams that are not the reply, after which a server is asked by TCP: somebody guesses.
const FOREIGN_MAX: usize = 64;
/// Ways of asking one server: without random case, without EDNS.
const MANNERS_MAX: usize = 3;

/// What one server said.
enum Said {
    Answer(Answer),
    /// It cannot help, with the extended error that came along.
    Helpless(Option<u16>),
    Failed(io::Error),
}

/// The servers and what is needed to ask them.
pub struct Resolver {
    /// What is known of the servers.
    pub upstreams: RefCell<Upstreams>,
    random: RefCell<Box<dyn Random>>,
    /// Where all datagrams are received: it is used only between two waits.
    buffer: RefCell<Box<[u8]>>,
}

impl Resolver {
    /// For these servers.
    pub fn new(servers: &[SocketAddr], random: Box<dyn Random>) -> Self {
        let buffer = vec![0; usize::from(UDP_SIZE) + 1].into();
        Self {
            upstreams: RefCell::new(Upstreams::new(servers)),
            random: RefCell::new(random),
            buffer: RefCell::new(buffer),
        }
    }

    /// The answer to a question, within [`TIME_MAX`].
    ///
    /// # Errors
    /// The extended error that says why there is none.
    pub async fn resolve(&self, key: &Key, lifetimes: Lifetimes, counters: &Counters) -> Result<Answer, u16> {
        let order = self.upstreams.borrow().order(Instant::now());
        let mut left = order.iter().cycle().take(order.len() * ROUNDS).copied();
        let mut resolving = Resolving {
            resolver: self,
            key,
            counters,
            deadline: Instant::now() + TIME_MAX,
            error: extended::NETWORK_ERROR,
            over: Vec::new(),
        };
        // Dropped attempts end.
        let mut attempts = Attempts::new();
        loop {
            let next = left.by_ref().find(|server| !resolving.over.contains(server));
            if let Some(server) = next {
                let attempt = Attempt { resolver: self, counters, key, lifetimes, server };
                attempts.push(Box::pin(async move { (server, attempt.ask().await) }));
                if attempts.len() > ATTEMPTS_MAX {
                    drop(attempts.remove(0));
                }
            } else if attempts.is_empty() {
                return Err(resolving.error);
            }
            match within_until(resolving.patience(next), first(&mut attempts)).await {
                Some((server, said)) => {
                    if let Some(answer) = resolving.handle(server, said) {
                        return Ok(answer);
                    }
                }
                None if Instant::now() >= resolving.deadline => return Err(resolving.late(next)),
                None => resolving.error = resolving.late(next),
            }
        }
    }
}

type Attempts<'a> = Vec<Pin<Box<dyn Future<Output = (SocketAddr, Said)> + 'a>>>;

/// What the first of several attempts leads to; it is removed from them.
async fn first(attempts: &mut Attempts<'_>) -> (SocketAddr, Said) {
    poll_fn(|context| {
        for (index, attempt) in attempts.iter_mut().enumerate() {
            if let Poll::Ready(result) = attempt.as_mut().poll(context) {
                drop(attempts.swap_remove(index));
                return Poll::Ready(result);
            }
        }
        Poll::Pending
    })
    .await
}

/// One question, while servers are asked.
struct Resolving<'a> {
    resolver: &'a Resolver,
    key: &'a Key,
    counters: &'a Counters,
    deadline: Instant,
    /// What is told if nobody answers.
    error: u16,
    /// Servers that are not asked again.
    over: Vec<SocketAddr>,
}

impl Resolving<'_> {
    /// Until when to wait before another server is asked beside.
    fn patience(&self, server: Option<SocketAddr>) -> Instant {
        let upstreams = self.resolver.upstreams.borrow();
        let patience = server.and_then(|server| upstreams.find(server)).map(|server| server.patience());
        patience.map_or(self.deadline, |patience| self.deadline.min(Instant::now() + patience))
    }

    /// A server that was asked did not answer in time.
    fn late(&self, server: Option<SocketAddr>) -> u16 {
        if let Some(server) = server {
            self.counters.upstream_timeouts.up();
            self.resolver.upstreams.borrow_mut().handle_failure(server, Instant::now());
        }
        extended::NO_REACHABLE_AUTHORITY
    }

    fn handle(&mut self, server: SocketAddr, said: Said) -> Option<Answer> {
        let question = || format!("{:?} {}", self.key, self.key.qtype());
        match said {
            Said::Answer(answer) => return Some(answer),
            Said::Helpless(error) => {
                log::debug!("{server} cannot help with {}", question());
                self.error = error.unwrap_or(extended::NO_REACHABLE_AUTHORITY);
                self.resolver.upstreams.borrow_mut().handle_helpless(server, Instant::now());
            }
            Said::Failed(error) => {
                log::debug!("{server} does not answer {}: {error}", question());
                self.resolver.upstreams.borrow_mut().handle_failure(server, Instant::now());
            }
        }
        self.over.push(server);
        None
    }
}

/// One server, while it is asked.
struct Attempt<'a> {
    resolver: &'a Resolver,
    counters: &'a Counters,
    key: &'a Key,
    lifetimes: Lifetimes,
    server: SocketAddr,
}

impl Attempt<'_> {
    /// Asks in the manner that the server is known to understand, and finds another if it does not.
    async fn ask(self) -> Said {
        let start = Instant::now();
        let known = self.manner();
        let (mut manner, mut by_tcp) = (known, false);
        for _ in 0..MANNERS_MAX {
            let asking = Asking::new(self.key, manner, &mut **self.resolver.random.borrow_mut());
            self.counters.upstream_sent.up();
            let received = match by_tcp {
                false => match self.ask_udp(&asking).await {
                    Ok(Received::Truncated | Received::OtherCase) => {
                        self.counters.upstream_tcp.up();
                        by_tcp = true;
                        self.ask_tcp(&asking).await
                    }
                    received => received,
                },
                true => self.ask_tcp(&asking).await,
            };
            match received {
                Ok(Received::Answer(answer, strange)) => {
                    if manner != known {
                        self.set_manner(manner);
                    }
                    self.counters.upstream_strange_records.add(strange);
                    self.resolver.upstreams.borrow_mut().handle_answer(self.server, start.elapsed());
                    return Said::Answer(*answer);
                }
                Ok(Received::Helpless(_, error)) => return Said::Helpless(error),
                // Over TCP nobody can have guessed: it changes letters.
                Ok(Received::OtherCase) => manner.random_case = false,
                // Of the server or of this question only: an answer without EDNS tells.
                Ok(Received::NoEdns) => manner.edns = false,
                Ok(Received::Truncated | Received::Malformed | Received::Foreign) => {
                    self.counters.upstream_malformed.up();
                    return Said::Failed(io::ErrorKind::InvalidData.into());
                }
                Err(error) => return Said::Failed(error),
            }
        }
        Said::Helpless(None)
    }

    fn manner(&self) -> Manner {
        self.resolver.upstreams.borrow().manner(self.server, Instant::now())
    }

    fn set_manner(&self, manner: Manner) {
        log::debug!("{} is asked differently for a while: {manner:?}", self.server);
        self.resolver.upstreams.borrow_mut().handle_manner(self.server, manner, Instant::now());
    }

    async fn ask_udp(&self, asking: &Asking) -> io::Result<Received> {
        let any: IpAddr =
            if self.server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = Async::<UdpSocket>::bind((any, 0))?;
        socket.get_ref().connect(self.server)?;
        socket.send(asking.as_slice()).await?;
        for _ in 0..FOREIGN_MAX {
            // Nothing is awaited while the shared buffer is in use.
            socket.readable().await?;
            let mut buffer = self.resolver.buffer.borrow_mut();
            let length = match socket.get_ref().recv(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                received => received?,
            };
            let reply = buffer.get(..length).unwrap_or_default();
            match judge(asking, self.key, reply, self.lifetimes) {
                Received::Foreign => self.counters.upstream_foreign.up(),
                Received::OtherCase => {
                    self.counters.upstream_case.up();
                    return Ok(Received::OtherCase);
                }
                // Longer than was asked for: cut.
                Received::Malformed if length > usize::from(UDP_SIZE) => return Ok(Received::Truncated),
                received => return Ok(received),
            }
        }
        Ok(Received::OtherCase)
    }

    async fn ask_tcp(&self, asking: &Asking) -> io::Result<Received> {
        let mut stream = Async::<TcpStream>::connect(self.server).await?;
        let query = asking.as_slice();
        let length = u16::try_from(query.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        // In one segment (RFC 7766, 8).
        stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
        let mut length = [0; 2];
        stream.read_exact(&mut length).await?;
        let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut reply).await?;
        Ok(judge(asking, self.key, &reply, self.lifetimes))
    }
}

/// Ends `work` when the time is over.
pub async fn within_until<T>(until: Instant, work: impl Future<Output = T>) -> Option<T> {
    or(async { Some(work.await) }, async {
        Timer::at(until).await;
        None
    })
    .await
}
