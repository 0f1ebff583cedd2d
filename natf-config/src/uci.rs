//! UCI syntax as libuci reads it, with the place of every statement.
//!
//! ```text
//! package NAME                     # everything after an unquoted '#' is a comment
//! config TYPE ['NAME']
//!         option NAME 'VALUE'      # 'a'"b"c is one value: abc; '…' is verbatim, \x is x elsewhere
//!         list NAME 'VALUE'        # a quoted value may span lines; ';' separates statements on one line
//! ```
//!
//! A bad statement is reported and skipped to the end of its line, so that one reading finds all errors.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{ConfigError, shown};

/// The largest configuration file that is read.
const MAX_FILE: u64 = 1 << 20;

/// A parsed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UciFile {
    /// The file as it was named by the caller.
    pub path: PathBuf,
    /// The sections in the order of the file.
    pub sections: Vec<Section>,
}

/// One `config` statement with the options below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The section's type.
    pub kind: String,
    /// The section's name; anonymous sections have none.
    pub name: Option<String>,
    /// The line of the `config` statement, counted from 1.
    pub line: u32,
    /// The bytes of the `config` statement, without comment or separator.
    pub span: Range<usize>,
    /// The options and list items in the order of the file.
    pub options: Vec<Opt>,
}

/// One `option` or `list` statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opt {
    /// The option's name.
    pub name: String,
    /// The value without quotes. As in libuci, an empty value is the same as none.
    pub value: String,
    /// True for a `list` statement.
    pub list: bool,
    /// The line on which the statement starts, counted from 1.
    pub line: u32,
    /// The bytes of the statement, without comment or separator.
    pub span: Range<usize>,
}

impl UciFile {
    /// Reads and parses a file; on failure returns every syntax error.
    pub fn read(path: &Path) -> Result<UciFile, Vec<ConfigError>> {
        let text = read_text(path)?;
        let (file, errors) = UciFile::parse(path, &text);
        if errors.is_empty() { Ok(file) } else { Err(errors) }
    }

    /// Parses a text; what is well-formed is returned together with the syntax errors.
    pub fn parse(path: &Path, text: &str) -> (UciFile, Vec<ConfigError>) {
        let mut file = UciFile { path: path.to_owned(), sections: Vec::new() };
        let mut errors = Vec::new();
        let mut cursor = Cursor { bytes: text.as_bytes(), at: 0, line: 1 };
        let mut open = false;
        while let Some(start) = cursor.next_statement() {
            let line = cursor.line;
            match cursor.statement(start) {
                Ok(Statement::Package) => open = false,
                Ok(Statement::Config(section)) => {
                    file.sections.push(section);
                    open = true;
                }
                Ok(Statement::Opt(option)) => match file.sections.last_mut().filter(|_| open) {
                    Some(section) => section.options.push(option),
                    None => errors.push(ConfigError::at(
                        path,
                        line,
                        format!("option {} stands before the first section", option.name),
                    )),
                },
                Err(problem) => {
                    errors.push(ConfigError::at(path, line, problem));
                    cursor.skip_line();
                }
            }
        }
        (file, errors)
    }
}

impl Section {
    /// The section as messages name it: `host 'alice'`.
    pub fn title(&self) -> String {
        match &self.name {
            Some(name) => format!("{} '{}'", shown(&self.kind), shown(name)),
            None => format!("{} (without a name)", shown(&self.kind)),
        }
    }
}

/// Quotes a value so that every UCI reader reads it back unchanged.
pub fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\'', "'\\''"))
}

/// Reads a configuration file as text; the file's size is bounded.
pub(crate) fn read_text(path: &Path) -> Result<String, Vec<ConfigError>> {
    let finding = |line, problem: String| vec![ConfigError::at(path, line, problem)];
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| finding(0, format!("cannot read the file: {error}")))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE {
        return Err(finding(0, format!("the file is larger than {MAX_FILE} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        finding(count_lines(good), "the line is not UTF-8 text".into())
    })
}

fn count_lines(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.iter().filter(|byte| **byte == b'\n').count() + 1).unwrap_or(u32::MAX)
}

enum Statement {
    Package,
    Config(Section),
    Opt(Opt),
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u32,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn advance(&mut self) {
        if self.peek() == Some(b'\n') {
            self.line = self.line.saturating_add(1);
        }
        self.at = self.at.saturating_add(1);
    }

    fn skip_line(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.advance();
        }
    }

    /// Moves to the next keyword and returns its position.
    fn next_statement(&mut self) -> Option<usize> {
        loop {
            match self.peek()? {
                b'#' => self.skip_line(),
                byte if is_space(byte) || byte == b';' => self.advance(),
                _ => return Some(self.at),
            }
        }
    }

    fn statement(&mut self, start: usize) -> Result<Statement, String> {
        let line = self.line;
        let keyword = self.keyword();
        let (words, end) = self.words()?;
        let span = start..end;
        let mut words = words.into_iter();
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if words.next().is_some() {
            return Err(format!("{keyword}: too many words; quote a value that contains spaces"));
        }
        // libuci reads the one-letter forms too.
        match keyword.as_str() {
            "package" | "p" if second.is_empty() => Ok(Statement::Package),
            "config" | "c" => config(first, second, line, span),
            "option" | "o" => option(first, second, false, line, span),
            "list" | "l" => option(first, second, true, line, span),
            other => Err(format!(
                "'{}' does not start a statement; use config, option, list or package",
                shown(other)
            )),
        }
    }

    fn keyword(&mut self) -> String {
        let mut word = Vec::new();
        while let Some(byte) = self.peek().filter(|byte| !is_space(*byte) && !b";#'\"\\".contains(byte)) {
            word.push(byte);
            self.advance();
        }
        String::from_utf8_lossy(&word).into_owned()
    }

    /// Reads the words up to the end of the statement; returns them with the position behind the last one.
    fn words(&mut self) -> Result<(Vec<String>, usize), String> {
        let mut words = Vec::new();
        let mut end = self.at;
        loop {
            match self.peek() {
                None | Some(b'\n' | b'#' | b';') => return Ok((words, end)),
                Some(byte) if is_space(byte) => self.advance(),
                Some(_) => {
                    if let Some(word) = self.word()? {
                        words.push(word);
                        end = self.at;
                    }
                }
            }
        }
    }

    /// Reads one word with its quoted parts; None for a bare line continuation.
    fn word(&mut self) -> Result<Option<String>, String> {
        let mut word = Vec::new();
        let mut quoted = false;
        while let Some(byte) = self.peek() {
            match byte {
                b'\'' | b'"' => {
                    quoted = true;
                    self.quoted(byte, &mut word)?;
                }
                b'\\' => self.escaped(&mut word),
                0 => return Err("a value contains a NUL character".into()),
                byte if is_space(byte) || byte == b'#' || byte == b';' => break,
                byte => {
                    word.push(byte);
                    self.advance();
                }
            }
        }
        // Only whole ASCII characters are left out, so that the rest stays valid UTF-8.
        Ok((quoted || !word.is_empty()).then(|| String::from_utf8_lossy(&word).into_owned()))
    }

    fn quoted(&mut self, quote: u8, word: &mut Vec<u8>) -> Result<(), String> {
        let (at, line) = (self.at, self.line);
        self.advance();
        while let Some(byte) = self.peek() {
            match byte {
                byte if byte == quote => {
                    self.advance();
                    return Ok(());
                }
                b'\\' if quote == b'"' => self.escaped(word),
                0 => break,
                byte => {
                    word.push(byte);
                    self.advance();
                }
            }
        }
        let nul = self.peek().is_some();
        // Resume behind the line with the open quote, or nothing after it would be checked.
        (self.at, self.line) = (at, line);
        let quote = char::from(quote);
        Err(if nul {
            "a value contains a NUL character".into()
        } else {
            format!("the quote {quote} is not closed")
        })
    }

    /// Reads a backslash and what it protects; a protected line end joins two lines.
    fn escaped(&mut self, word: &mut Vec<u8>) {
        self.advance();
        if self.peek() == Some(b'\r') && self.bytes.get(self.at.saturating_add(1)) == Some(&b'\n') {
            self.advance();
        }
        match self.peek() {
            None | Some(0) => {}
            Some(b'\n') => self.advance(),
            Some(byte) => {
                word.push(byte);
                self.advance();
            }
        }
    }
}

fn config(kind: String, name: String, line: u32, span: Range<usize>) -> Result<Statement, String> {
    if kind.is_empty() {
        return Err("config: the section's type is missing; use config TYPE 'NAME'".into());
    }
    if !kind.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("config: the type '{}' has characters that UCI does not accept", shown(&kind)));
    }
    let name = (!name.is_empty()).then_some(name);
    if let Some(name) = name.as_deref().filter(|name| !is_name(name)) {
        return Err(format!(
            "config {}: the section name '{}' is not accepted; UCI takes letters, digits and _",
            shown(&kind),
            shown(name)
        ));
    }
    Ok(Statement::Config(Section { kind, name, line, span, options: Vec::new() }))
}

fn option(
    name: String,
    value: String,
    list: bool,
    line: u32,
    span: Range<usize>,
) -> Result<Statement, String> {
    if !is_name(&name) {
        return Err(format!(
            "the option name '{}' is not accepted; UCI takes letters, digits and _",
            shown(&name)
        ));
    }
    Ok(Statement::Opt(Opt { name, value, list, line, span }))
}

/// Tells whether libuci takes a text as the name of a section or option.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// C's `isspace`.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}
