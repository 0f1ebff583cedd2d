//! Named counters: nothing is dropped, refused or given up without one of them rising (N15).

natf_daemon::counters! {
    /// An answer was not sealed with the home's key, or was changed on its way.
    answer_forged,
    /// An answer is no well-formed message.
    answer_malformed,
    /// An answer, sealed correctly, does not fit its question.
    answer_mismatch,
    /// A mapped address that no packet may be sent to.
    answer_unacceptable,
    /// An answer that nobody waits for: late, repeated, or made up.
    answer_unexpected,
    /// Cookies received (N15).
    cookies,
    /// Flows whose end was told to the router (N9).
    flows_ended,
    /// Flows forgotten because the table was full; they run on.
    flows_forgotten,
    /// Flows dropped because their source address is gone.
    flows_source_gone,
    /// Flows taken over from the kernel after a restart.
    flows_restored,
    /// Mappings granted by a router (N8).
    granted,
    /// Packets to a virtual address that were held (N4).
    held,
    /// Packets dropped because their flow held too many.
    held_too_many_of_flow,
    /// Packets dropped, or first packets refused, because too many are held in all.
    held_too_many,
    /// Other calls to the kernel that failed: tried again, or left to timeouts.
    kernel_calls_failed,
    /// VAT entries that the kernel did not take.
    kernel_failed,
    /// Answers that mirror the question: no NAT-f there, or our key is unknown (N10).
    mirrored,
    /// Routers that asked for another counter or cookie once too often.
    never_content,
    /// Flows connected to the router itself, as without NAT-f (N10).
    plain,
    /// Ports of ours that turned out to be in use, in a gateway (N12).
    port_taken,
    /// Refreshes of mappings whose flow had no answer yet.
    refreshed,
    /// Refreshes that brought another mapping or a refusal: the flow starts anew.
    refresh_lost,
    /// Held packets refused, for any reason.
    refused,
    /// Packets refused because the same was refused a moment ago.
    refused_again,
    /// Refusals said by a router.
    refused_by_router,
    /// Held packets released (N4).
    released,
    /// Requests sent, repeated ones included.
    sent,
    /// Requests repeated because no answer came.
    sent_again,
    /// Routers that never answered.
    silent,
    /// Answers that ask for a higher counter.
    stale,
    /// Stale answers with a floor that no honest router names.
    stale_implausible,
    /// Packets to a virtual address without a name.
    unknown_address,
}

/// Raises a counter; it stays at its end rather than to start over.
pub(crate) fn raise(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}
