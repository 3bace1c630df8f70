//! Frames of the agent's protocol, in both directions: no panic, and one encoding for everything that is understood.

use terminal_secrets::agent::{Answer, LARGEST_FRAME, Request};
use terminal_secrets::model::SecretBytes;

/// Takes a frame without its length.
pub fn run(data: &[u8]) {
    if let Ok(request) = Request::decode(data) {
        let again = request.encode();
        if matches!(request, Request::LockAll) {
            // The one request that is understood in every version, whatever follows.
            assert!(again.is_some_and(|frame| matches!(
                Request::decode(&frame.expose()[4..]),
                Ok(Request::LockAll)
            )));
        } else {
            same(data, again.as_ref().map(SecretBytes::expose), "a request");
        }
    }

    if let Ok(answer) = Answer::decode(data) {
        let again = answer.encode();
        same(data, again.as_ref().map(SecretBytes::expose), "an answer");
    }
}

fn same(data: &[u8], again: Option<&[u8]>, what: &str) {
    let Some(frame) = again else {
        assert!(data.len() > LARGEST_FRAME, "{what} was understood and cannot be said");
        return;
    };

    let (length, rest) = frame.split_at(4);
    assert!(
        length == u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes(),
        "the length of {what}"
    );

    assert!(rest == data, "{what} has two encodings");
}
