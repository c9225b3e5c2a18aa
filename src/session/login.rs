//! From a name and a password to an open maildrop, and what becomes of a wrong one.

use std::net::IpAddr;

use tokio::time::sleep;

use super::Context;
use super::failure::{Denied, rejection};
use crate::activity::Activity;
use crate::auth::{Attempt, Credentials, Refused, Route, Visitor};
use crate::maildrop::{Account, Entrusted, Error, Maildrop};
use crate::pop3::Reply;
use crate::secret::Credential;
use crate::upstream::{self, Connector};

/// One login on its way.
pub struct Login<'a> {
    pub context: &'a Context,
    pub address: IpAddr,
    pub tls: bool,
    /// The client's, for its maildrop.
    pub activity: Activity,
}

impl Login<'_> {
    /// Finds the upstream, lets the client in, logs in there and opens the maildrop. Where too many
    /// were wrong nothing of that is done; one that is wrong is answered late.
    pub async fn open(self, credentials: Credentials) -> Result<Maildrop, Reply> {
        let (context, address) = (self.context, self.address);
        let login = credentials.login.as_str();
        let route = context.accounts.route(login);
        let attempt = context.throttle.attempt(address, &credentials, route.as_ref()).await;
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
        let visitor = Visitor { address: self.address, tls: self.tls };
        let route = self.context.door.admit(route, credentials, visitor).await?;
        let connector = self.context.connectors.get(&route.upstream.name).ok_or(Refused::NoRoute)?;
        Ok(self.open_at(route, connector.clone(), credentials, attempt).await?)
    }

    async fn open_at(
        self,
        route: Route,
        connector: Connector,
        credentials: &Credentials,
        attempt: &mut Attempt<'_>,
    ) -> Result<Maildrop, Error> {
        let login = credentials.login.clone();
        let username = route.username.clone();
        let account = match route.source().cloned() {
            Some(source) => Entrusted { login, connector, username, source }.account().await?,
            None => {
                let credential = Credential::Password(credentials.password.clone());
                Account { login, connector, username, credential, source: None }
            }
        };
        let (rejections, upstream) = (&self.context.rejections, &route.upstream.name);
        let (username, secret) = (&route.username, account.credential.secret().clone());
        if let Some(status) = rejections.recall(upstream, username, &secret) {
            return Err(account.blame(upstream::Error::Login(status)));
        }
        let proven = || attempt.succeeded();
        let opened = self.context.maildrops.open(account, route.maildrop, self.activity, proven).await;
        if let Some(status) = opened.as_ref().err().and_then(rejection) {
            rejections.remember(upstream, username, &secret, status.clone());
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
