//! Who is compared, and how each is started: alone, fresh, with a relay of its own.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;

use crate::pop3::Pop3;
use crate::popbridge::{self, Popbridge, Setup};
use crate::relay::{Relay, Traffic};
use crate::rows::Row;
use crate::support::dovecot::{Dovecot, Options, PASSWORD};
use crate::tree::Tree;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Popbridge,
    /// Dovecot's POP3 server over its IMAP client (imapc).
    Peer,
    /// Dovecot's POP3 server on the mail itself.
    Native,
    /// A client that asks for everything in one IMAP command.
    Raw,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Popbridge, Self::Peer, Self::Native, Self::Raw];

    pub fn name(self) -> &'static str {
        match self {
            Self::Popbridge => "popbridge",
            Self::Peer => "Dovecot imapc",
            Self::Native => "Dovecot native",
            Self::Raw => "raw IMAP",
        }
    }
}

/// Login processes that serve many connections, as Dovecot's manual advises for busy servers; no
/// flags are written, and sizes are those that the file system or the IMAP server tells.
const TUNED: &str = "
service imap-login {
  service_count = 0
}
service pop3-login {
  service_count = 0
}
service pop3 {
  process_limit = 2048
}
protocol pop3 {
  mail_max_userip_connections = 0
}
pop3_fast_size_lookups = yes
pop3_no_flag_updates = yes
";

/// The mail server behind all of them.
pub fn upstream() -> Dovecot {
    Dovecot::start(&Options { pop3: true, extra: TUNED, ..Options::default() })
}

/// The password is proven by the IMAP login alone, the indexes stay on disk, and what a listing
/// lacks is asked for 100 messages ahead.
fn peer(upstream: SocketAddr) -> Dovecot {
    let (host, port) = (upstream.ip(), upstream.port());
    let extra = format!(
        "{TUNED}
mail_location = imapc:%h/imapc
imapc_host = {host}
imapc_port = {port}
imapc_ssl = no
imapc_user = %u
imapc_password = {PASSWORD}
imapc_features = rfc822.size fetch-headers fetch-bodystructure search
mail_prefetch_count = 100
"
    );
    Dovecot::start(&Options { pop3: true, extra: &extra, ..Options::default() })
}

/// A contender that runs; it ends when dropped.
pub struct Running {
    program: Program,
    relay: Relay,
}

enum Program {
    Popbridge(Popbridge),
    Peer(Dovecot),
    /// The upstream itself.
    Native(Tree),
    /// This very process.
    Raw,
}

impl Running {
    /// Starts it with nothing remembered; the row's link lies between it and the mail.
    pub fn start(runtime: &Runtime, kind: Kind, upstream: &Dovecot, row: &Row) -> Result<Self> {
        let target = match kind {
            Kind::Native => upstream.pop3_address(),
            _ => upstream.address(),
        };
        let relay = runtime.block_on(Relay::start(target, row.delay))?;
        let program = match kind {
            Kind::Popbridge => Program::Popbridge(Popbridge::start(relay.address(), Setup::new(row.kept))?),
            Kind::Peer => Program::Peer(peer(relay.address())),
            Kind::Native => Program::Native(Tree(upstream.pid())),
            Kind::Raw => Program::Raw,
        };
        Ok(Self { program, relay })
    }

    /// Where clients go.
    pub fn address(&self) -> SocketAddr {
        match &self.program {
            Program::Popbridge(popbridge) => popbridge.address(),
            Program::Peer(dovecot) => dovecot.pop3_address(),
            Program::Native(_) | Program::Raw => self.relay.address(),
        }
    }

    /// Its processes, if it has any of its own.
    pub fn tree(&self) -> Option<Tree> {
        match &self.program {
            Program::Popbridge(popbridge) => Some(Tree(popbridge.pid())),
            Program::Peer(dovecot) => Some(Tree(dovecot.pid())),
            Program::Native(tree) => Some(*tree),
            Program::Raw => None,
        }
    }

    /// From now on the link is as long as the row wants it.
    pub fn stretch(&self) {
        self.relay.stretch();
    }

    pub fn traffic(&self) -> Traffic {
        self.relay.traffic()
    }

    /// What its log says, for when something fails.
    pub fn log(&self) -> String {
        match &self.program {
            Program::Peer(dovecot) => dovecot.log(),
            _ => String::new(),
        }
    }
}

/// From the start of the process to the greeting of its first POP3 connection, the memory that it
/// has then in KiB, and the size of what is installed for it in octets.
pub fn start_up(runtime: &Runtime, kind: Kind) -> Result<Option<(Duration, u64, u64)>> {
    // Nothing is asked of it.
    let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
    let start = Instant::now();
    let greeted = |address| runtime.block_on(Pop3::connect(address));
    match kind {
        Kind::Popbridge => {
            let popbridge = Popbridge::start(nobody, Setup::new(true))?;
            let _connection = greeted(popbridge.address())?;
            let time = start.elapsed();
            let size = fs::metadata(popbridge::BINARY).context("the binary")?.len();
            Ok(Some((time, Tree(popbridge.pid()).pss_kib(), size)))
        }
        Kind::Peer | Kind::Native => {
            let dovecot = if kind == Kind::Peer { peer(nobody) } else { upstream() };
            let _connection = greeted(dovecot.pop3_address())?;
            let time = start.elapsed();
            Ok(Some((time, Tree(dovecot.pid()).pss_kib(), installed())))
        }
        Kind::Raw => Ok(None),
    }
}

/// Dovecot's programs and libraries that a POP3 server runs.
fn installed() -> u64 {
    const FOLDER: &str = "/usr/lib/dovecot";
    const PARTS: [&str; 9] = [
        "anvil",
        "auth",
        "config",
        "log",
        "stats",
        "pop3",
        "pop3-login",
        "libdovecot.so.0",
        "libdovecot-storage.so.0",
    ];
    let parts = PARTS.iter().map(|part| format!("{FOLDER}/{part}"));
    let all = parts.chain(["/usr/sbin/dovecot".to_owned()]);
    all.filter_map(|path| fs::metadata(path).ok()).map(|file| file.len()).sum()
}
