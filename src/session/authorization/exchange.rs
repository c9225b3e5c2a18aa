//! AUTH: the exchange with a client until it has said who it is (RFC 5034 §4, RFC 4422).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::super::common::{may_log_in, mechanisms, visitor};
use super::super::{Context, End, Summary, login};
use super::{After, Authorization, LINE_LIMIT, plaintext_refused};
use crate::auth::{Entrance, Exchange, Mechanism, Next};
use crate::pop3::{Input, Reply};
use crate::secret::Secret;

/// How long a program may take to answer why its token is refused: it does so by itself.
const ANSWER: Duration = Duration::from_secs(10);

impl Authorization<'_> {
    /// AUTH (RFC 5034 §4).
    pub(super) async fn authenticate(
        &mut self,
        mechanism: &str,
        initial: Option<Secret>,
        summary: &mut Summary,
    ) -> Result<After, End> {
        let Context { accounts, door, throttle, .. } = self.context;
        let visitor = visitor(&self.connection, self.client);
        let started = self.offered(mechanism).and_then(|mechanism| {
            Exchange::start(mechanism, Entrance { accounts, door, throttle, visitor })
                .ok_or_else(|| Reply::err("That mechanism is not offered"))
        });
        let mut exchange = match started {
            Ok(exchange) => exchange,
            Err(reply) => {
                self.connection.reply(&reply).await?;
                return Ok(After::Stay);
            }
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

    /// The mechanism of this name (upper case), as things stand.
    fn offered(&self, name: &str) -> Result<Mechanism, Reply> {
        let known = Mechanism::ALL.into_iter().find(|mechanism| mechanism.name() == name);
        let offered = mechanisms(&self.connection, self.client, self.context);
        match known {
            Some(mechanism) if offered.contains(&mechanism) => Ok(mechanism),
            Some(mechanism)
                if mechanism.is_plaintext() && !may_log_in(&self.connection, self.client, self.context) =>
            {
                Err(plaintext_refused())
            }
            _ => Err(Reply::err("That mechanism is not offered")),
        }
    }

    async fn malformed(&mut self) -> Result<After, End> {
        self.failures += 1;
        tokio::select! {
            () = login::malformed(self.context, self.client.address.ip()) => {}
            () = self.context.shutdown.stopped() => return Err(End::Shutdown),
        }
        self.connection.reply(&Reply::err("That response is malformed")).await?;
        Ok(After::Stay)
    }

    /// Tells a program what its token is refused with; it answers, and then the exchange fails
    /// (RFC 7628 §3.2.3). What it answers means nothing, be it `AQ==`, nothing or `*`; so the error
    /// follows whether it answers or not, however much of `login_timeout` the login has taken.
    pub(super) async fn explain(&mut self, challenge: &str) -> Result<(), End> {
        self.connection.reply(&Reply::challenge(&STANDARD.encode(challenge))).await?;
        tokio::select! {
            answer = timeout(ANSWER, self.connection.read_line(LINE_LIMIT)) => {
                if let Ok(answer) = answer {
                    answer?;
                }
            }
            () = self.context.shutdown.draining() => {}
        }
        Ok(())
    }
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
