//! A listing of before, brought up to date by what it takes to prove it.

use super::control::Imap;
use super::error::Result;
use super::exchange::{Answer, Exchange};
use super::listing::{Mailbox, Told};
use super::ranges::{self, Range, disjoint, holds};
use super::response::{Response, word};
use super::rows::{Row, Want};
use super::view::View;
use crate::ids::{Uid, UidValidity};

/// An answer to SEARCH is one line, and the framer takes none over 64 KiB.
const MAX_SET: usize = 60_000;
/// `4294967295:4294967295,`
const MAX_RANGE: usize = 22;

/// What an earlier listing found: every message below `uid_next` that was there at that time, and
/// maybe some that have gone since.
#[derive(Debug)]
pub struct Known {
    pub validity: UidValidity,
    pub uid_next: Uid,
    /// HIGHESTMODSEQ at that time or before.
    pub modseq: Option<u64>,
    /// Ascending, all below `uid_next`.
    pub rows: Vec<Row>,
}

impl Known {
    /// Whether it tells all of a mailbox in this state.
    pub fn is_of(&self, mailbox: &Mailbox) -> bool {
        self.validity == mailbox.validity
            && Some(self.uid_next) == mailbox.uid_next
            && self.rows.len() == mailbox.exists as usize
    }

    /// What asks SELECT for that which has gone since then (RFC 7162 §3.2.5).
    pub fn parameter(&self) -> Option<String> {
        let Self { validity, modseq, .. } = self;
        modseq.map(|modseq| format!(" (QRESYNC ({validity} {modseq}))"))
    }

    /// The rows as they are now. `None`: they have to be listed anew, since it cannot be proven.
    ///
    /// UIDs ascend (RFC 3501 §2.3.1.1): what is not known is not below `uid_next`, so the mailbox
    /// is a part of what is known and what is new. As many as EXISTS are all of them, be it with
    /// or without those that the server says have gone. Whatever moves meanwhile, or does not add
    /// up, leads to `None`.
    pub async fn renewed(
        self,
        imap: &mut Imap,
        mailbox: &Mailbox,
        view: &mut View,
    ) -> Result<Option<(Vec<Row>, Told)>> {
        let Self { validity, uid_next: from, modseq, mut rows } = self;
        let Some(next) = mailbox.uid_next.filter(|next| *next >= from) else { return Ok(None) };
        if validity != mailbox.validity || !view.counted || view.moved {
            return Ok(None);
        }
        let exists = view.exists as usize;
        let numbers = (next.get() - from.get()) as usize;
        if exists > rows.len().saturating_add(numbers) {
            return Ok(None);
        }
        if exists == 0 {
            return Ok(Some((Vec::new(), Told::Present)));
        }
        let gone = earlier(view, modseq, mailbox.highest_modseq);
        let known = rows.len();
        if numbers > 0 {
            let Some(new) = new_rows(imap, view, from, next).await? else { return Ok(None) };
            rows.extend(new);
        }
        // A row that is missing here must not make up for one that has gone there: each of the new
        // numbers has its row, or is said to have come and gone.
        let new = &rows[known..];
        if new.len() == numbers && rows.len() == exists {
            return Ok(Some((rows, Told::New)));
        }
        let passed = ranges::count(&within(&gone, from, next));
        let accounted = new.len() as u64 + passed == numbers as u64;
        let agreed = accounted && !new.iter().any(|row| holds(&gone, row.uid));
        let is_left = |row: &Row| !holds(&gone, row.uid);
        if agreed && rows.iter().filter(|row| is_left(row)).count() == exists {
            let lost = rows.iter().filter(|row| !is_left(row)).map(|row| row.uid).collect();
            rows.retain(is_left);
            return Ok(Some((rows, Told::Gone(lost))));
        }
        Ok(present(imap, view, rows).await?.map(|rows| (rows, Told::Present)))
    }
}

/// What has gone since the mod-sequence `then`, as SELECT has told it; nothing unless that is still
/// a moment of this mailbox's past.
fn earlier(view: &mut View, then: Option<u64>, now: Option<u64>) -> Vec<Range> {
    let told = std::mem::take(&mut view.earlier).finish();
    told.filter(|_| then.is_some() && then <= now).unwrap_or_default()
}

/// The parts of ranges from `from` up to below `next`.
fn within(ranges: &[Range], from: Uid, next: Uid) -> Vec<Range> {
    let cut = |&(first, last): &Range| (first.max(from.get()), last.min(next.get() - 1));
    ranges.iter().map(cut).filter(|(first, last)| first <= last).collect()
}

/// The rows of `from` up to `next`, ascending.
async fn new_rows(imap: &mut Imap, view: &mut View, from: Uid, next: Uid) -> Result<Option<Vec<Row>>> {
    let fetch = format!("UID FETCH {from}:* {}", view.want.items());
    let mut rows = rows(imap, view, &fetch).await?;
    // `n:*` names the last message even where it is below n.
    rows.retain(|row| row.uid >= from);
    let unique = rows.windows(2).all(|pair| pair[0].uid != pair[1].uid);
    let expected = unique && rows.iter().all(|row| row.uid < next);
    Ok((expected && !view.moved && !view.tainted).then_some(rows))
}

/// Those of `rows` that are there, if they are all that is there.
async fn present(imap: &mut Imap, view: &mut View, mut rows: Vec<Row>) -> Result<Option<Vec<Row>>> {
    let exists = view.exists as usize;
    if rows.len() < exists {
        return Ok(None);
    }
    let ranges = if imap.capabilities().has("ESEARCH") && length_of_set(&rows, exists) <= MAX_SET {
        searched(imap, view).await?
    } else {
        fetched(imap, view).await?
    };
    let Some(ranges) = ranges else { return Ok(None) };
    let named = ranges::count(&ranges);
    rows.retain(|row| holds(&ranges, row.uid));
    Ok((named == exists as u64 && rows.len() == exists).then_some(rows))
}

/// How long a sequence set of `exists` of these can become: each that is gone may split a range.
fn length_of_set(rows: &[Row], exists: usize) -> usize {
    let breaks = rows.windows(2).filter(|pair| pair[0].uid.get() + 1 != pair[1].uid.get()).count();
    (breaks + 1 + rows.len().saturating_sub(exists)).saturating_mul(MAX_RANGE)
}

/// The UIDs that are there, as ascending ranges; by one line where the server can (RFC 4731).
async fn searched(imap: &mut Imap, view: &mut View) -> Result<Option<Vec<Range>>> {
    let mut search = Exchange::begin(imap, "SEARCH", "UID SEARCH RETURN (ALL) ALL", 1, 0).await?;
    let mut found = None;
    loop {
        match search.next().await {
            Ok(Answer::Untagged { text, .. }) => match Response::parse(text) {
                Response::Exists(exists) => view.note_exists(exists),
                Response::Expunge => view.note_expunge(),
                Response::Vanished { earlier: false, set } => view.note_vanished(set),
                _ => found = found.or_else(|| extended(text)),
            },
            Ok(Answer::Done(_)) => return Ok(found.filter(|_| !view.moved)),
            // The listing in full is asked for instead.
            Err(error) if error.is_refusal() => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// The same from every other server.
async fn fetched(imap: &mut Imap, view: &mut View) -> Result<Option<Vec<Range>>> {
    view.want = Want::Uids;
    let rows = rows(imap, view, "UID FETCH 1:* (UID)").await?;
    if view.moved || view.tainted {
        return Ok(None);
    }
    let ranges = rows.iter().map(|row| (row.uid.get(), row.uid.get()));
    Ok(disjoint(ranges.collect()))
}

async fn rows(imap: &mut Imap, view: &mut View, fetch: &str) -> Result<Vec<Row>> {
    view.begin_rows();
    let wire = imap.wire();
    wire.check_idle()?;
    let tag = wire.send(&[fetch]).await?;
    view.read(wire, tag, "FETCH").await?;
    let mut rows = std::mem::take(&mut view.rows);
    rows.sort_unstable_by_key(|row| row.uid);
    Ok(rows)
}

/// `* ESEARCH (TAG "P5") UID ALL 1:17,21`
fn extended(line: &[u8]) -> Option<Vec<Range>> {
    let (star, rest) = word(line);
    let (name, rest) = word(rest);
    if star != b"*" || !name.eq_ignore_ascii_case(b"ESEARCH") {
        return None;
    }
    let mut words = rest.split(|&octet| octet == b' ');
    words.find(|word| word.eq_ignore_ascii_case(b"UID"))?;
    words.find(|word| word.eq_ignore_ascii_case(b"ALL"))?;
    disjoint(ranges::ranges(words.next()?).collect::<Option<Vec<_>>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Octets;

    #[test]
    fn answers_to_search() {
        let line = |text: &str| extended(text.as_bytes());
        assert_eq!(line("* ESEARCH (TAG \"P5\") UID ALL 9:7,1,3:4"), Some(vec![(1, 1), (3, 4), (7, 9)]));
        assert_eq!(line("* esearch (TAG \"P5\") uid COUNT 1 all 5"), Some(vec![(5, 5)]));
        for wrong in [
            "* ESEARCH (TAG \"P5\") ALL 1:3",
            "* ESEARCH (TAG \"P5\") UID",
            "* ESEARCH (TAG \"P5\") UID ALL",
            "* ESEARCH (TAG \"P5\") UID ALL 1:3,3",
            "* ESEARCH (TAG \"P5\") UID ALL 1:*",
            "* ESEARCH (TAG \"P5\") UID ALL ,",
            "* ESEARCH (TAG \"P5\") UID ALL 99999999999",
            "* SEARCH 1 2 3",
        ] {
            assert_eq!(line(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_set_that_may_be_too_long_is_known_before() {
        let rows = |step: usize, count: u32| -> Vec<Row> {
            let uids = (1..=count).step_by(step).filter_map(Uid::new);
            uids.map(|uid| Row { uid, size: Octets(1), internal_date: 0, seen: false }).collect()
        };
        assert!(length_of_set(&rows(1, 100_000), 99_900) <= MAX_SET);
        assert!(length_of_set(&rows(2, 100_000), 50_000) > MAX_SET);
        assert!(length_of_set(&rows(1, 100_000), 90_000) > MAX_SET);
    }

    proptest::proptest! {
        #[test]
        fn any_answer_is_read_without_harm(rest in proptest::collection::vec(
            proptest::sample::select(b"0123456789:,* ALUID()".to_vec()), 0..60,
        )) {
            if let Some(ranges) = extended(&[&b"* ESEARCH UID ALL "[..], &rest].concat()) {
                proptest::prop_assert!(ranges.iter().all(|(first, last)| first <= last));
            }
        }
    }
}
