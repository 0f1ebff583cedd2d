//! Taking up what was saved: the file of a zone is checked line by line, for it may be torn, edited or old.

use std::collections::BTreeMap;

use super::{
    error::ZoneError,
    journal::{ChangeText, Line, ReadChange, changes, header},
    name::{Path, Shown},
    rdata::is_stored,
    records::{Record, Records},
    zones::{TTL_MAX, Zone, Zones, named},
};
use domain::base::Rtype;

/// What became of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Whole changes that were taken up.
    pub changes: usize,
    /// Whether some of it was no whole change: the file is not to be appended to.
    pub damaged: bool,
    /// What was left out, and why, for the log.
    pub remarks: Vec<String>,
}

/// Remarks that are kept.
const REMARKS_MAX: usize = 20;

impl Zones {
    /// Names of the zones: each has a file.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.zones.iter().map(|zone| Shown(&zone.apex).to_string())
    }

    /// The whole file of a zone, in place of one that has grown, or the first one.
    pub fn snapshot(&self, name: &str) -> Option<String> {
        let path = Path::of(&named(name).ok()?)?;
        let (_, zone) = self.zone_at(path.as_slice())?;
        let mut text = ChangeText::new(&zone.apex);
        let learned = zone.tree.iter().filter(|(_, node)| !node.learned.is_empty());
        learned.for_each(|(path, node)| text.name(path, &node.learned));
        zone.signed.iter().for_each(|(key, time)| text.signed(key, *time));
        Some(format!("{}\n{}", header(&zone.apex), text.commit(zone.soa.serial())))
    }

    /// Takes up the file of a zone, after [`Zones::new`] and before the first question.
    ///
    /// # Errors
    /// The file is that of something else, or there is no such zone; then nothing is taken up.
    pub fn load(&mut self, name: &str, text: &str) -> Result<Loaded, ZoneError> {
        let unknown = || ZoneError::Name(name.to_owned());
        let path = Path::of(&named(name)?).ok_or_else(unknown)?;
        let index = self.zone_at(path.as_slice()).map(|(index, _)| index).ok_or_else(unknown)?;
        let zone = self.zones.get_mut(index).ok_or_else(unknown)?;
        let expected = header(&zone.apex);
        let rest = text.strip_prefix(&expected).and_then(|rest| rest.strip_prefix('\n'));
        let rest = rest.ok_or(ZoneError::Foreign { expected })?;
        let mut loaded = Loaded::default();
        for change in changes(rest) {
            match change {
                Ok(change) => {
                    loaded.changes += 1;
                    zone.take_up(change, &mut loaded);
                }
                Err(line) => {
                    loaded.damaged = true;
                    loaded.remark(format!("the change that ends in line {line} is damaged and left out"))
                }
            }
        }
        Ok(loaded)
    }

    /// Takes over what updates brought into zones that are still there, when the configuration is read anew.
    pub fn adopt(&mut self, old: &mut Zones) -> Vec<String> {
        let mut remarks = Vec::new();
        for name in old.names().collect::<Vec<_>>() {
            if let Some(text) = old.snapshot(&name)
                && let Ok(loaded) = self.load(&name, &text)
            {
                remarks.extend(loaded.remarks);
            }
        }
        // The daemon goes on: what it knew of earlier messages still counts.
        for zone in &mut self.zones {
            if let Some((_, before)) = old.zone_at(&zone.apex) {
                zone.signed_before_start.clone_from(&before.signed_before_start);
                // A change that is being saved may be made afterwards.
                zone.generation = before.generation;
            }
        }
        self.seen = std::mem::take(&mut old.seen);
        self.counters = old.counters.clone();
        remarks
    }
}

impl Loaded {
    fn remark(&mut self, remark: String) {
        if self.remarks.len() < REMARKS_MAX {
            self.remarks.push(remark);
        }
    }
}

impl Zone {
    fn take_up(&mut self, change: ReadChange, loaded: &mut Loaded) {
        let mut names: BTreeMap<Box<[u8]>, Records> = BTreeMap::new();
        for line in change.lines {
            match line {
                Line::Forget(path) => match self.relative(&path) {
                    Some(relative) => {
                        names.insert(relative.into(), Records::default());
                    }
                    None => loaded.remark(format!("{} is outside the zone", Shown(&path))),
                },
                Line::Record { path, rtype, ttl, rdata } => {
                    let record = Record { rtype, ttl: ttl.min(TTL_MAX), rdata: &rdata };
                    if let Err(why) = self.take_up_record(&mut names, &path, record) {
                        loaded.remark(format!("{} {rtype} is left out: {why}", Shown(&path)));
                    }
                }
                Line::Signed { key, time } => {
                    self.signed.insert(key.clone(), time);
                    self.signed_before_start.insert(key, time);
                }
            }
        }
        for (path, records) in names {
            let before = self.tree.node(&path).map_or(0, |node| node.learned.len());
            if self.tree.learned() - before + records.len() > self.records_max {
                loaded.remark(format!(
                    "{} is left out: the zone is full",
                    Shown(&[&*self.apex, &path].concat())
                ));
            } else {
                self.tree.set_learned(&path, records);
            }
        }
        self.soa.set_serial(change.serial);
    }

    fn take_up_record(
        &self,
        names: &mut BTreeMap<Box<[u8]>, Records>,
        path: &[u8],
        record: Record<'_>,
    ) -> Result<(), &'static str> {
        let relative = self.relative(path).ok_or("it is outside the zone")?;
        let fixed = self.tree.node(relative).map(|node| &node.fixed);
        if record.rtype == Rtype::SOA || !is_stored(record.rtype) {
            return Err("its type is not taken");
        }
        // What is configured since then counts.
        if fixed.is_some_and(|fixed| fixed.has(record.rtype)) {
            return Err("the configuration has records of that type");
        }
        let records = names.get_mut(relative).ok_or("the change is not about that name")?;
        let (is_alias, known) = (record.rtype == Rtype::CNAME, fixed.into_iter().flat_map(Records::iter));
        let alone = known.chain(records.iter()).all(|known| is_alias == (known.rtype == Rtype::CNAME));
        if !alone || (is_alias && !records.is_empty()) {
            return Err("a CNAME stands alone");
        }
        *records = records.with(record).ok_or("there are too many of that name")?;
        Ok(())
    }
}
