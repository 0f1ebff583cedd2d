//! The enrol URI: everything that a node needs to know of a home, as text or QR.
//!
//! `natf://home.example.net/?id=4711&key=BASE64URL&peer=laptop[&port=UDPPORT]`
//!
//! No part needs percent-encoding; whatever would need it is refused. The URI contains the key: it is made and kept
//! in memory that is wiped, and no error repeats it.

use std::num::NonZeroU16;

use zeroize::Zeroizing;

use crate::error::{Error, shown};
use crate::keys::EnrolledKey;
use crate::name::{DomainName, is_section_name};

/// The longest URI: domain 253, key 43, name 64, numbers, and the words around them.
const MAX_URI: usize = 512;

/// The parts of an enrol URI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolUri {
    /// The home's name.
    pub domain: DomainName,
    /// The key id.
    pub id: NonZeroU16,
    /// The key.
    pub key: EnrolledKey,
    /// The name that the router has for the node.
    pub peer: String,
    /// The port of the router's UDP carrier.
    pub udp_port: Option<NonZeroU16>,
}

impl EnrolUri {
    /// Writes the URI.
    pub fn to_uri(&self) -> Zeroizing<String> {
        let key = self.key.to_base64();
        let mut uri = Zeroizing::new(String::with_capacity(MAX_URI));
        for part in [
            "natf://",
            self.domain.as_str(),
            "/?id=",
            &self.id.to_string(),
            "&key=",
            &key,
            "&peer=",
            &self.peer,
        ] {
            uri.push_str(part);
        }
        if let Some(port) = self.udp_port {
            uri.push_str("&port=");
            uri.push_str(&port.to_string());
        }
        uri
    }

    /// Reads a URI.
    ///
    /// # Errors
    /// [`Error::EnrolUri`], which names the part that is wrong, but not the key.
    pub fn parse(uri: &str) -> Result<EnrolUri, Error> {
        read(uri.trim()).map_err(|problem| Error::EnrolUri { problem })
    }
}

fn read(uri: &str) -> Result<EnrolUri, String> {
    if uri.len() > MAX_URI {
        return Err(format!("it is longer than {MAX_URI} characters"));
    }
    let (scheme, rest) = uri.split_once("://").ok_or("it does not start with natf://")?;
    if !scheme.eq_ignore_ascii_case("natf") {
        return Err("it does not start with natf://".into());
    }
    let (authority, query) = rest.split_once('?').ok_or("the part behind ? is missing")?;
    let domain = authority.strip_suffix('/').unwrap_or(authority);
    let domain = domain.parse().map_err(|_| format!("'{}' is not a domain name", shown(domain)))?;
    let mut values = Values::default();
    for part in query.split('&') {
        values.take(part)?;
    }
    let peer = values.peer.ok_or("peer is missing")?;
    if !is_section_name(peer) {
        return Err(format!("peer '{}' is not a name; use letters, digits and _, at most 64", shown(peer)));
    }
    Ok(EnrolUri {
        domain,
        id: number("id", values.id.ok_or("id is missing")?)?,
        key: values.key.ok_or("key is missing")?.parse().map_err(|error: Error| error.to_string())?,
        peer: peer.to_owned(),
        udp_port: values.port.map(|port| number("port", port)).transpose()?,
    })
}

#[derive(Default)]
struct Values<'a> {
    id: Option<&'a str>,
    key: Option<&'a str>,
    peer: Option<&'a str>,
    port: Option<&'a str>,
}

impl<'a> Values<'a> {
    fn take(&mut self, part: &'a str) -> Result<(), String> {
        let (name, value) =
            part.split_once('=').ok_or("the part behind ? has a piece that is not NAME=VALUE")?;
        let place = match name {
            "id" => &mut self.id,
            "key" => &mut self.key,
            "peer" => &mut self.peer,
            "port" => &mut self.port,
            _ => return Err(format!("'{}' is unknown; accepted: id, key, peer, port", shown(name))),
        };
        match place.replace(value) {
            None => Ok(()),
            Some(_) => Err(format!("{name} stands twice")),
        }
    }
}

fn number(name: &str, text: &str) -> Result<NonZeroU16, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.ok_or_else(|| format!("{name} '{}' is not a number from 1 to 65535", shown(text)))
}
