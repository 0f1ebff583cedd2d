//! The Guide Table (T2): who is about to connect to which host, as TSN servers announced it, until the first packet
//! says the rest.
//!
//! ```text
//!   notification: G3 -> alice ──▶ row (G3, peer, alice)  lives for seconds, serves all flows of G3 to alice
//!                                   └ turns              one per notification: whose flow comes next (T9)
//!   first packet: G3:s -> G2:d ─▶ rows of G3 that allow d ─▶ the one whose turn it is
//! ```
//!
//! A row is found by its source, and rows of one source are few. Each row has one timer that counts.

use std::{
    collections::{BTreeMap, VecDeque},
    net::Ipv4Addr,
};

use natf_proto::{KeyId, Reason};

/// A repeated notification takes no second turn within this time: DNS clients repeat their questions.
const REPEATED_SECONDS: u32 = 5;
/// Clients connect as soon as they have their answer: turns up to this age come before everything else. One to two
/// seconds, as the clock here counts.
const FRESH_SECONDS: u32 = 1;
/// A turn that nobody took for so long is a question out of curiosity (browsers ask ahead), and must not take the flow of
/// the next one.
const TURN_SECONDS: u32 = 10;
/// Most turns of one row; the oldest go first.
const MAX_TURNS: usize = 32;
/// Most rows of one source, behind which a whole network may stand (T9).
const MAX_PER_SOURCE: usize = 64;

/// Which row: a source has one for each host and TSN server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// G3, the client as it is seen here.
    pub source: Ipv4Addr,
    /// The TSN server that announced it.
    pub peer: KeyId,
    /// Index of the host's name, see [`crate::core::names::Names`].
    pub host: u16,
}

impl RowKey {
    /// The first key of a source.
    fn first_of(source: Ipv4Addr) -> Self {
        Self { source, peer: KeyId(0), host: 0 }
    }

    /// The last key of a source.
    fn last_of(source: Ipv4Addr) -> Self {
        Self { source, peer: KeyId(u16::MAX), host: u16::MAX }
    }
}

/// A row of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// The second from which on it is dead.
    pub expires: u32,
    /// Place of its last notification among all.
    latest: u64,
    /// Place of its last flow among all; 0 where it had none.
    used: u64,
    /// The second of its last flow.
    used_at: u32,
    /// The second of its timer.
    due: u32,
    turns: VecDeque<Turn>,
}

/// One notification's right to the next flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turn {
    /// Place among all notifications.
    order: u64,
    /// Id of the DNS question.
    id: u16,
    /// The second of the notification.
    at: u32,
    spent: bool,
}

impl Turn {
    fn is_waiting(&self, now: u32, age: u32) -> bool {
        !self.spent && now.saturating_sub(self.at) <= age
    }
}

/// How good a row's claim to a flow is, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// Its turn of a moment ago waits; the older notification first (T9).
    Fresh { order: u64 },
    /// Its flows came a moment ago: browsers open several connections for a page.
    Busy { others_after: u64 },
    /// Its older turn waits.
    Waiting { order: u64 },
    /// Nothing waits: whose flows came last, else who was notified last. Names that browsers ask ahead, for the links in
    /// a page, may never be connected to.
    Idle { others_after: u64, notified_after: u64 },
}

impl Row {
    fn claim(&self, now: u32) -> Claim {
        let others_after = u64::MAX - self.used;
        let is_busy = self.used > 0 && now.saturating_sub(self.used_at) <= FRESH_SECONDS;
        match (self.oldest_turn(now, FRESH_SECONDS), self.oldest_turn(now, TURN_SECONDS)) {
            (Some(order), _) => Claim::Fresh { order },
            _ if is_busy => Claim::Busy { others_after },
            (None, Some(order)) => Claim::Waiting { order },
            (None, None) => Claim::Idle { others_after, notified_after: u64::MAX - self.latest },
        }
    }

    fn oldest_turn(&self, now: u32, age: u32) -> Option<u64> {
        self.turns.iter().find(|turn| turn.is_waiting(now, age)).map(|turn| turn.order)
    }

    /// Notifications whose flow has not come yet.
    pub fn waiting(&self, now: u32) -> usize {
        self.turns.iter().filter(|turn| turn.is_waiting(now, TURN_SECONDS)).count()
    }
}

/// A row that may serve a flow, and the inside address it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The row.
    pub key: RowKey,
    /// P1.
    pub inside: Ipv4Addr,
}

/// The row that serves a flow, and the turn that it spent on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// The row and where it leads to.
    pub candidate: Candidate,
    turn: Option<u64>,
}

/// What a notification did to the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// The row is ready.
    Row,
    /// The same notification as a moment ago: nothing changed.
    Repeated,
}

/// All rows, bounded.
#[derive(Debug, Default)]
pub struct GuideTable {
    rows: BTreeMap<RowKey, Row>,
    per_peer: BTreeMap<KeyId, usize>,
    timers: BTreeMap<u32, Vec<RowKey>>,
    notified: u64,
    flows: u64,
}

impl GuideTable {
    /// How many rows there are; those that ended since the last [`Self::expire`] are among them.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All rows in the order of their sources.
    pub fn iter(&self) -> impl Iterator<Item = (&RowKey, &Row)> {
        self.rows.iter()
    }

    /// One row.
    pub fn find(&self, key: RowKey) -> Option<&Row> {
        self.rows.get(&key)
    }

    /// The living rows of a source.
    pub fn rows_of(&self, source: Ipv4Addr, now: u32) -> impl Iterator<Item = RowKey> {
        let range = RowKey::first_of(source)..=RowKey::last_of(source);
        self.rows.range(range).filter(move |(_, row)| row.expires > now).map(|(key, _)| *key)
    }

    /// Takes a notification (T4): makes the row or lets it live on, with one more turn.
    ///
    /// # Errors
    /// [`Reason::TableFull`] where `most` rows exist, or too many of this peer or source. Three quarters of the table
    /// are for one peer at most, so that one TSN server cannot shut another one out.
    pub fn note(
        &mut self,
        now: u32,
        key: RowKey,
        id: u16,
        lifetime: u32,
        most: usize,
    ) -> Result<Noted, Reason> {
        if !self.rows.contains_key(&key) {
            self.make_room(now, key, most)?;
            *self.per_peer.entry(key.peer).or_insert(0) += 1;
        }
        let row = self.rows.entry(key).or_default();
        let repeated =
            row.turns.iter().any(|turn| turn.id == id && now.saturating_sub(turn.at) < REPEATED_SECONDS);
        if repeated {
            return Ok(Noted::Repeated);
        }
        self.notified += 1;
        row.latest = self.notified;
        row.expires = now.saturating_add(lifetime);
        row.turns.retain(|turn| now.saturating_sub(turn.at) <= TURN_SECONDS);
        if row.turns.len() >= MAX_TURNS {
            row.turns.pop_front();
        }
        row.turns.push_back(Turn { order: self.notified, id, at: now, spent: false });
        if row.due == 0 {
            row.due = row.expires;
            self.timers.entry(row.due).or_default().push(key);
        }
        Ok(Noted::Row)
    }

    fn make_room(&self, now: u32, key: RowKey, most: usize) -> Result<(), Reason> {
        let of_peer = self.per_peer.get(&key.peer).copied().unwrap_or(0);
        let of_source = self.rows_of(key.source, now).count();
        let full = self.rows.len() >= most || of_peer >= most - most / 4 || of_source >= MAX_PER_SOURCE;
        if full { Err(Reason::TableFull) } else { Ok(()) }
    }

    /// Chooses among the rows whose host allows the flow, and spends its turn (T9). See [`Row::claim`].
    pub fn choose(&mut self, now: u32, candidates: &[Candidate]) -> Option<Chosen> {
        let claim = |candidate: &&Candidate| self.rows.get(&candidate.key).map(|row| row.claim(now));
        let candidate =
            *candidates.iter().filter(|candidate| claim(candidate).is_some()).min_by_key(claim)?;
        let row = self.rows.get_mut(&candidate.key)?;
        self.flows += 1;
        (row.used, row.used_at) = (self.flows, now);
        let turn = row.oldest_turn(now, TURN_SECONDS);
        self.set_spent(candidate.key, turn, true);
        Some(Chosen { candidate, turn })
    }

    /// The flow came to nothing: the next one has its turn.
    pub fn give_back(&mut self, chosen: &Chosen) {
        self.set_spent(chosen.candidate.key, chosen.turn, false);
    }

    fn set_spent(&mut self, key: RowKey, order: Option<u64>, spent: bool) {
        let turns = self.rows.get_mut(&key).map(|row| row.turns.iter_mut());
        let turn = turns.into_iter().flatten().find(|turn| Some(turn.order) == order);
        if let Some(turn) = turn {
            turn.spent = spent;
        }
    }

    /// Removes a row.
    pub fn remove(&mut self, key: RowKey) -> Option<Row> {
        let row = self.rows.remove(&key)?;
        if let Some(count) = self.per_peer.get_mut(&key.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_peer.remove(&key.peer);
            }
        }
        Some(row)
    }

    /// The second of the next timer.
    pub fn next_due(&self) -> Option<u32> {
        self.timers.first_key_value().map(|(at, _)| *at)
    }

    /// Removes the rows whose time has come.
    pub fn expire(&mut self, now: u32) -> Vec<RowKey> {
        let mut ended = Vec::new();
        while let Some(due) = self.timers.first_entry().filter(|entry| *entry.key() <= now) {
            let (at, keys) = due.remove_entry();
            for key in keys {
                // A row that was removed and made anew meanwhile has another timer.
                let Some(row) = self.rows.get_mut(&key).filter(|row| row.due == at) else { continue };
                if row.expires > now {
                    row.due = row.expires;
                    self.timers.entry(row.due).or_default().push(key);
                } else {
                    self.remove(key);
                    ended.push(key);
                }
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const G3: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
    const ISP: KeyId = KeyId(9);
    const ALICE: u16 = 0;
    const BOB: u16 = 1;
    const LIFETIME: u32 = 30;
    const MOST: usize = 100;

    fn key(host: u16) -> RowKey {
        RowKey { source: G3, peer: ISP, host }
    }

    fn candidate(host: u16) -> Candidate {
        Candidate { key: key(host), inside: Ipv4Addr::new(192, 168, 1, 10 + u8::try_from(host).unwrap()) }
    }

    fn note(table: &mut GuideTable, now: u32, host: u16, id: u16) -> Result<Noted, Reason> {
        table.note(now, key(host), id, LIFETIME, MOST)
    }

    /// The host that the next flow goes to.
    fn next(table: &mut GuideTable, now: u32, hosts: &[u16]) -> Option<u16> {
        let candidates: Vec<_> = hosts.iter().map(|host| candidate(*host)).collect();
        table.choose(now, &candidates).map(|chosen| chosen.candidate.key.host)
    }

    #[test]
    fn t2_a_row_lives_from_its_last_notification() {
        let mut table = GuideTable::default();
        note(&mut table, 1, ALICE, 1).unwrap();
        note(&mut table, 20, ALICE, 2).unwrap();
        assert_eq!(table.expire(31), []);
        assert_eq!((table.rows_of(G3, 49).count(), table.rows_of(G3, 50).count()), (1, 0));
        assert_eq!((table.expire(50), table.is_empty(), table.next_due()), (vec![key(ALICE)], true, None));
    }

    #[test]
    fn t2_a_row_that_is_made_anew_is_not_ended_by_the_timer_of_the_former() {
        let mut table = GuideTable::default();
        note(&mut table, 1, ALICE, 1).unwrap();
        table.remove(key(ALICE)).unwrap();
        note(&mut table, 10, ALICE, 2).unwrap();
        assert_eq!(table.expire(31), []);
        assert_eq!(table.expire(40), [key(ALICE)]);
    }

    #[test]
    fn t4_a_repeated_notification_takes_no_second_turn() {
        let mut table = GuideTable::default();
        assert_eq!(note(&mut table, 1, ALICE, 1), Ok(Noted::Row));
        assert_eq!(note(&mut table, 4, ALICE, 1), Ok(Noted::Repeated));
        assert_eq!(note(&mut table, 7, ALICE, 1), Ok(Noted::Row), "ids come again");
        assert_eq!(table.iter().next().unwrap().1.waiting(7), 2);
    }

    #[test]
    fn t9_competing_rows_have_the_flows_in_the_order_of_their_notifications() {
        let mut table = GuideTable::default();
        note(&mut table, 1, BOB, 1).unwrap();
        note(&mut table, 1, ALICE, 2).unwrap();
        note(&mut table, 1, BOB, 3).unwrap();
        let flows = [(); 4].map(|()| next(&mut table, 2, &[ALICE, BOB]));
        assert_eq!(flows, [BOB, ALICE, BOB, BOB].map(Some), "and then the one whose flow came last");
    }

    #[test]
    fn t9_a_name_that_was_only_asked_ahead_does_not_take_the_further_flows_of_a_page() {
        let mut table = GuideTable::default();
        note(&mut table, 1, ALICE, 1).unwrap();
        assert_eq!(next(&mut table, 1, &[ALICE]), Some(ALICE));
        note(&mut table, 1, BOB, 2).unwrap();
        assert_eq!(next(&mut table, 3, &[ALICE]), Some(ALICE));
        assert_eq!(
            [(); 5].map(|()| next(&mut table, 4, &[ALICE, BOB])),
            [Some(ALICE); 5],
            "the page's images"
        );
        assert_eq!(next(&mut table, 20, &[ALICE, BOB]), Some(ALICE), "and later ones");
        note(&mut table, 30, BOB, 3).unwrap();
        assert_eq!(
            [(); 3].map(|()| next(&mut table, 30, &[ALICE, BOB])),
            [Some(BOB); 3],
            "the link is followed"
        );
    }

    #[test]
    fn t9_a_client_that_is_slow_to_connect_still_has_its_turn() {
        let mut table = GuideTable::default();
        note(&mut table, 1, BOB, 1).unwrap();
        assert_eq!(next(&mut table, 1, &[BOB]), Some(BOB));
        note(&mut table, 1, ALICE, 2).unwrap();
        assert_eq!(next(&mut table, 4, &[ALICE, BOB]), Some(ALICE));
    }

    #[test]
    fn t9_a_row_that_competes_with_none_serves_any_number_of_flows() {
        let mut table = GuideTable::default();
        note(&mut table, 1, ALICE, 1).unwrap();
        note(&mut table, 1, BOB, 2).unwrap();
        assert_eq!([(); 6].map(|()| next(&mut table, 2, &[ALICE])), [Some(ALICE); 6]);
        assert_eq!(next(&mut table, 2, &[ALICE, BOB]), Some(BOB), "alice's turn is spent");
    }

    #[test]
    fn t9_a_question_that_no_flow_followed_does_not_take_the_flow_of_a_later_one() {
        let mut table = GuideTable::default();
        note(&mut table, 1, ALICE, 1).unwrap();
        note(&mut table, 3, BOB, 2).unwrap();
        assert_eq!(next(&mut table, 3, &[ALICE, BOB]), Some(BOB));
        note(&mut table, 40, ALICE, 3).unwrap();
        note(&mut table, 51, BOB, 4).unwrap();
        assert_eq!([(); 2].map(|()| next(&mut table, 53, &[ALICE, BOB])), [Some(BOB); 2]);
    }

    #[test]
    fn t9_a_flow_that_came_to_nothing_gives_its_turn_back() {
        let mut table = GuideTable::default();
        note(&mut table, 1, ALICE, 1).unwrap();
        note(&mut table, 1, BOB, 2).unwrap();
        let chosen = table.choose(1, &[candidate(ALICE), candidate(BOB)]).unwrap();
        assert_eq!(chosen.candidate, candidate(ALICE));
        table.give_back(&chosen);
        assert_eq!(next(&mut table, 1, &[ALICE, BOB]), Some(ALICE));
    }

    #[test]
    fn rows_are_bounded_in_all_per_peer_and_per_source() {
        let mut table = GuideTable::default();
        let hosts = |table: &mut GuideTable, source, peer| {
            (0..200)
                .filter(|host| table.note(1, RowKey { source, peer, host: *host }, 1, 30, MOST).is_ok())
                .count()
        };
        assert_eq!(hosts(&mut table, G3, ISP), MAX_PER_SOURCE);
        assert_eq!(hosts(&mut table, Ipv4Addr::new(198, 51, 100, 11), ISP), 11);
        assert_eq!(hosts(&mut table, Ipv4Addr::new(198, 51, 100, 12), KeyId(10)), 25);
        table.expire(31);
        assert_eq!(hosts(&mut table, G3, ISP), MAX_PER_SOURCE);
    }

    #[test]
    fn turns_of_a_row_are_bounded() {
        let mut table = GuideTable::default();
        for id in 0..1000 {
            note(&mut table, 1, ALICE, id).unwrap();
        }
        assert_eq!(table.iter().next().unwrap().1.turns.len(), MAX_TURNS);
        assert_eq!(table.timers.values().map(Vec::len).sum::<usize>(), 1);
    }
}
