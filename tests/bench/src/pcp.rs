//! PCP MAP requests (RFC 6887), one after the other, to whatever router speaks PCP: what NAT-f's requests are compared
//! with.
//!
//! ```text
//!   version 2 | opcode 1 | 0 | lifetime | client's address      nonce | protocol | internal and external port | address
//!   24 bytes of header                                          36 bytes of MAP
//! ```

use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{Outcome, median, window::per_second};

const PORT: u16 = 5351;
const UDP: u8 = 17;
const LIFETIME: u32 = 3600;
const PATIENCE: Duration = Duration::from_secs(2);
const LENGTH: usize = 60;
/// The first internal port that is asked for.
const FIRST_PORT: u16 = 1024;

/// Asks for one port after the other until `count` have been mapped or `limit` is over; prints a line of JSON for each
/// `step` of them.
pub fn map(router: Ipv4Addr, count: u16, step: usize, limit: Duration) -> Outcome {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(SocketAddrV4::new(router, PORT))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let std::net::SocketAddr::V4(own) = socket.local_addr()? else {
        return Err("an IPv4 router, please".into());
    };
    let (start, mut samples, mut reply) = (Instant::now(), Vec::new(), [0; 1100]);
    for at in 0..count {
        let request = request(*own.ip(), FIRST_PORT + at);
        let asked = Instant::now();
        socket.send(&request)?;
        let length = socket.recv(&mut reply)?;
        samples.push(asked.elapsed().as_secs_f64() * 1e6);
        match reply.get(..length) {
            Some([2, 0x81, _, 0, ..]) => {}
            Some([2, 0x81, _, code, ..]) => {
                return Err(format!("mapping {at}: PCP result code {code}").into());
            }
            _ => return Err(format!("mapping {at}: {length} bytes that are no answer to MAP").into()),
        }
        if samples.len() == step {
            let seconds = samples.iter().sum::<f64>() / 1e6;
            println!(
                "{}",
                json!({"mappings": at + 1, "median_us": median(&mut samples), "requests_per_s": per_second(step, seconds)})
            );
            samples.clear();
        }
        if start.elapsed() > limit {
            break;
        }
    }
    Ok(())
}

fn request(client: Ipv4Addr, port: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LENGTH);
    bytes.extend([2, 1, 0, 0]);
    bytes.extend(LIFETIME.to_be_bytes());
    bytes.extend(client.to_ipv6_mapped().octets());
    // The nonce: unlike for each port, not secret.
    bytes.extend([0; 10]);
    bytes.extend(port.to_be_bytes());
    bytes.extend([UDP, 0, 0, 0]);
    bytes.extend(port.to_be_bytes());
    // Which external port is left to the router, and so is the address.
    bytes.extend([0; 2]);
    bytes.extend(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().octets());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_request_has_its_fields_where_rfc_6887_draws_them() {
        let bytes = request(Ipv4Addr::new(192, 168, 1, 10), 0x1234);
        assert_eq!(bytes.len(), LENGTH);
        assert_eq!(bytes[18..24], [0xff, 0xff, 192, 168, 1, 10]);
        assert_eq!(bytes[36..44], [UDP, 0, 0, 0, 0x12, 0x34, 0, 0]);
    }
}
