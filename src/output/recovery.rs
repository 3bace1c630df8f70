//! A new recovery code. It is printed from a buffer that is wiped, and no `String` ever has it.

use secrets_core::model::SecretBytes;

use super::Rekeyed;
use crate::ui::{Ui, UiError, raw};

impl Ui {
    /// Prints a recovery code: on a terminal in two lines, which fit everywhere, otherwise in one.
    /// As JSON, the numbers of `rekey` come first. No buffer keeps a part of it.
    pub(crate) fn print_recovery_code(
        &self,
        code: &SecretBytes,
        rekeyed: Option<&Rekeyed>,
    ) -> Result<(), UiError> {
        let members = rekeyed.map(serde_json::to_string).and_then(Result::ok).unwrap_or_default();
        let members = members.trim_start_matches('{').trim_end_matches('}');
        let mut line = SecretBytes::with_capacity(512 + members.len());
        if self.is_json() {
            line.push(b'{');
            line.extend(members.as_bytes());
            if !members.is_empty() {
                line.push(b',');
            }

            line.extend(b"\"recoveryCode\":\"");
            line.extend(code.expose());
            line.extend(b"\"}");
        } else {
            let (first, second) = code.expose().split_at(code.len().div_ceil(2));
            line.extend(first);
            line.extend(if self.stdout_is_terminal() { b"\n" } else { b"" });
            line.extend(second);
        }

        line.push(b'\n');
        raw::print(line.expose())
    }
}
