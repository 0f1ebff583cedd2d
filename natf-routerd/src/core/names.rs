//! Names of hosts as small numbers, so that a mapping does not carry 64 bytes of name.

use std::collections::BTreeMap;

use natf_proto::HostName;

/// Only names of the access control table get here, so it is bounded by the configuration files ever loaded.
#[derive(Debug, Default)]
pub struct Names {
    names: Vec<HostName>,
    numbers: BTreeMap<HostName, u16>,
}

impl Names {
    /// The name's number; `None` after 65,536 names.
    pub fn number(&mut self, name: &HostName) -> Option<u16> {
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        let number = u16::try_from(self.names.len()).ok()?;
        self.names.push(*name);
        self.numbers.insert(*name, number);
        Some(number)
    }

    /// The name's number, where it has one.
    pub fn find(&self, name: &HostName) -> Option<u16> {
        self.numbers.get(name).copied()
    }

    /// The number's name.
    pub fn name(&self, number: u16) -> Option<&HostName> {
        self.names.get(usize::from(number))
    }
}
