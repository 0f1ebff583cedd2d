//! `natf-fuzz TARGET FILE...`: runs a target on files, as to look at a finding. With feature `libfuzzer` it is a
//! libFuzzer harness for the target that `NATF_FUZZ_TARGET` names.

#![cfg_attr(feature = "libfuzzer", no_main)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a harness: to panic is its way to speak")]

#[cfg(feature = "libfuzzer")]
mod harness {
    use std::sync::LazyLock;

    static TARGET: LazyLock<&natf_fuzz::Target> = LazyLock::new(|| {
        let name = std::env::var("NATF_FUZZ_TARGET").expect("NATF_FUZZ_TARGET names a target");
        natf_fuzz::target(&name).expect("NATF_FUZZ_TARGET names a target that exists")
    });

    libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.run)(data));
}

#[cfg(not(feature = "libfuzzer"))]
fn main() {
    let mut words = std::env::args().skip(1);
    let Some(name) = words.next() else {
        for target in natf_fuzz::TARGETS {
            println!("{}", target.name);
        }
        return;
    };
    let Some(target) = natf_fuzz::target(&name) else {
        eprintln!("natf-fuzz: no target '{name}'");
        std::process::exit(2);
    };
    if words.len() == 2 && std::env::args().any(|word| word == "--write-seeds") {
        let directory = std::path::PathBuf::from(words.nth(1).unwrap());
        std::fs::create_dir_all(&directory).unwrap();
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{number}")), seed).unwrap();
        }
        return;
    }
    for file in words {
        (target.run)(&std::fs::read(&file).expect("the file can be read"));
        println!("{file}: holds");
    }
}
