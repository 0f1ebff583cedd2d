//! natf-kernel: packets from the queue and from raw sockets.

use natf_kernel::packet::Ipv4View;

use crate::unhex;

/// Any bytes as a packet, whole or cut.
pub fn packet(data: &[u8]) {
    for view in [Ipv4View::parse(data), Ipv4View::parse_head(data)].into_iter().flatten() {
        assert!(view.payload().len() <= data.len());
        let _ = (view.source_socket(), view.destination_socket(), view.protocol());
    }
}

/// An echo request, a SYN with options, a datagram.
pub fn packet_seeds() -> Vec<Vec<u8>> {
    [
        "45000024 12340000 4001 0000 c633640a cb007102 0800 0000 0001 0002 4e415466 01010000",
        "4500003c 12344000 4006 0000 c633640a cb007102 9c40 0050 00000001 00000000 a002 faf0 0000 0000 \
         020405b4 0402080a 00000001 00000000 01030307",
        "46000024 12340000 4011 0000 c633640a cb007102 01010101 9c40 0035 000c 0000 01020304",
    ]
    .map(unhex)
    .to_vec()
}
