//! Mapping response (N8): the request's facts, and the mapped address with its lifetime, or why there is none.
//!
//! ```text
//! byte  0  transaction (8)            the request's
//!       8  result (1)                 0 = mapped, else the number of the reason
//!       9  kind (1)                   1 = exact, 2 = awaits first packet, 3 = direct
//!      10  pending lifetime (2)       seconds in which the first packet has to come
//!      12  lifetime (4)               seconds that the flow may stay idle once established
//!      16  observed address (4)       the source of the request as the router saw it
//!      20  mapped address (4)         G2, or P1 where no NAT stands between
//!      24  mapped port (2)            m, or d where no NAT stands between
//!      26  source port (2)            the request's s
//!      28  destination port (2)       the request's d
//!      30  protocol (1)               the request's
//!      31  reserved (97)              sent as 0, ignored
//! ```

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use crate::{
    cursor::{Reader, Writer},
    envelope::Body,
    error::ParseError,
    reason::Reason,
    request::{MappingRequest, Transaction, Transport},
};

/// How tightly the mapping is bound to the EN's flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum MappingKind {
    /// For `G1:s` alone (N7).
    Exact = 1,
    /// A NAT stands before the EN: bound to the first packet from the observed address to m.
    AwaitsFirstPacket = 2,
    /// No NAT stands between EN and host: the EN is at home.
    Direct = 3,
}

/// A mapping as the EN needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Exact, awaiting, or direct.
    pub kind: MappingKind,
    /// `G2:m`: where packets of the flow go.
    pub mapped: SocketAddrV4,
    /// How long the mapping waits for the first packet; whole seconds, at most 65,535.
    pub pending: Duration,
    /// How long an established flow may stay idle; whole seconds.
    pub lifetime: Duration,
}

/// The router's answer to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappingResponse {
    /// The request's transaction.
    pub transaction: Transaction,
    /// The request's protocol.
    pub transport: Transport,
    /// The request's source port `s`.
    pub source_port: u16,
    /// The request's destination port `d`.
    pub destination_port: u16,
    /// The EN's address as the router sees it.
    pub observed: Ipv4Addr,
    /// The mapping, or why not; `Err(None)` is a reason that this program does not know.
    pub outcome: Result<Grant, Option<Reason>>,
}

impl MappingResponse {
    /// The answer to `request`.
    pub fn to(request: &MappingRequest, observed: Ipv4Addr, outcome: Result<Grant, Reason>) -> Self {
        Self {
            transaction: request.transaction,
            transport: request.transport,
            source_port: request.source.port(),
            destination_port: request.destination.port(),
            observed,
            outcome: outcome.map_err(Some),
        }
    }

    /// True where this answers `request`: the facts are the same.
    pub fn answers(&self, request: &MappingRequest) -> bool {
        self.transaction == request.transaction
            && self.transport == request.transport
            && self.source_port == request.source.port()
            && self.destination_port == request.destination.port()
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`ParseError`] where a field holds what it may not hold.
    pub fn parse(body: &Body) -> Result<Self, ParseError> {
        let mut reader = Reader::new(body);
        let transaction = Transaction(reader.u64());
        let result = reader.u8();
        let kind = reader.u8();
        let pending = Duration::from_secs(reader.u16().into());
        let lifetime = Duration::from_secs(reader.u32().into());
        let observed = reader.address();
        let mapped = SocketAddrV4::new(reader.address(), reader.u16());
        let (source_port, destination_port) = (reader.u16(), reader.u16());
        let transport = Transport::parse(reader.u8())?;
        let outcome = match result {
            0 => Ok(Grant { kind: parse_kind(kind)?, mapped: checked(mapped)?, pending, lifetime }),
            number => Err(Reason::parse(number)),
        };
        Ok(Self { transaction, transport, source_port, destination_port, observed, outcome })
    }

    /// Writes a body.
    pub fn emit(&self) -> Body {
        let none = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        let (result, kind, grant) = match &self.outcome {
            Ok(grant) => (0, grant.kind as u8, *grant),
            Err(reason) => {
                let nothing = Duration::ZERO;
                let empty =
                    Grant { kind: MappingKind::Exact, mapped: none, pending: nothing, lifetime: nothing };
                (reason.map_or(u8::MAX, |reason| reason as u8), 0, empty)
            }
        };
        Writer::new()
            .u64(self.transaction.0)
            .u8(result)
            .u8(kind)
            .u16(u16::try_from(grant.pending.as_secs()).unwrap_or(u16::MAX))
            .u32(u32::try_from(grant.lifetime.as_secs()).unwrap_or(u32::MAX))
            .address(self.observed)
            .address(*grant.mapped.ip())
            .u16(grant.mapped.port())
            .u16(self.source_port)
            .u16(self.destination_port)
            .u8(self.transport as u8)
            .finish()
    }
}

fn parse_kind(number: u8) -> Result<MappingKind, ParseError> {
    match number {
        1 => Ok(MappingKind::Exact),
        2 => Ok(MappingKind::AwaitsFirstPacket),
        3 => Ok(MappingKind::Direct),
        _ => Err(ParseError::Field { field: "kind", value: number.into() }),
    }
}

fn checked(mapped: SocketAddrV4) -> Result<SocketAddrV4, ParseError> {
    if mapped.ip().is_unspecified() {
        return Err(ParseError::Field { field: "mapped address", value: 0 });
    }
    if mapped.port() == 0 {
        return Err(ParseError::Field { field: "mapped port", value: 0 });
    }
    Ok(mapped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn response_survives_the_round_trip(
            transaction: u64, mapped in 1u32.., m in 1u16.., s: u16, d: u16, observed: u32, pending: u16, lifetime: u32,
            kind in 1u8..=3, refusal in 0u8..=8, tcp: bool
        ) {
            let grant = Grant {
                kind: parse_kind(kind).unwrap(),
                mapped: SocketAddrV4::new(mapped.into(), m),
                pending: Duration::from_secs(pending.into()),
                lifetime: Duration::from_secs(lifetime.into()),
            };
            let response = MappingResponse {
                transaction: Transaction(transaction),
                transport: if tcp { Transport::Tcp } else { Transport::Udp },
                source_port: s,
                destination_port: d,
                observed: observed.into(),
                outcome: if refusal == 0 { Ok(grant) } else { Err(Reason::parse(refusal)) },
            };
            prop_assert_eq!(MappingResponse::parse(&response.emit()).unwrap(), response);
        }

        #[test]
        fn any_body_is_parsed_without_panic(bytes in prop::collection::vec(any::<u8>(), 128)) {
            let _ = MappingResponse::parse(&bytes.try_into().unwrap());
        }
    }

    #[test]
    fn the_field_that_makes_a_mapping_useless_is_named() {
        let grant = |ip: [u8; 4], port| Grant {
            kind: MappingKind::Exact,
            mapped: SocketAddrV4::new(ip.into(), port),
            pending: Duration::ZERO,
            lifetime: Duration::ZERO,
        };
        let parse = |grant| {
            let (transaction, transport, observed) = (Transaction(1), Transport::Tcp, Ipv4Addr::LOCALHOST);
            let (source_port, destination_port, outcome) = (1, 2, Ok(grant));
            let response =
                MappingResponse { transaction, transport, source_port, destination_port, observed, outcome };
            MappingResponse::parse(&response.emit()).unwrap_err()
        };
        assert_eq!(parse(grant([203, 0, 113, 2], 0)), ParseError::Field { field: "mapped port", value: 0 });
        assert_eq!(parse(grant([0; 4], 20_000)), ParseError::Field { field: "mapped address", value: 0 });
    }
}
