//! What the tests of the zones share: a small zone, and messages made without the code under test.

mod answers;
mod hostile;
mod saved;
mod signatures;
mod updates;
mod vectors;

use domain::base::{
    Message, MessageBuilder, Name, Rtype,
    iana::{Class, Opcode, Rcode},
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{Config, KeySetting, RecordSetting, UpdateOutcome, ZoneSetting, Zones};

/// 2025-11-21, some time of the day.
pub(crate) const NOW: u64 = 1_763_700_000;
pub(super) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

pub(super) fn record(name: &str, rtype: &str, value: &str) -> RecordSetting {
    RecordSetting { name: name.into(), rtype: rtype.into(), value: value.into(), ttl: None }
}

pub(crate) fn key(name: &str, algorithm: &str) -> KeySetting {
    KeySetting { name: name.into(), algorithm: algorithm.into(), secret: SECRET.to_vec().into() }
}

pub(super) fn zone(name: &str) -> ZoneSetting {
    ZoneSetting {
        name: name.into(),
        ttl: 60,
        ns: vec!["ns.example.net".into()],
        mail: None,
        update_keys: vec!["alice".into()],
        records_max: 100,
    }
}

/// `home.example.net` with these records, and keys of every algorithm; `alice` may update.
pub(super) fn config(records: &[(&str, &str, &str)]) -> Config {
    Config {
        zones: vec![zone("home.example.net")],
        records: records.iter().map(|(name, rtype, value)| record(name, rtype, value)).collect(),
        keys: vec![
            key("alice", "hmac-sha256"),
            key("old.example.net", "hmac-sha1"),
            key("k384", "hmac-sha384"),
            key("k512", "hmac-sha512"),
        ],
    }
}

pub(super) fn zones(records: &[(&str, &str, &str)]) -> Zones {
    Zones::new(&config(records), NOW).unwrap()
}

pub(super) fn name(text: &str) -> Name<Vec<u8>> {
    Name::vec_from_str(text).unwrap()
}

/// One answer as lines of text: `rcode aa`, then `section name ttl type data`, read by another parser than ours.
pub(super) fn asked(zones: &Zones, qname: &str, qtype: Rtype) -> Vec<String> {
    let Some(answer) = zones.answer(&name(qname), qtype) else { return vec!["not ours".into()] };
    let mut builder = MessageBuilder::new_vec().question();
    builder.push((name(qname), qtype, Class::IN)).unwrap();
    let mut packet = builder.finish();
    packet[2] = 0x80;
    for (n, count) in answer.counts.iter().enumerate() {
        packet[6 + 2 * n..8 + 2 * n].copy_from_slice(&count.to_be_bytes());
    }
    packet.extend(&answer.sections);
    let mut lines = vec![format!("{}{}", answer.rcode, if answer.authoritative { " aa" } else { "" })];
    lines.extend(records(&packet));
    if let Some(beyond) = answer.beyond {
        lines.push(format!("beyond {beyond}"));
    }
    lines
}

/// The records of a packet, but for OPT and TSIG.
pub(super) fn records(packet: &[u8]) -> Vec<String> {
    let message = Message::from_slice(packet).unwrap();
    let (_, answer, authority, additional) = message.sections().unwrap();
    let mut lines = Vec::new();
    for (title, section) in [("an", answer), ("ns", authority), ("ad", additional)] {
        for record in section {
            let record = record.unwrap();
            let record = record.to_any_record::<domain::rdata::AllRecordData<_, _>>().unwrap();
            if !matches!(record.rtype(), Rtype::OPT | Rtype::TSIG) {
                let (ttl, rtype) = (record.ttl().as_secs(), record.rtype());
                let data = record.data().to_string().replace(". ", " ");
                let data = data.strip_suffix('.').unwrap_or(&data);
                lines.push(format!("{title} {} {ttl} {rtype} {data}", record.owner()));
            }
        }
    }
    lines
}

/// An update in the making.
#[derive(Clone)]
pub(super) struct Update {
    zone: String,
    prerequisites: Vec<Part>,
    updates: Vec<Part>,
    key: String,
    time: u64,
    id: u16,
}

/// Owner, type, class, TTL, data.
type Part = (String, Rtype, Class, u32, Vec<u8>);

impl Update {
    pub(super) fn new() -> Self {
        let (prerequisites, updates) = (Vec::new(), Vec::new());
        Self {
            zone: "home.example.net".into(),
            prerequisites,
            updates,
            key: "alice".into(),
            time: NOW,
            id: 7,
        }
    }

    pub(super) fn of_zone(mut self, zone: &str) -> Self {
        self.zone = zone.into();
        self
    }

    pub(super) fn signed_by(mut self, key: &str) -> Self {
        self.key = key.into();
        self
    }

    pub(super) fn at(mut self, time: u64) -> Self {
        self.time = time;
        self
    }

    pub(super) fn needs(mut self, owner: &str, rtype: Rtype, class: Class, rdata: &[u8]) -> Self {
        self.prerequisites.push((owner.into(), rtype, class, 0, rdata.to_vec()));
        self
    }

    pub(super) fn part(mut self, owner: &str, rtype: Rtype, class: Class, ttl: u32, rdata: &[u8]) -> Self {
        self.updates.push((owner.into(), rtype, class, ttl, rdata.to_vec()));
        self
    }

    pub(super) fn add(self, owner: &str, rtype: Rtype, rdata: &[u8]) -> Self {
        self.part(owner, rtype, Class::IN, 300, rdata)
    }

    pub(super) fn add_a(self, owner: &str, last: u8) -> Self {
        self.add(owner, Rtype::A, &[192, 0, 2, last])
    }

    pub(super) fn delete(self, owner: &str, rtype: Rtype) -> Self {
        self.part(owner, rtype, Class::ANY, 0, &[])
    }

    pub(super) fn delete_one(self, owner: &str, rtype: Rtype, rdata: &[u8]) -> Self {
        self.part(owner, rtype, Class::NONE, 0, rdata)
    }

    /// The message without a signature.
    pub(super) fn bare(&self) -> Vec<u8> {
        let mut builder = MessageBuilder::new_vec().question();
        builder.header_mut().set_opcode(Opcode::UPDATE);
        builder.header_mut().set_id(self.id);
        builder.push((name(&self.zone), Rtype::SOA, Class::IN)).unwrap();
        let mut packet = builder.finish();
        for (owner, rtype, class, ttl, rdata) in self.prerequisites.iter().chain(&self.updates) {
            packet.extend(name(owner).as_slice());
            packet.extend(rtype.to_int().to_be_bytes());
            packet.extend(class.to_int().to_be_bytes());
            packet.extend(ttl.to_be_bytes());
            packet.extend(u16::try_from(rdata.len()).unwrap().to_be_bytes());
            packet.extend(rdata);
        }
        packet[7] = u8::try_from(self.prerequisites.len()).unwrap();
        packet[8..10].copy_from_slice(&u16::try_from(self.updates.len()).unwrap().to_be_bytes());
        packet
    }

    /// The message, signed with HMAC-SHA256 by a second implementation.
    pub(super) fn signed(&self) -> Vec<u8> {
        sign(self.bare(), &self.key, self.time, &[], 32)
    }

    /// What the zones make of it.
    pub(super) fn send(&self, zones: &mut Zones) -> Rcode {
        let reply = deliver(zones, &self.signed());
        Message::from_octets(reply).unwrap().header().rcode()
    }
}

/// Hands a packet over, saves and commits; the reply.
pub(super) fn deliver(zones: &mut Zones, packet: &[u8]) -> Vec<u8> {
    match zones.handle_update(packet, NOW) {
        UpdateOutcome::Reply(reply) => reply,
        UpdateOutcome::Save(change) => zones.commit(*change),
        UpdateOutcome::Ignore => panic!("the update is ignored"),
    }
}

/// RFC 8945, 4.3, spelled out once more; `request_mac` in replies.
pub(crate) fn sign(
    mut packet: Vec<u8>,
    key: &str,
    time: u64,
    request_mac: &[u8],
    mac_length: usize,
) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).unwrap();
    if !request_mac.is_empty() {
        mac.update(&u16::try_from(request_mac.len()).unwrap().to_be_bytes());
        mac.update(request_mac);
    }
    mac.update(&packet);
    let mut variables = name(key).as_slice().to_vec();
    variables.extend([0, 255, 0, 0, 0, 0]);
    variables.extend(b"\x0bhmac-sha256\0");
    variables.extend(&time.to_be_bytes()[2..]);
    variables.extend([1, 44, 0, 0, 0, 0]);
    mac.update(&variables);
    let mac = &mac.finalize().into_bytes()[..mac_length];
    let mut rdata = b"\x0bhmac-sha256\0".to_vec();
    rdata.extend(&time.to_be_bytes()[2..]);
    rdata.extend([1, 44]);
    rdata.extend(u16::try_from(mac.len()).unwrap().to_be_bytes());
    rdata.extend(mac);
    rdata.extend(&packet[..2]);
    rdata.extend([0, 0, 0, 0]);
    packet.extend(name(key).as_slice());
    packet.extend([0, 250, 0, 255, 0, 0, 0, 0]);
    packet.extend(u16::try_from(rdata.len()).unwrap().to_be_bytes());
    packet.extend(rdata);
    packet[11] = packet[11].wrapping_add(1);
    packet
}

/// Octets of hex digits.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map(|d| u8::try_from(d).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect()
}
