//! SELECT and the listing of a mailbox, in one flight; exact or refused.

use super::control::Imap;
use super::error::{Error, Result};
use super::folders::FolderName;
use super::response::{Code, Outcome, Response, Status, readable};
use super::rows::{Extra, Row, Want};
use super::wire::{Step, Wire};
use crate::ids::{Uid, UidValidity};

/// Characters that are kept of what a server calls itself.
const MAX_ID: usize = 1024;
/// How often a mailbox is looked at while other clients remove from it.
const LOOKS: usize = 3;

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
    /// The next message's UID will not be below; Courier does not tell.
    pub uid_next: Option<Uid>,
    /// RFC 7162; `None` for NOMODSEQ as well.
    pub highest_modseq: Option<u64>,
    /// Whether keywords can be set: `\*` in PERMANENTFLAGS (RFC 3501 §7.1).
    pub keywords: bool,
}

/// Selects `folder`.
pub async fn select(imap: &mut Imap, folder: &FolderName, access: Access) -> Result<Mailbox> {
    let mut view = View::default();
    flight(imap, folder, access, None, &mut view).await
}

/// Selects `folder` and lists all its messages, in the order of their UIDs.
///
/// One round trip. The number of rows must be what EXISTS says, no UID may come twice; else the
/// mailbox is listed once more, and then the listing is refused: a shortened one makes clients
/// forget what they have.
pub async fn scan(
    imap: &mut Imap,
    folder: &FolderName,
    access: Access,
    extra: Extra,
) -> Result<(Mailbox, Vec<Row>)> {
    let mut view = View { want: Want::Listing(extra), ..View::default() };
    let all = format!("UID FETCH 1:* {}", view.want.items());
    let mailbox = flight(imap, folder, access, Some(&all), &mut view).await?;
    if let Some(rows) = view.take_rows() {
        return Ok((mailbox, rows));
    }
    view.begin_rows();
    let wire = imap.wire()?;
    let tag = wire.send(&[&all]).await?;
    view.read(wire, tag, "FETCH").await?;
    match view.take_rows() {
        Some(rows) => Ok((mailbox, rows)),
        None => Err(Error::ShortListing { rows: view.rows.len(), exists: view.exists }),
    }
}

/// Which of `uids` (ascending) are still there, seen with a fresh look.
pub async fn live_uids(imap: &mut Imap, uids: &[Uid]) -> Result<Vec<Uid>> {
    look(imap, uids, Want::Uids).await
}

/// Which of `uids` (ascending) are in the selected mailbox and flagged \Deleted, by ascending UID.
pub async fn deleted_uids(imap: &mut Imap, uids: &[Uid]) -> Result<Vec<Uid>> {
    look(imap, uids, Want::Deleted).await
}

async fn look(imap: &mut Imap, uids: &[Uid], want: Want) -> Result<Vec<Uid>> {
    let (Some(first), Some(last)) = (uids.first(), uids.last()) else {
        return Ok(Vec::new());
    };
    let mut view = View::default();
    for _ in 0..LOOKS {
        // How many there are is not known here, and does not matter.
        view = View { exists: u32::MAX, want, ..View::default() };
        fetch_after_noop(imap, *first, *last, &mut view).await?;
        // Dovecot still shows what another client has removed, and says so behind the rows only,
        // NOOP or not: then the rows are of before.
        if view.expunged == 0 {
            break;
        }
    }
    let mut live: Vec<Uid> = view.rows.iter().map(|row| row.uid).collect();
    live.sort_unstable();
    live.retain(|uid| uids.binary_search(uid).is_ok());
    live.dedup();
    Ok(live)
}

async fn fetch_after_noop(imap: &mut Imap, first: Uid, last: Uid, view: &mut View) -> Result<()> {
    let wire = imap.wire()?;
    wire.check_idle()?;
    // A range is safe on every server; single UIDs that are gone are not (GNU imap4d). NOOP is for
    // servers that tell of removals nowhere else.
    let fetch = format!("UID FETCH {first}:{last} {}", view.want.items());
    let tag = wire.send(&["NOOP", &fetch]).await?;
    let polled = view.read(wire, tag, "NOOP").await;
    // Read even when the first is NO, to leave the connection usable.
    let listed = view.read(wire, tag.wrapping_add(1), "FETCH").await;
    polled?;
    listed?;
    Ok(())
}

async fn flight(
    imap: &mut Imap,
    folder: &FolderName,
    access: Access,
    then: Option<&str>,
    view: &mut View,
) -> Result<Mailbox> {
    let verb = match access {
        Access::ReadWrite => "SELECT",
        Access::ReadOnly => "EXAMINE",
    };
    let select = format!("{verb} {}", folder.quoted());
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
    // The second answer is read even when the first is NO, to leave the connection usable.
    let listed = match then {
        Some(_) => view.read(wire, tag.wrapping_add(1), "FETCH").await.map(drop),
        None => Ok(()),
    };
    if let Some(id) = view.server_id.take() {
        imap.identified_as(id);
    }
    let status = selected?;
    listed?;
    let Some(validity) = view.validity else {
        return Err(Error::NoUidValidity);
    };
    Ok(Mailbox {
        validity,
        exists: view.exists,
        read_only: access == Access::ReadOnly || status.code == Some(Code::ReadOnly),
        uid_next: view.uid_next,
        highest_modseq: view.highest_modseq,
        keywords: view.keywords,
    })
}

/// What untagged responses have told so far.
#[derive(Default)]
struct View {
    want: Want,
    server_id: Option<String>,
    validity: Option<UidValidity>,
    uid_next: Option<Uid>,
    highest_modseq: Option<u64>,
    keywords: bool,
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
                    (_, code) => {
                        self.learn(code.as_ref());
                        noise += 1;
                    }
                },
                Response::Id(id) => {
                    self.server_id = Some(readable(id, MAX_ID));
                    noise += 1;
                }
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
                    match self.want.row(items) {
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

    fn learn(&mut self, code: Option<&Code>) {
        match code {
            Some(Code::UidNext(uid)) => self.uid_next = Some(*uid),
            Some(Code::HighestModSeq(sequence)) => self.highest_modseq = Some(*sequence),
            Some(Code::PermanentFlags { keywords }) => self.keywords = *keywords,
            _ => {}
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Octets;
    use tokio::io::AsyncWriteExt;

    fn view(uids: &[u32], exists: u32, arrived: u32, expunged: u32) -> View {
        let row = |uid| Row { uid, size: Octets(1), internal_date: 0, seen: false };
        let rows = uids.iter().filter_map(|&uid| Uid::new(uid)).map(row).collect();
        View { exists, arrived, expunged, rows, ..View::default() }
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

    #[tokio::test]
    async fn codes_of_select_are_kept() {
        for (codes, modseq, keywords) in [
            ("* OK [HIGHESTMODSEQ 91323]\r\n* OK [PERMANENTFLAGS (\\Seen \\*)]\r\n", Some(91323), true),
            ("* OK [NOMODSEQ] No.\r\n* OK [PERMANENTFLAGS (\\Seen)]\r\n", None, false),
        ] {
            let (mut server, client) = tokio::io::duplex(1024);
            let mut wire = Wire::new(Box::new(client), std::time::Duration::from_secs(5));
            let tag = wire.send(&["SELECT INBOX"]).await.expect("sent");
            let long = "x".repeat(5000);
            let answer = format!("* ID (\"name\" \"\x1b[1m{long}\")\r\n* OK [UIDNEXT 8]\r\n{codes}P0 OK\r\n");
            let feed = tokio::spawn(async move { server.write_all(answer.as_bytes()).await });
            let mut view = View::default();
            view.read(&mut wire, tag, "SELECT").await.expect("selected");
            feed.await.expect("no panic").expect("written");
            assert_eq!((view.uid_next, view.highest_modseq), (Uid::new(8), modseq));
            assert_eq!(view.keywords, keywords);
            let id = view.server_id.expect("an ID");
            assert!(id.chars().count() == MAX_ID && !id.chars().any(char::is_control));
        }
    }
}
