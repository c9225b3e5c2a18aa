//! What to enter in the mail program.

use std::fmt::Write as _;
use std::path::Path;

use super::device::Device;
use super::place::{Place, words};
use crate::cli::source::quoted;
use crate::config::{ListenerTls, OnDelete};

/// The note to keep beside the device.
pub fn card(place: &Place, device: &Device, on_delete: OnDelete) -> String {
    let password = match &device.made {
        Some(made) => String::from_utf8_lossy(made.expose()).into_owned(),
        None => "the one that you chose for it".to_owned(),
    };
    let rows = [
        ("type of account", "POP3".to_owned()),
        ("server", place.address.ip().to_string()),
        ("port", place.address.port().to_string()),
        ("encryption", words(place.tls).to_owned()),
        ("authentication", "normal password".to_owned()),
        ("user name", device.login.clone()),
        ("password", password),
        ("outgoing mail", "the provider's SMTP server, as before; popbridge only fetches".to_owned()),
    ];
    let mut text = "Enter this in the mail program or the device:\n\n".to_owned();
    for (name, value) in rows {
        let _ = writeln!(text, "  {name:<16}{value}");
    }
    let _ = writeln!(text, "\n{}", leave(on_delete));
    if place.tls != ListenerTls::None {
        text.push_str(
            "If it complains about the certificate: popbridge made that one itself, unless you gave it another. Tell \
             the\nprogram to trust it.\n",
        );
    }
    text
}

/// Advice on the setting that decides whether a program deletes.
fn leave(on_delete: OnDelete) -> &'static str {
    match on_delete {
        OnDelete::Hide => {
            "\"Leave messages on the server\" may be on or off: what it deletes is only hidden from it, and stays in \
             the\nmailbox."
        }
        OnDelete::Trash => {
            "Switch \"leave messages on the server\" on, unless what it has fetched shall go to the mailbox's trash."
        }
        OnDelete::Archive => {
            "Switch \"leave messages on the server\" on, unless what it has fetched shall go to the mailbox's archive."
        }
        OnDelete::Flag => {
            "Switch \"leave messages on the server\" on, unless what it has fetched shall be marked as deleted in the\n\
             mailbox."
        }
        OnDelete::Expunge => {
            "Switch \"leave messages on the server\" ON: otherwise what it has fetched is removed from the mailbox for \
             good,\nfor all your devices."
        }
    }
}

/// The commands that go on from here.
pub fn next(configuration: &Path, login: &str, serve: bool) -> String {
    let configuration = quoted(&configuration.display().to_string());
    let mut text = String::new();
    if serve {
        let _ = writeln!(text, "Start popbridge:\n  popbridge serve --config {configuration}");
    }
    let _ = writeln!(
        text,
        "Look whether all is well, at any time:\n  popbridge check --config {configuration} --login {}",
        quoted(login)
    );
    text
}
