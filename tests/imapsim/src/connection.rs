//! One connection from its greeting to its end: the loop, the faults, the dispatch.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::command::{Command, Received};
use crate::fault::{Fault, Place, Plan};
use crate::persona::{Traits, WhenFull};
use crate::state::{Opening, Shared};
use crate::tls::Tls;
use crate::view::View;
use crate::wire::{Io, Wire};

pub(crate) struct Connection {
    pub wire: Wire,
    pub shared: Arc<Shared>,
    /// The persona's, as they were when the current command came.
    pub traits: Arc<Traits>,
    pub encrypted: bool,
    pub compressed: bool,
    pub user: Option<String>,
    pub view: Option<View>,
    /// ENABLE QRESYNC.
    pub qresync: bool,
    /// The faults of the current command.
    pub plan: Plan,
    fetches: u32,
}

/// The tagged answer, or what comes instead.
#[derive(Debug)]
pub(crate) enum Reply {
    Ok(String),
    No(String),
    Bad(String),
    /// The tagged answer has been written already.
    Answered,
    /// There is none, or it has been written; the connection ends in order.
    Close,
    /// The connection breaks off.
    Cut,
    /// This takes the tagged answer's place.
    Fault(Fault),
}

pub(crate) fn ok(text: impl Into<String>) -> io::Result<Reply> {
    Ok(Reply::Ok(text.into()))
}

pub(crate) fn no(text: impl Into<String>) -> io::Result<Reply> {
    Ok(Reply::No(text.into()))
}

pub(crate) fn bad(text: impl Into<String>) -> io::Result<Reply> {
    Ok(Reply::Bad(text.into()))
}

/// How a connection ends.
enum End {
    Close,
    Cut,
    Stall,
}

/// `opening` lives until the greeting.
pub(crate) async fn serve(stream: TcpStream, shared: Arc<Shared>, opening: Opening) {
    let traits = shared.traits();
    if traits.when_full == WhenFull::Close && shared.lock().live > traits.most_connections {
        return;
    }
    let mut stream: Box<dyn Io> = Box::new(stream);
    let encrypted = shared.tls == Tls::Implicit;
    if encrypted {
        let Some(acceptor) = &shared.acceptor else {
            return;
        };
        let Ok(accepted) = acceptor.accept(stream).await else {
            return;
        };
        stream = Box::new(accepted);
    }
    let mut connection = Connection {
        wire: Wire::new(stream, shared.delay),
        traits: shared.traits(),
        shared,
        encrypted,
        compressed: false,
        user: None,
        view: None,
        qresync: false,
        plan: Plan::default(),
        fetches: 0,
    };
    // An error is the peer gone: there is nobody to tell.
    let Ok(end) = connection.run(opening).await else {
        return;
    };
    match end {
        End::Close => connection.wire.close().await,
        End::Cut => connection.wire.cut().await,
        End::Stall => connection.wire.stall().await,
    }
}

impl Connection {
    async fn run(&mut self, opening: Opening) -> io::Result<End> {
        let greeted = self.greet().await?;
        drop(opening);
        if let Some(end) = greeted {
            return Ok(end);
        }
        loop {
            let received = self.receive().await?;
            self.traits = self.shared.traits();
            match received {
                Received::Command(command) => {
                    if let Some(end) = self.answer(&command).await? {
                        return Ok(end);
                    }
                }
                Received::Bad(tag, text) => self.wire.push_line(format!("{tag} BAD {text}.")),
                Received::Bye(text) => {
                    self.wire.push_line(format!("* BYE {text}"));
                    return Ok(End::Close);
                }
            }
        }
    }

    async fn greet(&mut self) -> io::Result<Option<End>> {
        self.begin(Place::Greeting).await?;
        if let Some(fault) = self.plan.replacement.take() {
            return Ok(self.replace("*", fault));
        }
        if self.is_turned_away() {
            return Ok(Some(End::Close));
        }
        let code = self.capability_code();
        self.wire.push_line(format!("* OK {code}{}", self.traits.greeting));
        self.finish().await
    }

    /// Does one command. `Some` ends the connection.
    async fn answer(&mut self, command: &Command) -> io::Result<Option<End>> {
        let place = self.place(command);
        self.begin(place).await?;
        self.strike(command);
        if let Some(fault) = self.plan.replacement.take() {
            return Ok(self.replace(&command.tag, fault));
        }
        let mut reply = self.dispatch(command).await?;
        let idle = command.name == "IDLE" && self.traits.mute_idle;
        if !matches!(reply, Reply::Close | Reply::Cut | Reply::Fault(_)) && !idle {
            // RFC 3501 §7.4.1: no EXPUNGE during FETCH, STORE or SEARCH; under UID it is allowed.
            let held_back = matches!(command.name.as_str(), "FETCH" | "STORE" | "SEARCH");
            if self.sync(command.uid || !held_back) && self.qresync {
                reply = self.with_modseq(reply);
            }
        }
        if self.plan.cut_tagged {
            return Ok(Some(End::Cut));
        }
        let tag = &command.tag;
        match reply {
            Reply::Ok(text) if self.plan.throttled => {
                self.wire.push_line(format!("{tag} OK {text} [THROTTLED]"));
            }
            Reply::Ok(text) => self.wire.push_line(format!("{tag} OK {text}")),
            Reply::No(text) => self.wire.push_line(format!("{tag} NO {text}")),
            Reply::Bad(text) => self.wire.push_line(format!("{tag} BAD {text}")),
            Reply::Answered => {}
            Reply::Close => return Ok(Some(End::Close)),
            Reply::Cut => return Ok(Some(End::Cut)),
            Reply::Fault(fault) => return Ok(self.replace(tag, fault)),
        }
        self.finish().await
    }

    async fn begin(&mut self, place: Place) -> io::Result<()> {
        self.plan = self.shared.plan(place);
        if self.plan.split.is_some() || self.plan.delay.is_some() {
            // What belongs to earlier commands is not touched by this one's faults.
            self.wire.flush().await?;
        }
        self.wire.split = self.plan.split;
        if let Some(delay) = self.plan.delay {
            sleep(delay).await;
        }
        Ok(())
    }

    async fn finish(&mut self) -> io::Result<Option<End>> {
        if self.wire.split.is_some() {
            self.wire.flush().await?;
            self.wire.split = None;
        }
        Ok(None)
    }

    fn replace(&mut self, tag: &str, fault: Fault) -> Option<End> {
        match fault {
            Fault::No(code) => {
                let code = code.map(|code| format!("[{code}] ")).unwrap_or_default();
                self.wire.push_line(format!("{tag} NO {code}Refused."));
                None
            }
            Fault::Bad => {
                self.wire.push_line(format!("{tag} BAD Refused."));
                None
            }
            Fault::Tagged(words) => {
                self.wire.push_line(format!("{tag} {words}"));
                None
            }
            Fault::TaggedThenBye(words) => {
                self.wire.push_line(format!("{tag} {words}"));
                self.wire.push_line("* BYE Connection closed. 14");
                Some(End::Close)
            }
            Fault::Bye => {
                self.wire.push_line("* BYE Shutting down.");
                Some(End::Close)
            }
            Fault::Raw(octets) => {
                self.wire.push(octets);
                Some(End::Cut)
            }
            Fault::RawThenStall(octets) => {
                self.wire.push(octets);
                Some(End::Stall)
            }
            Fault::Stall => Some(End::Stall),
            _ => Some(End::Cut),
        }
    }

    /// The faults that change the mailbox first.
    fn strike(&mut self, command: &Command) {
        let Some(user) = self.user.clone() else {
            return;
        };
        let mailbox = match command.name.as_str() {
            "SELECT" | "EXAMINE" | "STATUS" | "APPEND" => command.args().text(),
            _ => self.view.as_ref().map(|view| view.mailbox.clone()),
        };
        let Some(mailbox) = mailbox else { return };
        if self.plan.new_validity {
            let validity = self.shared.lock().take_validity();
            self.shared.with_mailbox(&user, &mailbox, |mailbox| mailbox.renumber(validity));
        }
        if self.plan.expunge {
            self.shared.with_mailbox(&user, &mailbox, |mailbox| {
                let lowest = mailbox.messages.first().map(|message| message.uid);
                lowest.and_then(|uid| mailbox.remove(uid))
            });
            self.sync(true);
        }
        if self.plan.forget_history {
            self.shared.with_mailbox(&user, &mailbox, |mailbox| mailbox.forget_history());
        }
    }

    /// Behind VANISHED, Dovecot tells the mod-sequence in the tagged OK.
    fn with_modseq(&self, reply: Reply) -> Reply {
        let Some(view) = &self.view else { return reply };
        let revision = self.shared.with_mailbox(&view.user, &view.mailbox, |mailbox| mailbox.revision);
        match (reply, revision) {
            (Reply::Ok(text), Some(revision)) if !text.starts_with('[') => {
                Reply::Ok(format!("[HIGHESTMODSEQ {revision}] {text}"))
            }
            (reply, _) => reply,
        }
    }

    fn place(&mut self, command: &Command) -> Place {
        match command.name.as_str() {
            "CAPABILITY" => Place::Capability,
            "STARTTLS" => Place::StartTls,
            // The challenges are places of their own.
            "LOGIN" | "AUTHENTICATE" => Place::Login,
            "SELECT" | "EXAMINE" => Place::Select,
            "FETCH" => {
                self.fetches += 1;
                Place::Fetch(self.fetches)
            }
            "SEARCH" => Place::Search,
            "STORE" => Place::Store,
            "COPY" => Place::Copy,
            "MOVE" => Place::Move,
            "EXPUNGE" => Place::Expunge,
            "NOOP" | "CHECK" => Place::Noop,
            "LOGOUT" => Place::Logout,
            "COMPRESS" => Place::Compress,
            "LIST" | "LSUB" => Place::List,
            "STATUS" => Place::Status,
            "APPEND" => Place::Append,
            "IDLE" => Place::Idle,
            "ENABLE" => Place::Enable,
            "UNSELECT" | "CLOSE" => Place::Unselect,
            _ => Place::Other,
        }
    }

    async fn dispatch(&mut self, command: &Command) -> io::Result<Reply> {
        match command.name.as_str() {
            "CAPABILITY" => return self.capability(),
            "NOOP" => return ok("NOOP completed."),
            "LOGOUT" => return self.logout(command),
            "ID" if self.offers("ID") => {
                self.wire.push_line(format!("* ID ({})", self.traits.id));
                return ok("ID completed.");
            }
            _ => {}
        }
        if self.user.is_none() {
            return match command.name.as_str() {
                "STARTTLS" => self.starttls(command).await,
                "LOGIN" => self.login(command).await,
                "AUTHENTICATE" => self.authenticate(command).await,
                _ => bad("Error in IMAP command received by server."),
            };
        }
        match command.name.as_str() {
            "SELECT" | "EXAMINE" => return self.select(command),
            "NAMESPACE" if self.offers("NAMESPACE") => return self.namespace(),
            "ENABLE" if self.offers("ENABLE") => return self.enable(command),
            "COMPRESS" if self.offers("COMPRESS=DEFLATE") => return self.compress(command).await,
            "LIST" | "LSUB" => return self.list(command),
            "STATUS" => return self.status(command),
            "CREATE" | "DELETE" | "SUBSCRIBE" | "UNSUBSCRIBE" => return self.folder(command),
            "APPEND" => return self.append(command),
            "IDLE" if self.offers("IDLE") => return self.idle().await,
            _ => {}
        }
        let known = match command.name.as_str() {
            "CHECK" | "CLOSE" | "SEARCH" | "FETCH" | "STORE" | "COPY" => true,
            "EXPUNGE" => !command.uid || self.offers("UIDPLUS"),
            "UNSELECT" | "MOVE" => self.offers(&command.name),
            _ => false,
        };
        if !known {
            return bad(format!("Error in IMAP command {}: Unknown command.", command.name));
        }
        let Some(view) = &self.view else {
            return bad("No mailbox selected.");
        };
        if !view.is_current(&self.shared) {
            self.wire.push_line("* BYE IMAP session state is inconsistent, please relogin.");
            return Ok(Reply::Close);
        }
        match command.name.as_str() {
            "CHECK" => ok("Check completed."),
            "CLOSE" => self.close(),
            "UNSELECT" => self.unselect(),
            "SEARCH" => self.search(command),
            "FETCH" => self.fetch(command).await,
            "STORE" => self.store(command),
            "COPY" | "MOVE" => self.transfer(command),
            _ => self.expunge(command),
        }
    }

    fn logout(&mut self, command: &Command) -> io::Result<Reply> {
        self.wire.push_line("* BYE Logging out");
        if !self.plan.cut_tagged {
            self.wire.push_line(format!("{} OK Logout completed.", command.tag));
        }
        Ok(Reply::Close)
    }

    /// Whether an extension is announced in this state.
    pub(crate) fn offers(&self, capability: &str) -> bool {
        self.capabilities().iter().any(|name| name.eq_ignore_ascii_case(capability))
    }
}
