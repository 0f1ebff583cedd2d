//! Mapping request (N5): "map this flow to that host". A repeated request with the same transaction gets the same
//! mapping, and is how a mapping is refreshed.
//!
//! ```text
//! byte  0  transaction (8)            random, chosen by the EN, new for every flow
//!       8  source address (4)         G1 as the EN believes it
//!      12  source port (2)            s
//!      14  destination port (2)       d, the service at the internal node
//!      16  dialled address (4)        G2 as the EN dialled it
//!      20  protocol (1)               6 = TCP, 17 = UDP
//!      21  flags (1)                  sent as 0, ignored
//!      22  length of the name (1)     1 to 64
//!      23  reserved (1)               sent as 0, ignored
//!      24  private host name (64)     padded with 0
//!      88  reserved (40)              sent as 0, ignored
//! ```

use std::{fmt, net::SocketAddrV4};

use crate::{
    cursor::{Reader, Writer},
    envelope::Body,
    error::ParseError,
    host_name::{HostName, MAX_HOST_NAME},
};

/// Ties an answer to its question, and repeated requests to one mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Transaction(pub u64);

/// The protocols that have ports to map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Transport {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

impl Transport {
    /// Reads an IP protocol number.
    ///
    /// # Errors
    /// [`ParseError::Field`] for every protocol but TCP and UDP.
    pub fn parse(number: u8) -> Result<Self, ParseError> {
        match number {
            6 => Ok(Self::Tcp),
            17 => Ok(Self::Udp),
            _ => Err(ParseError::Field { field: "protocol", value: number.into() }),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// The facts of the packet that triggered the negotiation, and the host it is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappingRequest {
    /// Chosen by the EN.
    pub transaction: Transaction,
    /// `G1:s` as the EN believes it; a NAT before the EN may make it untrue.
    pub source: SocketAddrV4,
    /// `G2:d`: the address that the EN dialled, and the service's port.
    pub destination: SocketAddrV4,
    /// TCP or UDP.
    pub transport: Transport,
    /// Who is meant.
    pub host: HostName,
}

impl MappingRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ParseError`] where a field holds what it may not hold.
    pub fn parse(body: &Body) -> Result<Self, ParseError> {
        let mut reader = Reader::new(body);
        let transaction = Transaction(reader.u64());
        let source = SocketAddrV4::new(reader.address(), reader.u16());
        let port = reader.u16();
        let destination = SocketAddrV4::new(reader.address(), port);
        let transport = Transport::parse(reader.u8())?;
        let _flags = reader.u8();
        let length = usize::from(reader.u8());
        let _reserved = reader.u8();
        let name = reader.bytes::<MAX_HOST_NAME>();
        for (field, port) in [("source port", source.port()), ("destination port", port)] {
            if port == 0 {
                return Err(ParseError::Field { field, value: 0 });
            }
        }
        let host = HostName::new(name.get(..length).ok_or(ParseError::HostName)?)?;
        Ok(Self { transaction, source, destination, transport, host })
    }

    /// Writes a body.
    pub fn emit(&self) -> Body {
        Writer::new()
            .u64(self.transaction.0)
            .address(*self.source.ip())
            .u16(self.source.port())
            .u16(self.destination.port())
            .address(*self.destination.ip())
            .u8(self.transport as u8)
            .u8(0)
            .u8(u8::try_from(self.host.as_str().len()).unwrap_or(0))
            .u8(0)
            .bytes(self.host.padded())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn request_survives_the_round_trip(
            transaction: u64, source: u32, s in 1u16.., destination: u32, d in 1u16.., tcp: bool, name in "[a-z0-9_-]{1,64}"
        ) {
            let request = MappingRequest {
                transaction: Transaction(transaction),
                source: SocketAddrV4::new(source.into(), s),
                destination: SocketAddrV4::new(destination.into(), d),
                transport: if tcp { Transport::Tcp } else { Transport::Udp },
                host: name.parse().unwrap(),
            };
            prop_assert_eq!(MappingRequest::parse(&request.emit()).unwrap(), request);
        }

        #[test]
        fn any_body_is_parsed_without_panic(bytes in prop::collection::vec(any::<u8>(), 128)) {
            let _ = MappingRequest::parse(&bytes.try_into().unwrap());
        }
    }

    #[test]
    fn a_port_of_zero_is_refused() {
        let mut body = [0; 128];
        body[20] = 6;
        body[22] = 1;
        body[24] = b'a';
        assert!(matches!(MappingRequest::parse(&body), Err(ParseError::Field { field: "source port", .. })));
    }
}
