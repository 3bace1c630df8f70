//! The commands. Each file has the arguments and the handler of one command, and a long command is
//! a folder. `shared` has what several of them use.

mod access;
mod adopt;
mod agent;
mod allow;
mod audit;
mod backup;
mod check;
mod clone;
mod code;
mod compact;
mod completions;
mod copy;
mod create;
mod delete;
mod doctor;
mod edit;
mod env;
mod export;
mod get;
mod git_credential;
mod guard;
mod hook;
mod import;
mod init;
mod key_file;
mod keychain;
mod linger;
mod link;
mod list;
mod lock;
mod mcp;
mod monitor;
mod offer;
mod passwd;
mod pick;
mod project;
mod proxy;
mod recovery;
mod redact;
mod refs;
mod rekey;
mod remote;
mod rename;
mod render;
mod request;
mod restore;
mod run;
mod salvage;
mod scan;
mod serve;
mod setup;
mod shared;
mod status;
mod template;
mod token;
mod trust;
mod unlock;
mod update;
mod verify;

use clap::Subcommand;
use secrets_core::crypto::with_freed_memory_wiped;
use secrets_core::model::Level;

use crate::context::{Context, Right};
use crate::error::Error;

#[derive(Subcommand)]
#[command(defer = true)] // only the chosen command builds its options
pub(crate) enum Command {
    Init(init::InitArgs),
    Create(create::CreateArgs),
    List(list::ListArgs),
    Get(get::GetArgs),
    Pick(pick::PickArgs),
    Update(update::UpdateArgs),
    Edit(edit::EditArgs),
    Rename(rename::RenameArgs),
    Delete(delete::DeleteArgs),
    Clone(clone::CloneArgs),
    Access(access::AccessArgs),
    Allow(allow::AllowArgs),
    Render(render::RenderArgs),
    Copy(copy::CopyArgs),
    Code(code::CodeArgs),
    Env(env::EnvArgs),
    Hook(hook::HookArgs),
    GitCredential(git_credential::GitCredentialArgs),
    Run(run::RunArgs),
    Request(request::RequestArgs),
    Proxy(proxy::ProxyArgs),
    Serve(serve::ServeArgs),
    Mcp(mcp::McpArgs),
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
    Token(token::TokenArgs),
    Audit(audit::AuditArgs),
    Passwd(passwd::PasswdArgs),
    Keychain(keychain::KeychainArgs),
    KeyFile(key_file::KeyFileArgs),
    Recovery(recovery::RecoveryArgs),
    Rekey(rekey::RekeyArgs),
    Remote(remote::RemoteArgs),
    Doctor(doctor::DoctorArgs),
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
    Link(link::LinkArgs),
    #[command(hide = true)]
    Linger(linger::LingerArgs),
    #[command(hide = true)]
    Offer(offer::OfferArgs),
}

impl Command {
    /// Runs the command. Returns the exit code of a success: 0, or for `run` that of the program.
    pub(crate) fn run(self, cx: &Context) -> Result<u8, Error> {
        let (right, name) = self.right();
        cx.use_token(right, name)?;
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
                | Self::Copy(_)
                | Self::Code(_)
                | Self::Env(_)
                | Self::Hook(_)
                | Self::GitCredential(_)
                | Self::Edit(_)
                | Self::Pick(_)
                | Self::Offer(_)
                | Self::Request(_)
                | Self::Proxy(_)
                | Self::Serve(_)
                | Self::Mcp(_)
                | Self::Monitor(_)
                | Self::Import(_)
                | Self::Template(_)
                | Self::Adopt(_)
                | Self::Keychain(_)
                | Self::Setup(_)
        )
    }

    /// Returns what the command needs if it is run with a token, and its name for a refusal.
    fn right(&self) -> (Right, &'static str) {
        const READ: Right = Right::Level(Level::Read);
        const USE: Right = Right::Level(Level::Use);
        const MANAGE: Right = Right::Level(Level::Manage);
        match self {
            Self::List(args) => args.right(),
            Self::Get(_) => (READ, "get"),
            Self::Pick(_) => (READ, "pick"),
            Self::Render(_) => (USE, "render"),
            Self::Copy(_) => (USE, "copy"),
            Self::Code(args) => args.right(),
            Self::Run(_) => (USE, "run"),
            Self::Env(_) => (USE, "env"),
            Self::Hook(args) => args.right(),
            Self::GitCredential(_) => (USE, "git-credential"),
            Self::Request(_) => (USE, "request"),
            Self::Proxy(_) => (USE, "proxy"),
            Self::Redact(_) => (USE, "redact"),
            Self::Setup(_) => (USE, "setup"),
            Self::Check(_) => (USE, "check"),
            Self::Export(_) => (USE, "export"),
            Self::Create(_) => (MANAGE, "create"),
            Self::Update(_) => (MANAGE, "update"),
            Self::Edit(_) => (MANAGE, "edit"),
            Self::Rename(_) => (MANAGE, "rename"),
            Self::Delete(_) => (MANAGE, "delete"),
            Self::Clone(_) => (MANAGE, "clone"),
            Self::Import(_) => (MANAGE, "import"),
            Self::Allow(args) => args.right(),
            Self::Access(_) => (Right::Owner, "access"),
            Self::Audit(_) => (Right::Owner, "audit"),
            Self::Token(args) => (args.right(), "token"),
            Self::Template(_) => (Right::Owner, "template"),
            Self::Adopt(_) => (Right::Owner, "adopt"),
            Self::Refs(_) => (Right::Owner, "refs"),
            Self::Project(_) => (Right::Owner, "project"),
            Self::Passwd(_) => (Right::Owner, "passwd"),
            Self::Keychain(_) => (Right::Owner, "keychain"),
            Self::KeyFile(_) => (Right::Owner, "key-file"),
            Self::Recovery(_) => (Right::Owner, "recovery"),
            Self::Rekey(_) => (Right::Owner, "rekey"),
            Self::Remote(args) => (args.right(), "remote"),
            Self::Doctor(_) => (Right::Owner, "doctor"),
            Self::Verify(_) => (Right::Owner, "verify"),
            Self::Salvage(_) => (Right::Owner, "salvage"),
            Self::Backup(_) => (Right::Owner, "backup"),
            Self::Restore(_) => (Right::Owner, "restore"),
            Self::Init(_)
            | Self::Trust(_)
            | Self::Unlock(_)
            | Self::Lock(_)
            | Self::Status(_)
            | Self::Compact(_)
            | Self::Completions(_)
            | Self::Agent(_)
            | Self::Monitor(_)
            | Self::Guard(_)
            | Self::Link(_)
            | Self::Linger(_)
            | Self::Offer(_)
            // Each request to `serve` has a token of its own.
            | Self::Serve(_)
            // Each tool is a command of its own, with the token.
            | Self::Mcp(_)
            // `scan` finds tokens even without a vault, so it asks for level use by itself.
            | Self::Scan(_) => (Right::Nothing, ""),
        }
    }

    fn dispatch(self, cx: &Context) -> Result<u8, Error> {
        match self {
            Self::Init(args) => init::run(&args, cx),
            Self::Create(args) => create::run(&args, cx),
            Self::List(args) => list::run(&args, cx),
            Self::Pick(args) => pick::run(&args, cx),
            Self::Get(args) => get::run(&args, cx),
            Self::Update(args) => update::run(&args, cx),
            Self::Edit(args) => edit::run(&args, cx),
            Self::Rename(args) => rename::run(&args, cx),
            Self::Delete(args) => delete::run(&args, cx),
            Self::Clone(args) => clone::run(&args, cx),
            Self::Access(args) => access::run(&args, cx),
            Self::Allow(args) => allow::run(&args, cx),
            Self::Render(args) => render::run(args, cx),
            Self::Copy(args) => copy::run(&args, cx),
            Self::Code(args) => code::run(&args, cx),
            Self::Env(args) => env::run(&args, cx),
            Self::Hook(args) => hook::run(&args, cx),
            Self::GitCredential(args) => git_credential::run(&args, cx),
            Self::Run(args) => return run::run(&args, cx),
            Self::Request(args) => request::run(&args, cx),
            Self::Proxy(args) => proxy::run(&args, cx),
            Self::Serve(args) => serve::run(&args, cx),
            Self::Mcp(args) => mcp::run(&args, cx),
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
            Self::Token(args) => token::run(&args, cx),
            Self::Audit(args) => audit::run(&args, cx),
            Self::Passwd(args) => passwd::run(&args, cx),
            Self::Keychain(args) => keychain::run(&args, cx),
            Self::KeyFile(args) => key_file::run(&args, cx),
            Self::Recovery(args) => recovery::run(&args, cx),
            Self::Rekey(args) => rekey::run(&args, cx),
            Self::Remote(args) => remote::run(&args, cx),
            Self::Doctor(args) => doctor::run(&args, cx),
            Self::Verify(args) => verify::run(&args, cx),
            Self::Salvage(args) => salvage::run(&args, cx),
            Self::Backup(args) => backup::run(&args, cx),
            Self::Restore(args) => restore::run(&args, cx),
            Self::Compact(args) => compact::run(&args, cx),
            Self::Completions(args) => completions::run(&args, cx),
            Self::Agent(args) => agent::run(&args, cx),
            Self::Monitor(args) => return monitor::run(&args, cx),
            Self::Guard(args) => guard::run(&args, cx),
            Self::Link(args) => link::run(&args, cx),
            Self::Linger(args) => linger::run(&args, cx),
            Self::Offer(args) => offer::run(&args, cx),
        }
        .map(|()| 0)
    }
}
