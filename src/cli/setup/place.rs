//! Where the device is: on this machine, or in the home network.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

use super::Arguments;
use super::listening::Opening;
use super::questions::{Choice, Question, Questions, usage};
use super::unit;
use super::write::Existing;
use crate::cli::exit::Failure;
use crate::config::{Listener, ListenerTls, clash};
use crate::server::own_address;

/// Where the device connects.
pub struct Place {
    /// What the device is told; the unspecified address where nothing better is known.
    pub address: SocketAddr,
    pub tls: ListenerTls,
    /// `None`: a listener that is there, and open to it.
    pub opening: Option<Opening>,
}

#[derive(Clone)]
enum Where {
    Known(Listener),
    Here,
    Network,
}

pub fn ask(questions: &Questions, arguments: &Arguments, existing: &Existing) -> Result<Place, Failure> {
    let known = existing.config.as_ref().map(|config| config.listeners.as_slice()).unwrap_or_default();
    if let Some(address) = arguments.listen {
        return given(questions, arguments, known, address);
    }
    // Who says what protects it, or who may connect, has said where.
    if arguments.tls.is_some() || arguments.network.is_some() {
        return in_network(questions, arguments, known);
    }
    let label = |listener: &Listener| match listener.tls {
        ListenerTls::None => format!("where popbridge listens already: {}, no TLS", listener.address),
        tls => format!("where popbridge listens already: {}, {}", listener.address, words(tls)),
    };
    let mut choices: Vec<Choice<Where>> =
        known.iter().map(|listener| Choice::new(Where::Known(listener.clone()), label(listener))).collect();
    let here = SocketAddr::from(([127, 0, 0, 1], 1110));
    if is_free(known, here) {
        choices.push(Choice::new(Where::Here, "on this machine (nobody else can connect)"));
    }
    choices.push(Choice::new(Where::Network, "elsewhere in the home network"));
    let question = Question { flag: "--listen ADDRESS", text: "Where is the program or device?", help: "" };
    match questions.choose(&question, None, choices, 0)? {
        Where::Known(listener) => reused(questions, arguments, &listener),
        Where::Here => Ok(new(here, ListenerTls::None, None)),
        Where::Network => in_network(questions, arguments, known),
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
        return reused(questions, arguments, listener);
    }
    if let Some(other) = known.iter().find(|listener| clash(listener.address, address)) {
        return Err(usage(format!(
            "{address} cannot be had beside the listener {}: give --listen another port, or that listener",
            other.address
        )));
    }
    if address.ip().is_loopback() {
        for_this_machine(arguments, address)?;
        return Ok(new(address, arguments.tls.unwrap_or(ListenerTls::None), None));
    }
    let tls = tls(questions, arguments)?;
    Ok(new(address, tls, Some(network(questions, arguments, None)?)))
}

/// In the home network: at the listener that suits, or at a new one.
fn in_network(questions: &Questions, arguments: &Arguments, known: &[Listener]) -> Result<Place, Failure> {
    let tls = tls(questions, arguments)?;
    let suits = |listener: &&Listener| listener.address.ip().is_unspecified() && listener.tls == tls;
    if let Some(listener) = known.iter().find(suits) {
        return reused(questions, arguments, listener);
    }
    let mut address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port(tls)));
    // 1110, 2110, 3110 …
    while let (false, Some(next)) = (is_free(known, address), address.port().checked_add(1000)) {
        address.set_port(next);
    }
    Ok(new(address, tls, Some(network(questions, arguments, None)?)))
}

/// A listener that is there, for the new device as well.
fn reused(questions: &Questions, arguments: &Arguments, listener: &Listener) -> Result<Place, Failure> {
    let (address, tls) = (listener.address, listener.tls);
    let place = |opening| Place { address: told(address), tls, opening };
    if address.ip().is_loopback() {
        for_this_machine(arguments, address)?;
        return Ok(place(None));
    }
    let for_all = listener.allow.is_empty() && tls != ListenerTls::None;
    if arguments.network.is_none() && (for_all || !questions.can_ask()) {
        return Ok(place(None));
    }
    let already = listener.allow.iter().find(|network| !network.addr().is_loopback());
    let network = network(questions, arguments, already)?;
    Ok(place(Some(Opening { address, tls, network: Some(network) })))
}

/// A network that is named must not be forgotten.
fn for_this_machine(arguments: &Arguments, address: SocketAddr) -> Result<(), Failure> {
    match arguments.network {
        Some(network) => Err(usage(format!(
            "nobody in {network} can connect to {address}, which is this machine's own: leave --network out, or give \
             --listen 0.0.0.0:PORT"
        ))),
        None => Ok(()),
    }
}

fn new(address: SocketAddr, tls: ListenerTls, network: Option<IpNet>) -> Place {
    Place { address: told(address), tls, opening: Some(Opening { address, tls, network }) }
}

fn is_free(known: &[Listener], address: SocketAddr) -> bool {
    !known.iter().any(|listener| clash(listener.address, address))
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

/// `already`: who may connect as it is.
fn network(questions: &Questions, arguments: &Arguments, already: Option<&IpNet>) -> Result<IpNet, Failure> {
    let question = Question {
        flag: "--network NETWORK",
        text: "Your home network (nobody else may connect):",
        help: "as 192.168.1.0/24; or the device's own address, as 192.168.1.40",
    };
    let guess = || own_address().filter(Ipv4Addr::is_private).map(around);
    let default = already.copied().or_else(guess).map(|network| network.to_string());
    questions.text(&question, arguments.network, default.as_deref(), parse_network)
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

/// The address that other machines know.
fn told(listener: SocketAddr) -> SocketAddr {
    match (listener.ip().is_unspecified(), own_address()) {
        (true, Some(own)) => SocketAddr::new(own.into(), listener.port()),
        _ => listener,
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
