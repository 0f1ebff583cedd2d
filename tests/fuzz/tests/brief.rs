//! Every fuzz target for a moment: its seeds, every finding of the past, and some thousand mutations of them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::{fs, path::Path};

use natf_fuzz::{TARGETS, Target};

/// Mutations of each target; `make fuzz` does this for as long as one likes.
const MUTATIONS: u32 = 4000;
/// The same of a script of many events.
const MUTATIONS_OF_STORIES: u32 = 250;

/// SplitMix64: the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }
}

/// One to eight changes.
fn mutate(input: &[u8], other: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=numbers.below(8) {
        let (at, end) = (numbers.below(bytes.len()), numbers.below(bytes.len() + 1));
        match numbers.below(8) {
            0 => bytes.truncate(end),
            1 => bytes.insert(at.min(bytes.len()), numbers.byte()),
            2 if !bytes.is_empty() => bytes[at] ^= 1 << numbers.below(8),
            3 if !bytes.is_empty() => bytes[at] = numbers.byte(),
            4 if !bytes.is_empty() => bytes[at] = [0, 1, 0x3f, 0x7f, 0x80, 0xc0, 0xff][numbers.below(7)],
            5 if at < end => drop(bytes.drain(at..end)),
            6 if at < end => {
                let part = bytes[at..end].to_vec();
                bytes.extend(part);
            }
            7 if !other.is_empty() => {
                let start = numbers.below(other.len());
                bytes.truncate(end);
                bytes.extend(&other[start..]);
            }
            _ => {}
        }
        bytes.truncate(70_000);
    }
    bytes
}

fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let mut inputs = (target.seeds)();
    assert!(!inputs.is_empty(), "{} has no seeds", target.name);
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let mut files: Vec<_> =
        fs::read_dir(corpus).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    inputs.extend(files.iter().map(|file| fs::read(file).unwrap()));
    inputs
}

#[test]
fn every_target_holds_for_seeds_findings_and_mutations() {
    for target in TARGETS {
        let inputs = inputs(target);
        inputs.iter().for_each(|input| (target.run)(input));
        let mut numbers = Numbers(7);
        let mutations = if target.is_story() { MUTATIONS_OF_STORIES } else { MUTATIONS };
        for number in 0..mutations {
            let (one, other) = (numbers.below(inputs.len()), numbers.below(inputs.len()));
            let input = mutate(&inputs[one], &inputs[other], &mut numbers);
            let held = std::panic::catch_unwind(|| (target.run)(&input));
            assert!(held.is_ok(), "{} breaks at mutation {number}: {input:02x?}", target.name);
        }
    }
}

#[test]
fn targets_have_names_of_their_own() {
    for target in TARGETS {
        assert_eq!(TARGETS.iter().filter(|other| other.name == target.name).count(), 1, "{}", target.name);
    }
}
