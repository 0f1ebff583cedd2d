//! NAT-f router daemon: access control table and forced mappings.

fn main() {}
