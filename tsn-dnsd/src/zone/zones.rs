//! All own names: the zones, and the names outside every zone that are known here.

use std::collections::BTreeMap;

use domain::base::{Name, Rtype};

use super::{
    config::{Config, Finding, Origin, RecordSetting, ZoneSetting},
    counters::Counters,
    error::ZoneError,
    name::{Path, Shown, label_ends},
    rdata::name_from_text,
    records::{RECORDS_MAX, Record},
    seen::Seen,
    soa::Soa,
    tree::{Node, Tree},
    tsig::Keyring,
    value,
};

/// Largest TTL (RFC 2181, 8).
pub(super) const TTL_MAX: u32 = i32::MAX as u32;
/// TTL of a name outside every zone when its record has none.
const LOCAL_TTL: u32 = 60;
/// One zone.
#[derive(Debug)]
pub(super) struct Zone {
    /// Its path.
    pub(super) apex: Box<[u8]>,
    pub(super) soa: Soa,
    pub(super) tree: Tree,
    /// Paths of the keys that may update it.
    pub(super) update_keys: Vec<Box<[u8]>>,
    pub(super) records_max: usize,
    /// Rises with every change: a change that was planned before another one is not applied.
    pub(super) generation: u64,
    /// When each key's last applied update was signed.
    pub(super) signed: BTreeMap<Box<[u8]>, u64>,
    /// The same as it was at the start: what was signed before may be a replay (RFC 8945, 5.2.3).
    pub(super) signed_before_start: BTreeMap<Box<[u8]>, u64>,
}

impl Zone {
    /// The rest of a path that lies in this zone.
    pub(super) fn relative<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        path.strip_prefix(&*self.apex)
    }
}

/// A summary of a zone for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneStatus {
    /// Its name.
    pub name: String,
    /// Its serial.
    pub serial: u32,
    /// Names with records.
    pub names: usize,
    /// Records that updates brought.
    pub learned: usize,
    /// How many of those there may be.
    pub learned_max: usize,
    /// Keys that may update it.
    pub update_keys: Vec<String>,
}

/// Where a name lies.
pub(super) enum Place<'z, 'p> {
    /// In a zone, under this path below its apex.
    Zone(&'z Zone, &'p [u8]),
    /// Outside every zone, but known.
    Local(&'z Node),
}

/// Own zones and names.
#[derive(Debug, Default)]
pub struct Zones {
    pub(super) zones: Vec<Zone>,
    by_apex: BTreeMap<Box<[u8]>, usize>,
    local: Tree,
    pub(super) keys: Keyring,
    pub(super) seen: Seen,
    pub(super) counters: Counters,
}

impl Zones {
    /// The zones of a configuration, without what updates brought; `now` in Unix seconds starts the serials.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new(config: &Config, now: u64) -> Result<Self, Vec<Finding>> {
        let mut errors = Vec::new();
        let mut zones = Self { keys: Keyring::new(&config.keys, &mut errors), ..Self::default() };
        for (number, setting) in config.zones.iter().enumerate() {
            let added = zones.add_zone(setting, now);
            errors.extend(added.err().map(|error| Finding { origin: Origin::Zone(number), error }));
        }
        for (number, setting) in config.records.iter().enumerate() {
            let added = zones.add_record(setting);
            errors.extend(added.err().map(|error| Finding { origin: Origin::Record(number), error }));
        }
        if errors.is_empty() { Ok(zones) } else { Err(errors) }
    }

    /// Whether there is nothing of its own here.
    pub fn is_empty(&self) -> bool {
        self.zones.is_empty() && self.local.len() == 0
    }

    /// Each zone in the order of the configuration.
    pub fn list(&self) -> impl Iterator<Item = ZoneStatus> {
        self.zones.iter().map(|zone| ZoneStatus {
            name: Shown(&zone.apex).to_string(),
            serial: zone.soa.serial(),
            names: zone.tree.len(),
            learned: zone.tree.learned(),
            learned_max: zone.records_max,
            update_keys: zone.update_keys.iter().map(|key| Shown(key).to_string()).collect(),
        })
    }

    /// How often each thing happened to updates.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Where a name lies, if it is ours.
    pub(super) fn place<'p>(&self, path: &'p [u8]) -> Option<Place<'_, 'p>> {
        if let Some(zone) = self.zone_above(path) {
            return zone.relative(path).map(|relative| Place::Zone(zone, relative));
        }
        self.local.find_nearest(path).map(Place::Local)
    }

    /// The zone that a name is in: the lowest apex at or above it.
    fn zone_above(&self, path: &[u8]) -> Option<&Zone> {
        if self.zones.is_empty() {
            return None;
        }
        let lowest = label_ends(path).filter_map(|end| self.by_apex.get(path.get(..end)?)).last();
        self.zones.get(*lowest?)
    }

    pub(super) fn zone_at(&self, apex: &[u8]) -> Option<(usize, &Zone)> {
        let index = *self.by_apex.get(apex)?;
        Some((index, self.zones.get(index)?))
    }

    fn add_zone(&mut self, setting: &ZoneSetting, now: u64) -> Result<(), ZoneError> {
        let apex = named(&setting.name)?;
        if apex.is_root() {
            return Err(ZoneError::Name(setting.name.clone()));
        }
        let path = path_of(&apex)?;
        if self.by_apex.contains_key(&path) {
            return Err(ZoneError::ZoneTwice(setting.name.clone()));
        }
        let ttl = setting.ttl.min(TTL_MAX);
        let mut ns = setting.ns.iter().map(|ns| named(ns)).collect::<Result<Vec<_>, _>>()?;
        if ns.is_empty() {
            ns.push(apex.clone());
        }
        let soa = Soa::new(&apex, ns.first().unwrap_or(&apex), setting.mail.as_deref(), ttl, now)?;
        let mut zone = Zone {
            apex: path.clone(),
            soa,
            tree: Tree::default(),
            update_keys: self.update_keys(setting)?,
            records_max: setting.records_max,
            generation: 0,
            signed: BTreeMap::new(),
            signed_before_start: BTreeMap::new(),
        };
        for server in &ns {
            let record = Record { rtype: Rtype::NS, ttl, rdata: server.as_slice() };
            add_fixed(&mut zone.tree, &[], record, &setting.name)?;
        }
        self.by_apex.insert(path, self.zones.len());
        self.zones.push(zone);
        Ok(())
    }

    fn update_keys(&self, setting: &ZoneSetting) -> Result<Vec<Box<[u8]>>, ZoneError> {
        let known = |name: &String| {
            let path = named(name).and_then(|name| path_of(&name))?;
            match self.keys.contains(&path) {
                true => Ok(path),
                false => Err(ZoneError::NoSuchKey { zone: setting.name.clone(), key: name.clone() }),
            }
        };
        setting.update_keys.iter().map(known).collect()
    }

    fn add_record(&mut self, setting: &RecordSetting) -> Result<(), ZoneError> {
        let owner = named(&setting.name)?;
        let unknown = || ZoneError::Type { name: setting.name.clone(), rtype: setting.rtype.clone() };
        let rtype: Rtype = setting.rtype.to_ascii_uppercase().parse().map_err(|_| unknown())?;
        if !value::TYPES.contains(&rtype) {
            return Err(unknown());
        }
        let rdata = value::read(rtype, &setting.value)
            .map_err(|source| ZoneError::Value { name: setting.name.clone(), source })?;
        let path = path_of(&owner)?;
        let index = label_ends(&path).filter_map(|end| self.by_apex.get(path.get(..end)?)).last().copied();
        let zone = index.and_then(|index| self.zones.get_mut(index));
        let (tree, apex, ttl) = match zone {
            Some(zone) => (&mut zone.tree, zone.apex.len(), zone.soa.ttl()),
            None => (&mut self.local, 0, LOCAL_TTL),
        };
        let ttl = setting.ttl.unwrap_or(ttl).min(TTL_MAX);
        let relative = path.get(apex..).unwrap_or_default();
        add_fixed(tree, relative, Record { rtype, ttl, rdata: &rdata }, &setting.name)
    }
}

fn add_fixed(tree: &mut Tree, path: &[u8], record: Record<'_>, name: &str) -> Result<(), ZoneError> {
    let fixed = tree.node(path).map(|node| node.fixed.clone()).unwrap_or_default();
    let alone = record.rtype == Rtype::CNAME && !fixed.is_empty();
    if alone || fixed.has(Rtype::CNAME) {
        return Err(ZoneError::CnameNotAlone(name.to_owned()));
    }
    let records = fixed.with(record).ok_or(ZoneError::TooManyOfName(name.to_owned(), RECORDS_MAX))?;
    tree.set_fixed(path, records);
    Ok(())
}

pub(super) fn named(text: &str) -> Result<Name<Vec<u8>>, ZoneError> {
    name_from_text(text).ok_or_else(|| ZoneError::Name(text.to_owned()))
}

pub(super) fn path_of(name: &Name<Vec<u8>>) -> Result<Box<[u8]>, ZoneError> {
    Path::of(name).map(|path| path.as_slice().into()).ok_or_else(|| ZoneError::Name(name.to_string()))
}
