//! What happens to queries: nothing is dropped, refused or cut short without one of these rising.

natf_daemon::shared_counters! {
    /// Queries heard over UDP.
    queries_udp,
    /// Queries heard over TCP.
    queries_tcp,
    /// Replies handed on as they came.
    passed,
    /// Replies with a virtual address (N2).
    rewritten,
    /// Replies from which something was taken that leads around the virtual address.
    reduced,
    /// Names of virtual addresses answered.
    reverse,
    /// Rewritten replies that a validating client takes for bogus.
    bogus,
    /// Replies that did not fit the client's datagram.
    truncated,
    /// Queries without a reply: no upstream server answered.
    upstream_failed,
    /// Queries without a reply: the upstream's cannot be read.
    upstream_malformed,
    /// Names refused because the name relation table is full.
    relations_full,
    /// Queries that cannot be read, answered FORMERR.
    format_errors,
    /// Packets that are no queries, dropped.
    not_a_query,
    /// Queries and connections from other networks, dropped.
    client_refused,
    /// Queries dropped because too many are under way.
    queries_too_many,
    /// Connections closed because there are too many.
    connections_too_many,
    /// Replies and receptions that the kernel refused.
    socket_failed,
}
