//! Own zones: records, wildcards, dynamic update (RFC 2136) with TSIG (RFC 8945). No I/O.
