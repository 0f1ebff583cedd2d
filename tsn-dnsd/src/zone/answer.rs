//! Answers from own names: what RFC 1034, 4.3.2 asks of a server, with aliases followed as far as own names reach.
//!
//! The sections are ready for the wire behind a message with one question, whose name begins at octet 12 and is not
//! compressed. Owners point into that question or into the alias before them.

use std::net::Ipv4Addr;

use domain::base::{Name, Rtype, iana::Rcode, name::ToName};

use super::{
    name::Path,
    records::Record,
    tree::{Found, Node},
    zones::{Place, Zone, Zones},
};

/// The question begins behind the header (RFC 1035, 4.1.1).
const QUESTION_START: usize = 12;
/// Type and class of the question.
const QUESTION_END: usize = 4;
/// Aliases followed; a circle ends here.
const ALIASES_MAX: usize = 8;
/// Glue is left out of answers that are longer.
const GLUE_MAX: usize = 1024;
/// A compression pointer's reach (RFC 1035, 4.1.4).
const POINTER_MAX: usize = 0x3fff;
/// What the SOA of a name outside every zone says: nobody is asked about it, as for the local zones of RFC 6303.
const LOCAL_SOA: &[u8] = b"\x09localhost\0\x06nobody\x07invalid\0\
    \0\0\0\x01\0\0\x0e\x10\0\0\x04\xb0\0\x09\x3a\x80\0\0\0\x3c";
/// TTL of that SOA, and of the absence that it tells.
const LOCAL_NEGATIVE_TTL: u32 = 60;

/// A section of a message.
#[derive(Clone, Copy)]
enum Section {
    Answer,
    Authority,
    Additional,
}

/// What own names say to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// NOERROR, NXDOMAIN, REFUSED or NOTIMP.
    pub rcode: Rcode,
    /// The AA bit: this server speaks for the name (RFC 1035, 4.1.1).
    pub authoritative: bool,
    /// Records in the answer, authority and additional section.
    pub counts: [u16; 3],
    /// Their octets, to stand behind the question.
    pub sections: Vec<u8>,
    /// Where the aliases lead when that is no name of ours: who resolves for clients asks there and adds the answer.
    pub beyond: Option<Name<Vec<u8>>>,
    /// Where the A records begin, and how many they are.
    addresses: (usize, usize),
}

impl Answer {
    /// The addresses of an answer to a question for A, at the end of all aliases.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        let (start, count) = self.addresses;
        let records = self.sections.get(start..).unwrap_or_default();
        // Owner as a pointer, type, class, TTL, length: 12 octets before the address.
        records.chunks_exact(16).take(count).filter_map(|record| {
            let address: [u8; 4] = record.get(12..)?.try_into().ok()?;
            Some(Ipv4Addr::from(address))
        })
    }

    fn bare(rcode: Rcode) -> Self {
        Self {
            rcode,
            authoritative: true,
            counts: [0; 3],
            sections: Vec::new(),
            beyond: None,
            addresses: (0, 0),
        }
    }
}

impl Zones {
    /// The answer to a question of class IN; `None` if the name is not ours and others have to be asked.
    pub fn answer(&self, name: &impl ToName, qtype: Rtype) -> Option<Answer> {
        if self.is_empty() {
            return None;
        }
        let path = Path::of(name)?;
        let place = self.place(path.as_slice())?;
        match qtype {
            // Transfers are not offered; the other types of RFC 1035, 3.2.3 are obsolete.
            Rtype::AXFR | Rtype::IXFR => return Some(Answer::bare(Rcode::REFUSED)),
            Rtype::MAILA | Rtype::MAILB => return Some(Answer::bare(Rcode::NOTIMP)),
            _ => {}
        }
        let start = QUESTION_START + path.as_slice().len() + 1 + QUESTION_END;
        let mut writer = Writer { answer: Answer::bare(Rcode::NOERROR), start, owner: QUESTION_START, qtype };
        let alias = writer.place(place, &path);
        if let Some(alias) = alias {
            self.follow(&mut writer, path, alias);
        }
        Some(writer.answer)
    }

    /// Follows aliases through own names (RFC 1034, 4.3.2, step 3a).
    fn follow(&self, writer: &mut Writer, first: Path, alias: Name<Vec<u8>>) {
        let mut seen = vec![first];
        let mut target = alias;
        while let Some(path) = Path::of(&target) {
            if seen.len() >= ALIASES_MAX || seen.iter().any(|earlier| earlier.as_slice() == path.as_slice()) {
                return;
            }
            let Some(place) = self.place(path.as_slice()) else {
                writer.answer.beyond = Some(target);
                return;
            };
            let Some(next) = writer.place(place, &path) else { return };
            target = next;
            seen.push(path);
        }
    }
}

/// Composes the sections; offsets are those in the whole message.
struct Writer {
    answer: Answer,
    /// Where the sections begin.
    start: usize,
    /// Where the name that is looked at stands, uncompressed.
    owner: usize,
    qtype: Rtype,
}

impl Writer {
    /// Adds what there is for a name; the alias to go on with, if it is one.
    fn place(&mut self, place: Place<'_, '_>, path: &Path) -> Option<Name<Vec<u8>>> {
        match place {
            Place::Local(node) => {
                let (alias, count) = self.records(node);
                if count == 0 {
                    let soa = Record { rtype: Rtype::SOA, ttl: LOCAL_NEGATIVE_TTL, rdata: LOCAL_SOA };
                    self.push(Section::Authority, self.owner, soa);
                }
                alias
            }
            Place::Zone(zone, []) => self.apex(zone),
            Place::Zone(zone, relative) => match zone.tree.find(relative) {
                Found::Node(node) => self.node(zone, node, path),
                // The parent speaks for the DS of a cut (RFC 4035, 3.1.4.1).
                Found::Cut(node, end) if end == relative.len() && self.qtype == Rtype::DS => {
                    self.node(zone, node, path)
                }
                Found::Cut(node, end) => {
                    self.referral(zone, node, relative.get(..end).unwrap_or_default(), path);
                    None
                }
                Found::Empty => {
                    self.negative(zone, path);
                    None
                }
                Found::Nothing => {
                    self.answer.rcode = Rcode::NXDOMAIN;
                    self.negative(zone, path);
                    None
                }
            },
        }
    }

    fn apex(&mut self, zone: &Zone) -> Option<Name<Vec<u8>>> {
        if matches!(self.qtype, Rtype::SOA | Rtype::ANY) {
            let rdata = zone.soa.rdata();
            let soa = Record { rtype: Rtype::SOA, ttl: zone.soa.ttl(), rdata: &rdata };
            self.push(Section::Answer, self.owner, soa);
            return None;
        }
        let node = zone.tree.node(&[]);
        let count = node.map_or(0, |node| self.of_type(node));
        if count == 0 {
            self.soa(zone, self.owner);
        }
        None
    }

    fn node(&mut self, zone: &Zone, node: &Node, path: &Path) -> Option<Name<Vec<u8>>> {
        let (alias, count) = self.records(node);
        if count == 0 {
            self.negative(zone, path);
        }
        alias
    }

    /// Adds a name's records of the type asked for, else its alias; says where that leads and how many there were.
    fn records(&mut self, node: &Node) -> (Option<Name<Vec<u8>>>, usize) {
        let Some(alias) = node.of_type(Rtype::CNAME).next() else { return (None, self.of_type(node)) };
        self.push(Section::Answer, self.owner, alias);
        if matches!(self.qtype, Rtype::CNAME | Rtype::ANY) {
            return (None, 1);
        }
        self.owner = (self.start + self.answer.sections.len()).saturating_sub(alias.rdata.len());
        (Name::from_octets(alias.rdata.to_vec()).ok(), 1)
    }

    fn of_type(&mut self, node: &Node) -> usize {
        let start = self.answer.sections.len();
        let wanted = match self.qtype {
            // One RRset is enough of an answer (RFC 8482, 4.1).
            Rtype::ANY => node.iter().next().map_or(Rtype::ANY, |record| record.rtype),
            qtype => qtype,
        };
        let mut count = 0;
        for record in node.of_type(wanted) {
            self.push(Section::Answer, self.owner, record);
            count += 1;
        }
        if self.qtype == Rtype::A {
            self.answer.addresses = (start, count);
        }
        count
    }

    /// NXDOMAIN or no data, with the SOA that says for how long (RFC 2308, 3).
    fn negative(&mut self, zone: &Zone, path: &Path) {
        let below = path.as_slice().len() - zone.apex.len();
        self.soa(zone, self.owner + below);
    }

    fn soa(&mut self, zone: &Zone, apex: usize) {
        let rdata = zone.soa.rdata();
        let soa = Record { rtype: Rtype::SOA, ttl: zone.soa.negative_ttl(), rdata: &rdata };
        self.push(Section::Authority, apex, soa);
    }

    /// Names the servers below a zone cut (RFC 1034, 4.3.2, step 3b).
    fn referral(&mut self, zone: &Zone, node: &Node, cut: &[u8], path: &Path) {
        self.answer.authoritative = !self.answer.sections.is_empty();
        let below = path.as_slice().len() - zone.apex.len() - cut.len();
        let owner = self.owner + below;
        for server in node.of_type(Rtype::NS) {
            self.push(Section::Authority, owner, server);
        }
        let mut end = self.start + self.answer.sections.len();
        // From the last server back: each one's name ends where its record does.
        let servers: Vec<&[u8]> = node.of_type(Rtype::NS).map(|server| server.rdata).collect();
        for server in servers.into_iter().rev() {
            let at = end.saturating_sub(server.len());
            self.glue(zone, server, at);
            end = at.saturating_sub(12);
        }
    }

    fn glue(&mut self, zone: &Zone, server: &[u8], at: usize) {
        let path = Name::from_slice(server).ok().and_then(Path::of);
        let relative = path.as_ref().and_then(|path| zone.relative(path.as_slice()));
        let Some(node) = relative.and_then(|relative| zone.tree.node(relative)) else { return };
        for record in node.iter().filter(|record| matches!(record.rtype, Rtype::A | Rtype::AAAA)) {
            if self.answer.sections.len() > GLUE_MAX {
                return;
            }
            self.push(Section::Additional, at, record);
        }
    }

    fn push(&mut self, section: Section, owner: usize, record: Record<'_>) {
        let length = u16::try_from(record.rdata.len());
        let pointer = u16::try_from(owner).ok().filter(|owner| usize::from(*owner) <= POINTER_MAX);
        let (Ok(length), Some(pointer)) = (length, pointer) else { return };
        if let Some(count) = self.answer.counts.get_mut(section as usize) {
            *count = count.saturating_add(1);
        }
        let sections = &mut self.answer.sections;
        sections.extend((0xc000 | pointer).to_be_bytes());
        sections.extend(record.rtype.to_int().to_be_bytes());
        sections.extend([0, 1]);
        sections.extend(record.ttl.to_be_bytes());
        sections.extend(length.to_be_bytes());
        sections.extend_from_slice(record.rdata);
    }
}
