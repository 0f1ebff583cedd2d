//! A checked view of an UPDATE message (RFC 2136, 2).
//!
//! ```text
//! header | zone: one question, type SOA | prerequisites | updates | additional: OPT, TSIG
//! ```

use domain::base::{
    Message, Name, ParsedName, Question, Rtype,
    iana::{Class, Opcode},
    name::{FlattenInto, ToLabelIter},
    record::ParsedRecord,
};

use super::super::{
    name::Path,
    rdata::{Rdata, is_meta, is_stored},
};

/// The zone section begins behind the header (RFC 1035, 4.1.1).
const QUESTION_START: usize = 12;

/// The message can be answered with nothing but FORMERR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::zone) struct FormError;

/// An update of which the head is read: the sections wait until its sender may send them.
#[derive(Debug)]
pub(in crate::zone) struct Request<'p> {
    message: &'p Message<[u8]>,
    /// The zone's name as it was written.
    pub(in crate::zone) zone: Name<Vec<u8>>,
    pub(in crate::zone) class: Class,
    /// The EDNS version, if the client speaks EDNS.
    pub(in crate::zone) edns: Option<u8>,
}

/// A record of the prerequisite or update section. What it stands for depends on class, type and length.
#[derive(Debug)]
pub(in crate::zone) struct Entry {
    pub(in crate::zone) path: Box<[u8]>,
    pub(in crate::zone) rtype: Rtype,
    pub(in crate::zone) class: Class,
    pub(in crate::zone) ttl: u32,
    pub(in crate::zone) data: Data,
}

/// The data of such a record.
#[derive(Debug)]
pub(in crate::zone) enum Data {
    /// No octets at all.
    Empty,
    /// Well-formed data of a type that is stored.
    Known(Vec<u8>),
    /// Data of another type.
    Other,
}

impl<'p> Request<'p> {
    /// Reads a message whose header says that it is an update.
    pub(in crate::zone) fn parse(packet: &'p [u8]) -> Result<Self, FormError> {
        let message = Message::from_slice(packet).map_err(|_| FormError)?;
        let zone = zone_of(message).ok_or(FormError)?;
        if zone.qtype() != Rtype::SOA {
            return Err(FormError);
        }
        Ok(Self { message, zone: zone.qname().flatten_into(), class: zone.qclass(), edns: edns(message)? })
    }

    /// The prerequisite section.
    pub(in crate::zone) fn prerequisites(&self) -> Result<Vec<Entry>, FormError> {
        self.message.answer().map_err(|_| FormError)?.map(entry).collect()
    }

    /// The update section.
    pub(in crate::zone) fn updates(&self) -> Result<Vec<Entry>, FormError> {
        self.message.authority().map_err(|_| FormError)?.map(entry).collect()
    }
}

/// Whether a packet is an update to be answered: long enough, no answer itself.
pub(in crate::zone) fn is_update(packet: &[u8]) -> bool {
    Message::from_slice(packet).is_ok_and(|message| {
        let header = message.header();
        !header.qr() && header.opcode() == Opcode::UPDATE
    })
}

fn entry(record: Result<ParsedRecord<'_, [u8]>, domain::base::wire::ParseError>) -> Result<Entry, FormError> {
    let record = record.map_err(|_| FormError)?;
    let path = Path::of(&record.owner()).ok_or(FormError)?.as_slice().into();
    let data = if record.rdlen() == 0 {
        Data::Empty
    } else if is_stored(record.rtype()) {
        let known = record.to_any_record::<Rdata>().map_err(|_| FormError)?;
        Data::Known(known.into_data().into_octets())
    } else {
        Data::Other
    };
    let (rtype, class, ttl) = (record.rtype(), record.class(), record.ttl().as_secs());
    // Transport records have no business in these sections.
    if is_meta(rtype) && rtype != Rtype::ANY {
        return Err(FormError);
    }
    Ok(Entry { path, rtype, class, ttl, data })
}

/// The version in the OPT record; more than one is an error of form (RFC 6891, 6.1.1).
fn edns(message: &Message<[u8]>) -> Result<Option<u8>, FormError> {
    let mut version = None;
    for record in message.additional().map_err(|_| FormError)? {
        let record = record.map_err(|_| FormError)?;
        if record.rtype() == Rtype::OPT {
            let [_, found, _, _] = record.ttl().as_secs().to_be_bytes();
            if version.replace(found).is_some() || !record.owner().is_root() {
                return Err(FormError);
            }
        }
    }
    Ok(version)
}

/// The zone section as it came, to be repeated in the reply.
pub(in crate::zone) fn zone_section(packet: &[u8]) -> Option<&[u8]> {
    let zone = zone_of(Message::from_slice(packet).ok()?)?;
    let end = QUESTION_START + usize::from(zone.qname().compose_len()) + 4;
    packet.get(QUESTION_START..end)
}

/// The only entry of the zone section (RFC 2136, 3.1.1). Its name is not compressed: before it there is nothing to
/// point to.
fn zone_of(message: &Message<[u8]>) -> Option<Question<ParsedName<&[u8]>>> {
    let zone = message.sole_question().ok()?;
    let is_pointer = message.as_slice().get(QUESTION_START).is_none_or(|octet| *octet >= 0xc0);
    Some(zone).filter(|zone| !is_pointer && !zone.qname().is_compressed())
}
