//! Named counters of updates: none is refused without one of them rising.

natf_daemon::counters! {
    /// Updates that changed a zone and were saved (RFC 2136, 3.4).
    updates,
    /// Updates that left everything as it was.
    updates_without_change,
    /// Updates answered again as before: the same signed message came twice.
    updates_repeated,
    /// Messages that are no well-formed update.
    updates_malformed,
    /// Updates of a zone that is not ours (RFC 2136, 3.1.2).
    updates_not_our_zone,
    /// Updates with a name outside the zone.
    updates_outside_zone,
    /// Updates whose prerequisites do not hold (RFC 2136, 3.2).
    updates_prerequisite,
    /// Updates without a signature, or with that of a key that may not update the zone (RFC 2136, 3.3).
    updates_refused,
    /// Updates that would change records of the configuration.
    updates_of_fixed_records,
    /// Updates beyond the number of records of a zone or a name.
    updates_too_many_records,
    /// Updates that could not be saved.
    updates_not_saved,
    /// Signatures with a key that is not known, or with another algorithm than its own (RFC 8945, 5.2.1).
    tsig_bad_key,
    /// Signatures that do not fit their message (RFC 8945, 5.2.2).
    tsig_bad_signature,
    /// Signatures too old, too new, or older than what was applied (RFC 8945, 5.2.3).
    tsig_bad_time,
    /// Signed questions whose signature is not well formed, or not in its place (RFC 8945, 5.1).
    tsig_malformed,
    /// Signatures that are shortened (RFC 8945, 5.2.4).
    tsig_truncated,
}

/// Raises a counter; it stays at its end rather than to start over.
pub(super) fn raise(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}
