//! Where a program of ours writes its log, so that its supervisor learns how bad each line is.
//!
//! ```text
//!   commands                 everything to standard error
//!   daemon under procd       error, warn: standard error (daemon.err)     others: standard output (daemon.info)
//!   daemon under systemd     the severity as `<N>` before the line (sd-daemon(3))
//! ```
//!
//! `RUST_LOG` names the least severity that is written: error, warn, info, debug, trace or off.

use std::{
    env,
    fmt::Write as _,
    io::{self, Write as _},
    sync::atomic::{AtomicU8, Ordering},
};

use log::{Level, LevelFilter, Log, Metadata, Record};

const COMMAND: u8 = 0;
const DAEMON: u8 = 1;
const SYSTEMD: u8 = 2;

struct Logger(AtomicU8);

static LOGGER: Logger = Logger(AtomicU8::new(COMMAND));

/// Has everything that is logged written. To be called once, first of all.
pub fn init() {
    // Where another logger is there already, as in a test, that one counts.
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(wanted(env::var("RUST_LOG").ok().as_deref()));
    }
}

/// From here on this is a daemon, whose output a supervisor reads.
pub fn begin_daemon() {
    // Set by systemd where it reads what this program writes.
    let reader = if env::var_os("JOURNAL_STREAM").is_some() { SYSTEMD } else { DAEMON };
    LOGGER.0.store(reader, Ordering::Relaxed);
}

fn wanted(named: Option<&str>) -> LevelFilter {
    named.and_then(|level| level.trim().parse().ok()).unwrap_or(LevelFilter::Info)
}

/// The line, and whether it goes to standard output.
fn line(reader: u8, record: &Record<'_>) -> (String, bool) {
    let mut line = String::new();
    if reader == SYSTEMD {
        line.push_str(match record.level() {
            Level::Error => "<3>",
            Level::Warn => "<4>",
            Level::Info => "<6>",
            Level::Debug | Level::Trace => "<7>",
        });
    }
    // Nothing can fail in writing to memory.
    let _ = writeln!(line, "[{:<5} {}] {}", record.level(), record.target(), record.args());
    (line, reader == DAEMON && record.level() > Level::Warn)
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (line, to_output) = line(self.0.load(Ordering::Relaxed), record);
        // A log that nobody takes must not stop the daemon.
        let _lost = match to_output {
            true => io::stdout().write_all(line.as_bytes()),
            false => io::stderr().write_all(line.as_bytes()),
        };
    }

    fn flush(&self) {
        let _lost = io::stdout().flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(reader: u8, level: Level) -> (String, bool) {
        line(reader, &Record::builder().level(level).target("natf").args(format_args!("hello")).build())
    }

    #[test]
    fn a_supervisor_learns_how_bad_a_line_is() {
        assert_eq!(written(COMMAND, Level::Info), ("[INFO  natf] hello\n".into(), false));
        assert_eq!(written(DAEMON, Level::Info), ("[INFO  natf] hello\n".into(), true));
        assert_eq!(written(DAEMON, Level::Warn), ("[WARN  natf] hello\n".into(), false));
        assert_eq!(written(SYSTEMD, Level::Warn), ("<4>[WARN  natf] hello\n".into(), false));
    }

    #[test]
    fn a_level_that_is_none_changes_nothing() {
        assert_eq!(wanted(Some("debug")), LevelFilter::Debug);
        assert_eq!(wanted(Some("natf=debug")), LevelFilter::Info);
        assert_eq!(wanted(None), LevelFilter::Info);
    }
}
