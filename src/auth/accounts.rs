//! From a login to the upstream, the user name there and the maildrop's settings.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{Account, Maildrop, Upstream, upstream_for};

/// Where a login leads.
#[derive(Debug, Clone)]
pub struct Route {
    pub upstream: Arc<Upstream>,
    pub username: String,
    pub maildrop: Arc<Maildrop>,
}

/// The logins that are passed through: the password is the upstream's, and without an account so
/// is the name.
#[derive(Debug, Clone)]
pub struct Accounts {
    upstreams: Vec<Arc<Upstream>>,
    accounts: HashMap<String, Arc<Account>>,
}

impl Accounts {
    /// Of all configured upstreams and accounts.
    pub fn new(upstreams: Vec<Arc<Upstream>>, accounts: Vec<Arc<Account>>) -> Self {
        let accounts = accounts.into_iter().map(|account| (account.login.clone(), account)).collect();
        Self { upstreams, accounts }
    }

    /// The account of exactly this login, else the upstream that its domain belongs to.
    pub fn route(&self, login: &str) -> Option<Route> {
        self.account(login).or_else(|| self.domain(login))
    }

    fn account(&self, login: &str) -> Option<Route> {
        self.accounts.get(login).map(|account| Route {
            upstream: Arc::clone(&account.upstream),
            username: account.username.clone(),
            maildrop: Arc::clone(&account.maildrop),
        })
    }

    fn domain(&self, login: &str) -> Option<Route> {
        upstream_for(&self.upstreams, login).map(|upstream| Route {
            upstream: Arc::clone(upstream),
            username: upstream.username.fill(login),
            maildrop: Arc::clone(&upstream.maildrop),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    fn accounts(text: &str) -> Accounts {
        let config = Config::parse(text, "test", Path::new(".")).expect("a configuration");
        Accounts::new(config.upstreams, config.accounts)
    }

    fn route(accounts: &Accounts, login: &str) -> Option<(String, String)> {
        accounts.route(login).map(|route| (route.upstream.name.clone(), route.username))
    }

    #[test]
    fn domains_decide() {
        let accounts = accounts(
            "[upstream.a]\nurl = \"imaps://a.example\"\ndomains = [\"A.example\"]\nusername = \"{local}\"\n\
             [upstream.b]\nurl = \"imaps://b.example\"\ndomains = [\"b.example\", \"*\"]\nusername = \"{login}\"\n",
        );
        let to = |name: &str, username: &str| Some((name.to_owned(), username.to_owned()));
        assert_eq!(route(&accounts, "x@a.EXAMPLE"), to("a", "x"));
        assert_eq!(route(&accounts, "x@other.example"), to("b", "x@other.example"));
        assert_eq!(route(&accounts, "x"), to("b", "x"));
    }

    #[test]
    fn without_a_match_there_is_no_route() {
        let accounts = accounts("[upstream.a]\nurl = \"imaps://a.example\"\ndomains = [\"a.example\"]\n");
        assert_eq!(route(&accounts, "x@b.example"), None);
        assert_eq!(route(&accounts, "x"), None);
    }

    #[test]
    fn a_lone_upstream_takes_everyone() {
        let accounts = accounts("[upstream.a]\nurl = \"imaps://a.example\"\n");
        assert!(route(&accounts, "x@b.example").is_some());
    }

    /// The user name and the folders behind a login.
    fn maildrop(accounts: &Accounts, login: &str) -> (String, Vec<String>) {
        let route = accounts.route(login).unwrap_or_else(|| panic!("{login} leads somewhere"));
        (route.username, route.maildrop.folders.clone())
    }

    fn goes_to(accounts: &Accounts, login: &str, username: &str, folders: &[&str]) {
        let folders = folders.iter().map(|&folder| folder.to_owned()).collect();
        assert_eq!(maildrop(accounts, login), (username.to_owned(), folders), "{login}");
    }

    #[test]
    fn an_account_comes_before_everything_else() {
        let accounts = accounts(
            "[upstream.a]\nurl = \"imaps://a.example\"\ndomains = [\"a.example\", \"*\"]\n\
             [upstream.b]\nurl = \"imaps://b.example\"\ndomains = [\"b.example\"]\nusername = \"{local}\"\n\
             [[account]]\nlogin = \"x@a.example\"\nupstream = \"b\"\n\
             [[account]]\nlogin = \"scanner\"\nusername = \"alice@a.example\"\nmaildrop = { folders = [\"Scans\"] }\n\
             [[account]]\nlogin = \"scanner+Work\"\nmaildrop = { folders = [\"Own\"] }\n",
        );
        let to = |name: &str, username: &str| Some((name.to_owned(), username.to_owned()));
        assert_eq!(route(&accounts, "x@a.example"), to("b", "x"));
        assert_eq!(route(&accounts, "X@a.example"), to("a", "X@a.example"));
        goes_to(&accounts, "scanner", "alice@a.example", &["Scans"]);
        goes_to(&accounts, "scanner+Work", "scanner+Work", &["Own"]);
    }
}
