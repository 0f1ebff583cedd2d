//! Whole tables in nft's own language. JSON cannot declare a map whose data is a concatenation (nft 1.0.6 makes a set
//! of it without a word), and text is what `--print-ruleset` shows and a user can read.

use std::{
    io::{self, Write as _},
    process::{Command, Output, Stdio},
};

use crate::{error::KernelError, ruleset::Ruleset};

impl Ruleset {
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
        Err(KernelError::ReadBack { table: format!("ip {table}"), what: "tables", wanted: 1, found: 0 })
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
