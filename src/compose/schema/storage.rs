//! Ports and mounts of a service in their long form, and what a service is granted.
//!
//! In: nothing. Out: shapes. Imports: its siblings.

use super::Rule::{Bool, Bytes, Choice, Flag, Int, Labels, Mode, Object, Text, TextOrNumber};
use super::shape;

shape! {
    /// An entry of `ports`.
    PORT {
        "app_protocol": Text,
        "host_ip": Text,
        "mode": Text,
        "name": Text,
        "protocol": Text,
        "published": TextOrNumber,
        "target": Int,
    }
}
shape! {
    /// An entry of a service's `volumes`.
    MOUNT {
        "bind": Object(&BIND),
        "consistency": Text,
        "image": Object(&IMAGE_MOUNT),
        "read_only": Bool,
        "source": Text,
        "target": Text,
        "tmpfs": Object(&TMPFS),
        "type": Choice(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"]),
        "volume": Object(&VOLUME_MOUNT),
    } requires "type"
}
shape! {
    /// `volumes[].bind`.
    BIND {
        "create_host_path": Flag,
        "propagation": Text,
        "recursive": Choice(&["enabled", "disabled", "writable", "readonly"]),
        "selinux": Choice(&["z", "Z"]),
    }
}
shape! {
    /// `volumes[].image`.
    IMAGE_MOUNT { "subpath": Text }
}
shape! {
    /// `volumes[].tmpfs`.
    TMPFS { "mode": Int, "size": Bytes }
}
shape! {
    /// `volumes[].volume`.
    VOLUME_MOUNT { "labels": Labels, "nocopy": Bool, "subpath": Text }
}
shape! {
    /// An entry of `configs` or `secrets` of a service or a build.
    GRANT { "source": Text, "target": Text, "uid": Text, "gid": Text, "mode": Mode }
}
