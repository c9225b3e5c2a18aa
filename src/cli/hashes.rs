//! Hashes whose cost tells of a login: the time of an answer is measured by who knocks.

use std::sync::Arc;

use crate::config::Account;
use crate::secret::PasswordHash;

/// A line for each account with a cheaper hash than another account's of the same kind.
pub fn warnings(accounts: &[Arc<Account>]) -> Vec<String> {
    let hash = |account: &Arc<Account>| account.own_password.as_ref()?.hash.clone();
    let hashes: Vec<(&str, PasswordHash)> =
        accounts.iter().filter_map(|account| Some((account.login.as_str(), hash(account)?))).collect();
    let dearer = |hash: &PasswordHash| {
        let alike = hashes.iter().filter(|(_, other)| other.is_like(hash));
        alike.max_by_key(|(_, other)| other.cost()).filter(|(_, other)| other.cost() > hash.cost())
    };
    let warning = |(login, hash): &(&str, PasswordHash)| {
        let (other, _) = dearer(hash)?;
        Some(format!(
            "account {login}: its password_hash takes less work than that of {other}, so a wrong password is \
             answered sooner and shows that there is such a login; give both the same cost, as popbridge \
             hash-password does"
        ))
    };
    hashes.iter().filter_map(warning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    const KEYS: &str =
        "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    const OUTPUT: &str = "nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    fn warned(hashes: &[(&str, String)]) -> Vec<String> {
        let mut text = "[upstream.a]\nurl = \"imaps://a.example\"\n".to_owned();
        for (login, hash) in hashes {
            text += &format!(
                "[[account]]\nlogin = \"{login}\"\npassword_hash = \"{hash}\"\npassword_env = \"A\"\n"
            );
        }
        let config = Config::parse(&text, "test", Path::new(".")).expect("a configuration");
        warnings(&config.accounts)
    }

    #[test]
    fn the_cheaper_of_a_kind_is_named() {
        let scram = |iterations: u32| format!("SCRAM-SHA-256${iterations}:W22ZaJ0SNY7soEsUEjb6gQ==${KEYS}");
        let argon2 = |memory: u32| format!("$argon2id$v=19$m={memory},t=2,p=1$c29tZXNhbHQ${OUTPUT}");
        let alike = [("a", argon2(256)), ("b", scram(4096)), ("c", argon2(256)), ("d", scram(4096))];
        assert_eq!(warned(&alike), Vec::<String>::new(), "kinds are not compared");
        let mixed = [("a", argon2(256)), ("b", scram(4096)), ("c", argon2(512)), ("d", scram(5000))];
        let warnings = warned(&mixed);
        assert_eq!(warnings.len(), 2);
        for (warning, cheap, dear) in [(&warnings[0], "a", "c"), (&warnings[1], "b", "d")] {
            assert!(warning.starts_with(&format!("account {cheap}: ")), "{warning}");
            assert!(warning.contains(&format!(" of {dear},")), "{warning}");
        }
    }
}
