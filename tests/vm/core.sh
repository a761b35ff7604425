# The core of hoist, checked in a guest with cgroup v2. Prints `ok NAME` or `not ok NAME: …` for each check.
# Run by tests/vm.rs, which shares this directory with the binary `hoist` and the image `tiny.tar`.
set -u
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
export HOIST_DATA_ROOT="$work/d" HOIST_RUN_ROOT="$work/r"
cp "$here/hoist" "$work/hoist"
chmod 755 "$work/hoist"
hoist=$work/hoist
mkdir "$work/p"
cd "$work/p" || exit 1
failed=0

ok() { echo "ok $1"; }
bad() { echo "not ok $1: $2"; failed=1; }
# is NAME WANT GOT
is() { if [ "$2" = "$3" ]; then ok "$1"; else bad "$1" "wanted '$2', got '$3'"; fi; }
# works NAME COMMAND…
works() { name=$1; shift; if out=$("$@" 2>&1); then ok "$name"; else bad "$name" "exit $?: $out"; fi; }
fails() { name=$1; shift; if out=$("$@" 2>&1); then bad "$name" "it succeeded: $out"; else ok "$name"; fi; }
# until_true NAME COMMAND…: within 60 s
until_true() {
  name=$1; shift; left=600
  until "$@" >/dev/null 2>&1; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || { bad "$name" "never came true: $*"; return; }
    sleep 0.1
  done
  ok "$name"
}
inside() { service=$1; shift; "$hoist" exec -T "$service" sh -c "$*" 2>&1; }
group() { find /sys/fs/cgroup -type d -name "*$("$hoist" ps -q "$1")*" | head -n 1; }
state() { "$hoist" ps -a --format json "$1" | grep -o '"State":"[a-z]*"'; }

mounts_before=$(wc -l </proc/self/mountinfo)
links_before=$(ls /sys/class/net)
tables_before=$(nft list tables)

cat >compose.yaml <<'YAML'
name: core
services:
  web:
    image: tiny
    stop_signal: SIGKILL
    command: sh -c 'mkdir /www; echo hello >/www/i; exec httpd -f -p 8080 -h /www'
    ports: ["18080:8080"]
    networks: [front]
    restart: always
    mem_limit: 48m
    cpus: 0.5
    pids_limit: 50
    healthcheck: {test: "test -e /www/i", interval: 1s, start_period: 60s, start_interval: 200ms}
  db:
    image: tiny
    stop_signal: SIGKILL
    command: sleep 36000
    networks: {back: {aliases: [storage]}}
    volumes: ["data:/data"]
  mid:
    image: tiny
    stop_signal: SIGKILL
    command: sh -c 'i=0; while :; do i=$$((i+1)); echo line $$i; sleep 0.5; done'
    networks: [front, back]
    depends_on: {web: {condition: service_healthy}}
  hungry:
    image: tiny
    profiles: [hungry]
    command: tail /dev/zero
    mem_limit: 16m
    memswap_limit: 16m
networks: {front: , back: }
volumes: {data: }
YAML

works 'an image is imported' "$hoist" image import -c 'ENV PATH=/bin' "$here/tiny.tar" tiny
works 'up starts everything' "$hoist" up -d --wait
g=$(group web)
is 'the memory limit' $((48 << 20)) "$(cat "$g/memory.max")"
is 'the cpu limit' '50000 100000' "$(cat "$g/cpu.max")"
is 'the limit of processes' 50 "$(cat "$g/pids.max")"
is 'a container sees its own cgroup only' 0::/ "$(inside web cat /proc/self/cgroup)"
is 'capabilities' 00000000a80425fb "$(inside web "awk '/^CapEff/{print \$2}' /proc/1/status")"
is 'seccomp' 2 "$(inside web "awk '/^Seccomp:/{print \$2}' /proc/1/status")"
is 'exec gives the exit code' 42 "$("$hoist" exec -T web sh -c 'exit 42' >/dev/null 2>&1; echo $?)"
is 'a published port on loopback' hello "$(curl -s --max-time 20 http://127.0.0.1:18080/i)"
address=$(ip -4 -o addr show scope global | awk '$2 !~ /^hs/ {sub("/.*", "", $4); print $4; exit}')
is "a published port on the host's address" hello "$(curl -s --max-time 20 "http://$address:18080/i")"
is 'a name is resolved' hello "$(inside mid wget -qO- http://web:8080/i)"
works 'an alias is resolved' inside mid ping -c1 -W5 storage
fails 'networks are apart, by name' inside web ping -c1 -W2 db
fails 'networks are apart, by address' inside web ping -c1 -W2 "$(inside db hostname -i)"
works 'a volume is written' inside db 'echo kept >/data/f'

before=$("$hoist" ps -q | sort)
works 'a second up' "$hoist" up -d
is 'a second up touches nothing' "$before" "$("$hoist" ps -q | sort)"

first=$(head -n 1 "$g/cgroup.procs")
kill -9 "$(grep -l '^NSpid:.*[[:space:]]1$' $(sed 's|.*|/proc/&/status|' "$g/cgroup.procs") | head -n 1 | cut -d/ -f3)"
until_true 'a killed service is restarted' sh -c "curl -s --max-time 5 http://127.0.0.1:18080/i | grep -q hello"
g=$(group web)
fails 'by another process' grep -qx "$first" "$g/cgroup.procs"

id=$("$hoist" ps -q mid)
supervisor=$(grep -al "__supervise" /proc/[0-9]*/cmdline | while read -r file; do grep -qa "$id" "$file" && echo "$file"; done | head -n 1 | cut -d/ -f3)
works 'the supervisor is killed' kill -9 "$supervisor"
is 'its container runs on' '"State":"running"' "$(state mid)"
is 'and exec works' adopted "$(inside mid echo adopted)"
works 'and its names are answered' inside mid ping -c1 -W5 web
lines=$("$hoist" logs --no-log-prefix mid | wc -l)
until_true 'and its log goes on' sh -c "[ \$('$hoist' logs --no-log-prefix mid | wc -l) -gt $((lines + 2)) ]"

works 'a service over its memory limit is started' "$hoist" up -d hungry
until_true 'and killed' sh -c "'$hoist' ps -a --format json hungry | grep -q '\"ExitCode\":137'"

printf 'FROM tiny\nRUN echo built >/built\n' >Dockerfile
works 'an image is built' "$hoist" image build -t built .
is 'a one-off runs' built "$("$hoist" run --rm -T -v "$work/p:/x" --entrypoint cat db /x/Dockerfile | tail -n 1 | grep -o built | head -n 1)"

works 'down' "$hoist" --profile '*' down -v -t 0
is 'no container is left' '' "$("$hoist" ps -a -q)"
is 'no mount is left' "$mounts_before" "$(wc -l </proc/self/mountinfo)"
is 'no link is left' "$links_before" "$(ls /sys/class/net)"
is 'no table is left' "$tables_before" "$(nft list tables)"
is 'no cgroup is left' '' "$(find /sys/fs/cgroup -type d -path '*hoist/*' | head -n 3)"
is 'no process is left' '' "$(grep -al "$work" /proc/[0-9]*/cmdline 2>/dev/null | grep -v "^/proc/\(self\|$$\)/" | while read -r file; do tr '\0' ' ' <"$file"; done | grep -a supervise)"
echo 'end of checks'
exit $failed
