//! IDLE (RFC 2177), and what a server says meanwhile.

use std::io;

use tokio::sync::broadcast::error::RecvError;

use crate::connection::{Connection, Reply, bad, ok};
use crate::fault::{Fault, Place};

/// What a server does by itself to connections in IDLE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aside {
    /// It says this line, given without its end: `* OK Still here`.
    Line(String),
    /// It ends the command by its tagged OK; the connection goes on.
    End,
    /// It says BYE and ends the connection.
    Bye,
    /// It breaks the connection off.
    Cut,
}

impl Connection {
    pub(crate) async fn idle(&mut self) -> io::Result<Reply> {
        let mut changed = self.shared.changed.subscribe();
        let mut asides = self.shared.asides.subscribe();
        self.wire.push_line("+ idling");
        loop {
            if !self.traits.mute_idle {
                self.sync(true);
            }
            self.wire.flush().await?;
            if let Some(line) = self.wire.ready_line() {
                return if line.eq_ignore_ascii_case(b"DONE") { self.done() } else { bad("Expected DONE.") };
            }
            if self.view.as_ref().is_some_and(|view| !view.is_current(&self.shared)) {
                self.wire.push_line("* BYE IMAP session state is inconsistent, please relogin.");
                return Ok(Reply::Close);
            }
            let aside = tokio::select! {
                read = self.wire.read_more() => {
                    read?;
                    continue;
                }
                // The sender lives in `shared`, which this connection holds.
                _ = changed.changed() => continue,
                aside = asides.recv() => aside,
            };
            match aside {
                Ok(Aside::Line(line)) => self.wire.push_line(line),
                Ok(Aside::End) => return ok("Idle ended."),
                Ok(Aside::Bye) => {
                    self.wire.push_line("* BYE Disconnected for inactivity.");
                    return Ok(Reply::Close);
                }
                Ok(Aside::Cut) => return Ok(Reply::Cut),
                Err(RecvError::Lagged(_) | RecvError::Closed) => {}
            }
        }
    }

    /// Behind DONE, with the faults of that place.
    fn done(&mut self) -> io::Result<Reply> {
        self.shared.note_done();
        self.plan = self.shared.plan(Place::Done);
        match self.plan.replacement.take() {
            None => ok("Idle completed."),
            Some(Fault::No(code)) => {
                let code = code.map(|code| format!("[{code}] ")).unwrap_or_default();
                Ok(Reply::No(format!("{code}Refused.")))
            }
            Some(Fault::Bad) => bad("Refused."),
            Some(fault) => Ok(Reply::Fault(fault)),
        }
    }
}
