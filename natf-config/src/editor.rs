//! Small changes to a configuration file that leave the rest of its text alone, comments and all.
//!
//! Every change is checked by reading the result: it must differ from the file before by that change only.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::atomic::{self, Mode};
use crate::error::{Error, shown};
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

/// A configuration file while it is changed. Other editors wait until it is dropped.
#[derive(Debug)]
pub struct Editor {
    path: PathBuf,
    text: String,
    file: UciFile,
    _lock: Option<File>,
}

impl Editor {
    /// Reads a file; one that is missing is empty.
    ///
    /// # Errors
    /// The file cannot be read or is not UCI syntax.
    pub fn open(path: &Path) -> Result<Editor, Error> {
        let lock = atomic::lock(path)?;
        let text = match path.try_exists() {
            Ok(false) => String::new(),
            _ => uci::read_text(path).map_err(Error::Config)?,
        };
        let mut editor = Editor::from_text(path, text)?;
        editor._lock = lock;
        Ok(editor)
    }

    /// Starts from a text that is already read.
    ///
    /// # Errors
    /// The text is not UCI syntax.
    pub fn from_text(path: &Path, text: String) -> Result<Editor, Error> {
        let file = parse(path, &text)?;
        Ok(Editor { path: path.to_owned(), text, file, _lock: None })
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
    /// The name is taken (by whatever type: libuci would merge the sections) or something cannot be written.
    pub fn append_section(&mut self, kind: &str, name: &str, settings: &[Setting<'_>]) -> Result<(), Error> {
        self.check_section(kind, name)?;
        if let Some(section) = self.file.sections.iter().find(|section| section.name.as_deref() == Some(name))
        {
            let title = section.title();
            let problem =
                format!("line {}: the section name '{name}' is already used by {title}", section.line);
            return Err(self.refuse(problem));
        }
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
