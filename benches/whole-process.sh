#!/usr/bin/env bash
# Measures the figures of docs/performance.md: whole processes, in one run, as ratios and as CPU
# time beyond the key derivation.
#
# Needs python3 for the CPU time and memory of children, and hyperfine for the wall times. Tools
# that are not installed are skipped. SECRETS_BENCH_LARGE=1 adds the vault of 1,000,000 secrets (a
# minute and 1 GB of disk).
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --quiet --release --locked
target=${CARGO_TARGET_DIR:-target}
binary=$(realpath "$target/release/secrets")
# `cargo bench --locked` prints the path of the tool that it built.
fill=$(cargo bench --locked --bench fill --no-run 2>&1 | sed -n 's/.*(\(.*fill-[0-9a-f]*\)).*/\1/p')
fill=$(realpath "$fill")
work=$(mktemp -d)
trap '"$binary" lock --all --quiet; rm -rf "$work"' EXIT
cd "$work"
# This run has its own agent.
mkdir -m 700 run
export XDG_RUNTIME_DIR=$work/run XDG_STATE_HOME=$work/state
export SECRETS_PASSPHRASE='correct horse battery staple'

"$fill" vault v100.db 100
"$fill" vault v10000.db 10000
"$fill" vault v100000.db 100000
if [ -n "${SECRETS_BENCH_LARGE:-}" ]; then "$fill" vault v1000000.db 1000000; fi
"$fill" template t256.tmpl 256
# The default of a machine with a gigabyte or more.
SECRETS_VAULT=$work/default.db "$binary" init --quiet --kdf-memory 256
for n in $(seq 1 20); do printf 'value-number-%s' "$n" | SECRETS_VAULT=$work/default.db "$binary" create --quiet --tag "key-$n"; done
for n in $(seq 1 20); do printf 'KEY_%s={{ secrets.key-%s }}\n' "$n" "$n"; done >twenty.tmpl
SECRETS_VAULT=$work/default.db "$binary" unlock --ttl 1h --idle 1h --quiet
# 100 secrets of 40 characters, for masking.
SECRETS_VAULT=$work/mask.db "$binary" init --quiet
for n in $(seq 1 100); do SECRETS_VAULT=$work/mask.db "$binary" create --quiet --tag "token-$n" --generate --length 40; done
SECRETS_VAULT=$work/mask.db "$binary" unlock --ttl 1h --idle 1h --quiet
python3 -c '
import random
random.seed(1)
words = "GET POST /api/v1/users 200 404 INFO WARN connected request id=7f3a duration=12ms user=anna retry".split()
lines = ["2026-11-21T09:30:%02d.%03dZ " % (n % 60, n % 1000) + " ".join(random.choices(words, k=12)) for n in range(5000)]
block = ("\\n".join(lines) + "\\n").encode()
with open("log", "wb") as log:
    for _ in range(2**30 // len(block) + 1):
        log.write(block)
'
python3 -c '
for n in range(100000):
    print("{{" + " " * (n % 7) + f"secrets.secret-{n % 20:07d}" + " " * (n % 5) + "}}")' >many.tmpl

printf 'another value' >value

# A tree of 10,000 files, 88 MB. Each file has other tools' braces, and 20 files have a reference.
# Also a dotenv file.
python3 -c '
import os, random
random.seed(4)
words = "<div>|{{ user.name }}|{% if x %}|class|def f():|return|{{ .Values.replicas }}|// comment|const a = 1;|{{- end }}".split("|")
for n in range(10000):
    folder = f"tree/app{n % 50}/module{n % 7}"
    os.makedirs(folder, exist_ok=True)
    lines = [" ".join(random.choices(words, k=8)) for _ in range(random.randint(20, 150))]
    if n % 500 == 0:
        lines.insert(7, "url = {{ secrets.database-url }}")
    with open(f"{folder}/file{n}.py", "w") as file:
        file.write("\n".join(lines) + "\n")
for name, count in [("many", 10000), ("more", 100000)]:
    with open(f"{name}.env", "w") as file:
        for n in range(count):
            file.write("NAME_%05d=%040x\n" % (n, random.getrandbits(160)))
with open("some.tmpl", "w") as file:
    for n in random.sample(range(100000), 4000):
        file.write("{{ secrets.secret-%07d }}\n" % n)
'

# 100 secrets whose values rg is given, too; none of them is in the tree.
python3 -c '
import random, string
random.seed(5)
values = ["".join(random.choices(string.ascii_letters + string.digits, k=40)) for _ in range(100)]
with open("raw", "w") as raw, open("raw.env", "w") as env:
    raw.write("".join(f"{value}\n" for value in values))
    env.write("".join(f"TOKEN_{n}={value}\n" for n, value in enumerate(values)))
'
SECRETS_VAULT=$work/scan.db "$binary" init --quiet
SECRETS_VAULT=$work/scan.db "$binary" import --quiet raw.env
SECRETS_VAULT=$work/scan.db "$binary" unlock --ttl 1h --idle 1h --quiet

cat >measure.py <<'END'
"""Measures CPU time and memory of children and prints each figure next to its goal."""
import os, resource, shutil, subprocess, sys, time

binary, fill = sys.argv[1:3]

def once(line):
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(line, shell=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu * 1000, wall * 1000

def cpu(line, runs=25):
    # Other load on the machine can only add time, so take the minimum of several runs.
    return min(once("exec " + line)[0] for _ in range(runs))

def beyond(line, base, runs=41):
    # Alternate the two, so that a change of the machine's speed affects both.
    pairs = [(once("exec " + line)[0], once("exec " + base)[0]) for _ in range(runs)]
    return min(one for one, _ in pairs) - min(other for _, other in pairs)

def wall(line, runs=9):
    return min(once(line)[1] for _ in range(runs))

def memory(line):
    script = f"import resource, subprocess; subprocess.run({line!r}, shell=True, check=True, stdout=subprocess.DEVNULL); " \
             "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    return int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout) / 1024

def row(what, figure, goal):
    print(f"{what:<66} {figure:>20}   {goal}", flush=True)

true = wall("/bin/true", 41)
row("--version, wall, against /bin/true", f"{wall(f'{binary} --version', 41) / true:.1f}x", "<= 2x")

derive = f"{fill} kdf 256 3 4"
kdf = cpu(derive)
row("default key derivation (256 MiB, t=3, p=4), CPU", f"{kdf:.0f} ms", "")
if shutil.which("argon2"):
    reference = cpu("sh -c 'printf passphrase | argon2 somesaltsomesalt -id -t 3 -k 262144 -p 4 -l 32'")
    row("  the same, against the C reference", f"{kdf / reference:.2f}x", "<= 1.0x")
default = f"{binary} --vault default.db"
row("get, default parameters, CPU beyond the KDF", f"{beyond(f'{default} get key-7', derive):.1f} ms", "<= 4 ms")
row("render of 20 placeholders, default parameters, CPU beyond the KDF",
    f"{beyond(f'{default} render twenty.tmpl', derive):.1f} ms", "<= 4 ms")

derive = f"{fill} kdf 19 1 1"
least = cpu(derive, 31)
least_memory = memory(f"exec {fill} kdf 19 1 1")
row("cheapest key derivation (19 MiB, t=1, p=1), CPU", f"{least:.1f} ms", "")
for count, goal in [(100, 3), (10_000, 3), (1_000_000, 8)]:
    if os.path.exists(f"v{count}.db"):
        line = f"{binary} --vault v{count}.db get secret-0000077"
        row(f"get among {count:,}, verified, CPU beyond the KDF", f"{beyond(line, derive):.1f} ms", f"<= {goal} ms")
        row(f"  its memory beyond the KDF's", f"{memory('exec ' + line) - least_memory:.1f} MiB", "<= 32 MiB")
line = f"{binary} --vault v100000.db list --all --json"
row("list --all --json of 100,000, CPU beyond the KDF", f"{cpu(line, 7) - least:.0f} ms", "<= 400 ms")
row("  its memory", f"{memory('exec ' + line):.0f} MiB", "<= 128 MiB")

large = f"{binary} --vault v100000.db"
for what, line, runs in [
    ("verify", f"{large} verify", 3),
    ("backup", f"{large} backup --replace copy.db", 3),
    ("rekey", f"{large} rekey --yes", 3),
    ("rekey --project", f"{large} rekey --yes --project default", 3),
    ("restore", f"{large} restore --yes copy.db", 3),
]:
    row(f"{what} of 100,000, wall beyond the KDF", f"{(wall(line, runs) - least) / 1000:.2f} s", "<= 3 s" if what != "restore" else "")
    row("  its memory", f"{memory('exec ' + line):.0f} MiB", "")

render = f"{binary} --vault v100.db render"
small = wall(f"{render} -e '{{{{ secrets.secret-0000001 }}}}'")
row("render of 100,000 placeholders on 20 secrets, wall beyond one's", f"{wall(f'{render} many.tmpl') - small:.0f} ms", "<= 200 ms")
for where, sink in [("/dev/null", "> /dev/null"), ("a pipe", "| cat > /dev/null")]:
    ours, cat = wall(f"{render} t256.tmpl {sink}") - small, wall(f"cat t256.tmpl {sink}")
    row(f"render of 256 MiB to {where}, throughput against cat", f"{cat / ours:.2f}x", ">= 0.5x")
growth = memory(f"exec {render} t256.tmpl") - memory(f"exec {render} -e '{{{{ secrets.secret-0000001 }}}}'")
row("  its memory beyond that of a template of 29 bytes", f"{growth:.1f} MiB", "flat")
true_cpu = cpu("/bin/true", 101)
agents = [int(p) for p in os.listdir("/proc") if p.isdigit() and os.path.exists(f"/proc/{p}/comm") and open(f"/proc/{p}/comm").read() == "secrets-agent\n"]

def with_agent(line, runs=51):
    """Returns the CPU time of a command, and of the agents on its behalf, in milliseconds."""
    spent = lambda: sum(int(open(f"/proc/{p}/schedstat").read().split()[0]) for p in agents)
    before = spent()
    own = cpu(line, runs)
    return own, (spent() - before) / 1e6 / runs

passphrase = os.environ.pop("SECRETS_PASSPHRASE")
variables = " ".join(f"KEY_{n}=value-number-{n}" for n in range(1, 21))
env_cpu = cpu(f"env {variables} true", 101)
row("/bin/true, CPU", f"{true_cpu:.2f} ms", "")
for what, line, against, goal in [
    ("get, agent unlocked", f"{default} get key-7", true_cpu, ""),
    ("render of 20 placeholders, agent unlocked", f"{default} render twenty.tmpl", true_cpu, "<= 4x"),
    ("run -- true with 20 secrets, agent unlocked, against env ... true", f"{default} run -- true", env_cpu, "<= 3x"),
]:
    own, agent = with_agent(line)
    row(f"{what}, CPU", f"{own / against:.1f}x", goal)
    row("  with the agent's own", f"{(own + agent) / against:.1f}x", "")
row("Tab on a tag, agent unlocked, wall", f"{wall(f'COMPLETE=bash _CLAP_COMPLETE_INDEX=2 {default} -- secrets get key', 21):.0f} ms", "<= 50 ms")
masked = f"{binary} --vault mask.db"
cat = wall("cat log > /dev/null", 3)
for what, line in [("redact", f"{masked} redact log > /dev/null"), ("run -- cat", f"{masked} run -- cat log > /dev/null")]:
    seconds = wall(line, 3) / 1000
    row(f"{what} of 1 GiB of log, 100 secrets in all forms", f"{2**30 / 1e6 / seconds:.0f} MB/s", ">= 200 MB/s")
    row("  its throughput against cat", f"{cat / 1000 / seconds:.2f}x", "")
growth = memory(f"exec {masked} redact log") - memory(f"echo | exec {masked} redact")
row("  redact's memory beyond that of one line", f"{growth:.1f} MiB", "flat")
scan, rg = f"cd tree && {binary} --vault ../scan.db scan", "cd tree && rg --hidden --fixed-strings --file ../raw || true"
row("scan of a tree of 10,000 files, 100 secrets, wall", f"{wall(scan):.0f} ms", "")
if shutil.which("rg"):
    row("  the same, against rg for the values as they are", f"{wall(scan, 21) / wall(rg, 21):.2f}x", "<= 1.3x")
os.environ["SECRETS_PASSPHRASE"] = passphrase
refs, rg = f"cd tree && {binary} refs", "cd tree && rg --line-number --hidden --fixed-strings '{{ secrets.'"
row("refs on a tree of 10,000 files, wall", f"{wall(refs):.0f} ms", "")
if shutil.which("rg"):
    row("  the same, against rg for the same string", f"{wall(refs, 21) / wall(rg, 21):.2f}x", "<= 1.5x")
for count, name, goal in [("10,000", "many", "<= 2 s"), ("100,000", "more", "<= 3.5 s")]:
    once(f"{binary} --vault {name}.db init --kdf-memory 19 --kdf-iterations 1 --kdf-parallelism 1")
    row(f"import of {count} secrets, read back, wall", f"{once(f'{binary} --vault {name}.db import {name}.env')[1] / 1000:.2f} s", goal)
some = f"{binary} --vault v100000.db render some.tmpl"
row("render of 4,000 different placeholders among 100,000, CPU beyond the KDF", f"{cpu(some, 9) - least:.0f} ms", "<= 150 ms")
doomed = " ".join(f"secret-{number:07d}" for number in range(0, 100_000, 25))
row("delete of 4,000 among 100,000, CPU", f"{once(f'exec {large} delete --yes {doomed}')[0]:.0f} ms", "")
if os.path.exists("v1000000.db"):
    once("rm -f again.db")
    seconds = once(f"{fill} vault again.db 1000000")[0] / 1000
    row("storing 1,000,000 in one transaction, CPU", f"{seconds:.0f} s", "")
    once("rm -f again.db")
    row("  its memory", f"{memory(f'exec {fill} vault again.db 1000000'):.0f} MiB", "")
    line = f"{binary} --vault v1000000.db list --json"
    row("list of one page of 1,000,000, CPU beyond the KDF", f"{(cpu(line, 3) - least) / 1000:.1f} s", "")
    row("  its memory", f"{memory('exec ' + line):.0f} MiB", "")
for count in (1000, 1300):
    vault = f"{binary} --vault small{count}.db"
    once(f"{fill} vault small{count}.db {count}")
    once(f"{vault} unlock --ttl 1h --idle 1h")
    update = f"sh -c 'env -u SECRETS_PASSPHRASE {vault} update secret-0000007 <value'"
    row(f"update in a vault of {os.path.getsize(f'small{count}.db') / 2**20:.1f} MiB, agent unlocked, CPU", f"{cpu(update):.1f} ms", "")
END
python3 measure.py "$binary" "$fill"

if command -v hyperfine >/dev/null; then
    echo
    hyperfine --shell=none --warmup 5 --style basic --export-markdown wall.md \
        /bin/true "$binary --version" "$binary --vault v100.db get secret-0000077" "$binary --vault default.db get key-7" \
        >/dev/null 2>&1
    sed "s#$work/##g; s#$binary#secrets#g" wall.md
fi
