//! A sign-in by OAuth in the configuration: one for all devices of the same client.

use toml_edit::{DocumentMut, Item, Table};

use super::plan::Access;
use super::tables::{section, set, text};
use crate::cli::exit::Failure;

/// Adds it if it is not there: its name, if there is one.
pub fn add(document: &mut DocumentMut, access: &Access<'_>) -> Result<Option<String>, Failure> {
    let Access::OAuth { provider, client_id, client_secret_file } = access else {
        return Ok(None);
    };
    let known = known(document, provider, client_id);
    let tables = section(document.as_table_mut(), "oauth")?;
    if let Some(name) = known {
        if let Some(file) = client_secret_file {
            let table = section(tables, &name)?;
            for key in ["client_secret_env", "client_secret_command", "client_secret_credential"] {
                table.remove(key);
            }
            set(table, "client_secret_file", text(file));
        }
        return Ok(Some(name));
    }
    let names = (1..).map(|number: u32| match number {
        1 => (*provider).to_owned(),
        _ => format!("{provider}{number}"),
    });
    let name = names.into_iter().find(|name| !tables.contains_key(name)).unwrap_or_default();
    let mut table = Table::new();
    table.insert("provider", text(provider));
    table.insert("client_id", text(client_id));
    if let Some(file) = client_secret_file {
        table.insert("client_secret_file", text(file));
    }
    tables.insert(&name, Item::Table(table));
    Ok(Some(name))
}

/// The name of this client's sign-in, if it is there.
pub fn known(document: &DocumentMut, provider: &str, client_id: &str) -> Option<String> {
    let same = |item: &Item| {
        let word = |key| item.as_table_like().and_then(|table| table.get(key)?.as_str());
        word("provider") == Some(provider) && word("client_id") == Some(client_id)
    };
    let mut sign_ins = document.get("oauth")?.as_table_like()?.iter();
    sign_ins.find(|(_, item)| same(item)).map(|(name, _)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_client_secret_counts() {
        let before = "[oauth.ours]\nprovider = \"google\"\nclient_id = \"id\"\nclient_secret_env = \"OLD\"\n";
        let mut document: DocumentMut = before.parse().expect("TOML");
        let secret = |file: Option<&str>| Access::OAuth {
            provider: "google",
            client_id: "id",
            client_secret_file: file.map(str::to_owned),
        };
        assert_eq!(add(&mut document, &secret(None)).ok().flatten().as_deref(), Some("ours"));
        assert_eq!(document.to_string(), before);
        assert_eq!(add(&mut document, &secret(Some("new"))).ok().flatten().as_deref(), Some("ours"));
        let text = document.to_string();
        assert!(text.contains("client_secret_file = \"new\"") && !text.contains("_env"), "{text}");
    }
}
