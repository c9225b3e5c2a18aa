//! The AUTHORIZATION state: greeting, STLS, USER and PASS, AUTH (RFC 1939 §4, 2595, 5034).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::common::{Strikes, capabilities, invalid, language, list, may_log_in, parse};
use super::{Client, Context, End, Summary, failure};
use crate::auth::{Credentials, Exchange, Next, Refused, Route, Visitor};
use crate::maildrop::{Account, Entrusted, Error, Maildrop, Source};
use crate::pop3::{Code, Command, Connection, Input, Reply};
use crate::secret::{Credential, Secret};
use crate::upstream::Connector;

/// OAuth tokens reach several KB, in AUTH and, with some programs, in PASS.
const LINE_LIMIT: usize = 16 * 1024;
/// A person's one attempt may be AUTH PLAIN, AUTH LOGIN and PASS of the same program: three
/// attempts of a person.
const MAX_FAILURES: u32 = 9;

/// A client that has not logged in.
pub struct Authorization<'a> {
    connection: Connection,
    client: &'a Client,
    context: &'a Context,
    deadline: Instant,
    user: Option<String>,
    utf8: bool,
    failures: u32,
    strikes: Strikes,
}

/// What a command leads to.
enum After {
    Stay,
    Authorized(Box<Maildrop>),
}

impl<'a> Authorization<'a> {
    /// Starts the clock of `login_timeout`.
    pub fn new(connection: Connection, client: &'a Client, context: &'a Context) -> Self {
        Self {
            connection,
            client,
            context,
            deadline: Instant::now() + context.limits.login_timeout,
            user: None,
            utf8: false,
            failures: 0,
            strikes: Strikes::default(),
        }
    }

    /// Greets and serves until a login succeeds or the session ends.
    pub async fn run(mut self, summary: &mut Summary) -> Result<(Connection, Maildrop), End> {
        // No angle brackets: some clients would try APOP.
        self.connection.reply(&Reply::ok("popbridge ready")).await?;
        loop {
            let input = match self.read_line().await {
                Ok(input) => input,
                Err(end) => return Err(self.goodbye(end).await),
            };
            match parse(&input) {
                Ok(Command::Quit) => {
                    self.connection.reply(&Reply::ok("Goodbye")).await?;
                    self.connection.close().await;
                    return Err(End::Quit);
                }
                Ok(command) => {
                    self.strikes.clear();
                    match self.command(command, summary).await? {
                        After::Stay => {}
                        After::Authorized(maildrop) => return Ok((self.connection, *maildrop)),
                    }
                    if self.failures >= MAX_FAILURES {
                        return Err(self.goodbye(End::LoginFailures).await);
                    }
                }
                Err(wrong) => {
                    self.connection.reply(&invalid(&wrong)).await?;
                    if self.strikes.count(&wrong) {
                        return Err(self.goodbye(End::Nonsense).await);
                    }
                }
            }
        }
    }

    async fn command(&mut self, command: Command, summary: &mut Summary) -> Result<After, End> {
        let reply = match command {
            Command::Capa => {
                capabilities(&mut self.connection, self.client, self.context, false).await?;
                return Ok(After::Stay);
            }
            Command::Lang(wanted) => {
                language(&mut self.connection, wanted.as_deref()).await?;
                return Ok(After::Stay);
            }
            Command::Utf8 => {
                self.utf8 = true;
                Reply::ok("UTF-8 it is")
            }
            Command::Stls => return self.start_tls(summary).await,
            Command::User(_) | Command::Pass(_)
                if !may_log_in(&self.connection, self.client, self.context) =>
            {
                plaintext_refused()
            }
            Command::User(name) => {
                self.user = Some(name);
                Reply::ok("Now the password")
            }
            Command::Pass(password) => match self.user.take() {
                Some(login) => return self.log_in(Credentials { login, password }, summary).await,
                None => Reply::err("USER comes first"),
            },
            Command::Auth { mechanism: None, initial_response: _ } => {
                let allowed = may_log_in(&self.connection, self.client, self.context);
                let names = if allowed { &Exchange::MECHANISMS[..] } else { &[] };
                let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
                self.connection.reply(&Reply::ok("Mechanisms follow")).await?;
                list(&mut self.connection, &names).await?;
                return Ok(After::Stay);
            }
            Command::Auth { mechanism: Some(mechanism), initial_response } => {
                return self.authenticate(&mechanism, initial_response, summary).await;
            }
            Command::Stat
            | Command::List(_)
            | Command::Uidl(_)
            | Command::Retr(_)
            | Command::Top(..)
            | Command::Dele(_)
            | Command::Rset
            | Command::Noop
            | Command::Quit => Reply::err("Log in first"),
        };
        self.connection.reply(&reply).await?;
        Ok(After::Stay)
    }

    async fn start_tls(&mut self, summary: &mut Summary) -> Result<After, End> {
        let refusal = match &self.client.stls {
            None => Some("STLS is not offered"),
            Some(_) if self.connection.is_tls() => Some("TLS is already on"),
            // RFC 6856 §2.1
            Some(_) if self.utf8 => Some("No STLS behind UTF8"),
            Some(_) => None,
        };
        match (refusal, &self.client.stls) {
            (None, Some(acceptor)) => {
                self.connection.reply(&Reply::ok("Begin TLS")).await?;
                match timeout_at(self.deadline, self.connection.start_tls(acceptor)).await {
                    Ok(started) => started?,
                    Err(_) => return Err(End::LoginTimeout),
                }
                summary.tls = true;
                // What was said in plaintext counts no more (RFC 2595 §4).
                self.user = None;
            }
            (refusal, _) => {
                let reply = Reply::err(refusal.unwrap_or("STLS is not offered"));
                self.connection.reply(&reply).await?;
            }
        }
        Ok(After::Stay)
    }

    /// AUTH (RFC 5034 §4).
    async fn authenticate(
        &mut self,
        mechanism: &str,
        initial: Option<Secret>,
        summary: &mut Summary,
    ) -> Result<After, End> {
        if !may_log_in(&self.connection, self.client, self.context) {
            self.connection.reply(&plaintext_refused()).await?;
            return Ok(After::Stay);
        }
        let Some(mut exchange) = Exchange::start(mechanism) else {
            self.connection.reply(&Reply::err("That mechanism is not offered")).await?;
            return Ok(After::Stay);
        };
        let mut next = match initial.map(|text| decoded_initial(text.expose())) {
            Some(None) => return self.malformed().await,
            Some(Some(initial)) => exchange.initial(Some(&initial)),
            None => exchange.initial(None),
        };
        loop {
            match next {
                Ok(Next::Credentials(credentials)) => return self.log_in(credentials, summary).await,
                Ok(Next::Challenge(challenge)) => {
                    self.connection.reply(&Reply::challenge(&STANDARD.encode(challenge))).await?;
                }
                Err(_) => return self.malformed().await,
            }
            let line = match self.read_line().await {
                Ok(Input::Line(line)) => line,
                Ok(Input::TooLong) => return self.malformed().await,
                Err(end) => return Err(self.goodbye(end).await),
            };
            if line.trim_ascii() == b"*" {
                self.connection.reply(&Reply::err("Authentication cancelled")).await?;
                return Ok(After::Stay);
            }
            next = match decoded(line.trim_ascii()) {
                Some(response) => exchange.step(Some(&response)),
                None => return self.malformed().await,
            };
        }
    }

    async fn malformed(&mut self) -> Result<After, End> {
        self.failures += 1;
        self.connection.reply(&Reply::err("That response is malformed")).await?;
        Ok(After::Stay)
    }

    /// Finds the upstream, lets the client in, logs in there and opens the maildrop.
    async fn log_in(&mut self, credentials: Credentials, summary: &mut Summary) -> Result<After, End> {
        let login = credentials.login.clone();
        let opened = tokio::select! {
            opened = self.open(credentials) => opened,
            () = self.context.shutdown.stopped() => return Err(End::Shutdown),
        };
        let reply = match opened {
            Ok(maildrop) => {
                let (messages, octets) = maildrop.view().stat();
                summary.login = Some(login);
                self.connection.reply(&Reply::ok(format!("{messages} messages, {octets} octets"))).await?;
                return Ok(After::Authorized(Box::new(maildrop)));
            }
            Err(reply) => reply,
        };
        self.failures += 1;
        self.connection.reply(&reply).await?;
        Ok(After::Stay)
    }

    async fn open(&self, credentials: Credentials) -> Result<Maildrop, Reply> {
        let refused = |reason: &dyn std::fmt::Display| {
            tracing::info!(login = %credentials.login, address = %self.client.address, %reason, "login failed");
        };
        let visitor = Visitor { address: self.client.address.ip(), tls: self.connection.is_tls() };
        let route = self.context.accounts.route(&credentials.login);
        let admitted = self.context.door.admit(route, &credentials, visitor).await;
        let routed = admitted.and_then(|route| {
            let connector = self.context.connectors.get(&route.upstream.name).ok_or(Refused::NoRoute)?;
            let source = match route.means() {
                Some(means) => {
                    let grants = &self.context.grants;
                    let source = Source::of(means, grants, &credentials.login, &route.username);
                    Some(source.ok_or(Refused::NoRoute)?)
                }
                None => None,
            };
            Ok((route, connector.clone(), source))
        });
        let (route, connector, source) = routed.map_err(|error| {
            refused(&error);
            failure::refused(&error)
        })?;
        self.open_at(route, connector, source, &credentials).await.map_err(|error| {
            refused(&error);
            failure::reply(&error)
        })
    }

    async fn open_at(
        &self,
        route: Route,
        connector: Connector,
        source: Option<Source>,
        credentials: &Credentials,
    ) -> Result<Maildrop, Error> {
        let login = credentials.login.clone();
        let username = route.username.clone();
        let account = match source {
            Some(source) => Entrusted { login, connector, username, source }.account().await?,
            None => {
                let credential = Credential::Password(credentials.password.clone());
                Account { login, connector, username, credential, source: None }
            }
        };
        self.context.maildrops.open(account, route.maildrop, self.connection.activity()).await
    }

    /// The next line, within `login_timeout` since the connection.
    async fn read_line(&mut self) -> Result<Input, End> {
        tokio::select! {
            line = timeout_at(self.deadline, self.connection.read_line(LINE_LIMIT)) => match line {
                Ok(line) => Ok(line?),
                Err(_) => Err(End::LoginTimeout),
            },
            () = self.context.shutdown.draining() => Err(End::Shutdown),
        }
    }

    /// A last word where there is one to say, then the end.
    async fn goodbye(&mut self, end: End) -> End {
        let reply = match end {
            End::Shutdown => Reply::coded(Code::SysTemp, "The bridge is shutting down"),
            End::LoginFailures => Reply::err("Too many failed logins"),
            End::Nonsense => Reply::err("Too many errors"),
            _ => return end,
        };
        // The session is over: a client that does not take its last word is no loss.
        let _ = self.connection.reply(&reply).await;
        let _ = self.connection.flush().await;
        end
    }
}

fn plaintext_refused() -> Reply {
    Reply::err("No plaintext login here: turn on TLS in your mail program")
}

/// The initial response of AUTH; a lone `=` is the empty one (RFC 5034 §4).
fn decoded_initial(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if text == b"=" {
        return Some(Zeroizing::default());
    }
    decoded(text)
}

fn decoded(base64: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    STANDARD.decode(base64).ok().map(Zeroizing::new)
}
