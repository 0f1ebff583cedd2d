//! Ways to break the world on purpose, which the checks have to notice: a check that cannot fail is none.

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// The router's kernel deletes no entry: revoked flows go on.
    KeepsEntries,
    /// The router does not see that its address has changed.
    SeesNoMove,
    /// The router's kernel leads every flow to another host.
    LeadsElsewhere,
    /// The router's kernel never lets a held packet go.
    ForgetsPackets,
    /// The router's counters are not stored: what was recorded works again after a restart.
    LosesCounters,
    /// The external node's kernel translates to another port.
    TranslatesWrongly,
    /// The external node's kernel never lets a held packet go.
    KeepsWaiting,
    /// The external node's kernel forgets translations at once.
    NoTranslation,
}
