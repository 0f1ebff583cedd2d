//! What updates brought, as text that is saved: a zone file (RFC 1035, 5) whose comments tell where a change ends.
//!
//! ```text
//! ; tsn-dnsd zone 1 home.example.net
//! ; forget alice.home.example.net.                         the change is about this name: these are its records now
//! alice.home.example.net. 60 IN A \# 4 c0000205 ; 192.0.2.5
//! ; signed alice 1763712345                                the key that signed the update, and when
//! ; commit 1763712346 9d0cf8e5a1b2c3d4                     the serial, and the beginning of SHA-256 of the lines above
//! ```
//!
//! A change is appended before its update is answered, so that an answered update is never lost; a change without its
//! `commit` was cut off by a crash and never answered. A file that has grown is replaced by one change with everything.

use std::{
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr},
};

use domain::base::Rtype;
use sha2::{Digest, Sha256};

use super::{
    name::{Path, Shown},
    rdata::{Rdata, name_from_text},
    records::{Record, Records},
    value::octets,
};

/// The first words of a file.
const HEADER: &str = "; tsn-dnsd zone 1 ";

/// The first line of a zone's file.
pub(super) fn header(apex: &[u8]) -> String {
    format!("{HEADER}{}", Shown(apex))
}

/// Writes changes of one zone.
pub(super) struct ChangeText<'a> {
    apex: &'a [u8],
    text: String,
}

impl<'a> ChangeText<'a> {
    pub(super) fn new(apex: &'a [u8]) -> Self {
        Self { apex, text: String::new() }
    }

    /// Says which records a name, given below the apex, has now.
    pub(super) fn name(&mut self, path: &[u8], records: &Records) {
        let path = [self.apex, path].concat();
        let name = Shown(&path);
        // Writing into a string does not fail.
        let _ = writeln!(self.text, "; forget {name}.");
        for Record { rtype, ttl, rdata } in records.iter() {
            let _ = write!(self.text, "{name}. {ttl} IN {rtype} \\# {} ", rdata.len());
            for byte in rdata {
                let _ = write!(self.text, "{byte:02x}");
            }
            self.text.push_str(&remark(rtype, rdata));
            self.text.push('\n');
        }
    }

    /// Says when a key signed.
    pub(super) fn signed(&mut self, key: &[u8], time: u64) {
        let _ = writeln!(self.text, "; signed {} {time}", Shown(key));
    }

    /// Ends the change.
    pub(super) fn commit(mut self, serial: u32) -> String {
        let check = check(&self.text, serial);
        let _ = writeln!(self.text, "; commit {serial} {check}");
        self.text
    }
}

/// An address in words, for people who read the file.
fn remark(rtype: Rtype, rdata: &[u8]) -> String {
    let v4 = <[u8; 4]>::try_from(rdata).map(Ipv4Addr::from);
    let v6 = <[u8; 16]>::try_from(rdata).map(Ipv6Addr::from);
    match (rtype, v4, v6) {
        (Rtype::A, Ok(address), _) => format!(" ; {address}"),
        (Rtype::AAAA, _, Ok(address)) => format!(" ; {address}"),
        _ => String::new(),
    }
}

/// 64 bits that a torn or edited change does not have.
fn check(text: &str, serial: u32) -> String {
    let digest = Sha256::new().chain_update(text).chain_update(serial.to_be_bytes()).finalize();
    digest.iter().take(8).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// A change as read: only whole ones come out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ReadChange {
    pub(super) serial: u32,
    pub(super) lines: Vec<Line>,
}

/// What a line says; paths are those of whole names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Forget(Box<[u8]>),
    Record { path: Box<[u8]>, rtype: Rtype, ttl: u32, rdata: Vec<u8> },
    Signed { key: Box<[u8]>, time: u64 },
}

/// Reads the changes of a file behind its header, in order; an `Err` is a change that is damaged and says which line.
pub(super) fn changes(text: &str) -> impl Iterator<Item = Result<ReadChange, usize>> + '_ {
    let mut rest = text;
    let mut number = 1;
    std::iter::from_fn(move || {
        let mut end = 0;
        let mut lines = 0;
        let mut commit = None;
        for line in rest.split_inclusive('\n') {
            end += line.len();
            lines += 1;
            commit = line.strip_prefix("; commit ");
            if commit.is_some() {
                break;
            }
        }
        let (whole, after) = rest.split_at_checked(end).filter(|(whole, _)| !whole.is_empty())?;
        rest = after;
        number += lines;
        Some(read_change(whole, commit).ok_or(number))
    })
}

fn read_change(text: &str, commit: Option<&str>) -> Option<ReadChange> {
    let commit = commit?;
    let body = text.strip_suffix(commit)?.strip_suffix("; commit ")?;
    let (serial, stated) = commit.strip_suffix('\n')?.split_once(' ')?;
    let serial = serial.parse().ok()?;
    if check(body, serial) != stated {
        return None;
    }
    let lines = body.lines().map(read_line).collect::<Option<Vec<_>>>()?;
    Some(ReadChange { serial, lines })
}

fn read_line(line: &str) -> Option<Line> {
    if let Some(name) = line.strip_prefix("; forget ") {
        return Some(Line::Forget(path(name)?));
    }
    if let Some(signed) = line.strip_prefix("; signed ") {
        let (key, time) = signed.split_once(' ')?;
        return Some(Line::Signed { key: path(key)?, time: time.parse().ok()? });
    }
    let mut words = line.split(' ');
    let (owner, ttl, class, rtype) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let (generic, length, data) = (words.next()?, words.next()?, words.next()?);
    let rdata = octets(&[data]).filter(|rdata| length.parse() == Ok(rdata.len()))?;
    let rtype = rtype.parse().ok()?;
    let rdata = Rdata::parse(rtype, &rdata).filter(|_| class == "IN" && generic == "\\#")?.into_octets();
    Some(Line::Record { path: path(owner)?, rtype, ttl: ttl.parse().ok()?, rdata })
}

fn path(text: &str) -> Option<Box<[u8]>> {
    Some(Path::of(&name_from_text(text)?)?.as_slice().into())
}
