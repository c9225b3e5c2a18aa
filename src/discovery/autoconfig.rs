//! Descriptions of mail servers in XML, as domains (draft-ietf-mailmaint-autoconfig) and
//! Thunderbird's database give them. Only IMAP under TLS is read; each value is checked when it
//! becomes part of a candidate. Of entities only XML's own five are known, so none can grow.

use serde::Deserialize;

use super::address::{MailAddress, host_name};
use super::candidate::{Authentication, Candidate, Source};
use crate::config::TransportSecurity;

/// More servers than this nobody describes in earnest.
const MOST: usize = 6;
/// For a user name, in octets.
const LONGEST_NAME: usize = 255;

#[derive(Deserialize)]
struct ClientConfig {
    #[serde(rename = "$value", default)]
    parts: Vec<Part>,
}

/// Parts may stand in any order, and there are more than these.
#[derive(Deserialize)]
enum Part {
    #[serde(rename = "emailProvider")]
    Provider(Provider),
    #[serde(rename = "oAuth2")]
    OAuth2(OAuth2),
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Provider {
    #[serde(rename = "$value", default)]
    parts: Vec<ProviderPart>,
}

#[derive(Deserialize)]
enum ProviderPart {
    #[serde(rename = "incomingServer")]
    Incoming(Incoming),
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Incoming {
    #[serde(rename = "@type", default)]
    kind: String,
    #[serde(rename = "$value", default)]
    settings: Vec<Setting>,
}

#[derive(Deserialize)]
enum Setting {
    #[serde(rename = "hostname")]
    Hostname(String),
    #[serde(rename = "port")]
    Port(String),
    #[serde(rename = "socketType")]
    SocketType(String),
    #[serde(rename = "username")]
    Username(String),
    #[serde(rename = "authentication")]
    Authentication(String),
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct OAuth2 {
    #[serde(rename = "$value", default)]
    parts: Vec<OAuth2Part>,
}

#[derive(Deserialize)]
enum OAuth2Part {
    #[serde(rename = "issuer")]
    Issuer(String),
    #[serde(other)]
    Other,
}

/// The IMAP servers that a description names for an address, in its order; else why there are none.
pub fn read(octets: &[u8], address: &MailAddress, source: Source) -> Result<Vec<Candidate>, String> {
    // Other encodings differ in the names that are for people.
    let text = String::from_utf8_lossy(octets);
    let config: ClientConfig = quick_xml::de::from_str(text.trim_start_matches('\u{feff}'))
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
    let candidate = Candidate::named(source, address, host, port, security, &username)?;
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
fn template(text: &str, address: &MailAddress) -> Result<String, String> {
    let wrong = || format!("its answer names {} as the user name", short(text));
    if text.is_empty()
        || text.len() > LONGEST_NAME
        || text.contains(|c: char| c.is_control() || "{}".contains(c))
    {
        return Err(wrong());
    }
    if text.eq_ignore_ascii_case(&address.to_string()) {
        return Ok("{login}".to_owned());
    }
    if text == address.local() {
        return Ok("{local}".to_owned());
    }
    Ok(text
        .replace("%EMAILADDRESS%", "{login}")
        .replace("%EMAILLOCALPART%", "{local}")
        .replace("%EMAILDOMAIN%", "{domain}"))
}

/// A hostile value for an error: quoted, escaped, not long.
fn short(text: &str) -> String {
    let start: String = text.chars().take(60).collect();
    format!("{start:?}{}", if start.len() < text.len() { "…" } else { "" })
}
