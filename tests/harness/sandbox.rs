//! A world of its own for one case: data and run directories, a project, and a teardown that always runs.
//!
//! In: files and commands. Out: what the binary did. Never touches the user's own projects.
//! Imports: `harness`.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::leftovers::{self, Names, children};
use super::process::{Done, LIMIT, Running, finish};
use super::{eventually, hoist, image};

/// Names of sandboxes are short: a Unix socket's path may have 107 bytes.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// One case's world.
#[derive(Debug)]
pub struct Sandbox {
    root: PathBuf,
    /// The project's name.
    pub name: String,
    environment: RefCell<Vec<(String, String)>>,
    names: RefCell<Names>,
    limit: Duration,
    imported: bool,
    /// Holds a mount namespace with an `/etc` of its own.
    etc: Option<Running>,
}

impl Sandbox {
    /// A project that has the image [`image::TINY`].
    pub fn new() -> Self {
        let mut sandbox = Self::empty();
        sandbox.import_tiny();
        sandbox
    }

    /// A project with an empty image store.
    pub fn empty() -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("hst-{}-{number}", std::process::id()));
        Self::at(root, format!("t{number}"))
    }

    /// A world that cases share, until somebody drops it at the end of the run.
    pub fn of_the_run(name: &str) -> Self {
        Self::at(leftovers::file_of_the_run(name), name.to_owned())
    }

    fn at(root: PathBuf, name: String) -> Self {
        for name in ["p", "h"] {
            std::fs::create_dir_all(root.join(name)).expect("the temporary directory is writable");
        }
        // A container's user must be able to reach what a project binds.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&root, open).expect("the owner may change the mode");
        Self {
            root,
            name,
            environment: RefCell::default(),
            names: RefCell::default(),
            limit: LIMIT,
            imported: false,
            etc: None,
        }
    }

    /// Gives the commands that follow, and what they start, an `/etc` that the case may change: the directory that
    /// comes back. It has the host's files for users and names, but none for the resolver.
    pub fn own_etc(&mut self) -> PathBuf {
        let etc = self.root.join("etc");
        std::fs::create_dir_all(&etc).expect("the temporary directory is writable");
        for name in ["passwd", "group", "hosts", "nsswitch.conf"] {
            // Not each host has each of them.
            let _ = std::fs::copy(Path::new("/etc").join(name), etc.join(name));
        }
        let mut command = Command::new("unshare");
        // No word of the directory: whoever names it counts as left behind.
        command.current_dir(&self.root);
        let line = "mount --bind etc /etc && cd / && echo ready && exec env -i sleep 100000";
        command.args(["--mount", "--propagation", "private", "sh", "-c", line]);
        let holder = Running::start(command);
        holder.says("ready");
        self.etc = Some(holder);
        etc
    }

    /// Imports the tiny image.
    pub fn import_tiny(&mut self) {
        let archive = image::archive().to_string_lossy().into_owned();
        let change = "ENV PATH=/bin";
        self.global(&[
            "image",
            "import",
            "-c",
            change,
            "-c",
            "CMD [\"sh\"]",
            &archive,
            image::TINY,
        ])
        .ok();
        self.imported = true;
    }

    /// The directory of the project.
    pub fn dir(&self) -> PathBuf {
        self.root.join("p")
    }
    /// `HOIST_DATA_ROOT`.
    pub fn data(&self) -> PathBuf {
        self.root.join("d")
    }
    /// Directories of its volumes, the lock beside them left out.
    pub fn volumes(&self) -> Vec<PathBuf> {
        let mut all = super::leftovers::children(&self.data().join("volumes"));
        all.retain(|path| path.is_dir());
        all
    }
    /// `HOIST_RUN_ROOT`.
    pub fn run_root(&self) -> PathBuf {
        self.root.join("r")
    }
    /// Sets the time limit of each command.
    pub fn limit(&mut self, limit: Duration) {
        self.limit = limit;
    }
    /// Sets a variable for the commands that follow.
    pub fn set(&self, name: &str, value: &str) -> &Self {
        self.environment
            .borrow_mut()
            .push((name.into(), value.into()));
        self
    }

    /// Writes a file of the project.
    pub fn file(&self, path: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir().join(path);
        std::fs::create_dir_all(path.parent().expect("below the project"))
            .expect("directories can be made");
        std::fs::write(&path, text).expect("the project is writable");
        path
    }
    /// Writes `compose.yaml`. `SLEEP` stands for an image, a command that does nothing and a quick end.
    pub fn compose(&self, text: &str) -> &Self {
        self.file(
            "compose.yaml",
            text.replace(
                "SLEEP",
                "image: tiny, command: sleep 3600, stop_signal: SIGKILL",
            ),
        );
        self
    }

    /// The command with these arguments in this world.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match &self.etc {
            None => Command::new(hoist()),
            Some(holder) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--mount=/proc/{}/ns/mnt", holder.pid()));
                // The directory is looked for again on the other side.
                command.args(["sh", "-c", "cd \"$0\" && exec \"$@\""]);
                command.arg(self.dir()).arg(hoist());
                command
            }
        };
        let path =
            std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
        command
            .current_dir(self.dir())
            .env_clear()
            .env("PATH", path)
            .env("LANG", "C.UTF-8");
        command.env("HOME", self.root.join("h"));
        command
            .env("HOIST_DATA_ROOT", self.data())
            .env("HOIST_RUN_ROOT", self.run_root());
        command.envs(
            self.environment
                .borrow()
                .iter()
                .map(|(name, value)| (name, value)),
        );
        command.args(arguments);
        command
    }
    /// Runs the binary without naming the project.
    #[must_use = "look at the exit code or the output"]
    pub fn global(&self, arguments: &[&str]) -> Done {
        self.finish(arguments, None)
    }
    /// Runs a command on the project, split as a shell does it.
    #[must_use = "look at the exit code or the output"]
    pub fn run(&self, arguments: &str) -> Done {
        self.feed(arguments, None)
    }
    /// Runs a command on the project with something to read.
    #[must_use = "look at the exit code or the output"]
    pub fn pipe(&self, arguments: &str, stdin: &[u8]) -> Done {
        self.feed(arguments, Some(stdin))
    }
    fn feed(&self, arguments: &str, stdin: Option<&[u8]>) -> Done {
        let words = self.words(arguments);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.finish(&words, stdin)
    }
    fn finish(&self, arguments: &[&str], stdin: Option<&[u8]>) -> Done {
        let done = finish(self.command(arguments), stdin, self.limit);
        self.notice();
        done
    }
    fn words(&self, arguments: &str) -> Vec<String> {
        let mut words = vec!["-p".into(), self.name.clone()];
        words.extend(shell_words::split(arguments).expect("quotes in pairs"));
        words
    }
    /// Runs a command that must succeed.
    pub fn ok(&self, arguments: &str) -> Done {
        self.run(arguments).ok()
    }
    /// Starts a command beside the test.
    pub fn start(&self, arguments: &str) -> Running {
        let words = self.words(arguments);
        Running::start(self.command(&words.iter().map(String::as_str).collect::<Vec<_>>()))
    }
    /// Starts a command on a terminal.
    pub fn on_terminal(&self, arguments: &str) -> Running {
        self.on_terminal_of(33, 101, arguments)
    }
    /// Starts a command on a terminal of so many rows and columns.
    pub fn on_terminal_of(&self, rows: u16, columns: u16, arguments: &str) -> Running {
        let words = self.words(arguments);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Running::on_terminal(&self.command(&words), rows, columns)
    }
    /// Starts a shell on a terminal with a script that runs the command as `"$@"`.
    pub fn on_terminal_of_shell(&self, script: &str, arguments: &str) -> Running {
        let words = self.words(arguments);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let command = self.command(&words);
        let mut shell = std::process::Command::new("bash");
        shell.args(["-c", script, "bash"]);
        shell.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            shell.current_dir(dir);
        }
        Running::on_terminal(&shell, 33, 101)
    }

    /// Runs a shell line in a service and gives what it prints, without white space at the ends.
    pub fn sh(&self, service: &str, line: &str) -> String {
        self.exec(service, line).ok().out.trim().to_owned()
    }
    /// Runs a shell line in a service.
    #[must_use = "look at the exit code or the output"]
    pub fn exec(&self, service: &str, line: &str) -> Done {
        self.finish(
            &["-p", &self.name, "exec", "-T", service, "sh", "-c", line],
            None,
        )
    }

    /// Makes `/stop` in a container that ends when it sees it, maybe before the command is told that it was made.
    pub fn let_end(&self, service: &str) {
        let done = self.exec(service, "touch /stop");
        assert!([0, 137].contains(&done.code), "{}", done.story());
    }

    /// Rows of `ps --all --format json`.
    pub fn ps(&self) -> Vec<Value> {
        let text = self.ok("ps --all --format json").out;
        let text = text.trim();
        if text.starts_with('[') {
            return serde_json::from_str(text).expect("a JSON array");
        }
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
            .collect()
    }
    /// The row of a service that has one container.
    pub fn one(&self, service: &str) -> Value {
        let mut rows: Vec<Value> = self
            .ps()
            .into_iter()
            .filter(|row| row["Service"] == service)
            .collect();
        assert_eq!(rows.len(), 1, "containers of {service}: {rows:?}");
        rows.remove(0)
    }
    /// A text field of a service's row.
    pub fn field(&self, service: &str, name: &str) -> String {
        let row = self.one(service);
        row[name]
            .as_str()
            .unwrap_or_else(|| panic!("no text {name} in {row}"))
            .to_owned()
    }
    /// Id of a service's container as `ps` shows it.
    pub fn id(&self, service: &str) -> String {
        self.field(service, "ID")
    }
    /// State of a service's container: `running`, `exited` ….
    pub fn state(&self, service: &str) -> String {
        self.field(service, "State")
    }
    /// Exit code of a service's container.
    pub fn exit_code(&self, service: &str) -> i64 {
        self.one(service)["ExitCode"]
            .as_i64()
            .expect("an exit code")
    }
    /// Waits until a service's container has a state.
    pub fn reaches(&self, service: &str, state: &str) {
        eventually(&format!("{service} is {state}"), || {
            (self.state(service) == state).then_some(())
        });
    }
    /// Waits until a service has logged a text.
    pub fn logged(&self, service: &str, text: &str) {
        let read = || self.ok(&format!("logs --no-color {service}")).all();
        eventually(&format!("{service} logs {text:?}"), || {
            read().contains(text).then_some(())
        });
    }

    /// Notes the ids that are there now, for the check at the end.
    pub fn notice(&self) {
        self.names
            .borrow_mut()
            .notice(&self.data(), &self.run_root());
    }
    /// Counts a link as the project's from now on, whatever it is called.
    pub fn expect_link(&self, name: &str) {
        self.names.borrow_mut().links.insert(name.to_owned());
    }
    /// Firewall tables of the project as `nft` lists them: `table ip hoist-0123456789ab`.
    pub fn tables(&self) -> Vec<String> {
        self.notice();
        leftovers::tables(&self.names.borrow())
    }
    /// Cgroup directories of a service's container.
    pub fn cgroups(&self, service: &str) -> Vec<PathBuf> {
        let id = self.id(service);
        let mut names = Names::default();
        names.containers.insert(id);
        leftovers::cgroups(&names)
    }
    /// The first of these files that there is, in any cgroup directory of a service's container.
    pub fn cgroup_file(&self, service: &str, names: &[&str]) -> String {
        let dirs = self.cgroups(service);
        let found = dirs
            .iter()
            .flat_map(|dir| names.iter().map(|name| dir.join(name)))
            .find_map(|file| std::fs::read_to_string(file).ok());
        found
            .unwrap_or_else(|| panic!("none of {names:?} in {dirs:?}"))
            .trim()
            .to_owned()
    }
    /// Process 1 of a service's container, in the host's numbers.
    pub fn init(&self, service: &str) -> i32 {
        let inside = |pid: i32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status
                .lines()
                .find(|line| line.starts_with("NSpid:"))
                .unwrap_or_default()
                .to_owned();
            line.split_whitespace().last() == Some("1") && line.split_whitespace().count() > 2
        };
        eventually(&format!("process 1 of {service}"), || {
            let dirs = self.cgroups(service);
            let lists = dirs
                .iter()
                .filter_map(|dir| std::fs::read_to_string(dir.join("cgroup.procs")).ok());
            lists
                .flat_map(|list| {
                    list.lines()
                        .filter_map(|line| line.parse().ok())
                        .collect::<Vec<i32>>()
                })
                .find(|pid| inside(*pid))
        })
    }
    /// The process that watches over a service's container.
    pub fn supervisor(&self, service: &str) -> i32 {
        let (id, container) = (self.id(service), self.field(service, "Name"));
        let root = self.root.to_string_lossy().into_owned();
        eventually(&format!("the supervisor of {service}"), || {
            children(Path::new("/proc")).iter().find_map(|dir| {
                let pid = dir.file_name()?.to_str()?.parse().ok()?;
                let line =
                    String::from_utf8_lossy(&std::fs::read(dir.join("cmdline")).ok()?).into_owned();
                let ours = line.contains(&id) || line.contains(&container);
                let environ = std::fs::read(dir.join("environ")).unwrap_or_default();
                let here =
                    line.contains(&root) || String::from_utf8_lossy(&environ).contains(&root);
                (line.contains("__supervise") && ours && here).then_some(pid)
            })
        })
    }

    /// What is there of the project's in the kernel, once what was just ended is gone.
    pub fn leftovers(&self) -> Vec<String> {
        let names = self.names.borrow();
        let end = std::time::Instant::now() + Duration::from_secs(2);
        loop {
            let left = leftovers::find(&self.root, &names);
            if left.is_empty() || std::time::Instant::now() > end {
                return left;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    /// Requires that nothing is left of the project, in the kernel or among its files.
    pub fn is_gone(&self) {
        let mut left = self.leftovers();
        for dir in ["projects", "names"].map(|name| self.data().join(name)) {
            left.extend(children(&dir).iter().map(|path| path.display().to_string()));
        }
        for dir in ["containers", "locks"].map(|name| self.run_root().join(name)) {
            left.extend(children(&dir).iter().map(|path| path.display().to_string()));
        }
        for dir in ["volumes", "networks"].map(|name| self.data().join(name)) {
            let paths = children(&dir)
                .into_iter()
                .filter(|path| !path.ends_with(".lock"));
            left.extend(paths.map(|path| path.display().to_string()));
        }
        assert!(left.is_empty(), "left behind:\n  {}", left.join("\n  "));
    }
    /// Takes everything of the project out of the kernel as a reboot does, without a word to hoist.
    pub fn wipe_kernel(&self) {
        leftovers::force(&self.root, &self.names.borrow());
    }
    /// The processes that watch over containers of this sandbox.
    pub fn supervisors(&self) -> Vec<i32> {
        let root = self.root.to_string_lossy().into_owned();
        let lines = children(Path::new("/proc")).into_iter().filter_map(|dir| {
            let pid: i32 = dir.file_name()?.to_str()?.parse().ok()?;
            let line = std::fs::read(dir.join("cmdline")).ok()?;
            Some((pid, String::from_utf8_lossy(&line).into_owned()))
        });
        lines
            .filter(|(_, line)| line.contains("__supervise") && line.contains(&root))
            .map(|(pid, _)| pid)
            .collect()
    }
    /// What of the host has this sandbox's names in it, but for its own directory.
    fn of_host(&self, names: &Names) -> Vec<String> {
        let mut left = leftovers::of_host(&self.root, names, &super::host::Host::named());
        // A data directory with a file system of its own is a case's doing, which takes it away itself.
        let own = format!(" {}/d (", self.root.display());
        left.retain(|line| !line.contains(&own));
        left
    }
    /// Takes everything down and tells what is left.
    pub fn sweep(&self) -> Vec<String> {
        self.notice();
        let projects = children(&self.data().join("projects"));
        let projects = projects
            .iter()
            .filter_map(|dir| dir.file_name()?.to_str().map(str::to_owned))
            .chain([self.name.clone()]);
        let projects: BTreeSet<String> = projects.collect();
        let mut failed = Vec::new();
        for project in projects {
            let arguments = ["-p", &project, "down", "-v", "--remove-orphans", "-t", "0"];
            let mut command = self.command(&arguments);
            // The files of the case may be broken on purpose; a project can be taken down without them.
            command.current_dir(self.root.join("h"));
            let done = finish(command, None, LIMIT);
            if done.code != 0 {
                failed.push(done.story());
            }
        }
        let names = self.names.borrow();
        leftovers::remember(&names);
        let end = std::time::Instant::now() + Duration::from_secs(10);
        let all = || {
            let left = leftovers::find(&self.root, &names);
            match left.is_empty() {
                // Addresses, routes, rules in others' tables, files: what a teardown that has failed need not be asked.
                true => self.of_host(&names),
                false => left,
            }
        };
        loop {
            let left = all();
            if left.is_empty() || std::time::Instant::now() > end {
                if !left.is_empty() {
                    leftovers::force(&self.root, &names);
                }
                failed.extend(left);
                return failed;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // A panic on top of another would end the whole program.
        let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.sweep()));
        let left = left.unwrap_or_else(|_| vec!["a teardown that failed".to_owned()]);
        if left.is_empty() && std::env::var_os("HOIST_TEST_KEEP").is_none() {
            // Left for a look when it fails.
            let _ = std::fs::remove_dir_all(&self.root);
        }
        let story = left.join("\n  ");
        if std::thread::panicking() {
            if !left.is_empty() {
                super::complain(&format!(
                    "also left behind in {}:\n  {story}",
                    self.root.display()
                ));
            }
        } else {
            assert!(
                left.is_empty(),
                "left behind by {}:\n  {story}",
                self.root.display()
            );
        }
    }
}
