//! Record data as it is stored: checked, names uncompressed, their case kept.
//!
//! The shape of a type says where names stand in its data. Types without a shape are taken as they are (RFC 3597);
//! types that stand for a service which is not offered (signed zones, DNAME) or are obsolete are not taken at all.

use domain::{
    base::{
        ParsedName, Rtype,
        name::{FlattenInto, Name},
        rdata::{ParseAnyRecordData, RecordData},
        wire::ParseError,
    },
    dep::octseq::{Octets, Parser},
};

/// The longest record data that is stored; the answer with it still fits any message.
pub(super) const RDATA_MAX: usize = 4096;

/// A field of record data.
#[derive(Clone, Copy)]
enum Field {
    /// So many octets.
    Octets(usize),
    /// A domain name, compressed or not (RFC 1035, 4.1.4).
    Name,
    /// A character string (RFC 1035, 3.3).
    Text,
    /// Character strings up to the end, at least one.
    Texts,
    /// Octets up to the end, at least one.
    Rest,
}

/// What stands in the data of a type; `None` if records of that type are not taken.
fn shape(rtype: Rtype) -> Option<&'static [Field]> {
    use Field::{Name, Octets, Rest, Text, Texts};
    Some(match rtype {
        Rtype::A => &[Octets(4)],
        Rtype::AAAA => &[Octets(16)],
        Rtype::NS | Rtype::CNAME | Rtype::PTR => &[Name],
        Rtype::MX => &[Octets(2), Name],
        Rtype::SRV => &[Octets(6), Name],
        Rtype::NAPTR => &[Octets(4), Text, Text, Text, Name],
        Rtype::TXT => &[Texts],
        Rtype::HINFO => &[Text, Text],
        // Only in the zone's SOA, of which an update may set the serial.
        Rtype::SOA => &[Name, Name, Octets(20)],
        rtype if is_meta(rtype) || is_refused(rtype) => return None,
        _ => &[Rest],
    })
}

/// Whether a type belongs to questions and transport, never to a zone (RFC 6895, 3.1).
pub(super) fn is_meta(rtype: Rtype) -> bool {
    matches!(rtype.to_int(), 0 | 41 | 128..=255)
}

/// Whether a type needs what these zones do not do, or has names in a shape that is not known here.
fn is_refused(rtype: Rtype) -> bool {
    matches!(
        rtype.to_int(),
        // MD MF MB MG MR NULL, MINFO, RP AFSDB, RT, SIG KEY PX, NXT, KX, A6, DNAME.
        3 | 4 | 7..=10 | 14 | 17 | 18 | 21 | 24..=26 | 30 | 36 | 38 | 39
        // RRSIG NSEC DNSKEY, NSEC3 NSEC3PARAM, CDS CDNSKEY, CSYNC ZONEMD: zones are not signed.
        | 46..=48 | 50 | 51 | 59 | 60 | 62 | 63
    )
}

/// Whether records of this type may stand in a zone.
pub(super) fn is_stored(rtype: Rtype) -> bool {
    shape(rtype).is_some()
}

/// Where the names in the data of a type begin and how many octets stand behind them, if case does not count there.
fn names_in(rtype: Rtype) -> Option<(usize, usize)> {
    match rtype {
        Rtype::NS | Rtype::CNAME | Rtype::PTR => Some((0, 0)),
        Rtype::MX => Some((2, 0)),
        Rtype::SRV => Some((6, 0)),
        Rtype::SOA => Some((0, 20)),
        _ => None,
    }
}

/// Data in the form in which it is compared: names in lower case (RFC 2136, 1.1.1).
pub(super) fn folded(rtype: Rtype, rdata: &[u8]) -> Vec<u8> {
    let mut folded = rdata.to_vec();
    if let Some((start, behind)) = names_in(rtype)
        && let Some(names) = folded.len().checked_sub(behind).and_then(|end| folded.get_mut(start..end))
    {
        names.make_ascii_lowercase();
    }
    folded
}

/// Whether two records of a type say the same.
pub(super) fn is_same(rtype: Rtype, one: &[u8], other: &[u8]) -> bool {
    one == other || (names_in(rtype).is_some() && folded(rtype, one) == folded(rtype, other))
}

/// Checked record data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rdata {
    rtype: Rtype,
    octets: Vec<u8>,
}

impl RecordData for Rdata {
    fn rtype(&self) -> Rtype {
        self.rtype
    }
}

impl<'a, Octs: Octets + ?Sized> ParseAnyRecordData<'a, Octs> for Rdata {
    fn parse_any_rdata(rtype: Rtype, parser: &mut Parser<'a, Octs>) -> Result<Self, ParseError> {
        let fields = shape(rtype).ok_or(ParseError::form_error("type that is not stored"))?;
        let mut octets = Vec::with_capacity(parser.remaining());
        for field in fields {
            copy(*field, parser, &mut octets)?;
        }
        if octets.len() > RDATA_MAX {
            return Err(ParseError::form_error("record data is too long"));
        }
        Ok(Self { rtype, octets })
    }
}

impl Rdata {
    /// Reads data that stands by itself, outside a message.
    pub(super) fn parse(rtype: Rtype, octets: &[u8]) -> Option<Self> {
        let mut parser = Parser::from_ref(octets);
        let rdata = Self::parse_any_rdata(rtype, &mut parser).ok()?;
        // A pointer would lead into the data itself.
        (parser.remaining() == 0 && rdata.octets == octets).then_some(rdata)
    }

    /// The octets, without compression.
    pub(super) fn into_octets(self) -> Vec<u8> {
        self.octets
    }
}

fn copy<Octs: Octets + ?Sized>(
    field: Field,
    parser: &mut Parser<'_, Octs>,
    octets: &mut Vec<u8>,
) -> Result<(), ParseError> {
    match field {
        Field::Octets(length) => take(parser, length, octets),
        Field::Name => {
            let name: Name<Vec<u8>> = ParsedName::parse(parser)?.flatten_into();
            octets.extend_from_slice(name.as_slice());
            Ok(())
        }
        Field::Text => {
            let length = parser.parse_u8()?;
            octets.push(length);
            take(parser, length.into(), octets)
        }
        Field::Texts => {
            copy(Field::Text, parser, octets)?;
            while parser.remaining() > 0 {
                copy(Field::Text, parser, octets)?;
            }
            Ok(())
        }
        Field::Rest if parser.remaining() == 0 => Err(ParseError::ShortInput),
        Field::Rest => take(parser, parser.remaining(), octets),
    }
}

fn take<Octs: Octets + ?Sized>(
    parser: &mut Parser<'_, Octs>,
    length: usize,
    octets: &mut Vec<u8>,
) -> Result<(), ParseError> {
    let mut field = vec![0; length];
    parser.parse_buf(&mut field)?;
    octets.extend_from_slice(&field);
    Ok(())
}

/// The name that a text stands for, with or without a final dot.
pub(super) fn name_from_text(text: &str) -> Option<Name<Vec<u8>>> {
    Name::vec_from_str(text).ok().filter(|_| !text.is_empty())
}
