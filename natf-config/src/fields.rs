//! Typed reading of one section: every finding goes to the [`Report`], reading goes on.
//!
//! A value that is absent or empty (the same in UCI) leaves the default to the caller. A list may also be written as
//! one `option` with spaces between the values, as OpenWrt's own files do.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::error::{ConfigError, shown};
use crate::uci::{Opt, Section, UciFile};

/// The findings of one file.
pub(crate) struct Report {
    file: PathBuf,
    pub errors: Vec<ConfigError>,
    pub warnings: Vec<ConfigError>,
}

impl Report {
    pub fn new(file: &Path, errors: Vec<ConfigError>) -> Self {
        Report { file: file.to_owned(), errors, warnings: Vec::new() }
    }

    /// Reports that a section as a whole is wrong.
    pub fn section(&mut self, section: &Section, problem: impl Into<String>) {
        let finding = self.finding(section, None, section.line, problem);
        self.errors.push(finding);
    }

    /// Reports a value that is accepted, but hardly what the user wants.
    pub fn warn(&mut self, section: &Section, option: &Opt, problem: impl Into<String>) {
        let finding = self.finding(section, Some(option), option.line, problem);
        self.warnings.push(finding);
    }

    /// The warnings, if nothing is wrong; else everything that is, in the order of the file.
    pub fn finish(mut self) -> Result<Vec<ConfigError>, Vec<ConfigError>> {
        if self.errors.is_empty() {
            return Ok(self.warnings);
        }
        self.errors.sort_by_key(|error| error.line);
        Err(self.errors)
    }

    fn finding(
        &self,
        section: &Section,
        option: Option<&Opt>,
        line: u32,
        problem: impl Into<String>,
    ) -> ConfigError {
        ConfigError {
            section: Some(section.title()),
            option: option.map(|option| option.name.clone()),
            value: option.map(|option| option.value.clone()),
            ..ConfigError::at(&self.file, line, problem)
        }
    }
}

/// Reports names that are used twice, for libuci merges sections of the same name, whatever their types, and kinds of
/// which a file has one section that it has several of.
pub(crate) fn check_section_names(file: &UciFile, kinds_of_one: &[&str], report: &mut Report) {
    let mut seen: BTreeMap<&str, &Section> = BTreeMap::new();
    let mut settings: BTreeMap<&str, &Section> = BTreeMap::new();
    for section in &file.sections {
        let kind = section.kind.as_str();
        if let Some(first) = section.name.as_deref().and_then(|name| seen.insert(name, section)) {
            let problem = format!(
                "the section name is already used in line {} (by {}); a name is used once in a file",
                first.line,
                first.title()
            );
            report.section(section, problem);
        } else if kinds_of_one.contains(&kind)
            && let Some(first) = settings.insert(kind, section)
        {
            let problem = format!("there is already a config {kind} in line {}; use one", first.line);
            report.section(section, problem);
        }
    }
}

/// The options of one section while they are read.
pub(crate) struct Fields<'a> {
    pub section: &'a Section,
    pub report: &'a mut Report,
}

impl<'a> Fields<'a> {
    /// Starts with reporting the options that `known` does not contain.
    pub fn new(section: &'a Section, report: &'a mut Report, known: &[&str]) -> Self {
        let mut fields = Fields { section, report };
        for option in &section.options {
            if !known.contains(&option.name.as_str()) {
                let name = shown(&option.name);
                fields.error(option, format!("option {name} is unknown; {}", nearest(&option.name, known)));
            }
        }
        fields
    }

    /// Reads an option that takes one value.
    pub fn one<T>(&mut self, name: &str, accepted: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let option = self.single(name)?;
        let value = parse(option.value.trim());
        if value.is_none() {
            self.refuse(option, accepted);
        }
        value
    }

    /// Reads a list; the values come with their statement, for later checks.
    pub fn many<T>(
        &mut self,
        name: &str,
        accepted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<(T, &'a Opt)> {
        let mut values = Vec::new();
        for option in self.section.options.iter().filter(|option| option.name == name) {
            for word in option.value.split_whitespace() {
                match parse(word) {
                    Some(value) => values.push((value, option)),
                    None => self.refuse(&Opt { value: word.to_owned(), ..option.clone() }, accepted),
                }
            }
        }
        values
    }

    /// Reads a number.
    pub fn number<N: TryFrom<u64>>(&mut self, name: &str, range: RangeInclusive<u64>) -> Option<N> {
        let accepted = format!("a number from {} to {}", range.start(), range.end());
        self.one(name, &accepted, |text| {
            let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())??;
            range.contains(&number).then(|| N::try_from(number).ok())?
        })
    }

    /// Reads a yes or no.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        self.one(name, "1 or 0", |text| match text {
            // The words of OpenWrt's config_get_bool.
            "1" | "on" | "true" | "yes" | "enabled" => Some(true),
            "0" | "off" | "false" | "no" | "disabled" => Some(false),
            _ => None,
        })
    }

    /// The statement of an option that takes one value, if it says anything.
    pub fn single(&mut self, name: &str) -> Option<&'a Opt> {
        let mut found =
            self.section.options.iter().filter(|option| option.name == name && !option.value.is_empty());
        let first = found.next()?;
        for again in found {
            let problem =
                format!("option {name} stands twice, first in line {}; it takes one value", first.line);
            self.error(again, problem);
        }
        Some(first)
    }

    /// Reports a value that is not accepted.
    pub fn refuse(&mut self, option: &Opt, accepted: &str) {
        let (kind, name) = (if option.list { "list" } else { "option" }, &option.name);
        self.error(
            option,
            format!("{kind} {name} '{}' is not accepted; use {accepted}", shown(&option.value)),
        );
    }

    /// Reports something else about an option.
    pub fn error(&mut self, option: &Opt, problem: impl Into<String>) {
        let finding = self.report.finding(self.section, Some(option), option.line, problem);
        // An option may be looked at twice.
        if !self.report.errors.contains(&finding) {
            self.report.errors.push(finding);
        }
    }

    /// Reports that something is missing or does not fit together.
    pub fn section_error(&mut self, problem: impl Into<String>) {
        self.report.section(self.section, problem);
    }
}

/// Says what is accepted in place of an unknown word: the most similar words first.
pub(crate) fn nearest(word: &str, known: &[&str]) -> String {
    let lower: String = word.chars().take(32).collect::<String>().to_ascii_lowercase();
    let mut near: Vec<_> = known
        .iter()
        .map(|name| (distance(&lower, name), *name))
        .filter(|(distance, name)| *distance <= 2 && *distance < name.len())
        .collect();
    near.sort_unstable();
    let all = format!("accepted: {}", known.join(", "));
    match near.first() {
        Some((_, name)) => format!("did you mean {name}? ({all})"),
        None => all,
    }
}

/// Levenshtein distance; letters in the wrong order count once.
fn distance(a: &str, b: &str) -> usize {
    let sorted = |text: &str| {
        let mut bytes = text.as_bytes().to_vec();
        bytes.sort_unstable();
        bytes
    };
    if a != b && sorted(a) == sorted(b) {
        return 1;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(cell) = row.first_mut() {
            *cell = left;
        }
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let best = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, best);
            left = best;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Tells whether a text can be a network device or interface name (IFNAMSIZ less the final zero). The kernel takes more
/// characters; those that mean something inside a quoted name of nft, such as `*`, are left out.
pub(crate) fn device(text: &str) -> Option<String> {
    let valid = (1..=15).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"/:\"*\\".contains(&byte))
        && text != "."
        && text != "..";
    valid.then(|| text.to_owned())
}

pub(crate) const DEVICE: &str = "the name of an interface or device (1-15 characters, none of / : \" * \\)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_nearest_known_word() {
        assert_eq!(nearest("acess", &["name", "access"]), "did you mean access? (accepted: name, access)");
        assert_eq!(nearest("Access", &["access"]), "did you mean access? (accepted: access)");
        assert_eq!(nearest("zzzzz", &["name", "access"]), "accepted: name, access");
        assert_eq!(nearest("xy", &["ip"]), "accepted: ip");
    }

    #[test]
    fn a_device_has_no_characters_that_nft_takes_for_more_than_a_name() {
        for good in ["wan", "br-lan.7", "eth0@if3", "x'y"] {
            assert_eq!(device(good).as_deref(), Some(good));
        }
        for bad in ["", "..", "a/b", "eth*", "*", "br\"lan", "a\\b", "sixteen-letters-"] {
            assert_eq!(device(bad), None, "{bad}");
        }
    }

    #[test]
    fn measures_the_distance_of_words() {
        for (a, b, expected) in [
            ("", "", 0),
            ("kitten", "sitting", 3),
            ("", "abc", 3),
            ("abc", "", 3),
            ("ab", "ab", 0),
            ("hots", "host", 1),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
