//! Where the device is: on this machine, or in the home network.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use ipnet::{IpNet, Ipv4Net};

use super::Arguments;
use super::listening::NewListener;
use super::questions::{Choice, Question, Questions, usage};
use super::unit;
use super::write::Existing;
use crate::cli::exit::Failure;
use crate::config::{Listener, ListenerTls};

/// Where the device connects.
pub struct Place {
    /// What the device is told; the unspecified address where nothing better is known.
    pub address: SocketAddr,
    pub tls: ListenerTls,
    /// `None`: one that is there already.
    pub new: Option<NewListener>,
}

#[derive(Clone)]
enum Where {
    Known(SocketAddr, ListenerTls),
    Here,
    Network,
}

pub fn ask(questions: &Questions, arguments: &Arguments, existing: &Existing) -> Result<Place, Failure> {
    let known = existing.config.as_ref().map(|config| config.listeners.as_slice()).unwrap_or_default();
    if let Some(address) = arguments.listen {
        return given(questions, arguments, known, address);
    }
    let label = |listener: &Listener| match listener.tls {
        ListenerTls::None => format!("where popbridge listens already: {}, no TLS", listener.address),
        tls => format!("where popbridge listens already: {}, {}", listener.address, words(tls)),
    };
    let mut choices: Vec<Choice<Where>> = known
        .iter()
        .map(|listener| Choice::new(Where::Known(listener.address, listener.tls), label(listener)))
        .collect();
    let here = SocketAddr::from(([127, 0, 0, 1], 1110));
    if known.iter().all(|listener| !reaches(listener.address, here)) {
        choices.push(Choice::new(Where::Here, "on this machine (nobody else can connect)"));
    }
    choices.push(Choice::new(Where::Network, "elsewhere in the home network"));
    let question = Question { flag: "--listen ADDRESS", text: "Where is the program or device?", help: "" };
    match questions.choose(&question, None, choices, 0)? {
        Where::Known(address, tls) => Ok(Place { address: told(address), tls, new: None }),
        Where::Here => Ok(new(here, ListenerTls::None, None)),
        Where::Network => {
            let tls = tls(questions, arguments)?;
            let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port(tls)));
            if let Some(same) =
                known.iter().find(|listener| listener.address == address && listener.tls == tls)
            {
                return Ok(Place { address: told(same.address), tls, new: None });
            }
            Ok(new(address, tls, Some(network(questions, arguments)?)))
        }
    }
}

/// Where `--listen` says.
fn given(
    questions: &Questions,
    arguments: &Arguments,
    known: &[Listener],
    address: SocketAddr,
) -> Result<Place, Failure> {
    if let Some(listener) = known.iter().find(|listener| listener.address == address) {
        let tls = listener.tls;
        if arguments.tls.is_some_and(|wanted| wanted != tls) {
            return Err(usage(format!(
                "the listener {address} has tls = \"{}\" already: leave --tls out",
                tls.name()
            )));
        }
        return Ok(Place { address: told(address), tls, new: None });
    }
    if address.ip().is_loopback() {
        return Ok(new(address, arguments.tls.unwrap_or(ListenerTls::None), None));
    }
    let tls = tls(questions, arguments)?;
    Ok(new(address, tls, Some(network(questions, arguments)?)))
}

fn new(address: SocketAddr, tls: ListenerTls, network: Option<IpNet>) -> Place {
    Place { address: told(address), tls, new: Some(NewListener { address, tls, network }) }
}

fn tls(questions: &Questions, arguments: &Arguments) -> Result<ListenerTls, Failure> {
    let question = Question {
        flag: "--tls WORD",
        text: "Can the device encrypt (SSL/TLS)?",
        help: "if you do not know: try the first, and run setup again if the device has no such setting",
    };
    let choices = vec![
        Choice::new(ListenerTls::Implicit, "yes, \"SSL/TLS\""),
        Choice::new(ListenerTls::StartTls, "yes, but only \"STARTTLS\""),
        Choice::new(ListenerTls::None, "no (its password and your mail cross the home network readably)"),
    ];
    questions.choose(&question, arguments.tls, choices, 0)
}

fn network(questions: &Questions, arguments: &Arguments) -> Result<IpNet, Failure> {
    let question = Question {
        flag: "--network NETWORK",
        text: "Your home network (nobody else may connect):",
        help: "as 192.168.1.0/24; or the device's own address, as 192.168.1.40",
    };
    let guess = own_address().filter(Ipv4Addr::is_private).map(|own| around(own).to_string());
    questions.text(&question, arguments.network, guess.as_deref(), parse_network)
}

/// A network, or a lone address.
pub fn parse_network(text: &str) -> Result<IpNet, String> {
    text.parse()
        .or_else(|_| text.parse().map(|address: IpAddr| address.into()))
        .map_err(|_| format!("\"{text}\" is no network like 192.168.1.0/24"))
}

/// The usual ports (RFC 8314 §7.3); others where only root may have those.
fn port(tls: ListenerTls) -> u16 {
    match (tls, unit::is_root()) {
        (ListenerTls::Implicit, true) => 995,
        (ListenerTls::Implicit, false) => 1995,
        (_, true) => 110,
        (_, false) => 1110,
    }
}

/// Whether who connects to `address` reaches a listener at `listener`.
fn reaches(listener: SocketAddr, address: SocketAddr) -> bool {
    listener == address || (listener.ip().is_unspecified() && listener.port() == address.port())
}

/// The address that other machines know.
fn told(listener: SocketAddr) -> SocketAddr {
    match (listener.ip().is_unspecified(), own_address()) {
        (true, Some(own)) => SocketAddr::new(own.into(), listener.port()),
        _ => listener,
    }
}

/// This machine's address in its network. Nothing is sent: the system only picks the address that
/// it would send from.
fn own_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // TEST-NET-1 (RFC 5737): nobody's.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(own) if !own.is_loopback() && !own.is_unspecified() => Some(own),
        _ => None,
    }
}

/// Home networks are of 256 addresses, nearly all.
fn around(own: Ipv4Addr) -> IpNet {
    let network = Ipv4Net::new_assert(own, 24).trunc();
    IpNet::V4(network)
}

/// As mail programs call it.
pub fn words(tls: ListenerTls) -> &'static str {
    match tls {
        ListenerTls::None => "none",
        ListenerTls::StartTls => "STARTTLS",
        ListenerTls::Implicit => "SSL/TLS",
    }
}
