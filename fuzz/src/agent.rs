//! Frames of the agent's protocol, in both directions. No frame causes a panic, and every frame
//! that decodes has exactly one encoding.

use terminal_secrets::agent::{Answer, MAX_FRAME, Request};
use terminal_secrets::model::SecretBytes;

/// Runs the target. The input is a frame without its length.
pub fn run(data: &[u8]) {
    if let Ok(request) = Request::decode(data) {
        let bytes = request.encode();
        if matches!(request, Request::LockAll) {
            // This is the only request that every version understands, whatever bytes follow.
            assert!(bytes.is_some_and(|frame| matches!(
                Request::decode(&frame.expose()[4..]),
                Ok(Request::LockAll)
            )));
        } else {
            same(data, bytes.as_ref().map(SecretBytes::expose), "a request");
        }
    }

    if let Ok(answer) = Answer::decode(data) {
        let bytes = answer.encode();
        same(data, bytes.as_ref().map(SecretBytes::expose), "an answer");
    }
}

fn same(data: &[u8], bytes: Option<&[u8]>, what: &str) {
    let Some(frame) = bytes else {
        assert!(data.len() > MAX_FRAME, "{what} was decoded but cannot be encoded");
        return;
    };

    let (length, rest) = frame.split_at(4);
    assert!(
        length == u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes(),
        "the length of {what}"
    );

    assert!(rest == data, "{what} has two encodings");
}
