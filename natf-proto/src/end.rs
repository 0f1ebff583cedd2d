//! End of a flow (N9): the EN's conntrack entry is gone or the connection is closed, so the router's may go, too.
//!
//! ```text
//! byte  0  transaction (8)        the one of the mapping request
//!       8  source address (4)     G1 as the EN believes it
//!      12  source port (2)        s
//!      14  mapped port (2)        m
//!      16  mapped address (4)     G2
//!      20  protocol (1)
//!      21  ended (1)              in the answer: 1 = a mapping ended, 0 = there was none
//!      22  reserved (106)         sent as 0, ignored
//! ```

use std::net::SocketAddrV4;

use crate::{
    cursor::{Reader, Writer},
    envelope::Body,
    error::ParseError,
    request::{Transaction, Transport},
};

/// "This flow is over."
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndRequest {
    /// The mapping request's transaction.
    pub transaction: Transaction,
    /// `G1:s` as the EN believes it.
    pub source: SocketAddrV4,
    /// `G2:m`.
    pub mapped: SocketAddrV4,
    /// TCP or UDP.
    pub transport: Transport,
}

/// The answer: what was asked, and whether a mapping ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndResponse {
    /// The request.
    pub request: EndRequest,
    /// False where no such mapping existed (any more): a repeated end is no error.
    pub ended: bool,
}

impl EndRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ParseError`] where a field holds what it may not hold.
    pub fn parse(body: &Body) -> Result<Self, ParseError> {
        EndResponse::parse(body).map(|response| response.request)
    }

    /// Writes a body.
    pub fn emit(&self) -> Body {
        EndResponse { request: *self, ended: false }.emit()
    }
}

impl EndResponse {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ParseError`] where a field holds what it may not hold.
    pub fn parse(body: &Body) -> Result<Self, ParseError> {
        let mut reader = Reader::new(body);
        let transaction = Transaction(reader.u64());
        let source = SocketAddrV4::new(reader.address(), reader.u16());
        let port = reader.u16();
        let mapped = SocketAddrV4::new(reader.address(), port);
        let transport = Transport::parse(reader.u8())?;
        let ended = reader.u8() == 1;
        Ok(Self { request: EndRequest { transaction, source, mapped, transport }, ended })
    }

    /// Writes a body.
    pub fn emit(&self) -> Body {
        let request = &self.request;
        Writer::new()
            .u64(request.transaction.0)
            .address(*request.source.ip())
            .u16(request.source.port())
            .u16(request.mapped.port())
            .address(*request.mapped.ip())
            .u8(request.transport as u8)
            .u8(self.ended.into())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn end_survives_the_round_trip(transaction: u64, source: u32, s: u16, mapped: u32, m: u16, ended: bool) {
            let request = EndRequest {
                transaction: Transaction(transaction),
                source: SocketAddrV4::new(source.into(), s),
                mapped: SocketAddrV4::new(mapped.into(), m),
                transport: Transport::Udp,
            };
            let response = EndResponse { request, ended };
            prop_assert_eq!(EndResponse::parse(&response.emit()).unwrap(), response);
            prop_assert_eq!(EndRequest::parse(&request.emit()).unwrap(), request);
        }
    }
}
