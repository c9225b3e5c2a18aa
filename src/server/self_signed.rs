//! The certificate that popbridge makes itself, with the names that devices know this machine by.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::tls::CertificateError;
use crate::owner::give_to_owner_of;

/// The self-signed pair in `folder`: kept, since a client that was told to trust it would
/// otherwise complain after each restart.
pub fn self_signed(folder: &Path, addresses: &[IpAddr]) -> Result<(PathBuf, PathBuf), CertificateError> {
    let certificate = folder.join("self-signed.crt");
    let key = folder.join("self-signed.key");
    if certificate.exists() && key.exists() {
        return Ok((certificate, key));
    }
    let made = rcgen::generate_simple_self_signed(names(addresses))?;
    let written = |path: &Path, result: io::Result<()>| {
        result.map_err(|source| CertificateError::Write { path: path.display().to_string(), source })
    };
    written(folder, std::fs::create_dir_all(folder))?;
    written(&key, write(folder, &key, made.signing_key.serialize_pem().as_bytes(), 0o600))?;
    written(&certificate, write(folder, &certificate, made.cert.pem().as_bytes(), 0o644))?;
    Ok((certificate, key))
}

/// What devices may have been told to connect to: this machine's name, and where it listens. A
/// listener at every address is known by the machine's own.
fn names(addresses: &[IpAddr]) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "popbridge".to_owned()];
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    names.extend(host_name(&name));
    for address in addresses {
        let known = if address.is_unspecified() { own_address().map(IpAddr::V4) } else { Some(*address) };
        names.extend(known.map(|address| address.to_string()));
    }
    // Each once, in this order.
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// A name that a certificate can bear (RFC 5280 §4.2.1.6).
fn host_name(text: &str) -> Option<String> {
    let name = text.trim().to_ascii_lowercase();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    // A number would be taken for an address.
    let good = name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.parse::<IpAddr>().is_err();
    (good && name.chars().all(plain)).then_some(name)
}

/// This machine's address in its network. Nothing is sent: the system only picks the address that
/// it would send from.
pub fn own_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // TEST-NET-1 (RFC 5737): nobody's.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(own) if !own.is_loopback() && !own.is_unspecified() => Some(own),
        _ => None,
    }
}

/// A new file, with this mode from its first moment on. Half a pair of before goes; a link that
/// somebody has put there leads nobody elsewhere.
fn write(folder: &Path, path: &Path, octets: &[u8], mode: u32) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    give_to_owner_of(folder, &file)?;
    file.write_all(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_finds_the_name_that_it_was_told() {
        let address: IpAddr = [192, 168, 1, 2].into();
        let names = names(&[address, IpAddr::from([0, 0, 0, 0]), address]);
        let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let expected = [host_name(&own), Some(address.to_string()), own_address().map(|own| own.to_string())];
        for name in
            ["localhost", "popbridge"].map(str::to_owned).into_iter().chain(expected.into_iter().flatten())
        {
            assert_eq!(names.iter().filter(|known| **known == name).count(), 1, "{name} in {names:?}");
        }
        assert!(names.iter().all(|name| name != "0.0.0.0"), "{names:?}");
    }

    #[test]
    fn no_host_name_spoils_the_certificate() {
        assert_eq!(host_name("Raspberry-Pi.lan\n").as_deref(), Some("raspberry-pi.lan"));
        for none in ["", "\n", "(none)", "m\u{fc}hle", "a b", "-a", "192.168.1.2"] {
            assert_eq!(host_name(none), None, "{none}");
        }
    }

    #[test]
    fn an_address_is_an_address_in_the_certificate() {
        let made = rcgen::generate_simple_self_signed(names(&[[192, 168, 1, 2].into()])).expect("made");
        // iPAddress of RFC 5280 §4.2.1.6.
        let wanted: &[u8] = &[0x87, 4, 192, 168, 1, 2];
        assert!(made.cert.der().windows(wanted.len()).any(|octets| octets == wanted));
    }

    #[test]
    fn a_pair_that_is_there_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let (certificate, key) = self_signed(folder.path(), &[]).expect("made");
        let read = || (std::fs::read(&certificate).expect("there"), std::fs::read(&key).expect("there"));
        let before = read();
        self_signed(folder.path(), &[[192, 168, 1, 2].into()]).expect("kept");
        assert_eq!(read(), before);
    }
}
