//! The files: what is there, and how it becomes what it shall be. Either all is written or nothing
//! is changed.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use toml_edit::DocumentMut;

use crate::cli::exit::{self, Failure};
use crate::cli::login::read_password;
use crate::config::{Config, ConfigError};
use crate::secret::{Secret, SecretSource};

/// For files that setup makes: what is in them is nobody else's.
const OWN: u32 = 0o600;

/// The configuration file as it was found.
pub struct Existing {
    /// As it is named; relative paths in it start at its folder.
    pub path: PathBuf,
    /// Where it really is, behind symbolic links.
    target: PathBuf,
    text: Option<String>,
    pub config: Option<Config>,
}

impl Existing {
    /// Reads it; a file that is there has to be right, or nothing could be added to it.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let named = |source| Failure::from(ConfigError::Read { path: path.display().to_string(), source });
        let link = match std::fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = path.to_owned();
                return Ok(Self { target: path.clone(), path, text: None, config: None });
            }
            Err(error) => return Err(named(error)),
        };
        // A link that leads nowhere is somebody's mistake, not a place to write to.
        let target =
            if link.is_symlink() { std::fs::canonicalize(path).map_err(named)? } else { path.to_owned() };
        let text = std::fs::read_to_string(&target).map_err(named)?;
        let config = Some(Config::load(path)?);
        Ok(Self { path: path.to_owned(), target, text: Some(text), config })
    }

    /// To be edited; a new one is empty.
    pub fn document(&self) -> Result<DocumentMut, Failure> {
        let text = self.text.as_deref().unwrap_or_default();
        text.parse().with_context(|| format!("{}", self.path.display())).map_err(Failure::from)
    }

    /// Whether there is a file.
    pub fn is_there(&self) -> bool {
        self.text.is_some()
    }

    /// Whether this login has an account.
    pub fn has(&self, login: &str) -> bool {
        self.config.iter().flat_map(|config| &config.accounts).any(|account| account.login == login)
    }

    /// Whether the sign-in of this name reads this secret already.
    pub fn has_secret(&self, name: &str, secret: &Secret) -> bool {
        let mut sign_ins = self.config.iter().flat_map(|config| &config.sign_ins);
        sign_ins.any(|sign_in| match &sign_in.client_secret {
            Some(SecretSource::File(path)) if sign_in.name == name => {
                read_password(Some(path)).is_ok_and(|known| known == *secret)
            }
            _ => false,
        })
    }

    /// The folder that relative paths start at.
    pub fn folder(&self) -> &Path {
        self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// A name beside the file that nothing has yet.
    pub fn free_name(&self, stem: &str, ending: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_@".contains(c) { c } else { '-' };
        let stem: String = stem.chars().map(plain).collect();
        let stem = Some(stem.trim_start_matches('-')).filter(|stem| !stem.is_empty()).unwrap_or("device");
        let names = (1..).map(|number: u32| match number {
            1 => format!("{stem}.{ending}"),
            _ => format!("{stem}-{number}.{ending}"),
        });
        let free = |name: &String| std::fs::symlink_metadata(self.folder().join(name)).is_err();
        names.into_iter().find(free).unwrap_or_default()
    }
}

/// Writes the secrets beside the configuration, then `text` in its place, and keeps a copy of what
/// was there: where that is.
pub fn write(
    existing: &Existing,
    text: &str,
    secrets: &[(String, Secret)],
) -> Result<Option<PathBuf>, Failure> {
    let mut made = Made::default();
    let folder = existing.folder();
    if std::fs::symlink_metadata(folder).is_err() {
        std::fs::create_dir(folder).map_err(|error| cannot("make", folder, error))?;
        made.0.push(folder.to_owned());
    }
    let old = existing.text.as_ref().map(|_| std::fs::metadata(&existing.target)).transpose();
    let old = old.map_err(|error| cannot("read", &existing.path, error))?;
    for (name, secret) in secrets {
        // Whoever reads the configuration reads these.
        let line = zeroize::Zeroizing::new([secret.expose(), b"\n"].concat());
        made.file(&folder.join(name), &line, OWN, old.as_ref())?;
    }
    Config::parse(text, &existing.path.display().to_string(), folder)?;
    let beside = |ending: &str| {
        let mut name = existing.target.file_name().unwrap_or_default().to_owned();
        name.push(ending);
        existing.target.with_file_name(name)
    };
    let temporary = beside(&format!(".new-{}", std::process::id()));
    let mode = old.as_ref().map_or(OWN, |old| old.mode() & 0o7777);
    made.file(&temporary, text.as_bytes(), mode, old.as_ref())?;
    unchanged(existing)?;
    let backup = match (&existing.text, &old) {
        (Some(before), Some(old)) => {
            let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
            let names = (1..).map(|number: u32| match number {
                1 => beside(&format!(".bak-{now}")),
                _ => beside(&format!(".bak-{now}-{number}")),
            });
            let free = |path: &PathBuf| std::fs::symlink_metadata(path).is_err();
            let path = names.into_iter().find(free).unwrap_or_default();
            made.file(&path, before.as_bytes(), old.mode() & 0o7777, Some(old))?;
            Some(path)
        }
        _ => None,
    };
    std::fs::rename(&temporary, &existing.target)
        .map_err(|error| cannot("replace", &existing.path, error))?;
    made.0.clear();
    // The names of the files, beside what is in them. A file system that cannot has done what it can.
    for folder in [Some(folder), existing.target.parent()].into_iter().flatten() {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(backup)
}

/// Questions take a while, and an editor may have been quicker.
fn unchanged(existing: &Existing) -> Result<(), Failure> {
    let now = match std::fs::read_to_string(&existing.target) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(cannot("read", &existing.path, error)),
    };
    if now == existing.text {
        return Ok(());
    }
    let error = anyhow::anyhow!(
        "{} was changed by somebody else in the meantime: nothing was written. Run setup again",
        existing.path.display()
    );
    Err(Failure::new(exit::CANNOT_CREATE, error))
}

/// Files of a setup that is not finished. They go when it fails.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    /// A file that was not there, with the owner of `like`.
    fn file(
        &mut self,
        path: &Path,
        octets: &[u8],
        mode: u32,
        like: Option<&Metadata>,
    ) -> Result<(), Failure> {
        let failed = |error| cannot("write", path, error);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(OWN).open(path).map_err(failed)?;
        self.0.push(path.to_owned());
        if let Some(like) = like {
            let own = file.metadata().map_err(failed)?;
            if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
                std::os::unix::fs::fchown(&file, Some(like.uid()), Some(like.gid())).map_err(failed)?;
            }
        }
        file.write_all(octets).map_err(failed)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(failed)?;
        file.sync_all().map_err(failed)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            // The folder last; it stays if somebody has put something there.
            let _ = std::fs::remove_file(path).or_else(|_| std::fs::remove_dir(path));
        }
    }
}

fn cannot(what: &str, path: &Path, error: io::Error) -> Failure {
    let error = anyhow::Error::new(error).context(format!("cannot {what} {}", path.display()));
    Failure::new(exit::CANNOT_CREATE, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[upstream.home]\nurl = \"imaps://imap.example.org\"\n";

    fn secret(name: &str) -> (String, Secret) {
        (name.to_owned(), Secret::new(b"s3cret".to_vec()))
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn existing(path: &Path) -> Existing {
        Existing::read(path).unwrap_or_else(|_| panic!("{} can be read", path.display()))
    }

    #[test]
    fn what_popbridge_would_not_take_is_not_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/popbridge.toml");
        let found = existing(&path);
        for wrong in ["adress = 1\n", "[[account]]\nlogin = \"scanner\"\n", &format!("{GOOD}[maildrop\n")] {
            assert!(write(&found, wrong, &[secret("a.password")]).is_err(), "{wrong}");
            assert!(names(folder.path()).is_empty(), "the folder goes as well");
        }
        assert!(write(&found, GOOD, &[secret("a.password")]).is_ok());
        assert_eq!(names(&folder.path().join("new")), ["a.password", "popbridge.toml"]);
    }

    #[test]
    fn no_secret_is_written_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let found = existing(&folder.path().join("popbridge.toml"));
        std::fs::write(folder.path().join("b.password"), "another's\n").expect("written");
        assert!(write(&found, GOOD, &[secret("a.password"), secret("b.password")]).is_err());
        assert_eq!(names(folder.path()), ["b.password"]);
        assert_eq!(found.free_name("b", "password"), "b-2.password");
        assert_eq!(found.free_name("../é/a b", "password"), "a-b.password");
        assert_eq!(found.free_name("ä", "password"), "device.password");
    }

    #[test]
    fn what_appeared_meanwhile_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("popbridge.toml");
        let found = existing(&path);
        std::fs::write(&path, "# somebody's\n").expect("written");
        assert!(write(&found, GOOD, &[secret("a.password")]).is_err());
        assert_eq!(names(folder.path()), ["popbridge.toml"]);
    }
}
