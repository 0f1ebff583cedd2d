//! The DNS proxy: takes the queries of this host (N12: and of its LAN's resolver), asks the upstream servers and
//! hands their answers on, those of private host names rewritten (N2).
//!
//! ```text
//!   application ─▶ UDP/TCP 127.0.0.153:53 ─▶ plan ─▶ Upstreams ─▶ settle ─▶ application
//! ```
//!
//! What is not ours passes unchanged (RFC 5625). Queries under way, connections and their time are bounded, and
//! only clients of the allowed networks are heard.

mod counters;

use std::{
    cell::{Cell, RefCell},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    rc::Rc,
    time::{Duration, Instant},
};

use domain::base::iana::Rcode;
use log::{debug, trace, warn};
use smol::{
    Async, LocalExecutor, Timer,
    future::{or, zip},
};

use self::counters::Counters;
use super::upstream::{Answered, Transport, UpstreamError, Upstreams, read_message, within, write_message};
use crate::dns::{
    Names, Plan, Question, Settled, Unreadable, a_query, failure_of, format_error, plan, reverse_reply,
    server_failure, settle, truncated,
};

/// A reply that had to be fetched by TCP goes out in a datagram only up to here (DNS flag day 2020).
const DATAGRAM_SAFE: usize = 1232;
/// A client has so long to send the rest of a message, or to take ours.
const STREAM_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause after a failing socket call, so that a lasting failure does not take the processor.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// How a proxy is set up.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    /// Address and port to listen at, UDP and TCP; not a wildcard address.
    pub listen: SocketAddr,
    /// Networks whose queries are heard: address and prefix length.
    pub allowed: Vec<(IpAddr, u8)>,
    /// Queries under way at once; more are dropped.
    pub queries: usize,
    /// TCP connections at once; more are closed.
    pub connections: usize,
    /// A connection without a query is closed after this time.
    pub idle: Duration,
}

impl ProxySettings {
    /// For the programs of this host only.
    pub fn local(listen: SocketAddr) -> Self {
        let allowed = vec![(Ipv4Addr::new(127, 0, 0, 0).into(), 8), (Ipv6Addr::LOCALHOST.into(), 128)];
        Self { listen, allowed, queries: 512, connections: 32, idle: Duration::from_secs(10) }
    }

    fn allows(&self, client: IpAddr) -> bool {
        self.allowed.iter().any(|(network, length)| is_in(client, *network, *length))
    }
}

/// The proxy, bound to its sockets.
pub struct DnsProxy {
    settings: ProxySettings,
    names: Rc<RefCell<dyn Names>>,
    upstreams: Rc<Upstreams>,
    udp: Async<UdpSocket>,
    tcp: Async<TcpListener>,
    counters: Counters,
    queries: Cell<usize>,
    connections: Cell<usize>,
    bogus_told: Cell<bool>,
}

impl DnsProxy {
    /// Binds the sockets. With port 0 the kernel chooses one, see [`Self::address`].
    pub fn bind(
        settings: ProxySettings,
        names: Rc<RefCell<dyn Names>>,
        upstreams: Rc<Upstreams>,
    ) -> io::Result<Self> {
        let tcp = Async::<TcpListener>::bind(settings.listen)?;
        let udp = Async::<UdpSocket>::bind(tcp.get_ref().local_addr()?)?;
        Ok(Self {
            settings,
            names,
            upstreams,
            udp,
            tcp,
            counters: Counters::default(),
            queries: Cell::new(0),
            connections: Cell::new(0),
            bogus_told: Cell::new(false),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.udp.get_ref().local_addr()
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Answers queries for as long as the future lives; dropping it ends all queries under way.
    pub async fn run(&self) {
        let tasks = LocalExecutor::new();
        tasks.run(or(self.serve_udp(&tasks), self.serve_tcp(&tasks))).await;
    }

    async fn serve_udp<'a>(&'a self, tasks: &LocalExecutor<'a>) {
        let mut buffer = vec![0; usize::from(u16::MAX)];
        loop {
            let (length, client) = match self.udp.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    self.socket_failed("receive", &error).await;
                    continue;
                }
            };
            if !self.settings.allows(client.ip()) {
                self.counters.client_refused.up();
                continue;
            }
            self.counters.queries_udp.up();
            let Some(slot) = self.slot(&self.queries, self.settings.queries) else {
                self.counters.queries_too_many.up();
                continue;
            };
            let packet = buffer.get(..length).unwrap_or_default().to_vec();
            let work = async move {
                let _slot = slot;
                if let Some(reply) = self.respond(&packet, Transport::Udp).await
                    && let Err(error) = self.udp.send_to(&reply, client).await
                {
                    self.counters.socket_failed.up();
                    debug!("cannot send a DNS reply to {client}: {error}");
                }
            };
            tasks.spawn(work).detach();
        }
    }

    async fn serve_tcp<'a>(&'a self, tasks: &LocalExecutor<'a>) {
        loop {
            let (stream, client) = match self.tcp.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.socket_failed("accept", &error).await;
                    continue;
                }
            };
            if !self.settings.allows(client.ip()) {
                self.counters.client_refused.up();
                continue;
            }
            let Some(slot) = self.slot(&self.connections, self.settings.connections) else {
                self.counters.connections_too_many.up();
                continue;
            };
            let work = async move {
                let _slot = slot;
                if let Err(error) = self.serve_stream(stream).await {
                    trace!("DNS connection from {client} ends: {error}");
                }
            };
            tasks.spawn(work).detach();
        }
    }

    /// Answers the queries of one connection, one after the other.
    async fn serve_stream(&self, mut stream: Async<TcpStream>) -> io::Result<()> {
        loop {
            within(self.settings.idle, stream.readable()).await?;
            let packet = within(STREAM_TIMEOUT, read_message(&mut stream)).await?;
            self.counters.queries_tcp.up();
            let Some(_slot) = self.slot(&self.queries, self.settings.queries) else {
                self.counters.queries_too_many.up();
                return Ok(());
            };
            let Some(reply) = self.respond(&packet, Transport::Tcp).await else { return Ok(()) };
            within(STREAM_TIMEOUT, write_message(&mut stream, &reply)).await?;
        }
    }

    /// The reply to one packet, if it deserves any.
    async fn respond(&self, packet: &[u8], over: Transport) -> Option<Vec<u8>> {
        match Question::parse(packet) {
            Ok(question) => Some(self.answer(&question, over).await),
            Err(Unreadable::Opaque) => match self.forward(packet, over).await {
                Ok(answered) => {
                    self.counters.passed.up();
                    Some(answered.bytes)
                }
                Err(error) => {
                    self.upstream_failed(&error);
                    failure_of(packet, Rcode::SERVFAIL)
                }
            },
            Err(Unreadable::FormatError) => {
                self.counters.format_errors.up();
                format_error(packet)
            }
            Err(Unreadable::Drop) => {
                self.counters.not_a_query.up();
                None
            }
        }
    }

    async fn answer(&self, question: &Question<'_>, over: Transport) -> Vec<u8> {
        let (homes, prefix) = {
            let names = self.names.borrow();
            (names.homes(), names.prefix())
        };
        let replied = match plan(question, &homes, prefix) {
            Plan::Pass => self.forward(question.packet(), over).await.inspect(|_| {
                self.counters.passed.up();
            }),
            Plan::Reverse(address) => {
                self.counters.reverse.up();
                let name = self.names.borrow().name_of(address);
                return reverse_reply(question, name.as_deref());
            }
            Plan::AskA => self.answer_after_a(question, over).await,
            plan => match self.upstreams.exchange_whole(question.packet()).await {
                Ok(answered) => Ok(self.settled(question, plan, answered)),
                Err(error) => Err(error),
            },
        };
        match replied {
            Ok(answered) => self.fitted(question, answered, over),
            Err(error) => {
                self.upstream_failed(&error);
                server_failure(question)
            }
        }
    }

    /// Both questions at once, so that an ordinary name waits no longer than without us.
    async fn answer_after_a(
        &self,
        question: &Question<'_>,
        over: Transport,
    ) -> Result<Answered, UpstreamError> {
        let ask_a = async {
            let query = a_query(question)?;
            self.upstreams.exchange_whole(&query).await.ok()
        };
        let (a_reply, reply) = zip(ask_a, self.forward(question.packet(), over)).await;
        let Some(a_reply) = a_reply else { return reply };
        let settled =
            settle(question, Plan::AskA, &a_reply.bytes, &mut *self.names.borrow_mut(), Instant::now());
        match settled {
            Settled::Reduced(bytes) => {
                self.counters.reduced.up();
                Ok(Answered { bytes, over })
            }
            _ => reply.inspect(|_| self.counters.passed.up()),
        }
    }

    fn settled(&self, question: &Question<'_>, plan: Plan, answered: Answered) -> Answered {
        let now = Instant::now();
        let settled = settle(question, plan, &answered.bytes, &mut *self.names.borrow_mut(), now);
        let (counter, bytes) = match settled {
            Settled::Unchanged => {
                self.counters.passed.up();
                return answered;
            }
            Settled::Rewritten { reply, address, bogus } => {
                self.names.borrow_mut().handle_rewritten(now.elapsed());
                debug!("{} is {address}", question.name().unwrap_or_default());
                self.tell_bogus(question, bogus);
                (&self.counters.rewritten, reply)
            }
            Settled::Reduced(reply) => (&self.counters.reduced, reply),
            Settled::Refused(reply, full) => {
                warn!("{full}");
                (&self.counters.relations_full, reply)
            }
            Settled::Malformed(reply) => (&self.counters.upstream_malformed, reply),
        };
        counter.up();
        Answered { bytes, over: answered.over }
    }

    /// As the client asked: a truncated datagram is the client's to ask again for (RFC 5625, 4.4.1).
    async fn forward(&self, packet: &[u8], over: Transport) -> Result<Answered, UpstreamError> {
        match self.upstreams.exchange(packet, over).await {
            Err(_) if over == Transport::Tcp => self.upstreams.exchange(packet, Transport::Udp).await,
            answered => answered,
        }
    }

    fn fitted(&self, question: &Question<'_>, answered: Answered, over: Transport) -> Vec<u8> {
        let limit = match (over, answered.over) {
            (Transport::Tcp, _) => return answered.bytes,
            (Transport::Udp, Transport::Udp) => question.udp_size(),
            (Transport::Udp, Transport::Tcp) => question.udp_size().min(DATAGRAM_SAFE),
        };
        if answered.bytes.len() <= limit {
            return answered.bytes;
        }
        self.counters.truncated.up();
        truncated(question, &answered.bytes)
    }

    fn tell_bogus(&self, question: &Question<'_>, bogus: bool) {
        if !bogus {
            return;
        }
        self.counters.bogus.up();
        if !self.bogus_told.replace(true) {
            let name = question.name().unwrap_or_default();
            warn!(
                "{name} is signed with DNSSEC and the client asks for signatures: if it validates, it refuses \
                 the virtual address; turn its validation off for this name"
            );
        }
    }

    fn upstream_failed(&self, error: &UpstreamError) {
        self.counters.upstream_failed.up();
        debug!("{error}");
    }

    async fn socket_failed(&self, what: &str, error: &io::Error) {
        self.counters.socket_failed.up();
        warn!("DNS proxy cannot {what} at {}: {error}", self.settings.listen);
        Timer::after(FAILURE_PAUSE).await;
    }

    /// A place among at most `limit`, given back when it is dropped.
    fn slot<'a>(&self, used: &'a Cell<usize>, limit: usize) -> Option<Slot<'a>> {
        (used.get() < limit).then(|| {
            used.set(used.get() + 1);
            Slot(used)
        })
    }
}

struct Slot<'a>(&'a Cell<usize>);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

fn is_in(address: IpAddr, network: IpAddr, length: u8) -> bool {
    match (address.to_canonical(), network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(length.into())).unwrap_or(0);
            (address.to_bits() ^ network.to_bits()) & mask == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(length.into())).unwrap_or(0);
            (address.to_bits() ^ network.to_bits()) & mask == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
