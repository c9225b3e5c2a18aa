//! A connection without work: in IDLE where that is offered (RFC 2177), and taken up again.

use std::future::poll_fn;
use std::time::Duration;

use super::control::Imap;
use super::error::{Error, Result};
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

impl Imap {
    /// Lays the connection down. What it is taken up with is its first sign of life.
    pub fn lay_down(&mut self) -> Result<()> {
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
        self.wake().await?;
        self.lay_down()?;
        if !self.capabilities().has("IDLE") {
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
                _ => {}
            }
        }
        wire.rest();
        self.rest = Rest::Idle(tag);
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
            _ => Ok(()),
        }
    }

    /// Takes the connection up again; an error if it has died meanwhile.
    pub async fn wake(&mut self) -> Result<()> {
        let rest = self.rest;
        let tag = match self.leave_rest()? {
            Some(tag) => {
                self.wire()?.send_raw(DONE.as_bytes()).await?;
                tag
            }
            None if matches!(rest, Rest::Silent) => self.wire()?.send(&["NOOP"]).await?,
            None => return Ok(()),
        };
        View::default().read(self.wire()?, tag, "IDLE").await?;
        Ok(())
    }

    /// The same for a caller that goes on with a command in the same flight: what it sends has to
    /// begin with `DONE` if this is the tag of an IDLE, whose end is then the first to be read.
    pub fn leave_rest(&mut self) -> Result<Option<u32>> {
        let rest = std::mem::take(&mut self.rest);
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

/// Ends IDLE (RFC 2177 §3).
pub const DONE: &str = "DONE\r\n";
