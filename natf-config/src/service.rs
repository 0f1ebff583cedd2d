//! A service: what the ACT allows of a host, by protocol and port.
//!
//! `tcp:22`, `udp:5000-5010`, `tcp:*`, `*:53` (both protocols) and `*` (everything).

use std::fmt;
use std::str::FromStr;

/// IPPROTO_TCP.
const TCP: u8 = 6;
/// IPPROTO_UDP.
const UDP: u8 = 17;

/// The transport protocols of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP only.
    Tcp,
    /// UDP only.
    Udp,
    /// TCP and UDP.
    Both,
}

/// A protocol with a range of destination ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    protocol: Protocol,
    first: u16,
    last: u16,
}

/// The text is not a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a service; use {}", Service::ACCEPTED)]
pub struct ServiceError;

impl Service {
    /// Every port of both protocols.
    pub const ALL: Service = Service { protocol: Protocol::Both, first: 0, last: u16::MAX };

    pub(crate) const ACCEPTED: &str =
        "tcp:PORT, udp:PORT, tcp:FIRST-LAST, tcp:* or * (ports 1-65535; *:PORT is both protocols)";

    /// Makes a service; None if the range is empty.
    pub fn new(protocol: Protocol, first: u16, last: u16) -> Option<Service> {
        (first <= last).then_some(Service { protocol, first, last })
    }

    /// Tells whether a flow of the IP protocol number `proto` to the port `port` is part of the service.
    pub fn allows(&self, proto: u8, port: u16) -> bool {
        let protocol = match self.protocol {
            Protocol::Tcp => proto == TCP,
            Protocol::Udp => proto == UDP,
            Protocol::Both => proto == TCP || proto == UDP,
        };
        protocol && (self.first..=self.last).contains(&port)
    }

    /// The protocols.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The first and the last port.
    pub fn ports(&self) -> (u16, u16) {
        (self.first, self.last)
    }
}

impl FromStr for Service {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        if text == "*" {
            return Ok(Service::ALL);
        }
        let (protocol, ports) = text.split_once(':').ok_or(ServiceError)?;
        let protocol = match protocol.to_ascii_lowercase().as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "*" => Protocol::Both,
            _ => return Err(ServiceError),
        };
        let (first, last) = match ports.split_once('-') {
            None if ports == "*" => (0, u16::MAX),
            None => (port(ports)?, port(ports)?),
            Some((first, last)) => (port(first)?, port(last)?),
        };
        Service::new(protocol, first, last).ok_or(ServiceError)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Service::ALL {
            return f.write_str("*");
        }
        f.write_str(match self.protocol {
            Protocol::Tcp => "tcp:",
            Protocol::Udp => "udp:",
            Protocol::Both => "*:",
        })?;
        match (self.first, self.last) {
            (0, u16::MAX) => f.write_str("*"),
            (first, last) if first == last => write!(f, "{first}"),
            (first, last) => write!(f, "{first}-{last}"),
        }
    }
}

fn port(text: &str) -> Result<u16, ServiceError> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ServiceError);
    }
    text.parse().ok().filter(|port| *port != 0).ok_or(ServiceError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_every_form_of_a_service() {
        for text in ["*", "tcp:22", "udp:5000-5010", "tcp:*", "*:53", "udp:65535"] {
            assert_eq!(text.parse::<Service>().unwrap().to_string(), text);
        }
        assert_eq!("TCP:80-80".parse::<Service>().unwrap().to_string(), "tcp:80");
        assert_eq!("*:*".parse::<Service>().unwrap(), Service::ALL);
    }

    #[test]
    fn refuses_what_is_not_a_service() {
        for text in [
            "",
            "tcp",
            "22",
            "tcp:",
            "tcp:0",
            "tcp:65536",
            "tcp:9-8",
            "tcp:+5",
            "icmp:1",
            "tcp:1-",
            "tcp:1-2-3",
        ] {
            assert_eq!(text.parse::<Service>(), Err(ServiceError), "{text}");
        }
    }

    #[test]
    fn allows_the_protocol_and_the_ports_of_the_range_only() {
        let service: Service = "udp:5000-5010".parse().unwrap();
        assert!(service.allows(17, 5000) && service.allows(17, 5010));
        assert!(!service.allows(17, 4999) && !service.allows(17, 5011) && !service.allows(6, 5005));
        assert!(Service::ALL.allows(6, 1) && Service::ALL.allows(17, 65535) && !Service::ALL.allows(132, 1));
    }
}
