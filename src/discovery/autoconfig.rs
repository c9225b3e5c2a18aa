//! From a description of mail servers, as domains (draft-ietf-mailmaint-autoconfig) and Thunderbird's
//! database give them, to candidates. Only IMAP under TLS counts; each value is checked here.

use super::address::{MailAddress, host_name};
use super::candidate::{Authentication, Candidate, Source};
use super::description::{OAuth2Part, Part, ProviderPart, Setting, parse};
use crate::config::{TransportSecurity, UsernameTemplate};

/// More servers than this nobody describes in earnest.
const MOST: usize = 6;
/// For a user name, in octets.
const LONGEST_NAME: usize = 255;

/// The IMAP servers that a description names for an address, in its order; else why there are none.
pub fn read(octets: &[u8], address: &MailAddress, source: Source) -> Result<Vec<Candidate>, String> {
    // Other encodings differ in the names that are for people.
    let text = String::from_utf8_lossy(octets);
    let config = parse(text.trim_start_matches('\u{feff}'))
        .map_err(|error| format!("no description of mail servers: {error}"))?;
    let mut issuer = None;
    let mut servers = Vec::new();
    for part in config.parts {
        match part {
            Part::Provider(provider) => servers.extend(provider.parts.into_iter().filter_map(imap)),
            Part::OAuth2(oauth2) => issuer = issuer.or_else(|| oauth2.parts.iter().find_map(signing_in)),
            Part::Other => {}
        }
    }
    let mut candidates = Vec::new();
    let mut refused = None;
    for server in servers.into_iter().take(MOST) {
        match candidate(server, address, source, issuer.as_deref()) {
            Ok(candidate) => candidates.push(candidate),
            Err(reason) => {
                refused.get_or_insert(reason);
            }
        }
    }
    match refused {
        _ if !candidates.is_empty() => Ok(candidates),
        Some(reason) => Err(reason),
        None => Err("its answer names no IMAP server".to_owned()),
    }
}

fn imap(part: ProviderPart) -> Option<Vec<Setting>> {
    match part {
        ProviderPart::Incoming(server) if server.kind == "imap" => Some(server.settings),
        ProviderPart::Incoming(_) | ProviderPart::Other => None,
    }
}

/// The host of an issuer, which is written as a host or as a URL.
fn signing_in(part: &OAuth2Part) -> Option<String> {
    let OAuth2Part::Issuer(text) = part else { return None };
    let text = text.trim();
    let text = text.strip_prefix("https://").unwrap_or(text);
    host_name(text.split('/').next().unwrap_or_default())
}

fn candidate(
    settings: Vec<Setting>,
    address: &MailAddress,
    source: Source,
    issuer: Option<&str>,
) -> Result<Candidate, String> {
    let (mut host, mut port, mut socket, mut username) = (None, None, None, None);
    let mut authentication = Vec::new();
    for setting in settings {
        match setting {
            Setting::Hostname(text) => host = host.or(Some(text)),
            Setting::Port(text) => port = port.or(Some(text)),
            Setting::SocketType(text) => socket = socket.or(Some(text)),
            Setting::Username(text) => username = username.or(Some(text)),
            Setting::Authentication(text) => authentication.push(text),
            Setting::Other => {}
        }
    }
    let host = host.unwrap_or_default().trim().replace("%EMAILDOMAIN%", address.domain());
    let host =
        host_name(&host).ok_or_else(|| format!("its answer names {}, which is no host", short(&host)))?;
    let port = port.unwrap_or_default();
    let port = match port.trim().parse() {
        Ok(0) | Err(_) => return Err(format!("its answer names {} as the port of {host}", short(&port))),
        Ok(port) => port,
    };
    let security = match socket.as_deref().map(str::trim) {
        Some("SSL") => TransportSecurity::Tls,
        Some("STARTTLS") => TransportSecurity::StartTls,
        _ => return Err(format!("its answer names {host} without TLS, which is refused")),
    };
    let username = template(username.as_deref().unwrap_or("%EMAILADDRESS%").trim(), address)?;
    let authentication = ways(&authentication, issuer).ok_or_else(|| {
        format!("{host} takes neither a password nor OAuth 2: {}", short(&authentication.join(", ")))
    })?;
    let candidate = Candidate::named(source, address, host, port, security, &username);
    Ok(Candidate { authentication, ..candidate })
}

/// The ways to log in that popbridge knows, in the description's order; a password where it says
/// nothing. "password-encrypted" is CRAM-MD5, which needs no TLS and is not spoken.
fn ways(named: &[String], issuer: Option<&str>) -> Option<Vec<Authentication>> {
    if named.is_empty() {
        return Some(vec![Authentication::Password]);
    }
    let way = |name: &String| match name.trim() {
        "password-cleartext" | "plain" => Some(Authentication::Password),
        "OAuth2" => issuer.map(|issuer| Authentication::OAuth2(issuer.to_owned())),
        _ => None,
    };
    let ways: Vec<_> = named.iter().filter_map(way).collect();
    (!ways.is_empty()).then_some(ways)
}

/// A user name with the description's placeholders as the configuration's template. What was filled
/// in for this address already becomes a placeholder again.
fn template(text: &str, address: &MailAddress) -> Result<UsernameTemplate, String> {
    let odd = |letter: char| letter.is_control() || "{}".contains(letter);
    let template = match text {
        _ if text.len() > LONGEST_NAME || text.contains(odd) => None,
        _ if text.eq_ignore_ascii_case(&address.to_string()) => Some("{login}".to_owned()),
        _ if text == address.local() => Some("{local}".to_owned()),
        _ => Some(
            text.replace("%EMAILADDRESS%", "{login}")
                .replace("%EMAILLOCALPART%", "{local}")
                .replace("%EMAILDOMAIN%", "{domain}"),
        ),
    };
    let template = template.and_then(|template| template.parse().ok());
    template.ok_or_else(|| format!("its answer names {} as the user name", short(text)))
}

/// A hostile value for an error: quoted, escaped, not long.
fn short(text: &str) -> String {
    let start: String = text.chars().take(60).collect();
    format!("{start:?}{}", if start.len() < text.len() { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<Candidate>, String> {
        read(text.as_bytes(), &"alice@example.org".parse().expect("an address"), Source::Ispdb)
    }

    /// A server of these settings, described alone.
    fn settings(settings: &str) -> Result<Vec<Candidate>, String> {
        read_text(&format!(
            "<clientConfig><emailProvider id=\"x\"><incomingServer type=\"imap\">{settings}</incomingServer>\
             </emailProvider></clientConfig>"
        ))
    }

    fn usual(host: &str, port: &str, socket: &str, username: &str) -> Result<Vec<Candidate>, String> {
        settings(&format!(
            "<hostname>{host}</hostname><port>{port}</port><socketType>{socket}</socketType>\
             <username>{username}</username>"
        ))
    }

    #[test]
    fn a_description_is_read_whatever_stands_between() {
        let text = r#"<?xml version="1.0" encoding="UTF-8"?>
            <!DOCTYPE clientConfig [<!ENTITY name "value">]>
            <!-- as providers write them -->
            <clientConfig version="1.1">
              <emailProvider id="googlemail.com">
                <displayName>Google &amp; Co</displayName>
                <incomingServer type="pop3"><hostname>pop.gmail.com</hostname></incomingServer>
                <incomingServer type="imap">
                  <hostname> imap.gmail.com </hostname>
                  <port>993</port>
                  <socketType>SSL</socketType>
                  <authentication>OAuth2</authentication>
                  <username>%EMAILADDRESS%</username>
                  <authentication>password-cleartext</authentication>
                  <pop3><leaveMessagesOnServer>true</leaveMessagesOnServer></pop3>
                </incomingServer>
                <outgoingServer type="smtp"><hostname>smtp.gmail.com</hostname></outgoingServer>
                <incomingServer type="imap">
                  <hostname>second.%EMAILDOMAIN%</hostname>
                  <port>143</port>
                  <socketType>STARTTLS</socketType>
                  <username>%EMAILLOCALPART%.%EMAILDOMAIN%</username>
                </incomingServer>
                <documentation url="https://example.org"><descr>So <b>geht</b> es</descr></documentation>
              </emailProvider>
              <oAuth2><issuer>https://accounts.google.com/</issuer><scope>mail</scope></oAuth2>
              <webMail><loginPage url="https://mail.google.com/mail/"/></webMail>
            </clientConfig>"#;
        let found = read_text(&format!("\u{feff}{text}")).expect("two servers");
        let [first, second] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(
            (first.url().as_str(), first.username.as_str()),
            ("imaps://imap.gmail.com", "alice@example.org")
        );
        let google = Authentication::OAuth2("accounts.google.com".to_owned());
        assert_eq!(first.authentication, [google, Authentication::Password]);
        assert_eq!(second.url(), "imap+starttls://second.example.org");
        assert_eq!(second.username, "alice.example.org");
        assert_eq!(second.username_template, "{local}.{domain}");
        assert_eq!(second.authentication, [Authentication::Password]);
    }

    #[test]
    fn hostile_values_are_refused() {
        assert!(usual("imap.example.org", "993", "SSL", "alice").is_ok());
        for host in [
            "",
            "192.0.2.1",
            "[::1]",
            "a b",
            "a/b",
            "a:1",
            "a@b",
            "a%2eb",
            "-a.org",
            "imap.&#10;org",
            "x&#27;[2J.org",
            "imaps://a.org",
            "a\\b",
            "a_b.org",
        ] {
            assert!(usual(host, "993", "SSL", "alice").is_err(), "{host}");
        }
        for port in ["", "0", "65536", "-1", "99 3", "993;", "&#0;"] {
            assert!(usual("imap.example.org", port, "SSL", "alice").is_err(), "{port}");
        }
        for socket in ["", "plain", "ssl3", "SSL&#0;"] {
            assert!(usual("imap.example.org", "993", socket, "alice").is_err(), "{socket}");
        }
        for username in ["", "a&#13;&#10;A2 LOGOUT", "{login}", "a}b", "{", &"a".repeat(256)] {
            assert!(usual("imap.example.org", "993", "SSL", username).is_err(), "{username}");
        }
        let error = usual(&"x&#27;".repeat(500), "993", "SSL", "alice").expect_err("no host");
        assert!(error.len() < 600 && !error.contains('\u{1b}'), "{error}");
    }

    #[test]
    fn a_user_name_that_was_filled_in_serves_others_too() {
        for (username, template) in [
            ("alice@example.org", "{login}"),
            ("Alice@Example.org", "{login}"),
            ("alice", "{local}"),
            ("asmith", "asmith"),
        ] {
            let found = usual("imap.example.org", "993", "SSL", username).expect("a server");
            assert_eq!(found[0].username_template, template);
        }
    }

    #[test]
    fn only_ways_to_log_in_that_are_spoken_count() {
        let named = |name: &str| {
            settings(&format!(
                "<hostname>imap.example.org</hostname><port>993</port><socketType>SSL</socketType>\
                 <authentication>{name}</authentication>"
            ))
        };
        assert_eq!(named("plain").expect("a server")[0].authentication, [Authentication::Password]);
        // Without an issuer nobody knows where to sign in.
        for name in ["OAuth2", "NTLM", "password-encrypted", "GSSAPI", "none"] {
            assert!(named(name).expect_err("none").contains(name), "{name}");
        }
    }

    #[test]
    fn what_is_no_description_is_refused() {
        let bomb = "<!DOCTYPE a [<!ENTITY b \"bbbb\"><!ENTITY c \"&b;&b;&b;\">]><clientConfig><emailProvider>\
                    <incomingServer type=\"imap\"><hostname>&c;</hostname></incomingServer></emailProvider>\
                    </clientConfig>";
        let deep = "<a>".repeat(300_000);
        for text in ["", "no", "<html><br></html>", "<clientConfig>", "<a></b>", "{}", "\0\0", bomb, &deep] {
            assert!(read_text(text).is_err(), "{text:.60}");
        }
        let closed = format!("<clientConfig>{deep}{}</clientConfig>", "</a>".repeat(300_000));
        assert_eq!(read_text(&closed).expect_err("no server"), "its answer names no IMAP server");
    }

    #[test]
    fn so_many_servers_and_no_more() {
        let one = "<incomingServer type=\"imap\"><hostname>imap.example.org</hostname><port>993</port>\
                   <socketType>SSL</socketType></incomingServer>";
        let text =
            format!("<clientConfig><emailProvider>{}</emailProvider></clientConfig>", one.repeat(5000));
        assert_eq!(read_text(&text).expect("servers").len(), MOST);
    }
}
