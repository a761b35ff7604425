"""What the benchmarks stand on: the two sides, how each runs its commands, and the machine's description.

Both sides run from a shell of their own, so that neither pays for how it is reached. Times are nanoseconds that the
shell prints, one a line.
"""
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# A shell function: runs a command and prints how long it took; a failure ends the turn with the command's words.
TIMER = """\
t() { a=$(date +%s%N); "$@" >/dev/null 2>"$ERR" </dev/null || { echo "failed: $*" >&2; cat "$ERR" >&2; exit 1; }
      b=$(date +%s%N); echo $((b - a)); }
"""


def fail(text):
    sys.exit("bench: " + text)


def out(argv, **how):
    done = subprocess.run(argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)
    if done.returncode:
        fail(f"{' '.join(map(str, argv))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def build():
    """The binary: what HOIST names, else a release build."""
    given = os.environ.get("HOIST")
    if given:
        return os.path.abspath(given)
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=REPOSITORY, check=True)
    text = out(["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"], cwd=REPOSITORY)
    return os.path.join(json.loads(text)["target_directory"], "release", "hoist")


def add_options(parser, turns):
    parser.add_argument("-n", type=int, default=turns, help=f"turns of each side (default {turns})")
    parser.add_argument("--peer", default=os.path.join(REPOSITORY, "../shared/peer/peer"))


def median_ms(times):
    """Of nanoseconds."""
    return statistics.median(times) / 1e6


def machine():
    with open("/proc/cpuinfo") as file:
        name = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), os.uname().machine)
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) / 2**20
    groups = "cgroup v2" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "cgroup v1"
    return f"{os.cpu_count()} × {name}, {memory:.0f} GiB memory, Linux {os.uname().release.split('-')[0]}, {groups}"


class Bench:
    """Both sides, with a directory that each sees under the same path. What was made goes at the end of the `with`."""

    def __init__(self, options):
        if os.geteuid():
            fail("needs root")
        if not os.access(options.peer, os.X_OK):
            fail(f"there is no peer to compare with at {options.peer}")
        self.peer_program = os.path.abspath(options.peer)
        self.hoist_program = build()
        self.work = None

    def __enter__(self):
        peer = self.peer_program
        self.stop_peer = subprocess.run([peer, "run", "true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0
        place = os.environ.get("PEER_SHARE") or os.environ.get("TMPDIR") or "/tmp"
        self.work = tempfile.mkdtemp(prefix="hbench-", dir=place)
        self.env = {"PATH": os.environ["PATH"], "HOME": self.work,
                    "HOIST_DATA_ROOT": self.work + "/d", "HOIST_RUN_ROOT": self.work + "/r"}
        self.projects = []
        if self.stop_peer:
            subprocess.run([peer, "start"], check=True, stdout=sys.stderr)
        return self

    def __exit__(self, *_):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        for name, place in self.projects:
            subprocess.run([self.hoist_program, "-p", name, "down", "-v", "--remove-orphans", "-t", "0"], env=self.env, **quiet)
            subprocess.run([self.peer_program, "run", f"cd {place} && docker compose down -v --remove-orphans -t 0"], **quiet)
        if self.stop_peer:
            subprocess.run([self.peer_program, "stop"], stdout=sys.stderr)
        shutil.rmtree(self.work, ignore_errors=True)

    def versions(self):
        version = self.peer("docker compose version --short").strip()
        engine = self.peer("docker version --format '{{.Server.Version}}'").strip()
        return f"docker compose {version} on Docker {engine}"

    def project(self, name, text):
        """A directory for a project with the same file on both sides; it is taken down at the end."""
        place = os.path.join(self.work, name)
        os.mkdir(place)
        with open(place + "/compose.yaml", "w") as file:
            file.write(text)
        self.projects.append((name, place))
        return place

    def script(self, lines, place):
        return f'ERR="{place}/err"; cd "{place}" || exit 1\n{TIMER}{lines}'

    def peer(self, command):
        return out([self.peer_program, "run", command])

    def hoist(self, lines):
        return out(["sh", "-c", lines], env=self.env)

    def peer_times(self, lines, place):
        """Runs the lines, with `$C` for docker compose, and gives the nanoseconds that they print."""
        return [int(word) for word in self.peer('C="docker compose"; ' + self.script(lines, place)).split()]

    def hoist_times(self, lines, place):
        return [int(word) for word in self.hoist(f'C="{self.hoist_program}"; ' + self.script(lines, place)).split()]

    def tiny_image(self):
        """The image of the peer, under the same name: busybox under all its names."""
        busybox = os.environ.get("BUSYBOX") or shutil.which("busybox") or fail("needs a static busybox in PATH")
        root = os.path.join(self.work, "root")
        for name in ("bin", "tmp", "etc"):
            os.makedirs(os.path.join(root, name))
        shutil.copy(busybox, os.path.join(root, "bin", "busybox"))
        for name in out([busybox, "--list"]).split():
            if name != "busybox":
                os.symlink("busybox", os.path.join(root, "bin", name))
        tar = os.path.join(self.work, "busybox.tar")
        out(["tar", "-C", root, "--owner=0", "--group=0", "-cf", tar, "."])
        out([self.hoist_program, "image", "import", "-c", 'CMD ["/bin/sh"]', tar, "busybox:latest"], env=self.env)

    def supervisors(self):
        """Process ids of all supervisors of this benchmark."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    line = file.read()
            except OSError:
                continue  # ended meanwhile
            if b"__supervise" in line and (self.work + "/r").encode() in line:
                found.append(int(pid))
        return found


def private_kib(pids):
    """Private_Clean + Private_Dirty of each process, in KiB."""
    found = []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                found.append(sum(int(n) for n in re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+) kB", file.read(), re.M)))
        except OSError:
            continue  # ended meanwhile
    return found


def wakeups_and_ticks(pids):
    """How often these processes came to run so far, and their time on a CPU in clock ticks, both in all."""
    wakeups = ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/status") as file:
            wakeups += sum(map(int, re.findall(r"^(?:non)?voluntary_ctxt_switches:\s+(\d+)", file.read(), re.M)))
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return wakeups, ticks
