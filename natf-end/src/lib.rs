//! External node role of NAT-f: names, negotiation, virtual address translation.
