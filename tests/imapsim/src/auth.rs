//! CAPABILITY, STARTTLS, COMPRESS, LOGIN and AUTHENTICATE.

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::command::Command;
use crate::connection::{Connection, Reply, bad, no, ok};
use crate::fault::Place;
use crate::persona::WhenFull;
use crate::scram::ClientFirst;
use crate::tls::Tls;
use crate::wire::Io;

/// SASL responses; OAuth tokens reach some KB.
const RESPONSE_CAP: usize = 64 * 1024;

impl Connection {
    /// Whether the server has more connections than it bears and says so in place of a greeting.
    pub(crate) fn is_turned_away(&mut self) -> bool {
        if self.shared.lock().live <= self.traits.most_connections {
            return false;
        }
        let says_so = self.traits.when_full == WhenFull::Bye;
        if says_so {
            self.wire.push_line("* BYE Too many connections.");
        }
        says_so
    }

    pub(crate) fn capabilities(&self) -> Vec<String> {
        let logged_in = self.user.is_some();
        let traits = &self.traits;
        let names = if logged_in { &traits.after_login } else { &traits.before_login };
        let mut list: Vec<String> = names.iter().cloned().collect();
        if logged_in {
            // Neither STARTTLS nor a mechanism is of use any more.
        } else if self.shared.tls == Tls::StartTls && !self.encrypted {
            list.extend(["STARTTLS".into(), "LOGINDISABLED".into()]);
        } else {
            list.extend(self.traits.mechanisms.iter().map(|name| format!("AUTH={name}")));
        }
        // RFC 3501 wants IMAP4rev1 somewhere; servers put it first.
        list.sort_by_key(|name| name != "IMAP4rev1");
        list
    }

    pub(crate) fn capability_code(&self) -> String {
        if self.traits.capability_codes {
            format!("[CAPABILITY {}] ", self.capabilities().join(" "))
        } else {
            String::new()
        }
    }

    pub(crate) fn capability(&mut self) -> io::Result<Reply> {
        let list = self.capabilities().join(" ");
        self.wire.push_line(format!("* CAPABILITY {list}"));
        ok("Capability completed.")
    }

    pub(crate) async fn starttls(&mut self, command: &Command) -> io::Result<Reply> {
        if self.shared.tls != Tls::StartTls || self.encrypted {
            return bad("TLS support isn't enabled.");
        }
        let Some(acceptor) = self.shared.acceptor.clone() else {
            return bad("TLS support isn't enabled.");
        };
        self.wire.push_line(format!("{} OK Begin TLS negotiation now.", command.tag));
        if self.plan.cut_tagged {
            return Ok(Reply::Cut);
        }
        // RFC 2595 §3.1 in spirit: nothing sent in the clear counts after the handshake.
        self.wire.discard_input(Duration::ZERO).await;
        self.wire.flush().await?;
        let stream = self.wire.take_stream().ok_or(io::ErrorKind::NotConnected)?;
        let stream: Box<dyn Io> = Box::new(acceptor.accept(stream).await?);
        self.wire.put_stream(stream);
        self.encrypted = true;
        Ok(Reply::Answered)
    }

    /// RFC 4978 §3, in Dovecot's words.
    pub(crate) async fn compress(&mut self, command: &Command) -> io::Result<Reply> {
        let mut args = command.args();
        let Some(mechanism) = args.atom().filter(|_| args.is_empty()) else {
            return bad("Invalid arguments.");
        };
        if self.compressed {
            return no("[COMPRESSIONACTIVE] COMPRESSION already enabled.");
        }
        if !mechanism.eq_ignore_ascii_case("DEFLATE") {
            return no("Unsupported compression mechanism.");
        }
        self.wire.push_line(format!("{} OK Begin compression.", command.tag));
        self.wire.flush().await?;
        if self.plan.cut_tagged {
            return Ok(Reply::Cut);
        }
        self.wire.deflate();
        self.compressed = true;
        Ok(Reply::Answered)
    }

    pub(crate) async fn login(&mut self, command: &Command) -> io::Result<Reply> {
        let mut args = command.args();
        let (Some(user), Some(password)) = (args.text(), args.octets()) else {
            return bad("Error in IMAP command LOGIN: Missing arguments.");
        };
        if !args.is_empty() {
            return bad("Error in IMAP command LOGIN: Too many arguments.");
        }
        if self.offers("LOGINDISABLED") {
            return no("[PRIVACYREQUIRED] Plaintext authentication disallowed on non-secure connections.");
        }
        let fits = self.shared.lock().password_fits(&user, &password);
        self.admit(&user, fits).await
    }

    pub(crate) async fn authenticate(&mut self, command: &Command) -> io::Result<Reply> {
        let mut args = command.args();
        let Some(mechanism) = args.atom().map(str::to_ascii_uppercase) else {
            return bad("Error in IMAP command AUTHENTICATE: Missing mechanism.");
        };
        let initial = args.text();
        if !self.offers(&format!("AUTH={mechanism}")) {
            return no(if self.offers("LOGINDISABLED") {
                "[PRIVACYREQUIRED] Plaintext authentication disallowed on non-secure connections."
            } else {
                "[ALERT] Unsupported authentication mechanism."
            });
        }
        if initial.is_some() && !self.offers("SASL-IR") {
            return bad("Error in IMAP command AUTHENTICATE: Too many arguments.");
        }
        match self.exchange(&mechanism, initial).await {
            Ok((user, fits)) => self.admit(&user, fits).await,
            Err(Stop::Reply(reply)) => Ok(reply),
            Err(Stop::Io(error)) => Err(error),
        }
    }

    /// Who wants to log in, and whether it is them.
    async fn exchange(&mut self, mechanism: &str, initial: Option<String>) -> Result<(String, bool), Stop> {
        let mut challenges = 0;
        let first = match initial.as_deref() {
            // RFC 4959 §3: `=` is an empty response.
            Some("=") => Vec::new(),
            Some(text) => STANDARD.decode(text).map_err(|_| aborted())?,
            None if mechanism == "LOGIN" => self.ask(&mut challenges, b"Username:").await?,
            None => self.ask(&mut challenges, b"").await?,
        };
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).map_err(|_| aborted());
        match mechanism {
            "LOGIN" => {
                let password = self.ask(&mut challenges, b"Password:").await?;
                let user = text(&first)?;
                let fits = self.shared.lock().password_fits(&user, &password);
                Ok((user, fits))
            }
            "PLAIN" => {
                let (user, password) = plain(&first).ok_or_else(aborted)?;
                let user = text(&user)?;
                let fits = self.shared.lock().password_fits(&user, &password);
                Ok((user, fits))
            }
            "SCRAM-SHA-256" => {
                let first = ClientFirst::parse(&first).ok_or_else(aborted)?;
                let password = self.shared.lock().password_of(&first.user);
                let last = self.ask(&mut challenges, first.challenge().as_bytes()).await?;
                let Some(mut signature) = first.verify(&password, &last) else {
                    return Ok((first.user, false));
                };
                signature[0] ^= u8::from(self.plan.wrong_signature);
                let proof = format!("v={}", STANDARD.encode(signature));
                match self.ask(&mut challenges, proof.as_bytes()).await?.as_slice() {
                    b"" => Ok((first.user, true)),
                    _ => Err(aborted()),
                }
            }
            _ => {
                let (user, token) = bearer(mechanism, &first).ok_or_else(aborted)?;
                let user = text(&user)?;
                let fits = self.shared.lock().token_fits(&user, &token);
                if let (false, Some(error)) = (fits, self.traits.token_error) {
                    let farewell: &[u8] = if mechanism == "OAUTHBEARER" { b"\x01" } else { b"" };
                    if self.ask(&mut challenges, error.as_bytes()).await? != farewell {
                        return Err(aborted());
                    }
                }
                Ok((user, fits))
            }
        }
    }

    async fn admit(&mut self, user: &str, fits: bool) -> io::Result<Reply> {
        if self.traits.loses_pipelined_login {
            self.wire.discard_input(Duration::from_millis(5)).await;
        }
        {
            let mut state = self.shared.lock();
            if !fits {
                return no(self.traits.login_failed);
            }
            if let (WhenFull::Refuse(text), true) =
                (self.traits.when_full, state.live > self.traits.most_connections)
            {
                return no(text);
            }
            state.account(user);
            state.logins += 1;
        }
        self.user = Some(user.to_owned());
        ok(format!("{}Logged in", self.capability_code()))
    }

    /// The next challenge and the response to it.
    async fn ask(&mut self, count: &mut u32, challenge: &[u8]) -> Result<Vec<u8>, Stop> {
        *count += 1;
        if let Some(fault) = self.shared.plan(Place::Challenge(*count)).replacement {
            return Err(Stop::Reply(Reply::Fault(fault)));
        }
        self.wire.push_line(format!("+ {}", STANDARD.encode(challenge)));
        let line = self.wire.line().await?;
        if line.len() > RESPONSE_CAP {
            return Err(aborted());
        }
        STANDARD.decode(line).map_err(|_| aborted())
    }
}

/// What ends an exchange early.
enum Stop {
    Io(io::Error),
    Reply(Reply),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// To `*`, and to what makes no sense.
fn aborted() -> Stop {
    Stop::Reply(Reply::Bad("Authentication aborted.".to_owned()))
}

/// RFC 4616: authzid NUL authcid NUL password.
fn plain(response: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut parts = response.split(|octet| *octet == 0);
    let (_, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then(|| (user.to_vec(), password.to_vec()))
}

/// XOAUTH2 and OAUTHBEARER: the user name and the access token.
fn bearer(mechanism: &str, response: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut user = None;
    let mut token = None;
    for part in response.split(|octet| *octet == 1) {
        if let Some(name) = part.strip_prefix(b"user=") {
            user = Some(name);
        } else if let Some(name) = part.strip_prefix(b"n,a=") {
            user = name.strip_suffix(b",").filter(|_| mechanism == "OAUTHBEARER");
        } else if let Some(value) = part.strip_prefix(b"auth=Bearer ") {
            token = Some(value);
        }
    }
    Some((user?.to_vec(), token?.to_vec()))
}
