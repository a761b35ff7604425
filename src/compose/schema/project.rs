//! The top level, and what may stand there besides services.
//!
//! In: nothing. Out: shapes. Imports: its siblings.

use super::Rule::{
    Bool, Each, External, Flag, Int, Labels, List, Nullable, Object, Options, Short as ShortOf,
    Text, TextOrSet, Texts,
};
use super::service::SERVICE;
use super::{Short, shape};

shape! {
    /// The top level.
    PROJECT {
        "version": Text,
        "name": Text,
        "include": List(&ShortOf(Short::Include, &INCLUDE)),
        "services": Each(&Object(&SERVICE)),
        "networks": Each(&Nullable(&Object(&NETWORK))),
        "volumes": Each(&Nullable(&Object(&VOLUME))),
        "configs": Each(&Object(&CONFIG)),
        "secrets": Each(&Object(&SECRET)),
        "models": Each(&Object(&MODEL)),
    }
}
shape! {
    /// One entry of `include`.
    INCLUDE { "path": TextOrSet, "env_file": TextOrSet, "project_directory": Text }
}
shape! {
    /// An entry of the top-level `networks`.
    NETWORK {
        "attachable": Bool,
        "driver": Text,
        "driver_opts": Options,
        "enable_ipv4": Flag,
        "enable_ipv6": Flag,
        "external": External,
        "internal": Bool,
        "ipam": Object(&IPAM),
        "labels": Labels,
        "name": Text,
    }
}
shape! {
    /// `ipam`.
    IPAM { "config": List(&Object(&POOL)), "driver": Text, "options": Options }
}
shape! {
    /// An entry of `ipam.config`.
    POOL { "aux_addresses": Options, "gateway": Text, "ip_range": Text, "subnet": Text }
}
shape! {
    /// An entry of the top-level `volumes`.
    VOLUME {
        "driver": Text,
        "driver_opts": Options,
        "external": External,
        "labels": Labels,
        "name": Text,
    }
}
shape! {
    /// An entry of the top-level `configs`.
    CONFIG {
        "content": Text,
        "environment": Text,
        "external": External,
        "file": Text,
        "labels": Labels,
        "name": Text,
        "template_driver": Text,
    }
}
shape! {
    /// An entry of the top-level `secrets`.
    SECRET {
        "driver": Text,
        "driver_opts": Options,
        "environment": Text,
        "external": External,
        "file": Text,
        "labels": Labels,
        "name": Text,
        "template_driver": Text,
    }
}
shape! {
    /// An entry of the top-level `models`.
    MODEL { "context_size": Int, "model": Text, "name": Text, "runtime_flags": Texts } requires "model"
}
shape! {
    /// The old form of `external`.
    EXTERNAL { "name": Text }
}
