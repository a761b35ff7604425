//! `build`.
//!
//! In: nothing. Out: shapes. Imports: its siblings.

use super::Rule::{
    Bool, Bytes, Each, Hosts, Labels, List, Set, Short as ShortOf, Text, TextOrNumber, TextOrSet,
    Texts, Ulimit, Vars,
};
use super::storage::GRANT;
use super::{Short, shape};

shape! {
    /// `build`.
    BUILD {
        "additional_contexts": Labels,
        "args": Vars,
        "cache_from": Texts,
        "cache_to": Texts,
        "context": Text,
        "dockerfile": Text,
        "dockerfile_inline": Text,
        "entitlements": Texts,
        "extra_hosts": Hosts,
        "isolation": Text,
        "labels": Labels,
        "network": Text,
        "no_cache": Bool,
        "no_cache_filter": TextOrSet,
        "platforms": Set,
        "privileged": Bool,
        "provenance": TextOrNumber,
        "pull": Bool,
        "sbom": TextOrNumber,
        "secrets": List(&ShortOf(Short::Grant, &GRANT)),
        "shm_size": Bytes,
        "ssh": Labels,
        "tags": Set,
        "target": Text,
        "ulimits": Each(&Ulimit),
    }
}
