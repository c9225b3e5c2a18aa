//! A connection without work: in IDLE where that is offered (RFC 2177), and taken up again.

use std::future::poll_fn;
use std::time::Duration;

use super::control::Imap;
use super::error::{Error, Result};
use super::folders::FolderName;
use super::listing::{Access, Mailbox};
use super::response::{Outcome, Response};
use super::view::View;
use super::wire::Step;

/// A server answers a connection that has rested within this time, or it is taken for dead: there
/// are ways to die that nobody tells of.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);

/// What a connection does.
#[derive(Debug, Clone, Copy, Default)]
pub enum Rest {
    /// It is in use.
    #[default]
    None,
    /// It is silent: nothing was begun.
    Silent,
    /// The IDLE command with this tag is under way.
    Idle(u32),
}

/// A mailbox that the server would tell of if messages came or went, and has not.
#[derive(Debug)]
pub struct Watched {
    pub folder: FolderName,
    pub access: Access,
    /// As it is, if servers tell in time.
    pub mailbox: Mailbox,
}

impl Imap {
    /// The selected mailbox, as it has just been seen, is watched from the next [`Imap::stay`] on.
    pub fn watch(&mut self, watched: Watched) {
        self.watched = Some(watched);
    }

    /// What is watched, while the connection rests in IDLE.
    pub fn watched(&self) -> Option<&Watched> {
        self.watched.as_ref().filter(|_| matches!(self.rest, Rest::Idle(_)))
    }

    /// Whether something is to be watched.
    pub fn is_watching(&self) -> bool {
        self.watched.is_some()
    }

    /// Lays the connection down. What it is taken up with is its first sign of life.
    pub fn lay_down(&mut self) -> Result<()> {
        // A session that was content with what is watched has not taken it up.
        if matches!(self.rest, Rest::Idle(_)) {
            return Ok(());
        }
        let wire = self.wire()?;
        wire.check_idle()?;
        wire.rest();
        self.rest = Rest::Silent;
        Ok(())
    }

    /// Whether nobody knows if the connection is still alive.
    pub fn is_resting(&self) -> bool {
        !matches!(self.rest, Rest::None)
    }

    /// Gives the server a sign of life: IDLE, anew if it is under way, or NOOP. A server logs a
    /// client out that says nothing for 30 minutes (RFC 3501 §5.4, RFC 2177 §3).
    pub async fn stay(&mut self) -> Result<()> {
        let watched = self.watched.take();
        let idles = self.capabilities().has("IDLE");
        let mut moved = false;
        if matches!(self.rest, Rest::Idle(_)) || !idles {
            moved = self.rise().await?;
            self.lay_down()?;
        }
        if !idles {
            return Ok(());
        }
        let wire = self.wire()?;
        wire.hurry(ALIVE_WITHIN);
        let tag = wire.send(&["IDLE"]).await?;
        loop {
            let Step::Line { text, continues: false, .. } = wire.step().await? else { continue };
            match Response::parse(wire.octets(&text)) {
                Response::Continue(_) => break,
                // Refused: it rests without.
                Response::Tagged { tag: ended, .. } => {
                    let ended = ended.to_vec();
                    return match wire.finished(&ended) {
                        Some(number) if number == tag => Ok(()),
                        _ => Err(wire.fail(Error::Protocol("an unknown tag"))),
                    };
                }
                Response::Untagged(status) if status.outcome == Outcome::Bye => {
                    return Err(wire.fail(Error::Bye(status)));
                }
                told => moved |= is_movement(&told),
            }
        }
        wire.rest();
        self.rest = Rest::Idle(tag);
        self.watched = watched.filter(|_| !moved);
        Ok(())
    }

    /// The next thing that the server says by itself while the connection rests; an error when it
    /// is lost. May be dropped at any time.
    pub async fn listen(&mut self) -> Result<()> {
        let rest = self.rest;
        let wire = self.wire()?;
        let Step::Line { text, continues: false, .. } = poll_fn(|cx| wire.poll_step(cx)).await? else {
            return Ok(());
        };
        match Response::parse(wire.octets(&text)) {
            Response::Untagged(status) if status.outcome == Outcome::Bye => {
                Err(wire.fail(Error::Bye(status)))
            }
            Response::Tagged { tag, .. } => {
                let ended = tag.to_vec();
                match (wire.finished(&ended), rest) {
                    // The server has had enough of IDLE, not of the connection.
                    (Some(ended), Rest::Idle(tag)) if ended == tag => {
                        self.rest = Rest::Silent;
                        Ok(())
                    }
                    _ => Err(wire.fail(Error::Protocol("an unknown tag"))),
                }
            }
            told => {
                if is_movement(&told) {
                    self.watched = None;
                }
                Ok(())
            }
        }
    }

    /// Takes the connection up again; an error if it has died meanwhile.
    pub async fn wake(&mut self) -> Result<()> {
        self.rise().await.map(drop)
    }

    /// The same. Tells whether messages came or went.
    async fn rise(&mut self) -> Result<bool> {
        let rest = self.rest;
        let tag = match self.leave_rest()? {
            Some(tag) => {
                self.wire()?.send_raw(DONE.as_bytes()).await?;
                tag
            }
            None if matches!(rest, Rest::Silent) => self.wire()?.send(&["NOOP"]).await?,
            None => return Ok(false),
        };
        let mut view = View::default();
        view.read(self.wire()?, tag, "IDLE").await?;
        // EXISTS is news by itself, whatever it says.
        Ok(view.counted || view.moved)
    }

    /// The same for a caller that goes on with a command in the same flight: what it sends has to
    /// begin with `DONE` if this is the tag of an IDLE, whose end is then the first to be read.
    pub fn leave_rest(&mut self) -> Result<Option<u32>> {
        let rest = std::mem::take(&mut self.rest);
        self.watched = None;
        let wire = self.wire()?;
        match rest {
            Rest::None => {
                wire.check_idle()?;
                return Ok(None);
            }
            Rest::Silent => wire.check_idle()?,
            Rest::Idle(_) => {}
        }
        wire.hurry(ALIVE_WITHIN);
        Ok(if let Rest::Idle(tag) = rest { Some(tag) } else { None })
    }
}

/// Whether messages have come or gone.
fn is_movement(told: &Response<'_>) -> bool {
    matches!(told, Response::Exists(_) | Response::Expunge | Response::Vanished { .. })
}

/// Ends IDLE (RFC 2177 §3).
pub const DONE: &str = "DONE\r\n";
