//! Answers of upstream servers, found by their question's [`Key`]. Bounded in entries and in bytes.
//!
//! An answer whose time is over stays for a while, to serve while no upstream server answers (RFC 8767). What makes room
//! for a new one is chosen by a clock's hand: it passes over answers that were used since it came by last.

use std::hash::{BuildHasher, RandomState};

use domain::base::iana::Rcode;
use hashbrown::{HashTable, hash_table::Entry};

use super::{
    answer::{Age, Answer},
    question::Key,
};

/// Bytes of an entry besides its answer.
const OVERHEAD: usize = size_of::<Slot>() + 24;
/// Entries that the hand looks at for one that makes room; then it takes the next one, used or not.
const LOOKS_MAX: usize = 32;

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Answers.
    pub entries: usize,
    /// Bytes of all answers.
    pub bytes: usize,
    /// Seconds that an answer stays after its time.
    pub stale: u32,
}

/// What is known.
#[derive(Debug)]
pub enum Found<'a> {
    /// It holds; it came so many seconds ago.
    Fresh(&'a Answer, u32),
    /// Its time is over.
    Stale(&'a Answer, Retry),
}

impl<'a> Found<'a> {
    /// The answer, and how its TTLs count.
    pub fn with_age(self) -> (&'a Answer, Age) {
        match self {
            Self::Fresh(answer, seconds) => (answer, Age { seconds, ..Age::NEW }),
            Self::Stale(answer, _) => (answer, Age::STALE),
        }
    }
}

/// Whether to ask for an answer whose time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Ask.
    Now,
    /// Asking failed a moment ago.
    Later,
}

#[derive(Debug)]
struct Slot {
    answer: Answer,
    hash: u64,
    /// Seconds since the server's start.
    came: u32,
    ends: u32,
    retry: u32,
    used: bool,
}

impl Slot {
    /// Seconds that it stays after its time: a failure is of no use then.
    fn stale(&self, limits: CacheLimits) -> u32 {
        let useful = [Rcode::NOERROR, Rcode::NXDOMAIN].contains(&self.answer.rcode());
        if useful { limits.stale } else { 0 }
    }
}

/// The cache.
#[derive(Debug)]
pub struct Cache {
    limits: CacheLimits,
    hasher: RandomState,
    table: HashTable<u32>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    hand: usize,
    bytes: usize,
}

impl Cache {
    /// Empty. The hash is keyed by `hasher`, so that nobody can choose names that collide.
    pub fn new(limits: CacheLimits, hasher: RandomState) -> Self {
        let (table, slots, free) = (HashTable::new(), Vec::new(), Vec::new());
        Self { limits, hasher, table, slots, free, hand: 0, bytes: 0 }
    }

    /// Answers in it.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes other limits; what is beyond them goes.
    pub fn set_limits(&mut self, limits: CacheLimits) {
        self.limits = limits;
        while self.is_too_full(0) {
            self.make_room(u32::MAX);
        }
    }

    /// Forgets everything; returns how much that was.
    pub fn flush(&mut self) -> usize {
        let count = self.len();
        *self = Self::new(self.limits, self.hasher.clone());
        count
    }

    /// What is known of a question.
    pub fn find(&mut self, key: &Key, now: u32) -> Option<Found<'_>> {
        let index = self.index_of(key)?;
        let slot = self.slots.get_mut(index)?.as_mut()?;
        let stale = slot.stale(self.limits);
        slot.used = true;
        if now < slot.ends {
            return Some(Found::Fresh(&slot.answer, now.saturating_sub(slot.came)));
        }
        let retry = if now < slot.retry { Retry::Later } else { Retry::Now };
        (now < slot.ends.saturating_add(stale)).then_some(Found::Stale(&slot.answer, retry))
    }

    /// Remembers that asking failed: what is stale serves until `retry` without asking again (RFC 8767, 5).
    pub fn handle_failure(&mut self, key: &Key, retry: u32) {
        if let Some(slot) = self.index_of(key).and_then(|index| self.slots.get_mut(index)?.as_mut()) {
            slot.retry = retry;
        }
    }

    /// Keeps an answer that came now, in place of an older one for its question.
    pub fn insert(&mut self, answer: Answer, now: u32) {
        let size = answer.size() + OVERHEAD;
        if answer.lifetime() == 0 || self.limits.entries == 0 || size > self.limits.bytes / 8 {
            return;
        }
        let hash = self.hasher.hash_one(answer.key());
        self.remove(hash, &answer);
        while self.is_too_full(size) {
            self.make_room(now);
        }
        let ends = now.saturating_add(answer.lifetime());
        let slot = Slot { answer, hash, came: now, ends, retry: 0, used: false };
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Some(place) = usize::try_from(index).ok().and_then(|index| self.slots.get_mut(index)) {
            *place = Some(slot);
            self.bytes += size;
            let slots = &self.slots;
            self.table.insert_unique(hash, index, |index| hash_of(slots, *index));
        }
    }

    fn index_of(&self, key: &Key) -> Option<usize> {
        let hash = self.hasher.hash_one(key.as_slice());
        let found = self.table.find(hash, |index| {
            slot_at(&self.slots, *index).is_some_and(|slot| slot.answer.key() == key.as_slice())
        });
        found.and_then(|index| usize::try_from(*index).ok())
    }

    /// Removes the answer to the same question.
    fn remove(&mut self, hash: u64, answer: &Answer) {
        let slots = &self.slots;
        let same = |index: &u32| slot_at(slots, *index).is_some_and(|slot| slot.answer.key() == answer.key());
        if let Entry::Occupied(entry) = self.table.entry(hash, same, |index| hash_of(slots, *index)) {
            let (index, _) = entry.remove();
            self.release(index);
        }
    }

    fn release(&mut self, index: u32) {
        let slot = usize::try_from(index).ok().and_then(|index| self.slots.get_mut(index)?.take());
        if let Some(slot) = slot {
            self.bytes = self.bytes.saturating_sub(slot.answer.size() + OVERHEAD);
            self.free.push(index);
        }
    }

    /// Whether there is no room for one of `size` bytes more.
    fn is_too_full(&self, size: usize) -> bool {
        let wanted = usize::from(size > 0);
        !self.is_empty()
            && (self.len() + wanted > self.limits.entries || self.bytes + size > self.limits.bytes)
    }

    /// Removes one answer: the first that is of no more use or was not used, but looks at few.
    fn make_room(&mut self, now: u32) {
        let mut looks = 0;
        for _ in 0..self.slots.len() {
            let index = self.hand;
            self.hand = if index + 1 < self.slots.len() { index + 1 } else { 0 };
            let Some(slot) = self.slots.get_mut(index).and_then(Option::as_mut) else { continue };
            looks += 1;
            let over = now >= slot.ends.saturating_add(slot.stale(self.limits));
            if over || !std::mem::take(&mut slot.used) || looks >= LOOKS_MAX {
                let (hash, index) = (slot.hash, u32::try_from(index).unwrap_or(u32::MAX));
                if let Ok(entry) = self.table.find_entry(hash, |found| *found == index) {
                    entry.remove();
                }
                return self.release(index);
            }
        }
    }
}

fn slot_at(slots: &[Option<Slot>], index: u32) -> Option<&Slot> {
    slots.get(usize::try_from(index).ok()?)?.as_ref()
}

fn hash_of(slots: &[Option<Slot>], index: u32) -> u64 {
    slot_at(slots, index).map_or(0, |slot| slot.hash)
}

#[cfg(test)]
mod tests {
    use domain::base::{MessageBuilder, Name};
    use proptest::prelude::*;

    use super::{super::question::Question, *};

    const LIMITS: CacheLimits = CacheLimits { entries: 100, bytes: 1 << 20, stale: 50 };

    /// The question for the name of a number, and an answer of so many bytes.
    fn numbered(number: u32, lifetime: u32, size: usize) -> (Key, Answer) {
        let mut builder = MessageBuilder::new_vec().question();
        let name: Name<Vec<u8>> = format!("host{number}.example.net").parse().unwrap();
        builder.push((&name, domain::base::Rtype::TXT)).unwrap();
        let query = builder.finish();
        let key = *Question::parse(&query).unwrap().key();
        let mut message = query;
        message[7] = 1;
        message.extend([0xc0, 0x0c, 0, 16, 0, 1, 0, 0, 0, 9]);
        message.extend(u16::try_from(size).unwrap().to_be_bytes());
        message.extend(vec![1; size]);
        (key, Answer::new(&key, &message, lifetime).unwrap())
    }

    fn cache(limits: CacheLimits) -> Cache {
        Cache::new(limits, RandomState::new())
    }

    #[test]
    fn an_answer_is_fresh_then_stale_then_gone() {
        let mut cache = cache(LIMITS);
        let (key, answer) = numbered(1, 10, 4);
        cache.insert(answer.clone(), 1000);
        assert!(matches!(cache.find(&key, 1009), Some(Found::Fresh(found, 9)) if *found == answer));
        assert!(matches!(cache.find(&key, 1010), Some(Found::Stale(_, Retry::Now))));
        assert!(matches!(cache.find(&key, 1059), Some(Found::Stale(..))));
        assert!(cache.find(&key, 1060).is_none());
        assert!(cache.find(&numbered(2, 0, 0).0, 1000).is_none());
    }

    #[test]
    fn after_a_failure_the_stale_answer_serves_for_a_while() {
        let mut cache = cache(LIMITS);
        let (key, answer) = numbered(1, 10, 4);
        cache.insert(answer, 0);
        cache.handle_failure(&key, 30);
        assert!(matches!(cache.find(&key, 20), Some(Found::Stale(_, Retry::Later))));
        assert!(matches!(cache.find(&key, 30), Some(Found::Stale(_, Retry::Now))));
    }

    #[test]
    fn a_newer_answer_takes_the_place_of_the_older() {
        let mut cache = cache(LIMITS);
        cache.insert(numbered(1, 10, 4).1, 0);
        let (key, answer) = numbered(1, 99, 40);
        cache.insert(answer.clone(), 5);
        assert_eq!((cache.len(), cache.bytes()), (1, answer.size() + OVERHEAD));
        assert!(matches!(cache.find(&key, 50), Some(Found::Fresh(found, 45)) if *found == answer));
    }

    #[test]
    fn answers_that_are_used_stay_when_room_is_made() {
        let mut cache = cache(LIMITS);
        let used = numbered(0, 1000, 4);
        cache.insert(used.1, 0);
        for number in 1..1000 {
            cache.insert(numbered(number, 1000, 4).1, 0);
            assert!(cache.find(&used.0, 0).is_some(), "{number}");
        }
        assert_eq!(cache.len(), 100);
    }

    #[test]
    fn answers_whose_time_is_over_make_room_first() {
        let mut cache = cache(CacheLimits { stale: 0, ..LIMITS });
        for number in 0..100 {
            cache.insert(numbered(number, if number == 50 { 1 } else { 1000 }, 4).1, 0);
            let _used = cache.find(&numbered(number, 0, 0).0, 0);
        }
        cache.insert(numbered(100, 1000, 4).1, 10);
        assert!(cache.find(&numbered(100, 0, 0).0, 10).is_some());
        assert_eq!(cache.len(), 100);
    }

    #[test]
    fn nothing_is_kept_that_does_not_live_or_fit() {
        let mut small = cache(CacheLimits { entries: 10, bytes: 4096, stale: 0 });
        small.insert(numbered(1, 0, 4).1, 0);
        small.insert(numbered(1, 10, 600).1, 0);
        assert!(small.is_empty());
        let mut none = cache(CacheLimits { entries: 0, ..LIMITS });
        none.insert(numbered(1, 10, 4).1, 0);
        assert!(none.is_empty());
    }

    #[test]
    fn flushing_and_smaller_limits_take_effect_at_once() {
        let mut cache = cache(LIMITS);
        for number in 0..60 {
            cache.insert(numbered(number, 10, 4).1, 0);
        }
        cache.set_limits(CacheLimits { entries: 20, ..LIMITS });
        assert_eq!(cache.len(), 20);
        assert_eq!(cache.flush(), 20);
        assert_eq!((cache.len(), cache.bytes()), (0, 0));
    }

    proptest! {
        #[test]
        fn limits_hold_and_what_is_found_is_what_was_asked(
            inserts in prop::collection::vec((0_u32..40, 1_u32..20, 0_usize..400), 0..200),
        ) {
            let limits = CacheLimits { entries: 15, bytes: 6000, stale: 5 };
            let mut cache = cache(limits);
            for (now, (number, lifetime, size)) in (0..).zip(inserts) {
                let (key, answer) = numbered(number, lifetime, size);
                cache.insert(answer.clone(), now);
                prop_assert!(cache.len() <= limits.entries && cache.bytes() <= limits.bytes);
                let occupied = cache.slots.iter().flatten();
                let bytes: usize = occupied.clone().map(|slot| slot.answer.size() + OVERHEAD).sum();
                prop_assert_eq!((occupied.count(), bytes), (cache.len(), cache.bytes()));
                match cache.find(&key, now) {
                    Some(Found::Fresh(found, 0)) => prop_assert_eq!(found, &answer),
                    other => prop_assert!(other.is_none() && size > 400, "{other:?} {size}"),
                }
            }
        }
    }
}
