//! SELECT and the listing of a mailbox, in one flight; exact or refused.

use super::control::Imap;
use super::error::{Error, Result};
use super::folders::FolderName;
use super::known::Known;
use super::response::Code;
use super::rest::{ALIVE_WITHIN, DONE};
use super::rows::{Extra, Row, Want};
use super::view::View;
use crate::ids::{Uid, UidValidity};

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
    // Nothing is kept of what is selected so, which is no reason for another kind of responses.
    imap.enabling(false);
    flight(imap, folder, access, Along::default(), &mut view).await
}

/// How much of a listing the server has just told; the rest is of an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    All,
    /// Which messages are there, and all of the new ones.
    Present,
    /// These of the earlier listing have gone, all of the new ones, and how many there are.
    Gone(Vec<Uid>),
    /// The new ones, and how many there are.
    New,
}

/// What `scan` found.
#[derive(Debug)]
pub struct Scanned {
    pub mailbox: Mailbox,
    pub rows: Vec<Row>,
    pub told: Told,
    /// How much the server told because the mod-sequence that is known was not its newest.
    pub retold: usize,
}

/// Selects `folder` and lists all its messages, in the order of their UIDs.
///
/// What is `known` spares what need not be told again, and is proven or left out. Without it, one
/// round trip. The number of rows must be what EXISTS says, no UID may come twice; else the
/// mailbox is listed once more, and then the listing is refused: a shortened one makes clients
/// forget what they have.
pub async fn scan(
    imap: &mut Imap,
    folder: &FolderName,
    access: Access,
    extra: Extra,
    known: Option<Known>,
) -> Result<Scanned> {
    let mut view = View { want: Want::Listing(extra), ..View::default() };
    let all = format!("UID FETCH 1:* {}", view.want.items());
    // At the first listing as well: Dovecot counts no mod-sequences until it is asked for them.
    let enable = imap.enabling(true);
    let Some(known) = known else {
        let along = Along { enable, then: Some(&all), ..Along::default() };
        let mailbox = flight(imap, folder, access, along, &mut view).await?;
        let rows = match view.take_rows() {
            Some(rows) => rows,
            None => list(imap, &all, &mut view, 1).await?,
        };
        return Ok(Scanned { mailbox, rows, told: Told::All, retold: 0 });
    };
    let parameter = known.parameter().filter(|_| imap.resynchronises());
    let resyncing = parameter.is_some();
    view.resyncing = resyncing;
    let along = Along { enable, parameter, ..Along::default() };
    let mut selected = flight(imap, folder, access, along, &mut view).await;
    if resyncing && selected.as_ref().is_err_and(Error::is_refusal) {
        // Perhaps not the mailbox, but QRESYNC.
        imap.renounce_resync();
        view = View { want: Want::Listing(extra), ..View::default() };
        selected = flight(imap, folder, access, Along::default(), &mut view).await;
    }
    let mailbox = selected?;
    view.resyncing = false;
    let retold = view.retold();
    if let Some((rows, told)) = known.renewed(imap, &mailbox, &mut view).await? {
        return Ok(Scanned { mailbox, rows, told, retold });
    }
    view.want = Want::Listing(extra);
    let rows = list(imap, &all, &mut view, 2).await?;
    Ok(Scanned { mailbox, rows, told: Told::All, retold })
}

/// Lists the selected mailbox, in so many attempts.
async fn list(imap: &mut Imap, all: &str, view: &mut View, attempts: usize) -> Result<Vec<Row>> {
    for _ in 0..attempts {
        view.begin_rows();
        let wire = imap.wire();
        wire.check_idle()?;
        let tag = wire.send(&[all]).await?;
        view.read(wire, tag, "FETCH").await?;
        if let Some(rows) = view.take_rows() {
            return Ok(rows);
        }
    }
    Err(Error::ShortListing { rows: view.rows.len(), exists: view.exists })
}

/// What goes out with SELECT.
#[derive(Default)]
struct Along<'a> {
    enable: Option<&'static str>,
    /// With a blank before it.
    parameter: Option<String>,
    then: Option<&'a str>,
}

async fn flight(
    imap: &mut Imap,
    folder: &FolderName,
    access: Access,
    Along { enable, parameter, then }: Along<'_>,
    view: &mut View,
) -> Result<Mailbox> {
    let verb = match access {
        Access::ReadWrite => "SELECT",
        Access::ReadOnly => "EXAMINE",
    };
    let select = format!("{verb} {}{}", folder.quoted(), parameter.unwrap_or_default());
    let identification = imap.identification();
    let idle = imap.leave_rest()?;
    let wire = imap.wire();
    let commands: Vec<&str> =
        identification.as_deref().into_iter().chain(enable).chain([select.as_str()]).chain(then).collect();
    let mut tag = wire.send_behind(if idle.is_some() { DONE } else { "" }, &commands).await?;
    if let Some(idle) = idle {
        imap.awake(idle).await?;
        // Or the rest of the flight was lost on a server that reads no further than DONE.
        imap.wire().hurry(ALIVE_WITHIN);
    }
    let wire = imap.wire();
    if identification.is_some() {
        // Who we are is a courtesy: a server that refuses it serves all the same.
        match view.read(wire, tag, "ID").await {
            Ok(_) | Err(Error::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        tag = tag.wrapping_add(1);
    }
    let mut enabled = true;
    if enable.is_some() {
        match view.read(wire, tag, "ENABLE").await {
            Ok(_) => {}
            Err(Error::Refused { .. }) => enabled = false,
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
    if !enabled {
        imap.renounce_resync();
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
        highest_modseq: view.highest_modseq(),
        keywords: view.keywords,
    })
}
