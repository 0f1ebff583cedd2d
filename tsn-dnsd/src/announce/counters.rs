//! What happened to notifications; every number has a name that a user can read.

natf_daemon::counters! {
    /// Notifications, each counted once.
    notifications,
    /// Questions that waited for the notification of another one.
    notifications_shared,
    /// Messages sent again because no answer came.
    notifications_repeated,
    /// Answers: the guide table has a row.
    answers_guided,
    /// Answers: refused.
    answers_refused,
    /// Answers: a higher counter is wanted.
    answers_stale,
    /// Notifications that came back as they were sent.
    answers_mirrored,
    /// Answers that are not sealed by the router, or that say nothing sensible.
    answers_forged,
    /// Answers to nothing that is under way: late, or not ours.
    answers_unmatched,
    /// Notifications that nobody answered in time.
    routers_silent,
    /// Questions that found too many notifications under way.
    announcing_busy,
}
