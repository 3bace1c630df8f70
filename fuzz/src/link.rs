//! What crosses the socket between a command and the link, in both directions. No bytes cause a panic or
//! take more memory than a few times their length, and what was read can be written and read again.

use terminal_secrets::link::Handover;
use terminal_secrets::model::SecretBytes;
use terminal_secrets::store::remote::{Request, Rows, Update, decode, encode};

/// Reads a message, writes it, and reads it again.
macro_rules! again {
    ($kind:ty, $message:expr) => {
        if let Some(decoded) = decode::<$kind>($message) {
            let bytes = encode(&decoded).expect("it was decoded");
            assert!(bytes.len() <= $message.len(), "our form is longer");
            assert!(decode::<$kind>(&bytes) == Some(decoded), "another message");
        }
    };
}

/// Runs the target. A byte selects the kind of message.
pub fn run(data: &[u8]) {
    let Some((kind, message)) = data.split_first() else { return };
    match kind % 4 {
        0 => again!(Request, message),
        1 => again!(Update, message),
        2 => again!(Rows, message),
        _ => {
            if let Some(handover) = Handover::decode(&SecretBytes::copy_of(message)) {
                let bytes = handover.encode().expect("it was decoded");
                let same = Handover::decode(&bytes).expect("it was encoded");
                assert!(same.socket == handover.socket && same.address == handover.address);
                assert!(same.seconds == handover.seconds);
            }
        }
    }
}
