//! From a login to the upstream, the user name there and the maildrop's settings.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::config::{Account, Authentication, Maildrop, Means, Upstream, folder_name, upstream_for};
use crate::secret::{Fingerprint, ScramVerifier};

/// Where a login leads.
#[derive(Debug, Clone)]
pub struct Route {
    pub upstream: Arc<Upstream>,
    pub username: String,
    pub maildrop: Arc<Maildrop>,
    /// The login's own settings, also where a folder stands behind it.
    pub account: Option<Arc<Account>>,
}

impl Route {
    /// What popbridge logs in with upstream; `None`: with what the program gives.
    pub fn means(&self) -> Option<&Means> {
        let own = self.account.as_ref()?.own_password.as_ref()?;
        Some(&own.upstream)
    }
}

/// All logins: those that have an account, and those that are passed through as they are.
#[derive(Debug, Clone)]
pub struct Accounts {
    upstreams: Vec<Arc<Upstream>>,
    accounts: HashMap<String, Arc<Account>>,
    /// All that part a folder from a login.
    separators: BTreeSet<String>,
}

impl Accounts {
    /// Of all configured upstreams and accounts.
    pub fn new(upstreams: Vec<Arc<Upstream>>, accounts: Vec<Arc<Account>>) -> Self {
        let maildrops = upstreams
            .iter()
            .map(|upstream| &upstream.maildrop)
            .chain(accounts.iter().map(|account| &account.maildrop));
        let separators = maildrops
            .map(|maildrop| &maildrop.folder_separator)
            .filter(|separator| !separator.is_empty())
            .cloned()
            .collect();
        let accounts = accounts.into_iter().map(|account| (account.login.clone(), account)).collect();
        Self { upstreams, accounts, separators }
    }

    /// The account of exactly this login; else the login before a folder, with that folder for
    /// its maildrop; else the upstream that the login's domain belongs to.
    pub fn route(&self, login: &str) -> Option<Route> {
        self.account(login).or_else(|| self.folder(login)).or_else(|| self.domain(login))
    }

    /// The only login that a certificate opens; `None`, if that is none or one of several.
    pub fn opened_by(&self, certificate: &Fingerprint) -> Option<&str> {
        let mut opened =
            self.accounts.values().filter(|account| account.client_certificate.as_ref() == Some(certificate));
        let only = opened.next()?;
        opened.next().is_none().then_some(only.login.as_str())
    }

    /// Whether the token of some program could be passed on.
    pub fn pass_tokens(&self) -> bool {
        self.upstreams.iter().any(|upstream| takes_tokens(upstream))
    }

    /// The login before a folder, also if nothing is known of it.
    pub fn without_folder<'a>(&self, login: &'a str) -> &'a str {
        let parted = self.separators.iter().filter_map(|separator| parted(login, separator));
        parted.map(|(name, _)| name).min_by_key(|name| name.len()).unwrap_or(login)
    }

    /// The verifier of exactly this login, for SCRAM.
    pub fn verifier(&self, login: &str) -> Option<&ScramVerifier> {
        self.accounts.get(login)?.own_password.as_ref()?.hash.as_ref()?.scram()
    }

    fn account(&self, login: &str) -> Option<Route> {
        self.accounts.get(login).map(|account| Route {
            upstream: Arc::clone(&account.upstream),
            username: account.username.clone(),
            maildrop: Arc::clone(&account.maildrop),
            account: Some(Arc::clone(account)),
        })
    }

    fn domain(&self, login: &str) -> Option<Route> {
        upstream_for(&self.upstreams, login).map(|upstream| Route {
            upstream: Arc::clone(upstream),
            username: upstream.username.fill(login),
            maildrop: Arc::clone(&upstream.maildrop),
            account: None,
        })
    }

    /// Whether a separator holds for a login is known once the login is; so each is tried. Where
    /// several hold, the shortest login does: what follows it in the others belongs to no domain.
    fn folder(&self, login: &str) -> Option<Route> {
        let picked = |separator: &String| {
            let (name, folder) = parted(login, separator)?;
            let route = self.account(name).or_else(|| self.domain(name))?;
            (route.maildrop.folder_separator == *separator).then_some(())?;
            Some((name.len(), folder_name(folder)?, route))
        };
        let (_, folder, route) =
            self.separators.iter().filter_map(picked).min_by_key(|(length, ..)| *length)?;
        let maildrop = Maildrop { folders: vec![folder], ..(*route.maildrop).clone() };
        Some(Route { maildrop: Arc::new(maildrop), ..route })
    }
}

/// Whether an upstream is shown a program's token.
pub fn takes_tokens(upstream: &Upstream) -> bool {
    match upstream.authentication {
        Authentication::Password => false,
        Authentication::OAuth2 => true,
    }
}

/// A login and a folder, both with something in them, at the last separator behind the last `@`:
/// the one in `alice+tag@example.org` belongs to the address (RFC 5233 §1).
fn parted<'a>(login: &'a str, separator: &str) -> Option<(&'a str, &'a str)> {
    let (name, folder) = login.rsplit_once(separator)?;
    (!name.is_empty() && !folder.is_empty() && !folder.contains('@')).then_some((name, folder))
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
        assert_eq!(route(&accounts, "x@a.example+Work"), to("b", "x"));
        goes_to(&accounts, "scanner", "alice@a.example", &["Scans"]);
        goes_to(&accounts, "scanner+Old", "alice@a.example", &["Old"]);
        goes_to(&accounts, "scanner+Work", "scanner+Work", &["Own"]);
    }

    #[test]
    fn a_folder_stands_behind_the_login() {
        let accounts = accounts(
            "[upstream.a]\nurl = \"imaps://a.example\"\nmaildrop = { folders = [\"INBOX\", \"Lists\"] }\n",
        );
        let all = ["INBOX", "Lists"];
        goes_to(&accounts, "alice@example.org+Work", "alice@example.org", &["Work"]);
        goes_to(&accounts, "alice@example.org+Entwürfe/2024", "alice@example.org", &["Entwürfe/2024"]);
        goes_to(&accounts, "alice@example.org+inbox", "alice@example.org", &["INBOX"]);
        goes_to(&accounts, "alice+tag@example.org+Work", "alice+tag@example.org", &["Work"]);
        goes_to(&accounts, "alice+Work", "alice", &["Work"]);
        goes_to(&accounts, "alice+a+b", "alice+a", &["b"]);
        for whole in ["alice+tag@example.org", "alice@example.org+", "+Work", "+", "alice", "alice+\u{7}"] {
            goes_to(&accounts, whole, whole, &all);
        }
    }

    #[test]
    fn the_picked_folder_replaces_the_folders_only() {
        let accounts = accounts(
            "[maildrop]\nnewest = 7\n[upstream.a]\nurl = \"imaps://a.example\"\nusername = \"{local}\"\n\
             maildrop = { on_delete = \"expunge\" }\n",
        );
        let plain = accounts.route("alice@example.org").expect("a route");
        let picked = accounts.route("alice@example.org+Work").expect("a route");
        assert_eq!(picked.username, "alice");
        let expected = Maildrop { folders: vec!["Work".to_owned()], ..(*plain.maildrop).clone() };
        assert_eq!(*picked.maildrop, expected);
        assert_eq!((expected.newest, expected.on_delete.name()), (7, "expunge"));
    }

    #[test]
    fn each_login_has_the_separator_of_its_own_layer() {
        let accounts = accounts(
            "[upstream.a]\nurl = \"imaps://a.example\"\ndomains = [\"a.example\", \"*\"]\n\
             [upstream.b]\nurl = \"imaps://b.example\"\ndomains = [\"b.example\"]\n\
             maildrop = { folder_separator = \"/\" }\n\
             [upstream.c]\nurl = \"imaps://c.example\"\ndomains = [\"c.example\"]\n\
             maildrop = { folder_separator = \"\" }\n\
             [[account]]\nlogin = \"scanner\"\nmaildrop = { folder_separator = \"++\" }\n",
        );
        goes_to(&accounts, "x@a.example+Work/Old", "x@a.example", &["Work/Old"]);
        goes_to(&accounts, "x@b.example/Work+Old", "x@b.example", &["Work+Old"]);
        goes_to(&accounts, "scanner++Work", "scanner", &["Work"]);
        goes_to(&accounts, "other++Work", "other+", &["Work"]);
        let off = accounts.route("x@c.example+Work").expect("it goes to the rest");
        assert_eq!((off.upstream.name.as_str(), off.username.as_str()), ("a", "x@c.example+Work"));
        assert_eq!(off.maildrop.folders, ["INBOX"]);
    }
}
