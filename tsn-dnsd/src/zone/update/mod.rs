//! Dynamic update (RFC 2136), signed (RFC 8945): all of an update or nothing, and an answer only when it is saved.
//!
//! ```text
//! packet ── signature ── zone ── key may? ── prerequisites ── prescan ── edit ──▶ UpdateOutcome::Save(Change)
//!             │ refused     │ NOTAUTH │ REFUSED    │ NXRRSET …  │ NOTZONE               │ io saves change.journal()
//!             ▼             ▼         ▼            ▼            ▼                       ▼
//!          UpdateOutcome::Reply                                        reply ◀── commit or abandon
//! ```
//!
//! Whether a key may update is asked before the prerequisites (RFC 3007, 3.1), so that they tell strangers nothing.

mod edit;
mod prerequisite;
mod request;

pub(super) use self::request::zone_section;

use std::fmt;

use domain::base::iana::{Class, Rcode, TsigRcode};

use self::{
    edit::Edit,
    request::{Request, is_update},
};
use super::{
    counters::raise,
    journal::ChangeText,
    name::{Path, Shown},
    records::Records,
    tsig::{Checked, Session},
    zones::{Zone, Zones},
};

/// UDP payload that the reply's OPT record offers (DNS flag day 2020).
const UDP_SIZE: u16 = 1232;

/// Why an update is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Malformed,
    NotOurZone,
    OutsideZone,
    NotAllowed,
    Prerequisite(Rcode),
    FixedRecords,
    TypeNotTaken,
    TooManyRecords,
    TooOld,
    Version,
}

impl Refusal {
    fn rcode(self) -> Rcode {
        match self {
            Self::Malformed => Rcode::FORMERR,
            Self::NotOurZone | Self::TooOld => Rcode::NOTAUTH,
            Self::OutsideZone => Rcode::NOTZONE,
            Self::Prerequisite(rcode) => rcode,
            Self::NotAllowed | Self::FixedRecords | Self::TypeNotTaken | Self::TooManyRecords => {
                Rcode::REFUSED
            }
            // The lower bits of BADVERS; the others stand in the OPT record.
            Self::Version => Rcode::NOERROR,
        }
    }
}

/// What to do about an update.
#[derive(Debug)]
pub enum UpdateOutcome {
    /// Nothing: it is no update.
    Ignore,
    /// Send this.
    Reply(Vec<u8>),
    /// Save this first, then [`Zones::commit`] it and send what that returns; or [`Zones::abandon`] it.
    Save(Box<Change>),
}

/// A change of a zone that is not made yet.
#[derive(Debug)]
pub struct Change {
    apex: Box<[u8]>,
    generation: u64,
    names: Vec<(Box<[u8]>, Records)>,
    serial: u32,
    journal: String,
    session: Session,
    reply: Vec<u8>,
    failure: Vec<u8>,
}

impl Change {
    /// The zone whose file it belongs to.
    pub fn zone_name(&self) -> String {
        Shown(&self.apex).to_string()
    }

    /// What to append to that file and to write through to the disk.
    pub fn journal(&self) -> &str {
        &self.journal
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {} updates {}:", Shown(&self.session.path()), self.zone_name())?;
        for (path, records) in self.names.iter().take(8) {
            write!(f, " {} ({} records)", Shown(&[&*self.apex, path].concat()), records.len())?;
        }
        write!(f, ", serial {}", self.serial)
    }
}

/// A request that is being answered.
struct Exchange<'p> {
    packet: &'p [u8],
    session: Option<Session>,
    edns: Option<u8>,
}

impl Zones {
    /// Handles a packet with opcode UPDATE; `now` in Unix seconds.
    pub fn handle_update(&mut self, packet: &[u8], now: u64) -> UpdateOutcome {
        if !is_update(packet) {
            return UpdateOutcome::Ignore;
        }
        let mut exchange = Exchange { packet, session: None, edns: None };
        let Ok(checked) = self.keys.check(packet, now) else {
            return self.refuse(&exchange, Refusal::Malformed);
        };
        match checked {
            Checked::Unsigned => {}
            Checked::Refused(error, session) => {
                self.count_tsig(error);
                exchange.session = Some(session);
                return exchange.answer(Rcode::NOTAUTH);
            }
            Checked::Signed(session) => exchange.session = Some(session),
        }
        let Ok(request) = Request::parse(packet) else { return self.refuse(&exchange, Refusal::Malformed) };
        exchange.edns = request.edns;
        self.perform(exchange, &request)
    }

    /// Makes a saved change; returns the reply to send.
    pub fn commit(&mut self, change: Change) -> Vec<u8> {
        let current = |zone: &&mut Zone| zone.apex == change.apex && zone.generation == change.generation;
        let Some(zone) = self.zones.iter_mut().find(current) else { return self.abandon(change) };
        for (path, records) in change.names {
            zone.tree.set_learned(&path, records);
        }
        zone.soa.set_serial(change.serial);
        zone.signed.insert(change.session.path(), change.session.time_signed);
        zone.generation += 1;
        self.seen.remember(&change.session, Rcode::NOERROR);
        raise(&mut self.counters.updates);
        change.reply
    }

    /// Gives up a change that could not be saved; returns the reply to send.
    pub fn abandon(&mut self, change: Change) -> Vec<u8> {
        raise(&mut self.counters.updates_not_saved);
        change.failure
    }

    fn perform(&mut self, mut exchange: Exchange<'_>, request: &Request<'_>) -> UpdateOutcome {
        let planned = self.permitted(&mut exchange, request).and_then(|permitted| match permitted {
            Permitted::Again(rcode) => Ok(Planned::Again(rcode)),
            Permitted::Now(index, session) => self.plan(index, session, request),
        });
        match planned {
            Ok(Planned::Again(rcode)) => {
                raise(&mut self.counters.updates_repeated);
                exchange.answer(rcode)
            }
            Ok(Planned::Nothing) => {
                raise(&mut self.counters.updates_without_change);
                self.remember(&exchange, Rcode::NOERROR);
                exchange.answer(Rcode::NOERROR)
            }
            Ok(Planned::Change(mut change)) => {
                change.reply = exchange.reply(Rcode::NOERROR);
                change.failure = exchange.reply(Rcode::SERVFAIL);
                UpdateOutcome::Save(change)
            }
            Err(refusal) => {
                if matches!(refusal, Refusal::Prerequisite(_)) {
                    self.remember(&exchange, refusal.rcode());
                }
                self.refuse(&exchange, refusal)
            }
        }
    }

    /// Finds the zone and whether the signer may update it (RFC 2136, 3.1 and 3.3).
    fn permitted(&self, exchange: &mut Exchange<'_>, request: &Request<'_>) -> Result<Permitted, Refusal> {
        if exchange.edns.is_some_and(|version| version > 0) {
            return Err(Refusal::Version);
        }
        let path = Path::of(&request.zone).ok_or(Refusal::Malformed)?;
        let zone = self.zone_at(path.as_slice()).filter(|_| request.class == Class::IN);
        let (index, zone) = zone.ok_or(Refusal::NotOurZone)?;
        let session = exchange.session.clone().ok_or(Refusal::NotAllowed)?;
        if !zone.update_keys.contains(&session.path()) {
            return Err(Refusal::NotAllowed);
        }
        if let Some(rcode) = self.seen.answered(&session) {
            return Ok(Permitted::Again(rcode));
        }
        if self.seen.is_too_old(&session) || zone.is_replay(&session) {
            exchange.session = Some(session.bad_time());
            return Err(Refusal::TooOld);
        }
        Ok(Permitted::Now(index, session))
    }

    fn plan(&self, index: usize, session: Session, request: &Request<'_>) -> Result<Planned, Refusal> {
        let zone = self.zones.get(index).ok_or(Refusal::NotOurZone)?;
        let malformed = |_| Refusal::Malformed;
        let prerequisites = request.prerequisites().map_err(malformed)?;
        let updates = request.updates().map_err(malformed)?;
        prerequisite::check(zone, &prerequisites)?;
        let mut edit = Edit::new(zone);
        edit.prescan(&updates)?;
        updates.iter().try_for_each(|entry| edit.apply(entry))?;
        let Some((names, serial)) = edit.finish()? else { return Ok(Planned::Nothing) };
        let mut text = ChangeText::new(&zone.apex);
        names.iter().for_each(|(path, records)| text.name(path, records));
        text.signed(&session.path(), session.time_signed);
        Ok(Planned::Change(Box::new(Change {
            apex: zone.apex.clone(),
            generation: zone.generation,
            names,
            serial,
            journal: text.commit(serial),
            session,
            reply: Vec::new(),
            failure: Vec::new(),
        })))
    }

    fn remember(&mut self, exchange: &Exchange<'_>, rcode: Rcode) {
        if let Some(session) = &exchange.session {
            self.seen.remember(session, rcode);
        }
    }

    fn refuse(&mut self, exchange: &Exchange<'_>, refusal: Refusal) -> UpdateOutcome {
        let counters = &mut self.counters;
        raise(match refusal {
            Refusal::Malformed | Refusal::Version => &mut counters.updates_malformed,
            Refusal::NotOurZone => &mut counters.updates_not_our_zone,
            Refusal::OutsideZone => &mut counters.updates_outside_zone,
            Refusal::NotAllowed | Refusal::TypeNotTaken => &mut counters.updates_refused,
            Refusal::Prerequisite(_) => &mut counters.updates_prerequisite,
            Refusal::FixedRecords => &mut counters.updates_of_fixed_records,
            Refusal::TooManyRecords => &mut counters.updates_too_many_records,
            Refusal::TooOld => &mut counters.tsig_bad_time,
        });
        log::debug!("an update is refused: {refusal:?}");
        exchange.answer(refusal.rcode())
    }

    pub(super) fn count_tsig(&mut self, error: TsigRcode) {
        let counters = &mut self.counters;
        raise(match error {
            TsigRcode::BADKEY => &mut counters.tsig_bad_key,
            TsigRcode::BADTIME => &mut counters.tsig_bad_time,
            TsigRcode::BADTRUNC => &mut counters.tsig_truncated,
            _ => &mut counters.tsig_bad_signature,
        });
    }
}

/// Who may go on.
enum Permitted {
    /// The message was answered so before.
    Again(Rcode),
    /// The signer may update the zone of this number.
    Now(usize, Session),
}

/// What is to be done.
enum Planned {
    Again(Rcode),
    Nothing,
    Change(Box<Change>),
}

impl Zone {
    /// Whether the message was signed before one of the same key that is already in the zone: after a restart nothing
    /// else tells a replay.
    fn is_replay(&self, session: &Session) -> bool {
        let last = self.signed_before_start.get(&session.path());
        last.is_some_and(|last| session.time_signed < *last)
    }
}

impl Exchange<'_> {
    fn answer(&self, rcode: Rcode) -> UpdateOutcome {
        UpdateOutcome::Reply(self.reply(rcode))
    }

    /// The reply (RFC 2136, 3.8): id and opcode of the request, its zone, OPT if it had one, and a signature.
    fn reply(&self, rcode: Rcode) -> Vec<u8> {
        let zone = zone_section(self.packet).unwrap_or_default();
        let mut reply = Vec::with_capacity(256);
        reply.extend_from_slice(self.packet.get(..2).unwrap_or(&[0; 2]));
        // QR, opcode 5.
        reply.extend([0x80 | 5 << 3, rcode.to_int()]);
        reply.extend([0, u8::from(!zone.is_empty()), 0, 0, 0, 0, 0, u8::from(self.edns.is_some())]);
        reply.extend_from_slice(zone);
        if let Some(version) = self.edns {
            // RFC 6891, 6.1.3: 16 is BADVERS.
            let extended = u8::from(version > 0);
            let [high, low] = UDP_SIZE.to_be_bytes();
            reply.extend([0, 0, 41, high, low, extended, 0, 0, 0, 0, 0]);
        }
        match &self.session {
            Some(session) => session.sign(reply),
            None => reply,
        }
    }
}
