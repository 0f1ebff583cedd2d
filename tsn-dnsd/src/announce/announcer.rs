//! Notifies routers and waits, for a bounded time, for what they say (T4-T6).

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    net::Ipv4Addr,
    rc::Rc,
    time::{Duration, Instant},
};

use natf_config::Without;
use natf_proto::{
    GuideOutcome, HostName, KeyId, Notice, NoticeKind, NoticeMessage, Notification, NotificationAnswer,
    Random, RisingCounter,
};

use super::{
    capability::{Capabilities, Capability},
    counters::Counters,
    exchange::{Exchange, Sent, Subject},
    origin::Origin,
    refusal::Refusal,
    routers::RouterRow,
};

/// Times that a notification is sent while nobody answers.
const TRIES: u8 = 3;
/// Times that a router may ask for a higher counter.
const STALE_MAX: u8 = 3;
/// A packet that found the router's queue full is mirrored too, so the first mirror is not believed.
const MIRROR_PAUSE: Duration = Duration::from_millis(50);
/// How long an answer is still listened to after everybody stopped waiting, as the router's sign of life.
const LINGER: Duration = Duration::from_secs(2);
/// Notifications under way.
const EXCHANGES_MAX: usize = 16_384;
/// Those of one client, or of all behind one address.
const EXCHANGES_PER_ORIGIN: usize = 1024;

/// What the announcer is made of.
pub struct Settings {
    /// How long a question waits for its router.
    pub wait: Duration,
    /// The clock, for counters that rise over restarts.
    pub unix_seconds: u64,
    /// Nonces.
    pub random: Box<dyn Random>,
}

/// Someone is about to connect to a name.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Id of the DNS question.
    pub id: u16,
    /// Who is going to connect.
    pub origin: Origin,
    /// To whom.
    pub name: HostName,
    /// The router's address.
    pub router: Ipv4Addr,
    /// Its row.
    pub row: Rc<RouterRow>,
}

/// Names a notification that somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What the client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The address.
    Send,
    /// None.
    Refuse(Refusal),
}

/// Whether there is something to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// No.
    Now(Verdict),
    /// Until [`Output::Done`].
    Wait(Ticket),
}

/// An effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this as an ICMP ECHO.
    Send {
        /// The router.
        to: Ipv4Addr,
        /// The payload.
        message: Box<NoticeMessage>,
    },
    /// Everybody who waits for this ticket gets the verdict.
    Done(Ticket, Verdict),
}

/// All notifications under way.
pub struct Announcer {
    wait: Duration,
    random: Box<dyn Random>,
    counter: RisingCounter,
    exchanges: HashMap<Ticket, Exchange>,
    by_subject: HashMap<Subject, Ticket>,
    per_origin: HashMap<Origin, usize>,
    by_counter: HashMap<(KeyId, u64), Ticket>,
    due: BTreeSet<(Instant, Ticket)>,
    capabilities: Capabilities,
    outputs: VecDeque<Output>,
    last_ticket: u64,
    counters: Counters,
}

impl Announcer {
    /// With nothing under way and nothing known.
    pub fn new(settings: Settings) -> Self {
        Self {
            wait: settings.wait,
            random: settings.random,
            counter: RisingCounter::starting_at(settings.unix_seconds),
            exchanges: HashMap::new(),
            by_subject: HashMap::new(),
            per_origin: HashMap::new(),
            by_counter: HashMap::new(),
            due: BTreeSet::new(),
            capabilities: Capabilities::default(),
            outputs: VecDeque::new(),
            last_ticket: 0,
            counters: Counters::default(),
        }
    }

    /// Takes another configuration: what was known of the routers may no longer be so.
    pub fn handle_reload(&mut self, wait: Duration) {
        self.wait = wait;
        self.capabilities.clear();
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Notifications under way.
    pub fn under_way(&self) -> usize {
        self.exchanges.len()
    }

    /// What is known of a router that is told under this key.
    pub fn capability(&self, now: Instant, router: Ipv4Addr, key: KeyId) -> Capability {
        self.capabilities.of(now, (router, key))
    }

    /// The next effect to carry out.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] is wanted next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Announces, unless the answer is known or the same announcement is under way.
    pub fn handle_question(&mut self, now: Instant, asked: Asked) -> Asking {
        let subject = Subject { router: asked.router, origin: asked.origin, name: asked.name };
        if let Some(ticket) = self.shared(&subject) {
            return Asking::Wait(ticket);
        }
        let router = (asked.router, asked.row.keys.id());
        let known = self.capabilities.of(now, router);
        // Where a mirror is a refusal, it costs one round trip, and the daemon may be back.
        if known == Capability::NotCapable && asked.row.without == Without::Answer {
            return Asking::Now(Verdict::Send);
        }
        let awaited = !matches!(known, Capability::Silent { .. });
        if known == (Capability::Silent { probe: false }) {
            return Asking::Now(without(&asked.row, Refusal::Silent));
        }
        let of_origin = self.per_origin.get(&asked.origin).copied().unwrap_or(0);
        if self.exchanges.len() >= EXCHANGES_MAX || of_origin >= EXCHANGES_PER_ORIGIN {
            self.counters.announcing_busy += 1;
            return Asking::Now(Verdict::Refuse(Refusal::Busy));
        }
        if !awaited {
            self.capabilities.silent(now, router);
        }
        let verdict = without(&asked.row, Refusal::Silent);
        let ticket = self.begin(now, subject, asked, awaited);
        if awaited { Asking::Wait(ticket) } else { Asking::Now(verdict) }
    }

    fn shared(&mut self, subject: &Subject) -> Option<Ticket> {
        let ticket = *self.by_subject.get(subject)?;
        self.exchanges.get(&ticket).filter(|exchange| exchange.awaited)?;
        self.counters.notifications_shared += 1;
        Some(ticket)
    }

    fn begin(&mut self, now: Instant, subject: Subject, asked: Asked, awaited: bool) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.counters.notifications += 1;
        let end = if awaited { now + self.wait } else { now };
        let exchange = Exchange {
            subject,
            row: asked.row,
            id: asked.id,
            sent: Vec::with_capacity(1),
            // A probe is sent once.
            tries: if awaited { 1 } else { TRIES },
            stale: 0,
            mirrors: 0,
            awaited,
            due: now,
            end,
        };
        self.exchanges.insert(ticket, exchange);
        *self.per_origin.entry(subject.origin).or_default() += 1;
        if awaited {
            self.by_subject.insert(subject, ticket);
        }
        self.send(ticket);
        self.schedule(ticket, if awaited { now + self.wait / u32::from(TRIES) } else { now + LINGER });
        ticket
    }

    /// Sends the notification, each time under a counter and nonce of its own.
    fn send(&mut self, ticket: Ticket) {
        let Some(exchange) = self.exchanges.get_mut(&ticket) else { return };
        let Subject { router, origin, name } = exchange.subject;
        let (keys, origin) = (&exchange.row.keys, origin.address());
        let counter = self.counter.next(keys.id());
        let body = Notification { id: exchange.id, origin, name }.emit();
        let message = keys.seal_notice(NoticeKind::Notification, counter, &body, &mut *self.random);
        exchange.sent.push(Sent::of(counter, &message));
        self.by_counter.insert((keys.id(), counter), ticket);
        self.outputs.push_back(Output::Send { to: router, message: Box::new(message) });
    }

    fn schedule(&mut self, ticket: Ticket, due: Instant) {
        if let Some(exchange) = self.exchanges.get_mut(&ticket) {
            self.due.remove(&(exchange.due, ticket));
            exchange.due = due;
            self.due.insert((due, ticket));
        }
    }

    /// Takes the payload of an echo reply from `source`.
    pub fn handle_reply(&mut self, now: Instant, source: Ipv4Addr, bytes: &[u8]) {
        let Ok(notice) = Notice::parse(bytes) else {
            self.counters.answers_forged += 1;
            return;
        };
        let ticket = self.by_counter.get(&(notice.key, notice.counter)).copied();
        let found = ticket.and_then(|ticket| Some((ticket, self.exchanges.get(&ticket)?)));
        let Some((ticket, exchange)) = found.filter(|(_, exchange)| exchange.subject.router == source) else {
            self.counters.answers_unmatched += 1;
            return;
        };
        match notice.kind {
            NoticeKind::Notification => self.handle_mirror(now, ticket, bytes),
            NoticeKind::Answer => {
                let body = exchange.row.keys.open_notice(&notice).ok();
                let answer = body.and_then(|body| NotificationAnswer::parse(&body).ok());
                match answer.filter(|answer| answer.id == exchange.id) {
                    Some(answer) => self.handle_answer(now, ticket, &answer.outcome),
                    None => self.counters.answers_forged += 1,
                }
            }
        }
    }

    /// A router without TSN sends back what it gets (T6).
    fn handle_mirror(&mut self, now: Instant, ticket: Ticket, bytes: &[u8]) {
        let Some(exchange) = self.exchanges.get_mut(&ticket) else { return };
        if !exchange.sent.iter().any(|sent| sent.is_mirrored_by(bytes)) {
            self.counters.answers_forged += 1;
            return;
        }
        self.counters.answers_mirrored += 1;
        exchange.mirrors += 1;
        let router = exchange.router();
        if exchange.mirrors == 1 && exchange.awaited {
            let soon = (now + MIRROR_PAUSE).min(exchange.end);
            return self.schedule(ticket, soon);
        }
        self.capabilities.mirrored(now, router);
        self.finish(ticket, |row| without(row, Refusal::NotCapable));
    }

    fn handle_answer(&mut self, now: Instant, ticket: Ticket, outcome: &GuideOutcome) {
        let Some(exchange) = self.exchanges.get_mut(&ticket) else { return };
        self.capabilities.answered(exchange.router());
        match outcome {
            GuideOutcome::Guided { .. } => {
                self.counters.answers_guided += 1;
                self.finish(ticket, |_| Verdict::Send);
            }
            GuideOutcome::Refused(reason) => {
                self.counters.answers_refused += 1;
                self.finish(ticket, |_| Verdict::Refuse(Refusal::Router(*reason)));
            }
            GuideOutcome::Stale { floor } => {
                self.counters.answers_stale += 1;
                exchange.stale += 1;
                let key = exchange.row.keys.id();
                if exchange.stale > STALE_MAX || !self.counter.raise_floor(key, *floor) {
                    return self.finish(ticket, |_| Verdict::Refuse(Refusal::NotCapable));
                }
                self.send(ticket);
                let pause = self.wait / u32::from(TRIES);
                self.schedule(ticket, now + pause);
            }
        }
    }

    /// Repeats what was not answered, and gives up what was not answered for long enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((due, ticket)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, ticket));
            self.handle_due(now, ticket);
        }
    }

    fn handle_due(&mut self, now: Instant, ticket: Ticket) {
        let Some(exchange) = self.exchanges.get_mut(&ticket) else { return };
        if !exchange.awaited {
            return self.forget(ticket);
        }
        if now >= exchange.end {
            self.counters.routers_silent += 1;
            self.capabilities.silent(now, exchange.router());
            exchange.awaited = false;
            let verdict = without(&exchange.row, Refusal::Silent);
            let subject = exchange.subject;
            self.by_subject.remove(&subject);
            self.outputs.push_back(Output::Done(ticket, verdict));
            return self.schedule(ticket, now + LINGER);
        }
        let end = exchange.end;
        if exchange.mirrors == 1 || exchange.tries < TRIES {
            exchange.tries += 1;
            self.counters.notifications_repeated += 1;
            self.send(ticket);
        }
        self.schedule(ticket, (now + self.wait / u32::from(TRIES)).min(end));
    }

    fn finish(&mut self, ticket: Ticket, verdict: impl FnOnce(&RouterRow) -> Verdict) {
        if let Some(exchange) = self.exchanges.get(&ticket).filter(|exchange| exchange.awaited) {
            self.outputs.push_back(Output::Done(ticket, verdict(&exchange.row)));
        }
        self.forget(ticket);
    }

    fn forget(&mut self, ticket: Ticket) {
        let Some(exchange) = self.exchanges.remove(&ticket) else { return };
        self.due.remove(&(exchange.due, ticket));
        if let Some(count) = self.per_origin.get_mut(&exchange.subject.origin) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_origin.remove(&exchange.subject.origin);
            }
        }
        let key = exchange.row.keys.id();
        for sent in &exchange.sent {
            self.by_counter.remove(&(key, sent.counter));
        }
        if self.by_subject.get(&exchange.subject) == Some(&ticket) {
            self.by_subject.remove(&exchange.subject);
        }
    }
}

/// What the configuration says for a router that takes no notifications.
fn without(row: &RouterRow, refusal: Refusal) -> Verdict {
    match row.without {
        Without::Answer => Verdict::Send,
        Without::Refuse => Verdict::Refuse(refusal),
    }
}

#[cfg(test)]
mod tests;
