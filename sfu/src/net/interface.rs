//! Which addresses clients are told, when nobody configured any.

use std::io;
use std::net::{IpAddr, Ipv6Addr};

use super::sys;

/// More candidates only make clients try more paths before they find the right one.
const CANDIDATES_MAX: usize = 8;

/// The addresses that a socket bound to `listen_ip` can be reached at: that one, or those of the
/// interfaces where it is unspecified. Never empty.
pub fn reachable_at(listen_ip: IpAddr) -> io::Result<Vec<IpAddr>> {
    if !listen_ip.is_unspecified() {
        return Ok(vec![listen_ip]);
    }
    Ok(choose(listen_ip, sys::interface_addresses()?))
}

fn choose(listen_ip: IpAddr, mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    // A socket bound to `::` hears both families, one bound to `0.0.0.0` only its own.
    addresses.retain(|ip| is_usable(*ip) && (ip.is_ipv4() || listen_ip.is_ipv6()));
    let is_alone = addresses.iter().all(IpAddr::is_loopback);
    addresses.retain(|ip| is_alone || !ip.is_loopback());
    addresses.truncate(CANDIDATES_MAX);
    if addresses.is_empty() {
        addresses.push(match listen_ip {
            IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    addresses
}

/// Link-local addresses need a scope, which no candidate can carry.
fn is_usable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local() && !ip.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        let parse = |text: &&str| text.parse().expect("an address");
        texts.iter().map(parse).collect()
    }

    #[test]
    fn a_bound_address_is_the_only_one() {
        let ip = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(reachable_at(ip).expect("no system call"), [ip]);
    }

    #[test]
    fn this_machine_has_an_address() {
        for unspecified in ips(&["0.0.0.0", "::"]) {
            assert!(!reachable_at(unspecified).expect("a list").is_empty());
        }
        let all = sys::interface_addresses().expect("a list");
        assert!(all.contains(&IpAddr::from([127, 0, 0, 1])));
    }

    #[test]
    fn loopback_and_link_local_addresses_are_the_last_resort() {
        let all = ips(&[
            "127.0.0.1",
            "192.0.2.7",
            "169.254.1.1",
            "fe80::1",
            "2001:db8::7",
            "::1",
        ]);
        let any = ips(&["0.0.0.0", "::"]);
        assert_eq!(choose(any[0], all.clone()), ips(&["192.0.2.7"]));
        assert_eq!(choose(any[1], all), ips(&["192.0.2.7", "2001:db8::7"]));
        assert_eq!(choose(any[0], ips(&["127.0.0.1"])), ips(&["127.0.0.1"]));
        assert_eq!(choose(any[1], Vec::new()), ips(&["::1"]));
    }
}
