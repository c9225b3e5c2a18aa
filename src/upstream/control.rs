//! A connection, and its control commands through async-imap: greeting, STARTTLS, CAPABILITY, STORE,
//! EXPUNGE, LOGOUT. The only file that names `async_imap`; all else uses the framer directly.

use std::sync::Arc;
use std::time::Duration;

use async_imap::Client;
use tokio::time::timeout;

use super::compress::Deflated;
use super::connect::Connector;
use super::error::{Error, Result};
use super::guard::Guard;
use super::login::log_in;
use super::mechanism::Mechanism;
use super::response::{Capabilities, Outcome, Status};
use super::rest::{Rest, Watched};
use super::wire::Wire;
use crate::config::{TransportSecurity, Upstream};
use crate::secret::Credential;

/// How long a polite LOGOUT may take.
const LOGOUT_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection to an IMAP server.
pub struct Imap {
    client: Client<Guard>,
    upstream: Arc<Upstream>,
    capabilities: Capabilities,
    mechanism: Option<Mechanism>,
    compression: Option<Compression>,
    identified: bool,
    server_id: Option<String>,
    pub(super) rest: Rest,
    pub(super) watched: Option<Watched>,
    resync: Resync,
}

/// What became of `compress = true`, behind the login.
#[derive(Debug)]
pub enum Compression {
    Active,
    NotOffered,
    Refused(Status),
}

/// QRESYNC (RFC 7162) on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resync {
    /// It may still be enabled: nothing has been selected.
    Open,
    Enabled,
    Off,
}

impl Imap {
    /// Connects, is greeted, changes to TLS where STARTTLS is configured, learns what is offered.
    pub async fn open(connector: &Connector) -> Result<Self> {
        let mut imap = connector.in_turn(Self::greeted(connector)).await?;
        imap.learn_capabilities().await?;
        imap.compression = connector.upstream().compress.then_some(Compression::NotOffered);
        if !connector.may_resync() {
            imap.renounce_resync();
        }
        Ok(imap)
    }

    /// What takes a turn: the login does not, since servers take their time over wrong passwords.
    async fn greeted(connector: &Connector) -> Result<Self> {
        let mut imap = Self::over(connector, connector.connect().await?, false);
        imap.greeting().await?;
        if connector.upstream().security == TransportSecurity::StartTls {
            imap = imap.start_tls(connector).await?;
        }
        Ok(imap)
    }

    fn over(connector: &Connector, wire: Wire, greeted: bool) -> Self {
        Self {
            client: Client::new(Guard::new(wire, greeted)),
            upstream: Arc::clone(connector.upstream()),
            capabilities: Capabilities::default(),
            mechanism: None,
            compression: None,
            identified: false,
            server_id: None,
            rest: Rest::None,
            watched: None,
            resync: Resync::Open,
        }
    }

    async fn greeting(&mut self) -> Result<()> {
        let deadline = self.wire().deadline();
        let greeted = timeout(deadline, self.client.read_response()).await;
        let guard = self.client.get_mut();
        match greeted {
            Ok(Ok(Some(_))) => {}
            Ok(_) => return Err(guard.failure("the greeting")),
            Err(_) => return Err(guard.wire().fail(Error::Timeout(deadline))),
        }
        // PREAUTH is somebody else's mailbox, not the one that this login names.
        if guard.last().is_some_and(|status| status.outcome == Outcome::PreAuth) {
            return Err(guard.wire().fail(Error::Protocol("PREAUTH, which leaves no login to check")));
        }
        Ok(())
    }

    async fn start_tls(mut self, connector: &Connector) -> Result<Self> {
        match self.run("STARTTLS", "STARTTLS").await {
            Ok(()) => {}
            Err(error) if error.is_refusal() => return Err(Error::NoStartTls),
            Err(error) => return Err(error),
        }
        let wire = connector.upgrade(self.client.into_inner().into_wire()).await?;
        Ok(Self::over(connector, wire, true))
    }

    /// Asks for the capabilities unless they came by themselves.
    async fn learn_capabilities(&mut self) -> Result<()> {
        if let Some(capabilities) = self.client.get_mut().take_capabilities() {
            self.capabilities = capabilities;
            return Ok(());
        }
        self.run("CAPABILITY", "CAPABILITY").await?;
        let announced = self.client.get_mut().take_capabilities();
        self.capabilities = announced.ok_or(Error::Protocol("no capabilities"))?;
        Ok(())
    }

    /// By which way [`Self::login`] would log in.
    pub fn way_in(&self, username: &str, credential: &Credential) -> Result<Mechanism> {
        Mechanism::choose(&self.capabilities, self.upstream.security, username, credential)
    }

    /// Logs in by the first way that both sides have ([`Mechanism::choose`]).
    pub async fn login(&mut self, username: &str, credential: &Credential) -> Result<()> {
        let mechanism = self.way_in(username, credential)?;
        let Self { client, upstream, capabilities, .. } = self;
        let wire = client.get_mut().wire();
        let offered = log_in(wire, upstream, capabilities, mechanism, username, credential).await?;
        self.mechanism = Some(mechanism);
        // What is offered after login differs on Gmail, Microsoft 365 and others.
        match offered {
            Some(offered) => self.capabilities = offered,
            None => self.learn_capabilities().await?,
        }
        self.compress().await
    }

    /// COMPRESS DEFLATE (RFC 4978 §3) where it is wanted and offered; without it, all goes on.
    async fn compress(&mut self) -> Result<()> {
        if self.compression.is_none() {
            return Ok(());
        }
        let became = if !self.capabilities.has("COMPRESS=DEFLATE") {
            Compression::NotOffered
        } else {
            match self.run("COMPRESS", "COMPRESS DEFLATE").await {
                Ok(()) => {
                    self.wire().wrap(Deflated::over);
                    Compression::Active
                }
                Err(Error::Refused { status, .. }) => Compression::Refused(status),
                Err(error) => return Err(error),
            }
        };
        tracing::debug!(compression = ?became, "logged in");
        self.compression = Some(became);
        Ok(())
    }

    /// What became of `compress = true`; nothing where that is not configured.
    pub fn compression(&self) -> Option<&Compression> {
        self.compression.as_ref()
    }

    /// Which way the login went; none before it.
    pub fn mechanism(&self) -> Option<Mechanism> {
        self.mechanism
    }

    /// What the server offers now.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The ID command (RFC 2971), once, where it is offered, to go ahead of another in one flight.
    pub fn identification(&mut self) -> Option<String> {
        let wanted = !std::mem::replace(&mut self.identified, true) && self.capabilities.has("ID");
        wanted.then(|| format!("ID (\"name\" \"popbridge\" \"version\" \"{}\")", env!("CARGO_PKG_VERSION")))
    }

    /// What the server answered to [`Self::identification`], cut and safe to show.
    pub fn identified_as(&mut self, id: String) {
        self.server_id = Some(id);
    }

    /// Who the server says it is, `("name" "Dovecot" …)`; known behind the first SELECT.
    pub fn server_id(&self) -> Option<&str> {
        self.server_id.as_deref()
    }

    /// ENABLE QRESYNC, where it is offered and `wanted`, to go ahead of the connection's first
    /// SELECT: behind that it is not allowed (RFC 5161 §3.1).
    pub fn enabling(&mut self, wanted: bool) -> Option<&'static str> {
        if self.resync != Resync::Open {
            return None;
        }
        let offered = self.capabilities.has("QRESYNC") && self.capabilities.has("ENABLE");
        self.resync = if wanted && offered { Resync::Enabled } else { Resync::Off };
        (self.resync == Resync::Enabled).then_some("ENABLE QRESYNC")
    }

    /// Whether SELECT may ask for what has gone since a mod-sequence.
    pub fn resynchronises(&self) -> bool {
        self.resync == Resync::Enabled
    }

    /// This connection goes without QRESYNC, since the server does not do what it offers.
    pub fn renounce_resync(&mut self) {
        self.resync = Resync::Off;
    }

    /// The framer, for listings and bodies.
    pub fn wire(&mut self) -> &mut Wire {
        self.client.get_mut().wire()
    }

    /// `UID STORE set flags`
    pub async fn store(&mut self, set: &str, flags: &str) -> Result<()> {
        self.run("STORE", &format!("UID STORE {set} {flags}")).await
    }

    /// `UID EXPUNGE set` (RFC 4315): never the plain EXPUNGE, which takes others' messages along.
    pub async fn uid_expunge(&mut self, set: &str) -> Result<()> {
        self.run("UID EXPUNGE", &format!("UID EXPUNGE {set}")).await
    }

    /// Says goodbye, waiting a little for the answer. Never CLOSE: it expunges.
    pub async fn logout(mut self) {
        // The connection is dropped next: a server that does not answer is no loss.
        let _ = timeout(LOGOUT_TIMEOUT, async {
            self.rise().await?;
            self.run("LOGOUT", "LOGOUT").await
        })
        .await;
    }

    async fn run(&mut self, name: &'static str, command: &str) -> Result<()> {
        let wire = self.client.get_mut().wire();
        wire.check_idle()?;
        wire.begin();
        let deadline = wire.deadline();
        let result = timeout(deadline, self.client.run_command_and_check_ok(command, None)).await;
        let guard = self.client.get_mut();
        match result {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(guard.failure(name)),
            Err(_) => Err(guard.wire().fail(Error::Timeout(deadline))),
        }
    }
}
