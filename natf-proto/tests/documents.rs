//! `docs/requirements.md` names tests that exist, and has a row for every requirement.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text of every Rust and shell file below a directory, build directories left out.
fn sources(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, text);
        } else if path.extension().is_some_and(|kind| ["rs", "sh", "py"].iter().any(|known| kind == *known)) {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// Words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_that_the_requirements_name_exists() {
    let (document, mut code) =
        (fs::read_to_string(root().join("docs/requirements.md")).unwrap(), String::new());
    sources(&root(), &mut code);
    for row in document.lines().filter(|line| ["| N", "| T"].iter().any(|row| line.starts_with(row))) {
        let shown = row.trim_end_matches('|').rsplit(" | ").next().unwrap();
        for test in quoted(shown) {
            let exists = match test.contains('/') {
                true => root().join(test).exists(),
                false => code.contains(&format!("fn {test}(")),
            };
            assert!(exists, "{test}, named in: {row}");
        }
    }
}

#[test]
fn the_requirements_have_a_row_for_every_number() {
    let document = fs::read_to_string(root().join("docs/requirements.md")).unwrap();
    let rows = [('N', 17), ('S', 3), ('T', 10), ('M', 10)];
    for (letter, last) in rows {
        for number in 1..=last {
            assert!(document.contains(&format!("\n| {letter}{number} | ")), "{letter}{number}");
        }
    }
}
