//! Communication notifications (T4): a TSN server says who is about to connect to which name, and hears what became
//! of it only when the kernel catches that client's first packets.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use natf_proto::{
    Freshness, GuideOutcome, HostName, KeyId, Notice, NoticeKind, Notification, NotificationAnswer, Reason,
};

use super::{
    access::Requester,
    counters::Counter,
    guide::RowKey,
    output::{Arrival, Handled, Now, Output},
    peer::Role,
    refusals::Refused,
    router::Router,
};

/// A source whose first packets the kernel catches.
#[derive(Debug, Default)]
pub(super) struct Caught {
    /// The second up to which it does.
    until: u32,
    /// Whether it has confirmed that.
    standing: bool,
    /// Notifications that are answered then.
    waiting: Vec<Question>,
}

/// A notification that is answered when the kernel has done its part.
#[derive(Debug, Clone, Copy)]
struct Question {
    arrival: Arrival,
    counter: u64,
    id: u16,
    origin: Option<Ipv4Addr>,
    row: RowKey,
}

impl Router {
    /// Takes a notice that came in at `arrival`.
    pub(super) fn handle_notice(&mut self, now: Now, arrival: &Arrival, bytes: &[u8]) -> Handled {
        let Ok(notice) = Notice::parse(bytes) else { return self.ignore(Counter::Malformed) };
        let Notice { kind, key, counter, .. } = notice;
        if kind != NoticeKind::Notification {
            return self.ignore(Counter::UnexpectedKind);
        }
        let opened = self.open(key, counter, |keys| keys.open_notice(&notice));
        let (body, freshness) = match opened {
            Ok(opened) => opened,
            Err(why) => return self.ignore(why),
        };
        let Ok(notification) = Notification::parse(&body) else {
            self.counters.count(Counter::Malformed);
            return Handled::Consumed;
        };
        if let Freshness::Stale { floor } = freshness {
            if self.may_answer_stale(now, arrival) {
                let outcome = GuideOutcome::Stale { floor };
                self.answer_notice(arrival, key, counter, &notification, outcome);
            }
            return Handled::Consumed;
        }
        self.use_counter(now, key, counter);
        self.handle_notification(now, arrival, key, counter, &notification);
        Handled::Consumed
    }

    fn handle_notification(
        &mut self,
        now: Now,
        arrival: &Arrival,
        peer: KeyId,
        counter: u64,
        notification: &Notification,
    ) {
        let source = notification.origin.unwrap_or(arrival.from);
        if source.is_loopback() || source.is_multicast() || source.is_broadcast() || source.is_unspecified() {
            return self.counters.count(Counter::Malformed);
        }
        self.counters.count(Counter::Notifications);
        match self.note(now, peer, source, notification) {
            Ok(row) => {
                let Notification { id, origin, .. } = *notification;
                let question = Question { arrival: *arrival, counter, id, origin, row };
                self.catch(now, question);
            }
            Err(reason) => {
                let refused = Refused { peer, from: source, host: notification.name, service: None, reason };
                self.note_refusal(now.unix, refused);
                let outcome = GuideOutcome::Refused(Some(reason));
                self.answer_notice(arrival, peer, counter, notification, outcome);
            }
        }
    }

    /// Fills the row (T4).
    fn note(
        &mut self,
        now: Now,
        peer: KeyId,
        source: Ipv4Addr,
        notification: &Notification,
    ) -> Result<RowKey, Reason> {
        let host = self.host_for(now, peer, &notification.name)?;
        let host = self.names.number(&host).ok_or(Reason::TableFull)?;
        let (row, seconds) = (RowKey { source, peer, host }, self.seconds(now.instant));
        let lifetime = whole_seconds(self.limits.guide_lifetime);
        let is_new = self.guide.table.find(row).is_none_or(|row| row.expires <= seconds);
        self.guide.table.note(seconds, row, notification.id, lifetime, self.limits.max_guide)?;
        if is_new {
            // What no row fitted may fit this one.
            let flows = self.guide.passing.forget(seconds, source);
            self.outputs.extend(flows.into_iter().map(Output::Unpass));
        }
        Ok(row)
    }

    /// The host behind a name, where the TSN server may announce it. The access control table's own names come before
    /// learned ones (T1): no host can take another's name by registering it.
    ///
    /// # Errors
    /// The reason of the first check that fails.
    pub fn host_for(&self, now: Now, peer: KeyId, name: &HostName) -> Result<HostName, Reason> {
        let admitted = |host: &HostName| self.may_announce(now, peer, host).map(|_| *host);
        if let Some(host) = self.below_domain(name) {
            match admitted(&host) {
                Err(Reason::UnknownHost) => {}
                decided => return decided,
            }
        }
        let address = self.registrations.address_of(name, self.seconds(now.instant));
        let hosts = || address.into_iter().flat_map(|address| self.access.names_of(address));
        let first = hosts().next().map_or(Err(Reason::UnknownHost), admitted);
        hosts().map(admitted).find(Result::is_ok).unwrap_or(first)
    }

    /// Decides whether a TSN server may announce clients to a host of the access control table, and where that is.
    ///
    /// # Errors
    /// The reason of the first check that fails.
    pub fn may_announce(&self, now: Now, peer: KeyId, host: &HostName) -> Result<Ipv4Addr, Reason> {
        let requester = match self.peers.find(peer) {
            Some(peer) if peer.role == Role::Tsn => Requester::Peer { name: &peer.name, hosts: &peer.hosts },
            _ => return Err(Reason::PeerNotAllowed),
        };
        let row = self.access.admit(requester, host, now.unix)?;
        self.access.address(row).ok_or(Reason::HostAway)
    }

    /// The private host name within a full name: what stands before one of the home's domains; its first label where
    /// the home has none. Of two domains that fit, the longer one counts.
    pub fn below_domain(&self, name: &HostName) -> Option<HostName> {
        let name = name.as_str();
        let before = |domain: &str| name.strip_suffix(domain)?.strip_suffix('.');
        let private = match self.domains.is_empty() {
            false => {
                let found = self.domains.iter().filter_map(|domain| before(domain));
                found.min_by_key(|private| private.len())?
            }
            true => name.split('.').next()?,
        };
        private.parse().ok()
    }

    /// Has the source's first packets caught for as long as the row lives, and a while longer, so that the kernel is
    /// not bothered with every notification.
    fn catch(&mut self, now: Now, question: Question) {
        let seconds = self.seconds(now.instant);
        let lifetime = whole_seconds(self.limits.guide_lifetime);
        let source = question.row.source;
        let caught = self.guide.caught.entry(source).or_default();
        let until = seconds.saturating_add(lifetime);
        if caught.standing && caught.until >= until {
            return self.grant_notice(now.instant, &question);
        }
        caught.waiting.push(question);
        if caught.until < until {
            caught.until = until.saturating_add(lifetime);
            let timeout = self.limits.guide_lifetime.saturating_mul(2);
            self.outputs.push_back(Output::Catch { source, timeout });
        }
    }

    /// The kernel's answer to [`Output::Catch`].
    pub fn handle_caught(&mut self, now: Now, source: Ipv4Addr, done: bool) {
        let Some(caught) = self.guide.caught.get_mut(&source) else { return };
        caught.standing = done;
        let questions = std::mem::take(&mut caught.waiting);
        if done {
            for question in questions {
                self.grant_notice(now.instant, &question);
            }
            return;
        }
        caught.until = 0;
        self.counters.count(Counter::KernelRefused);
        for question in questions {
            self.guide.table.remove(question.row);
            self.counters.refuse(Reason::Busy);
            self.tell(&question, GuideOutcome::Refused(Some(Reason::Busy)));
        }
        self.uncatch_unguided(source);
    }

    fn grant_notice(&mut self, now: Instant, question: &Question) {
        let seconds = self.seconds(now);
        // Revoked in the same moment: the next flow would not be led either.
        let outcome = match self.guide.table.find(question.row) {
            Some(row) => {
                let lifetime = Duration::from_secs(row.expires.saturating_sub(seconds).into());
                GuideOutcome::Guided { lifetime }
            }
            None => GuideOutcome::Refused(Some(Reason::Denied)),
        };
        self.tell(question, outcome);
    }

    fn tell(&mut self, question: &Question, outcome: GuideOutcome) {
        let Question { arrival, counter, id, origin, row } = *question;
        self.send_notice(&arrival, row.peer, counter, &NotificationAnswer { id, origin, outcome });
    }

    fn answer_notice(
        &mut self,
        arrival: &Arrival,
        peer: KeyId,
        counter: u64,
        notification: &Notification,
        outcome: GuideOutcome,
    ) {
        let Notification { id, origin, .. } = *notification;
        self.send_notice(arrival, peer, counter, &NotificationAnswer { id, origin, outcome });
    }

    fn send_notice(&mut self, arrival: &Arrival, peer: KeyId, counter: u64, answer: &NotificationAnswer) {
        // Removed between question and answer.
        let Some(peer) = self.peers.find(peer) else { return };
        let (kind, random) = (NoticeKind::Answer, self.random.as_mut());
        let message = peer.keys.seal_notice(kind, counter, &answer.emit(), random);
        self.outputs.push_back(Output::SendNotice { arrival: *arrival, message });
    }

    /// Stops catching a source that has no row any more (T8).
    pub(super) fn uncatch_unguided(&mut self, source: Ipv4Addr) {
        let has_row = self.guide.table.rows_of(source, 0).next().is_some();
        if !has_row && self.guide.caught.remove(&source).is_some_and(|caught| caught.standing) {
            self.outputs.push_back(Output::Uncatch(source));
        }
    }

    /// The table in the kernel was written anew: the sets in it are empty.
    pub fn handle_sets_lost(&mut self, now: Instant) {
        let seconds = self.seconds(now);
        self.guide.passing.clear();
        for (source, caught) in &mut self.guide.caught {
            let left = caught.until.saturating_sub(seconds);
            if left > 0 {
                let timeout = Duration::from_secs(left.into());
                self.outputs.push_back(Output::Catch { source: *source, timeout });
            }
        }
    }
}

pub(super) fn whole_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
