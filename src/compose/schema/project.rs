//! The top level, and what may stand there besides services.
//!
//! In: nothing. Out: shapes. Imports: its siblings.

use super::Rule::{
    Bool, Each, External, Flag, Int, Labels, List, Nullable, Object, Options, Own,
    Short as ShortOf, Strict, Text, TextMap, TextOrUnique, Texts,
};
use super::job::JOB;
use super::parts::FILE_HOIST;
use super::service::SERVICE;
use super::{Short, shape};

shape! {
    /// A Compose file.
    PROJECT {
        /// Obsolete and ignored; remove it.
        "version": Text,
        /// Name of the project, which starts the names of its containers, networks and volumes.
        "name": Text,
        /// Other Compose files whose services and resources become a part of this project.
        "include": List(&ShortOf(Short::Include, &INCLUDE)),
        /// The services of the project, by name.
        "services": Each(&Object(&SERVICE)),
        /// Containers that do a task and end, on request or on a schedule, by name.
        "jobs": Each(&Object(&JOB)),
        /// Networks that services join, by name.
        "networks": Each(&Nullable(&Object(&NETWORK))),
        /// Named volumes that services share and that outlive their containers, by name.
        "volumes": Each(&Nullable(&Object(&VOLUME))),
        /// Configuration that services get as files, by name.
        "configs": Each(&Object(&CONFIG)),
        /// Confidential data that services and builds get as files, by name.
        "secrets": Each(&Object(&SECRET)),
        /// AI models that services use, by name.
        "models": Each(&Object(&MODEL)),
    }
}
shape! {
    /// Compose files to include, and where they belong.
    INCLUDE {
        /// The file, or files that are merged in this order; a git or OCI reference is fetched first.
        "path": TextOrUnique,
        /// Files with the variables that the included files refer to; `.env` of its directory where none is said.
        "env_file": TextOrUnique,
        /// Directory that relative paths of the included files start from.
        "project_directory": Text,
    }
}
shape! {
    /// A network.
    NETWORK {
        /// Whether containers outside of the project may join.
        "attachable": Bool,
        /// Kind of the network: `bridge`, `host`, `none`, `macvlan` or `ipvlan`.
        "driver": Text,
        /// Options of the driver.
        "driver_opts": Options,
        /// Whether containers get IPv4 addresses.
        "enable_ipv4": Flag,
        /// Whether containers get IPv6 addresses.
        "enable_ipv6": Flag,
        /// Whether it exists already and is neither made nor removed.
        "external": External,
        /// Whether containers can't reach anything outside.
        "internal": Bool,
        /// Which addresses the network has.
        "ipam": Object(&IPAM),
        /// Labels of the network.
        "labels": Labels,
        /// Full name; project and key where it is not said.
        "name": Text,
    }
}
shape! {
    /// Which addresses a network has.
    IPAM {
        /// The address pools.
        "config": List(&Object(&POOL)),
        /// Who hands out the addresses.
        "driver": Text,
        /// Options of that driver.
        "options": TextMap,
    }
}
shape! {
    /// An address pool.
    POOL {
        /// Addresses that containers don't get, by host name.
        "aux_addresses": TextMap,
        /// Address of the gateway.
        "gateway": Text,
        /// Part of the subnet that containers get addresses of.
        "ip_range": Text,
        /// The subnet, such as `172.28.0.0/16`.
        "subnet": Text,
    }
}
shape! {
    /// A volume.
    VOLUME {
        /// Who keeps the volume; `local` is a directory or mount of this host.
        "driver": Text,
        /// Options of the driver, such as `type`, `o` and `device`.
        "driver_opts": Options,
        /// Whether it exists already and is neither made nor removed.
        "external": External,
        /// Labels of the volume.
        "labels": Labels,
        /// Full name; project and key where it is not said.
        "name": Text,
    }
}
shape! {
    /// Configuration that services get as a file.
    CONFIG {
        /// The content itself.
        "content": Text,
        /// Environment variable that holds the content.
        "environment": Text,
        /// Whether it exists already.
        "external": External,
        /// File that holds the content.
        "file": Text,
        /// Labels of the config.
        "labels": Labels,
        /// Full name; project and key where it is not said.
        "name": Text,
        /// Driver that fills in the content as a template.
        "template_driver": Text,
        /// What hoist has beyond the specification.
        "x-hoist": Own(&FILE_HOIST),
    }
}
shape! {
    /// Confidential data that services and builds get as a file.
    SECRET {
        /// Who keeps the secret.
        "driver": Text,
        /// Options of the driver.
        "driver_opts": Options,
        /// Environment variable that holds the content.
        "environment": Text,
        /// Whether it exists already.
        "external": External,
        /// File that holds the content.
        "file": Text,
        /// Labels of the secret.
        "labels": Labels,
        /// Full name; project and key where it is not said.
        "name": Text,
        /// Driver that fills in the content as a template.
        "template_driver": Text,
        /// What hoist has beyond the specification.
        "x-hoist": Own(&FILE_HOIST),
    }
}
shape! {
    /// An AI model.
    MODEL {
        /// Size of the context in tokens.
        "context_size": Strict(&Int),
        /// Reference of the model, such as `ai/smollm2`.
        "model": Text,
        /// A name for the model; its key where it is not said.
        "name": Text,
        /// Flags for the inference engine.
        "runtime_flags": Texts,
    } requires "model"
}
shape! {
    /// The old form of `external`.
    EXTERNAL {
        /// Full name; the key `name` beside `external` is its place today.
        "name": Text,
    }
}
