//! NAT-f wire formats, keys, cookies and virtual addresses, without I/O.
