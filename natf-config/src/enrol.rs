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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";

    #[test]
    fn writes_the_form_that_it_reads() {
        for port in ["", "&port=4450"] {
            let uri = format!("natf://home.example.net/?id=4711&key={KEY}&peer=laptop{port}");
            let parsed = EnrolUri::parse(&format!(" {uri}\n")).unwrap();
            assert_eq!(parsed.to_uri().as_str(), uri);
            assert_eq!(parsed.udp_port.is_some(), !port.is_empty());
        }
    }

    #[test]
    fn reads_the_parts_in_any_order_and_case_of_the_name() {
        let uri = format!("NATF://Home.Example.NET?peer=laptop&key={KEY}&id=1");
        let parsed = EnrolUri::parse(&uri).unwrap();
        assert_eq!(
            (parsed.domain.as_str(), parsed.id.get(), parsed.peer.as_str()),
            ("home.example.net", 1, "laptop")
        );
    }

    #[test]
    fn names_the_part_that_is_wrong_but_not_the_key() {
        let good = format!("natf://home.example.net/?id=4711&key={KEY}&peer=laptop");
        for (from, to, problem) in [
            ("natf:", "http:", "natf://"),
            ("home.", "ho me.", "'ho me.example.net' is not a domain name"),
            ("net/", "net/x", "'home.example.net/x' is not a domain name"),
            ("net/", "net:80/", "is not a domain name"),
            ("id=4711", "id=0", "id '0'"),
            ("id=4711", "id=+1", "id '+1'"),
            ("id=4711&", "", "id is missing"),
            ("&peer=laptop", "", "peer is missing"),
            ("laptop", "lap%20top", "peer 'lap%20top'"),
            ("laptop", "laptop&port=65536", "port '65536'"),
            ("laptop", "laptop&port=0", "port '0'"),
            ("laptop", "laptop&peer=x", "peer stands twice"),
            ("laptop", "laptop&role=x", "'role' is unknown"),
            ("laptop", "laptop&", "NAME=VALUE"),
            ("?", "", "behind ? is missing"),
            ("AQE&", "&", "not a key"),
            ("AQE&", "AQ=&", "not a key"),
            (KEY, "", "not a key"),
        ] {
            let uri = good.replacen(from, to, 1);
            let error = EnrolUri::parse(&uri).unwrap_err().to_string();
            assert!(error.contains(problem) && !error.contains("AQEB"), "{uri}: {error}");
        }
        assert!(EnrolUri::parse(&good.replace("home", &"a".repeat(500))).is_err());
        assert!(!format!("{:?}", EnrolUri::parse(&good).unwrap()).contains("AQEB"));
    }

    proptest! {
        #[test]
        fn reads_every_uri_that_it_writes(
            domain in "[a-z0-9]{1,20}(\\.[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?){0,4}",
            id in 1_u16.., port in 0_u16.., key in any::<[u8; 32]>(), peer in "[A-Za-z0-9_]{1,64}",
        ) {
            let key = EnrolledKey::from_bytes(&key);
            let id = NonZeroU16::new(id).unwrap();
            let uri = EnrolUri { domain: domain.parse().unwrap(), id, key, peer, udp_port: NonZeroU16::new(port) };
            prop_assert_eq!(EnrolUri::parse(&uri.to_uri()).unwrap(), uri);
        }

        #[test]
        fn never_panics(uri in "(natf://)?.{0,60}", part in "[?&=/a-z0-9%]{0,40}") {
            let _ = EnrolUri::parse(&uri);
            let _ = EnrolUri::parse(&format!("natf://a.b/?{part}"));
        }
    }
}
