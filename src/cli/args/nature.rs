//! What kinds of commands there are, where something holds for all of a kind.
//!
//! Imports: the siblings.

use super::{
    AlphaCommand, BridgeCommand, CacheCommand, Command, ImageCommand, ProgressArg, SnapshotCommand,
    SystemCommand,
};

impl Command {
    /// Whether the command loads a project and answers in JSON, so that what is wrong is told in JSON as well.
    pub fn answers_in_json(&self) -> bool {
        match self {
            Self::Config(args) => args.format == "json",
            Self::Ps(args) => args.format == "json",
            Self::Images(args) => args.format == "json",
            Self::Doctor(args) => args.format == "json",
            Self::Plan(args) => args.format == "json",
            _ => false,
        }
    }
    /// Whether the command takes its time and changes something, so that its progress has a beginning and an end.
    pub fn is_long(&self) -> bool {
        match self {
            Self::Up(_)
            | Self::Down(_)
            | Self::Create(_)
            | Self::Start(_)
            | Self::Stop(_)
            | Self::Restart(_)
            | Self::Kill(_)
            | Self::Pause(_)
            | Self::Unpause(_)
            | Self::Scale(_)
            | Self::Rm(_)
            | Self::Run(_)
            | Self::Cp(_)
            | Self::Commit(_)
            | Self::Export(_)
            | Self::Build(_)
            | Self::Pull(_)
            | Self::Push(_)
            | Self::Publish(_)
            | Self::Lock(_)
            | Self::Watch(_) => true,
            Self::Snapshot(args) => !matches!(args.command, SnapshotCommand::Ls(_)),
            Self::Alpha(args) => matches!(args.command, AlphaCommand::Scale(_)),
            Self::Bridge(args) => matches!(args.command, BridgeCommand::Convert(_)),
            Self::Image(_) | Self::Cache(_) | Self::System(_) => self.has_no_dry_run(),
            _ => false,
        }
    }
    /// Whether a flag of its own asks for progress in JSON.
    pub fn tells_json(&self) -> bool {
        matches!(self, Self::Build(args) if !args.quiet && args.progress == Some(ProgressArg::Json))
    }
    /// Whether the command changes something and has no way to tell what it would.
    pub fn has_no_dry_run(&self) -> bool {
        match self {
            Self::Image(args) => !matches!(
                args.command,
                ImageCommand::History(_) | ImageCommand::Inspect(_) | ImageCommand::Ls(_)
            ),
            Self::Cache(args) => !matches!(args.command, CacheCommand::Ls(_)),
            Self::System(args) => matches!(args.command, SystemCommand::Prune(_)),
            _ => false,
        }
    }
}
