//! The proxy between real connections: a client of our own, the proxy, and an origin that reflects
//! everything.

#![allow(clippy::unwrap_used, unreachable_pub)]

mod attacks;
mod floods;
mod lab;
mod places;
mod protocols;
mod websocket;
