//! The records of one name in one piece of memory: 10,000 names are 10,000 small boxes and nothing else.
//!
//! ```text
//! | type 16 | TTL 32 | length 16 | data … | type 16 | TTL 32 | …
//! ```

use domain::base::Rtype;

use super::rdata::is_same;

/// Records that one name may have.
pub(super) const RECORDS_MAX: usize = 64;
/// Octets that the records of one name may take, so that an answer with all of one type fits a message.
const OCTETS_MAX: usize = 16 * 1024;

/// One record, without its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) rtype: Rtype,
    pub(super) ttl: u32,
    pub(super) rdata: &'a [u8],
}

/// The records of a name, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Records(Box<[u8]>);

impl Records {
    /// Each of them.
    pub(super) fn iter(&self) -> Iter<'_> {
        Iter(&self.0)
    }

    /// Those of one type.
    pub(super) fn of_type(&self, rtype: Rtype) -> impl Iterator<Item = Record<'_>> + Clone {
        self.iter().filter(move |record| record.rtype == rtype)
    }

    pub(super) fn has(&self, rtype: Rtype) -> bool {
        self.of_type(rtype).next().is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.iter().count()
    }

    /// These records; `None` if they are more than one name may have.
    pub(super) fn collect<'a>(records: impl Iterator<Item = Record<'a>>) -> Option<Self> {
        let mut octets = Vec::new();
        for (count, record) in records.enumerate() {
            let length = u16::try_from(record.rdata.len()).ok()?;
            octets.extend(record.rtype.to_int().to_be_bytes());
            octets.extend(record.ttl.to_be_bytes());
            octets.extend(length.to_be_bytes());
            octets.extend_from_slice(record.rdata);
            if count >= RECORDS_MAX || octets.len() > OCTETS_MAX {
                return None;
            }
        }
        Some(Self(octets.into()))
    }

    /// These and one more; all of its type get its TTL (RFC 2181, 5.2), and the same data stands there once.
    pub(super) fn with(&self, added: Record<'_>) -> Option<Self> {
        let aligned = self.iter().map(|record| match record.rtype == added.rtype {
            true => Record { ttl: added.ttl, ..record },
            false => record,
        });
        let is_new = !self.of_type(added.rtype).any(|record| is_same(added.rtype, record.rdata, added.rdata));
        Self::collect(aligned.chain(is_new.then_some(added)))
    }

    /// Those that are to stay.
    pub(super) fn retain(&self, stays: impl Fn(&Record<'_>) -> bool) -> Self {
        Self::collect(self.iter().filter(stays)).unwrap_or_default()
    }
}

/// Reads record after record.
#[derive(Clone)]
pub(super) struct Iter<'a>(&'a [u8]);

impl<'a> Iterator for Iter<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let (rtype, rest) = self.0.split_first_chunk::<2>()?;
        let (ttl, rest) = rest.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (rdata, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        self.0 = rest;
        Some(Record { rtype: u16::from_be_bytes(*rtype).into(), ttl: u32::from_be_bytes(*ttl), rdata })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(rtype: Rtype, ttl: u32, rdata: &[u8]) -> Record<'_> {
        Record { rtype, ttl, rdata }
    }

    #[test]
    fn added_record_aligns_the_ttl_of_its_type() {
        let records =
            Records::collect([record(Rtype::A, 60, b"aaaa"), record(Rtype::TXT, 60, b"\0")].into_iter());
        let records = records.unwrap().with(record(Rtype::A, 300, b"bbbb")).unwrap();
        let ttls: Vec<_> = records.iter().map(|record| (record.rtype, record.ttl)).collect();
        assert_eq!(ttls, [(Rtype::A, 300), (Rtype::TXT, 60), (Rtype::A, 300)]);
        assert_eq!(records.with(record(Rtype::A, 300, b"aaaa")).unwrap().len(), 3);
    }

    #[test]
    fn number_of_records_of_a_name_is_bounded() {
        let mut records = Records::default();
        for n in 0..RECORDS_MAX {
            records = records.with(record(Rtype::A, 60, &u32::try_from(n).unwrap().to_be_bytes())).unwrap();
        }
        assert_eq!(records.with(record(Rtype::A, 60, b"xxxx")), None);
        assert!(records.with(record(Rtype::A, 70, &0_u32.to_be_bytes())).is_some());
        assert_eq!(Records::default().with(record(Rtype::TXT, 60, &[0; 17_000])), None);
    }

    proptest! {
        #[test]
        fn records_come_back(parts in prop::collection::vec((any::<u16>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..99)), 0..20)) {
            let records = || parts.iter().map(|(rtype, ttl, rdata)| record((*rtype).into(), *ttl, rdata));
            let kept = Records::collect(records()).unwrap();
            prop_assert!(kept.iter().eq(records()));
        }
    }
}
