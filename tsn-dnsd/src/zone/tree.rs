//! The contents of a zone: names below its apex and their records, configured and learned by update.
//!
//! Keys are paths without the apex's own, which is the empty path. A name without records is not stored: it exists as
//! an *empty non-terminal* as long as the map holds a path that begins with its own.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
};

use domain::base::Rtype;

use super::{
    name::{WILDCARD, label_ends},
    records::{Record, Records},
};

/// Records of a name.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// From the configuration: no update changes them.
    pub(super) fixed: Records,
    /// From updates.
    pub(super) learned: Records,
}

impl Node {
    pub(super) fn iter(&self) -> impl Iterator<Item = Record<'_>> + Clone {
        self.fixed.iter().chain(self.learned.iter())
    }

    pub(super) fn of_type(&self, rtype: Rtype) -> impl Iterator<Item = Record<'_>> + Clone {
        self.iter().filter(move |record| record.rtype == rtype)
    }

    pub(super) fn has(&self, rtype: Rtype) -> bool {
        self.fixed.has(rtype) || self.learned.has(rtype)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fixed.is_empty() && self.learned.is_empty()
    }
}

/// What a zone has for a name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'t> {
    /// Records, those of the name itself or of the wildcard that stands for it (RFC 4592, 3.3.1).
    Node(&'t Node),
    /// The name exists, but has no records (RFC 4592, 2.2.2).
    Empty,
    /// A zone cut at or above the name: its path is so long (RFC 1034, 4.3.2, step 3b).
    Cut(&'t Node, usize),
    /// No such name.
    Nothing,
}

/// A zone's names.
#[derive(Debug, Default)]
pub(super) struct Tree {
    names: BTreeMap<Box<[u8]>, Node>,
    learned: usize,
}

impl Tree {
    /// The records of exactly this name.
    pub(super) fn node(&self, path: &[u8]) -> Option<&Node> {
        self.names.get(path)
    }

    /// Every name that has records, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &Node)> {
        self.names.iter().map(|(path, node)| (&**path, node))
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Records learned by update.
    pub(super) fn learned(&self) -> usize {
        self.learned
    }

    pub(super) fn set_fixed(&mut self, path: &[u8], records: Records) {
        self.change(path, |node| node.fixed = records);
    }

    pub(super) fn set_learned(&mut self, path: &[u8], records: Records) {
        let before = self.node(path).map_or(0, |node| node.learned.len());
        self.learned = self.learned.saturating_sub(before).saturating_add(records.len());
        self.change(path, |node| node.learned = records);
    }

    fn change(&mut self, path: &[u8], change: impl FnOnce(&mut Node)) {
        let mut node = self.names.remove(path).unwrap_or_default();
        change(&mut node);
        if !node.is_empty() {
            self.names.insert(path.into(), node);
        }
    }

    /// Whether there is a name with records below this one.
    fn has_below(&self, path: &[u8]) -> bool {
        let next = self.names.range::<[u8], _>((Excluded(path), Unbounded)).next();
        next.is_some_and(|(below, _)| below.starts_with(path))
    }

    /// Walks from the apex down to `path` (RFC 1034, 4.3.2, step 3), no further than names exist.
    pub(super) fn find(&self, path: &[u8]) -> Found<'_> {
        let mut encloser = 0;
        for end in label_ends(path) {
            let above = path.get(..end).unwrap_or_default();
            match self.node(above) {
                Some(node) if node.has(Rtype::NS) => return Found::Cut(node, end),
                Some(node) if end == path.len() => return Found::Node(node),
                None if !self.has_below(above) => {
                    return self.wildcard(path.get(..encloser).unwrap_or_default());
                }
                _ => encloser = end,
            }
        }
        self.node(path).map_or(Found::Empty, Found::Node)
    }

    /// What the wildcard right below the closest encloser has: no other one stands for the name (RFC 4592, 3.3.1).
    fn wildcard(&self, encloser: &[u8]) -> Found<'_> {
        let path = [encloser, WILDCARD].concat();
        match self.node(&path) {
            Some(node) => Found::Node(node),
            None if self.has_below(&path) => Found::Empty,
            None => Found::Nothing,
        }
    }

    /// The records of the name itself, else of the nearest wildcard above it: for names outside every zone.
    pub(super) fn find_nearest(&self, path: &[u8]) -> Option<&Node> {
        if self.names.is_empty() {
            return None;
        }
        if let Some(node) = self.node(path) {
            return Some(node);
        }
        let ends = label_ends(path).filter(|end| *end < path.len());
        std::iter::once(0).chain(ends).fold(None, |nearest, end| {
            let wildcard = [path.get(..end).unwrap_or_default(), WILDCARD].concat();
            self.node(&wildcard).or(nearest)
        })
    }
}
