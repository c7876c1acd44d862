//! What the endpoint may bind: this machine's loopback addresses, and nothing else until there are tokens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use crate::Error;

/// Says whether [`serve`](super::serve) would take this address, without binding it: for those who want to tell a wrong
/// argument from a port that is taken.
///
/// # Errors
/// [`Error::Setup`] if the address is not of the form that `serve` takes, or not a loopback address.
pub fn check_address(addr: &str) -> Result<(), Error> {
    parse(addr).map(drop).map_err(|reason| Error::Setup { reason })
}

/// Binds `addr`, which names a loopback host and a port.
pub(super) fn bind(addr: &str) -> Result<TcpListener, Error> {
    let address = parse(addr).map_err(|reason| Error::Setup { reason })?;
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| Error::Setup { reason: format!("the endpoint cannot listen on {addr}: {error}") })
}

/// No name but `localhost` is looked up, and that one not by the resolver: what it answers is not ours to trust.
fn parse(addr: &str) -> Result<SocketAddr, String> {
    let malformed = || format!("an endpoint's address is a host and a port, as 127.0.0.1:9464, not {addr:?}");
    let (host, port) = addr.rsplit_once(':').ok_or_else(malformed)?;
    let port = port.parse().map_err(|_| malformed())?;
    if host.is_empty() {
        return Err(malformed());
    }
    match loopback(host) {
        Some(ip) => Ok(SocketAddr::new(ip, port)),
        None => {
            Err(format!("the endpoint serves this machine only: {host:?} is not one of 127.0.0.1, [::1] and localhost"))
        }
    }
}

/// The loopback address that a URL's host names, if it names one: `localhost` or a literal, IPv6 in brackets.
pub(super) fn loopback(host: &str) -> Option<IpAddr> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let ip = match bracketed {
        Some(inner) => IpAddr::V6(inner.parse().ok()?),
        None => IpAddr::V4(host.parse().ok()?),
    };
    ip.is_loopback().then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn loopback_hosts_are_bound() {
        for (addr, expected) in [
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("localhost:9464", "127.0.0.1:9464"),
            ("LocalHost:1", "127.0.0.1:1"),
            ("[::1]:0", "[::1]:0"),
            ("127.0.0.2:65535", "127.0.0.2:65535"),
        ] {
            assert_eq!(parse(addr).map(|found| found.to_string()), Ok(expected.to_owned()), "{addr}");
        }
    }

    #[test]
    fn every_other_host_is_refused() {
        for addr in ["0.0.0.0:0", "[::]:0", "192.168.1.7:80", "example.com:80", "[::ffff:127.0.0.1]:80", "127.1:80"] {
            assert!(parse(addr).unwrap_err().contains("this machine only"), "{addr}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for addr in ["", ":", ":80", "localhost", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536"] {
            assert!(parse(addr).unwrap_err().contains("a host and a port"), "{addr}");
        }
        assert!(parse("::1:80").is_err(), "IPv6 needs brackets");
    }
}
