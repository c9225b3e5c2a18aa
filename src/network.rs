//! Where somebody comes from, as it is counted.

use std::net::IpAddr;

/// The network that stands for an address: of IPv4 the address itself; of IPv6 its 64 bits, since
/// those are one household's, or one machine's (RFC 4291 §2.5.1). An IPv4 address in IPv6's form
/// (`::ffff:192.0.2.7`) is that address.
pub fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        // Where no network of IPv6 is: their lower half is left out.
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_is_counted_by_networks() {
        let of = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
        assert_eq!(of("192.0.2.7"), of("::ffff:192.0.2.7"));
        // No network of IPv6 is that of an address of IPv4.
        assert_ne!(of("::1"), of("0.0.0.1"));
        assert_eq!(
            of("::192.0.2.7"),
            of("0.0.0.0"),
            "but for ::/64, which nobody comes from but this machine"
        );
    }
}
