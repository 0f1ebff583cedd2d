//! Asking the upstream servers: over UDP, over TCP where a datagram does not do, the next one beside the one that is
//! slow, until there is an answer or the time is over.
//!
//! Every query leaves from a socket of its own, connected to the server (so that only the server's datagrams come in,
//! and a dead one is noticed at once), from a random port, with a random id and letters of random case (RFC 5452, 9.2).

use std::{
    cell::RefCell,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    rc::Rc,
    time::{Duration, Instant},
};

use natf_proto::Random;
use smol::{
    Async, LocalExecutor, Timer,
    channel::{self, Receiver},
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
}

/// One question on its way.
struct Attempt {
    resolver: Rc<Resolver>,
    counters: Rc<Counters>,
    key: Key,
    lifetimes: Lifetimes,
    server: SocketAddr,
}

impl Resolver {
    /// For these servers.
    pub fn new(servers: &[SocketAddr], random: Box<dyn Random>) -> Self {
        Self { upstreams: RefCell::new(Upstreams::new(servers)), random: RefCell::new(random) }
    }

    /// The answer, or the extended error that says why there is none, within [`TIME_MAX`].
    ///
    /// # Errors
    /// The extended error.
    pub async fn resolve(
        self: Rc<Self>,
        key: Key,
        lifetimes: Lifetimes,
        counters: Rc<Counters>,
    ) -> Result<Answer, u16> {
        let asking = Resolving { resolver: self, key, lifetimes, counters, error: extended::NETWORK_ERROR };
        let executor = LocalExecutor::new();
        executor.run(asking.run(&executor)).await
    }
}

struct Resolving {
    resolver: Rc<Resolver>,
    key: Key,
    lifetimes: Lifetimes,
    counters: Rc<Counters>,
    /// What is told if nobody answers.
    error: u16,
}

impl Resolving {
    async fn run(mut self, executor: &LocalExecutor<'static>) -> Result<Answer, u16> {
        let deadline = Instant::now() + TIME_MAX;
        let order = self.resolver.upstreams.borrow().order(Instant::now());
        let mut left = order.iter().cycle().take(order.len() * ROUNDS).copied();
        let mut helpless: Vec<SocketAddr> = Vec::new();
        let (sender, results) = channel::unbounded();
        // Dropped attempts end.
        let mut attempts = std::collections::VecDeque::new();
        let mut running = 0_usize;
        loop {
            let next = left.by_ref().find(|server| !helpless.contains(server));
            if let Some(server) = next {
                let (attempt, sender) = (self.attempt(server), sender.clone());
                attempts.push_back(executor.spawn(async move {
                    let said = attempt.ask().await;
                    let _gone = sender.try_send((server, said));
                }));
                running += 1;
                if attempts.len() > ATTEMPTS_MAX && attempts.pop_front().is_some_and(|old| !old.is_finished())
                {
                    running -= 1;
                }
            } else if running == 0 {
                return Err(self.error);
            }
            let until = match next {
                Some(server) => deadline.min(Instant::now() + self.patience(server)),
                None => deadline,
            };
            match wait(&results, until).await {
                Some((server, said)) => {
                    running = running.saturating_sub(1);
                    match self.judge(server, said) {
                        Some(answer) => return Ok(answer),
                        None => helpless.push(server),
                    }
                }
                None if Instant::now() >= deadline => return Err(self.error),
                None => {
                    if let Some(server) = next {
                        self.counters.upstream_timeouts.up();
                        self.resolver.upstreams.borrow_mut().handle_failure(server, Instant::now());
                        self.error = extended::NO_REACHABLE_AUTHORITY;
                    }
                }
            }
        }
    }

    fn patience(&self, server: SocketAddr) -> Duration {
        let upstreams = self.resolver.upstreams.borrow();
        upstreams.find(server).map_or(Duration::ZERO, |server| server.patience())
    }

    fn attempt(&self, server: SocketAddr) -> Attempt {
        Attempt {
            resolver: self.resolver.clone(),
            counters: self.counters.clone(),
            key: self.key,
            lifetimes: self.lifetimes,
            server,
        }
    }

    fn judge(&mut self, server: SocketAddr, said: Said) -> Option<Answer> {
        let failed = |resolver: &Resolver| {
            resolver.upstreams.borrow_mut().handle_failure(server, Instant::now());
        };
        match said {
            Said::Answer(answer) => return Some(answer),
            Said::Helpless(error) => {
                log::debug!("{server} cannot help with {:?} {}", self.key, self.key.qtype());
                self.error = error.unwrap_or(extended::NO_REACHABLE_AUTHORITY);
            }
            Said::Failed(error) => {
                log::debug!("{server} does not answer {:?} {}: {error}", self.key, self.key.qtype());
                failed(&self.resolver);
            }
        }
        None
    }
}

/// The next result, if it comes in time.
async fn wait<T>(results: &Receiver<T>, until: Instant) -> Option<T> {
    or(async { results.recv().await.ok() }, async {
        Timer::at(until).await;
        None
    })
    .await
}

impl Attempt {
    /// Asks in the manner that the server is known to understand, and finds another if it does not.
    async fn ask(self) -> Said {
        let start = Instant::now();
        let mut by_tcp = false;
        for _ in 0..MANNERS_MAX {
            let manner = self.manner();
            let asking = Asking::new(&self.key, manner, &mut **self.resolver.random.borrow_mut());
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
                    self.counters.upstream_strange_records.add(strange);
                    self.resolver.upstreams.borrow_mut().handle_answer(self.server, start.elapsed());
                    return Said::Answer(*answer);
                }
                Ok(Received::Helpless(_, error)) => return Said::Helpless(error),
                // Over TCP nobody can have guessed: it changes letters.
                Ok(Received::OtherCase) => self.set_manner(Manner { random_case: false, ..manner }),
                Ok(Received::NoEdns) => self.set_manner(Manner { edns: false, ..manner }),
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
        let upstreams = self.resolver.upstreams.borrow();
        upstreams.find(self.server).map_or(Manner { random_case: true, edns: true }, |server| server.manner)
    }

    fn set_manner(&self, manner: Manner) {
        log::debug!("{} is asked differently from now on: {manner:?}", self.server);
        self.resolver.upstreams.borrow_mut().handle_manner(self.server, manner);
    }

    async fn ask_udp(&self, asking: &Asking) -> io::Result<Received> {
        let any: IpAddr =
            if self.server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = Async::<UdpSocket>::bind((any, 0))?;
        socket.get_ref().connect(self.server)?;
        socket.send(asking.as_slice()).await?;
        let mut buffer = vec![0; usize::from(UDP_SIZE) + 1];
        for _ in 0..FOREIGN_MAX {
            let length = socket.recv(&mut buffer).await?;
            let reply = buffer.get(..length).unwrap_or_default();
            match judge(asking, &self.key, reply, self.lifetimes) {
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
        Ok(judge(asking, &self.key, &reply, self.lifetimes))
    }
}

/// Ends `work` when the time is over.
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    or(async { Some(work.await) }, async {
        Timer::after(limit).await;
        None
    })
    .await
}
