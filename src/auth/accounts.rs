//! From a login to the upstream and the user name there.

use std::sync::Arc;

use crate::config::Upstream;

/// Where a login leads.
#[derive(Debug, Clone)]
pub struct Route {
    pub upstream: Arc<Upstream>,
    pub username: String,
}

/// The logins that are passed through: name and password are the upstream's.
#[derive(Debug, Clone)]
pub struct Accounts {
    upstreams: Vec<Arc<Upstream>>,
}

impl Accounts {
    /// Of all configured upstreams.
    pub fn new(upstreams: Vec<Arc<Upstream>>) -> Self {
        Self { upstreams }
    }

    /// The upstream that has the login's domain, else the one that takes the rest. A lone
    /// upstream without domains takes everyone.
    pub fn route(&self, login: &str) -> Option<Route> {
        let domain = login.rsplit_once('@').map(|(_, domain)| domain.to_lowercase());
        let of = |wanted: &str| {
            self.upstreams.iter().find(|upstream| upstream.domains.iter().any(|domain| domain == wanted))
        };
        let upstream = domain.and_then(|domain| of(&domain)).or_else(|| of("*")).or_else(|| {
            match self.upstreams.as_slice() {
                [only] if only.domains.is_empty() => Some(only),
                _ => None,
            }
        })?;
        Some(Route { upstream: Arc::clone(upstream), username: upstream.username.fill(login) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    fn accounts(text: &str) -> Accounts {
        let config = Config::parse(text, "test", Path::new(".")).expect("a configuration");
        Accounts::new(config.upstreams)
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
}
