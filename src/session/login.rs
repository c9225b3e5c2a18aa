//! From a name and a password to an open maildrop, and what becomes of a wrong one.

use std::net::IpAddr;

use tokio::time::sleep;

use super::Context;
use super::failure::{Denied, rejection};
use crate::activity::Activity;
use crate::auth::{Admitted, Attempt, Credentials, Opening, Refused, Route, Visitor};
use crate::grants;
use crate::maildrop::{Account, Entrusted, Error, Maildrop, Source};
use crate::pop3::Reply;
use crate::upstream::{self, Connector};

/// One login on its way.
pub struct Login<'a> {
    pub context: &'a Context,
    pub visitor: Visitor,
    /// The client's, for its maildrop.
    pub activity: Activity,
}

impl Login<'_> {
    /// Finds the upstream, lets the client in, logs in there and opens the maildrop. Where too many
    /// were wrong nothing of that is done; one that is wrong is answered late.
    pub async fn open(self, credentials: Credentials) -> Result<Maildrop, Reply> {
        let (context, address) = (self.context, self.visitor.address);
        let login = credentials.login.as_str();
        let route = context.accounts.route(login);
        let attempt = context.throttle.attempt(address, &credentials, &context.accounts).await;
        let mut attempt = attempt.map_err(|refused| denied(address, login, &refused.into()))?;
        match self.admit(route, &credentials, &mut attempt).await {
            Ok(maildrop) => Ok(maildrop),
            Err(error) => {
                let reply = denied(address, login, &error);
                if error.is_wrong() {
                    sleep(attempt.failed()).await;
                }
                Err(reply)
            }
        }
    }

    async fn admit(
        self,
        route: Option<Route>,
        credentials: &Credentials,
        attempt: &mut Attempt<'_>,
    ) -> Result<Maildrop, Denied> {
        let admitted = self.context.door.admit(route, credentials, self.visitor).await?;
        let name = &admitted.route.upstream.name;
        let connector = self.context.connectors.get(name).ok_or(Refused::NoRoute)?;
        let (connector, given) = (connector.clone(), matches!(admitted.opening, Opening::Given(_)));
        let opened = self.open_at(admitted, connector, &credentials.login, attempt).await;
        opened.map_err(|error| Denied::behind(error, given))
    }

    async fn open_at(
        self,
        Admitted { route, opening }: Admitted,
        connector: Connector,
        login: &str,
        attempt: &mut Attempt<'_>,
    ) -> Result<Maildrop, Error> {
        let (login, username) = (login.to_owned(), route.username.clone());
        let mut account = match opening {
            Opening::Kept(means) => {
                let source = Source::of(&means, &self.context.grants, &login, &username);
                // What signs in somewhere was read with the places to do so.
                let source = source.ok_or_else(|| grants::Error::NotSignedIn { login: login.clone() })?;
                Entrusted { login, connector, username, source }.account().await?
            }
            Opening::Given(credential) => Account { login, connector, username, credential, source: None },
        };
        let (rejections, upstream) = (&self.context.rejections, &route.upstream.name);
        let username = &route.username;
        if let Some(status) = rejections.recall(upstream, username, account.credential.secret()) {
            return Err(account.blame(upstream::Error::Login(status)));
        }
        let proven = || attempt.succeeded();
        let opened = self.context.maildrops.open(&mut account, route.maildrop, self.activity, proven).await;
        if let Some(status) = opened.as_ref().err().and_then(rejection) {
            // Which may be another one by now.
            rejections.remember(upstream, username, account.credential.secret(), status.clone());
        }
        opened
    }
}

/// What came makes no sense as an answer in AUTH: it is a failure like a wrong password.
pub async fn malformed(context: &Context, address: IpAddr) {
    log(address, true, "", "the answer in AUTH is malformed");
    sleep(context.throttle.malformed(address)).await;
}

fn denied(address: IpAddr, login: &str, error: &Denied) -> Reply {
    log(address, error.is_wrong(), login, &error.to_string());
    error.reply()
}

/// The line that fail2ban reads. What others chose, the login and a server's words, stands last and
/// quoted: nobody can write an address of their choice there.
fn log(address: IpAddr, wrong: bool, login: &str, reason: &str) {
    tracing::info!(address = %address.to_canonical(), wrong, login, reason, "login failed");
}
