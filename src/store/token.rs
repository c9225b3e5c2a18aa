//! What signs an account in at its provider. The store has the tokens sealed only.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{Result, Store, now};

/// Whose tokens: a way to sign in, and the user name there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenName {
    pub sign_in: String,
    pub username: String,
}

/// Tokens, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedTokens {
    /// `None`: new ones come without one, or not at all.
    pub refresh: Option<Vec<u8>>,
    pub access: Vec<u8>,
    /// Seconds since 1970.
    pub obtained_at: i64,
    /// When the access token ends; seconds since 1970.
    pub expires_at: i64,
}

/// Tokens as they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTokens {
    /// Another one with each change.
    pub version: i64,
    pub tokens: SealedTokens,
    /// When a person signed in, or the first token came; seconds since 1970.
    pub signed_in_at: i64,
    /// If the provider takes the tokens no more.
    pub refused: Option<Refusal>,
}

/// A provider's no to tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its words.
    pub reason: String,
    /// The client that asked, and where: another one may be taken.
    pub asker: String,
}

impl Store {
    /// The tokens of an account, if there are any.
    pub async fn tokens(&self, name: &TokenName) -> Result<Option<StoredTokens>> {
        let row = sqlx::query(
            "SELECT version, refresh, access, obtained_at, expires_at, signed_in_at, refused, refused_as \
             FROM token WHERE sign_in = $1 AND username = $2",
        )
        .bind(&name.sign_in)
        .bind(&name.username)
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(stored).transpose()
    }

    /// Keeps what a person's sign-in has given, whatever was there; its version.
    pub async fn sign_in(&self, name: &TokenName, tokens: &SealedTokens) -> Result<i64> {
        let row = sqlx::query(
            "INSERT INTO token (sign_in, username, version, refresh, access, obtained_at, expires_at, signed_in_at) \
             VALUES ($1, $2, 1, $3, $4, $5, $6, $7) \
             ON CONFLICT (sign_in, username) DO UPDATE SET version = token.version + 1, \
             refresh = excluded.refresh, access = excluded.access, obtained_at = excluded.obtained_at, \
             expires_at = excluded.expires_at, signed_in_at = excluded.signed_in_at, \
             refused = NULL, refused_as = NULL RETURNING version",
        )
        .bind(&name.sign_in)
        .bind(&name.username)
        .bind(&tokens.refresh)
        .bind(&tokens.access)
        .bind(tokens.obtained_at)
        .bind(tokens.expires_at)
        .bind(now())
        .fetch_one(&self.pool)
        .await?;
        Ok(row.try_get("version")?)
    }

    /// Replaces tokens of just this version (`None`: there are none yet) by newer ones. The new
    /// version; `None` if another process was quicker, whose tokens count.
    pub async fn renew_tokens(
        &self,
        name: &TokenName,
        version: Option<i64>,
        tokens: &SealedTokens,
    ) -> Result<Option<i64>> {
        let sql = match version {
            Some(_) => {
                "UPDATE token SET version = version + 1, refresh = $3, access = $4, obtained_at = $5, \
                 expires_at = $6, refused = NULL, refused_as = NULL \
                 WHERE sign_in = $1 AND username = $2 AND version = $7 RETURNING version"
            }
            None => {
                "INSERT INTO token (sign_in, username, version, refresh, access, obtained_at, expires_at, signed_in_at) \
                 VALUES ($1, $2, 1, $3, $4, $5, $6, $7) ON CONFLICT (sign_in, username) DO NOTHING RETURNING version"
            }
        };
        let row = sqlx::query(sql)
            .bind(&name.sign_in)
            .bind(&name.username)
            .bind(&tokens.refresh)
            .bind(&tokens.access)
            .bind(tokens.obtained_at)
            .bind(tokens.expires_at)
            .bind(version.unwrap_or_else(now))
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|row| row.try_get("version")).transpose()?)
    }

    /// Notes that the provider takes tokens of this version no more. They stay: only a new sign-in
    /// replaces them. False if they have been replaced meanwhile.
    pub async fn refuse_tokens(&self, name: &TokenName, version: i64, refusal: &Refusal) -> Result<bool> {
        let done = sqlx::query(
            "UPDATE token SET refused = $3, refused_as = $4 \
             WHERE sign_in = $1 AND username = $2 AND version = $5",
        )
        .bind(&name.sign_in)
        .bind(&name.username)
        .bind(&refusal.reason)
        .bind(&refusal.asker)
        .bind(version)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }
}

fn stored(row: &SqliteRow) -> Result<StoredTokens> {
    let (reason, asker): (Option<String>, Option<String>) =
        (row.try_get("refused")?, row.try_get("refused_as")?);
    Ok(StoredTokens {
        version: row.try_get("version")?,
        tokens: SealedTokens {
            refresh: row.try_get("refresh")?,
            access: row.try_get("access")?,
            obtained_at: row.try_get("obtained_at")?,
            expires_at: row.try_get("expires_at")?,
        },
        signed_in_at: row.try_get("signed_in_at")?,
        refused: reason.zip(asker).map(|(reason, asker)| Refusal { reason, asker }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Database;

    fn name(username: &str) -> TokenName {
        TokenName { sign_in: "google".to_owned(), username: username.to_owned() }
    }

    fn sealed(octet: u8) -> SealedTokens {
        SealedTokens { refresh: Some(vec![octet]), access: vec![octet, 0], obtained_at: 10, expires_at: 3610 }
    }

    async fn read(store: &Store) -> StoredTokens {
        store.tokens(&name("alice")).await.expect("read").expect("there")
    }

    #[tokio::test]
    async fn only_what_was_seen_is_replaced() {
        let store = Store::open(&Database::Memory).await.expect("a store");
        let alice = name("alice");
        assert_eq!(store.tokens(&alice).await.expect("read"), None);
        let renew = async |version, octet| store.renew_tokens(&alice, version, &sealed(octet)).await;
        assert_eq!(renew(Some(1), 9).await.expect("asked"), None, "there is nothing to renew");
        assert_eq!(renew(None, 1).await.expect("written"), Some(1));
        assert_eq!(renew(None, 2).await.expect("asked"), None, "another was quicker");
        assert_eq!(renew(Some(1), 3).await.expect("written"), Some(2));
        assert_eq!(renew(Some(1), 4).await.expect("asked"), None, "it has seen an older one");
        assert_eq!(read(&store).await.tokens, sealed(3));
        assert_eq!(store.sign_in(&alice, &sealed(5)).await.expect("written"), 3);
        assert_eq!(renew(Some(2), 6).await.expect("asked"), None, "a person has signed in anew");
        assert_eq!(read(&store).await.tokens, sealed(5));
        assert_eq!(store.tokens(&name("bob")).await.expect("read"), None);
    }

    #[tokio::test]
    async fn a_refusal_lasts_until_a_new_sign_in() {
        let store = Store::open(&Database::Memory).await.expect("a store");
        let alice = name("alice");
        let refusal = |reason: &str| Refusal { reason: reason.to_owned(), asker: "client".to_owned() };
        let (gone, late) = (refusal("gone"), refusal("late"));
        let version = store.sign_in(&alice, &sealed(1)).await.expect("written");
        assert!(!store.refuse_tokens(&alice, version + 1, &gone).await.expect("asked"));
        assert!(store.refuse_tokens(&alice, version, &gone).await.expect("written"));
        let refused = read(&store).await;
        assert_eq!((refused.refused.as_ref(), &refused.tokens), (Some(&gone), &sealed(1)), "nothing is lost");
        // What another process had asked for before is stored all the same.
        let renewed = store.renew_tokens(&alice, Some(version), &sealed(2)).await.expect("written");
        assert_eq!(read(&store).await.refused, None);
        assert!(!store.refuse_tokens(&alice, version, &late).await.expect("asked"));
        assert!(store.refuse_tokens(&alice, renewed.expect("renewed"), &gone).await.expect("written"));
        store.sign_in(&alice, &sealed(3)).await.expect("written");
        assert_eq!(read(&store).await.refused, None);
    }
}
