//! A connection without work: in IDLE where that is offered (RFC 2177), and taken up again.

use std::future::poll_fn;
use std::time::Duration;

use tokio::time::timeout;

use super::control::Imap;
use super::error::{Error, Result};
use super::folders::FolderName;
use super::listing::{Access, Mailbox};
use super::response::{Outcome, Response};
use super::view::View;
use super::wire::Step;

/// A server answers a connection that has rested within this time, or it is taken for dead: there
/// are ways to die that nobody tells of.
pub const ALIVE_WITHIN: Duration = Duration::from_secs(5);

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
        let wire = self.wire();
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
        // Who wants the connection meanwhile waits for this.
        match timeout(ALIVE_WITHIN, self.sign_of_life()).await {
            Ok(result) => result,
            Err(_) => Err(self.wire().fail(Error::Timeout(ALIVE_WITHIN))),
        }
    }

    async fn sign_of_life(&mut self) -> Result<()> {
        let watched = self.watched.take();
        let offered = self.capabilities().has("IDLE");
        let mut moved = false;
        if !(offered && matches!(self.rest, Rest::Silent)) {
            moved = self.take_up().await?;
            self.lay_down()?;
        }
        if !offered {
            return Ok(());
        }
        let wire = self.wire();
        let tag = wire.send(&["IDLE"]).await?;
        loop {
            let Step::Line { text, continues: false, .. } = wire.step().await? else { continue };
            match Response::parse(wire.octets(&text)) {
                Response::Continue(_) => break,
                // Refused: it rests without.
                Response::Tagged { tag: ended, status } => {
                    let ended = ended.to_vec();
                    return match wire.finished(&ended, &status) {
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
        let wire = self.wire();
        let Step::Line { text, continues: false, .. } = poll_fn(|cx| wire.poll_step(cx)).await? else {
            return Ok(());
        };
        match Response::parse(wire.octets(&text)) {
            Response::Untagged(status) if status.outcome == Outcome::Bye => {
                Err(wire.fail(Error::Bye(status)))
            }
            Response::Tagged { tag, status } => {
                let ended = tag.to_vec();
                match (wire.finished(&ended, &status), rest) {
                    // The server has had enough of IDLE, not of the connection.
                    (Some(ended), Rest::Idle(tag)) if ended == tag => {
                        self.rest = Rest::Silent;
                        Ok(())
                    }
                    _ => Err(wire.fail(Error::Protocol("an unknown tag"))),
                }
            }
            told => {
                let moved = is_movement(&told);
                wire.rest();
                if moved {
                    self.watched = None;
                }
                Ok(())
            }
        }
    }

    /// Takes the connection up again; an error if it has died meanwhile.
    pub async fn wake(&mut self) -> Result<()> {
        self.take_up().await.map(drop)
    }

    /// The same where the next command will show whether it has died.
    pub async fn rise(&mut self) -> Result<()> {
        self.leave_idle().await.map(drop)
    }

    async fn take_up(&mut self) -> Result<bool> {
        if let Rest::Silent = self.rest {
            self.leave_rest()?;
            let tag = self.wire().send(&["NOOP"]).await?;
            return self.awake(tag).await;
        }
        self.leave_idle().await
    }

    async fn leave_idle(&mut self) -> Result<bool> {
        let Some(idle) = self.leave_rest()? else { return Ok(false) };
        self.wire().send_raw(DONE.as_bytes()).await?;
        self.awake(idle).await
    }

    /// Reads up to the end of the IDLE, or of the NOOP, that has this tag. Tells whether messages
    /// came or went.
    pub async fn awake(&mut self, tag: u32) -> Result<bool> {
        let wire = self.wire();
        let within = ALIVE_WITHIN.min(wire.deadline());
        let mut view = View::default();
        match timeout(within, view.read(wire, tag, "IDLE")).await {
            // EXISTS is news by itself, whatever it says. And the server lives, whatever it thinks
            // of the command.
            Ok(Ok(_) | Err(Error::Refused { .. })) => Ok(view.counted || view.moved),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(wire.fail(Error::Timeout(within))),
        }
    }

    /// [`Self::rise`] for a caller that goes on with a command in the same flight: what it sends has to
    /// begin with `DONE` if this is the tag of an IDLE, whose end is then the first to be read
    /// ([`Self::awake`]).
    pub fn leave_rest(&mut self) -> Result<Option<u32>> {
        let rest = std::mem::take(&mut self.rest);
        self.watched = None;
        let wire = self.wire();
        match rest {
            Rest::None => {
                wire.check_idle()?;
                Ok(None)
            }
            Rest::Silent => {
                wire.check_idle()?;
                wire.hurry(ALIVE_WITHIN);
                Ok(None)
            }
            Rest::Idle(tag) => Ok(Some(tag)),
        }
    }
}

/// Whether messages have come or gone.
fn is_movement(told: &Response<'_>) -> bool {
    matches!(told, Response::Exists(_) | Response::Expunge | Response::Vanished { .. })
}

/// Ends IDLE (RFC 2177 §3).
pub const DONE: &str = "DONE\r\n";
