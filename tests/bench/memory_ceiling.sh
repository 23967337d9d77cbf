#!/usr/bin/env bash
# A coordinator and a shard with the memory of a cgroup: do they stay within it?
#
#   QUIRE_BUILD=.build/release tests/bench/memory_ceiling.sh [MIB...]
#
# For each limit (512 and 1024 MiB unless told otherwise): two cgroups are made, one of that limit for a shard with no
# options about memory, one of 256 MiB for its coordinator; arxiv200k is imported while arxiv-mix is asked, then
# arxiv-mix is asked again, the range is verified, and both stop. Printed: what the shard took as its budget, the peak of
# each group (which counts the page cache of its files, given back under pressure), the peak of the shard's own memory
# (VmHWM), and how often the kernel met the limit and killed. Fails when something was killed or did not end well. Needs
# root, and cgroups of version 1 or 2 whose memory controller can be written; says SKIP where there are none.
set -u
source=$(cd "$(dirname "$0")/../.." && pwd)
build=$(realpath "${QUIRE_BUILD:?must name the build folder}")
corpus=${QUIRE_CORPUS:-$source/../shared/corpus}
limits=("$@")
[ $# -gt 0 ] || limits=(512 1024)
port=${QUIRE_PORT:-18400}
coordinator_mib=256

skip() { echo "SKIP: $1"; exit 0; }
[ -d "$corpus/arxiv200k" ] || skip "no arxiv200k (set QUIRE_CORPUS to the folder of corpora)"
if [ -w /sys/fs/cgroup/cgroup.procs ] && grep -qw memory /sys/fs/cgroup/cgroup.subtree_control; then
    groups=/sys/fs/cgroup limit_file=memory.max peak_file=memory.peak
elif [ -w /sys/fs/cgroup/memory/cgroup.procs ]; then
    groups=/sys/fs/cgroup/memory limit_file=memory.limit_in_bytes peak_file=memory.max_usage_in_bytes
else
    skip "no cgroup with a memory limit can be made here (not root, or no memory controller)"
fi

dir=$(mktemp -d /tmp/quire-ceiling.XXXXXX)
pids=() made=()
clean_up() {
    [ ${#pids[@]} -gt 0 ] && kill -9 "${pids[@]}" 2>/dev/null
    wait
    [ ${#made[@]} -gt 0 ] && rmdir "${made[@]}"
    rm -rf "$dir"
}
trap clean_up EXIT

make_group() { # NAME MIB
    mkdir "$groups/$1" && made+=("$groups/$1") && echo $(($2 << 20)) >"$groups/$1/$limit_file" ||
        skip "the cgroup $groups/$1 cannot be made"
}
within() { # GROUP COMMAND...: becomes COMMAND in the group
    echo $BASHPID >"$groups/$1/cgroup.procs" && exec "${@:2}"
}
start() { # GROUP LOG COMMAND...
    within "$1" "${@:3}" >"$dir/$2" 2>&1 &
    pids+=($!)
}
mib() { echo $((($1 + 1048575) >> 20)); }
count() { # GROUP: how often the kernel met the limit, and how often it killed
    if [ "$limit_file" = memory.max ]; then
        awk '$1 == "max" {m = $2} $1 == "oom_kill" {k = $2} END {print m " times at the limit, " k " killed"}' \
            "$groups/$1/memory.events"
    else
        echo "$(cat "$groups/$1/memory.failcnt") times at the limit," \
            "$(awk '$1 == "oom_kill" {print $2}' "$groups/$1/memory.oom_control") killed"
    fi
}
ask() { "$build/tests/quire_lines" <"$dir/queries" >/dev/null; }
await() { # COMMAND...: for a minute
    for _ in $(seq 600); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done
    echo "FAILED: $* does not succeed"
    return 1
}

zstd -dcq "$corpus/arxiv200k/docs.jsonl.zst" >"$dir/docs.jsonl"
python3 -c 'import json, sys
for line in sys.stdin: print(json.dumps(dict(op="search", query=line.rstrip("\n").split("\t", 1)[1])))' \
    <"$corpus/queries/arxiv-mix.tsv" >"$dir/queries"
export QUIRE_CONNECT=tcp://127.0.0.1:$port
quire=$build/client/quire status=0

measure() { # MIB
    local shard=quire-ceiling-shard-$1-$$ coordinator=quire-ceiling-coordinator-$1-$$ code
    make_group "$shard" "$1"
    make_group "$coordinator" $coordinator_mib
    pids=()
    start "$coordinator" "coordinator-$1.log" "$build/coordinator/quire-coordinator" --dir "$dir/c$1" \
        --listen "tcp://127.0.0.1:$port"
    start "$shard" "shard-$1.log" "$build/shard/quire-shard" --dir "$dir/s$1" --listen "tcp://127.0.0.1:$((port + 1))" \
        --coordinators "tcp://127.0.0.1:$port"
    await grep -q registered "$dir/shard-$1.log" && await "$quire" status || { cat "$dir"/*.log; return 1; }
    echo "== $1 MiB: $(grep -oE '(memory|cache)_bytes=[0-9]+' "$dir/shard-$1.log" | tr '\n' ' ')"
    "$quire" import "$dir/docs.jsonl" | tail -1 &
    local import=$!
    while kill -0 $import 2>/dev/null; do ask || return 1; done
    wait $import || return 1
    ask && ask && "$quire" verify | tail -1 || return 1
    echo "shard: $(grep VmHWM "/proc/${pids[1]}/status" | tr -s '\t ' ' ')"
    kill "${pids[@]}"
    for pid in "${pids[@]}"; do
        wait "$pid"
        code=$?
        [ $code -eq 0 ] || { echo "FAILED: a process ended with $code"; return 1; }
    done
    pids=()
    echo "shard group: peak $(mib "$(cat "$groups/$shard/$peak_file")") of $1 MiB, $(count "$shard")"
    echo "coordinator group: peak $(mib "$(cat "$groups/$coordinator/$peak_file")") of $coordinator_mib MiB," \
        "$(count "$coordinator")"
    count "$shard" | grep -q ' 0 killed' && count "$coordinator" | grep -q ' 0 killed'
}

for limit in "${limits[@]}"; do measure "$limit" || { status=1; break; }; done
exit $status
