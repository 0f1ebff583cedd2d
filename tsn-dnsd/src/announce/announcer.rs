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

/// What happened so far; every number has a name that a user can read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Notifications, each counted once.
    pub notifications: u64,
    /// Questions that waited for the notification of another one.
    pub shared: u64,
    /// Messages sent again because no answer came.
    pub repeated: u64,
    /// Answers: the guide table has a row.
    pub guided: u64,
    /// Answers: refused.
    pub refused: u64,
    /// Answers: a higher counter is wanted.
    pub stale: u64,
    /// Notifications that came back as they were sent.
    pub mirrored: u64,
    /// Notifications that nobody answered in time.
    pub silent: u64,
    /// Answers that are not sealed by the router, or that say nothing sensible.
    pub forged: u64,
    /// Answers to nothing that is under way: late, or not ours.
    pub unmatched: u64,
    /// Questions that found too many notifications under way.
    pub busy: u64,
}

impl Counters {
    /// All of them, with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("notifications", self.notifications),
            ("notifications_shared", self.shared),
            ("notifications_repeated", self.repeated),
            ("answers_guided", self.guided),
            ("answers_refused", self.refused),
            ("answers_stale", self.stale),
            ("answers_mirrored", self.mirrored),
            ("answers_forged", self.forged),
            ("answers_unmatched", self.unmatched),
            ("routers_silent", self.silent),
            ("announcing_busy", self.busy),
        ]
        .into_iter()
    }
}

/// All notifications under way.
pub struct Announcer {
    wait: Duration,
    random: Box<dyn Random>,
    counter: RisingCounter,
    exchanges: HashMap<Ticket, Exchange>,
    by_subject: HashMap<Subject, Ticket>,
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

    /// What is known of a router.
    pub fn capability(&self, now: Instant, router: Ipv4Addr) -> Capability {
        self.capabilities.of(now, router)
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
        let known = self.capabilities.of(now, asked.router);
        // Where a mirror is a refusal, it costs one round trip, and the daemon may be back.
        if known == Capability::NotCapable && asked.row.without == Without::Answer {
            return Asking::Now(Verdict::Send);
        }
        let awaited = !matches!(known, Capability::Silent { .. });
        if known == (Capability::Silent { probe: false }) {
            return Asking::Now(without(&asked.row, Refusal::Silent));
        }
        if self.exchanges.len() >= EXCHANGES_MAX {
            self.counters.busy += 1;
            return Asking::Now(Verdict::Refuse(Refusal::Busy));
        }
        if !awaited {
            self.capabilities.silent(now, asked.router);
        }
        let verdict = without(&asked.row, Refusal::Silent);
        let ticket = self.begin(now, subject, asked, awaited);
        if awaited { Asking::Wait(ticket) } else { Asking::Now(verdict) }
    }

    fn shared(&mut self, subject: &Subject) -> Option<Ticket> {
        let ticket = *self.by_subject.get(subject)?;
        self.exchanges.get(&ticket).filter(|exchange| exchange.awaited)?;
        self.counters.shared += 1;
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
            self.counters.forged += 1;
            return;
        };
        let ticket = self.by_counter.get(&(notice.key, notice.counter)).copied();
        let found = ticket.and_then(|ticket| Some((ticket, self.exchanges.get(&ticket)?)));
        let Some((ticket, exchange)) = found.filter(|(_, exchange)| exchange.subject.router == source) else {
            self.counters.unmatched += 1;
            return;
        };
        match notice.kind {
            NoticeKind::Notification => self.handle_mirror(now, ticket, bytes),
            NoticeKind::Answer => {
                let body = exchange.row.keys.open_notice(&notice).ok();
                let answer = body.and_then(|body| NotificationAnswer::parse(&body).ok());
                match answer.filter(|answer| answer.id == exchange.id) {
                    Some(answer) => self.handle_answer(now, ticket, &answer.outcome),
                    None => self.counters.forged += 1,
                }
            }
        }
    }

    /// A router without TSN sends back what it gets (T6).
    fn handle_mirror(&mut self, now: Instant, ticket: Ticket, bytes: &[u8]) {
        let Some(exchange) = self.exchanges.get_mut(&ticket) else { return };
        if !exchange.sent.iter().any(|sent| sent.is_mirrored_by(bytes)) {
            self.counters.forged += 1;
            return;
        }
        self.counters.mirrored += 1;
        exchange.mirrors += 1;
        let router = exchange.subject.router;
        if exchange.mirrors == 1 && exchange.awaited {
            let soon = (now + MIRROR_PAUSE).min(exchange.end);
            return self.schedule(ticket, soon);
        }
        self.capabilities.mirrored(now, router);
        self.finish(ticket, |row| without(row, Refusal::NotCapable));
    }

    fn handle_answer(&mut self, now: Instant, ticket: Ticket, outcome: &GuideOutcome) {
        let Some(exchange) = self.exchanges.get_mut(&ticket) else { return };
        self.capabilities.answered(exchange.subject.router);
        match outcome {
            GuideOutcome::Guided { .. } => {
                self.counters.guided += 1;
                self.finish(ticket, |_| Verdict::Send);
            }
            GuideOutcome::Refused(reason) => {
                self.counters.refused += 1;
                self.finish(ticket, |_| Verdict::Refuse(Refusal::Router(*reason)));
            }
            GuideOutcome::Stale { floor } => {
                self.counters.stale += 1;
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
            self.counters.silent += 1;
            self.capabilities.silent(now, exchange.subject.router);
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
            self.counters.repeated += 1;
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
mod tests {
    use super::*;
    use natf_proto::{PeerKeys, Reason};

    const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
    const WAIT: Duration = Duration::from_millis(300);

    struct Seeded(u8);

    impl Random for Seeded {
        fn fill(&mut self, bytes: &mut [u8]) {
            self.0 = self.0.wrapping_add(1);
            bytes.fill(self.0);
        }
    }

    struct Scene {
        announcer: Announcer,
        row: Rc<RouterRow>,
        now: Instant,
    }

    impl Scene {
        fn new(without: Without) -> Self {
            let random = Box::new(Seeded(0));
            let settings = Settings { wait: WAIT, unix_seconds: 1_800_000_000, random };
            let row = RouterRow {
                name: "home".into(),
                domains: vec!["home.example.net".into()],
                keys: PeerKeys::derive(KeyId(7), &[7; 32]),
                address: None,
                without,
            };
            Self { announcer: Announcer::new(settings), row: Rc::new(row), now: Instant::now() }
        }

        fn ask(&mut self, id: u16, client: u8, name: &str) -> Asking {
            let origin = Origin::Address(Ipv4Addr::new(198, 51, 100, client));
            let (name, row) = (name.parse().unwrap(), self.row.clone());
            self.announcer.handle_question(self.now, Asked { id, origin, name, router: ROUTER, row })
        }

        fn outputs(&mut self) -> Vec<Output> {
            std::iter::from_fn(|| self.announcer.poll_output()).collect()
        }

        fn sent(&mut self) -> NoticeMessage {
            match self.outputs().as_slice() {
                [Output::Send { to: ROUTER, message }] => **message,
                other => panic!("{other:?}"),
            }
        }

        fn answer(&mut self, question: &NoticeMessage, outcome: GuideOutcome) {
            let notice = Notice::parse(question).unwrap();
            let asked = Notification::parse(&self.row.keys.open_notice(&notice).unwrap()).unwrap();
            let body = NotificationAnswer { id: asked.id, origin: asked.origin, outcome }.emit();
            let message =
                self.row.keys.seal_notice(NoticeKind::Answer, notice.counter, &body, &mut Seeded(99));
            self.announcer.handle_reply(self.now, ROUTER, &message);
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.announcer.handle_timeout(self.now);
        }
    }

    const GUIDED: GuideOutcome = GuideOutcome::Guided { lifetime: Duration::from_secs(30) };

    #[test]
    fn t4_the_client_is_answered_when_the_router_is_ready() {
        let mut scene = Scene::new(Without::Refuse);
        let Asking::Wait(ticket) = scene.ask(0xbeef, 7, "alice.home.example.net") else { panic!() };
        let message = scene.sent();
        let body = scene.row.keys.open_notice(&Notice::parse(&message).unwrap()).unwrap();
        let notification = Notification::parse(&body).unwrap();
        assert_eq!(notification.id, 0xbeef);
        assert_eq!(notification.origin, Some(Ipv4Addr::new(198, 51, 100, 7)));
        assert_eq!(notification.name.as_str(), "alice.home.example.net");
        scene.answer(&message, GUIDED);
        assert_eq!(scene.outputs(), [Output::Done(ticket, Verdict::Send)]);
        assert_eq!(scene.announcer.under_way(), 0);
    }

    #[test]
    fn t4_questions_for_the_same_share_one_notification_and_others_do_not() {
        let mut scene = Scene::new(Without::Refuse);
        let first = scene.ask(1, 7, "alice.home.example.net");
        assert_eq!(scene.ask(2, 7, "alice.home.example.net"), first);
        let message = scene.sent();
        assert_ne!(scene.ask(3, 8, "alice.home.example.net"), first);
        assert_ne!(scene.ask(4, 7, "bob.home.example.net"), first);
        assert_eq!(scene.outputs().len(), 2);
        scene.answer(&message, GUIDED);
        assert_eq!(scene.outputs().len(), 1);
        // The next connection is announced anew.
        assert_ne!(scene.ask(5, 7, "alice.home.example.net"), first);
        assert_eq!(scene.announcer.counters().shared, 1);
    }

    #[test]
    fn a_refusal_is_handed_on() {
        for without in [Without::Refuse, Without::Answer] {
            let mut scene = Scene::new(without);
            let Asking::Wait(ticket) = scene.ask(1, 7, "bob.home.example.net") else { panic!() };
            let message = scene.sent();
            scene.answer(&message, GuideOutcome::Refused(Some(Reason::Denied)));
            let verdict = Verdict::Refuse(Refusal::Router(Some(Reason::Denied)));
            assert_eq!(scene.outputs(), [Output::Done(ticket, verdict)]);
        }
    }

    #[test]
    fn t6_a_router_without_tsn_is_answered_for_normally_where_that_is_wanted() {
        let mut scene = Scene::new(Without::Answer);
        let Asking::Wait(ticket) = scene.ask(1, 7, "alice.home.example.net") else { panic!() };
        for _ in 0..2 {
            let message = scene.sent();
            scene.announcer.handle_reply(scene.now, ROUTER, &message);
            scene.pass(MIRROR_PAUSE);
        }
        assert_eq!(scene.outputs(), [Output::Done(ticket, Verdict::Send)]);
        // From now on its names cost no ICMP.
        assert_eq!(scene.ask(2, 7, "alice.home.example.net"), Asking::Now(Verdict::Send));
        assert_eq!(scene.outputs(), []);
    }

    #[test]
    fn t6_else_a_mirror_is_a_refusal_and_the_next_question_asks_again() {
        let mut scene = Scene::new(Without::Refuse);
        let Asking::Wait(ticket) = scene.ask(1, 7, "alice.home.example.net") else { panic!() };
        for _ in 0..2 {
            let message = scene.sent();
            scene.announcer.handle_reply(scene.now, ROUTER, &message);
            scene.pass(MIRROR_PAUSE);
        }
        assert_eq!(scene.outputs(), [Output::Done(ticket, Verdict::Refuse(Refusal::NotCapable))]);
        let Asking::Wait(ticket) = scene.ask(2, 7, "alice.home.example.net") else { panic!() };
        let message = scene.sent();
        scene.answer(&message, GUIDED);
        assert_eq!(scene.outputs(), [Output::Done(ticket, Verdict::Send)]);
    }

    #[test]
    fn a_lost_notification_is_repeated() {
        let mut scene = Scene::new(Without::Refuse);
        let Asking::Wait(ticket) = scene.ask(1, 7, "alice.home.example.net") else { panic!() };
        let first = scene.sent();
        scene.pass(WAIT / 3);
        let second = scene.sent();
        assert_ne!(first[..], second[..]);
        // The answer to either counts.
        scene.answer(&first, GUIDED);
        assert_eq!(scene.outputs(), [Output::Done(ticket, Verdict::Send)]);
        scene.answer(&second, GUIDED);
        assert_eq!((scene.outputs(), scene.announcer.counters().unmatched), (vec![], 1));
    }

    #[test]
    fn a_silent_router_delays_once_and_its_first_sign_of_life_counts() {
        let mut scene = Scene::new(Without::Refuse);
        let Asking::Wait(ticket) = scene.ask(1, 7, "alice.home.example.net") else { panic!() };
        let mut sends = 0;
        while scene.announcer.poll_timeout().is_some_and(|due| due < scene.now + WAIT + LINGER / 2) {
            sends += scene.outputs().iter().filter(|output| matches!(output, Output::Send { .. })).count();
            let next = scene.announcer.poll_timeout().unwrap();
            scene.pass(next - scene.now);
            if scene.announcer.counters().silent == 1 {
                break;
            }
        }
        assert_eq!(sends, usize::from(TRIES));
        let refused = Verdict::Refuse(Refusal::Silent);
        assert_eq!(scene.outputs(), [Output::Done(ticket, refused)]);
        // Nobody waits any more; once a second the router is asked behind the client's back.
        assert_eq!(scene.ask(2, 7, "alice.home.example.net"), Asking::Now(refused));
        assert_eq!(scene.outputs(), []);
        scene.pass(Duration::from_secs(1));
        assert_eq!(scene.ask(3, 7, "alice.home.example.net"), Asking::Now(refused));
        let probe = scene.sent();
        assert_eq!(scene.ask(4, 8, "alice.home.example.net"), Asking::Now(refused));
        assert_eq!(scene.outputs(), []);
        scene.answer(&probe, GUIDED);
        assert!(matches!(scene.ask(5, 7, "alice.home.example.net"), Asking::Wait(_)));
    }

    #[test]
    fn a_stale_counter_is_raised_at_once_but_not_for_ever() {
        let mut scene = Scene::new(Without::Refuse);
        let Asking::Wait(ticket) = scene.ask(1, 7, "alice.home.example.net") else { panic!() };
        let mut floor = 1 << 60;
        for _ in 0..STALE_MAX {
            let message = scene.sent();
            scene.answer(&message, GuideOutcome::Stale { floor });
            floor += 1000;
        }
        let message = scene.sent();
        assert!(Notice::parse(&message).unwrap().counter > 1 << 60);
        scene.answer(&message, GuideOutcome::Stale { floor });
        assert_eq!(scene.outputs(), [Output::Done(ticket, Verdict::Refuse(Refusal::NotCapable))]);
        assert_eq!(scene.announcer.under_way(), 0);
    }

    #[test]
    fn forged_misdirected_and_unasked_answers_change_nothing() {
        let mut scene = Scene::new(Without::Refuse);
        scene.ask(1, 7, "alice.home.example.net");
        let message = scene.sent();
        let counter = Notice::parse(&message).unwrap().counter;
        let other = PeerKeys::derive(KeyId(7), &[8; 32]);
        let body = NotificationAnswer { id: 1, origin: None, outcome: GUIDED }.emit();
        let forged = other.seal_notice(NoticeKind::Answer, counter, &body, &mut Seeded(1));
        scene.announcer.handle_reply(scene.now, ROUTER, &forged);
        let mut mirror = message;
        mirror[90] ^= 1;
        scene.announcer.handle_reply(scene.now, ROUTER, &mirror);
        scene.announcer.handle_reply(scene.now, ROUTER, b"garbage");
        assert_eq!(scene.announcer.counters().forged, 3);
        let elsewhere = Ipv4Addr::new(203, 0, 113, 3);
        scene.announcer.handle_reply(scene.now, elsewhere, &message);
        let unasked = scene.row.keys.seal_notice(NoticeKind::Answer, counter + 1, &body, &mut Seeded(1));
        scene.announcer.handle_reply(scene.now, ROUTER, &unasked);
        let another_id = NotificationAnswer { id: 2, origin: None, outcome: GUIDED }.emit();
        let wrong = scene.row.keys.seal_notice(NoticeKind::Answer, counter, &another_id, &mut Seeded(1));
        scene.announcer.handle_reply(scene.now, ROUTER, &wrong);
        assert_eq!((scene.announcer.counters().unmatched, scene.announcer.counters().forged), (2, 4));
        assert_eq!(scene.outputs(), []);
        assert_eq!(scene.announcer.under_way(), 1);
    }

    #[test]
    fn a_flood_of_questions_has_a_bound() {
        let mut scene = Scene::new(Without::Refuse);
        for number in 0..EXCHANGES_MAX {
            assert!(matches!(scene.ask(1, 7, &format!("n{number}.home.example.net")), Asking::Wait(_)));
        }
        let busy = Asking::Now(Verdict::Refuse(Refusal::Busy));
        assert_eq!(scene.ask(1, 7, "one-more.home.example.net"), busy);
        for _ in 0..20 {
            scene.pass(WAIT);
            scene.outputs();
        }
        assert_eq!(scene.announcer.under_way(), 0);
        assert!(scene.announcer.by_counter.is_empty() && scene.announcer.by_subject.is_empty());
        assert_eq!(scene.announcer.poll_timeout(), None);
    }
}
