//! Our own nftables tables (family `ip`): applied whole, in one atomic batch, and read back.
//!
//! The rules are JSON values of the `nftables` crate and go through the program `nft`, because they are
//! written at start and on reload only. What is asked often, or what `nft` cannot express, goes to the
//! kernel directly: whether a table is there, its removal, and the rule that sends packets to our queue.
//!
//! Some kernels have no `queue` statement in nftables but the older xt target NFQUEUE. Which one there
//! is, is found out once; [`Ruleset::write_queue_rule`] writes the rule in the form that there is.

use std::io;

use netlink_bindings::utils::{finalize_nested_header, push_header, push_nested_header};
use nftables::helper::{DEFAULT_NFT, NftablesError, apply_ruleset, get_current_ruleset_raw};
use nftables::schema::{NfCmd, NfListObject, NfObject, Nftables, Table};
use nftables::types::NfFamily;
use serde_json::Value;

use crate::batch::{Nft, Refusal};
use crate::error::KernelError;
use crate::netlink::{APPEND, CREATE, NLMSG_ERROR, REQUEST, begin_message, end_message};

const NEW_TABLE: u16 = 0xa00;
const GET_TABLE: u16 = 0xa01;
const DELETE_TABLE: u16 = 0xa02;
const NEW_CHAIN: u16 = 0xa03;
const NEW_RULE: u16 = 0xa06;
const DELETE_RULE: u16 = 0xa08;
const FAMILY: u8 = 2;

const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const QUEUE_NUMBER: u16 = 1;
const QUEUE_TOTAL: u16 = 2;
const QUEUE_FLAGS: u16 = 3;
const TARGET_NAME: u16 = 1;
const TARGET_REVISION: u16 = 2;
const TARGET_INFO: u16 = 3;
/// Packets pass while nobody reads the queue.
const BYPASS: u16 = 1;

/// A table that lives only inside a batch that is tried out.
const PROBE: &str = "natf_probe";

/// How this kernel sends packets to a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueForm {
    /// The nft statement `queue`.
    Statement,
    /// The xt target NFQUEUE through nft_compat.
    Target,
}

/// Writes and reads our own tables.
#[derive(Debug)]
pub struct Ruleset {
    nft: Nft,
    queue_form: Option<QueueForm>,
}

impl Ruleset {
    /// Opens the command socket. Needs CAP_NET_ADMIN.
    pub fn open() -> Result<Self, KernelError> {
        Ok(Self { nft: Nft::open()?, queue_form: None })
    }

    /// Replaces the table by exactly these objects, atomically, and reads it back.
    ///
    /// `objects` are the chains, sets, maps and rules of the table, in the order of their dependence.
    /// Elements and counters of the former table are gone. Takes some 10 ms (two runs of `nft`).
    pub fn apply(&mut self, table: &str, objects: &[NfListObject<'_>]) -> Result<(), KernelError> {
        let document = replace_document(table, objects);
        apply_ruleset(&document).map_err(|error| nft_error(format!("apply table ip {table}"), error))?;
        let listed = list(table)?;
        let wanted = Count::of_objects(objects);
        let found = Count::of_listing(&listed);
        match wanted.difference(&found) {
            None => Ok(()),
            Some((what, wanted, found)) => {
                Err(KernelError::ReadBack { table: format!("ip {table}"), what, wanted, found })
            }
        }
    }

    /// Whether the table is there.
    pub fn exists(&mut self, table: &str) -> Result<bool, KernelError> {
        let netlink = &mut self.nft.netlink;
        let sequence = netlink.start(1);
        let start = begin_message(&mut netlink.out, GET_TABLE, REQUEST, sequence, FAMILY, 0);
        push_text(&mut netlink.out, TABLE_NAME, table);
        end_message(&mut netlink.out, start);
        let action = || format!("look for table ip {table}");
        netlink.send(&action)?;
        let mut errno = 0;
        netlink.receive(&action, |message| {
            let mine = message.sequence == sequence;
            if mine && message.kind == NLMSG_ERROR {
                errno = message.errno();
            }
            mine
        })?;
        match errno {
            0 => Ok(true),
            libc::ENOENT => Ok(false),
            errno => Err(netlink.refused(action(), errno, None)),
        }
    }

    /// Removes the table; false if it was not there.
    pub fn remove(&mut self, table: &str) -> Result<bool, KernelError> {
        self.nft.begin();
        self.nft.push(DELETE_TABLE, 0, |out| push_text(out, TABLE_NAME, table));
        let action = || format!("remove table ip {table}");
        match self.nft.commit(&action)? {
            None => Ok(true),
            Some(Refusal { errno: libc::ENOENT, .. }) => Ok(false),
            Some(refusal) => Err(self.nft.error(action(), refusal)),
        }
    }

    /// Finds out, once, how this kernel sends packets to a queue; changes nothing.
    pub fn probe_queue_statement(&mut self) -> Result<QueueForm, KernelError> {
        if let Some(form) = self.queue_form {
            return Ok(form);
        }
        let mut last = None;
        for form in [QueueForm::Statement, QueueForm::Target] {
            self.nft.begin();
            self.nft.push(NEW_TABLE, CREATE, |out| push_text(out, TABLE_NAME, PROBE));
            self.nft.push(NEW_CHAIN, CREATE, |out| {
                push_text(out, CHAIN_TABLE, PROBE);
                push_text(out, CHAIN_NAME, PROBE);
            });
            self.nft.push(NEW_RULE, CREATE | APPEND, |out| push_queue_rule(out, PROBE, PROBE, 0, form));
            match self.nft.try_out(&|| "try out a queue rule".to_owned())? {
                None => {
                    self.queue_form = Some(form);
                    return Ok(form);
                }
                Some(refusal) => last = Some(refusal),
            }
        }
        let remark = last.as_ref().and_then(|refusal| refusal.remark.clone());
        let source = io::Error::from_raw_os_error(last.map_or(libc::EOPNOTSUPP, |refusal| refusal.errno));
        let action = "find a way to send packets to a queue (neither `queue` statement nor NFQUEUE)".into();
        Err(KernelError::Refused { action, module: "nft_queue", remark, source })
    }

    /// Makes "to queue `number`, or on if nobody reads it" the only rule of a chain.
    pub fn write_queue_rule(&mut self, table: &str, chain: &str, number: u16) -> Result<(), KernelError> {
        let form = self.probe_queue_statement()?;
        self.nft.begin();
        self.nft.push(DELETE_RULE, 0, |out| {
            push_text(out, RULE_TABLE, table);
            push_text(out, RULE_CHAIN, chain);
        });
        self.nft.push(NEW_RULE, CREATE | APPEND, |out| push_queue_rule(out, table, chain, number, form));
        let action = || format!("write the rule for queue {number} into chain ip {table} {chain}");
        match self.nft.commit(&action)? {
            None => Ok(()),
            Some(refusal) => Err(self.nft.error(action(), refusal)),
        }
    }
}

/// The document that [`Ruleset::apply`] hands to `nft`: the table is added (so that deleting it cannot
/// fail), deleted, and written anew.
pub fn replace_document<'a>(table: &str, objects: &[NfListObject<'a>]) -> Nftables<'a> {
    let own =
        || NfListObject::Table(Table { family: NfFamily::IP, name: table.to_owned().into(), handle: None });
    let head = [NfCmd::Add(own()), NfCmd::Delete(own()), NfCmd::Add(own())];
    let body = objects.iter().filter(|object| !matches!(object, NfListObject::Table(_))).cloned();
    let commands = head.into_iter().chain(body.map(NfCmd::Add)).map(NfObject::CmdObject);
    Nftables { objects: commands.collect::<Vec<_>>().into() }
}

/// What the kernel holds of a table, as `nft -j list table` shows it.
pub fn list(table: &str) -> Result<Value, KernelError> {
    let action = || format!("list table ip {table}");
    let text = get_current_ruleset_raw(DEFAULT_NFT, ["list", "table", "ip", table])
        .map_err(|error| nft_error(action(), error))?;
    serde_json::from_str(&text)
        .map_err(|error| KernelError::Nft { action: action(), output: error.to_string() })
}

fn nft_error(action: String, error: NftablesError) -> KernelError {
    match error {
        NftablesError::NftExecution { inner, .. } => {
            KernelError::Program { program: "nft", package: "nftables", source: inner }
        }
        NftablesError::NftFailed { stderr, .. } if stderr.contains("JSON support") => {
            let output = format!("{}; install the package `nftables-json`", stderr.trim());
            KernelError::Nft { action, output }
        }
        NftablesError::NftFailed { stderr, .. } => {
            KernelError::Nft { action, output: stderr.trim().to_owned() }
        }
        other => KernelError::Nft { action, output: other.to_string() },
    }
}

/// How many objects of each kind a table has.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    chains: usize,
    rules: usize,
    sets: usize,
    maps: usize,
}

impl Count {
    fn of_objects(objects: &[NfListObject<'_>]) -> Self {
        let mut count = Self::default();
        for object in objects {
            match object {
                NfListObject::Chain(_) => count.chains += 1,
                NfListObject::Rule(_) => count.rules += 1,
                NfListObject::Set(_) => count.sets += 1,
                NfListObject::Map(_) => count.maps += 1,
                _ => {}
            }
        }
        count
    }

    fn of_listing(listing: &Value) -> Self {
        let objects =
            listing.get("nftables").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let count = |kind: &str| objects.iter().filter(|object| object.get(kind).is_some()).count();
        Self { chains: count("chain"), rules: count("rule"), sets: count("set"), maps: count("map") }
    }

    fn difference(&self, found: &Self) -> Option<(&'static str, usize, usize)> {
        [
            ("chains", self.chains, found.chains),
            ("rules", self.rules, found.rules),
            ("sets", self.sets, found.sets),
            ("maps", self.maps, found.maps),
        ]
        .into_iter()
        .find(|(_, wanted, found)| wanted != found)
    }
}

/// Appends a text attribute, zero-terminated.
fn push_text(out: &mut Vec<u8>, kind: u16, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX).saturating_add(1);
    push_header(out, kind, length.min(u16::MAX - 4));
    out.extend(text.as_bytes());
    out.push(0);
}

fn push_queue_rule(out: &mut Vec<u8>, table: &str, chain: &str, number: u16, form: QueueForm) {
    push_text(out, RULE_TABLE, table);
    push_text(out, RULE_CHAIN, chain);
    let expressions = push_nested_header(out, RULE_EXPRESSIONS);
    let element = push_nested_header(out, LIST_ELEMENT);
    match form {
        QueueForm::Statement => push_queue_statement(out, number),
        QueueForm::Target => push_queue_target(out, number),
    }
    finalize_nested_header(out, element);
    finalize_nested_header(out, expressions);
}

fn push_queue_statement(out: &mut Vec<u8>, number: u16) {
    push_text(out, EXPRESSION_NAME, "queue");
    let data = push_nested_header(out, EXPRESSION_DATA);
    for (kind, value) in [(QUEUE_NUMBER, number), (QUEUE_TOTAL, 1), (QUEUE_FLAGS, BYPASS)] {
        push_header(out, kind, 2);
        out.extend(value.to_be_bytes());
    }
    finalize_nested_header(out, data);
}

/// struct xt_NFQ_info_v3 { u16 number; u16 queues; u16 flags; }, padded to 8 bytes, native byte order.
fn push_queue_target(out: &mut Vec<u8>, number: u16) {
    push_text(out, EXPRESSION_NAME, "target");
    let data = push_nested_header(out, EXPRESSION_DATA);
    push_text(out, TARGET_NAME, "NFQUEUE");
    push_header(out, TARGET_REVISION, 4);
    out.extend(3u32.to_be_bytes());
    push_header(out, TARGET_INFO, 8);
    for value in [number, 1, BYPASS, 0] {
        out.extend(value.to_ne_bytes());
    }
    finalize_nested_header(out, data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use nftables::schema::Chain;

    #[test]
    fn replaces_the_whole_table_in_one_document() {
        let chain = NfListObject::Chain(Chain { table: "t".into(), name: "c".into(), ..Chain::default() });
        let document = serde_json::to_value(replace_document("t", &[chain])).unwrap();
        let commands: Vec<_> = document["nftables"].as_array().unwrap().iter().collect();
        assert_eq!(commands.len(), 4);
        assert_eq!(commands[1]["delete"]["table"]["name"], "t");
        assert_eq!(commands[3]["add"]["chain"]["name"], "c");
    }

    #[test]
    fn names_what_the_kernel_does_not_list() {
        let listing = serde_json::json!({"nftables": [{"metainfo": {}}, {"table": {}}, {"chain": {}}]});
        let found = Count::of_listing(&listing);
        let wanted = Count { chains: 1, rules: 2, ..Count::default() };
        assert_eq!(wanted.difference(&found), Some(("rules", 2, 0)));
    }

    #[test]
    fn names_the_package_of_nft_when_it_is_not_installed() {
        let inner = io::Error::from_raw_os_error(libc::ENOENT);
        let error = nft_error("x".into(), NftablesError::NftExecution { program: "nft".into(), inner });
        assert!(error.to_string().contains("package `nftables`"), "{error}");
    }
}
