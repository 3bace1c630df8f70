//! `secrets template` turns a dotenv file into a template that renders to the same values and keeps
//! none of them.

use terminal_secrets::dotenv::readers::Readers;
use terminal_secrets::setup::migration::{KeptNames, Migration, MigrationError, MigrationOptions};

mod command;
mod readers;

fn of(text: &str, keep: &[&str]) -> Result<Migration, MigrationError> {
    let plain: KeptNames = keep.iter().map(|name| ((*name).to_owned(), "as requested")).collect();
    Migration::of(
        text.as_bytes(),
        MigrationOptions {
            plain: &plain,
            example: false,
            readers: Readers::default(),
            namespaced: false,
            is_part: false,
        },
    )
}
