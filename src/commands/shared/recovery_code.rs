//! Shows a new recovery code, once.

use secrets_core::crypto::recovery::RecoveryCode;

use crate::context::Context;
use crate::error::{Error, Kind};
use crate::output::Rekeyed;

/// Prints a new recovery code. As JSON, the numbers of `rekey` come first.
pub(crate) fn show(
    code: &RecoveryCode,
    rekeyed: Option<&Rekeyed>,
    cx: &Context,
) -> Result<(), Error> {
    cx.ui.print_recovery_code(&code.text(), rekeyed).map_err(|why| {
        // A closed pipe is an error here, because then nobody has the code.
        Error::new(
            Kind::Failure,
            format!("the vault has a new recovery code, which could not be shown: {why}"),
        )
        .hint("create another one with `secrets recovery create --replace`")
    })?;

    cx.ui.status(
        "write this recovery code down: it unlocks the vault like the passphrase does and is not \
         shown again",
    );

    Ok(())
}
