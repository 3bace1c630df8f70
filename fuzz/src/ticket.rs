//! What comes with an invitation to a server, or from a stranger's repository: a ticket, the address in
//! it, a URL, and a witness. What can be read has one form, and no message repeats a part of it.

use super::input::Input;
use super::world::VAULT_ID;
use terminal_secrets::crypto::ticket::Ticket;
use terminal_secrets::crypto::witness::Witness;
use terminal_secrets::model::{SecretBytes, Timestamp};
use terminal_secrets::store_postgres::address::{Address, FileContent, Files};

/// A machine without files.
struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &std::path::Path, _: usize) -> std::io::Result<Option<FileContent>> {
        Ok(None)
    }
}

/// Runs the target. A byte selects the kind of input.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.u8() % 4 {
        0 => ticket(input.rest()),
        1 => address(input.rest()),
        2 => url(input.rest()),
        _ => witness(input.rest()),
    }
}

/// Reads bytes as a ticket, and as the address in one: no fuzzer guesses the checksum.
fn ticket(bytes: &[u8]) {
    if let Ok(ticket) = Ticket::parse(&SecretBytes::copy_of(bytes)) {
        let word: Vec<u8> = bytes.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
        assert!(ticket.text().expose() == word, "two words for one ticket");
    }

    let address = SecretBytes::copy_of(bytes);
    let made = Ticket::random(VAULT_ID, Timestamp(7), address).expect("there is memory");
    match Ticket::parse(&made.text()) {
        Ok(read) => assert!(read.address().expose() == bytes, "another address"),
        Err(_) => assert!(bytes.len() > 64 * 1024, "a ticket that cannot be read"),
    }
}

fn address(bytes: &[u8]) {
    let Some(address) = Address::decode(bytes) else { return };
    assert!(address.encode().expose() == bytes, "two encodings of one address");
    shown(&address);
}

fn url(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Address::parse(text, &NoFiles, &|_| None) {
        Ok(address) => {
            let encoded = address.encode();
            let again = Address::decode(encoded.expose()).expect("it was encoded");
            assert!(again.encode().expose() == encoded.expose(), "another address");
            shown(&address);
        }
        Err(error) => {
            let message = error.to_string();
            assert!(!message.chars().any(char::is_control), "a message has control characters");
        }
    }
}

/// A displayed address is a URL of the same server.
fn shown(address: &Address) {
    let text = address.display();
    assert!(!text.chars().any(char::is_control), "a displayed URL has control characters");
    let again = Address::parse(&text, &NoFiles, &|_| None).expect("a displayed URL is valid");
    assert!(again.hosts() == address.hosts(), "other hosts");
    assert!((again.user(), again.database()) == (address.user(), address.database()));
}

fn witness(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<Witness>() {
        Ok(witness) => {
            let (seq, _) = text.split_once('-').expect("it has a hyphen");
            let digits = seq.trim_start_matches('0');
            let expected = if digits.is_empty() { "0" } else { digits };
            assert!(witness.to_string() == format!("{expected}{}", &text[seq.len()..]));
        }
        Err(error) => {
            let other = "x".parse::<Witness>().err();
            assert!(Some(error) == other, "a message depends on the text");
        }
    }
}
