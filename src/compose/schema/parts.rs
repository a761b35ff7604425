//! The parts that only services have.
//!
//! In: nothing. Out: shapes. Imports: its siblings.

use super::Rule::{
    Bool, Choice, Count, DeviceCount, Duration, Flag, Int, Labels, List, LogOptions, Natural,
    Number, Object, Options, ProviderOptions, Set, Strict, Test, Text, Unique, WholeBytes,
};
use super::shape;

shape! {
    /// Weights and limits of block device I/O.
    BLKIO {
        /// How many bytes a second may be read from a device.
        "device_read_bps": List(&Object(&BLKIO_RATE)),
        /// How many reads a second a device may get.
        "device_read_iops": List(&Object(&BLKIO_RATE)),
        /// How many bytes a second may be written to a device.
        "device_write_bps": List(&Object(&BLKIO_RATE)),
        /// How many writes a second a device may get.
        "device_write_iops": List(&Object(&BLKIO_RATE)),
        /// Share of the I/O time beside other containers, 10 to 1000.
        "weight": Natural,
        /// Share of a single device's I/O time.
        "weight_device": List(&Object(&BLKIO_WEIGHT)),
    }
}
shape! {
    /// The limit of one device.
    BLKIO_RATE {
        /// The device, such as `/dev/sda`.
        "path": Text,
        /// Bytes or operations a second; bytes may have a unit.
        "rate": WholeBytes,
    }
}
shape! {
    /// The weight at one device.
    BLKIO_WEIGHT {
        /// The device, such as `/dev/sda`.
        "path": Text,
        /// Share of the device's I/O time, 10 to 1000.
        "weight": Natural,
    }
}
shape! {
    /// Credentials of a managed service account, on Windows only.
    CREDENTIAL {
        /// Name of the config that holds the credential specification.
        "config": Text,
        /// File that holds the credential specification.
        "file": Text,
        /// Registry value that holds the credential specification.
        "registry": Text,
    }
}
shape! {
    /// What must hold of another service.
    DEPENDENCY {
        /// What must hold before this service starts: the other runs, is healthy, or ended well.
        "condition": Choice(&["service_started", "service_healthy", "service_completed_successfully"]),
        /// Whether a missing or failing dependency is an error; false makes it a warning.
        "required": Strict(&Flag) => "true",
        /// Whether this service is restarted when Compose restarts the other.
        "restart": Bool => "false",
    } requires "condition"
}
shape! {
    /// A device of the host.
    DEVICE {
        /// What the container may do: some of `r`, `w` and `m`.
        "permissions": Text,
        /// Path of the device on the host, or a CDI name.
        "source": Text,
        /// Path of the device in the container.
        "target": Text,
    } requires "source"
}
shape! {
    /// A file with environment variables.
    ENV_FILE {
        /// `raw` takes values as they are, without quotes and interpolation.
        "format": Text,
        /// Path of the file.
        "path": Text,
        /// Whether a missing file is an error.
        "required": Flag => "true",
    } requires "path"
}
shape! {
    /// A service that another builds upon.
    EXTENDS {
        /// File of the other service; this file where it is not said.
        "file": Text,
        /// Name of the other service.
        "service": Text,
    } requires "service"
}
shape! {
    /// A request for GPUs.
    GPU {
        /// What a device must be able to do, such as `gpu` or `compute`.
        "capabilities": Unique,
        /// How many devices; `all` is all of them.
        "count": DeviceCount,
        /// Ids of certain devices, instead of a count.
        "device_ids": Unique,
        /// Driver of the devices, such as `nvidia`.
        "driver": Text,
        /// Options for the driver.
        "options": Labels,
    }
}
shape! {
    /// A command that tells whether a container is healthy.
    HEALTHCHECK {
        /// Whether the image's health check is turned off.
        "disable": Bool,
        /// Time between two checks.
        "interval": Duration => "30s",
        /// Number of failures in a row that make a container unhealthy.
        "retries": Count => "3",
        /// Time between two checks during `start_period`.
        "start_interval": Duration,
        /// Time after the start in which failures don't count.
        "start_period": Duration => "0s",
        /// The command: text for a shell, or a list that starts with `CMD`, `CMD-SHELL` or `NONE`.
        "test": Test,
        /// Time after which a check has failed.
        "timeout": Duration => "30s",
    }
}
shape! {
    /// Where the output of the containers is kept.
    LOGGING {
        /// How it is kept, such as `local`, `json-file` or `none`.
        "driver": Text,
        /// Options of the driver, such as `max-size`.
        "options": LogOptions,
    }
}
shape! {
    /// How a service learns of a model.
    MODEL_GRANT {
        /// Environment variable that gets the model's address.
        "endpoint_var": Text,
        /// Environment variable that gets the model's name.
        "model_var": Text,
    }
}
shape! {
    /// How a service joins a network.
    ATTACHMENT {
        /// Further host names of the service on this network.
        "aliases": Set,
        /// Options for the network's driver.
        "driver_opts": Options,
        /// The network with the highest number gives the default route.
        "gw_priority": Strict(&Number),
        /// Name of the network interface in the container.
        "interface_name": Text,
        /// Fixed IPv4 address.
        "ipv4_address": Text,
        /// Fixed IPv6 address.
        "ipv6_address": Text,
        /// Further link-local addresses.
        "link_local_ips": Set,
        /// MAC address of the interface.
        "mac_address": Text,
        /// Networks with higher numbers are joined first.
        "priority": Strict(&Number),
    }
}
shape! {
    /// An external program that provides a service.
    PROVIDER {
        /// Options for the program, each a scalar or a list of scalars.
        "options": ProviderOptions,
        /// The program: a Docker CLI plugin or an executable of `PATH`.
        "type": Text,
    } requires "type"
}
shape! {
    /// A soft and a hard limit.
    ULIMIT {
        /// The most that the soft limit can be raised to; -1 is no limit.
        "hard": Int,
        /// The limit that holds; -1 is no limit.
        "soft": Int,
    } requires "soft", "hard"
}
shape! {
    /// What hoist has beyond the specification.
    HOIST {
        /// Whether the containers or build steps trust the certificate authorities that the host trusts.
        "trust_host_ca": Flag,
    }
}
shape! {
    /// What hoist has beyond the specification for services.
    SERVICE_HOIST: (&HOIST, &[]) => {
        /// What happens to a container that is unhealthy: nothing, or it is stopped and started again.
        "on_unhealthy": Choice(&["none", "restart"]) => "none",
        /// What must hold for a container to be ready; it is looked from outside and needs nothing in the image.
        "ready": Object(&READY),
    }
}
shape! {
    /// What hoist has beyond the specification for configs and secrets.
    FILE_HOIST {
        /// Program that prints the content, such as a password manager, with its arguments; run on the host by commands
        /// that make or start containers.
        "command": Test,
    }
}
shape! {
    /// What must hold for a container to be healthy, beside its health check; all parts that are there.
    READY {
        /// An HTTP server of the container answers well.
        "http": Object(&READY_HTTP),
        /// Time between two probes; that of the health check, or 10s, where it is not said.
        "interval": Duration,
        /// Text that a line of the container's output has, or `/REGEX/` that it matches.
        "log": Text,
        /// Number of failures in a row that make a container unhealthy; that of the health check, or 3.
        "retries": Count,
        /// Time between two probes during `start_period`; that of the health check, or 200ms.
        "start_interval": Duration,
        /// Time after the start in which failures don't count; that of the health check, or 1m.
        "start_period": Duration,
        /// A port of the container takes TCP connections.
        "tcp": Object(&READY_TCP),
        /// Time after which a probe has failed; that of the health check, or 5s.
        "timeout": Duration,
    }
}
shape! {
    /// A request to an HTTP server of the container.
    READY_HTTP {
        /// Header lines of the request, by name.
        "headers": Options,
        /// Path of the request, with its query.
        "path": Text => "/",
        /// The container's port.
        "port": Natural,
        /// The one good status of the answer; any from 200 to 399 where it is not said.
        "status": Natural,
    } requires "port"
}
shape! {
    /// A TCP port of the container.
    READY_TCP {
        /// The container's port.
        "port": Natural,
    } requires "port"
}
