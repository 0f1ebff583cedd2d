//! A UDP echo server on all addresses of its machine: what comes to one of a thousand hosts goes back from that one.

use std::{
    net::{Ipv4Addr, SocketAddr},
    os::fd::AsFd as _,
};

use natf_kernel::udp_batch::{UdpInbox, UdpOutbox, UdpSocket};

use crate::Outcome;

const SLOT: usize = 2048;
/// Echoes for ever.
pub fn echo(port: u16) -> Outcome {
    let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
    let (mut inbox, mut outbox) = (UdpInbox::new(SLOT), UdpOutbox::new());
    // The batches never wait; this second handle of the same socket does.
    let waiter = std::net::UdpSocket::from(socket.as_fd().try_clone_to_owned()?);
    waiter.set_nonblocking(false)?;
    loop {
        let more = inbox.receive(&socket)?;
        for datagram in inbox.datagrams() {
            if let Some(bytes) = datagram.bytes {
                outbox.push(datagram.path, |out| out.extend_from_slice(bytes));
            }
        }
        // Who waits for an answer sees which ones were lost.
        outbox.flush(&socket);
        if !more {
            waiter.peek_from(&mut [0])?;
        }
    }
}
