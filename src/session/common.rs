//! What both states before the update answer alike: CAPA, LANG, lines that are no commands.

use crate::auth::{Mechanism, Visitor};
use crate::pop3::{Command, Connection, Input, Interrupted, Invalid, Reply};
use crate::secret::Fingerprint;

use super::{Client, Context};

/// So many lines in a row that were no commands end the session.
const PATIENCE: u32 = 10;

/// Lines in a row that were no commands.
#[derive(Debug, Default)]
pub struct Strikes(u32);

impl Strikes {
    /// A proper command: all is well again.
    pub fn clear(&mut self) {
        self.0 = 0;
    }

    /// One more; true when it was one too many. What mail programs send in good faith does not
    /// count: Tcl's library sends LAST around every message.
    pub fn count(&mut self, wrong: &Invalid) -> bool {
        match wrong {
            Invalid::NotOffered(_) | Invalid::NoSuchMessage => false,
            Invalid::Garbage | Invalid::TooLong | Invalid::Unknown | Invalid::Usage(_) => {
                self.0 += 1;
                self.0 >= PATIENCE
            }
        }
    }
}

/// The command in what came.
pub fn parse(input: &Input) -> Result<Command, Invalid> {
    match input {
        Input::Line(line) => Command::parse(line),
        Input::TooLong => Err(Invalid::TooLong),
    }
}

/// The answer to a line that is no command of ours.
pub fn invalid(invalid: &Invalid) -> Reply {
    match invalid {
        Invalid::Garbage => Reply::err("That is no POP3 command"),
        Invalid::TooLong => Reply::err("The line is too long"),
        Invalid::Unknown => Reply::err("Unknown command"),
        Invalid::NotOffered(name) => Reply::err(format!("{name} is not offered")),
        Invalid::Usage(usage) => Reply::err(format!("Usage: {usage}")),
        Invalid::NoSuchMessage => Reply::err("No such message"),
    }
}

/// Whether the client may send a password as its connection is now.
pub fn may_log_in(connection: &Connection, client: &Client, context: &Context) -> bool {
    connection.is_tls() || context.security.plaintext_login.allows(client.address.ip())
}

/// Who is at the other end, as the connection is now.
pub fn visitor(connection: &Connection, client: &Client) -> Visitor {
    Visitor {
        address: client.address.ip(),
        tls: connection.is_tls(),
        certificate: connection.client_certificate().map(Fingerprint::of),
    }
}

/// The mechanisms that the client can use as its connection is now: what AUTH lists and takes.
pub fn mechanisms(connection: &Connection, client: &Client, context: &Context) -> Vec<Mechanism> {
    let plaintext = may_log_in(connection, client, context);
    let works = |mechanism: &Mechanism| {
        let known = match mechanism {
            Mechanism::Plain | Mechanism::Login => true,
            Mechanism::ScramSha256 => context.door.knows_scram(),
            Mechanism::External => connection.client_certificate().is_some(),
            Mechanism::OAuthBearer | Mechanism::XOAuth2 => context.accounts.pass_tokens(),
        };
        known && (plaintext || !mechanism.is_plaintext())
    };
    Mechanism::ALL.into_iter().filter(works).collect()
}

/// CAPA (RFC 2449 §5): only what works, as things stand.
pub async fn capabilities(
    connection: &mut Connection,
    client: &Client,
    context: &Context,
    authorized: bool,
) -> Result<(), Interrupted> {
    let mut lines = vec![
        "TOP".to_owned(),
        "UIDL".to_owned(),
        "RESP-CODES".to_owned(),
        "AUTH-RESP-CODE".to_owned(),
        "PIPELINING".to_owned(),
        "EXPIRE NEVER".to_owned(),
        "UTF8 USER".to_owned(),
        "LANG".to_owned(),
    ];
    // USER and SASL are announced in both states (RFC 2449 §6.2, RFC 5034 §3), but not where a
    // password would cross the network in plaintext against the rules.
    if may_log_in(connection, client, context) {
        lines.push("USER".to_owned());
    }
    let names: Vec<&str> = mechanisms(connection, client, context).into_iter().map(Mechanism::name).collect();
    if !names.is_empty() {
        lines.push(format!("SASL {}", names.join(" ")));
    }
    if !authorized && client.stls.is_some() && !connection.is_tls() {
        lines.push("STLS".to_owned());
    }
    lines.push(format!("IMPLEMENTATION popbridge-{}", env!("CARGO_PKG_VERSION")));
    connection.reply(&Reply::ok("Capability list follows")).await?;
    list(connection, &lines).await
}

/// LANG (RFC 6856 §3): English is what there is.
pub async fn language(connection: &mut Connection, wanted: Option<&str>) -> Result<(), Interrupted> {
    match wanted {
        None => {
            connection.reply(&Reply::ok("Language listing follows")).await?;
            list(connection, &["en English".to_owned(), "i-default Default language".to_owned()]).await
        }
        Some("*" | "i-default") => connection.reply(&Reply::ok("i-default Language is the default")).await,
        Some(tag) if tag.split('-').next().is_some_and(|primary| primary.eq_ignore_ascii_case("en")) => {
            connection.reply(&Reply::ok("en Language is English")).await
        }
        Some(_) => connection.reply(&Reply::err("That language is not available")).await,
    }
}

/// The lines of a multi-line response; none of ours begins with a dot.
pub async fn list(connection: &mut Connection, lines: &[String]) -> Result<(), Interrupted> {
    for line in lines {
        connection.output().extend_from_slice(line.as_bytes());
        connection.output().extend_from_slice(b"\r\n");
    }
    end_of_list(connection).await
}

/// The lone dot.
pub async fn end_of_list(connection: &mut Connection) -> Result<(), Interrupted> {
    connection.output().extend_from_slice(b".\r\n");
    connection.flush_full().await
}
