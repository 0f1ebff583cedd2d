//! Small changes to a configuration file that leave the rest of its text alone, comments and all.
//!
//! Every change is checked by reading the result: it must differ from the file before by that change only, and a valid
//! configuration must stay one. In a file that is not valid, a peer can still be removed.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::atomic::{self, Mode};
use crate::dnsd::parse_dnsd;
use crate::error::{ConfigError, Error, shown};
use crate::load::parse_config;
use crate::name::is_section_name;
use crate::uci::{self, Section, UciFile, is_name, quote};

/// One line of a new section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting<'a> {
    /// `option NAME 'VALUE'`
    Option(&'a str, &'a str),
    /// `list NAME 'VALUE'`
    List(&'a str, &'a str),
}

/// Says what is wrong with a text.
type Check = fn(&Path, &str) -> Result<(), Vec<ConfigError>>;

/// A configuration file while it is changed. Other editors wait until it is dropped.
#[derive(Debug)]
pub struct Editor {
    path: PathBuf,
    text: String,
    file: UciFile,
    valid: bool,
    check: Check,
    _lock: Option<File>,
}

impl Editor {
    /// Reads a file; one that is missing is empty.
    ///
    /// # Errors
    /// The file cannot be read or is not UCI syntax.
    pub fn open(path: &Path) -> Result<Editor, Error> {
        Editor::open_checked(path, check_natf)
    }

    /// Reads a file of `tsn-dnsd`; one that is missing is empty.
    ///
    /// # Errors
    /// The file cannot be read or is not UCI syntax.
    pub fn open_dnsd(path: &Path) -> Result<Editor, Error> {
        Editor::open_checked(path, |path, text| parse_dnsd(path, text).map(drop))
    }

    fn open_checked(path: &Path, check: Check) -> Result<Editor, Error> {
        let lock = atomic::lock(path)?;
        let text = match path.try_exists() {
            Ok(false) => String::new(),
            _ => uci::read_text(path).map_err(Error::Config)?,
        };
        let mut editor = Editor::with_check(path, text, check)?;
        editor._lock = lock;
        Ok(editor)
    }

    /// Starts from a text that is already read.
    ///
    /// # Errors
    /// The text is not UCI syntax.
    pub fn from_text(path: &Path, text: String) -> Result<Editor, Error> {
        Editor::with_check(path, text, check_natf)
    }

    fn with_check(path: &Path, text: String, check: Check) -> Result<Editor, Error> {
        let file = parse(path, &text)?;
        let valid = check(path, &text).is_ok();
        Ok(Editor { path: path.to_owned(), text, file, valid, check, _lock: None })
    }

    /// The text with all changes.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The sections with all changes.
    pub fn sections(&self) -> &[Section] {
        &self.file.sections
    }

    /// Tells whether a section of any type has that name.
    pub fn has_name(&self, name: &str) -> bool {
        self.file.sections.iter().any(|section| section.name.as_deref() == Some(name))
    }

    /// Adds a named section at the end.
    ///
    /// # Errors
    /// The name is taken (by whatever type: libuci would merge the sections), something cannot be written, or the
    /// configuration would not be valid.
    pub fn append_section(&mut self, kind: &str, name: &str, settings: &[Setting<'_>]) -> Result<(), Error> {
        self.check_new_name(kind, name)?;
        let mut text = self.text.clone();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        if !text.is_empty() && !text.ends_with("\n\n") {
            text.push('\n');
        }
        text.push_str(&format!("config {kind} '{name}'\n"));
        for setting in settings {
            text.push_str(&format!("\t{}\n", self.statement(*setting)?));
        }
        let sections = self.file.sections.len().saturating_add(1);
        self.accept(text, |file| file.sections.len() == sections)
    }

    /// Removes every section of that type and name, with the comments inside it.
    ///
    /// # Errors
    /// There is none.
    pub fn delete_section(&mut self, kind: &str, name: &str) -> Result<(), Error> {
        let mut index = self.find(kind, name)?;
        loop {
            let mut text = self.text.clone();
            text.replace_range(self.extent(index), "");
            let sections = self.file.sections.len().saturating_sub(1);
            self.accept(text, |file| file.sections.len() == sections)?;
            match self.find(kind, name) {
                Ok(next) => index = next,
                Err(_) => return Ok(()),
            }
        }
    }

    /// Gives a section another name, also where sections of the type `named_in` name it, in an option that is called
    /// like its type.
    ///
    /// # Errors
    /// There is no such section, the new name is taken or none, or the configuration would not be valid.
    pub fn rename_section(&mut self, kind: &str, name: &str, new: &str, named_in: &str) -> Result<(), Error> {
        let index = self.find(kind, name)?;
        self.check_new_name(kind, new)?;
        let mut changes = Vec::new();
        for (at, section) in self.file.sections.iter().enumerate() {
            if at == index {
                changes.push((section.span.clone(), format!("config {kind} '{new}'")));
            }
            let named = section.options.iter().filter(|option| option.name == kind);
            for option in named.filter(|_| section.kind == named_in) {
                let words = option.value.split_whitespace();
                let renamed: Vec<_> = words.map(|word| if word == name { new } else { word }).collect();
                let value = renamed.join(" ");
                let setting = if option.list { Setting::List } else { Setting::Option };
                if renamed.contains(&new) {
                    changes.push((option.span.clone(), self.statement(setting(kind, &value))?));
                }
            }
        }
        let mut text = self.text.clone();
        // From behind, so that the places before stay what they are.
        for (span, statement) in changes.into_iter().rev() {
            text.replace_range(span, &statement);
        }
        let sections = self.file.sections.len();
        self.accept(text, |file| {
            file.sections.len() == sections
                && file.sections.get(index).is_some_and(|section| section.name.as_deref() == Some(new))
        })
    }

    /// Sets an option of a named section, in its old place if it has one.
    ///
    /// # Errors
    /// There is no such section, or the value cannot be written.
    pub fn set_option(&mut self, kind: &str, name: &str, option: &str, value: &str) -> Result<(), Error> {
        let index = self.find(kind, name)?;
        let statement = self.statement(Setting::Option(option, value))?;
        let mut text = self.text.clone();
        let section = self.file.sections.get(index).ok_or_else(|| self.no_section(kind, name))?;
        let old: Vec<_> = section.options.iter().filter(|found| found.name == option).collect();
        // From behind, so that the places before stay what they are.
        for extra in old.iter().skip(1).rev() {
            text.replace_range(self.line_of(&extra.span), "");
        }
        match old.first() {
            Some(first) => text.replace_range(first.span.clone(), &statement),
            None => self.insert_after(&mut text, section, &statement),
        }
        self.accept(text, |file| {
            let options =
                file.sections.get(index).map(|section| section.options.as_slice()).unwrap_or_default();
            let mut found = options.iter().filter(|found| found.name == option);
            found.next().is_some_and(|found| !found.list && found.value == value) && found.next().is_none()
        })
    }

    /// Writes the file in one step; it keeps its mode and owner.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self) -> Result<(), Error> {
        // A new file has the mode that UCI gives its files.
        atomic::write(&self.path, self.text.as_bytes(), Mode::Keep(0o600))
    }

    /// Takes a new text if it reads as expected.
    fn accept(&mut self, text: String, expected: impl Fn(&UciFile) -> bool) -> Result<(), Error> {
        let file = parse(&self.path, &text)?;
        if !expected(&file) {
            return Err(self.refuse("the change would alter other sections; edit the file by hand".into()));
        }
        if self.valid {
            (self.check)(&self.path, &text).map_err(Error::Config)?;
        }
        (self.text, self.file) = (text, file);
        Ok(())
    }

    fn find(&self, kind: &str, name: &str) -> Result<usize, Error> {
        let mut sections = self.file.sections.iter();
        sections
            .position(|section| section.kind == kind && section.name.as_deref() == Some(name))
            .ok_or_else(|| self.no_section(kind, name))
    }

    /// The bytes of a section: whole lines, unless it shares a line with another statement.
    fn extent(&self, index: usize) -> Range<usize> {
        let Some(section) = self.file.sections.get(index) else { return 0..0 };
        let end = section.options.last().map_or(section.span.end, |option| option.span.end);
        self.line_of(&(section.span.start..end))
    }

    /// Widens a range of statements to whole lines, or to the separator before or behind it on a shared line.
    fn line_of(&self, span: &Range<usize>) -> Range<usize> {
        let statements = || {
            self.file.sections.iter().flat_map(|section| {
                std::iter::once(&section.span).chain(section.options.iter().map(|option| &option.span))
            })
        };
        let text = |range: Range<usize>| self.text.get(range).unwrap_or_default();
        let before = statements().map(|other| other.end).filter(|end| *end <= span.start).max();
        let behind = statements().map(|other| other.start).filter(|start| *start >= span.end).min();
        if let Some(before) = before.filter(|before| !text(*before..span.start).contains('\n')) {
            return before..span.end;
        }
        if let Some(behind) = behind.filter(|behind| !text(span.end..*behind).contains('\n')) {
            return span.start..behind;
        }
        let start = text(0..span.start).rfind('\n').map_or(0, |at| at.saturating_add(1));
        let length = self.text.len();
        let end = text(span.end..length)
            .find('\n')
            .map_or(length, |at| span.end.saturating_add(at).saturating_add(1));
        // One of two empty lines that would meet goes as well.
        let blank =
            text(0..start).ends_with("\n\n") && (end == length || text(end..length).starts_with('\n'));
        start.saturating_sub(usize::from(blank))..end
    }

    /// Adds a statement behind the last one of a section, indented like it.
    fn insert_after(&self, text: &mut String, section: &Section, statement: &str) {
        let last = section.options.last().map_or(&section.span, |option| &option.span);
        let rest = self.text.get(last.end..).unwrap_or_default();
        let shared = rest.trim_start_matches([' ', '\t']).starts_with(';');
        match rest.find('\n') {
            _ if shared => text.insert_str(last.end, &format!("; {statement}")),
            Some(at) => text.insert_str(last.end.saturating_add(at), &format!("\n\t{statement}")),
            None => text.push_str(&format!("\n\t{statement}\n")),
        }
    }

    fn statement(&self, setting: Setting<'_>) -> Result<String, Error> {
        let (keyword, name, value) = match setting {
            Setting::Option(name, value) => ("option", name, value),
            Setting::List(name, value) => ("list", name, value),
        };
        if !is_name(name) {
            return Err(
                self.refuse(format!("'{}' is not an option name; use letters, digits and _", shown(name)))
            );
        }
        if value.contains('\0') {
            return Err(self.refuse(format!("option {name}: a value cannot contain a NUL character")));
        }
        Ok(format!("{keyword} {name} {}", quote(value)))
    }

    /// A name that a new section can have: libuci merges sections of the same name, whatever their types.
    fn check_new_name(&self, kind: &str, name: &str) -> Result<(), Error> {
        self.check_section(kind, name)?;
        let mut sections = self.file.sections.iter();
        let Some(section) = sections.find(|section| section.name.as_deref() == Some(name)) else {
            return Ok(());
        };
        let title = section.title();
        let problem = format!("line {}: the section name '{name}' is already used by {title}", section.line);
        Err(self.refuse(problem))
    }

    fn check_section(&self, kind: &str, name: &str) -> Result<(), Error> {
        if is_name(kind) && is_section_name(name) {
            return Ok(());
        }
        let name = shown(name);
        Err(self.refuse(format!("'{name}' is not a section name; use letters, digits and _, at most 64")))
    }

    fn refuse(&self, problem: String) -> Error {
        Error::Edit { path: self.path.clone(), problem }
    }

    fn no_section(&self, kind: &str, name: &str) -> Error {
        Error::NoSection { path: self.path.clone(), kind: shown(kind), name: shown(name) }
    }
}

fn parse(path: &Path, text: &str) -> Result<UciFile, Error> {
    let (file, errors) = UciFile::parse(path, text);
    if errors.is_empty() { Ok(file) } else { Err(Error::Config(errors)) }
}

fn check_natf(path: &Path, text: &str) -> Result<(), Vec<ConfigError>> {
    parse_config(path, text).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::scratch::Scratch;

    const FILE: &str = "# my home\nconfig router 'router'\n\toption domain 'home.example.net'\t# DDNS\n\n\
                        # the desktop\nconfig host 'alice'\n\toption ip 192.168.1.10\n\t# ssh only\n\tlist service 'tcp:22'\n\n\
                        config peer 'laptop'\n\toption id '4711'\n";

    fn editor(text: &str) -> Editor {
        Editor::from_text(Path::new("natf"), text.into()).unwrap()
    }

    #[test]
    fn appends_a_section_behind_an_empty_line() {
        let settings = [Setting::Option("id", "7"), Setting::List("host", "alice")];
        let section = "config peer 'phone'\n\toption id '7'\n\tlist host 'alice'\n";
        for (before, between) in
            [(FILE, "\n"), ("", ""), ("config a", "\n\n"), ("config a\n\n", ""), ("# note\n", "\n")]
        {
            let mut editor = editor(before);
            editor.append_section("peer", "phone", &settings).unwrap();
            assert_eq!(editor.text(), format!("{before}{between}{section}"));
        }
    }

    #[test]
    fn appends_no_section_whose_name_is_taken() {
        let mut editor = editor(FILE);
        assert!(editor.has_name("alice") && !editor.has_name("bob"));
        let error = editor.append_section("peer", "alice", &[]).unwrap_err().to_string();
        assert_eq!(error, "natf: line 6: the section name 'alice' is already used by host 'alice'");
        assert_eq!(editor.text(), FILE);
    }

    #[test]
    fn deletes_a_section_and_keeps_all_the_rest() {
        let mut editor = editor(FILE);
        editor.delete_section("host", "alice").unwrap();
        assert_eq!(
            editor.text(),
            "# my home\nconfig router 'router'\n\toption domain 'home.example.net'\t# DDNS\n\n# the desktop\n\n\
             config peer 'laptop'\n\toption id '4711'\n"
        );
        editor.delete_section("peer", "laptop").unwrap();
        assert!(editor.text().ends_with("# DDNS\n\n# the desktop\n"));
        let error = editor.delete_section("peer", "laptop").unwrap_err().to_string();
        assert_eq!(error, "natf: there is no section peer 'laptop'");
    }

    #[test]
    fn renames_a_section_and_the_rows_that_name_it() {
        let hosts = "config host 'bob'\n\toption ip '192.168.1.11'\n\tlist peer 'laptop' # his\n\tlist peer 'phone'\n\n\
                     config host 'carol'\n\toption ip '192.168.1.12'\n\toption peer 'phone laptop'\n";
        let mut editor = editor(&format!("{FILE}\n{hosts}"));
        editor.rename_section("peer", "laptop", "work", "host").unwrap();
        let renamed = hosts.replace("laptop", "work");
        assert_eq!(editor.text(), format!("{}\n{renamed}", FILE.replace("peer 'laptop'", "peer 'work'")));
        for (from, to) in
            [("laptop", "other"), ("work", "alice"), ("work", "a b"), ("work", "anyone"), ("work", "")]
        {
            assert!(editor.rename_section("peer", from, to, "host").is_err(), "{from} -> {to}");
        }
        assert!(editor.text().contains("config peer 'work'"));
    }

    #[test]
    fn undoes_what_it_appends() {
        let mut editor = editor(FILE);
        editor.append_section("peer", "phone", &[Setting::Option("id", "7")]).unwrap();
        editor.delete_section("peer", "phone").unwrap();
        assert_eq!(editor.text(), FILE);
    }

    #[test]
    fn deletes_a_section_that_shares_a_line() {
        for (before, after) in [
            ("config a 'x'; option p 1; config b 'y'\n", "config b 'y'\n"),
            ("config b 'y'; config a 'x'; option p 1\n", "config b 'y'\n"),
            ("config b 'y'; config a 'x'; config c 'z' # n\n", "config b 'y'; config c 'z' # n\n"),
            ("config a 'x'\n\toption p 1; config b 'y'\n", "config b 'y'\n"),
            ("config a 'x'\nconfig b 'y'\nconfig a 'x'\n", "config b 'y'\n"),
            ("config a 'x'", ""),
        ] {
            let mut editor = editor(before);
            editor.delete_section("a", "x").unwrap();
            assert_eq!(editor.text(), after, "{before}");
        }
    }

    #[test]
    fn sets_an_option_in_its_place_or_at_the_end_of_its_section() {
        for (before, after) in [
            (
                "config a 'x'\n\toption p 1 # n\n\toption q 2\n",
                "config a 'x'\n\toption p '9' # n\n\toption q 2\n",
            ),
            (
                "config a 'x'\n\tlist p 1\n\toption q 2\n\tlist p 3\n",
                "config a 'x'\n\toption p '9'\n\toption q 2\n",
            ),
            ("config a 'x' # n\n\nconfig b\n", "config a 'x' # n\n\toption p '9'\n\nconfig b\n"),
            (
                "config a 'x'\n\toption q 2 # n\n# end\n",
                "config a 'x'\n\toption q 2 # n\n\toption p '9'\n# end\n",
            ),
            ("config a 'x'", "config a 'x'\n\toption p '9'\n"),
            ("config a 'x' \\\n", "config a 'x' \\\n\n\toption p '9'\n"),
            ("config a 'x'; config b 'y'\n", "config a 'x'; option p '9'; config b 'y'\n"),
        ] {
            let mut editor = editor(before);
            editor.set_option("a", "x", "p", "9").unwrap();
            assert_eq!(editor.text(), after, "{before}");
        }
        assert!(matches!(editor(FILE).set_option("host", "bob", "ip", "1"), Err(Error::NoSection { .. })));
    }

    #[test]
    fn refuses_what_cannot_be_written() {
        let mut editor = editor(FILE);
        assert!(editor.append_section("peer", "a'b", &[]).is_err());
        assert!(editor.append_section("pe er", "x", &[]).is_err());
        assert!(editor.append_section("peer", "x", &[Setting::Option("a b", "1")]).is_err());
        assert!(editor.append_section("peer", "x", &[Setting::Option("a", "\0")]).is_err());
        assert!(editor.set_option("host", "alice", "ip", "\0").is_err());
        assert_eq!(editor.text(), FILE);
        assert!(matches!(Editor::from_text(Path::new("natf"), "config".into()), Err(Error::Config(_))));
        let mut open = Editor::from_text(Path::new("natf"), "config a 'x'\\".into()).unwrap();
        let _ = open.append_section("peer", "x", &[]);
        assert_eq!(open.sections().first().and_then(|section| section.name.as_deref()), Some("x"));
    }

    #[test]
    fn keeps_a_valid_configuration_valid() {
        let mut valid = editor(FILE);
        for (name, setting) in [
            ("anyone", Setting::Option("id", "7")),
            ("phone", Setting::Option("id", "4711")),
            ("phone", Setting::Option("key", "x")),
        ] {
            assert!(
                matches!(valid.append_section("peer", name, &[setting]), Err(Error::Config(_))),
                "{name}"
            );
        }
        assert!(matches!(valid.set_option("host", "alice", "access", "alow"), Err(Error::Config(_))));
        assert_eq!(valid.text(), FILE);
        editor(&format!("{FILE}\toption qeue 1\n")).delete_section("peer", "laptop").unwrap();
    }

    #[test]
    fn saves_the_file_and_lets_both_files_share_a_directory() {
        let scratch = Scratch::new();
        let path = scratch.file("natf", FILE);
        let mut editor = Editor::open(&path).unwrap();
        crate::KeyFile::update(&scratch.path("keys"), |_| Ok(())).unwrap();
        crate::KeyFile::update(&scratch.path("keys"), |_| Ok(())).unwrap();
        editor.set_option("peer", "laptop", "enabled", "0").unwrap();
        editor.save().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{FILE}\toption enabled '0'\n"));
        assert_eq!(Editor::open(&scratch.path("missing")).unwrap().text(), "");
    }

    fn text() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "config a 'x'",
            "config a",
            "config b 'y'",
            "config host x",
            "option p 1",
            "option p 'a b'",
            "list p '2\n3'",
            "option q \"\"",
            "; ",
            "\n",
            "\n",
            "\n\n",
            "\t",
            "# note\n",
            "#",
            "\\\n",
            "package z\n",
            "é",
            " ",
        ]);
        proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
    }

    type Plain = (String, Option<String>, Vec<(String, String, bool)>);

    fn plain(editor: &Editor) -> Vec<Plain> {
        let options = |section: &Section| {
            section.options.iter().map(|o| (o.name.clone(), o.value.clone(), o.list)).collect()
        };
        editor.sections().iter().map(|s| (s.kind.clone(), s.name.clone(), options(s))).collect()
    }

    proptest! {
        #[test]
        fn changes_nothing_but_what_it_was_asked_to_change(text in text()) {
            let Ok(before) = Editor::from_text(Path::new("natf"), text.clone()) else { return Ok(()) };
            let is_x = |section: &Plain| section.0 == "a" && section.1.as_deref() == Some("x");
            let had = plain(&before);

            let mut editor = Editor::from_text(Path::new("natf"), text.clone()).unwrap();
            if editor.delete_section("a", "x").is_ok() {
                let kept: Vec<_> = had.iter().filter(|section| !is_x(section)).cloned().collect();
                prop_assert_eq!(plain(&editor), kept);
            } else {
                prop_assert!(!had.iter().any(is_x), "{:?}", text);
            }

            let mut editor = Editor::from_text(Path::new("natf"), text.clone()).unwrap();
            if editor.set_option("a", "x", "p", "new 'value'").is_ok() {
                let mut expected = had.clone();
                let options = &mut expected.iter_mut().find(|section| is_x(section)).unwrap().2;
                let new = ("p".to_owned(), "new 'value'".to_owned(), false);
                let at = options.iter().position(|option| option.0 == "p").unwrap_or(options.len());
                options.retain(|option| option.0 != "p");
                options.insert(at, new);
                prop_assert_eq!(plain(&editor), expected);
            } else {
                prop_assert!(!had.iter().any(is_x), "{:?}", text);
            }

            let mut editor = Editor::from_text(Path::new("natf"), text.clone()).unwrap();
            if editor.append_section("peer", "new", &[Setting::Option("id", "1")]).is_ok() {
                let mut expected = had;
                expected.push(("peer".into(), Some("new".into()), vec![("id".into(), "1".into(), false)]));
                prop_assert_eq!(plain(&editor), expected);
            }
        }
    }
}
