//! The server is found, on a network of the test's own.

use imapsim::{Server, Tls};

use super::support::certs::{Authority, Validity};
use super::support::dovecot::PASSWORD;
use super::support::names::{NameServer, Zone};
use super::support::process::free_port;
use super::support::terminal::Terminal;
use super::support::web::{Answer, Site, WebServer};
use super::{DEVICE, Setting, UNAVAILABLE, USAGE, run, terminal};

/// DNS, and a web server that describes the mail server of example.org.
struct World {
    setting: Setting,
    names: NameServer,
    web: WebServer,
}

impl World {
    /// `trusted`: by whom the mail server's certificate is signed.
    async fn new(zone: Zone, trusted: bool) -> Self {
        let (authority, other) = (Authority::new("trusted"), Authority::new("unknown"));
        let signer = if trusted { &authority } else { &other };
        let identity = signer.server(&["localhost"], Validity::Good);
        let sim = Server::builder().user("alice", PASSWORD).tls(Tls::Implicit).identity(identity).start();
        let setting = Setting::of(sim.await.expect("an IMAP server"), "alice");
        std::fs::copy(authority.ca(), setting.given("ca.pem")).expect("copied");
        let port = setting.sim.address().port();
        let web = authority.server(&["autoconfig.example.org"], Validity::Good);
        let web = WebServer::start(web, |_| site(port)).await;
        let names =
            NameServer::start(zone.host("localhost").srv("_imaps._tcp.example.net", 0, 0, port, "localhost"))
                .await;
        Self { setting, names, web }
    }

    fn flags(&self, address: &str) -> Vec<String> {
        let mut flags = self.setting.flags();
        let at = flags.iter().position(|flag| flag == "--imap").expect("a usual flag");
        flags.drain(at..at + 2);
        let at = flags.iter().position(|flag| flag == "alice@example.org").expect("a usual flag");
        address.clone_into(&mut flags[at]);
        let closed = free_port().to_string();
        let more = [
            ("--dns", self.names.address().to_string()),
            ("--autoconfig-port", self.web.port().to_string()),
            ("--ispdb", format!("https://localhost:{closed}/")),
            ("--imaps-port", closed.clone()),
            ("--imap-port", closed),
            ("--listen", "127.0.0.1:0".to_owned()),
        ];
        flags.extend(more.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
        flags
    }
}

fn site(port: u16) -> Site {
    let text = format!(
        "<?xml version=\"1.0\"?><clientConfig version=\"1.1\"><emailProvider id=\"example.org\">\
         <domain>example.org</domain><incomingServer type=\"imap\"><hostname>localhost</hostname>\
         <port>{port}</port><socketType>SSL</socketType><username>%EMAILLOCALPART%</username>\
         <authentication>password-cleartext</authentication></incomingServer></emailProvider></clientConfig>"
    );
    Site::from([("autoconfig.example.org/mail/config-v1.1.xml".to_owned(), Answer::Body(text.into_bytes()))])
}

fn yes(mut flags: Vec<String>) -> Vec<String> {
    flags.push("--yes".to_owned());
    flags
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_is_enough() {
    let world = World::new(Zone::default().host("autoconfig.example.org"), true).await;
    let found = run(yes(world.flags("alice@example.org"))).await;
    found.expect(0, &["Looking for the mail server of alice@example.org", "INBOX has 1 message"]);
    let text = world.setting.text();
    assert!(text.contains("username = \"{local}\"") && text.contains("username = \"alice\""), "{text}");
    world.setting.fetch("scanner", DEVICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_what_was_found() {
    let world = World::new(Zone::default().host("autoconfig.example.org"), true).await;
    let flags = world.flags("alice@example.org");
    let url = world.setting.url();
    let asked = tokio::task::spawn_blocking(move || {
        let mut terminal: Terminal = terminal(&flags);
        terminal.expect("Looking for the mail server");
        terminal.answer("Mail server:", "");
        terminal.expect(&url);
        terminal.answer("User name at the mail server:", "");
        terminal.expect("INBOX has 1 message");
        terminal.expect("A name for the device");
        terminal.press("\u{3}");
        terminal.end();
        terminal.screen()
    });
    let screen = asked.await.expect("it does not panic");
    assert!(screen.contains("the domain's own autoconfig"), "{screen}");
    assert!(world.setting.names().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_only_dns_names_is_not_taken_unseen() {
    let world = World::new(Zone::default(), true).await;
    let found = run(yes(world.flags("alice@example.net"))).await;
    found.expect(USAGE, &[&world.setting.url(), "--imap URL"]);
    assert!(world.setting.names().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_proves_nothing_is_not_found() {
    let world = World::new(Zone::default().host("autoconfig.example.org"), false).await;
    let found = run(yes(world.flags("alice@example.org"))).await;
    found.expect(UNAVAILABLE, &["no IMAP server was found for example.org", "TLS is not good", "--imap"]);
    assert!(world.setting.names().is_empty());
}
