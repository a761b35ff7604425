//! Ports and mounts of a service in their long form, and what a service is granted.
//!
//! In: nothing. Out: shapes. Imports: its siblings.

use super::Rule::{
    Bits, Bool, Choice, Flag, Labels, Mode, Natural, Object, Own, Text, TextOrNumber, WholeBytes,
};
use super::shape;

shape! {
    /// A port that is published.
    PORT {
        /// Protocol that the application speaks, such as `http`; a hint.
        "app_protocol": Text,
        /// Address of the host to publish on; all addresses where it is not said.
        "host_ip": Text,
        /// `host` or `ingress`; both are the same on one host.
        "mode": Text,
        /// A name for people.
        "name": Text,
        /// `tcp`, `udp` or `sctp`.
        "protocol": Text => "tcp",
        /// Port of the host, or a range to choose from; any free port where it is not said.
        "published": TextOrNumber,
        /// Port of the container.
        "target": Natural,
    }
}
shape! {
    /// A mount of a container.
    MOUNT {
        /// What only bind mounts have.
        "bind": Object(&BIND),
        /// A hint for hosts whose files are not the container's own; ignored on Linux.
        "consistency": Text,
        /// What only image mounts have.
        "image": Object(&IMAGE_MOUNT),
        /// Whether the container may not write to it.
        "read_only": Bool,
        /// Path of the host, name of the volume, or reference of the image.
        "source": Text,
        /// Path in the container.
        "target": Text,
        /// What only mounts in memory have.
        "tmpfs": Object(&TMPFS),
        /// Kind of the mount.
        "type": Choice(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"]),
        /// What only volume mounts have.
        "volume": Object(&VOLUME_MOUNT),
        /// What hoist has beyond the specification.
        "x-hoist": Own(&MOUNT_HOIST),
    } requires "type"
}
shape! {
    /// What hoist has beyond the specification for mounts.
    MOUNT_HOIST {
        /// Owner on the host of what the container's user owns in a bind mount: `host-user` is the owner of what is
        /// mounted, `1000:1000` a user and a group by number.
        "idmap": Text,
    }
}
shape! {
    /// What only bind mounts have.
    BIND {
        /// Whether a missing path of the host is made as a directory.
        "create_host_path": Flag,
        /// How later mounts below it spread: `private`, `rprivate`, `shared`, `rshared`, `slave` or `rslave`.
        "propagation": Text,
        /// Whether mounts below it are shown, and whether they are read-only too.
        "recursive": Choice(&["enabled", "disabled", "writable", "readonly"]),
        /// SELinux label of the content: `z` is shared by containers, `Z` is for this one.
        "selinux": Choice(&["z", "Z"]),
    }
}
shape! {
    /// What only image mounts have.
    IMAGE_MOUNT {
        /// Path within the image that is mounted instead of its root.
        "subpath": Text,
    }
}
shape! {
    /// What only mounts in memory have.
    TMPFS {
        /// Permissions of the directory as a number or text; write octal digits as `0o1777` or `01777`.
        "mode": Bits,
        /// Largest size, in bytes or with a unit.
        "size": WholeBytes,
    }
}
shape! {
    /// What only volume mounts have.
    VOLUME_MOUNT {
        /// Labels of the volume, if it is anonymous.
        "labels": Labels,
        /// Whether an empty volume is not filled with what the image has there.
        "nocopy": Bool,
        /// Path within the volume that is mounted instead of its root.
        "subpath": Text,
    }
}
shape! {
    /// A config or secret that a service or build gets.
    GRANT {
        /// Name under the top-level `configs` or `secrets`.
        "source": Text,
        /// Path of the file; `/NAME` for configs and `/run/secrets/NAME` for secrets where it is not said.
        "target": Text,
        /// Number of the user that owns the file.
        "uid": Text,
        /// Number of the group that owns the file.
        "gid": Text,
        /// Permissions of the file in octal digits, such as `0440`.
        "mode": Mode,
    }
}
