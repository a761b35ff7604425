//! `build`.
//!
//! In: nothing. Out: shapes. Imports: its siblings.

use super::Rule::{
    Bool, Contexts, Each, Hosts, Labels, List, Own, Set, Short as ShortOf, Text, TextOrBool,
    TextOrUnique, Texts, Ulimit, Vars, WholeBytes,
};
use super::parts::HOIST;
use super::storage::GRANT;
use super::{Short, shape};

shape! {
    /// How an image is built.
    BUILD {
        /// Further contexts by name: directories, addresses, `docker-image://` or `service:NAME`.
        "additional_contexts": Contexts,
        /// Values for the Dockerfile's `ARG`s; a name without a value is taken from the shell.
        "args": Vars,
        /// Images or places that finished steps are taken from.
        "cache_from": Texts,
        /// Places that finished steps are stored at.
        "cache_to": Texts,
        /// Directory or address of the build's files.
        "context": Text,
        /// The Dockerfile, relative to the context.
        "dockerfile": Text => "Dockerfile",
        /// The text of the Dockerfile itself.
        "dockerfile_inline": Text,
        /// Further rights of the build, such as `network.host`.
        "entitlements": Texts,
        /// Lines for `/etc/hosts` of the steps.
        "extra_hosts": Hosts,
        /// Isolation technology of the build, on Windows only.
        "isolation": Text,
        /// Labels of the image.
        "labels": Labels,
        /// Network of the steps: `default`, `none` or `host`.
        "network": Text,
        /// Whether every step runs again.
        "no_cache": Bool,
        /// Stages that are built again, whatever the cache has.
        "no_cache_filter": TextOrUnique,
        /// Platforms that are built, as `OS/ARCH[/VARIANT]`.
        "platforms": Texts,
        /// Whether the steps get all rights.
        "privileged": Bool,
        /// Whether, and how, it is attested how the image was built.
        "provenance": TextOrBool,
        /// Whether base images are fetched even if they are here.
        "pull": Bool,
        /// Whether, and how, it is attested what is in the image.
        "sbom": TextOrBool,
        /// Entries of the top-level `secrets` that the steps may use.
        "secrets": List(&ShortOf(Short::Grant, &GRANT)),
        /// Size of `/dev/shm` of the steps, such as `64m`.
        "shm_size": WholeBytes,
        /// SSH agents and keys that the steps may use, as `default` or `ID=PATH`.
        "ssh": Labels,
        /// Further names of the image.
        "tags": Set,
        /// Stage of the Dockerfile that becomes the image.
        "target": Text,
        /// Limits of the steps' processes.
        "ulimits": Each(&Ulimit),
        /// What hoist has beyond the specification.
        "x-hoist": Own(&HOIST),
    }
}
