//! From the answers to the configuration: what is added to the file, and nothing else touched.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::listening::Opening;
use super::sign_in;
use super::tables::{like, push, rows, section, set, text};
use super::write::Existing;
use crate::cli::exit::Failure;
use crate::config::{Config, ConfigError, OnDelete, OnRetrieve, Upstream};

/// Above a new file.
const HEAD: &str = "\
# Written by popbridge setup. Every other key, its default and the reason for it:
# config/popbridge.toml of popbridge. Try a change out with popbridge check.

";

/// All answers.
pub struct Plan<'a> {
    pub address: String,
    pub upstream: Target<'a>,
    pub username: &'a str,
    pub access: Access<'a>,
    pub login: &'a str,
    pub password_hash: &'a str,
    pub maildrop: Maildrop,
    /// `None`: a listener that is there already, and open to it.
    pub opening: Option<Opening>,
    /// The state database, if the configuration shall name it.
    pub state: Option<&'a str>,
}

/// Where the account's mail is.
pub enum Target<'a> {
    New(&'a NewUpstream),
    /// The configuration has it, under this name.
    Known(&'a str),
}

/// A mail server that the configuration does not have.
pub struct NewUpstream {
    pub url: String,
    pub ca_certificate: Option<PathBuf>,
    /// The user name of logins that have no account.
    pub username: Option<String>,
}

/// How popbridge gets in at the mail server.
pub enum Access<'a> {
    /// The file's name, beside the configuration.
    PasswordFile(String),
    OAuth {
        provider: &'a str,
        client_id: &'a str,
        /// A new one; `None`: it has none, or the configuration has it.
        client_secret_file: Option<String>,
    },
}

/// What the device sees, and does.
pub struct Maildrop {
    pub on_delete: OnDelete,
    pub on_retrieve: OnRetrieve,
    pub newest: Option<u32>,
    pub max_age: Option<String>,
}

impl NewUpstream {
    fn table(&self) -> Table {
        let mut table = Table::new();
        table.insert("url", text(&self.url));
        if let Some(template) = self.username.as_ref().filter(|template| *template != "{login}") {
            table.insert("username", text(template));
        }
        if let Some(path) = &self.ca_certificate {
            table.insert("ca_certificate", text(&path.display().to_string()));
        }
        table
    }

    /// As a configuration with nothing else would have it.
    pub fn resolve(&self) -> Result<Arc<Upstream>, ConfigError> {
        let mut document = DocumentMut::new();
        document.insert("upstream", Item::Table(Table::from_iter([("home", Item::Table(self.table()))])));
        let config = Config::parse(&document.to_string(), "setup", Path::new("/"))?;
        let upstream = config.upstreams.into_iter().next();
        upstream.ok_or(ConfigError::Whole { origin: "setup".to_owned(), message: "no upstream".to_owned() })
    }
}

impl Plan<'_> {
    /// The configuration's text as it shall be.
    pub fn text(&self, existing: &Existing) -> Result<String, Failure> {
        let mut document = existing.document()?;
        let config = existing.config.as_ref();
        if let Some(opening) = &self.opening {
            opening.add(&mut document, config)?;
        }
        let upstream = self.add_upstream(&mut document, config)?;
        let oauth = sign_in::add(&mut document, &self.access)?;
        self.add_account(&mut document, &upstream, oauth.as_deref())?;
        if let Some(url) = self.state {
            set(section(document.as_table_mut(), "state")?, "url", text(url));
        }
        let text = document.to_string();
        Ok(if existing.is_there() { text } else { format!("{HEAD}{}\n", text.trim()) })
    }

    /// The upstream's name.
    fn add_upstream(&self, document: &mut DocumentMut, config: Option<&Config>) -> Result<String, Failure> {
        let new = match self.upstream {
            Target::New(new) => new,
            Target::Known(name) => return Ok(name.to_owned()),
        };
        let upstreams = config.map(|config| config.upstreams.as_slice()).unwrap_or_default();
        let domain = self.address.rsplit_once('@').map_or("", |(_, domain)| domain);
        let label = domain.split('.').next().filter(|label| !label.is_empty()).unwrap_or("home");
        let stem = if upstreams.is_empty() { "home" } else { label };
        let names =
            (1..).map(|number: u32| if number == 1 { stem.to_owned() } else { format!("{stem}{number}") });
        let free = |name: &String| upstreams.iter().all(|known| known.name != *name);
        let name = names.into_iter().find(free).unwrap_or_default();
        let mut table = new.table();
        let tables = section(document.as_table_mut(), "upstream")?;
        // With several, each says whose it is. The one that had everybody keeps the rest.
        for known in upstreams.iter().filter(|known| known.domains.is_empty()) {
            section(tables, &known.name)?.insert("domains", Value::from(Array::from_iter(["*"])).into());
        }
        if !upstreams.is_empty() {
            let taken =
                |domain: &str| upstreams.iter().any(|known| known.domains.iter().any(|own| own == domain));
            // Logins that go elsewhere today go there tomorrow; this one is for its accounts alone.
            let served =
                taken("*") || upstreams.iter().any(|known| known.domains.is_empty()) || taken(domain);
            let wanted = [domain.to_owned(), name.clone(), format!("{name}.invalid")];
            let wanted = if served { &wanted[1..] } else { &wanted[..] };
            let own = wanted.iter().find(|domain| !domain.is_empty() && !taken(domain));
            table.insert("domains", Value::from(Array::from_iter(own)).into());
        }
        tables.insert(&name, Item::Table(table));
        Ok(name)
    }

    fn add_account(
        &self,
        document: &mut DocumentMut,
        upstream: &str,
        oauth: Option<&str>,
    ) -> Result<(), Failure> {
        let accounts = document.entry("account").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
        let is_ours =
            |table: &&mut dyn TableLike| table.get("login").and_then(Item::as_str) == Some(self.login);
        if let Some(table) = rows(accounts).into_iter().find(is_ours) {
            return self.fill(table, upstream, oauth);
        }
        let mut table = Table::new();
        self.fill(&mut table, upstream, oauth)?;
        push(accounts, table)
    }

    /// Sets what was answered; `allow` and whatever else stands there stays.
    fn fill(&self, table: &mut dyn TableLike, upstream: &str, oauth: Option<&str>) -> Result<(), Failure> {
        set(table, "login", text(self.login));
        set(table, "upstream", text(upstream));
        set(table, "username", text(self.username));
        set(table, "password_hash", text(self.password_hash));
        for key in ["password_file", "password_env", "password_command", "password_credential", "oauth"] {
            let value = match (key, &self.access, oauth) {
                ("password_file", Access::PasswordFile(name), _) => text(name),
                ("oauth", _, Some(name)) => text(name),
                _ => {
                    table.remove(key);
                    continue;
                }
            };
            set(table, key, value);
        }
        let maildrop = table.entry("maildrop").or_insert(Item::Value(InlineTable::new().into()));
        let maildrop = like(maildrop, "maildrop")?;
        set(maildrop, "on_delete", text(self.maildrop.on_delete.name()));
        set(maildrop, "on_retrieve", text(self.maildrop.on_retrieve.name()));
        match self.maildrop.newest {
            Some(newest) => set(maildrop, "newest", Value::from(i64::from(newest)).into()),
            None => drop(maildrop.remove("newest")),
        }
        match &self.maildrop.max_age {
            Some(age) => set(maildrop, "max_age", text(age)),
            None => drop(maildrop.remove("max_age")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::config::ListenerTls;

    fn new_upstream(url: &str) -> NewUpstream {
        NewUpstream { url: url.to_owned(), ca_certificate: None, username: Some("{local}".to_owned()) }
    }

    fn plan<'a>(upstream: Target<'a>, access: Access<'a>) -> Plan<'a> {
        Plan {
            address: "alice@example.org".to_owned(),
            upstream,
            username: "alice",
            access,
            login: "scanner",
            password_hash: "HASH",
            maildrop: Maildrop {
                on_delete: OnDelete::Hide,
                on_retrieve: OnRetrieve::Leave,
                newest: None,
                max_age: None,
            },
            opening: None,
            state: None,
        }
    }

    fn password() -> Access<'static> {
        Access::PasswordFile("scanner.password".to_owned())
    }

    /// What becomes of a file.
    fn changed(before: &str, plan: &Plan<'_>) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("popbridge.toml");
        std::fs::write(&path, before).expect("written");
        let existing = Existing::read(&path).unwrap_or_else(|_| panic!("not good: {before}"));
        plan.text(&existing).unwrap_or_else(|_| panic!("not changed: {before}"))
    }

    #[test]
    fn a_sign_in_is_written_once() {
        let upstream = new_upstream("imaps://imap.gmail.com");
        let secret = Some("google.client-secret".to_owned());
        let oauth =
            || Access::OAuth { provider: "google", client_id: "id", client_secret_file: secret.clone() };
        let existing =
            Existing::read(Path::new("/nowhere/popbridge.toml")).unwrap_or_else(|_| panic!("none"));
        let text = plan(Target::New(&upstream), oauth()).text(&existing).unwrap_or_else(|_| panic!("a text"));
        let expected = "[upstream.home]\nurl = \"imaps://imap.gmail.com\"\nusername = \"{local}\"\n\n\
            [oauth.google]\nprovider = \"google\"\nclient_id = \"id\"\n\
            client_secret_file = \"google.client-secret\"\n\n\
            [[account]]\nlogin = \"scanner\"\nupstream = \"home\"\nusername = \"alice\"\n\
            password_hash = \"HASH\"\noauth = \"google\"\n\
            maildrop = { on_delete = \"hide\", on_retrieve = \"leave\" }\n";
        assert_eq!(text.strip_prefix(HEAD), Some(expected));
        // Another device of the same client.
        let mut document: DocumentMut = text.parse().expect("TOML");
        let again = plan(Target::Known("home"), oauth());
        assert_eq!(sign_in::add(&mut document, &again.access).ok().flatten().as_deref(), Some("google"));
        let other = Access::OAuth { provider: "google", client_id: "other", client_secret_file: None };
        let other = plan(Target::Known("home"), other);
        assert_eq!(sign_in::add(&mut document, &other.access).ok().flatten().as_deref(), Some("google2"));
    }

    #[test]
    fn tables_may_have_been_written_in_other_forms() {
        let before = "upstream = { home = { url = \"imaps://imap.example.net\" } } # one\n\
            account = [{ login = \"phone\" }] # all\nlistener = [{ address = \"127.0.0.1:1110\" }]\n";
        let upstream = new_upstream("imaps://imap.example.org");
        let address = SocketAddr::from(([0, 0, 0, 0], 995));
        let network = "192.168.1.0/24".parse().ok();
        let opening = Some(Opening { address, tls: ListenerTls::Implicit, network });
        let plan = Plan { opening, ..plan(Target::New(&upstream), password()) };
        let text = changed(before, &plan);
        let document: DocumentMut = text.parse().expect("TOML");
        assert_eq!(document["account"].as_array().map(Array::len), Some(2), "{text}");
        assert_eq!(document["listener"].as_array().map(Array::len), Some(2), "{text}");
        assert_eq!(document["upstream"]["example"]["domains"][0].as_str(), Some("example"), "{text}");
        assert_eq!(document["upstream"]["home"]["domains"][0].as_str(), Some("*"), "{text}");
        assert_eq!(document["tls"]["self_signed"].as_bool(), Some(true), "{text}");
        assert!(text.contains("# one") && text.contains("# all"), "{text}");
    }

    #[test]
    fn a_domain_that_is_taken_stays_where_it_is() {
        let before = "[upstream.example]\nurl = \"imaps://old.example.org\"\ndomains = [\"example.org\"]\n\
            [upstream.rest]\nurl = \"imaps://rest.example\"\ndomains = [\"*\", \"example2\"]\n";
        let upstream = new_upstream("imaps://imap.example.org");
        let text = changed(before, &plan(Target::New(&upstream), password()));
        assert!(
            text.contains("[upstream.example2]\n") && text.contains("domains = [\"example2.invalid\"]"),
            "{text}"
        );
        assert!(text.starts_with(
            "[upstream.example]\nurl = \"imaps://old.example.org\"\ndomains = [\"example.org\"]\n"
        ));
    }

    #[test]
    fn an_account_is_set_up_anew_in_its_place() {
        let before = "[upstream.home]\nurl = \"imaps://imap.example.org\"\n\
            [[account]] # hall\nlogin = \"scanner\"\npassword_env = \"X\"\npassword_hash = \"$argon2id$v=19$m=19456,\
            t=2,p=1$ZG8gbm90IHVzZSB0aGlz$lrOq7Pq4eU+WbR35N6gHT5pqR6f1nXNAq4TxPTZmBvs\" # old\nallow = [\"10.0.0.1\"]\n\
            [account.maildrop]\nnewest = 5\nfolders = [\"Scans\"] # only\n[[account]]\nlogin = \"phone\"\n";
        let text = changed(before, &plan(Target::Known("home"), password()));
        let expected = "[upstream.home]\nurl = \"imaps://imap.example.org\"\n\
            [[account]] # hall\nlogin = \"scanner\"\npassword_hash = \"HASH\" # old\nallow = [\"10.0.0.1\"]\n\
            upstream = \"home\"\nusername = \"alice\"\npassword_file = \"scanner.password\"\n\
            [account.maildrop]\nfolders = [\"Scans\"] # only\non_delete = \"hide\"\non_retrieve = \"leave\"\n\
            [[account]]\nlogin = \"phone\"\n";
        assert_eq!(text, expected);
    }
}
