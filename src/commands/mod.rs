//! The commands, one file each: its arguments and its handler.

mod agent;
mod clone;
mod compact;
mod completions;
mod create;
mod delete;
mod get;
mod init;
mod list;
mod lock;
mod project;
mod render;
mod status;
mod unlock;
mod update;
mod value_source;

use clap::Subcommand;

use crate::context::Context;
use crate::error::Error;

#[derive(Subcommand)]
pub(crate) enum Command {
    Init(init::InitArgs),
    Create(create::CreateArgs),
    List(list::ListArgs),
    Get(get::GetArgs),
    Update(update::UpdateArgs),
    Delete(delete::DeleteArgs),
    Clone(clone::CloneArgs),
    Render(render::RenderArgs),
    Unlock(unlock::UnlockArgs),
    Lock(lock::LockArgs),
    Status(status::StatusArgs),
    Project(project::ProjectArgs),
    Compact(compact::CompactArgs),
    Completions(completions::CompletionsArgs),
    #[command(hide = true)]
    Agent(agent::AgentArgs),
}

impl Command {
    pub(crate) fn run(self, cx: &Context) -> Result<(), Error> {
        match self {
            Self::Init(args) => init::run(&args, cx),
            Self::Create(args) => create::run(args, cx),
            Self::List(args) => list::run(&args, cx),
            Self::Get(args) => get::run(&args, cx),
            Self::Update(args) => update::run(&args, cx),
            Self::Delete(args) => delete::run(&args, cx),
            Self::Clone(args) => clone::run(&args, cx),
            Self::Render(args) => render::run(args, cx),
            Self::Unlock(args) => unlock::run(&args, cx),
            Self::Lock(args) => lock::run(&args, cx),
            Self::Status(args) => status::run(&args, cx),
            Self::Project(args) => project::run(args, cx),
            Self::Compact(args) => compact::run(&args, cx),
            Self::Completions(args) => completions::run(&args, cx),
            Self::Agent(args) => agent::run(&args, cx),
        }
    }
}
