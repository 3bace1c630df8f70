//! Shared by `request`, `proxy` and `run --proxy`: the secrets that may be sent, the rules, the log,
//! and the thread that waits for networks.
//!
//! * `rules`: secrets and rules, from the vault and from the manifest
//! * `draft`: a request as a command line describes it
//! * `plan`: a request that is only judged, and refusals
//! * `reload`: values that were changed in the meantime
//! * `teller`: records requests, and prints them
//! * `company`: a proxy that the environment names
//! * `service`: the proxy on its thread, and the variables for programs

mod company;
mod draft;
mod plan;
mod reload;
mod rules;
mod service;
mod teller;

use super::listening::{ListenAddress, Socket, SocketFile, is_same_user};
use super::look_for::warn_of_short;
pub(crate) use company::{company_proxy, company_proxy_for};
pub(crate) use draft::{Draft, DraftOptions, same_origin};
pub(crate) use plan::{planned, refused};
pub(crate) use reload::Reload;
pub(crate) use rules::{SendingPlan, allow_hint, local, local_of, trusted_settings};
pub(crate) use service::ProxyService;
pub(crate) use teller::{Shown, Teller};
