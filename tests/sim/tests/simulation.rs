//! Thousands of worlds, each from its seed: what must hold holds in all of them, and the checks notice where it does not.
//!
//! `NATF_SIM_SEED=number` runs one and prints all that happened; `NATF_SIM_SEEDS=number` runs that many.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::{
    panic::resume_unwind,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use natf_sim::{Failure, Summary, sabotage::Sabotage};

/// Worlds of every `make test`.
const SEEDS: u64 = 2000;
/// Worlds in which a sabotage has to be noticed at least once.
const SEEDS_OF_SABOTAGE: u64 = 60;
/// Far longer than any world takes, however slow the machine.
const STUCK: Duration = Duration::from_secs(60);

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}='{text}' is not a number")))
}

/// Runs a world; in one that does not end a core goes round in circles, which no check inside can say.
fn run(seed: u64, sabotage: Option<Sabotage>, is_logged: bool) -> Result<Summary, Failure> {
    let (done, ended) = mpsc::channel();
    let world = thread::spawn(move || done.send(natf_sim::run(seed, sabotage, is_logged)));
    match ended.recv_timeout(STUCK) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => panic!("seed {seed}: a core goes round in circles"),
        Err(RecvTimeoutError::Disconnected) => resume_unwind(world.join().unwrap_err()),
    }
}

fn explain(failure: &Failure) -> String {
    let Failure { seed, complaint, .. } = failure;
    let again = run(*seed, None, true);
    let log = again.err().map(|failure| failure.log).unwrap_or_default();
    let last: Vec<_> = log.iter().rev().take(60).rev().map(String::as_str).collect();
    format!(
        "seed {seed}: {complaint}\nthe last of what happened:\n{}\nall of it: NATF_SIM_SEED={seed} cargo test -p natf-sim",
        last.join("\n")
    )
}

/// Runs seeds in two threads.
fn run_all(seeds: u64) -> Summary {
    let part = |first: u64| {
        let mut sum = Summary::default();
        for seed in (first..seeds).step_by(2) {
            match run(seed, None, false) {
                Ok(one) => sum.add(&one),
                Err(failure) => panic!("{}", explain(&failure)),
            }
        }
        sum
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| part(1));
        let mut sum = part(0);
        match other.join() {
            Ok(one) => sum.add(&one),
            Err(panic) => resume_unwind(panic),
        }
        sum
    })
}

#[test]
fn what_must_hold_holds_in_every_world() {
    if let Some(seed) = number("NATF_SIM_SEED") {
        let result = run(seed, None, true);
        let (Ok(log) | Err(log)) =
            result.as_ref().map(|summary| &summary.log).map_err(|failure| &failure.log);
        log.iter().for_each(|line| println!("{line}"));
        assert!(result.is_ok(), "seed {seed}: {}", result.unwrap_err().complaint);
        return;
    }
    let seeds = number("NATF_SIM_SEEDS").unwrap_or(SEEDS);
    let sum = run_all(seeds);
    println!("{seeds} worlds: {sum}");
    assert!(sum.answered > sum.flows / 5, "hardly anything works: {sum}");
    assert!(sum.refused > sum.flows / 20, "hardly anything is refused: {sum}");
}

#[test]
fn a_seed_gives_the_same_world_again() {
    for seed in 0..5 {
        let (one, other) = (run(seed, None, true).unwrap(), run(seed, None, true).unwrap());
        assert_eq!(one.log, other.log, "seed {seed}");
        assert!(!one.log.is_empty());
    }
}

#[test]
fn every_sabotage_is_noticed() {
    for (sabotage, complaint) in [
        (Sabotage::KeepsEntries, "after a change"),
        (Sabotage::SeesNoMove, "an address that it lost"),
        (Sabotage::LeadsElsewhere, "was not meant"),
        (Sabotage::ForgetsPackets, "packets waiting"),
        (Sabotage::LosesCounters, "twice"),
        (Sabotage::TranslatesWrongly, "itself gets"),
        (Sabotage::KeepsWaiting, "kept a packet waiting"),
        (Sabotage::NoTranslation, "nothing translates"),
    ] {
        let mut failures = (0..SEEDS_OF_SABOTAGE).filter_map(|seed| run(seed, Some(sabotage), false).err());
        assert!(failures.any(|failure| failure.complaint.contains(complaint)), "{sabotage:?} goes unnoticed");
    }
}
