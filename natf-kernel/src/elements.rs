//! Elements of the sets and maps of our own nft tables (family `ip`).
//!
//! One element costs some microseconds this way, a spawned `nft` two milliseconds. Adding is idempotent:
//! an element that exists is replaced, with a fresh timeout and the new data, in one atomic batch, so that
//! no packet finds the set without it. A batch that fails costs the kernel 8-20 ms; adding never fails
//! because of what the set holds, unless the set is full.
//!
//! Keys and data are concatenations, as in `ip saddr . meta l4proto . th sport`: every field is padded
//! to four bytes. A set whose key is a single field must have one of four bytes (an address, a mark).

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use netlink_bindings::nftables::{PushSetelemAttrs, PushSetelemListAttrs};
use netlink_bindings::traits::Pusher;

use crate::batch::{Nft, Refusal, milliseconds};
use crate::error::KernelError;
use crate::netlink::{CREATE, EXCL};

const NEW_ELEMENT: u16 = 0xa0c;
const DELETE_ELEMENT: u16 = 0xa0e;
/// Deletes without complaint what is not there. Kernel 6.3 and later.
const DESTROY_ELEMENT: u16 = 0xa1e;

/// Elements that go into one batch.
const BATCH: usize = 256;

/// A concatenation of fields, as key or as data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Concat {
    bytes: [u8; 32],
    length: usize,
}

impl Concat {
    /// No field yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an address (`ipv4_addr`).
    pub fn address(self, address: Ipv4Addr) -> Self {
        self.field(address.octets())
    }

    /// Appends an IP protocol number (`inet_proto`).
    pub fn protocol(self, number: u8) -> Self {
        self.field([number, 0, 0, 0])
    }

    /// Appends a port (`inet_service`).
    pub fn port(self, port: u16) -> Self {
        let [high, low] = port.to_be_bytes();
        self.field([high, low, 0, 0])
    }

    /// Appends an address and a port.
    pub fn socket(self, socket: SocketAddrV4) -> Self {
        self.address(*socket.ip()).port(socket.port())
    }

    /// The kernel's registers hold eight fields at most; more are ignored.
    fn field(mut self, field: [u8; 4]) -> Self {
        if let Some(place) = self.bytes.get_mut(self.length..self.length + 4) {
            place.copy_from_slice(&field);
            self.length += 4;
        }
        self
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// An element of a set, or of a map if it has data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element {
    /// What the set is searched by.
    pub key: Concat,
    /// What the map answers.
    pub data: Option<Concat>,
    /// How long it stays; the set must have the flag `timeout`. None: the set's own default.
    pub timeout: Option<Duration>,
}

/// A set or map of a table of family `ip`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetName<'a> {
    /// The table.
    pub table: &'a str,
    /// The set or map in it.
    pub set: &'a str,
}

impl std::fmt::Display for SetName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ip {} {}", self.table, self.set)
    }
}

/// What became of elements that were to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// They are in the set.
    Done,
    /// The set is full; of the last 256 of them none was added.
    Full,
}

/// A command socket for set elements.
#[derive(Debug)]
pub struct Elements {
    nft: Nft,
    /// Whether the kernel can destroy elements; assumed until it says otherwise.
    destroys: bool,
}

impl Elements {
    /// Opens the socket. Needs CAP_NET_ADMIN.
    pub fn open() -> Result<Self, KernelError> {
        Ok(Self { nft: Nft::open()?, destroys: true })
    }

    /// Behaves as on a kernel before 6.3, for tests.
    #[doc(hidden)]
    pub fn without_destroy(mut self) -> Self {
        self.destroys = false;
        self
    }

    /// Adds elements, and replaces those that exist.
    pub fn add(&mut self, name: SetName<'_>, elements: &[Element]) -> Result<Added, KernelError> {
        for part in elements.chunks(BATCH) {
            if self.destroys {
                match self.replace(name, part, DESTROY_ELEMENT)? {
                    None => continue,
                    Some(Refusal { errno: libc::ENFILE | libc::ENOSPC, .. }) => return Ok(Added::Full),
                    // Kernels before 6.3 do not know the message.
                    Some(Refusal { errno: libc::EINVAL | libc::EOPNOTSUPP, .. }) => self.destroys = false,
                    Some(refusal) => return Err(self.nft.error(action("add to", name, part.len()), refusal)),
                }
            }
            for element in part {
                if self.add_to_old_kernel(name, element)? == Added::Full {
                    return Ok(Added::Full);
                }
            }
        }
        Ok(Added::Done)
    }

    /// Deletes elements; what is not there is no error.
    pub fn delete(&mut self, name: SetName<'_>, keys: &[Concat]) -> Result<(), KernelError> {
        for part in keys.chunks(BATCH) {
            if self.destroys {
                self.nft.begin();
                for key in part {
                    push_keys(&mut self.nft, DESTROY_ELEMENT, name, key);
                }
                match self.nft.commit(&|| action("delete from", name, part.len()))? {
                    None => continue,
                    Some(Refusal { errno: libc::EINVAL | libc::EOPNOTSUPP, .. }) => self.destroys = false,
                    Some(refusal) => {
                        return Err(self.nft.error(action("delete from", name, part.len()), refusal));
                    }
                }
            }
            for key in part {
                self.delete_from_old_kernel(name, key)?;
            }
        }
        Ok(())
    }

    /// Empties a set.
    pub fn flush(&mut self, name: SetName<'_>) -> Result<(), KernelError> {
        self.nft.begin();
        self.nft.push(DELETE_ELEMENT, 0, |out| drop(set_attributes(out, name)));
        match self.nft.commit(&|| format!("empty the set {name}"))? {
            None => Ok(()),
            Some(refusal) => Err(self.nft.error(format!("empty the set {name}"), refusal)),
        }
    }

    /// Deletes by `removal` and adds, all in one batch.
    fn replace(
        &mut self,
        name: SetName<'_>,
        elements: &[Element],
        removal: u16,
    ) -> Result<Option<Refusal>, KernelError> {
        self.nft.begin();
        for element in elements {
            push_keys(&mut self.nft, removal, name, &element.key);
            push_new(&mut self.nft, name, element);
        }
        self.nft.commit(&|| action("add to", name, elements.len()))
    }

    /// Adds, and where the element exists deletes and adds. Between the tries the element may expire.
    fn add_to_old_kernel(&mut self, name: SetName<'_>, element: &Element) -> Result<Added, KernelError> {
        let mut last = None;
        for _ in 0..3 {
            self.nft.begin();
            push_new(&mut self.nft, name, element);
            let mut refusal = self.nft.commit(&|| action("add to", name, 1))?;
            if matches!(refusal, Some(Refusal { errno: libc::EEXIST | libc::EBUSY, .. })) {
                refusal = self.replace(name, std::slice::from_ref(element), DELETE_ELEMENT)?;
            }
            match refusal {
                None => return Ok(Added::Done),
                Some(Refusal { errno: libc::ENFILE | libc::ENOSPC, .. }) => return Ok(Added::Full),
                Some(Refusal { place: Some(0), errno: libc::ENOENT, .. }) => last = refusal,
                Some(refusal) => return Err(self.nft.error(action("add to", name, 1), refusal)),
            }
        }
        let refusal = last.unwrap_or(Refusal { place: None, errno: libc::EAGAIN, remark: None });
        Err(self.nft.error(action("add to", name, 1), refusal))
    }

    fn delete_from_old_kernel(&mut self, name: SetName<'_>, key: &Concat) -> Result<(), KernelError> {
        self.nft.begin();
        push_keys(&mut self.nft, DELETE_ELEMENT, name, key);
        match self.nft.commit(&|| action("delete from", name, 1))? {
            None | Some(Refusal { errno: libc::ENOENT, .. }) => Ok(()),
            Some(refusal) => Err(self.nft.error(action("delete from", name, 1), refusal)),
        }
    }
}

fn action(verb: &str, name: SetName<'_>, count: usize) -> String {
    format!("{verb} the set {name} ({count} elements)")
}

fn set_attributes<'a>(out: &'a mut Vec<u8>, name: SetName<'_>) -> PushSetelemListAttrs<&'a mut Vec<u8>> {
    PushSetelemListAttrs::new(out).push_table_bytes(name.table.as_bytes()).push_set_bytes(name.set.as_bytes())
}

fn push_keys(nft: &mut Nft, kind: u16, name: SetName<'_>, key: &Concat) {
    nft.push(kind, 0, |out| {
        let element = set_attributes(out, name).nested_elements().nested_elem();
        drop(push_key(element, key).end_nested().end_nested());
    });
}

fn push_new(nft: &mut Nft, name: SetName<'_>, element: &Element) {
    nft.push(NEW_ELEMENT, CREATE | EXCL, |out| {
        let mut item = set_attributes(out, name).nested_elements().nested_elem();
        item = push_key(item, &element.key);
        if let Some(data) = &element.data {
            item = item.nested_data().push_value(data.as_bytes()).end_nested();
        }
        if let Some(timeout) = element.timeout {
            // The kernel takes big-endian here, netlink-bindings writes native order.
            item = item.push_timeout(milliseconds(timeout).to_be());
        }
        drop(item.end_nested().end_nested());
    });
}

fn push_key<P: Pusher>(element: PushSetelemAttrs<P>, key: &Concat) -> PushSetelemAttrs<P> {
    element.nested_key().push_value(key.as_bytes()).end_nested()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pads_every_field_to_four_bytes() {
        let key = Concat::new().socket("192.0.2.1:258".parse().unwrap()).protocol(6);
        assert_eq!(key.as_bytes(), [192, 0, 2, 1, 1, 2, 0, 0, 6, 0, 0, 0]);
    }

    #[test]
    fn ignores_fields_that_no_register_holds() {
        let key = (0..9).fold(Concat::new(), |key, port| key.port(port));
        assert_eq!(key.as_bytes().len(), 32);
    }
}
