//! An update in the making: the names it touches, beside the zone, which stays as it is until the change is saved.

use std::collections::BTreeMap;

use domain::base::{Rtype, iana::Class};

use super::super::{
    rdata::{is_meta, is_same},
    records::{Record, Records},
    soa::{is_later, next_serial, serial_in},
    zones::{TTL_MAX, Zone},
};
use super::{
    Refusal,
    request::{Data, Entry},
};

/// What becomes of the zone.
pub(in crate::zone) struct Edit<'z> {
    zone: &'z Zone,
    /// The learned records of the names that were touched.
    touched: BTreeMap<Box<[u8]>, Records>,
    /// The serial, if the update sets it.
    serial: Option<u32>,
}

impl<'z> Edit<'z> {
    pub(in crate::zone) fn new(zone: &'z Zone) -> Self {
        Self { zone, touched: BTreeMap::new(), serial: None }
    }

    /// Looks through the update section before anything of it is done (RFC 2136, 3.4.1).
    pub(in crate::zone) fn prescan(&self, updates: &[Entry]) -> Result<(), Refusal> {
        for entry in updates {
            self.zone.relative(&entry.path).ok_or(Refusal::OutsideZone)?;
            let deletes = entry.class == Class::ANY || entry.class == Class::NONE;
            let any = entry.rtype == Rtype::ANY;
            let fits = match entry.class {
                Class::IN => !is_meta(entry.rtype) && !matches!(entry.data, Data::Empty),
                Class::ANY => matches!(entry.data, Data::Empty),
                Class::NONE => !any && !matches!(entry.data, Data::Empty),
                _ => false,
            };
            if !fits || (deletes && entry.ttl != 0) {
                return Err(Refusal::Malformed);
            }
        }
        Ok(())
    }

    /// Does what one record of the update section says (RFC 2136, 3.4.2).
    pub(in crate::zone) fn apply(&mut self, entry: &Entry) -> Result<(), Refusal> {
        let path = self.zone.relative(&entry.path).ok_or(Refusal::OutsideZone)?;
        match (entry.class, &entry.data) {
            (Class::IN, Data::Known(rdata)) => {
                // RFC 2181, 8: a TTL with the highest bit means 0.
                let ttl = if entry.ttl > TTL_MAX { 0 } else { entry.ttl };
                self.add(path, Record { rtype: entry.rtype, ttl, rdata })
            }
            (Class::IN, _) => Err(Refusal::TypeNotTaken),
            (Class::ANY, _) if entry.rtype == Rtype::ANY => self.delete_name(path),
            (Class::ANY, _) => self.delete_type(path, entry.rtype),
            (_, Data::Known(rdata)) => self.delete_record(path, entry.rtype, rdata),
            // Data of a type that is not stored cannot be there.
            _ => Ok(()),
        }
    }

    /// The whole result: each name that differs, and the serial; `None` if the zone stays as it is.
    #[allow(clippy::type_complexity)]
    pub(in crate::zone) fn finish(self) -> Result<Option<(Vec<(Box<[u8]>, Records)>, u32)>, Refusal> {
        let zone = self.zone;
        let before = |path: &[u8]| zone.tree.node(path).map(|node| node.learned.clone()).unwrap_or_default();
        let changed = self.touched.into_iter().filter(|(path, records)| before(path) != *records);
        let changed: Vec<_> = changed.collect();
        let (mut more, mut less) = (0, 0);
        for (path, records) in &changed {
            more += records.len();
            less += before(path).len();
        }
        if more > less && zone.tree.learned() + more - less > zone.records_max {
            return Err(Refusal::TooManyRecords);
        }
        // 3.6: the serial rises by itself unless the update set it.
        Ok(match self.serial {
            Some(serial) => Some((changed, serial)),
            None if changed.is_empty() => None,
            None => Some((changed, next_serial(zone.soa.serial()))),
        })
    }

    fn fixed(&self, path: &[u8]) -> Option<&'z Records> {
        self.zone.tree.node(path).map(|node| &node.fixed)
    }

    fn has_fixed(&self, path: &[u8], rtype: Rtype) -> bool {
        self.fixed(path).is_some_and(|fixed| fixed.has(rtype))
    }

    fn learned(&self, path: &[u8]) -> Records {
        let untouched = || self.zone.tree.node(path).map(|node| node.learned.clone()).unwrap_or_default();
        self.touched.get(path).cloned().unwrap_or_else(untouched)
    }

    /// RFC 2136, 3.4.2.2.
    fn add(&mut self, path: &[u8], record: Record<'_>) -> Result<(), Refusal> {
        if record.rtype == Rtype::SOA {
            self.set_serial(path, record.rdata);
            return Ok(());
        }
        let learned = self.learned(path);
        let (has_alias, has_other) = {
            let fixed = self.fixed(path).into_iter().flat_map(Records::iter);
            fixed.chain(learned.iter()).fold((false, path.is_empty()), |(alias, other), known| {
                (alias || known.rtype == Rtype::CNAME, other || known.rtype != Rtype::CNAME)
            })
        };
        let is_alias = record.rtype == Rtype::CNAME;
        // An alias stands alone: what comes second is ignored without a word.
        if (is_alias && has_other) || (!is_alias && has_alias) {
            return Ok(());
        }
        if let Some(fixed) = self.fixed(path).filter(|fixed| fixed.has(record.rtype)) {
            let known =
                fixed.of_type(record.rtype).any(|fixed| is_same(record.rtype, fixed.rdata, record.rdata));
            return if known { Ok(()) } else { Err(Refusal::FixedRecords) };
        }
        let learned = if is_alias { Records::default() } else { learned };
        let records = learned.with(record).ok_or(Refusal::TooManyRecords)?;
        self.touched.insert(path.into(), records);
        Ok(())
    }

    /// An SOA replaces the zone's if its serial is later; of ours only the serial is not from the configuration.
    fn set_serial(&mut self, path: &[u8], rdata: &[u8]) {
        let current = self.serial.unwrap_or(self.zone.soa.serial());
        if let Some(serial) = serial_in(rdata).filter(|serial| path.is_empty() && is_later(*serial, current))
        {
            self.serial = Some(serial);
        }
    }

    /// RFC 2136, 3.4.2.3: all records of a name, but at the apex not SOA and NS.
    fn delete_name(&mut self, path: &[u8]) -> Result<(), Refusal> {
        let mut fixed = self.fixed(path).into_iter().flat_map(Records::iter);
        if fixed.any(|record| !path.is_empty() || record.rtype != Rtype::NS) {
            return Err(Refusal::FixedRecords);
        }
        self.retain(path, |_| false);
        Ok(())
    }

    /// RFC 2136, 3.4.2.3: all records of a type; at the apex not SOA and NS.
    fn delete_type(&mut self, path: &[u8], rtype: Rtype) -> Result<(), Refusal> {
        if path.is_empty() && matches!(rtype, Rtype::SOA | Rtype::NS) {
            return Ok(());
        }
        if self.has_fixed(path, rtype) {
            return Err(Refusal::FixedRecords);
        }
        self.retain(path, |record| record.rtype != rtype);
        Ok(())
    }

    /// RFC 2136, 3.4.2.4: one record, but not the SOA, and at the apex not the last NS.
    fn delete_record(&mut self, path: &[u8], rtype: Rtype, rdata: &[u8]) -> Result<(), Refusal> {
        let mut same_type = self.fixed(path).into_iter().flat_map(|fixed| fixed.of_type(rtype));
        let count = same_type.clone().count();
        if same_type.any(|fixed| is_same(rtype, fixed.rdata, rdata)) {
            let last_server = path.is_empty() && rtype == Rtype::NS && count == 1;
            return if last_server { Ok(()) } else { Err(Refusal::FixedRecords) };
        }
        self.retain(path, |record| record.rtype != rtype || !is_same(rtype, record.rdata, rdata));
        Ok(())
    }

    fn retain(&mut self, path: &[u8], stays: impl Fn(&Record<'_>) -> bool) {
        let records = self.learned(path).retain(stays);
        self.touched.insert(path.into(), records);
    }
}
