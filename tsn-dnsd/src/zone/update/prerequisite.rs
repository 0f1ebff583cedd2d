//! Prerequisites: what must be so in the zone before an update is done (RFC 2136, 2.4 and 3.2).

use std::collections::{BTreeMap, BTreeSet};

use domain::base::{
    Rtype,
    iana::{Class, Rcode},
};

use super::super::{rdata::folded, zones::Zone};
use super::{
    Refusal,
    request::{Data, Entry},
};

/// Checks the whole section (RFC 2136, 3.2.5).
pub(in crate::zone) fn check(zone: &Zone, prerequisites: &[Entry]) -> Result<(), Refusal> {
    let mut stated: BTreeMap<(&[u8], Rtype), BTreeSet<&[u8]>> = BTreeMap::new();
    for entry in prerequisites {
        if entry.ttl != 0 {
            return Err(Refusal::Malformed);
        }
        let path = zone.relative(&entry.path).ok_or(Refusal::OutsideZone)?;
        let any = entry.rtype == Rtype::ANY;
        let holds = match (entry.class, &entry.data) {
            (Class::ANY, Data::Empty) if any => is_in_use(zone, path).then_some(()).ok_or(Rcode::NXDOMAIN),
            (Class::ANY, Data::Empty) => exists(zone, path, entry.rtype).then_some(()).ok_or(Rcode::NXRRSET),
            (Class::NONE, Data::Empty) if any => {
                (!is_in_use(zone, path)).then_some(()).ok_or(Rcode::YXDOMAIN)
            }
            (Class::NONE, Data::Empty) => {
                (!exists(zone, path, entry.rtype)).then_some(()).ok_or(Rcode::YXRRSET)
            }
            (Class::IN, Data::Known(rdata)) => {
                stated.entry((path, entry.rtype)).or_default().insert(rdata);
                Ok(())
            }
            (Class::IN, Data::Other) if !any => Err(Rcode::NXRRSET),
            _ => return Err(Refusal::Malformed),
        };
        holds.map_err(Refusal::Prerequisite)?;
    }
    let same = stated.into_iter().all(|((path, rtype), data)| has_just(zone, path, rtype, &data));
    if same { Ok(()) } else { Err(Refusal::Prerequisite(Rcode::NXRRSET)) }
}

/// A name is in use if it has a record: an empty non-terminal is not (RFC 2136, 2.4.4), the apex always is.
fn is_in_use(zone: &Zone, path: &[u8]) -> bool {
    path.is_empty() || zone.tree.node(path).is_some()
}

fn exists(zone: &Zone, path: &[u8], rtype: Rtype) -> bool {
    is_apex_soa(path, rtype) || zone.tree.node(path).is_some_and(|node| node.has(rtype))
}

/// Whether the records of that type are just these; the TTL does not count (RFC 2136, 2.4.2).
fn has_just(zone: &Zone, path: &[u8], rtype: Rtype, data: &BTreeSet<&[u8]>) -> bool {
    let folded = |rdata: &[u8]| folded(rtype, rdata);
    let stated: BTreeSet<Vec<u8>> = data.iter().map(|rdata| folded(rdata)).collect();
    if is_apex_soa(path, rtype) {
        return stated == BTreeSet::from([folded(&zone.soa.rdata())]);
    }
    let node = zone.tree.node(path);
    let there: BTreeSet<Vec<u8>> =
        node.into_iter().flat_map(|node| node.of_type(rtype)).map(|record| folded(record.rdata)).collect();
    !there.is_empty() && there == stated
}

fn is_apex_soa(path: &[u8], rtype: Rtype) -> bool {
    path.is_empty() && rtype == Rtype::SOA
}
