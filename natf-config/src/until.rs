//! Points in time as a user writes them: `2026-12-31`, `2026-12-31 18:00` or seconds since 1970, always UTC.
//!
//! A router often knows no time zone, so there is no local time here. A date without a time includes that day: access
//! `until 2026-12-31` ends when the day does.

const DAY: u64 = 86_400;

pub(crate) const ACCEPTED: &str = "2026-12-31, '2026-12-31 18:00' (UTC) or seconds since 1970";

/// The least number that is taken for seconds (2001-09-09): a bare year is a mistake.
const FIRST_SECONDS: u64 = 1_000_000_000;

/// Reads a point in time as seconds since 1970; None if it is none.
pub fn parse_until(text: &str) -> Option<u64> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|seconds| *seconds >= FIRST_SECONDS);
    }
    let (date, time) = match text.split_once([' ', 'T']) {
        Some((date, time)) => (date, Some(time.trim())),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let (year, month, day) =
        (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    if parts.next().is_some() || day > days_in(year, month)? || day == 0 || year < 1970 {
        return None;
    }
    let start = days_since_1970(year, month, day).checked_mul(DAY)?;
    start.checked_add(time.map_or(Some(DAY), seconds_of_day)?)
}

/// Writes seconds since 1970 as `2026-12-31 18:00:00 UTC`.
pub fn format_utc(seconds: u64) -> String {
    let (days, rest) = (seconds / DAY, seconds % DAY);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", rest / 3600, rest / 60 % 60, rest % 60)
}

fn seconds_of_day(text: &str) -> Option<u64> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let mut parts = text.split(':');
    let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |part| number(part, 2))?;
    let valid = parts.next().is_none() && hour < 24 && minute < 60 && second < 60;
    valid.then_some(hour * 3600 + minute * 60 + second)
}

/// Reads exactly `digits` digits.
fn number(text: &str, digits: usize) -> Option<u64> {
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn days_in(year: u64, month: u64) -> Option<u64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => Some(if leap { 29 } else { 28 }),
        4 | 6 | 9 | 11 => Some(30),
        1..=12 => Some(31),
        _ => None,
    }
}

/// Days from 1970-01-01. The year is counted from March, so that the leap day is its last one; 719,468 is the number
/// of days from 0000-03-01 to 1970-01-01.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.saturating_sub(1), month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    (year * 365 + year / 4 - year / 100 + year / 400 + day_of_year).saturating_sub(719_468)
}

/// The inverse of [`days_since_1970`], through the 400-year cycle of 146,097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days.saturating_add(719_468);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era.saturating_mul(400).saturating_add(year + carry), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dates_times_and_seconds_as_utc() {
        assert_eq!(parse_until("1970-01-01 00:00"), Some(0));
        assert_eq!(parse_until("2026-12-31 18:00"), Some(1_798_740_000));
        assert_eq!(parse_until("2026-12-31T18:00:30Z"), Some(1_798_740_030));
        assert_eq!(parse_until("1798740000"), Some(1_798_740_000));
        assert_eq!(parse_until("2000-02-29 00:00"), Some(951_782_400));
    }

    #[test]
    fn includes_the_day_of_a_date_without_a_time() {
        assert_eq!(parse_until("2026-12-31"), parse_until("2027-01-01 00:00"));
    }

    #[test]
    fn refuses_days_and_times_that_do_not_exist() {
        for text in [
            "",
            "-",
            "2026",
            "20261231",
            "2026-13-01x",
            "2026-13-01",
            "2026-00-01",
            "2026-02-29",
            "2100-02-29",
            "2026-04-31",
            "2026-01-00",
            "2026-01-01 24:00",
            "2026-01-01 10:60",
            "2026-01-01 10",
            "1969-12-31",
            "26-01-01",
            "2026-1-1",
            "tomorrow",
            "99999999999999999999999",
            "2026-01-01-01",
            "2026-01-01 1:2:3:4",
        ] {
            assert_eq!(parse_until(text), None, "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads_on_every_day_of_four_centuries() {
        for day in 0..146_097 {
            let text = format_utc(day * DAY + 3_661);
            assert_eq!(parse_until(text.strip_suffix(" UTC").unwrap()), Some(day * DAY + 3_661), "{text}");
        }
        assert_eq!(format_utc(1_798_740_000), "2026-12-31 18:00:00 UTC");
        format_utc(u64::MAX);
    }
}
