//! `natf-sim FIRST [LAST]`: runs these seeds and names those that fail; one seed alone prints all that happened.

use std::process::ExitCode;

fn main() -> ExitCode {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let (first, last) = match numbers.as_slice() {
        [seed] => (*seed, *seed),
        [first, last] => (*first, *last),
        _ => {
            eprintln!("natf-sim: FIRST [LAST], the seeds to be run");
            return ExitCode::from(2);
        }
    };
    let (mut failed, mut sum) = (0, natf_sim::Summary::default());
    for seed in first..=last {
        match natf_sim::run(seed, None, first == last) {
            Ok(summary) => {
                summary.log.iter().for_each(|line| println!("{line}"));
                sum.add(&summary);
            }
            Err(failure) => {
                failure.log.iter().for_each(|line| println!("{line}"));
                println!("seed {seed}: {}", failure.complaint);
                failed += 1;
            }
        }
    }
    println!("{failed} failed; the others: {sum}");
    ExitCode::from(u8::from(failed > 0))
}
