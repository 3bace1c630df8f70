//! The commands. Each file has the arguments and the handler of one command, and a long command is
//! a folder. `shared` has what several of them use.

mod adopt;
mod agent;
mod backup;
mod check;
mod clone;
mod compact;
mod completions;
mod create;
mod delete;
mod export;
mod get;
mod guard;
mod import;
mod init;
mod linger;
mod list;
mod lock;
mod monitor;
mod passwd;
mod project;
mod recovery;
mod redact;
mod refs;
mod rekey;
mod render;
mod restore;
mod run;
mod salvage;
mod scan;
mod setup;
mod shared;
mod status;
mod template;
mod trust;
mod unlock;
mod update;
mod verify;

use clap::Subcommand;
use secrets_core::crypto::with_freed_memory_wiped;

use crate::context::Context;
use crate::error::Error;

#[derive(Subcommand)]
#[command(defer = true)] // only the chosen command builds its options
pub(crate) enum Command {
    Init(init::InitArgs),
    Create(create::CreateArgs),
    List(list::ListArgs),
    Get(get::GetArgs),
    Update(update::UpdateArgs),
    Delete(delete::DeleteArgs),
    Clone(clone::CloneArgs),
    Render(render::RenderArgs),
    Run(run::RunArgs),
    Redact(redact::RedactArgs),
    Scan(scan::ScanArgs),
    Import(import::ImportArgs),
    Export(export::ExportArgs),
    Template(template::TemplateArgs),
    Adopt(adopt::AdoptArgs),
    Setup(setup::SetupArgs),
    Check(check::CheckArgs),
    Refs(refs::RefsArgs),
    Trust(trust::TrustArgs),
    Unlock(unlock::UnlockArgs),
    Lock(lock::LockArgs),
    Status(status::StatusArgs),
    Project(project::ProjectArgs),
    Passwd(passwd::PasswdArgs),
    Recovery(recovery::RecoveryArgs),
    Rekey(rekey::RekeyArgs),
    Verify(verify::VerifyArgs),
    Salvage(salvage::SalvageArgs),
    Backup(backup::BackupArgs),
    Restore(restore::RestoreArgs),
    Compact(compact::CompactArgs),
    Completions(completions::CompletionsArgs),
    #[command(hide = true)]
    Agent(agent::AgentArgs),
    #[command(hide = true)]
    Monitor(monitor::MonitorArgs),
    #[command(hide = true)]
    Guard(guard::GuardArgs),
    #[command(hide = true)]
    Linger(linger::LingerArgs),
}

impl Command {
    /// Runs the command. Returns the exit code of a success: 0, or for `run` that of the program.
    pub(crate) fn run(self, cx: &Context) -> Result<u8, Error> {
        if self.copies_values() {
            with_freed_memory_wiped(|| self.dispatch(cx))
        } else {
            self.dispatch(cx)
        }
    }

    /// Returns true for a command in which libraries copy values into ordinary memory: the readers
    /// of CSV, JSON, XML and templates, and the standard library's environment of a program.
    /// Everything that such a command frees is wiped.
    fn copies_values(&self) -> bool {
        matches!(
            self,
            Self::Run(_)
                | Self::Monitor(_)
                | Self::Import(_)
                | Self::Template(_)
                | Self::Adopt(_)
                | Self::Setup(_)
        )
    }

    fn dispatch(self, cx: &Context) -> Result<u8, Error> {
        match self {
            Self::Init(args) => init::run(&args, cx),
            Self::Create(args) => create::run(&args, cx),
            Self::List(args) => list::run(&args, cx),
            Self::Get(args) => get::run(&args, cx),
            Self::Update(args) => update::run(&args, cx),
            Self::Delete(args) => delete::run(&args, cx),
            Self::Clone(args) => clone::run(&args, cx),
            Self::Render(args) => render::run(args, cx),
            Self::Run(args) => return run::run(&args, cx),
            Self::Redact(args) => redact::run(&args, cx),
            Self::Scan(args) => scan::run(&args, cx),
            Self::Import(args) => import::run(&args, cx),
            Self::Export(args) => export::run(&args, cx),
            Self::Template(args) => template::run(&args, cx),
            Self::Adopt(args) => adopt::run(&args, cx),
            Self::Setup(args) => setup::run(&args, cx),
            Self::Check(args) => check::run(&args, cx),
            Self::Refs(args) => refs::run(&args, cx),
            Self::Trust(args) => trust::run(&args, cx),
            Self::Unlock(args) => unlock::run(&args, cx),
            Self::Lock(args) => lock::run(&args, cx),
            Self::Status(args) => status::run(&args, cx),
            Self::Project(args) => project::run(args, cx),
            Self::Passwd(args) => passwd::run(&args, cx),
            Self::Recovery(args) => recovery::run(&args, cx),
            Self::Rekey(args) => rekey::run(&args, cx),
            Self::Verify(args) => verify::run(&args, cx),
            Self::Salvage(args) => salvage::run(&args, cx),
            Self::Backup(args) => backup::run(&args, cx),
            Self::Restore(args) => restore::run(&args, cx),
            Self::Compact(args) => compact::run(&args, cx),
            Self::Completions(args) => completions::run(&args, cx),
            Self::Agent(args) => agent::run(&args, cx),
            Self::Monitor(args) => return monitor::run(&args, cx),
            Self::Guard(args) => guard::run(&args, cx),
            Self::Linger(args) => linger::run(&args, cx),
        }
        .map(|()| 0)
    }
}
