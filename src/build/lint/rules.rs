//! What is checked: names, descriptions and addresses of the rules.
//!
//! Imports: nothing. Names, words and addresses as BuildKit's `frontend/dockerfile/linter`, so that directives and tools that
//! know them work.

/// Where a rule is explained.
const DOCS: &str = "https://docs.docker.com/go/dockerfile/rule/";

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident: $page:literal, $description:literal;)*) => {
        /// A rule.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $($(#[$doc])* $name,)*
        }

        impl Rule {
            /// Every rule there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name, as directives use it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
            /// What it is about.
            pub fn description(self) -> &'static str {
                match self {
                    $(Self::$name => $description,)*
                }
            }
            /// Where it is explained.
            pub fn url(self) -> String {
                let page = match self {
                    $(Self::$name => $page,)*
                };
                format!("{DOCS}{page}/")
            }
        }
    };
}

rules! {
    /// A stage's name has capitals.
    StageNameCasing: "stage-name-casing", "Stage names should be lowercase";
    /// `FROM` and `as` differ in case.
    FromAsCasing: "from-as-casing", "The 'as' keyword should match the case of the 'from' keyword";
    /// An instruction goes on behind an empty row.
    NoEmptyContinuation: "no-empty-continuation", "Empty continuation lines will become errors in a future release";
    /// Some instructions are in capitals, others are not.
    ConsistentInstructionCasing: "consistent-instruction-casing", "All commands within the Dockerfile should use the same casing (either upper or lower)";
    /// Two stages have one name.
    DuplicateStageName: "duplicate-stage-name", "Stage names should be unique";
    /// A stage is called as something that is not a stage.
    ReservedStageName: "reserved-stage-name", "Reserved words should not be used as stage names";
    /// A command runs below a shell, which takes its signals.
    JSONArgsRecommended: "json-args-recommended", "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals";
    /// `MAINTAINER`
    MaintainerDeprecated: "maintainer-deprecated", "The MAINTAINER instruction is deprecated, use a label instead to define an image author";
    /// `FROM` names an argument that nobody declares.
    UndefinedArgInFrom: "undefined-arg-in-from", "FROM command must use declared ARGs";
    /// The first working directory depends on the base image.
    WorkdirRelativePath: "workdir-relative-path", "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes";
    /// A variable is used that nobody sets.
    UndefinedVar: "undefined-var", "Variables should be defined before their use";
    /// An instruction that replaces another one.
    MultipleInstructionsDisallowed: "multiple-instructions-disallowed", "Multiple instructions of the same type should not be used in the same stage";
    /// `ENV name value`
    LegacyKeyValueFormat: "legacy-key-value-format", "Legacy key/value format with whitespace separator should not be used";
    /// The image is for another platform than the build.
    InvalidBaseImagePlatform: "invalid-base-image-platform", "Base image platform does not match expected target platform";
    /// `FROM --platform=$TARGETPLATFORM`
    RedundantTargetPlatform: "redundant-target-platform", "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior";
    /// A secret would stay in the image.
    SecretsUsedInArgOrEnv: "secrets-used-in-arg-or-env", "Sensitive data should not be used in the ARG or ENV commands";
    /// Without build arguments there is no base image.
    InvalidDefaultArgInFrom: "invalid-default-arg-in-from", "Default value for global ARG results in an empty or invalid base image name";
    /// A stage is for one platform only and does not say so.
    FromPlatformFlagConstDisallowed: "from-platform-flag-const-disallowed", "FROM --platform flag should not use a constant value";
    /// A file is copied that the build does not see.
    CopyIgnoredFile: "copy-ignored-file", "Attempting to Copy file that is excluded by .dockerignore";
    /// A comment that is not read as the description it looks like.
    InvalidDefinitionDescription: "invalid-definition-description", "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.";
    /// `EXPOSE 80/TCP`
    ExposeProtoCasing: "expose-proto-casing", "Protocol in EXPOSE instruction should be lowercase";
    /// `EXPOSE 127.0.0.1:80:80`
    ExposeInvalidFormat: "expose-invalid-format", "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release";
}

impl Rule {
    /// Whether it is off until it is asked for.
    pub fn is_experimental(self) -> bool {
        self == Self::InvalidDefinitionDescription
    }
}
