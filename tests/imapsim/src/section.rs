//! Parts of a message: header, text, chosen fields, a range of either. And dates.

use std::ops::Range;
use std::sync::Arc;

use crate::items::{Body, Section};

/// Octets to send; whole messages are shared, never copied.
pub(crate) enum Data {
    Shared(Arc<[u8]>, Range<usize>),
    Owned(Vec<u8>),
}

impl Data {
    pub(crate) fn octets(&self) -> &[u8] {
        match self {
            Self::Shared(octets, range) => &octets[range.clone()],
            Self::Owned(octets) => octets,
        }
    }
}

/// What an item asks for.
pub(crate) fn cut(message: &Arc<[u8]>, body: &Body) -> Data {
    let header = header_end(message);
    let data = match &body.section {
        Section::All => Data::Shared(Arc::clone(message), 0..message.len()),
        Section::Header => Data::Shared(Arc::clone(message), 0..header),
        Section::Text => Data::Shared(Arc::clone(message), header..message.len()),
        Section::Fields { names, not } => Data::Owned(fields(&message[..header], names, *not)),
    };
    let Some((offset, length)) = body.partial else {
        return data;
    };
    let limit = |range: Range<usize>| {
        let size = range.len();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(size);
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(size - offset);
        range.start + offset..range.start + offset + length
    };
    match data {
        Data::Shared(octets, range) => Data::Shared(octets, limit(range)),
        Data::Owned(octets) => Data::Owned(octets[limit(0..octets.len())].to_vec()),
    }
}

/// Behind the blank line; the whole length where there is none.
fn header_end(message: &[u8]) -> usize {
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', message) {
        if matches!(&message[start..end], b"" | b"\r") {
            return end + 1;
        }
        start = end + 1;
    }
    message.len()
}

/// The header's fields with these names, or all others, and the blank line.
fn fields(header: &[u8], names: &[Vec<u8>], not: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut taking = false;
    for line in header.split_inclusive(|octet| *octet == b'\n') {
        if matches!(line, b"\r\n" | b"\n") {
            break;
        }
        if !matches!(line.first(), Some(b' ' | b'\t')) {
            let name = line.split(|octet| *octet == b':').next().unwrap_or_default();
            taking = names.contains(&name.trim_ascii().to_ascii_lowercase()) != not;
        }
        if taking {
            out.extend_from_slice(line);
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// The value of the first field of this name (in lower case), unfolded.
pub(crate) fn field(message: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let found = fields(&message[..header_end(message)], &[name.to_vec()], false);
    let mut value = Vec::new();
    for (count, line) in found.split_inclusive(|octet| *octet == b'\n').enumerate() {
        let continued = matches!(line.first(), Some(b' ' | b'\t'));
        if count > 0 && !continued {
            break;
        }
        let line = line.trim_ascii_end();
        match count {
            0 => value.extend_from_slice(&line[memchr::memchr(b':', line)? + 1..]),
            _ => value.extend_from_slice(line),
        }
    }
    Some(value.trim_ascii().to_vec())
}

/// The minimal ENVELOPE: date, subject and message id.
pub(crate) fn envelope(message: &[u8]) -> String {
    let text = |name: &[u8]| match field(message, name) {
        Some(value) => {
            let value = String::from_utf8_lossy(&value).into_owned();
            let safe: String =
                value.chars().filter(|letter| letter.is_ascii() && !letter.is_control()).collect();
            format!("\"{}\"", safe.replace('\\', "\\\\").replace('"', "\\\""))
        }
        None => "NIL".into(),
    };
    let (date, subject, id) = (text(b"date"), text(b"subject"), text(b"message-id"));
    format!("({date} {subject} NIL NIL NIL NIL NIL NIL NIL {id})")
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `02-Jan-2020 10:00:00 +0000`.
pub(crate) fn internal_date(seconds: i64) -> String {
    let (day, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, date) = civil(day);
    let month = MONTHS[month - 1];
    format!("{date:02}-{month}-{year:04} {:02}:{:02}:{:02} +0000", rest / 3600, rest / 60 % 60, rest % 60)
}

/// The reverse, with any zone. The date alone is midnight.
pub(crate) fn parse_date(text: &str) -> Option<i64> {
    let mut words = text.split_ascii_whitespace();
    let mut date = words.next()?.splitn(3, '-');
    let day: i64 = date.next()?.parse().ok()?;
    let name = date.next()?;
    let month = MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name))? + 1;
    let year: i64 = date.next()?.parse().ok()?;
    if !(1..=31).contains(&day) || !(1900..=9999).contains(&year) {
        return None;
    }
    let mut seconds = days(year, month, day) * 86_400;
    if let Some(time) = words.next() {
        let mut unit = 3600;
        for part in time.split(':') {
            seconds += part.parse::<i64>().ok().filter(|part| (0..=60).contains(part))? * unit;
            unit /= 60;
        }
    }
    if let Some(zone) = words.next() {
        let zone: i64 = zone.parse().ok().filter(|zone| (-2400..=2400).contains(zone))?;
        seconds -= zone / 100 * 3600 + zone % 100 * 60;
    }
    Some(seconds)
}

/// Year, month from 1, day of a day since 1970; the usual arithmetic on years that begin in March.
fn civil(day: i64) -> (i64, usize, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, usize::try_from(month).unwrap_or(1), date)
}

fn days(year: i64, month: usize, day: i64) -> i64 {
    let month = i64::try_from(month).unwrap_or(1);
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_go_there_and_back() {
        assert_eq!(internal_date(0), "01-Jan-1970 00:00:00 +0000");
        assert_eq!(parse_date("01-Jan-2020 12:00:00 +0200"), Some(1_577_872_800));
        for seconds in [951_782_400, 1_709_210_096, 4_102_444_799, -86_400] {
            assert_eq!(parse_date(&internal_date(seconds)), Some(seconds));
        }
        assert_eq!(parse_date("1-Foo-2020"), None);
    }

    #[test]
    fn headers_end_at_the_blank_line() {
        assert_eq!(header_end(b"A: b\r\n\r\nc"), 8);
        assert_eq!(header_end(b"A: b\n\nc"), 6);
        assert_eq!(header_end(b"A: b\r\n"), 6);
        assert_eq!(header_end(b"\r\nc"), 2);
    }

    #[test]
    fn fields_keep_their_folds() {
        let header = b"A: 1\r\nSubject: x\r\n y\r\nB: 2\r\n\r\n";
        assert_eq!(fields(header, &[b"subject".to_vec()], false), b"Subject: x\r\n y\r\n\r\n");
        assert_eq!(fields(header, &[b"subject".to_vec()], true), b"A: 1\r\nB: 2\r\n\r\n");
        assert_eq!(field(header, b"subject").unwrap(), b"x y");
        assert_eq!(field(header, b"c"), None);
    }
}
