//! A listener in the configuration, new or open to one more, with its certificate and whoever may log
//! in there.

use std::net::SocketAddr;

use ipnet::IpNet;
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, TableLike, Value};

use super::tables::{push, rows, section, set, text};
use crate::cli::exit::{self, Failure};
use crate::config::{Config, Listener, ListenerTls, PlaintextLogin};

/// A place to connect to, and who shall get in there.
#[derive(Debug, Clone)]
pub struct Opening {
    pub address: SocketAddr,
    pub tls: ListenerTls,
    /// Who may connect, if it is not this machine alone.
    pub network: Option<IpNet>,
}

impl Opening {
    /// Opens it: adds the listener and what it needs to be of use, or lets the network in where
    /// there is one already.
    pub fn add(&self, document: &mut DocumentMut, config: Option<&Config>) -> Result<(), Failure> {
        let listeners = config.map(|config| config.listeners.as_slice()).unwrap_or_default();
        match (listeners.iter().find(|known| known.address == self.address), self.network) {
            (Some(known), Some(network)) => self.widen(document, known, network),
            (Some(_), None) => {}
            (None, _) => self.add_new(document, config)?,
        }
        match (self.network, self.tls) {
            (Some(network), ListenerTls::None) => allow_plaintext(document, config, network),
            _ => Ok(()),
        }
    }

    /// An empty list lets everyone in already.
    fn widen(&self, document: &mut DocumentMut, known: &Listener, network: IpNet) {
        if known.allow.is_empty() || known.allow.iter().any(|allowed| allowed.contains(&network)) {
            return;
        }
        let is_ours = |table: &&mut dyn TableLike| {
            let address = table.get("address").and_then(Item::as_str);
            address.and_then(|text| text.parse().ok()) == Some(self.address)
        };
        let table = document.get_mut("listener").and_then(|item| rows(item).into_iter().find(is_ours));
        if let Some(list) = table.and_then(|table| table.get_mut("allow")?.as_array_mut()) {
            list.push(network.to_string());
        }
    }

    fn add_new(&self, document: &mut DocumentMut, config: Option<&Config>) -> Result<(), Failure> {
        // The listener that a file without any has by default goes on.
        let implied = config.filter(|_| !document.contains_key("listener")).into_iter();
        for implied in implied.flat_map(|config| &config.listeners) {
            let tables = document.entry("listener").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
            push(tables, Table::from_iter([("address", text(&implied.address.to_string()))]))?;
        }
        let mut table = Table::new();
        table.insert("address", text(&self.address.to_string()));
        table.insert("tls", text(self.tls.name()));
        if let Some(network) = self.network {
            table.insert("allow", with_loopback(network));
        }
        push(document.entry("listener").or_insert(Item::ArrayOfTables(ArrayOfTables::new())), table)?;
        let certified = config.is_some_and(|config| config.certificate.is_some());
        if self.tls != ListenerTls::None && !certified {
            section(document.as_table_mut(), "tls")?.insert("self_signed", Value::from(true).into());
        }
        Ok(())
    }
}

/// Lets a network send passwords without TLS, beside whoever may already.
fn allow_plaintext(
    document: &mut DocumentMut,
    config: Option<&Config>,
    network: IpNet,
) -> Result<(), Failure> {
    let allowed = config.map_or(&PlaintextLogin::Loopback, |config| &config.security.plaintext_login);
    match allowed {
        PlaintextLogin::Always => return Ok(()),
        PlaintextLogin::Networks(list) if list.iter().any(|known| known.contains(&network)) => return Ok(()),
        PlaintextLogin::Never => {
            let text =
                "plaintext_login = \"never\" in [security] forbids a listener without TLS; change that first";
            return Err(Failure::new(exit::CONFIG, anyhow::anyhow!(text)));
        }
        PlaintextLogin::Networks(_) | PlaintextLogin::Loopback => {}
    }
    let table = section(document.as_table_mut(), "security")?;
    match table.get_mut("plaintext_login").and_then(Item::as_array_mut) {
        Some(list) => list.push(network.to_string()),
        None => set(table, "plaintext_login", with_loopback(network)),
    }
    Ok(())
}

/// This machine's own programs, and a network. A list replaces the default, it does not add to it.
fn with_loopback(network: IpNet) -> Item {
    let networks = ["127.0.0.0/8".to_owned(), "::1/128".to_owned(), network.to_string()];
    Value::from(Array::from_iter(networks)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn whoever_may_log_in_without_tls_still_may() {
        let upstream = "[upstream.home]\nurl = \"imaps://imap.example.org\"\n";
        let address = SocketAddr::from(([0, 0, 0, 0], 110));
        let network = "192.168.1.0/24".parse().ok();
        let opening = Opening { address, tls: ListenerTls::None, network };
        for (before, after) in [
            ("\"always\" # all", "\"always\" # all"),
            ("[\"10.0.0.0/8\"] # VPN", "[\"10.0.0.0/8\", \"192.168.1.0/24\"] # VPN"),
            ("[\"192.168.0.0/16\"]", "[\"192.168.0.0/16\"]"),
            ("\"loopback\" # usual", "[\"127.0.0.0/8\", \"::1/128\", \"192.168.1.0/24\"] # usual"),
        ] {
            let text = format!("{upstream}[security]\nplaintext_login = {before}\n");
            let config = Config::parse(&text, "test", Path::new("/")).expect("a configuration");
            let mut document: DocumentMut = text.parse().expect("TOML");
            assert!(opening.add(&mut document, Some(&config)).is_ok());
            let text = document.to_string();
            assert!(text.contains(&format!("plaintext_login = {after}\n")), "{text}");
            assert!(text.contains("[[listener]]\naddress = \"127.0.0.1:1110\"\n"), "the implied one: {text}");
        }
    }
}
