//! SELECT and the listing of a mailbox, in one flight; exact or refused.

use super::control::Imap;
use super::error::{Error, Result};
use super::items::{Items, Value};
use super::response::{Code, Outcome, Response, Status};
use super::wire::{Step, Wire};
use crate::ids::{Octets, Uid, UidValidity, decimal};

/// Whether anything is going to be written: EXAMINE leaves \Recent alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadWrite,
    ReadOnly,
}

/// A selected mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    pub validity: UidValidity,
    pub exists: u32,
    /// Tagged `[READ-ONLY]`: nothing can be stored or removed.
    pub read_only: bool,
}

/// One message of the listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub uid: Uid,
    /// RFC822.SIZE as the server says it.
    pub size: Octets,
}

/// Selects `folder`.
pub async fn select(imap: &mut Imap, folder: &str, access: Access) -> Result<Mailbox> {
    let mut view = View::default();
    flight(imap, folder, access, None, &mut view).await
}

/// Selects `folder` and lists all its messages, in the order of their UIDs.
///
/// One round trip. The number of rows must be what EXISTS says, no UID may come twice; else the
/// mailbox is listed once more, and then the listing is refused: a shortened one makes clients
/// forget what they have.
pub async fn scan(imap: &mut Imap, folder: &str, access: Access) -> Result<(Mailbox, Vec<Row>)> {
    const ALL: &str = "UID FETCH 1:* (UID RFC822.SIZE)";
    let mut view = View::default();
    let mailbox = flight(imap, folder, access, Some(ALL), &mut view).await?;
    if let Some(rows) = view.take_rows() {
        return Ok((mailbox, rows));
    }
    view.begin_rows();
    let wire = imap.wire()?;
    let tag = wire.send(&[ALL]).await?;
    view.read(wire, tag, "FETCH").await?;
    match view.take_rows() {
        Some(rows) => Ok((mailbox, rows)),
        None => Err(Error::ShortListing { rows: view.rows.len(), exists: view.exists }),
    }
}

/// Which of `uids` (ascending) are still there, seen with a fresh look.
pub async fn live_uids(imap: &mut Imap, uids: &[Uid]) -> Result<Vec<Uid>> {
    let (Some(first), Some(last)) = (uids.first(), uids.last()) else {
        return Ok(Vec::new());
    };
    // How many there are is not known here, and does not matter.
    let mut view = View { exists: u32::MAX, want: Want::Uids, ..View::default() };
    let wire = imap.wire()?;
    wire.check_idle()?;
    // A range is safe on every server; single UIDs that are gone are not (GNU imap4d).
    let tag = wire.send(&[&format!("UID FETCH {first}:{last} (UID)")]).await?;
    view.read(wire, tag, "FETCH").await?;
    let mut live: Vec<Uid> = view.rows.iter().map(|row| row.uid).collect();
    live.sort_unstable();
    live.retain(|uid| uids.binary_search(uid).is_ok());
    live.dedup();
    Ok(live)
}

async fn flight(
    imap: &mut Imap,
    folder: &str,
    access: Access,
    then: Option<&str>,
    view: &mut View,
) -> Result<Mailbox> {
    let verb = match access {
        Access::ReadWrite => "SELECT",
        Access::ReadOnly => "EXAMINE",
    };
    let select = format!("{verb} \"{}\"", folder.replace('\\', "\\\\").replace('"', "\\\""));
    let identification = imap.identification();
    let wire = imap.wire()?;
    wire.check_idle()?;
    let commands: Vec<&str> =
        identification.as_deref().into_iter().chain([select.as_str()]).chain(then).collect();
    let mut tag = wire.send(&commands).await?;
    if identification.is_some() {
        // Who we are is a courtesy: a server that refuses it serves all the same.
        match view.read(wire, tag, "ID").await {
            Ok(_) | Err(Error::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        tag = tag.wrapping_add(1);
    }
    let selected = view.read(wire, tag, verb).await;
    if then.is_some() {
        // The second answer is read even when the first is NO, to leave the connection usable.
        let listed = view.read(wire, tag.wrapping_add(1), "FETCH").await;
        selected.as_ref().map_or(Ok(()), |_| listed.map(drop))?;
    }
    let status = selected?;
    let Some(validity) = view.validity else {
        return Err(Error::NoUidValidity);
    };
    Ok(Mailbox {
        validity,
        exists: view.exists,
        read_only: access == Access::ReadOnly || status.code == Some(Code::ReadOnly),
    })
}

/// What makes a row; the rest is news about flags that nobody asked for.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Want {
    #[default]
    UidsAndSizes,
    Uids,
}

/// What untagged responses have told so far.
#[derive(Default)]
struct View {
    want: Want,
    validity: Option<UidValidity>,
    exists: u32,
    /// Messages that came, and that went, while rows were read.
    arrived: u32,
    expunged: u32,
    /// Dovecot says OK `[EXPUNGEISSUED]` with a size of 0 for a message that has just gone.
    tainted: bool,
    rows: Vec<Row>,
}

impl View {
    /// Reads up to the tagged end of our command `number`.
    async fn read(&mut self, wire: &mut Wire, number: u32, command: &'static str) -> Result<Status> {
        // Untagged data of one command may come before the end of the one before it.
        let noise_limit = 100_000;
        let mut noise = 0;
        loop {
            let Step::Line { text, continues: false, literal: None } = wire.step().await? else {
                noise += 1;
                if noise > noise_limit {
                    return Err(wire.fail(Error::Protocol("no end of what was not asked for")));
                }
                continue;
            };
            match Response::parse(wire.octets(&text)) {
                Response::Tagged { tag, status } => {
                    let tag = tag.to_vec();
                    if wire.finished(&tag) != Some(number) {
                        return Err(wire.fail(Error::Protocol("an unknown tag")));
                    }
                    if status.outcome != Outcome::Ok {
                        return Err(Error::Refused { command, status });
                    }
                    self.tainted |= status.code == Some(Code::ExpungeIssued);
                    return Ok(status);
                }
                Response::Untagged(status) => match (status.outcome, &status.code) {
                    (Outcome::Bye, _) => return Err(wire.fail(Error::Bye(status))),
                    (_, Some(Code::UidValidity(validity))) => self.validity = Some(*validity),
                    _ => noise += 1,
                },
                Response::Exists(exists) => {
                    if !self.rows.is_empty() {
                        let arrived = exists.saturating_sub(self.exists);
                        self.arrived = self.arrived.saturating_add(arrived);
                    }
                    self.exists = exists;
                    noise += 1;
                }
                Response::Expunge => {
                    self.exists = self.exists.saturating_sub(1);
                    self.expunged += 1;
                    noise += 1;
                }
                Response::Fetch(items) => {
                    match row(items, self.want) {
                        Some(row) => self.rows.push(row),
                        None => noise += 1,
                    }
                    // More rows than messages: a server out of its mind must not fill our memory.
                    let most = u64::from(self.exists) + u64::from(self.expunged) + 100_000;
                    if self.rows.len() as u64 > most {
                        return Err(wire.fail(Error::Protocol("more rows than messages")));
                    }
                }
                Response::Capability(_) | Response::Continue(_) | Response::Other => noise += 1,
            }
            if noise > noise_limit {
                return Err(wire.fail(Error::Protocol("no end of what was not asked for")));
            }
        }
    }

    /// Forgets the rows, for another look.
    fn begin_rows(&mut self) {
        self.rows.clear();
        self.arrived = 0;
        self.expunged = 0;
        self.tainted = false;
    }

    /// The rows in order, if they are all there: as many as EXISTS, give or take the messages
    /// that came or went while they were read.
    fn take_rows(&mut self) -> Option<Vec<Row>> {
        self.rows.sort_unstable_by_key(|row| row.uid);
        let unique = self.rows.windows(2).all(|pair| pair[0].uid != pair[1].uid);
        let count = self.rows.len() as u64;
        let least = u64::from(self.exists.saturating_sub(self.arrived));
        let most = u64::from(self.exists) + u64::from(self.expunged);
        let complete = unique && !self.tainted && (least..=most).contains(&count);
        complete.then(|| {
            self.rows.shrink_to_fit();
            std::mem::take(&mut self.rows)
        })
    }
}

/// A row that has all that is wanted.
fn row(items: &[u8], want: Want) -> Option<Row> {
    let mut uid = None;
    let mut size = None;
    for (name, value) in Items::new(items) {
        let Value::Atom(value) = value else { continue };
        if name.eq_ignore_ascii_case(b"UID") {
            uid = Uid::parse(value);
        } else if name.eq_ignore_ascii_case(b"RFC822.SIZE") {
            size = size_of(value);
        }
    }
    let size = match want {
        Want::UidsAndSizes => size?,
        Want::Uids => size.unwrap_or_default(),
    };
    Some(Row { uid: uid?, size })
}

/// RFC822.SIZE: 32 bits in RFC 3501, 63 in RFC 9051.
fn size_of(value: &[u8]) -> Option<Octets> {
    decimal(value).map(u64::from).or_else(|| std::str::from_utf8(value).ok()?.parse().ok()).map(Octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_in_any_order_of_items() {
        let expected = Uid::new(7).map(|uid| Row { uid, size: Octets(99) });
        let sized = |items: &[u8]| row(items, Want::UidsAndSizes);
        assert_eq!(sized(b"UID 7 RFC822.SIZE 99)"), expected);
        assert_eq!(sized(b"RFC822.SIZE 99 FLAGS (\\Seen) uid 7)"), expected);
        assert_eq!(sized(b"FLAGS (\\Seen))"), None);
        assert_eq!(sized(b"UID 7 FLAGS (\\Seen))"), None);
        assert_eq!(sized(b"UID 7 RFC822.SIZE many)"), None);
        assert_eq!(sized(b"UID 0 RFC822.SIZE 99)"), None);
        assert_eq!(row(b"UID 7)", Want::Uids).map(|row| row.uid), Uid::new(7));
    }

    fn view(uids: &[u32], exists: u32, arrived: u32, expunged: u32) -> View {
        let rows =
            uids.iter().filter_map(|&uid| Uid::new(uid)).map(|uid| Row { uid, size: Octets(1) }).collect();
        View { want: Want::default(), validity: None, exists, arrived, expunged, tainted: false, rows }
    }

    #[test]
    fn a_listing_is_exact_or_refused() {
        assert!(view(&[1, 2, 3], 3, 0, 0).take_rows().is_some());
        assert!(view(&[], 0, 0, 0).take_rows().is_some());
        assert!(view(&[1, 2], 3, 0, 0).take_rows().is_none());
        assert!(view(&[1, 2, 3, 4], 3, 0, 0).take_rows().is_none());
        assert!(view(&[1, 2, 2], 3, 0, 0).take_rows().is_none());
        assert!(view(&[1, 2, 3], 4, 1, 0).take_rows().is_some());
        assert!(view(&[1, 2, 3], 2, 0, 1).take_rows().is_some());
    }
}
