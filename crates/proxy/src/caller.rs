//! The user at the other end of a TCP connection on this machine.
//!
//! The kernel knows who has opened a socket. So nobody else of this machine can use the proxy, even
//! if he knows a placeholder.

#[cfg(target_os = "linux")]
use std::fmt::Write;
#[cfg(target_os = "linux")]
use std::net::IpAddr;
use std::net::SocketAddr;

#[cfg(target_os = "linux")]
use rustix::io::Errno;

/// Returns true if the process at the other end of a loopback connection runs as our own user. `peer`
/// is its address, and `ours` the address that it has connected to.
#[cfg(target_os = "linux")]
pub fn is_same_user(peer: SocketAddr, ours: SocketAddr) -> bool {
    let uid = rustix::process::geteuid().as_raw();

    // A kernel without this interface still has the table, which takes milliseconds to read.
    let found = diagnosed(peer, ours).or_else(|_| listed(peer, ours));
    found.is_ok_and(|owner| owner == Some(uid))
}

/// Asks the kernel for the user of the socket from `local` to `remote` (sock_diag(7)).
#[cfg(target_os = "linux")]
fn diagnosed(local: SocketAddr, remote: SocketAddr) -> Result<Option<u32>, Errno> {
    use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
    };

    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const NLM_F_REQUEST: u16 = 1;
    const HEADER: usize = 16;
    const ANY: [u8; 12] = [0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255];

    // The ports and addresses, then any interface and any cookie.
    let socket = [
        &local.port().to_be_bytes()[..],
        &remote.port().to_be_bytes(),
        &sixteen(local.ip()),
        &sixteen(remote.ip()),
        &ANY,
    ]
    .concat();
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let family = u8::try_from(family.as_raw()).unwrap_or_default();
    let states = u32::MAX.to_ne_bytes();
    let body = [&[family, 6, 0, 0][..], &states, &socket].concat();
    let length = u32::try_from(HEADER + body.len()).unwrap_or_default();
    let request = [
        &length.to_ne_bytes()[..],
        &SOCK_DIAG_BY_FAMILY.to_ne_bytes(),
        &NLM_F_REQUEST.to_ne_bytes(),
        &[0; 8],
        &body,
    ]
    .concat();

    let kind = (AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC);
    let netlink = socket_with(kind.0, kind.1, kind.2, Some(SOCK_DIAG))?;
    sendto(&netlink, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 512];
    let (length, _) = recv(&netlink, &mut answer, RecvFlags::DONTWAIT)?;
    let answer = &answer[..length];
    if answer.get(4..6) != Some(&SOCK_DIAG_BY_FAMILY.to_ne_bytes()) {
        return Err(Errno::NOENT);
    }

    Ok(owner_of(&answer[HEADER..], &socket[..36]))
}

/// Returns the user in an answer about a socket, unless it is about another one. `socket` has its ports
/// and addresses.
#[cfg(target_os = "linux")]
fn owner_of(answer: &[u8], socket: &[u8]) -> Option<u32> {
    // Family, state, timer and retransmits; the socket with interface and cookie; three numbers.
    const LISTENS: u8 = 10;
    let (state, found) = (*answer.get(1)?, answer.get(4..40)?);
    let uid = answer.get(64..68)?.try_into().ok().map(u32::from_ne_bytes);
    uid.filter(|_| state != LISTENS && found == socket)
}

#[cfg(target_os = "linux")]
fn sixteen(address: IpAddr) -> [u8; 16] {
    let mut bytes = [0; 16];
    match address {
        IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes = address.octets(),
    }

    bytes
}

/// Finds the user of that socket in the kernel's table (proc(5)).
#[cfg(target_os = "linux")]
fn listed(local: SocketAddr, remote: SocketAddr) -> std::io::Result<Option<u32>> {
    let table = if local.is_ipv4() { "/proc/self/net/tcp" } else { "/proc/self/net/tcp6" };
    std::fs::read_to_string(table).map(|table| owner(&table, local, remote))
}

/// Always returns false: only Linux tells who has opened a socket.
#[cfg(not(target_os = "linux"))]
pub fn is_same_user(_: SocketAddr, _: SocketAddr) -> bool {
    false
}

/// Returns the user of the socket from `local` to `remote` in a table of the kernel.
#[cfg(target_os = "linux")]
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
#[cfg(target_os = "linux")]
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

#[cfg(all(test, target_os = "linux"))]
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
            let uid = rustix::process::geteuid().as_raw();
            assert_eq!(diagnosed(peer, ours), Ok(Some(uid)));
            assert_eq!(listed(peer, ours).unwrap(), Some(uid));

            // The server's end, a socket that does not exist, and one that only listens.
            assert!(is_same_user(ours, peer));
            let (nobody, any) = (SocketAddr::new(ours.ip(), 1), SocketAddr::new(ours.ip(), 2));
            for (local, remote) in [(ours, nobody), (nobody, ours), (nobody, any), (ours, ours)] {
                assert!(!is_same_user(local, remote), "{local} {remote}");
                assert_ne!(diagnosed(local, remote), Ok(Some(uid)), "{local} {remote}");
            }
        }
    }

    #[test]
    fn an_answer_about_another_socket_names_nobody() {
        let socket: Vec<u8> = (0..36).collect();
        let mut answer = vec![0; 72];
        answer[4..40].copy_from_slice(&socket);
        answer[64..68].copy_from_slice(&1000_u32.to_ne_bytes());
        assert_eq!(owner_of(&answer, &socket), Some(1000));
        answer[1] = 10;
        assert_eq!(owner_of(&answer, &socket), None);
        answer[1] = 1;
        answer[39] ^= 1;
        assert_eq!(owner_of(&answer, &socket), None);
        assert_eq!(owner_of(&answer[..60], &socket), None);
        assert_eq!(owner_of(&[], &socket), None);
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
