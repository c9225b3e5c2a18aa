//! Where an account's password for the mail server is read from.

use std::fs::Metadata;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use std::{env, fmt};

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::Secret;

/// More is no password, whatever wrote it.
const MOST: usize = 64 * 1024;

/// How long a command may take: somebody waits in front of a mail program.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where systemd lays a service's credentials (systemd.exec(5)).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// One of the places that can hold a password. The password is the first line there.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    File(PathBuf),
    Environment(String),
    /// A program and its arguments, run without a shell.
    Command(Vec<String>),
    /// By its name in systemd's credentials directory.
    Credential(String),
}

/// Why a password cannot be read. Nothing of what was read is in it.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("{path}: {source}")]
    File { path: String, source: io::Error },
    #[error("{0} is no ordinary file")]
    NoFile(String),
    #[error("{path} is open to other users (mode {mode:04o}); close it: chmod 600 {path}")]
    Open { path: String, mode: u32 },
    #[error("the environment variable {0} is not set")]
    NoVariable(String),
    #[error(
        "there is no {CREDENTIALS}: popbridge was not started by systemd with LoadCredential= or \
         SetCredential="
    )]
    NoCredentials,
    #[error("{program} cannot be run: {source}")]
    NotRun { program: String, source: io::Error },
    #[error("{program} failed: {status}")]
    Failed { program: String, status: ExitStatus },
    #[error("{program} has not ended within {} seconds", patience.as_secs())]
    Slow { program: String, patience: Duration },
    #[error("there is more than 64 KiB: no password")]
    TooMuch,
    #[error("its first line is empty")]
    Empty,
}

impl Unreadable {
    /// Whether it may pass without anybody's doing: a command can depend on what is far away, and a
    /// system can be short of descriptors.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Failed { .. } | Self::Slow { .. } => true,
            Self::File { source, .. } | Self::NotRun { source, .. } => passes(source),
            _ => false,
        }
    }
}

/// Whether the system may do later what it did not do now.
pub(super) fn passes(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
}

impl SecretSource {
    /// The configuration's key for a password in it.
    pub fn key(&self) -> &'static str {
        match self {
            Self::File(_) => "password_file",
            Self::Environment(_) => "password_env",
            Self::Command(_) => "password_command",
            Self::Credential(_) => "password_credential",
        }
    }

    /// The same without what is behind the place: a `password_file` is a file.
    pub fn kind(&self) -> &'static str {
        self.key().trim_start_matches("password_")
    }

    /// What can be said without reading it; a command is not run.
    pub fn check(&self) -> Result<(), Unreadable> {
        match self {
            Self::File(path) => existing(path).map(drop),
            Self::Environment(name) => variable(name).map(drop),
            Self::Command(_) => Ok(()),
            Self::Credential(name) => existing(&credential(name)?).map(drop),
        }
    }

    /// Reads it, as it is now.
    pub async fn read(&self) -> Result<Secret, Unreadable> {
        let text = match self {
            Self::File(path) => file(path.clone()).await?,
            Self::Environment(name) => variable(name)?,
            Self::Command(words) => output(words, PATIENCE).await?,
            Self::Credential(name) => file(credential(name)?).await?,
        };
        first_line(&text)
    }
}

/// A command's words may hold what nobody is to see.
impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

fn first_line(text: &[u8]) -> Result<Secret, Unreadable> {
    let line = text.split(|&octet| octet == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(Unreadable::Empty);
    }
    Ok(Secret::new(line.to_vec()))
}

fn variable(name: &str) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    let value = env::var_os(name).ok_or_else(|| Unreadable::NoVariable(name.to_owned()))?;
    Ok(Zeroizing::new(value.into_encoded_bytes()))
}

fn credentials() -> Option<PathBuf> {
    env::var_os(CREDENTIALS).map(PathBuf::from).filter(|folder| folder.is_absolute())
}

fn credential(name: &str) -> Result<PathBuf, Unreadable> {
    credentials().map(|folder| folder.join(name)).ok_or(Unreadable::NoCredentials)
}

/// An ordinary file that is its owner's alone.
fn existing(path: &Path) -> Result<Metadata, Unreadable> {
    let metadata = std::fs::metadata(path).map_err(|source| failed(path, source))?;
    judge(path, &metadata)?;
    Ok(metadata)
}

fn judge(path: &Path, metadata: &Metadata) -> Result<(), Unreadable> {
    if !metadata.is_file() {
        return Err(Unreadable::NoFile(path.display().to_string()));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    // systemd guards the folder, and gives the files in it modes of its own.
    let guarded = credentials().is_some_and(|folder| path.parent() == Some(&folder));
    if mode & 0o077 != 0 && !guarded {
        return Err(Unreadable::Open { path: path.display().to_string(), mode });
    }
    Ok(())
}

fn failed(path: &Path, source: io::Error) -> Unreadable {
    Unreadable::File { path: path.display().to_string(), source }
}

/// Reads the whole of a file that is its owner's alone, of at most 64 KiB.
pub async fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    file(path.to_owned()).await
}

async fn file(path: PathBuf) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    let name = path.clone();
    let reading = tokio::task::spawn_blocking(move || {
        // First by its name: to open a pipe would be to wait for its writer.
        existing(&path)?;
        let file = std::fs::File::open(&path).map_err(|source| failed(&path, source))?;
        judge(&path, &file.metadata().map_err(|source| failed(&path, source))?)?;
        let mut text = room();
        file.take(MOST as u64 + 1).read_to_end(&mut text).map_err(|source| failed(&path, source))?;
        bounded(text)
    });
    reading.await.map_err(|_| failed(&name, io::ErrorKind::Interrupted.into()))?
}

async fn output(words: &[String], patience: Duration) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    let (program, arguments) =
        words.split_first().map_or(("", words), |(first, rest)| (first.as_str(), rest));
    let not_run = |source| Unreadable::NotRun { program: program.to_owned(), source };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(not_run)?;
    let mut text = room();
    let run = async {
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MOST as u64 + 1).read_to_end(&mut text).await.map_err(not_run)?;
        }
        let text = bounded(text)?;
        let status = child.wait().await.map_err(not_run)?;
        if !status.success() {
            return Err(Unreadable::Failed { program: program.to_owned(), status });
        }
        Ok(text)
    };
    timeout(patience, run)
        .await
        .unwrap_or_else(|_| Err(Unreadable::Slow { program: program.to_owned(), patience }))
}

/// Large enough never to be moved, which would leave a copy behind.
fn room() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(MOST + 64))
}

fn bounded(text: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    if text.len() > MOST { Err(Unreadable::TooMuch) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn command(words: &[&str]) -> SecretSource {
        SecretSource::Command(words.iter().map(|&word| word.to_owned()).collect())
    }

    async fn read(source: &SecretSource) -> Result<Vec<u8>, String> {
        source.read().await.map(|secret| secret.expose().to_vec()).map_err(|error| error.to_string())
    }

    fn written(folder: &Path, text: &[u8], mode: u32) -> SecretSource {
        let path = folder.join("secret");
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("our file");
        SecretSource::File(path)
    }

    #[tokio::test]
    async fn a_file_gives_its_first_line() {
        let folder = tempfile::tempdir().expect("a folder");
        for (text, expected) in [
            (&b"s3cret"[..], &b"s3cret"[..]),
            (b"s3cret\n", b"s3cret"),
            (b"s3cret\r\n", b"s3cret"),
            (b" s3 cret \nsecond\n", b" s3 cret "),
            (b"\xff\xfe\n", b"\xff\xfe"),
        ] {
            assert_eq!(read(&written(folder.path(), text, 0o600)).await.as_deref(), Ok(expected));
        }
        for empty in [&b""[..], b"\n", b"\r\n", b"\nsecond"] {
            let error = read(&written(folder.path(), empty, 0o400)).await.expect_err("it is empty");
            assert!(error.contains("empty"), "{error}");
        }
        let error = read(&written(folder.path(), &[b'x'; MOST + 1], 0o600)).await.expect_err("too much");
        assert!(error.contains("64 KiB"), "{error}");
    }

    #[tokio::test]
    async fn a_file_is_its_owners_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        for mode in [0o644, 0o640, 0o604, 0o620, 0o601] {
            let source = written(folder.path(), b"s3cret\n", mode);
            let error = read(&source).await.expect_err("it is open");
            assert!(error.contains(&format!("mode {mode:04o}")) && error.contains("chmod 600"), "{error}");
            assert!(source.check().is_err());
        }
        let error = read(&SecretSource::File(folder.path().join("nothing"))).await.expect_err("no file");
        assert!(error.contains("nothing") && error.contains("No such file"), "{error}");
        let error = read(&SecretSource::File(folder.path().to_owned())).await.expect_err("a folder");
        assert!(error.contains("no ordinary file"), "{error}");
    }

    #[tokio::test]
    async fn a_command_gives_its_first_line() {
        assert_eq!(read(&command(&["printf", "s3cret\nnotes\n"])).await, Ok(b"s3cret".to_vec()));
        assert_eq!(read(&command(&["echo", "$HOME;id"])).await, Ok(b"$HOME;id".to_vec()), "no shell");
        assert_eq!(
            read(&command(&["sh", "-c", "echo said >&2; cat; echo s3cret"])).await,
            Ok(b"s3cret".to_vec())
        );
    }

    #[tokio::test]
    async fn a_command_that_fails_shows_nothing_of_what_it_said() {
        for (words, expected) in [
            (&["sh", "-c", "echo s3cret; echo s3cret >&2; exit 3"][..], "sh failed: exit status: 3"),
            (&["/no/such/program", "s3cret"], "/no/such/program cannot be run"),
            (&["true", "s3cret"], "its first line is empty"),
            (&["yes", "s3cret"], "more than 64 KiB"),
        ] {
            let source = command(words);
            let error = read(&source).await.expect_err("it fails");
            assert!(error.contains(expected), "{words:?}: {error}");
            assert!(!error.contains("s3cret") && !format!("{source:?}").contains("s3cret"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let pid = folder.path().join("pid");
        let script = format!("echo $$ > {}; exec sleep 600", pid.display());
        let words = ["sh", "-c", &script].map(str::to_owned);
        let error = output(&words, Duration::from_secs(3)).await.expect_err("it hangs");
        assert_eq!(error.to_string(), "sh has not ended within 3 seconds");
        assert!(error.may_pass());
        let pid = std::fs::read_to_string(pid).expect("it has started");
        let end = Instant::now() + Duration::from_secs(20);
        while Path::new("/proc").join(pid.trim()).exists() {
            assert!(Instant::now() < end, "it goes on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[test]
    fn what_the_system_cannot_do_now_may_pass() {
        let too_many_open = || io::Error::from_raw_os_error(24);
        assert!(failed(Path::new("secret"), too_many_open()).may_pass());
        assert!(Unreadable::NotRun { program: "sh".to_owned(), source: too_many_open() }.may_pass());
        for kind in [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied] {
            assert!(!failed(Path::new("secret"), kind.into()).may_pass(), "{kind}");
            assert!(!Unreadable::NotRun { program: "sh".to_owned(), source: kind.into() }.may_pass());
        }
        assert!(!Unreadable::Empty.may_pass());
    }

    #[tokio::test]
    async fn the_environment_holds_one() {
        // Cargo sets it, so that no test has to change what all of them share.
        let source = SecretSource::Environment("CARGO_PKG_NAME".to_owned());
        assert_eq!(read(&source).await, Ok(b"popbridge".to_vec()));
        let error = read(&SecretSource::Environment("POPBRIDGE_NO_SUCH".to_owned())).await;
        assert!(error.is_err_and(|error| error.contains("POPBRIDGE_NO_SUCH is not set")));
    }
}
