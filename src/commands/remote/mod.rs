//! `secrets remote`: a vault on a PostgreSQL server.

mod connection;
mod init;
mod join;
mod pull;
mod push;
mod repair;
mod set;
mod status;
mod ticket;
mod upgrade;

use crate::context::{Context, Right};
use crate::error::Error;

const EXAMPLES: &str = "\
Examples:
  secrets remote init 'postgres://ana@db.example/vault?sslrootcert=system'
  secrets remote ticket          print a ticket for another machine
  secrets remote join            use it there
  secrets remote status";

/// Keep the vault on a PostgreSQL server, for several machines
///
/// The server and its administrator see encrypted rows only. Each machine has a near file at the path of the
/// vault, with its own passphrase, and a copy of the rows that it has seen. All other commands work as they do
/// with a vault in a file. Without the server, they can read what this machine has seen.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RemoteArgs {
    #[command(subcommand)]
    command: RemoteCommand,
}

#[derive(clap::Subcommand)]
enum RemoteCommand {
    Init(init::InitArgs),
    Ticket(ticket::TicketArgs),
    Join(join::JoinArgs),
    Push(push::PushArgs),
    Pull(pull::PullArgs),
    Status(status::StatusArgs),
    Repair(repair::RepairArgs),
    Set(set::SetArgs),
    Upgrade(upgrade::UpgradeArgs),
}

impl RemoteArgs {
    /// Returns what the command needs if it is run with a token.
    pub(crate) fn right(&self) -> Right {
        match self.command {
            RemoteCommand::Status(_) => Right::Nothing,
            _ => Right::Owner,
        }
    }
}

pub(crate) fn run(args: &RemoteArgs, cx: &Context) -> Result<(), Error> {
    match &args.command {
        RemoteCommand::Init(args) => init::run(args, cx),
        RemoteCommand::Ticket(args) => ticket::run(args, cx),
        RemoteCommand::Join(args) => join::run(args, cx),
        RemoteCommand::Push(args) => push::run(args, cx),
        RemoteCommand::Pull(args) => pull::run(args, cx),
        RemoteCommand::Status(args) => status::run(args, cx),
        RemoteCommand::Repair(args) => repair::run(args, cx),
        RemoteCommand::Set(args) => set::run(args, cx),
        RemoteCommand::Upgrade(args) => upgrade::run(args, cx),
    }
}
