//! From a mail address to its server: each source, their order, and what is refused.

mod support;

use std::sync::Arc;

use imapsim::{Server, Tls};
use popbridge::config::TransportSecurity;
use popbridge::discovery::{
    Authentication, Candidate, Discovery, MailAddress, NothingFound, Outcome, Places, Source, Tried,
};
use support::certs::{Authority, Validity};
use support::names::{NameServer, Zone};
use support::web::{Answer, Site, WebServer};

/// The names that the test's certificate is good for.
const NAMES: &[&str] = &[
    "example.org",
    "autoconfig.example.org",
    "imap.example.org",
    "mail.example.org",
    "autoconfig.xn--bcher-kva.example",
    "imap.xn--bcher-kva.example",
    "ispdb.test",
    "imap.provider.test",
    "imap.gmail.com",
    "elsewhere.test",
];

/// A network of its own: DNS, web servers, and IMAP servers over TLS and with STARTTLS.
struct World {
    _names: NameServer,
    web: WebServer,
    imaps: Server,
    imap: Server,
    discovery: Discovery,
    _authority: Authority,
}

/// What a world is made of.
struct Plan {
    zone: Zone,
    /// The ports of the IMAP servers go into the records and descriptions.
    records: fn(Zone, u16, u16) -> Zone,
    site: fn(u16, u16, u16) -> Site,
    /// Whether the mail server's certificate is signed by the authority that is trusted.
    known: bool,
    validity: Validity,
    names: &'static [&'static str],
    start_tls: Tls,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            zone: Zone::default(),
            records: |zone, _, _| zone,
            site: |_, _, _| Site::new(),
            known: true,
            validity: Validity::Good,
            names: NAMES,
            start_tls: Tls::StartTls,
        }
    }
}

impl World {
    async fn new(plan: Plan) -> Self {
        let authority = Authority::new("trusted");
        let other = Authority::new("unknown");
        let signer = if plan.known { &authority } else { &other };
        let identity = signer.server(plan.names, plan.validity);
        let start =
            |tls| Server::builder().user("alice", "secret").tls(tls).identity(Arc::clone(&identity)).start();
        let imaps = start(Tls::Implicit).await.expect("an IMAP server");
        let imap = start(plan.start_tls).await.expect("an IMAP server");
        let (imaps_port, imap_port) = (imaps.address().port(), imap.address().port());
        let web = authority.server(NAMES, Validity::Good);
        let web = WebServer::start(web, |port| (plan.site)(port, imaps_port, imap_port)).await;
        let names = NameServer::start((plan.records)(plan.zone, imaps_port, imap_port)).await;
        let places = Places {
            dns: vec![names.address()],
            https_port: web.port(),
            ispdb: format!("https://ispdb.test:{}/v1.1/", web.port()),
            imaps_port,
            imap_port,
        };
        let discovery = Discovery::with(Some(&authority.ca()), places).expect("it can look");
        Self { _names: names, web, imaps, imap, discovery, _authority: authority }
    }

    async fn find(&self, address: &str) -> Result<Vec<Candidate>, NothingFound> {
        let address: MailAddress = address.parse().expect("an address");
        self.discovery.find(&address, |_| {}).await
    }

    /// The only one that is found.
    async fn one(&self, address: &str) -> Candidate {
        match self.find(address).await.expect("a server").as_slice() {
            [only] => only.clone(),
            all => panic!("{all:?}"),
        }
    }
}

fn description(servers: &str) -> Answer {
    let text = format!(
        "<?xml version=\"1.0\"?>\n<clientConfig version=\"1.1\">\n<emailProvider id=\"example.org\">\n\
         <domain>example.org</domain>\n\
         <incomingServer type=\"pop3\"><hostname>pop.example.org</hostname><port>995</port>\
         <socketType>SSL</socketType></incomingServer>\n{servers}\
         <outgoingServer type=\"smtp\"><hostname>smtp.example.org</hostname></outgoingServer>\n\
         </emailProvider>\n</clientConfig>\n"
    );
    Answer::Body(text.into_bytes())
}

fn server(host: &str, port: u16) -> String {
    format!(
        "<incomingServer type=\"imap\"><hostname>{host}</hostname><port>{port}</port>\
         <socketType>SSL</socketType><username>%EMAILLOCALPART%</username>\
         <authentication>password-cleartext</authentication></incomingServer>\n"
    )
}

fn site<const N: usize>(answers: [(&str, Answer); N]) -> Site {
    answers.into_iter().map(|(place, answer)| (place.to_owned(), answer)).collect()
}

const OWN: &str = "autoconfig.example.org/mail/config-v1.1.xml";
const WELL_KNOWN: &str = "example.org/.well-known/autoconfig/mail/config-v1.1.xml";
const ISPDB: &str = "ispdb.test/v1.1/example.org";

/// Why a place was of no use.
fn failure<'a>(nothing: &'a NothingFound, place: &str) -> &'a str {
    let tried = nothing.tried.iter().find(|tried| tried.place == place);
    match tried.map(|tried| &tried.outcome) {
        Some(Outcome::Failed(reason)) => reason,
        other => panic!("{place}: {other:?} in {nothing}"),
    }
}

#[tokio::test]
async fn a_large_provider_needs_no_looking_up() {
    let world = World::new(Plan { zone: Zone::default().host("imap.gmail.com"), ..Plan::default() }).await;
    let found = world.one("alice@gmail.com").await;
    assert_eq!(
        (found.source, found.host.as_str(), found.confirm),
        (Source::BuiltIn, "imap.gmail.com", false)
    );
    assert_eq!((found.provider, found.username.as_str()), (Some("google"), "alice@gmail.com"));
    assert_eq!(world.web.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn the_domain_describes_its_servers() {
    let zone = Zone::default().host("autoconfig.example.org").host("imap.example.org");
    let site = |_, imaps, _| site([(OWN, description(&server("imap.example.org", imaps)))]);
    let world = World::new(Plan { zone, site, ..Plan::default() }).await;
    let found = world.one("alice+x@example.org").await;
    assert_eq!((found.source, found.host.as_str()), (Source::Autoconfig, "imap.example.org"));
    assert_eq!((found.username.as_str(), found.username_template.as_str()), ("alice+x", "{local}"));
    assert_eq!(found.security, TransportSecurity::Tls);
    assert_eq!(found.authentication, [Authentication::Password]);
    assert!(!found.confirm);
    assert_eq!(world.web.asked(), [format!("{OWN}?emailaddress=alice%2Bx%40example.org")]);
}

#[tokio::test]
async fn the_description_may_be_at_the_well_known_place() {
    let zone = Zone::default().host("example.org").host("imap.example.org");
    let site = |_, imaps, _| site([(WELL_KNOWN, description(&server("imap.example.org", imaps)))]);
    let world = World::new(Plan { zone, site, ..Plan::default() }).await;
    assert_eq!(world.one("alice@example.org").await.source, Source::Autoconfig);
    // Only the first is told the address.
    assert_eq!(world.web.asked(), [WELL_KNOWN]);
}

#[tokio::test]
async fn thunderbirds_database_knows_the_domain() {
    let zone = Zone::default().host("ispdb.test").host("imap.provider.test");
    let site = |_, imaps, _| site([(ISPDB, description(&server("imap.provider.test", imaps)))]);
    let world = World::new(Plan { zone, site, ..Plan::default() }).await;
    let found = world.one("alice@example.org").await;
    assert_eq!((found.source, found.confirm), (Source::Ispdb, false));
}

#[tokio::test]
async fn dns_names_the_domains_own_host() {
    let records = |zone: Zone, imaps, imap| {
        zone.srv("_imaps._tcp.example.org", 10, 0, imaps, "imap.example.org")
            .srv("_imaps._tcp.example.org", 10, 9, imaps, "example.org")
            .srv("_imaps._tcp.example.org", 0, 0, 0, "imap.example.org")
            .srv("_imap._tcp.example.org", 5, 0, imap, "mail.example.org")
    };
    let zone = Zone::default().host("imap.example.org").host("mail.example.org").host("example.org");
    let world = World::new(Plan { zone, records, ..Plan::default() }).await;
    let found = world.find("alice@example.org").await.expect("servers");
    let named: Vec<_> = found.iter().map(|found| (found.host.as_str(), found.security)).collect();
    // The better priority comes first (RFC 6186 §3.4), then the heavier.
    let expected = [
        ("mail.example.org", TransportSecurity::StartTls),
        ("example.org", TransportSecurity::Tls),
        ("imap.example.org", TransportSecurity::Tls),
    ];
    assert_eq!(named, expected);
    assert!(found.iter().all(|found| found.source == Source::Srv && !found.confirm));
}

#[tokio::test]
async fn another_domains_host_that_dns_names_is_to_be_confirmed() {
    let records = |zone: Zone, imaps, _| zone.srv("_imaps._tcp.example.org", 0, 0, imaps, "elsewhere.test");
    let world =
        World::new(Plan { zone: Zone::default().host("elsewhere.test"), records, ..Plan::default() }).await;
    let found = world.one("alice@example.org").await;
    assert_eq!((found.host.as_str(), found.confirm), ("elsewhere.test", true));
}

#[tokio::test]
async fn a_service_may_be_said_not_to_be_offered() {
    let zone = Zone::default().srv("_imaps._tcp.example.org", 0, 0, 0, ".").srv(
        "_imap._tcp.example.org",
        0,
        0,
        0,
        "imap.example.org",
    );
    let world = World::new(Plan { zone, ..Plan::default() }).await;
    let nothing = world.find("alice@example.org").await.expect_err("nothing");
    assert_eq!(failure(&nothing, "_imaps._tcp.example.org"), "says that it is not offered");
    assert_eq!(failure(&nothing, "_imap._tcp.example.org"), "names no host or no port");
}

#[tokio::test]
async fn who_takes_the_domains_mail_is_known() {
    let zone = Zone::default()
        .mx("example.org", 10, "backup.elsewhere.test")
        .mx("example.org", 1, "aspmx.l.google.com")
        .host("imap.gmail.com");
    let world = World::new(Plan { zone, ..Plan::default() }).await;
    let found = world.one("alice@example.org").await;
    assert_eq!((found.source, found.host.as_str()), (Source::Mx, "imap.gmail.com"));
    assert_eq!((found.provider, found.username.as_str()), (Some("google"), "alice@example.org"));
    assert!(found.confirm);
}

#[tokio::test]
async fn who_takes_the_domains_mail_is_in_thunderbirds_database() {
    let zone = Zone::default()
        .mx("example.org", 1, "mx1.eu.provider.test")
        .host("ispdb.test")
        .host("imap.provider.test");
    let site = |_, imaps, _| {
        site([("ispdb.test/v1.1/provider.test", description(&server("imap.provider.test", imaps)))])
    };
    let world = World::new(Plan { zone, site, ..Plan::default() }).await;
    let found = world.one("alice@example.org").await;
    assert_eq!((found.source, found.username.as_str(), found.confirm), (Source::Mx, "alice", true));
    // At the same time, so in no order.
    let mut asked = world.web.asked();
    asked.sort_unstable();
    let expected = ["eu.provider.test", "example.org", "provider.test"];
    assert_eq!(asked, expected.map(|domain| format!("ispdb.test/v1.1/{domain}")));
}

#[tokio::test]
async fn guesses_come_last_and_tls_before_starttls() {
    let zone = Zone::default().host("mail.example.org").host("example.org");
    let world = World::new(Plan { zone, ..Plan::default() }).await;
    let found = world.find("alice@example.org").await.expect("servers");
    let named: Vec<_> = found.iter().map(|found| (found.host.as_str(), found.security)).collect();
    let (tls, start_tls) = (TransportSecurity::Tls, TransportSecurity::StartTls);
    let expected = [
        ("mail.example.org", tls),
        ("example.org", tls),
        ("mail.example.org", start_tls),
        ("example.org", start_tls),
    ];
    assert_eq!(named, expected);
    assert!(found.iter().all(|found| found.source == Source::Guess && !found.confirm));
}

#[tokio::test]
async fn the_order_is_that_of_trust_and_nobody_is_there_twice() {
    let zone = Zone::default()
        .host("autoconfig.example.org")
        .host("ispdb.test")
        .host("imap.example.org")
        .host("mail.example.org")
        .host("imap.provider.test")
        .mx("example.org", 1, "aspmx.l.google.com")
        .host("imap.gmail.com");
    let records = |zone: Zone, imaps, _| {
        zone.srv("_imaps._tcp.example.org", 0, 0, imaps, "imap.example.org")
            .srv("_imaps._tcp.example.org", 0, 0, imaps, "imap.provider.test")
            .srv("_imaps._tcp.example.org", 0, 9, imaps, "mail.example.org")
    };
    let site = |_, imaps, _| {
        let two = [server("imap.example.org", imaps), server("imap.example.org", imaps)].concat();
        site([(OWN, description(&two)), (ISPDB, description(&server("imap.provider.test", imaps)))])
    };
    let world = World::new(Plan { zone, records, site, ..Plan::default() }).await;
    let found = world.find("alice@example.org").await.expect("servers");
    let named: Vec<_> = found.iter().map(|found| (found.source, found.host.as_str())).collect();
    let expected = [
        (Source::Autoconfig, "imap.example.org"),
        (Source::Ispdb, "imap.provider.test"),
        (Source::Srv, "mail.example.org"),
        (Source::Mx, "imap.gmail.com"),
    ];
    assert_eq!(named, expected);
}

#[tokio::test]
async fn a_certificate_that_is_not_good_is_refused() {
    let cases: [(bool, Validity, &'static [&'static str], &str); 3] = [
        (true, Validity::Expired, NAMES, "expired"),
        (true, Validity::Good, &["other.test"], "not valid for name"),
        (false, Validity::Good, NAMES, "UnknownIssuer"),
    ];
    for (known, validity, names, reason) in cases {
        let zone = Zone::default().host("imap.example.org");
        let world = World::new(Plan { zone, known, validity, names, ..Plan::default() }).await;
        let nothing = world.find("alice@example.org").await.expect_err("nothing");
        // Over TLS, and with STARTTLS.
        let refused = nothing.tried.iter().map(Tried::to_string).filter(|text| {
            text.starts_with("imap.example.org:")
                && text.contains("refused, its TLS is not good")
                && text.contains(reason)
        });
        assert_eq!(refused.count(), 2, "{reason}: {nothing}");
    }
}

#[tokio::test]
async fn without_tls_a_server_is_none() {
    let zone = Zone::default().host("autoconfig.example.org").host("example.org").host("mail.example.org");
    let site = |_, imaps, imap| {
        let plain = server("mail.example.org", imaps).replace("SSL", "plain");
        let start_tls = server("mail.example.org", imap).replace("SSL", "STARTTLS");
        site([(OWN, description(&plain)), (WELL_KNOWN, description(&start_tls))])
    };
    let unprotected = Plan { zone, site, start_tls: Tls::None, names: &["other.test"], ..Plan::default() };
    let world = World::new(unprotected).await;
    let nothing = world.find("alice@example.org").await.expect_err("nothing");
    assert_eq!(failure(&nothing, OWN), "its answer names mail.example.org without TLS, which is refused");
    let port = world.imap.address().port();
    let refused = failure(&nothing, &format!("mail.example.org:{port}"));
    assert_eq!(refused, "the upstream does not offer STARTTLS");
}

#[tokio::test]
async fn a_redirect_leads_on_over_https_only() {
    let zone = Zone::default()
        .host("autoconfig.example.org")
        .host("example.org")
        .host("elsewhere.test")
        .host("imap.example.org");
    let site = |port: u16, imaps, _| {
        site([
            (OWN, Answer::Redirect(format!("https://elsewhere.test:{port}/there.xml"))),
            (WELL_KNOWN, Answer::Redirect(format!("http://elsewhere.test:{port}/there.xml"))),
            ("elsewhere.test/there.xml", description(&server("imap.example.org", imaps))),
        ])
    };
    let world = World::new(Plan { zone, site, ..Plan::default() }).await;
    let mut told = Vec::new();
    let address = "alice@example.org".parse().expect("an address");
    let found = world.discovery.find(&address, |tried: &Tried| told.push(tried.to_string())).await;
    assert_eq!(found.expect("a server").len(), 1);
    assert!(told.contains(&format!("{WELL_KNOWN}: a redirect away from HTTPS")), "{told:?}");
    assert!(told.contains(&format!("{OWN}: names imap.example.org")), "{told:?}");
    // The address is for the domain's own server, not for where it sends one.
    let requests = world.web.requests();
    let there = requests.iter().find(|request| request.target == "elsewhere.test/there.xml");
    let there = there.expect("it was asked").head.clone();
    assert!(!there.contains("alice"), "{there}");
}

#[tokio::test]
async fn answers_that_are_none_are_told() {
    let zone = Zone::default().host("autoconfig.example.org").host("example.org").host("ispdb.test");
    let site = |_, _, _| {
        site([
            (OWN, Answer::Body(b"<html><body>\x1b[2JSoon!<br></body></html>".to_vec())),
            (WELL_KNOWN, Answer::Body(vec![b'<'; 2 * 1024 * 1024])),
            (ISPDB, Answer::Silence),
        ])
    };
    let world = World::new(Plan { zone, site, names: &["other.test"], ..Plan::default() }).await;
    let nothing = world.find("alice@example.org").await.expect_err("nothing");
    assert!(failure(&nothing, OWN).starts_with("no description of mail servers"), "{nothing}");
    assert!(failure(&nothing, WELL_KNOWN).contains("more than 1 MiB"), "{nothing}");
    assert_eq!(failure(&nothing, ISPDB), "no answer within 10 s");
    assert!(!nothing.to_string().contains('\x1b'), "{nothing}");
}

#[tokio::test]
async fn when_nothing_answers_all_that_was_tried_is_told() {
    let zone = Zone::default().host("ispdb.test");
    let world = World::new(Plan { zone, ..Plan::default() }).await;
    let mut told = Vec::new();
    let address = "alice@example.org".parse().expect("an address");
    let nothing = world.discovery.find(&address, |tried: &Tried| told.push(tried.clone())).await;
    let nothing = nothing.expect_err("nothing").to_string();
    let (imaps, imap) = (world.imaps.address().port(), world.imap.address().port());
    let unknown = "no such name in DNS";
    let expected = [
        "no IMAP server was found for example.org:".to_owned(),
        format!("  {OWN}: {unknown}"),
        format!("  {WELL_KNOWN}: {unknown}"),
        format!("  {ISPDB}: answers 404 Not Found"),
        format!("  _imaps._tcp.example.org: {unknown}"),
        format!("  _imap._tcp.example.org: {unknown}"),
        format!("  MX of example.org: {unknown}"),
        format!("  imap.example.org:{imaps}: {unknown}"),
        format!("  mail.example.org:{imaps}: {unknown}"),
        format!("  example.org:{imaps}: {unknown}"),
        format!("  imap.example.org:{imap}: {unknown}"),
        format!("  mail.example.org:{imap}: {unknown}"),
        format!("  example.org:{imap}: {unknown}"),
        "ask the provider for its IMAP server, and give it: --imap imaps://HOST".to_owned(),
    ];
    assert_eq!(nothing.lines().collect::<Vec<_>>(), expected);
    let asking = told.iter().filter(|tried| tried.outcome == Outcome::Asking).count();
    assert_eq!((asking, told.len()), (12, 24));
}

#[tokio::test]
async fn names_beyond_ascii_are_looked_up_by_their_a_labels() {
    let zone = Zone::default().host("autoconfig.xn--bcher-kva.example").host("imap.xn--bcher-kva.example");
    let site = |_, imaps, _| {
        let described = description(&server("imap.%EMAILDOMAIN%", imaps));
        site([("autoconfig.xn--bcher-kva.example/mail/config-v1.1.xml", described)])
    };
    let world = World::new(Plan { zone, site, ..Plan::default() }).await;
    let found = world.one("Jörg@Bücher.example").await;
    assert_eq!((found.host.as_str(), found.username.as_str()), ("imap.xn--bcher-kva.example", "Jörg"));
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_told_with_its_demands() {
    let world = World::new(Plan::default()).await;
    let nothing = world.find("alice@aol.com").await.expect_err("nothing");
    assert!(nothing.to_string().contains("AOL takes an app password"), "{nothing}");
    // Nor is a guess made at what is known.
    assert!(nothing.tried.iter().all(|tried| tried.source != Source::Guess), "{nothing}");
}

#[tokio::test]
async fn where_one_signs_in_tells_the_provider() {
    let zone = Zone::default().host("autoconfig.example.org").host("imap.example.org");
    let site = |_, imaps, _| {
        let server = server("imap.example.org", imaps).replace("password-cleartext", "OAuth2");
        let Answer::Body(text) = description(&server) else { unreachable!("a description is a body") };
        let text = String::from_utf8(text).expect("ASCII").replace(
            "</clientConfig>",
            "<oAuth2><issuer>login.microsoftonline.com</issuer></oAuth2></clientConfig>",
        );
        site([(OWN, Answer::Body(text.into_bytes()))])
    };
    let world = World::new(Plan { zone, site, ..Plan::default() }).await;
    let found = world.one("alice@example.org").await;
    assert_eq!(found.authentication, [Authentication::OAuth2("login.microsoftonline.com".to_owned())]);
    assert_eq!(found.provider, Some("microsoft"));
}

#[test]
fn looking_needs_no_network_to_begin() {
    let authority = Authority::new("trusted");
    let discovery = Discovery::new(Some(&authority.ca())).expect("it can look");
    let address: MailAddress = "alice@example.org".parse().expect("an address");
    may_move_to_another_thread(&discovery.find(&address, |_| {}));
    let error = Discovery::new(Some(std::path::Path::new("/nowhere/ca.pem"))).err().expect("no file");
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
}

fn may_move_to_another_thread(_: &impl Send) {}
