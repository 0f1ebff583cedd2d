//! External node daemon of NAT-f.

fn main() {}
