//! The announcer at work: its ICMP socket, and the questions that wait for it.
//!
//! ```text
//!   allowed_addresses ─▶ Announcer ─▶ echo socket ═══▶ router
//!        (waits)            ▲                             │
//!        ◀── verdict ───────┴── take_replies, due ◀═══════┘
//! ```

use std::{
    cell::RefCell,
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsFd, BorrowedFd},
    rc::Rc,
    time::{Duration, Instant},
};

use natf_daemon::random::SystemRandom;
use natf_kernel::{KernelError, raw::EchoSocket};
use natf_proto::{HostName, MAGIC, Random as _};
use smol::channel::{Receiver, Sender, bounded};

use crate::announce::{
    Announcer, Asked, Asking, Origins, Output, Refusal, RouterRow, Routers, Settings, Ticket, Verdict,
};

/// Addresses of one name that are announced; homes have one, rarely two uplinks.
const ADDRESSES_MAX: usize = 4;
/// Answers that are taken before others get their turn.
const REPLIES_MAX: usize = 256;

/// Who is told what, as configured.
#[derive(Debug, Default)]
pub struct Directory {
    /// The routers and their names.
    pub routers: Routers,
    /// What routers see of clients.
    pub origins: Origins,
}

/// Announcer and socket.
pub struct Notifier {
    announcer: Announcer,
    directory: Directory,
    socket: EchoSocket,
    ident: u16,
    sequence: u16,
    waiting: HashMap<Ticket, Vec<Sender<Verdict>>>,
    /// Packets that the kernel did not take.
    unsent: u64,
}

impl Notifier {
    /// Opens the socket, without a configuration. Needs CAP_NET_RAW.
    ///
    /// # Errors
    /// Where that right is missing.
    pub fn open(unix_seconds: u64, mut random: SystemRandom) -> Result<Self, KernelError> {
        let socket = EchoSocket::open(MAGIC)?;
        let mut ident = [0; 2];
        random.fill(&mut ident);
        let settings = Settings { wait: Duration::ZERO, unix_seconds, random: Box::new(random) };
        Ok(Self {
            announcer: Announcer::new(settings),
            directory: Directory::default(),
            socket,
            ident: u16::from_be_bytes(ident),
            sequence: 0,
            waiting: HashMap::new(),
            unsent: 0,
        })
    }

    /// Takes another configuration; what is under way goes on.
    pub fn reload(&mut self, directory: Directory, wait: Duration) {
        self.directory = directory;
        self.announcer.handle_reload(wait);
    }

    /// The announcer, to look at.
    pub fn announcer(&self) -> &Announcer {
        &self.announcer
    }

    /// The routers, to look at.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Notifications that could not be sent.
    pub fn unsent(&self) -> u64 {
        self.unsent
    }

    /// When [`Self::handle_timeout`] is wanted next.
    pub fn deadline(&self) -> Option<Instant> {
        self.announcer.poll_timeout()
    }

    /// Repeats and gives up what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.announcer.handle_timeout(now);
        self.carry_out();
    }

    /// Takes the answers that wait in the socket.
    ///
    /// # Errors
    /// Where the socket itself fails.
    pub fn take_replies(&mut self, now: Instant) -> Result<(), KernelError> {
        for _ in 0..REPLIES_MAX {
            let Some(reply) = self.socket.recv_from()? else { break };
            self.announcer.handle_reply(now, reply.source, reply.payload);
        }
        self.carry_out();
        Ok(())
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.announcer.poll_output() {
            match output {
                Output::Send { to, message } => {
                    self.sequence = self.sequence.wrapping_add(1);
                    if let Err(error) = self.socket.send_to(to, self.ident, self.sequence, &*message) {
                        // It is repeated, and if that fails too, the router counts as silent.
                        self.unsent += 1;
                        log::debug!("{error}");
                    }
                }
                Output::Done(ticket, verdict) => {
                    for waiter in self.waiting.remove(&ticket).unwrap_or_default() {
                        let _gone = waiter.try_send(verdict);
                    }
                }
            }
        }
    }

    fn ask(&mut self, now: Instant, asked: Asked) -> Pending {
        let asking = self.announcer.handle_question(now, asked);
        let pending = match asking {
            Asking::Now(verdict) => Pending::Known(verdict),
            Asking::Wait(ticket) => {
                let (sender, receiver) = bounded(1);
                self.waiting.entry(ticket).or_default().push(sender);
                Pending::Awaited(receiver)
            }
        };
        self.carry_out();
        pending
    }
}

impl AsFd for Notifier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

enum Pending {
    Known(Verdict),
    Awaited(Receiver<Verdict>),
}

impl Pending {
    async fn verdict(self) -> Verdict {
        match self {
            Self::Known(verdict) => verdict,
            Self::Awaited(receiver) => receiver.recv().await.unwrap_or(Verdict::Refuse(Refusal::Busy)),
        }
    }
}

/// A question for the addresses of a name.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who asks.
    pub client: IpAddr,
    /// Id of the question (T5).
    pub id: u16,
    /// The name, lower case, without a final dot.
    pub name: &'a str,
}

/// Announces the client to the router behind each of the addresses (T4), and returns those that it may be given.
///
/// # Errors
/// Why it may be given none.
pub async fn allowed_addresses(
    notifier: &RefCell<Notifier>,
    question: Question<'_>,
    addresses: &[Ipv4Addr],
) -> Result<Vec<Ipv4Addr>, Refusal> {
    let Some(row) = notifier.borrow().directory.routers.of(question.name) else {
        return Ok(addresses.to_vec());
    };
    let name: HostName = question.name.parse().map_err(|_| Refusal::Name)?;
    let origin = notifier.borrow().directory.origins.of(question.client).ok_or(Refusal::NoOrigin)?;
    let asked = |router| Asked { id: question.id, origin, name, router, row: row.clone() };
    let routers = routers_behind(&row, addresses);
    // All are asked before the first one is waited for.
    let pending: Vec<_> = routers
        .into_iter()
        .map(|(router, given)| {
            let pending = router.map(|router| notifier.borrow_mut().ask(Instant::now(), asked(router)));
            (pending, given)
        })
        .collect();
    let (mut allowed, mut refusal) = (Vec::new(), None);
    for (pending, given) in pending {
        let verdict = match pending {
            Some(pending) => pending.verdict().await,
            None => Verdict::Send,
        };
        match verdict {
            Verdict::Send => allowed.extend(given),
            Verdict::Refuse(why) => refusal = refusal.or(Some(why)),
        }
    }
    match refusal {
        Some(refusal) if allowed.is_empty() => Err(refusal),
        _ => Ok(allowed),
    }
}

/// Whom to ask about which addresses; nobody about a host's own address in the LAN, which leads past every router.
fn routers_behind(row: &Rc<RouterRow>, addresses: &[Ipv4Addr]) -> Vec<(Option<Ipv4Addr>, Vec<Ipv4Addr>)> {
    if let Some(router) = row.address {
        return vec![(Some(router), addresses.to_vec())];
    }
    let is_inside =
        |address: &Ipv4Addr| address.is_private() || address.is_loopback() || address.is_link_local();
    let each = addresses.iter().take(ADDRESSES_MAX);
    each.map(|address| ((!is_inside(address)).then_some(*address), vec![*address])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use natf_config::Without;
    use natf_proto::{KeyId, PeerKeys};

    fn row(address: Option<Ipv4Addr>) -> Rc<RouterRow> {
        let (domains, keys) = (vec!["home.example.net".into()], PeerKeys::derive(KeyId(1), &[1; 32]));
        Rc::new(RouterRow { name: "home".into(), domains, keys, address, without: Without::Refuse })
    }

    const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
    const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);

    #[test]
    fn n1_every_router_of_several_addresses_is_told() {
        let other = Ipv4Addr::new(203, 0, 113, 3);
        let asked = routers_behind(&row(None), &[OUTSIDE, other]);
        assert_eq!(asked, [(Some(OUTSIDE), vec![OUTSIDE]), (Some(other), vec![other])]);
        assert_eq!(routers_behind(&row(None), &[OUTSIDE; 100]).len(), ADDRESSES_MAX);
    }

    #[test]
    fn a_configured_address_is_told_about_whatever_dns_says() {
        let asked = routers_behind(&row(Some(OUTSIDE)), &[INSIDE]);
        assert_eq!(asked, [(Some(OUTSIDE), vec![INSIDE])]);
    }

    #[test]
    fn at_home_a_hosts_own_address_needs_no_router() {
        assert_eq!(routers_behind(&row(None), &[INSIDE]), [(None, vec![INSIDE])]);
    }
}
