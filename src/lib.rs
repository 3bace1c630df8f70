//! A write-only secrets manager for your own machine.
//!
//! A value goes in once and is never shown again. It is used only where a placeholder names it. The
//! binary `secrets` is [`main`]. This library consists of layers whose imports point down: the
//! command line, then [`template`], [`vault`], [`store`], [`crypto`], [`model`].
//!
//! ```
//! use terminal_secrets::crypto::kdf::{KdfParams, Passphrase};
//! use terminal_secrets::model::{ProjectName, SecretBytes, SecretValue, Tag};
//! use terminal_secrets::template::{Plan, Template, grammar::Grammar};
//! use terminal_secrets::vault::{NewSecret, Vault};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = tempfile::tempdir()?;
//! let passphrase = Passphrase::new(&SecretBytes::copy_of(b"correct horse battery staple"))?;
//! let vault = Vault::init(&directory.path().join("vault.db"), &passphrase, KdfParams::LEAST)?;
//!
//! let web = ProjectName::parse("web")?;
//! let value = SecretValue::new(SecretBytes::copy_of(b"postgres://localhost/dev"), false)?;
//! vault.create(&web, NewSecret::new(Tag::parse("database-url")?, value))?;
//!
//! let template = Template::from_text("example", b"URL={{ secrets.database-url }}".to_vec());
//! let resolved = Plan::new(template, Grammar::default())?.resolve(&vault.scope(&web))?;
//! let mut out = Vec::new();
//! resolved.expand(&mut out).expect("the template is in memory");
//! assert_eq!(out, b"URL=postgres://localhost/dev");
//! # Ok(())
//! # }
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::cast_precision_loss))]

mod cli;
mod commands;
mod completion;
mod context;
mod error;
mod output;

mod config;
mod ui;

mod generator;
mod key_pair;
mod strength;

pub use cli::{command, main};
pub use secrets_age as age_file;
pub use secrets_api as api;
pub use secrets_core::{crypto, model, store, vault};
pub use secrets_link as link;
pub use secrets_mask as mask;
pub use secrets_mcp as mcp;
pub use secrets_project::{
    Position, dotenv, export, git, import, scan, setup, template, variables,
};
pub use secrets_proxy as proxy;
pub use secrets_runtime::{agent, run};
pub use secrets_store_postgres as store_postgres;
