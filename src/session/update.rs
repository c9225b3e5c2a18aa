//! The UPDATE state: reached by QUIT only (RFC 1939 §6).

use super::{End, Summary, failure};
use crate::maildrop::Maildrop;
use crate::pop3::{Connection, Reply};

/// A client that said QUIT.
pub struct Update {
    connection: Connection,
    maildrop: Maildrop,
}

impl Update {
    /// Only the transaction's QUIT makes one.
    pub(super) fn new(connection: Connection, maildrop: Maildrop) -> Self {
        Self { connection, maildrop }
    }

    /// Removes what was marked, answers, frees the maildrop. Carried out also when the client
    /// has closed without waiting for the answer: its QUIT was received. What goes on behind the
    /// answer is cut short when `hurry` resolves.
    pub async fn run(mut self, summary: &mut Summary, hurry: impl Future<Output = ()>) -> End {
        let (removed, closing) = self.maildrop.update().await;
        let (reply, end) = match removed {
            Ok(removed) => {
                summary.deleted = removed.messages;
                (Reply::ok("Goodbye"), End::Quit)
            }
            Err(error) => (failure::reply(&error), End::NotRemoved(error.to_string())),
        };
        // The update is done whether or not the client hears of it.
        let _ = self.connection.reply(&reply).await;
        tokio::join!(self.connection.close(), closing.finish(hurry));
        end
    }
}
