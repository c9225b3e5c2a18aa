//! popbridge as a service of systemd.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::Arguments;
use super::questions::{Question, Questions, tell, usage};
use crate::cli::exit::{self, Failure};
use crate::cli::source::quoted;
use crate::config::{Certificate, Config, Flow, Means};
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

/// Where the service keeps its state, for commands beside it as well.
pub const STATE: &str = "sqlite:/var/lib/popbridge/popbridge.db";

/// A service to be installed.
pub struct Service {
    program: PathBuf,
    /// Where the unit goes.
    folder: PathBuf,
    /// Whether systemd is told of it here and now.
    start: bool,
}

/// Whether there shall be a service. Root gets it installed, others are told how.
pub fn ask(
    questions: &Questions,
    arguments: &Arguments,
    configuration: &Path,
) -> Result<Option<Service>, Failure> {
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
    Ok(Some(Service { program, start: folder == Path::new(SYSTEM) && runs, folder }))
}

impl Service {
    /// Writes the unit and what is special here, and starts the service or tells how.
    pub fn install(&self, configuration: &Path, config: &Config) -> Result<(), Failure> {
        let configuration = std::fs::canonicalize(configuration)
            .with_context(|| format!("cannot find {}", configuration.display()))?;
        let drop_in = self.drop_in(&configuration, config)?;
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
        if !self.start {
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
    /// names beside itself.
    fn drop_in(&self, configuration: &Path, config: &Config) -> Result<String, Failure> {
        let mut text = format!(
            "# Written by popbridge setup, and anew each time.\n[Service]\nExecStart=\nExecStart={} serve --config \
             ${{CREDENTIALS_DIRECTORY}}/popbridge.toml\n",
            self.program.display()
        );
        let mut files = vec![("popbridge.toml".to_owned(), configuration.to_owned())];
        for path in named(config) {
            let path = std::fs::canonicalize(&path).unwrap_or(path);
            match path.file_name().filter(|_| path.parent() == configuration.parent() && is_plain(&path)) {
                Some(name) => files.push((name.to_string_lossy().into_owned(), path.clone())),
                None => tell(&format!(
                    "note: the service reads {} itself: write its whole path in the configuration, and see that it \
                     may be read",
                    path.display()
                )),
            }
        }
        files.dedup();
        for (name, path) in files {
            let _ = writeln!(text, "LoadCredential={name}:{}", path.display());
        }
        Ok(text)
    }
}

/// The files that a configuration names.
fn named(config: &Config) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        config.upstreams.iter().filter_map(|upstream| upstream.ca_certificate.clone()).collect();
    if let Some(Certificate::Files { certificate, private_key }) = &config.certificate {
        paths.extend([certificate.clone(), private_key.clone()]);
    }
    for account in &config.accounts {
        if let Some(Means::Password(SecretSource::File(path))) =
            account.own_password.as_ref().map(|own| &own.upstream)
        {
            paths.push(path.clone());
        }
    }
    for oauth in &config.sign_ins {
        paths.extend(oauth.ca_certificate.clone());
        if let Some(SecretSource::File(path)) = &oauth.client_secret {
            paths.push(path.clone());
        }
        if let Flow::ServiceAccount { key_file } = &oauth.flow {
            paths.push(key_file.clone());
        }
    }
    paths.sort();
    paths
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
