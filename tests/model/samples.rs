//! Values for the paths of a compose file, such that each means something where it stands.

use serde_json::{Value, json};

/// What each document has besides: something for references to point to.
pub fn scaffold() -> Value {
    json!({
        "services": {
            "s": { "image": "i" },
            "other": { "image": "i", "user": "u", "healthcheck": { "test": "true" } },
        },
        "jobs": { "j": { "image": "i" } },
        "networks": { "n": {} },
        "volumes": { "data": {} },
        "configs": { "c": { "content": "c" } },
        "secrets": { "k": { "environment": "HOME" } },
        "models": { "m": { "model": "ai/m" } },
    })
}

/// A path as it is for services, which jobs share.
pub fn plain(path: &str) -> String {
    match path.strip_prefix("jobs.*") {
        Some(rest) if !rest.starts_with(".triggers") => format!("services.*{rest}"),
        _ => path.to_owned(),
    }
}

/// What must stand beside a key for it to mean something.
pub fn siblings(path: &str, key: &str) -> Value {
    let mut all = match (plain(path).as_str(), key) {
        ("services.*.volumes[]", "bind" | "x-hoist") => {
            json!({ "type": "bind", "source": "/x", "target": "/t" })
        }
        ("services.*.volumes[]", "tmpfs") => json!({ "type": "tmpfs", "target": "/t" }),
        ("services.*.volumes[]", "image") => {
            json!({ "type": "image", "source": "i", "target": "/t" })
        }
        ("services.*.volumes[]", "source") => json!({ "type": "volume", "target": "/t" }),
        ("services.*.volumes[]", _) => {
            json!({ "type": "volume", "source": "data", "target": "/t" })
        }
        ("services.*.ports[]", _) => json!({ "target": 80 }),
        ("services.*.blkio_config.weight_device[]", _) => json!({ "path": "/dev/a", "weight": 20 }),
        (path, _) if path.starts_with("services.*.blkio_config.device") => {
            json!({ "path": "/dev/a", "rate": 1 })
        }
        ("services.*.configs[]", _) => json!({ "source": "c" }),
        ("services.*.secrets[]" | "services.*.build.secrets[]", _) => json!({ "source": "k" }),
        ("services.*.depends_on.*", _) => json!({ "condition": "service_healthy" }),
        ("services.*.devices[]", _) => json!({ "source": "/dev/null", "target": "/dev/x" }),
        ("services.*.gpus[]" | "services.*.deploy.resources.reservations.devices[]", _) => {
            json!({ "capabilities": ["gpu"] })
        }
        (path, _) if path.ends_with(".discrete_resource_spec") => {
            json!({ "kind": "a", "value": 1 })
        }
        ("services.*.develop.watch[]", _) => {
            json!({ "path": ".", "action": "sync", "target": "/s" })
        }
        ("services.*.post_start[]" | "services.*.pre_stop[]" | "services.*.pre_start[]", _) => {
            json!({ "command": ["run"] })
        }
        ("services.*.x-hoist.ready", _) => json!({ "tcp": { "port": 80 } }),
        ("services.*.x-hoist.ready.http" | "services.*.x-hoist.ready.tcp", _) => {
            json!({ "port": 80 })
        }
        ("services.*.develop.watch[].exec", _) => json!({ "command": ["run"] }),
        ("services.*.env_file[]", _) => json!({ "path": "a.env" }),
        ("services.*.extends", _) => json!({ "service": "base", "file": "base.yaml" }),
        ("services.*.provider", _) => json!({ "type": "a" }),
        (path, _) if path.ends_with(".ulimits.*") => json!({ "soft": 1, "hard": 9 }),
        ("networks.*.ipam.config[]", _) => json!({ "subnet": "10.0.0.0/24" }),
        ("models.*", _) => json!({ "model": "ai/x" }),
        ("include[]", _) => json!({ "path": "inc.yaml" }),
        ("configs.*" | "secrets.*", "x-hoist") => json!({}),
        ("configs.*", "file" | "environment") => json!({}),
        ("configs.*", _) => json!({ "content": "b" }),
        ("secrets.*", "file") => json!({}),
        ("secrets.*", _) => json!({ "environment": "HOME" }),
        _ => json!({}),
    };
    if let Some(all) = all.as_object_mut() {
        all.remove(key);
    }
    all
}

/// The name of an entry of a mapping with free names.
pub fn member(path: &str) -> &'static str {
    let path = plain(path);
    match path.as_str() {
        "services" => "s",
        "jobs" => "j",
        "networks" => "new_network",
        "volumes" => "new_volume",
        "configs" => "new_config",
        "secrets" => "new_secret",
        "models" => "new_model",
        "services.*.depends_on" => "other",
        "services.*.networks" => "n",
        "services.*.models" => "m",
        _ if path.ends_with("ulimits") => "nofile",
        _ => "a",
    }
}

/// Values of a kind for a path, of which at least one means something. `kinds` are all scalars that the path may hold.
pub fn samples(path: &str, kind: &str, kinds: &[&str]) -> Vec<Value> {
    let path = plain(path);
    let text = text(&path);
    let number = |value: Value| match text {
        // A number that reads like the text, or none where the text is no number.
        Some(text) => text
            .parse::<i64>()
            .map(|number| vec![json!(number)])
            .unwrap_or_default(),
        None => vec![value],
    };
    match kind {
        // The specification's schema has them, but what would they stand for?
        "null" if path.ends_with("build.ssh.*") || path.ends_with("additional_contexts.*") => {
            Vec::new()
        }
        "null" => vec![Value::Null],
        "boolean" if text.is_some() => Vec::new(),
        "boolean" => vec![json!(true), json!(false)],
        "integer" | "number"
            if path.ends_with("configs[].mode") || path.ends_with("secrets[].mode") =>
        {
            vec![json!(0o440)]
        }
        "integer" | "number" => number(json!(7)),
        _ => match text {
            Some(text) => vec![json!(text)],
            None if kinds.contains(&"boolean") => vec![json!("true"), json!("false")],
            None if kinds.contains(&"integer") || kinds.contains(&"number") => vec![json!("7")],
            None => vec![json!("x")],
        },
    }
}

/// The text for a path that not any text suits.
fn text(path: &str) -> Option<&'static str> {
    if path.contains("extra_hosts.*") {
        return Some("1.2.3.4");
    }
    if path.contains("aux_addresses.*") {
        return Some("10.0.0.9");
    }
    whole(path).or_else(|| {
        let key = path.rsplit('.').next().unwrap_or(path);
        last(key)
    })
}

/// By the whole path.
fn whole(path: &str) -> Option<&'static str> {
    Some(match path {
        "include[]" | "include[].path" | "include[].path[]" => "inc.yaml",
        "include[].env_file" | "include[].env_file[]" => "v.env",
        "include[].project_directory" => "sub",
        "jobs.*.triggers.schedule" => "0 3 * * *",
        "services.*.build"
        | "services.*.build.context"
        | "services.*.build.additional_contexts.*" => "./b",
        "services.*.build.additional_contexts[]" => "a=./b",
        "services.*.build.network" => "host",
        "services.*.build.ssh[]" => "default",
        "services.*.cpu_count" | "services.*.cpu_percent" | "services.*.oom_score_adj" => "7",
        "services.*.volumes[].tmpfs.size" => "7",
        "services.*.depends_on[]" | "services.*.volumes_from[]" | "services.*.extends" => "other",
        "services.*.extends.service" => "base",
        "services.*.extends.file" => "base.yaml",
        "services.*.links[]" => "other:alias",
        "services.*.external_links[]" => "far:alias",
        "services.*.networks[]" => "n",
        "services.*.models[]" => "m",
        "services.*.configs[]" | "services.*.configs[].source" => "c",
        "services.*.secrets[]" | "services.*.secrets[].source" => "k",
        "services.*.build.secrets[]" | "services.*.build.secrets[].source" => "k",
        "services.*.configs[].mode"
        | "services.*.secrets[].mode"
        | "services.*.build.secrets[].mode" => "0440",
        "services.*.devices[]" => "/dev/null:/dev/x",
        "services.*.dns" | "services.*.dns[]" => "1.1.1.1",
        "services.*.env_file" | "services.*.env_file[]" | "services.*.env_file[].path" => "a.env",
        "services.*.env_file[].format" => "raw",
        "services.*.label_file" | "services.*.label_file[]" => "labels.txt",
        "services.*.extra_hosts[]" | "services.*.build.extra_hosts[]" => "h=1.2.3.4",
        "services.*.healthcheck.test[]" => "CMD",
        "services.*.ports[]" => "80",
        "services.*.pid" | "services.*.ipc" | "services.*.uts" | "services.*.network_mode" => {
            "host"
        }
        "services.*.pull_policy" | "services.*.restart" => "always",
        "services.*.deploy.restart_policy.condition" => "on-failure",
        "services.*.stop_signal" => "SIGINT",
        "services.*.x-hoist.ready.http.path" => "/ok",
        "services.*.x-hoist.ready.http.status" => "204",
        "services.*.tmpfs" | "services.*.tmpfs[]" | "services.*.working_dir" => "/t",
        "services.*.volumes[]" => "data:/t",
        "services.*.volumes[].source" => "data",
        "services.*.volumes[].target" => "/elsewhere",
        "services.*.volumes[].bind.propagation" => "shared",
        "services.*.volumes[].x-hoist.idmap" => "host-user",
        "services.*.ports[].protocol" => "udp",
        "services.*.ports[].published" => "8080",
        "services.*.container_name" => "name",
        "configs.*.environment" => "HOME",
        "secrets.*.environment" => "PATH",
        _ => return None,
    })
}

/// By the last key.
fn last(key: &str) -> Option<&'static str> {
    Some(match key {
        "interval" | "timeout" | "start_period" | "start_interval" | "delay" | "monitor"
        | "window" | "stop_grace_period" => "7s",
        "memory" => "7m",
        "ipv4_address" => "10.0.0.5",
        "ipv6_address" => "fd00::5",
        "gateway" => "10.0.0.1",
        "host_ip" => "127.0.0.1",
        "link_local_ips[]" => "169.254.1.1",
        "subnet" => "10.1.0.0/24",
        "ip_range" => "10.0.0.0/25",
        "uid" | "gid" => "5",
        "environment[]" | "labels[]" | "annotations[]" | "args[]" | "sysctls[]" | "options[]"
        | "ssh[]" => "A=1",
        _ => return None,
    })
}
