//! Our own nftables tables (family `ip`): applied whole, in one atomic batch, and read back.
//!
//! They are scripts in nft's own language and go through the program `nft`, because they are written at start and on
//! reload only. JSON would not do: it cannot declare a map whose data is a concatenation (nft 1.0.6 makes a set of it
//! without a word). What is asked often, or what `nft` cannot express, goes to the kernel directly: whether a table is
//! there, its removal, and the rule that sends packets to our queue.
//!
//! Some kernels have no `queue` statement in nftables but the older xt target NFQUEUE. Which one there
//! is, is found out once; [`Ruleset::write_queue_rule`] writes the rule in the form that there is.

use std::{
    io::{self, Write as _},
    process::{Command, Output, Stdio},
};

use netlink_bindings::utils::{finalize_nested_header, push_header, push_nested_header};

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
const TABLE_FLAGS: u16 = 2;
/// Nobody but the socket that made the table changes or removes it, and it goes with that socket. Kernel 5.12 and later.
const TABLE_OWNER: u32 = 2;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const PREROUTING: u32 = 0;
/// That of `dstnat`. Where in the order of chains this one stands does not matter: it does nothing.
const PRIORITY: i32 = -100;
const CT_REGISTER: u16 = 1;
const CT_KEY: u16 = 2;
const REGISTER: u32 = 8;
const CT_STATE: u32 = 0;
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

    /// Applies a script in one transaction (`nft -f -`) and looks whether the table is there afterwards.
    ///
    /// # Errors
    /// Where `nft` is missing or refuses, with its words, or where another program removed the table at once.
    pub fn apply_script(&mut self, table: &str, script: &str) -> Result<(), KernelError> {
        let action = || format!("apply table ip {table}");
        let output = run(script).map_err(|source| KernelError::Program {
            program: "nft",
            package: "nftables",
            source,
        })?;
        if !output.status.success() {
            let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(KernelError::Nft { action: action(), output });
        }
        if self.exists(table)? {
            return Ok(());
        }
        Err(KernelError::Missing { table: format!("ip {table}") })
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

    /// Makes a table that holds connection tracking and NAT in place until this value is dropped, whoever flushes the
    /// ruleset: without a chain that needs them the kernel takes both out of the packets' way, live flows reach this
    /// host untranslated, and it resets them.
    ///
    /// # Errors
    /// Where the kernel is older than 5.12 or refuses.
    pub fn hold_nat(&mut self, table: &str) -> Result<(), KernelError> {
        self.nft.begin();
        self.nft.push(NEW_TABLE, CREATE, |out| {
            push_text(out, TABLE_NAME, table);
            push_number(out, TABLE_FLAGS, TABLE_OWNER);
        });
        self.nft.push(NEW_CHAIN, CREATE, |out| push_nat_chain(out, table));
        self.nft.push(NEW_RULE, CREATE | APPEND, |out| push_tracking_rule(out, table));
        let action = || format!("make table ip {table}");
        match self.nft.commit(&action)? {
            None => Ok(()),
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

fn run(script: &str) -> io::Result<Output> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // Where `nft` ends early, its own words say why.
        let _written = input.write_all(script.as_bytes());
    }
    child.wait_with_output()
}

/// Appends a text attribute, zero-terminated.
fn push_text(out: &mut Vec<u8>, kind: u16, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX).saturating_add(1);
    push_header(out, kind, length.min(u16::MAX - 4));
    out.extend(text.as_bytes());
    out.push(0);
}

fn push_number(out: &mut Vec<u8>, kind: u16, number: u32) {
    push_header(out, kind, 4);
    out.extend(number.to_be_bytes());
}

/// A chain of type nat, named like its table.
fn push_nat_chain(out: &mut Vec<u8>, table: &str) {
    push_text(out, CHAIN_TABLE, table);
    push_text(out, CHAIN_NAME, table);
    let hook = push_nested_header(out, CHAIN_HOOK);
    push_number(out, HOOK_NUMBER, PREROUTING);
    push_number(out, HOOK_PRIORITY, PRIORITY.cast_unsigned());
    finalize_nested_header(out, hook);
    push_text(out, CHAIN_TYPE, "nat");
}

/// `ct state`, looked at by nobody: a rule that speaks of connection tracking keeps it at work.
fn push_tracking_rule(out: &mut Vec<u8>, table: &str) {
    push_text(out, RULE_TABLE, table);
    push_text(out, RULE_CHAIN, table);
    let expressions = push_nested_header(out, RULE_EXPRESSIONS);
    let element = push_nested_header(out, LIST_ELEMENT);
    push_text(out, EXPRESSION_NAME, "ct");
    let data = push_nested_header(out, EXPRESSION_DATA);
    push_number(out, CT_REGISTER, REGISTER);
    push_number(out, CT_KEY, CT_STATE);
    finalize_nested_header(out, data);
    finalize_nested_header(out, element);
    finalize_nested_header(out, expressions);
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
