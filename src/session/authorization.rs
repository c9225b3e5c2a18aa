//! The AUTHORIZATION state: greeting, STLS, USER and PASS, AUTH (RFC 1939 §4, 2595, 5034).

mod exchange;

use tokio::time::{Instant, timeout_at};

use super::common::{Strikes, capabilities, invalid, language, list, may_log_in, mechanisms, parse, visitor};
use super::login::Login;
use super::{Client, Context, End, Summary};
use crate::auth::{Claim, Credentials};
use crate::maildrop::Maildrop;
use crate::pop3::{Code, Command, Connection, Input, Reply};

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
                Some(login) => {
                    let claim = Claim::Password(password);
                    return self.log_in(Credentials { login, claim }, summary).await;
                }
                None => Reply::err("USER comes first"),
            },
            Command::Auth { mechanism: None, initial_response: _ } => {
                let offered = mechanisms(&self.connection, self.client, self.context).into_iter();
                let names: Vec<String> = offered.map(|mechanism| mechanism.name().to_owned()).collect();
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

    /// Finds the upstream, lets the client in, logs in there and opens the maildrop.
    async fn log_in(&mut self, credentials: Credentials, summary: &mut Summary) -> Result<After, End> {
        let login = credentials.login.clone();
        let token_refusal = credentials.token_refusal();
        let attempt = Login {
            context: self.context,
            visitor: visitor(&self.connection, self.client),
            activity: self.connection.activity(),
        };
        let opened = tokio::select! {
            opened = attempt.open(credentials) => opened,
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
        if let Some(challenge) = token_refusal.filter(|_| reply.has(Code::Auth)) {
            self.explain(challenge).await?;
        }
        self.connection.reply(&reply).await?;
        Ok(After::Stay)
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
