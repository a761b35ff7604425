# Isolation in a guest with cgroup v2 and AppArmor. Prints `ok NAME` or `not ok NAME: …` for each check.
# Run by tests/vm.rs, which shares this directory with `hoist`, the image `tiny.tar` and the `probe` of tests/attacks.
set -u
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
export HOIST_DATA_ROOT="$work/d" HOIST_RUN_ROOT="$work/r"
cp "$here/hoist" "$work/hoist"
cp "$here/probe" "$work/probe"
chmod 755 "$work/hoist" "$work/probe"
hoist=$work/hoist
mkdir "$work/p"
cd "$work/p" || exit 1
failed=0

ok() { echo "ok $1"; }
bad() { echo "not ok $1: $2"; failed=1; }
is() { if [ "$2" = "$3" ]; then ok "$1"; else bad "$1" "wanted '$2', got '$3'"; fi; }
works() { name=$1; shift; if out=$("$@" 2>&1); then ok "$name"; else bad "$name" "exit $?: $out"; fi; }
fails() { name=$1; shift; if out=$("$@" 2>&1); then bad "$name" "it succeeded: $out"; else ok "$name"; fi; }
says() { name=$1; text=$2; shift 2; out=$("$@" 2>&1); case $out in *"$text"*) ok "$name" ;; *) bad "$name" "no '$text' in: $out" ;; esac; }
inside() { service=$1; shift; "$hoist" exec -T "$service" sh -c "$*" 2>&1; }
label() { inside "$1" "cat /proc/${2:-self}/attr/apparmor/current"; }
call() { service=$1; shift; "$hoist" exec -T "$service" /probe "$@" 2>&1 | tr '\n' ' ' | sed 's/ $//'; }

cat >other.profile <<'TEXT'
profile hst-other flags=(attach_disconnected) {
  network, capability, file, umount, mount, signal, ptrace,
  deny /secret rw,
}
TEXT
cat >no-mkdir.json <<'TEXT'
{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}
TEXT
cat >compose.yaml <<'YAML'
name: guard
x-base: &base {image: tiny, command: sleep 36000, stop_signal: SIGKILL, volumes: ["../probe:/probe:ro"]}
services:
  d: {<<: *base, healthcheck: {test: "cat /proc/self/attr/apparmor/current > /probed", interval: 1s, start_period: 60s, start_interval: 200ms}}
  i: {<<: *base, init: true, security_opt: [no-new-privileges]}
  admin: {<<: *base, cap_add: [ALL]}
  u: {<<: *base, cap_add: [SYS_ADMIN], security_opt: [apparmor=unconfined]}
  o: {<<: *base, security_opt: [apparmor=hst-other]}
  p: {<<: *base, privileged: true}
  q: {<<: *base, privileged: true, security_opt: [apparmor=hst-other, seccomp=./no-mkdir.json]}
  w: {<<: *base, security_opt: [writable-cgroups=true]}
  h: {<<: *base, cgroup: host}
  share: {<<: *base, ipc: shareable}
  joins: {<<: *base, ipc: "service:share", pid: "service:share"}
YAML

works 'an image is imported' "$hoist" image import -c 'ENV PATH=/bin' "$here/tiny.tar" tiny
works 'a profile of others is loaded' apparmor_parser -r other.profile
is 'the default profile is not there before' '' "$(ls /sys/kernel/security/apparmor/policy/profiles | grep '^hoist-default')"
works 'up starts everything' "$hoist" up -d --wait
is 'the default profile is loaded once' 1 "$(ls /sys/kernel/security/apparmor/policy/profiles | grep -c '^hoist-default')"

for s in d i admin w h; do
  is "the label of process 1 of $s" 'hoist-default (enforce)' "$(label $s 1)"
  is "the label of exec in $s" 'hoist-default (enforce)' "$(label $s)"
done
is 'the label of a probe' 'hoist-default (enforce)' "$(inside d cat /probed)"
is 'the label of exec --privileged' 'hoist-default (enforce)' "$("$hoist" exec -T --privileged d cat /proc/self/attr/apparmor/current)"
is 'the label of unconfined' unconfined "$(label u)"
is 'the label of privileged' unconfined "$(label p)"
is 'the label of another profile' 'hst-other (enforce)' "$(label o)"
is 'and process 1 has it' 'hst-other (enforce)' "$(label o 1)"
is 'privileged with a profile' 'hst-other (enforce)' "$(label q)"
fails 'privileged with a filter' inside q mkdir /x
fails 'what another profile denies' inside o 'echo x > /secret'
works 'and what it does not' inside o 'echo x > /public'
printf 'FROM tiny\nRUN cat /proc/self/attr/apparmor/current > /built\n' >Dockerfile
works 'an image is built' "$hoist" image build -t built .
is 'the label of a build step' 'hoist-default (enforce)' "$("$hoist" run --rm -T --entrypoint cat d /proc/self/attr/apparmor/current)"

# With every capability, the profile is what is left.
fails 'mount is denied' inside admin 'mkdir -p /m; mount -t tmpfs none /m'
fails 'a remount is denied' inside admin 'mount -o remount,rw /sys'
works 'umount is not' inside admin 'umount /proc/keys'
fails 'sysrq-trigger is denied' inside admin 'umount /proc/sysrq-trigger; echo h > /proc/sysrq-trigger'
fails 'core_pattern is denied' inside admin 'umount /proc/sys; echo x > /proc/sys/kernel/core_pattern'
fails 'a parameter of memory is denied' inside admin 'echo 1 > /proc/sys/vm/drop_caches'
works 'shared memory is not' inside admin 'cat /proc/sys/kernel/shmmax > /proc/sys/kernel/shmmax'
fails 'kcore is denied' inside admin 'umount /proc/kcore; head -c1 /proc/kcore'
fails 'firmware is denied' inside admin 'umount /sys/firmware; ls /sys/firmware/acpi'
fails 'the policy is denied' inside admin 'ls /sys/kernel/security/apparmor/policy/; cat /sys/kernel/security/apparmor/profiles'
works 'a process writes what is its own' inside d 'echo 0 > /proc/self/oom_score_adj; echo x > /proc/self/comm'
works 'signals reach the own kind' inside d 'sleep 100 & kill $!'
works 'unconfined may mount' inside u 'mkdir /m; mount -t tmpfs none /m'
works 'privileged may mount' inside p 'mkdir /m; mount -t tmpfs none /m'
# AF_ALG is 38; 32-bit programs have socketcall (102) and socket (359).
for s in d admin; do
  is "AF_ALG in $s" -1 "$(call $s 41 38 5 0)"
  is "AF_VSOCK in $s" -1 "$(call $s 41 40 1 0)"
  is "AF_ALG of 32-bit socketcall in $s" -13 "$(call $s 32 102 1 :38,5,0)"
  is "AF_VSOCK of 32-bit socketcall in $s" -13 "$(call $s 32 102 1 :40,1,0)"
  is "AF_ALG of 32-bit socket in $s" -1 "$(call $s 32 359 38 5 0)"
  is "TCP of 32-bit socketcall in $s" 3 "$(call $s 32 102 1 :2,1,0)"
done
is 'AF_ALG of 32-bit socketcall without the profile' -1 "$(call u 32 102 1 :38,5,0)"
is 'AF_ALG is there at all' 3 "$(call p 41 38 5 0)"
is 'io_uring' -1 "$(call admin 425 1 0)"
is 'keyctl' -1 "$(call admin 250 0 -3 0)"
is 'clone3' -38 "$(call d 435 0 0)"

is 'the cgroup is a root' 0::/ "$(inside d cat /proc/self/cgroup)"
fails 'and read-only' inside d 'mkdir /sys/fs/cgroup/x'
works 'unless it is said to be writable' inside w 'mkdir /sys/fs/cgroup/x && rmdir /sys/fs/cgroup/x'
says 'the cgroup of the host' "$("$hoist" ps -q h)" inside h cat /proc/self/cgroup
fails 'is read-only, too' inside h 'mkdir /sys/fs/cgroup/x'
is 'pid of another' "$(inside share readlink /proc/self/ns/pid)" "$(inside joins readlink /proc/self/ns/pid)"
is 'ipc of another' "$(inside share readlink /proc/self/ns/ipc)" "$(inside joins readlink /proc/self/ns/ipc)"
for s in d i; do is "capabilities of $s" 00000000a80425fb "$(inside $s "awk '/^CapBnd/{print \$2}' /proc/1/status")"; done
is 'no_new_privs of exec' 1 "$(inside i "awk '/^NoNewPrivs/{print \$2}' /proc/self/status")"

# Nothing of the host changes by its null device.
mode=$(stat -c '%a %u' /dev/null)
inside admin 'chmod 667 /proc/1/fd/0 /proc/timer_list /proc/self/fd/0; chown 7 /proc/timer_list' >/dev/null
is 'the null device of the host' "$mode" "$(stat -c '%a %u' /dev/null)"

# A profile that is taken away is loaded again, and one that is not there is told.
works 'the default profile is taken away' sh -c 'printf "profile hoist-default {}" | apparmor_parser -R'
works 'a container starts' "$hoist" up -d --force-recreate d
is 'and has it again' 'hoist-default (enforce)' "$(label d 1)"
sed -i 's/apparmor=hst-other\]}/apparmor=hst-gone]}/' compose.yaml
says 'a profile that is not loaded' 'AppArmor profile `hst-gone` is not loaded' "$hoist" up -d o
mv /usr/sbin/apparmor_parser /usr/sbin/apparmor_parser.away
works 'without the parser containers start' "$hoist" run --rm -T --no-deps d true
mv /usr/sbin/apparmor_parser.away /usr/sbin/apparmor_parser

works 'down' "$hoist" down -v -t 0
is 'no process is left' '' "$(grep -al "$work" /proc/[0-9]*/cmdline 2>/dev/null | grep -v "^/proc/\(self\|$$\)/" | while read -r file; do tr '\0' ' ' <"$file"; done | grep -a supervise)"
echo 'end of checks'
exit $failed
