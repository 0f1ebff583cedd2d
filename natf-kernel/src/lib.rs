//! Linux kernel layer of natf: conntrack, packet queue, nftables, raw sockets.
