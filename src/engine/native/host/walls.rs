//! What keeps a container in: seccomp, AppArmor.

use super::text;
use crate::engine::host::{Row, Standing};
use crate::engine::native::runtime::AppArmor;

pub(super) fn rows() -> Vec<Row> {
    vec![seccomp(), app_armor()]
}

fn seccomp() -> Row {
    let actions = text("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let row = Row::ok(
        "seccomp",
        "filters",
        "the default profile holds, and `security_opt: seccomp=` too",
    )
    .needed();
    match actions.split_ascii_whitespace().any(|word| word == "errno") {
        true => row,
        false => Row {
            found: "the kernel has no filters".to_owned(),
            means: "only `security_opt: [seccomp=unconfined]` and `privileged` containers start"
                .to_owned(),
            ..row
        }
        .stands(Standing::Missing)
        .mend("boot a kernel with CONFIG_SECCOMP_FILTER"),
    }
}

fn app_armor() -> Row {
    let name = "AppArmor";
    match AppArmor::of_this_machine() {
        AppArmor::On(parser) => {
            let found = format!("on; {} loads profiles", parser.display());
            Row::ok(
                name,
                found,
                "the default profile holds, and `security_opt: apparmor=` too",
            )
        }
        AppArmor::NoParser => {
            let means = "containers have no default profile; profiles that are loaded can be named";
            Row::ok(name, "on, but no program loads profiles", means)
                .stands(Standing::Degraded)
                .mend("apt-get install apparmor")
        }
        AppArmor::Off => {
            let lsm = text("/sys/kernel/security/lsm").unwrap_or_default();
            let means = "`security_opt: apparmor=NAME` is an error; seccomp, capabilities and masks hold without it";
            let row = Row::ok(name, "not on in this kernel", means).stands(Standing::Degraded);
            let lsm = match lsm.is_empty() {
                true => "lsm=landlock,lockdown,yama,apparmor,bpf".to_owned(),
                false => format!("lsm={lsm},apparmor"),
            };
            row.mend(format!(
                "with CONFIG_SECURITY_APPARMOR in the kernel, boot it with: {lsm}"
            ))
        }
    }
}
