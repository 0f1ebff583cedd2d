//! Named counters: every question that is dropped, refused or cut short raises one that a user can read.

natf_daemon::shared_counters! {
    /// Questions over UDP.
    queries_udp,
    /// Questions over TCP.
    queries_tcp,
    /// Answered from own records.
    answered_own,
    /// Answered from the cache.
    answered_cache,
    /// Answered from the cache although the time was over (RFC 8767).
    answered_stale,
    /// Answered by upstream servers.
    answered_upstream,
    /// Answered here, for nobody else is to be asked: ANY, types that are no data, classes other than IN.
    answered_here,
    /// Questions that joined an equal one under way.
    joined,
    /// Dynamic updates (RFC 2136), of which those of the zones say more.
    queries_update,
    /// Answers for announced names held until their router was told (T4).
    announced,
    /// Clients that were given no address for an announced name.
    announce_refused,
    /// AAAA, HTTPS and SVCB of announced names, which would lead around the announcement.
    announce_emptied,
    /// From clients that may not ask, refused.
    client_refused,
    /// From clients that may not ask, too many to be refused: dropped.
    client_dropped,
    /// Clients that ask too often, dropped.
    rate_limited,
    /// Questions that cannot be read, answered FORMERR.
    format_errors,
    /// Packets that are answers or no messages at all, dropped.
    not_a_query,
    /// Datagrams that are longer than a question can be, dropped.
    too_long,
    /// Opcodes that are not offered, answered NOTIMP.
    not_implemented,
    /// EDNS versions above 0, answered BADVERS.
    bad_version,
    /// Answers cut because they do not fit the client's datagram.
    truncated,
    /// Questions and updates while too many were under way, answered SERVFAIL.
    too_many,
    /// Questions that no upstream server answered, answered SERVFAIL or with what was stale.
    upstream_failed,
    /// Questions sent to upstream servers.
    upstream_sent,
    /// Replies of upstream servers without the question that was asked: forged or late, dropped.
    upstream_foreign,
    /// Replies of upstream servers in other letters than were asked in: asked again by TCP.
    upstream_case,
    /// Replies of upstream servers that cannot be read, dropped.
    upstream_malformed,
    /// Records that did not belong into an upstream server's answer, dropped.
    upstream_strange_records,
    /// Upstream servers that did not answer in time.
    upstream_timeouts,
    /// Upstream servers asked again by TCP.
    upstream_tcp,
    /// TCP connections accepted.
    connections,
    /// TCP connections refused because there are too many.
    connections_too_many,
    /// TCP connections closed to make room for a client that has fewer.
    connections_displaced,
    /// Answers that the kernel did not send.
    unsent,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_own_name() {
        let counters = Counters::default();
        counters.rate_limited.up();
        counters.truncated.add(2);
        let raised: Vec<_> = counters.iter().filter(|(_, value)| *value > 0).collect();
        assert_eq!(raised, [("rate_limited", 1), ("truncated", 2)]);
    }
}
