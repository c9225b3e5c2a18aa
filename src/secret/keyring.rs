//! The key that the state's secrets are sealed with: where it is, how it is made, and what else is
//! derived from it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use zeroize::Zeroizing;

use super::seal::{KEY_LEN, Seal, Unsealable};
use super::source::passes;
use super::{NoRandom, Secret, SecretSource, Unreadable};
use crate::owner::{folder_of, give_to_owner_of};

/// Seals secrets with the key in one place, and opens them. The key is read each time: that is
/// seldom, and a key that was put right counts at once.
#[derive(Debug, Clone)]
pub struct Keyring(Place);

#[derive(Clone)]
enum Place {
    Source(SecretSource),
    /// For what does not outlive the process.
    Memory(Zeroizing<[u8; KEY_LEN]>),
}

/// A key of one purpose.
pub struct Subkey(hmac::Key);

impl Subkey {
    /// What looks random to who does not have the key, always the same for the same octets
    /// (HMAC-SHA-256, RFC 2104).
    pub fn tag(&self, octets: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0, octets)
    }
}

/// Why there is no key, or it does not fit.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyError {
    #[error("the state key cannot be read from {key}: {reason}")]
    Unreadable { key: &'static str, reason: String, may_pass: bool },
    #[error(
        "the state key cannot be made at {path}: {reason}. Let popbridge write there, or say in [state] where \
         else the key is: key_file, key_env or key_credential"
    )]
    NotMade { path: String, reason: String, may_pass: bool },
    #[error(
        "what {key} holds is no state key: that is 32 random octets in base64, as \"openssl rand -base64 32\" prints them"
    )]
    NoKey { key: &'static str },
    #[error(
        "a token in the state database does not open with the key of {key}: {reason}. Put the former key back, or \
         sign in anew: popbridge authorize LOGIN"
    )]
    Foreign { key: &'static str, reason: Unsealable },
    #[error(transparent)]
    Random(#[from] NoRandom),
}

impl KeyError {
    /// Whether it may pass without anybody's doing.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreadable { may_pass, .. } | Self::NotMade { may_pass, .. } => *may_pass,
            Self::NoKey { .. } | Self::Foreign { .. } | Self::Random(_) => false,
        }
    }
}

impl Keyring {
    /// With the key in this place: a file, a variable or a credential; a file that is not there is
    /// made when first it is needed.
    pub fn new(source: SecretSource) -> Self {
        Self(Place::Source(source))
    }

    /// With a new key that nobody will have again.
    pub fn in_memory() -> Result<Self, NoRandom> {
        Ok(Self(Place::Memory(Seal::new_key()?)))
    }

    /// Whether the key can be had, or could be made.
    pub async fn check(&self) -> Result<(), KeyError> {
        match self.key().await {
            Err(KeyError::Unreadable { .. }) if self.missing().is_some() => Ok(()),
            key => key.map(drop),
        }
    }

    /// Seals a secret under a name; see [`Seal::seal`].
    pub async fn seal(&self, name: &[&str], secret: &Secret) -> Result<Vec<u8>, KeyError> {
        Ok(Seal::new(&*self.made().await?).seal(name, secret)?)
    }

    /// The key for another purpose, always the same for the same label: who knows it learns
    /// nothing of the key itself, nor of other labels' ones.
    pub async fn subkey(&self, label: &str) -> Result<Subkey, KeyError> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*self.made().await?);
        Ok(Subkey(hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, label.as_bytes()).as_ref())))
    }

    /// Opens what was sealed under this name.
    pub async fn open(&self, name: &[&str], sealed: &[u8]) -> Result<Secret, KeyError> {
        let seal = Seal::new(&*self.key().await?);
        seal.open(name, sealed).map_err(|reason| KeyError::Foreign { key: self.name(), reason })
    }

    /// The configuration's key for the place.
    fn name(&self) -> &'static str {
        match &self.0 {
            Place::Source(SecretSource::File(_)) => "key_file",
            Place::Source(SecretSource::Environment(_)) => "key_env",
            Place::Source(SecretSource::Credential(_)) => "key_credential",
            Place::Source(SecretSource::Command(_)) => "key_command",
            Place::Memory(_) => "this process",
        }
    }

    /// The file that is still to be made.
    fn missing(&self) -> Option<PathBuf> {
        match &self.0 {
            Place::Source(SecretSource::File(path)) => {
                let found = fs::symlink_metadata(path);
                found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound).then(|| path.clone())
            }
            Place::Source(_) | Place::Memory(_) => None,
        }
    }

    /// The key, which is made where it is missing.
    async fn made(&self) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyError> {
        if let Some(path) = self.missing() {
            let shown = path.display().to_string();
            make(&path).map_err(|error| KeyError::NotMade {
                path: shown,
                may_pass: passes(&error),
                reason: error.to_string(),
            })?;
        }
        self.key().await
    }

    async fn key(&self) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyError> {
        let source = match &self.0 {
            Place::Memory(key) => return Ok(key.clone()),
            Place::Source(source) => source,
        };
        let text = source.read().await.map_err(|reason: Unreadable| KeyError::Unreadable {
            key: self.name(),
            may_pass: reason.may_pass(),
            reason: reason.to_string(),
        })?;
        let octets = STANDARD.decode(text.expose().trim_ascii()).map(Zeroizing::new).ok();
        let mut key = Zeroizing::new([0; KEY_LEN]);
        match octets {
            Some(octets) if octets.len() == KEY_LEN => key.copy_from_slice(&octets),
            _ => return Err(KeyError::NoKey { key: self.name() }),
        }
        Ok(key)
    }
}

/// Names the place only.
impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Source(source) => f.write_str(source.kind()),
            Self::Memory(_) => f.write_str("memory"),
        }
    }
}

/// Makes a key file: whole or not at all, for its owner alone, and never over another one. Where two
/// processes make it at once, one of them wins and both use its key.
fn make(path: &Path) -> io::Result<()> {
    let folder = folder_of(path);
    let key = Seal::new_key().map_err(io::Error::other)?;
    let text = Zeroizing::new(STANDARD.encode(*key) + "\n");
    // Written under a name that nobody reads, then given its own, which fails if there is one.
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let draft = folder.join(format!(".{name}.{}.{:016x}", std::process::id(), fastrand::u64(..)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = give_to_owner_of(folder, &file)
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.sync_all())
        .and_then(|()| match fs::hard_link(&draft, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    let removed = fs::remove_file(&draft);
    written.and(removed)?;
    // Before anything is sealed with it, its name is on the disk, too.
    fs::File::open(folder).and_then(|folder| folder.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn secret() -> Secret {
        Secret::new(b"refresh-token".to_vec())
    }

    fn ring(path: &Path) -> Keyring {
        Keyring::new(SecretSource::File(path.to_owned()))
    }

    #[tokio::test]
    async fn a_key_is_made_once_for_its_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("popbridge.key");
        let ring = ring(&path);
        ring.check().await.expect("it can be made");
        assert!(!path.exists(), "a look makes nothing");
        assert!(matches!(ring.open(&["a"], &[1; 40]).await, Err(KeyError::Unreadable { .. })));
        assert!(!path.exists(), "nothing opens with a new key");
        let sealed = ring.seal(&["a"], &secret()).await.expect("sealed");
        assert_eq!(path.metadata().expect("made").permissions().mode() & 0o7777, 0o600);
        assert_eq!(ring.open(&["a"], &sealed).await.expect("opened"), secret());
        let text = fs::read(&path).expect("readable");
        ring.seal(&["a"], &secret()).await.expect("sealed");
        assert_eq!(fs::read(&path).expect("readable"), text, "the same key");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "no draft is left");
    }

    #[tokio::test]
    async fn roots_key_is_the_folders_owners() {
        use std::os::unix::fs::{MetadataExt as _, chown};

        let folder = tempfile::tempdir().expect("a folder");
        // Only root can tell.
        if chown(folder.path(), Some(65_533), Some(65_533)).is_err() {
            return;
        }
        let path = folder.path().join("popbridge.key");
        ring(&path).seal(&["a"], &secret()).await.expect("sealed");
        let key = path.metadata().expect("made");
        assert_eq!((key.uid(), key.gid(), key.mode() & 0o7777), (65_533, 65_533, 0o600));
    }

    #[tokio::test]
    async fn each_purpose_has_a_lasting_key_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("popbridge.key");
        let tag = async |ring: &Keyring, label: &str| {
            ring.subkey(label).await.expect("a key").tag(b"scanner").as_ref().to_vec()
        };
        let first = tag(&ring(&path), "salts").await;
        assert_eq!(path.metadata().expect("made").permissions().mode() & 0o7777, 0o600);
        assert_eq!(tag(&ring(&path), "salts").await, first, "it outlives the process");
        assert_ne!(tag(&ring(&path), "others").await, first);
        let key = STANDARD.decode(fs::read_to_string(&path).expect("readable").trim()).expect("base64");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        assert_ne!(hmac::sign(&key, b"scanner").as_ref(), first, "it is not the key itself");
        let other = Keyring::in_memory().expect("random numbers");
        assert_ne!(tag(&other, "salts").await, first);
        assert_eq!(tag(&other, "salts").await, tag(&other.clone(), "salts").await);
        fs::write(&path, "hunter2\n").expect("written");
        assert!(matches!(ring(&path).subkey("salts").await, Err(KeyError::NoKey { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("our file");
        assert!(matches!(ring(&path).subkey("salts").await, Err(KeyError::Unreadable { .. })));
        let nowhere = folder.path().join("missing/popbridge.key");
        let error = ring(&nowhere).subkey("salts").await.err().expect("no folder").to_string();
        assert!(error.contains("key_file") && error.contains("missing/popbridge.key"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn all_that_make_it_at_once_agree() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().expect("a folder");
            let ring = ring(&folder.path().join("popbridge.key"));
            let sealing: Vec<_> = (0..8)
                .map(|_| {
                    let ring = ring.clone();
                    tokio::spawn(async move { ring.seal(&["a"], &secret()).await })
                })
                .collect();
            for sealed in sealing {
                let sealed = sealed.await.expect("no panic").expect("sealed");
                assert_eq!(ring.open(&["a"], &sealed).await.expect("opened"), secret());
            }
        }
    }

    #[tokio::test]
    async fn an_open_or_wrong_key_is_refused_with_the_way_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("popbridge.key");
        let ring = ring(&path);
        let sealed = ring.seal(&["a"], &secret()).await.expect("sealed");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("our file");
        for error in [
            ring.seal(&["a"], &secret()).await.expect_err("open").to_string(),
            ring.open(&["a"], &sealed).await.expect_err("open").to_string(),
            ring.check().await.expect_err("open").to_string(),
        ] {
            assert!(error.contains("key_file") && error.contains("chmod 600"), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our file");
        for text in ["", "\n", "hunter2\n", &STANDARD.encode([7; 31]), &STANDARD.encode([7; 33])] {
            fs::write(&path, text).expect("written");
            let error = ring.open(&["a"], &sealed).await.expect_err("no key").to_string();
            assert!(!error.contains("hunter2") && error.contains("key_file"), "{error}");
        }
        fs::write(&path, STANDARD.encode([7; 32])).expect("written");
        let error = ring.open(&["a"], &sealed).await.expect_err("another key").to_string();
        assert!(error.contains("key_file") && error.contains("popbridge authorize"), "{error}");
    }

    #[tokio::test]
    async fn a_key_that_is_wrong_does_not_pass() {
        let folder = tempfile::tempdir().expect("a folder");
        let ring = ring(&folder.path().join("nothing/popbridge.key"));
        assert!(!ring.open(&["a"], &[1; 40]).await.expect_err("no file").may_pass());
        assert!(!ring.seal(&["a"], &secret()).await.expect_err("no folder").may_pass());
        let file = folder.path().join("file");
        fs::write(&file, "").expect("written");
        // An error of the system that is neither of the two.
        let ring = self::ring(&file.join("popbridge.key"));
        assert!(ring.open(&["a"], &[1; 40]).await.expect_err("no folder").may_pass());
    }

    #[tokio::test]
    async fn without_a_place_it_serves_this_process() {
        let ring = Keyring::in_memory().expect("random numbers");
        let sealed = ring.seal(&["a"], &secret()).await.expect("sealed");
        assert_eq!(ring.open(&["a"], &sealed).await.expect("opened"), secret());
        let other = Keyring::in_memory().expect("random numbers");
        assert!(other.open(&["a"], &sealed).await.is_err());
        assert_eq!(format!("{ring:?}"), "Keyring(memory)");
    }
}
