//! The user at the other end of a TCP connection on this machine.
//!
//! The kernel knows who has opened a socket. So nobody else of this machine can use the proxy, even
//! if he knows a placeholder.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// Returns true if the process at the other end of a loopback connection runs as our own user. `peer`
/// is its address, and `ours` the address that it has connected to.
#[cfg(target_os = "linux")]
pub fn is_same_user(peer: SocketAddr, ours: SocketAddr) -> bool {
    let uid = rustix::process::geteuid().as_raw();
    let table = if peer.is_ipv4() { "/proc/self/net/tcp" } else { "/proc/self/net/tcp6" };
    std::fs::read_to_string(table).is_ok_and(|table| owner(&table, peer, ours) == Some(uid))
}

/// Always returns false: only Linux tells who has opened a socket.
#[cfg(not(target_os = "linux"))]
pub fn is_same_user(_: SocketAddr, _: SocketAddr) -> bool {
    false
}

/// Returns the user of the socket from `local` to `remote` in a table of the kernel (proc(5)).
fn owner(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    let (local, remote) = (shown(local), shown(remote));
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let is_it = fields.next()? == local && fields.next()? == remote;

        // State, queues, timer, retransmits, then the user.
        if is_it { fields.nth(4)?.parse().ok() } else { None }
    })
}

/// Formats an address as the kernel does: each 32 bits of it in the machine's byte order.
fn shown(address: SocketAddr) -> String {
    let octets = match address.ip() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };

    let mut shown = String::new();
    for word in octets.chunks_exact(4).filter_map(|word| word.try_into().ok()) {
        // Writing to a string does not fail.
        let _ = write!(shown, "{:08X}", u32::from_ne_bytes(word));
    }

    let _ = write!(shown, ":{:04X}", address.port());
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_end_of_a_connection_is_found() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(address) else { continue };
            let ours = listener.local_addr().unwrap();
            let client = std::net::TcpStream::connect(ours).unwrap();
            let peer = client.local_addr().unwrap();
            assert!(is_same_user(peer, ours));
            assert!(!is_same_user(ours, SocketAddr::new(ours.ip(), 1)));
        }
    }

    #[test]
    fn the_table_names_the_user_after_five_other_fields() {
        let (local, remote) =
            ("127.0.0.1:43210".parse().unwrap(), "127.0.0.1:8080".parse().unwrap());
        let header =
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n";
        let row = format!(
            "   0: {} {} 01 00000000:00000000 00:00000000 00000000  1000        0 12345 1\n",
            shown(local),
            shown(remote)
        );
        let other = row.replace("1000", "1001").replace(&shown(local), "0100007F:0001");
        let table = format!("{header}{other}{row}");
        assert_eq!(owner(&table, local, remote), Some(1000));
        assert_eq!(owner(&table, remote, local), None);
    }
}
