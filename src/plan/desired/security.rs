//! What a container may do: capabilities, `security_opt`.
//!
//! Imports: `base`, `compose::model`, `engine::spec`.
//! Source: compose-spec, `security_opt`; moby `daemon/daemon_unix.go` (`parseSecurityOpt`).

use super::Facts;
use crate::base::diag::{Diagnostic, Diagnostics, nearest};
use crate::base::kernel::capability;
use crate::base::scalar::parse_bool;
use crate::base::span::Spanned;
use crate::compose::model::Service;
use crate::engine::spec::{Seccomp, Security};

/// What can be said in `security_opt`.
const OPTIONS: [&str; 6] = [
    "no-new-privileges",
    "seccomp",
    "apparmor",
    "label",
    "systempaths",
    "writable-cgroups",
];

pub(super) fn security(service: &Service, facts: &Facts, found: &mut Diagnostics) -> Security {
    let mut security = Security {
        privileged: service.privileged,
        cap_add: capabilities(&service.cap_add),
        cap_drop: capabilities(&service.cap_drop),
        ..Security::default()
    };
    for option in &service.security_opt {
        if let Err(fault) = apply(option, facts, &mut security) {
            found.push(fault.at(option.span.or(service.span)));
        }
    }
    security
}

/// Capabilities in one spelling. Unknown ones have been refused where they were written, and what a command line
/// names is refused by the engine.
pub(super) fn capabilities(names: &[String]) -> Vec<String> {
    let one = |name: &String| capability(name).map_or_else(|| name.clone(), str::to_owned);
    names.iter().map(one).collect()
}

fn apply(
    option: &Spanned<String>,
    facts: &Facts,
    security: &mut Security,
) -> Result<(), Box<Diagnostic>> {
    let text = option.value.as_str();
    // Docker took `:` before it took `=`.
    let (name, value) = text
        .split_once(['=', ':'])
        .map_or((text, None), |(n, v)| (n, Some(v)));
    let wrong = |want: &str| {
        Box::new(Diagnostic::error(format!(
            "security_opt `{text}`: expected {want}"
        )))
    };
    match (name, value) {
        ("no-new-privileges", value) => {
            let on = parse_bool(value.unwrap_or("true"));
            security.no_new_privileges = on.ok_or_else(|| wrong("`true` or `false`"))?;
        }
        ("seccomp", Some("unconfined")) => security.seccomp = Seccomp::Unconfined,
        ("seccomp", Some("builtin")) => security.seccomp = Seccomp::Default,
        ("seccomp", Some(_)) => {
            let profile = facts.profiles.get(text);
            let profile =
                profile.ok_or_else(|| wrong("`unconfined` or a profile that can be read"))?;
            security.seccomp = Seccomp::Profile(profile.clone());
        }
        ("apparmor", Some(profile)) if !profile.is_empty() => {
            security.apparmor = Some(profile.into());
        }
        // SELinux is not ours; the option is harmless without it.
        ("label", Some(_)) => {}
        ("systempaths", Some("unconfined")) => security.unmask_system_paths = true,
        ("writable-cgroups", value) => {
            let on = parse_bool(value.unwrap_or("true"));
            security.writable_cgroups = on.ok_or_else(|| wrong("`true` or `false`"))?;
        }
        ("seccomp" | "apparmor", _) => return Err(wrong("the name of a profile")),
        ("systempaths", _) => return Err(wrong("`unconfined`")),
        ("label", None) => return Err(wrong("a label")),
        _ => {
            let fault = Diagnostic::error(format!("unknown security_opt `{text}`"));
            let hint = nearest(name, OPTIONS).filter(|near| *near != name);
            return Err(Box::new(match hint {
                Some(near) => fault.hint(format!("did you mean `{near}`?")),
                None => fault.hint(format!("known are: {}", OPTIONS.join(", "))),
            }));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &[&str]) -> (Security, Vec<String>) {
        let security_opt = options
            .iter()
            .map(|o| Spanned::bare((*o).to_owned()))
            .collect();
        let service = Service {
            security_opt,
            ..Default::default()
        };
        let mut facts = Facts::default();
        facts
            .profiles
            .insert("seccomp=./p.json".into(), "{}".into());
        let mut found = Diagnostics::default();
        let security = security(&service, &facts, &mut found);
        (security, found.iter().map(|f| f.message.clone()).collect())
    }

    #[test]
    fn options_are_read_in_both_spellings() {
        let (got, faults) = of(&[
            "no-new-privileges:true",
            "seccomp=./p.json",
            "apparmor=mine",
            "systempaths=unconfined",
        ]);
        assert!(faults.is_empty(), "{faults:?}");
        assert!(got.no_new_privileges && got.unmask_system_paths);
        assert_eq!(got.seccomp, Seccomp::Profile("{}".into()));
        assert_eq!(got.apparmor.as_deref(), Some("mine"));
        assert_eq!(of(&["seccomp:unconfined"]).0.seccomp, Seccomp::Unconfined);
    }

    #[test]
    fn an_unknown_option_is_a_fault() {
        assert_eq!(
            of(&["no-new-privilege"]).1,
            ["unknown security_opt `no-new-privilege`"]
        );
        assert_eq!(of(&["seccomp=./gone.json"]).1.len(), 1);
    }

    #[test]
    fn capabilities_lose_their_prefix() {
        assert_eq!(capabilities(&["CAP_net_admin".into()]), ["NET_ADMIN"]);
    }
}
