//! One cgroup a container: made, filled, frozen, killed, removed, on version 1, version 2 and both at once.
//!
//! In: an id, limits, device rules. Out: a [`Cgroup`]. Its name is `hoist/<id>` below the root of every
//! hierarchy (below our own cgroup when we are not root), so that it is found again without any record.
//! Never: decides a limit. Imports: `engine`, `sys`. Rules: Linux admin-guide/cgroup-v1, cgroup-v2.rst; the
//! conversions are named at each.

mod below;
mod device;
mod io;
mod limits;
mod offers;
mod realtime;
mod tree;
mod usage;

use std::fs;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::engine::spec::Resources;
use crate::engine::{EngineError, Result};
pub use below::Below;
pub use device::{DeviceKind, DeviceRule};
use limits::Write;
pub use offers::offers;
use tree::{Hierarchy, failed};
pub use tree::{Version, version};
pub use usage::Usage;

/// Directory of all our cgroups when no other is asked for.
const PARENT: &str = "hoist";

/// Which devices a container may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceAccess {
    /// All of the host's.
    All,
    /// The default ones and these.
    Listed(Vec<DeviceRule>),
}

/// One container's place in every hierarchy.
#[derive(Debug, Clone)]
pub struct Cgroup {
    hierarchies: Vec<Hierarchy>,
    /// Whether version 2 has the controllers.
    pure_v2: bool,
}

/// A cgroup directory as the container sees it below `/sys/fs/cgroup`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupPath {
    /// Name below `/sys/fs/cgroup`; empty on version 2, where it is `/sys/fs/cgroup` itself.
    pub name: String,
    /// The directory on the host.
    pub dir: PathBuf,
    /// Controllers, for links when several share one hierarchy.
    pub controllers: Vec<String>,
}

/// Our directory's name below the root of a hierarchy.
fn relative(id: &str, parent: Option<&str>) -> Result<PathBuf> {
    let parent = parent.map_or(PARENT, |parent| parent.trim_matches('/'));
    let whole = Path::new(parent).join(id);
    let plain = |part| matches!(part, std::path::Component::Normal(_));
    if id.is_empty() || id.contains('/') || !whole.components().all(plain) {
        let what = format!("cgroup parent `{parent}` must not contain `.` or `..`");
        return Err(EngineError::Unsupported { what });
    }
    Ok(whole)
}

/// Makes a write, in each of its files that the kernel has.
fn set(dir: &Path, write: &Write) -> Result<()> {
    let (mut taken, mut refused) = (false, None);
    for (file, value) in &write.files {
        let path = dir.join(file);
        let opened = fs::OpenOptions::new().write(true).open(&path);
        match opened.and_then(|mut file| file.write_all(value.as_bytes())) {
            Ok(()) => taken = true,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let step = format!(
                    "set {}: write `{value}` to {}",
                    write.wanted_by,
                    path.display()
                );
                refused = Some(EngineError::failed(step, error));
            }
        }
    }
    if taken {
        return Ok(());
    }
    Err(refused.unwrap_or_else(|| {
        let files: Vec<&str> = write.files.iter().map(|(file, _)| *file).collect();
        let what = format!(
            "{} needs the cgroup file {}, which this kernel does not have: remove the limit, or see `hoist doctor`",
            write.wanted_by,
            files.join(" or ")
        );
        EngineError::Unsupported { what }
    }))
}

impl Cgroup {
    /// The places of a cgroup, made or not.
    fn locate(id: &str, parent: Option<&str>) -> Result<Self> {
        let name = relative(id, parent)?;
        let mut hierarchies = tree::hierarchies()?;
        let pure_v2 = hierarchies.iter().all(|hierarchy| hierarchy.unified);
        for hierarchy in &mut hierarchies {
            hierarchy.dir.push(&name);
        }
        Ok(Self {
            hierarchies,
            pure_v2,
        })
    }

    /// Makes a cgroup with limits, empty.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] when a limit needs a controller that is not there,
    /// [`EngineError::Failed`] with the file that refused.
    pub fn create(
        id: &str,
        parent: Option<&str>,
        resources: &Resources,
        devices: &DeviceAccess,
    ) -> Result<Self> {
        let cgroup = Self::locate(id, parent)?;
        let made = cgroup.make().and_then(|()| cgroup.limit(resources));
        match made.and_then(|()| cgroup.restrict_devices(devices)) {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                // The first failure is what matters; what is left is empty.
                let _ = cgroup.remove();
                Err(error)
            }
        }
    }

    /// Finds a cgroup that was made before.
    pub fn find(id: &str, parent: Option<&str>) -> Option<Self> {
        let mut cgroup = Self::locate(id, parent).ok()?;
        cgroup
            .hierarchies
            .retain(|hierarchy| hierarchy.dir.is_dir());
        (!cgroup.hierarchies.is_empty()).then_some(cgroup)
    }

    fn make(&self) -> Result<()> {
        self.hierarchies.iter().try_for_each(tree::make_levels)
    }

    /// The directory of a controller: on version 2 the only one.
    fn controller(&self, name: &str) -> Option<&Path> {
        if self.pure_v2 {
            let dir = &self.hierarchies.first()?.dir;
            let listed = fs::read_to_string(dir.join("cgroup.controllers")).ok()?;
            return listed
                .split_ascii_whitespace()
                .any(|found| found == name)
                .then_some(dir);
        }
        let found = self
            .hierarchies
            .iter()
            .find(|hierarchy| hierarchy.has(name));
        found.map(|hierarchy| hierarchy.dir.as_path())
    }

    fn limit(&self, resources: &Resources) -> Result<()> {
        let disks = io::disks(&resources.devices)?;
        let writes = if self.pure_v2 {
            limits::v2(resources, &disks)
        } else {
            limits::v1(resources, &disks)
        };
        for write in writes {
            let dir = self.needed(write.controller, write.wanted_by)?;
            set(dir, &write)?;
        }
        if resources.cpu_rt_period.is_some() || resources.cpu_rt_runtime.is_some() {
            let hierarchy = self
                .hierarchies
                .iter()
                .find(|hierarchy| hierarchy.has("cpu"));
            let Some(hierarchy) = hierarchy else {
                let what =
                    "cpu_rt_runtime needs the controller `cpu` of cgroup version 1: remove it";
                return Err(EngineError::Unsupported { what: what.into() });
            };
            realtime::set(&hierarchy.dir, &hierarchy.mount, resources)?;
        }
        Ok(())
    }

    /// The directory of a controller that a limit needs.
    fn needed(&self, controller: &str, wanted_by: &str) -> Result<&Path> {
        self.controller(controller).ok_or_else(|| {
            let what = format!(
                "{wanted_by} needs the cgroup controller `{controller}`, which this machine does not give us: remove \
                 the limit, or enable the controller; `hoist doctor` says how"
            );
            EngineError::Unsupported { what }
        })
    }

    fn restrict_devices(&self, access: &DeviceAccess) -> Result<()> {
        let DeviceAccess::Listed(extra) = access else {
            return Ok(());
        };
        let rules: Vec<DeviceRule> = DeviceRule::defaults()
            .into_iter()
            .chain(extra.iter().cloned())
            .collect();
        if self.pure_v2 {
            let allowed: Vec<_> = rules.iter().map(DeviceRule::for_bpf).collect();
            let Some(dir) = self.fd()? else { return Ok(()) };
            return match crate::sys::bpf::restrict_devices(dir.as_fd(), &allowed) {
                // Without root the kernel lets nobody make or open devices that matter anyway.
                Err(nix::errno::Errno::EPERM) if !nix::unistd::geteuid().is_root() => Ok(()),
                other => other.map_err(|errno| EngineError::failed("restrict devices", errno)),
            };
        }
        let Some(dir) = self.controller("devices") else {
            return Ok(());
        };
        let deny = dir.join("devices.deny");
        fs::write(&deny, "a").map_err(|error| failed("write", &deny, &error))?;
        let allow = dir.join("devices.allow");
        for rule in &rules {
            fs::write(&allow, rule.to_string()).map_err(|error| failed("write", &allow, &error))?;
        }
        Ok(())
    }

    /// Puts a process into it.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    pub fn add(&self, pid: i32) -> Result<()> {
        for hierarchy in &self.hierarchies {
            let path = hierarchy.dir.join("cgroup.procs");
            fs::write(&path, pid.to_string()).map_err(|error| failed("write", &path, &error))?;
        }
        Ok(())
    }

    /// Its directory in the unified hierarchy, for `CLONE_INTO_CGROUP`; `None` where there is none.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    pub fn fd(&self) -> Result<Option<OwnedFd>> {
        let unified = self.hierarchies.iter().find(|hierarchy| hierarchy.unified);
        let Some(unified) = unified else {
            return Ok(None);
        };
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(&unified.dir, flags, Mode::empty());
        fd.map(Some)
            .map_err(|errno| failed("open", &unified.dir, &errno.into()))
    }

    /// Puts the caller, who has one thread and was born into [`Cgroup::fd`], into all other hierarchies.
    ///
    /// A thread that moves itself through `tasks` needs no lock over all processes of the machine; a write
    /// to `cgroup.procs` does, and waits for it about 8 ms (Linux 6.18, `cgroup_procs_write_start`).
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    pub fn enter_rest(&self) -> Result<()> {
        for hierarchy in self
            .hierarchies
            .iter()
            .filter(|hierarchy| !hierarchy.unified)
        {
            let path = hierarchy.dir.join("tasks");
            fs::write(&path, "0").map_err(|error| failed("write", &path, &error))?;
        }
        Ok(())
    }

    /// The directories a container may look at.
    pub fn paths(&self) -> Vec<CgroupPath> {
        let shown = self
            .hierarchies
            .iter()
            .filter(|h| self.pure_v2 || !h.unified);
        shown
            .map(|hierarchy| CgroupPath {
                name: hierarchy
                    .mount
                    .strip_prefix("/sys/fs/cgroup")
                    .map(|name| name.to_string_lossy().into_owned())
                    .unwrap_or_default(),
                dir: hierarchy.dir.clone(),
                controllers: hierarchy.controllers.clone(),
            })
            .collect()
    }

    /// Whether the unified hierarchy has the controllers.
    pub fn is_v2(&self) -> bool {
        self.pure_v2
    }

    /// Processes in it and below, sorted.
    pub fn pids(&self) -> Vec<i32> {
        let mut found = Vec::new();
        for hierarchy in &self.hierarchies {
            tree::collect_pids(&hierarchy.dir, &mut found);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// How many processes the kernel has killed in it for want of memory.
    pub fn oom_kills(&self) -> u64 {
        let (controller, file) = if self.pure_v2 {
            ("memory", "memory.events")
        } else {
            ("memory", "memory.oom_control")
        };
        let Some(dir) = self.controller(controller) else {
            return 0;
        };
        let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count
            .and_then(|count| count.trim().parse().ok())
            .unwrap_or(0)
    }

    /// Its limit of processes, if one more was wanted.
    pub fn forks_refused(&self) -> Option<u64> {
        let dir = self.controller("pids")?;
        let events = fs::read_to_string(dir.join("pids.events")).ok()?;
        let count = events.lines().find_map(|line| line.strip_prefix("max "))?;
        if count.trim() == "0" {
            return None;
        }
        let limit = fs::read_to_string(dir.join("pids.max")).ok()?;
        limit.trim().parse().ok()
    }

    /// Freezes or thaws everything in it.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] without a freezer, [`EngineError::Failed`].
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        let unified = self.hierarchies.iter().find(|hierarchy| hierarchy.unified);
        let (path, value) = match (self.controller("freezer"), unified) {
            (Some(dir), _) if !self.pure_v2 => (
                dir.join("freezer.state"),
                if frozen { "FROZEN" } else { "THAWED" },
            ),
            (_, Some(hierarchy)) => (
                hierarchy.dir.join("cgroup.freeze"),
                if frozen { "1" } else { "0" },
            ),
            _ => {
                let what = "pausing needs the cgroup freezer, which this machine does not have";
                return Err(EngineError::Unsupported {
                    what: what.to_owned(),
                });
            }
        };
        fs::write(&path, value).map_err(|error| failed("write", &path, &error))
    }

    /// As [`Cgroup::freeze`], and waits until everything is frozen, or goes on, at most two seconds.
    ///
    /// # Errors
    /// As there, and when something could not be frozen: nothing is then.
    pub fn settle(&self, frozen: bool) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(2);
        loop {
            // Again each time: on version 1 what was born meanwhile is only frozen by another write.
            self.freeze(frozen)?;
            if self.is_settled(frozen) {
                return Ok(());
            }
            if Instant::now() > end {
                let _ = self.freeze(false);
                let step = if frozen { "pause" } else { "unpause" };
                let cause = "a process did not stop in time, since it waits for something in the kernel; try again";
                return Err(EngineError::failed(format!("{step} the container"), cause));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Kills everything in it and waits until it is empty, at most two seconds.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when something does not end.
    pub fn kill(&self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(2);
        let unified = self.hierarchies.iter().find(|hierarchy| hierarchy.unified);
        loop {
            let pids = self.pids();
            if pids.is_empty() {
                return Ok(());
            }
            let all_at_once = unified
                .is_some_and(|hierarchy| fs::write(hierarchy.dir.join("cgroup.kill"), "1").is_ok());
            if !all_at_once {
                for pid in &pids {
                    // One that has ended by now is what we want.
                    let _ = nix::sys::signal::kill(
                        nix::unistd::Pid::from_raw(*pid),
                        nix::sys::signal::Signal::SIGKILL,
                    );
                }
            }
            // A frozen task dies only once it is thawed on version 1.
            let _ = self.freeze(false);
            if Instant::now() > end {
                return Err(EngineError::failed(
                    "kill the container's processes",
                    format!("{pids:?}"),
                ));
            }
            // A process that has got the signal needs a moment; there is no descriptor that all kernels
            // let us wait on for the whole group.
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Removes it, and the directories above that are empty and ours. A missing one is fine.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when it still has processes.
    pub fn remove(&self) -> Result<()> {
        let mut outcome = Ok(());
        for hierarchy in &self.hierarchies {
            // One that stays does not keep the others.
            outcome = outcome.and(tree::remove_levels(&hierarchy.dir));
            tree::remove_parents(hierarchy);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_can_not_lead_out_of_the_hierarchy() {
        assert_eq!(relative("ab", None).unwrap(), Path::new("hoist/ab"));
        assert_eq!(
            relative("ab", Some("/my/slice")).unwrap(),
            Path::new("my/slice/ab")
        );
        assert!(relative("ab", Some("../x")).is_err());
        assert!(relative("../ab", None).is_err());
    }

    #[test]
    fn limits_are_set_and_nothing_is_left_behind() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: cgroups need root");
            return;
        }
        let id = format!("test-{}", std::process::id());
        let resources = Resources {
            memory: Some(64 << 20),
            cpu_quota: Some(50_000),
            cpu_period: Some(100_000),
            cpu_shares: Some(512),
            pids: Some(77),
            ..Resources::default()
        };
        let cgroup =
            Cgroup::create(&id, None, &resources, &DeviceAccess::Listed(Vec::new())).unwrap();
        let read = |controller: &str, file: &str| {
            let dir = cgroup.controller(controller).unwrap();
            fs::read_to_string(dir.join(file))
                .unwrap()
                .trim()
                .to_owned()
        };
        if cgroup.is_v2() {
            assert_eq!(read("memory", "memory.max"), "67108864");
            assert_eq!(read("cpu", "cpu.max"), "50000 100000");
        } else {
            assert_eq!(read("memory", "memory.limit_in_bytes"), "67108864");
            assert_eq!(read("cpu", "cpu.cfs_quota_us"), "50000");
            assert_eq!(read("cpu", "cpu.shares"), "512");
        }
        assert_eq!(read("pids", "pids.max"), "77");
        assert_eq!(cgroup.oom_kills(), 0);
        let found = Cgroup::find(&id, None).unwrap();
        assert_eq!(found.paths(), cgroup.paths());
        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        found.add(child.id() as i32).unwrap();
        assert_eq!(found.pids(), [child.id() as i32]);
        found.freeze(true).unwrap();
        let waiter = std::thread::spawn(move || child.wait().unwrap());
        found.kill().unwrap();
        assert!(!waiter.join().unwrap().success());
        found.remove().unwrap();
        assert!(Cgroup::find(&id, None).is_none());
    }
}
