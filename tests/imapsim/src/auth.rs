//! CAPABILITY, STARTTLS, COMPRESS, LOGIN and AUTHENTICATE.

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::command::Command;
use crate::connection::{Connection, Reply, bad, no, ok};
use crate::persona::WhenFull;
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
        self.admit(&user, &password).await
    }

    pub(crate) async fn authenticate(&mut self, command: &Command) -> io::Result<Reply> {
        let mut args = command.args();
        let Some(mechanism) = args.atom().map(str::to_ascii_uppercase) else {
            return bad("Error in IMAP command AUTHENTICATE: Missing mechanism.");
        };
        let initial = args.text();
        if self.offers("LOGINDISABLED") {
            return no("[PRIVACYREQUIRED] Plaintext authentication disallowed on non-secure connections.");
        }
        if !self.offers(&format!("AUTH={mechanism}")) {
            return no("[ALERT] Unsupported authentication mechanism.");
        }
        if initial.is_some() && !self.offers("SASL-IR") {
            return bad("Error in IMAP command AUTHENTICATE: Too many arguments.");
        }
        let first = match initial.as_deref() {
            // RFC 4959 §3: `=` is an empty response.
            Some("=") => Some(Vec::new()),
            Some(text) => STANDARD.decode(text).ok(),
            None if mechanism == "LOGIN" => self.ask("VXNlcm5hbWU6").await?,
            None => self.ask("").await?,
        };
        let Some(first) = first else {
            return bad("Authentication aborted.");
        };
        let pair = match mechanism.as_str() {
            "LOGIN" => {
                let Some(password) = self.ask("UGFzc3dvcmQ6").await? else {
                    return bad("Authentication aborted.");
                };
                Some((first, password))
            }
            "PLAIN" => plain(&first),
            _ => bearer(&mechanism, &first),
        };
        let Some((user, password)) = pair else {
            return bad("Invalid base64 or SASL response.");
        };
        let Ok(user) = String::from_utf8(user) else {
            return bad("Invalid user name.");
        };
        let token = matches!(mechanism.as_str(), "XOAUTH2" | "OAUTHBEARER");
        if token && !self.shared.lock().password_fits(&user, &password) {
            // {"status":"400","schemes":"Bearer"}; the client answers with an empty line first.
            self.ask("eyJzdGF0dXMiOiI0MDAiLCJzY2hlbWVzIjoiQmVhcmVyIn0=").await?;
        }
        self.admit(&user, &password).await
    }

    async fn admit(&mut self, user: &str, password: &[u8]) -> io::Result<Reply> {
        if self.traits.loses_pipelined_login {
            self.wire.discard_input(Duration::from_millis(5)).await;
        }
        {
            let mut state = self.shared.lock();
            if !state.password_fits(user, password) {
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

    /// A challenge and the response to it; `None` where it is `*` or no base64.
    async fn ask(&mut self, challenge: &str) -> io::Result<Option<Vec<u8>>> {
        self.wire.push_line(format!("+ {challenge}"));
        let line = self.wire.line().await?;
        if line.len() > RESPONSE_CAP {
            return Ok(None);
        }
        Ok(STANDARD.decode(line).ok())
    }
}

/// RFC 4616: authzid NUL authcid NUL password.
fn plain(response: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut parts = response.split(|octet| *octet == 0);
    let (_, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then(|| (user.to_vec(), password.to_vec()))
}

/// XOAUTH2 and OAUTHBEARER: the token counts as the password.
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
