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

    /// Reads the words up to the end of the statement; returns them with the position behind the last one
    /// or behind a line continuation.
    fn words(&mut self) -> Result<(Vec<String>, usize), String> {
        let mut words = Vec::new();
        let mut end = self.at;
        loop {
            match self.peek() {
                None | Some(b'\n' | b'#' | b';') => return Ok((words, end)),
                Some(byte) if is_space(byte) => self.advance(),
                Some(_) => {
                    words.extend(self.word()?);
                    end = self.at;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> (UciFile, Vec<String>) {
        let (file, errors) = UciFile::parse(Path::new("natf"), text);
        (file, errors.iter().map(ToString::to_string).collect())
    }

    /// Reads one option's value out of its written form.
    fn value(written: &str) -> String {
        let (file, errors) = parse(&format!("config host\n option name {written}\n"));
        assert_eq!(errors, Vec::<String>::new(), "{written}");
        file.sections[0].options[0].value.clone()
    }

    #[test]
    fn reads_sections_with_the_line_of_every_statement() {
        let text = "package natf\n\nconfig host 'alice'\n\toption ip '192.168.1.10'  # the desktop\n\n\tlist service tcp:22\n\
                    config host # without a name\n";
        let (file, errors) = parse(text);
        assert_eq!(errors, Vec::<String>::new());
        let [alice, other] = file.sections.as_slice() else { panic!("{file:?}") };
        assert_eq!((alice.kind.as_str(), alice.name.as_deref(), alice.line), ("host", Some("alice"), 3));
        let options: Vec<_> =
            alice.options.iter().map(|o| (o.name.as_str(), o.value.as_str(), o.list, o.line)).collect();
        assert_eq!(options, [("ip", "192.168.1.10", false, 4), ("service", "tcp:22", true, 6)]);
        assert_eq!(&text[alice.options[0].span.clone()], "option ip '192.168.1.10'");
        assert_eq!(
            (other.name.as_deref(), other.line, other.title().as_str()),
            (None, 7, "host (without a name)")
        );
    }

    #[test]
    fn joins_quoted_parts_as_libuci_does() {
        for (written, expected) in [
            ("plain", "plain"),
            ("'single \"quoted\"'", "single \"quoted\""),
            ("\"double 'quoted'\"", "double 'quoted'"),
            ("'a'\"b\"c", "abc"),
            ("'it'\\''s'", "it's"),
            ("'back\\slash'", "back\\slash"),
            ("\"a\\\"b\\\\c\\n\"", "a\"b\\cn"),
            ("a\\ b", "a b"),
            ("''", ""),
            ("a#b", "a"),
            ("'a#b;c'", "a#b;c"),
            ("a;", "a"),
            ("'two\nlines'", "two\nlines"),
            ("\"joined\\\nline\"", "joinedline"),
            ("joined\\\nword", "joinedword"),
            ("joined\\\r\nword", "joinedword"),
            ("'ümlaut'\\é", "ümlauté"),
        ] {
            assert_eq!(value(written), expected, "{written}");
        }
    }

    #[test]
    fn reads_short_keywords_and_several_statements_on_a_line() {
        let (file, errors) = parse("p natf; c host a; o ip 1; l peer b\r\nconfig 'host' \"b\"\r\n");
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(file.sections.len(), 2);
        assert_eq!(file.sections[0].options.len(), 2);
        assert_eq!(file.sections[1].name.as_deref(), Some("b"));
    }

    #[test]
    fn reports_every_bad_statement_with_its_line_and_goes_on() {
        let (file, errors) = parse(
            "option ip 1\nconfig\nconfig host 'a-b'\nhost alice\nconfig host alice\n\toption i-p 1\n\toption ip 1 2\n\
             \toption mac 'open\n\toption access allow\npackage natf\noption name x\n",
        );
        let starts = |line: &str| errors.iter().any(|error| error.starts_with(line));
        for (line, word) in [
            ("natf:1: option ip", "before the first section"),
            ("natf:2: config", "type is missing"),
            ("natf:3: config host", "'a-b'"),
            ("natf:4: 'host'", "use config, option, list or package"),
            ("natf:6: the option name 'i-p'", "letters, digits and _"),
            ("natf:7: option", "too many words"),
            ("natf:8: the quote '", "is not closed"),
            ("natf:11: option name", "before the first section"),
        ] {
            assert!(starts(line) && errors.iter().any(|error| error.contains(word)), "{line}: {errors:#?}");
        }
        assert_eq!(errors.len(), 8);
        assert_eq!(file.sections[0].options[0].value, "allow");
    }

    #[test]
    fn refuses_nul_text_that_is_not_utf8_and_large_files() {
        assert_eq!(parse("config host 'a\0'\n").1, ["natf:1: a value contains a NUL character"]);
        let scratch = crate::scratch::Scratch::new();
        let path = scratch.path("natf");
        std::fs::write(&path, b"config host\n\toption ip '\xff'\n").unwrap();
        assert!(
            UciFile::read(&path).unwrap_err()[0].to_string().ends_with("natf:2: the line is not UTF-8 text")
        );
        std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
        assert!(UciFile::read(&path).unwrap_err()[0].to_string().contains("larger than 1048576 bytes"));
        assert!(UciFile::read(&scratch.path("missing")).unwrap_err()[0].to_string().contains("cannot read"));
    }

    fn name() -> impl Strategy<Value = String> {
        "[A-Za-z0-9_]{1,12}"
    }

    fn any_value() -> impl Strategy<Value = String> {
        prop_oneof![
            "[^\0]{0,20}",
            proptest::collection::vec(
                prop::sample::select(vec!["'", "\"", "\\", "#", ";", " ", "\n", "\r", "é", "x"]),
                0..12
            )
            .prop_map(|parts| parts.concat()),
        ]
    }

    type Line = (bool, String, String);

    fn sections() -> impl Strategy<Value = Vec<(String, Option<String>, Vec<Line>)>> {
        let line = (any::<bool>(), name(), any_value());
        let section = (name(), proptest::option::of(name()), proptest::collection::vec(line, 0..5));
        proptest::collection::vec(section, 0..6)
    }

    /// Writes a value in one of the forms that UCI has for it.
    fn write(value: &str, form: u8) -> String {
        let escaped = |c: char| if "\"\\".contains(c) { format!("\\{c}") } else { c.to_string() };
        match form % 3 {
            0 => quote(value),
            1 => format!("\"{}\"", value.chars().map(escaped).collect::<String>()),
            _ => {
                let half = value.char_indices().nth(value.chars().count() / 2).map_or(0, |(at, _)| at);
                let (left, right) = value.split_at(half);
                format!("{}{}", write(left, 1), quote(right))
            }
        }
    }

    proptest! {
        #[test]
        fn parses_what_it_renders(sections in sections(), form in any::<u8>()) {
            let mut text = String::new();
            for (kind, name, lines) in &sections {
                text.push_str(&format!("config {kind} {}\n", name.as_deref().map(quote).unwrap_or_default()));
                for (list, name, value) in lines {
                    let keyword = if *list { "list" } else { "option" };
                    text.push_str(&format!("\t{keyword} {name} {} # note\n", write(value, form)));
                }
            }
            let (file, errors) = parse(&text);
            prop_assert_eq!(errors, Vec::<String>::new());
            let read: Vec<_> = file.sections.into_iter().map(|section| {
                let lines: Vec<Line> = section.options.into_iter().map(|o| (o.list, o.name, o.value)).collect();
                (section.kind, section.name, lines)
            }).collect();
            prop_assert_eq!(read, sections);
        }

        #[test]
        fn never_panics_and_names_existing_lines_and_places(
            parts in proptest::collection::vec(prop::sample::select(vec![
                "config", "option", "list", "package", " ", "\n", "\t", "'", "\"", "\\", "#", ";", "a", "é", "\0", "\r\n",
                "config host 'a'\n", "option ip '1'\n",
            ]), 0..60),
            noise in ".{0,30}",
        ) {
            let text = parts.concat() + &noise;
            let (file, errors) = UciFile::parse(Path::new("natf"), &text);
            let lines = u32::try_from(text.matches('\n').count()).unwrap() + 1;
            prop_assert!(errors.iter().all(|error| (1..=lines).contains(&error.line)));
            let mut end = 0;
            for section in &file.sections {
                for span in std::iter::once(&section.span).chain(section.options.iter().map(|option| &option.span)) {
                    prop_assert!(span.start >= end && text.get(span.clone()).is_some());
                    end = span.end;
                }
            }
        }
    }
}
