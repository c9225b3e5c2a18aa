//! The TRANSACTION state (RFC 1939 §5 and §7).

use super::common::{Strikes, capabilities, end_of_list, invalid, language, parse};
use super::update::Update;
use super::{Client, Context, End, Summary, failure};
use crate::ids::{MessageNumber, Octets};
use crate::maildrop::{Error, Maildrop, Part, Reader, Sent};
use crate::pop3::{Command, Connection, Interrupted, Limit, Multiline, Reply, scan_row, unique_id_row};

/// RFC 2449 §4, without the CRLF.
const LINE_LIMIT: usize = 253;

/// A client with its maildrop open.
pub struct Transaction<'a> {
    connection: Connection,
    maildrop: Maildrop,
    client: &'a Client,
    context: &'a Context,
    strikes: Strikes,
}

/// A multi-line listing.
#[derive(Clone, Copy)]
enum Listing {
    Scan,
    UniqueId,
}

impl<'a> Transaction<'a> {
    /// Behind a successful login.
    pub fn new(connection: Connection, maildrop: Maildrop, client: &'a Client, context: &'a Context) -> Self {
        Self { connection, maildrop, client, context, strikes: Strikes::default() }
    }

    /// Serves until QUIT leads to the update, or the session ends without one.
    pub async fn run(mut self, summary: &mut Summary) -> Result<Update, End> {
        let preemption = self.maildrop.preemption();
        let shutdown = self.context.shutdown.clone();
        let end = tokio::select! {
            end = self.serve(summary) => end,
            () = preemption.requested() => Err(End::Preempted),
            () = shutdown.stopped() => Err(End::Shutdown),
        };
        match end {
            Ok(()) => Ok(Update::new(self.connection, self.maildrop)),
            Err(end) => {
                if !matches!(end, End::BrokeOff(_) | End::Preempted | End::Shutdown) {
                    self.connection.close().await;
                } else {
                    drop(self.connection);
                }
                self.maildrop.abandon(shutdown.draining()).await;
                Err(end)
            }
        }
    }

    /// `Ok` is QUIT.
    async fn serve(&mut self, summary: &mut Summary) -> Result<(), End> {
        loop {
            let input = self.connection.read_line(LINE_LIMIT).await?;
            match parse(&input) {
                Ok(Command::Quit) => return Ok(()),
                Ok(command) => {
                    self.strikes.clear();
                    self.command(command, summary).await?;
                }
                Err(wrong) => {
                    self.connection.reply(&invalid(&wrong)).await?;
                    if self.strikes.count(&wrong) {
                        self.connection.reply(&Reply::err("Too many errors")).await?;
                        return Err(End::Nonsense);
                    }
                }
            }
        }
    }

    async fn command(&mut self, command: Command, summary: &mut Summary) -> Result<(), End> {
        let reply = match command {
            Command::Capa => {
                return Ok(capabilities(&mut self.connection, self.client, self.context, true).await?);
            }
            Command::Lang(wanted) => return Ok(language(&mut self.connection, wanted.as_deref()).await?),
            Command::Stat => {
                let (messages, octets) = self.maildrop.view().stat();
                Reply::ok(format!("{messages} {octets}"))
            }
            Command::List(None) => return Ok(self.list(Listing::Scan).await?),
            Command::Uidl(None) => return Ok(self.list(Listing::UniqueId).await?),
            Command::List(Some(number)) => match self.maildrop.view().get(number) {
                Ok(entry) => Reply::ok(format!("{number} {}", entry.size)),
                Err(error) => failure::reply(&error),
            },
            Command::Uidl(Some(number)) => match self.maildrop.view().get(number) {
                Ok(entry) => Reply::ok(format!("{number} {}", self.maildrop.unique_id(entry))),
                Err(error) => failure::reply(&error),
            },
            Command::Retr(number) => return self.retrieve(number, summary).await,
            Command::Top(number, lines) => return self.top(number, lines, summary).await,
            Command::Dele(number) => match self.maildrop.listing().delete(number) {
                Ok(()) => Reply::ok("Marked deleted"),
                Err(error) => failure::reply(&error),
            },
            Command::Rset => {
                self.maildrop.listing().reset();
                Reply::ok("No message is marked deleted")
            }
            Command::Noop => Reply::ok(""),
            Command::User(_)
            | Command::Pass(_)
            | Command::Auth { .. }
            | Command::Stls
            | Command::Utf8
            | Command::Quit => Reply::err("Already logged in"),
        };
        Ok(self.connection.reply(&reply).await?)
    }

    /// The scan listing or the unique-id listing, in chunks at the client's speed.
    async fn list(&mut self, listing: Listing) -> Result<(), Interrupted> {
        let (messages, octets) = self.maildrop.view().stat();
        let reply = match listing {
            Listing::Scan => Reply::ok(format!("{messages} messages, {octets} octets")),
            Listing::UniqueId => Reply::ok("Unique-id listing follows"),
        };
        self.connection.reply(&reply).await?;
        let mut from = 0;
        while let Some((number, entry)) = self.maildrop.view().next_from(from) {
            let output = self.connection.output();
            match listing {
                Listing::Scan => scan_row(number, entry.size, output),
                Listing::UniqueId => {
                    let unique_id = self.maildrop.unique_id(entry);
                    unique_id_row(number, |output| unique_id.write(output), output);
                }
            }
            self.connection.flush_full().await?;
            from = number.index() + 1;
        }
        end_of_list(&mut self.connection).await
    }

    async fn retrieve(&mut self, number: MessageNumber, summary: &mut Summary) -> Result<(), End> {
        let reader = match self.maildrop.retrieve(number).await {
            Ok(reader) => reader,
            Err(error) => return self.refuse(&error).await,
        };
        let size = self.maildrop.view().get(number).map(|entry| entry.size).unwrap_or_default();
        self.connection.reply(&Reply::ok(format!("{size} octets"))).await?;
        self.send(number, reader, Limit::Whole, summary).await
    }

    async fn top(&mut self, number: MessageNumber, lines: u32, summary: &mut Summary) -> Result<(), End> {
        let reader = match self.maildrop.top(number, lines).await {
            Ok(reader) => reader,
            Err(error) => return self.refuse(&error).await,
        };
        self.connection.reply(&Reply::ok("Top of message follows")).await?;
        self.send(number, reader, Limit::BodyLines(lines), summary).await
    }

    async fn refuse(&mut self, error: &Error) -> Result<(), End> {
        tracing::debug!(%error, "message refused");
        Ok(self.connection.reply(&failure::reply(error)).await?)
    }

    /// Sends what a reader has up to the limit. Behind `+OK` a message that cannot be had whole
    /// ends the session without the final dot.
    async fn send(
        &mut self,
        number: MessageNumber,
        mut reader: Reader,
        limit: Limit,
        summary: &mut Summary,
    ) -> Result<(), End> {
        let mut multiline = Multiline::new(limit);
        while !multiline.is_full() {
            let broke_off = |error: Error| End::BrokeOff(error.to_string());
            let Some(part) = self.maildrop.next(&mut reader).await.map_err(broke_off)? else {
                break;
            };
            let output = self.connection.output();
            match &part {
                Part::Octets { .. } => {
                    multiline.push(self.maildrop.octets(&part).map_err(broke_off)?, output)
                }
                Part::HeaderEnds => multiline.end_header(output),
            }
            self.connection.flush_full().await?;
        }
        self.maildrop.stop(&mut reader).await;
        multiline.finish(self.connection.output());
        // Only what has left us counts as sent, and may be marked \Seen.
        self.connection.flush().await?;
        summary.octets += multiline.octets();
        if reader.sent_whole() {
            let how = match limit {
                Limit::Whole => Sent::ByRetr,
                Limit::BodyLines(_) => Sent::ByTop,
            };
            summary.retrieved += 1;
            self.maildrop.listing().sent(number, how, Octets(multiline.octets()));
        }
        Ok(())
    }
}
