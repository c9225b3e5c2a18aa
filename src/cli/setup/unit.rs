//! popbridge as a service of systemd.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::Arguments;
use super::questions::{Question, Questions, tell, usage};
use super::write::Existing;
use crate::cli::exit::{self, Failure};
use crate::cli::source::quoted;
use crate::config::{Certificate, Config, Database, Flow, Means};
use crate::secret::SecretSource;

/// The unit as packages have it.
const UNIT: &str = include_str!("../../../packaging/systemd/popbridge.service");
const NAME: &str = "popbridge.service";
/// Where root's units are (systemd.unit(5)).
const SYSTEM: &str = "/etc/systemd/system";
/// Where a package's are.
const PACKAGED: [&str; 2] = ["/usr/lib/systemd/system", "/lib/systemd/system"];
/// Folders that the unit hides from the service (ProtectHome=, PrivateTmp=).
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

/// Where the service keeps its state (StateDirectory=).
const STATE: &str = "/var/lib/popbridge";
/// Where it has what LoadCredential= brings.
const CREDENTIALS: &str = "/run/credentials/popbridge.service";

/// A service to be installed.
pub struct Service {
    program: PathBuf,
    /// Where the unit goes.
    folder: PathBuf,
    /// Whether systemd is told of it here and now.
    start: bool,
    /// The state database, if the configuration has to name it.
    pub state: Option<String>,
}

/// Whether there shall be a service. Root gets it installed, others are told how.
pub fn ask(
    questions: &Questions,
    arguments: &Arguments,
    existing: &Existing,
) -> Result<Option<Service>, Failure> {
    let configuration = &existing.path;
    let given = match (arguments.systemd, arguments.no_systemd) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    let runs = Path::new("/run/systemd/system").exists();
    if given.is_none() && !(is_root() && runs) {
        return Ok(None);
    }
    let question = Question {
        flag: "--systemd or --no-systemd",
        text: "Start popbridge now, and whenever this machine starts?",
        help: "as a service of systemd; journalctl -u popbridge shows its log",
    };
    if !questions.confirm(&question, given, true)? {
        return Ok(None);
    }
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    if HIDDEN.iter().any(|folder| program.starts_with(folder)) && arguments.unit_directory.is_none() {
        let program = quoted(&program.display().to_string());
        return Err(usage(format!(
            "a service cannot run a program from this folder. Copy it first: install -m 755 {program} \
             /usr/local/bin/popbridge; then run /usr/local/bin/popbridge setup, or say --no-systemd"
        )));
    }
    let folder = match &arguments.unit_directory {
        Some(folder) => folder.clone(),
        None if is_root() => SYSTEM.into(),
        None => configuration.with_file_name("systemd"),
    };
    let whole = std::path::absolute(configuration).context("cannot tell the folder that this is")?;
    if let Some(path) = [&program, &whole].into_iter().find(|path| !is_plain(path)) {
        let path = path.display();
        return Err(usage(format!("{path} has characters that a unit of systemd cannot name: --no-systemd")));
    }
    let state = state(existing)?;
    Ok(Some(Service { program, start: folder == Path::new(SYSTEM) && runs, folder, state }))
}

/// The state database as the configuration has to name it: a relative path would start at the
/// service's state directory for the service, and at the configuration's folder for root's commands.
fn state(existing: &Existing) -> Result<Option<String>, Failure> {
    let url = |path: &Path| format!("sqlite:{}", path.display());
    let Some(config) = &existing.config else {
        return Ok(Some(url(&Path::new(STATE).join("popbridge.db"))));
    };
    let Database::File(path) = &config.database else { return Ok(None) };
    let whole = std::path::absolute(path).context("cannot tell the folder that this is")?;
    let service = match path.strip_prefix(existing.folder()) {
        Ok(name) if !whole.starts_with(STATE) => Path::new(STATE).join(name),
        _ => return Ok(None),
    };
    if !path.exists() {
        return Ok(Some(url(&service)));
    }
    let (from, to) = (quoted(&whole.display().to_string()), quoted(&service.display().to_string()));
    let there = if service.exists() {
        format!("{to} is there as well: remove the one of the two that you do not want. To keep {from}")
    } else {
        "Stop popbridge, then".to_owned()
    };
    Err(usage(format!(
        "a service keeps its state in {STATE}, and cannot use {from}. {there}: mkdir -p {STATE} && mv {from} {to} && \
         chown --reference={STATE} {to}; the same with popbridge.key, self-signed.crt and self-signed.key beside it, if they are there. Then run setup again; \
         or say --no-systemd"
    )))
}

impl Service {
    /// Writes the unit and what is special here, and starts the service or tells how. `text`: what the
    /// configuration holds.
    pub fn install(&self, configuration: &Path, text: &str) -> Result<(), Failure> {
        let folder = configuration.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = std::fs::canonicalize(folder.unwrap_or(Path::new(".")))
            .with_context(|| format!("cannot find the folder of {}", configuration.display()))?;
        // Read as if it were in a folder that is the same one by a name that nobody writes: so paths
        // that are relative there can be told from whole ones.
        let beside = folder.join("..").join(folder.file_name().unwrap_or_default());
        let config = Config::parse(text, &configuration.display().to_string(), &beside)?;
        let file = folder.join(configuration.file_name().unwrap_or_default());
        let (drop_in, missing) = self.drop_in(&file, &beside, &config);
        let special = self.folder.join(format!("{NAME}.d"));
        written(&special, std::fs::create_dir_all(&special))?;
        let unit = self.folder.join(NAME);
        let packaged = PACKAGED.iter().any(|folder| Path::new(folder).join(NAME).exists());
        // One that is there may have been changed, or a package looks after it.
        let there = unit.exists() || (packaged && self.start);
        if !there {
            written(&unit, std::fs::write(&unit, UNIT))?;
        }
        let special = special.join("setup.conf");
        written(&special, std::fs::write(&special, drop_in))?;
        for note in &missing {
            tell(&format!("note: {note}"));
        }
        if !self.start || !missing.is_empty() {
            let folder = quoted(&self.folder.display().to_string());
            let copy = format!("  sudo cp -r {folder}/. {SYSTEM}/\n");
            let copy = if self.folder == Path::new(SYSTEM) { String::new() } else { copy };
            tell(&format!(
                "\nThe service's unit is in {folder}. These commands start it, now and whenever this machine \
                 starts:\n{copy}  sudo systemctl daemon-reload\n  sudo systemctl enable popbridge\n  sudo systemctl \
                 restart popbridge"
            ));
            return Ok(());
        }
        for words in [&["daemon-reload"][..], &["enable", NAME], &["restart", NAME]] {
            let run = Command::new("systemctl").args(words).stdin(Stdio::null()).status();
            let words = words.join(" ");
            match run {
                Ok(status) if status.success() => {}
                Ok(status) => return Err(not_started(&words, &status.to_string())),
                Err(error) => return Err(not_started(&words, &error.to_string())),
            }
        }
        tell("\npopbridge runs as a service: systemctl status popbridge, journalctl -u popbridge");
        Ok(())
    }

    /// What packages cannot know: the program's place, the configuration's, and the files that it
    /// names beside itself. And what the service would not get at.
    fn drop_in(&self, configuration: &Path, beside: &Path, config: &Config) -> (String, Vec<String>) {
        let mut text = format!(
            "# Written by popbridge setup, and anew each time.\n[Service]\nExecStart=\nExecStart={} serve --config \
             ${{CREDENTIALS_DIRECTORY}}/popbridge.toml\n",
            self.program.display()
        );
        let mut files = vec![("popbridge.toml".to_owned(), configuration.to_owned())];
        let mut missing = Vec::new();
        for path in named(config) {
            let Ok(name) = path.strip_prefix(beside) else {
                if !is_open_to_service(&path) {
                    missing.push(format!("the service cannot read {}: put it beside the configuration, and name it there without a folder", path.display()));
                }
                continue;
            };
            let file = configuration.with_file_name(name);
            if name.file_name() != Some(name.as_os_str()) || !is_plain(&file) {
                missing.push(format!(
                    "{} does not come along to the service: only what is right beside the configuration does, under a \
                     plain name. Put it there, or write its whole path",
                    name.display()
                ));
            } else if !file.exists() {
                missing.push(format!("{} is not there yet", file.display()));
            } else {
                files.push((name.to_string_lossy().into_owned(), file));
            }
        }
        for (name, path) in files {
            let _ = writeln!(text, "LoadCredential={name}:{}", path.display());
        }
        (text, missing)
    }
}

/// The files that a configuration names and a service reads.
fn named(config: &Config) -> Vec<PathBuf> {
    let file = |source: &SecretSource| match source {
        SecretSource::File(path) => Some(path.clone()),
        _ => None,
    };
    let mut paths: Vec<PathBuf> =
        config.upstreams.iter().filter_map(|upstream| upstream.ca_certificate.clone()).collect();
    if let Some(Certificate::Files { certificate, private_key }) = &config.certificate {
        paths.extend([certificate.clone(), private_key.clone()]);
    }
    paths.extend(config.client_ca.clone());
    for account in &config.accounts {
        if let Some(Means::Password(source)) = account.own_password.as_ref().map(|own| &own.upstream) {
            paths.extend(file(source));
        }
    }
    for sign_in in &config.sign_ins {
        paths.extend(sign_in.ca_certificate.clone());
        paths.extend(sign_in.client_secret.as_ref().and_then(file));
        if let Flow::ServiceAccount { key_file } = &sign_in.flow {
            paths.push(key_file.clone());
        }
    }
    if let (false, Database::File(database)) = (config.sign_ins.is_empty(), &config.database) {
        // Beside the database it is the service's own.
        let key = config.state_key.as_ref().and_then(file);
        paths.extend(key.filter(|key| key.parent() != database.parent()));
    }
    paths.sort();
    paths.dedup();
    paths
}

/// Whether the service's user gets at a file by its whole path: its own, or one that all may read.
fn is_open_to_service(path: &Path) -> bool {
    let below = |path: &Path, folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
    if below(path, &[STATE, CREDENTIALS]) {
        return true;
    }
    let Ok(real) = std::fs::canonicalize(path) else { return false };
    let has = |path: &Path, mode| path.metadata().is_ok_and(|file| file.mode() & mode == mode);
    let open = has(&real, 0o004) && real.ancestors().skip(1).all(|folder| has(folder, 0o001));
    open && !below(&real, &HIDDEN)
}

/// A path that stands in a unit as it is (systemd.syntax(7)).
fn is_plain(path: &Path) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-@+,=~".contains(c);
    path.to_string_lossy().chars().all(plain)
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn written(path: &Path, result: std::io::Result<()>) -> Result<(), Failure> {
    result.map_err(|error| {
        let error = anyhow::Error::new(error).context(format!(
            "the configuration is written, but not the service's unit: cannot write {}",
            path.display()
        ));
        Failure::new(exit::CANNOT_CREATE, error)
    })
}

fn not_started(words: &str, reason: &str) -> Failure {
    let text = format!(
        "the configuration and the unit are written, but systemctl {words} failed: {reason}. journalctl -u \
         popbridge tells more"
    );
    Failure::new(exit::UNAVAILABLE, anyhow::anyhow!(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_service_cannot_read_is_known() {
        for open in ["/etc/passwd", "/var/lib/popbridge/popbridge.key"] {
            assert!(is_open_to_service(Path::new(open)), "{open}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        for closed in [Path::new("/etc/shadow"), Path::new("/nowhere"), folder.path()] {
            assert!(!is_open_to_service(closed), "{closed:?}");
        }
    }
}
