#!/usr/bin/env bash
# Proves everything, from a clean Debian 12 or 13: installs what is missing, builds, and runs every part.
#
#   ./test.sh              all parts, four at a time
#   ./test.sh quick        for a change that is being worked on: format, structure, unit and kernel
#                          tests, and the program with the tiny model; less than 5 minutes
#   ./test.sh llama        llama.cpp's own tests of its server, all of them, against ours; minutes
#   ./test.sh PART...      only these, in this order; ./test.sh --list names them
#
# A part that fails does not stop the others. The last line is "N passed, N failed"; the exit code is
# 0 only if nothing failed and nothing was missing. Everything that is made lies in build/, but for
# the model, which `kinglet pull` keeps in the cache directory.
#
# Environment: KINGLET_TEST_BUILD (instead of build/), KINGLET_TEST_MODEL and KINGLET_TEST_SMOLLM
# (model files that are there already: nothing is downloaded).
set -uo pipefail
cd "$(dirname "$0")" || exit 1
exec </dev/null

PARTS=(sanitize api fidelity release clients web tsan emulated deploy fuzz unit structure format) # longest first
TEST_MODEL=qwen2.5-coder-0.5b-instruct # the numbers in tests/fidelity are this file's
TEST_SMOLLM=smollm2-135m-instruct

BUILD=$(realpath -m "${KINGLET_TEST_BUILD:-build}")
RESULTS=$BUILD/results
VENV=$BUILD/venv

# Packed weights and histories of tests do not belong among the user's; the model does.
user_cache=${XDG_CACHE_HOME:-$HOME/.cache}
export XDG_CACHE_HOME=$BUILD/cache

unset program KINGLET_MODEL KINGLET_CPU LOG_LEVEL # what the user's shell says is not what is tested
export KINGLET_TEST_BUILD=$BUILD # for tests/clients/run
export PYTHONDONTWRITEBYTECODE=1 PYTHONUTF8=1
export OPENBLAS_NUM_THREADS=2
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1

# ---- what the parts need; each is done at most once -----------------------------------------------

mapfile -t packages < <(sed -n 's/^\(build\|test\) \([^:]*\):.*/\2/p' tools/packages.txt)

need_packages() {
    local missing=() p
    command -v apt-get >/dev/null || {
        echo "no apt-get here; these must be installed already: ${packages[*]} nodejs npm"
        return 0
    }
    for p in "${packages[@]}"; do
        [[ $(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null) == installed ]] ||
            missing+=("$p")
    done
    command -v node >/dev/null || missing+=(nodejs)
    command -v npm >/dev/null || missing+=(npm)
    [[ ${#missing[@]} -eq 0 ]] && return 0
    echo "installing ${missing[*]}"
    local root=()
    [[ $(id -u) -eq 0 ]] || root=(sudo -n)
    "${root[@]}" apt-get update -q >"$RESULTS/apt.log" 2>&1
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y \
        --no-install-recommends "${missing[@]}" >>"$RESULTS/apt.log" 2>&1 ||
        { tail -n 20 "$RESULTS/apt.log"; return 1; }
}

need_python() {
    need packages || return 1
    local wanted
    wanted=$(cat tests/requirements.txt bench/accuracy-requirements.txt)
    [[ $(cat "$VENV/requirements.txt" 2>/dev/null) != "$wanted" ]] || return 0
    python3 -m venv "$VENV" &&
        "$VENV/bin/pip" install -q --disable-pip-version-check \
            -r tests/requirements.txt -r bench/accuracy-requirements.txt &&
        printf '%s\n' "$wanted" >"$VENV/requirements.txt"
}

# the clients for Node, and axe-core for the page
need_node_client() {
    need packages || return 1
    export NODE_PATH=$BUILD/node/node_modules
    tests/clients/run --install openai-node
}

# the environments of the light clients; the caches of pip and Go are the user's
need_clients() {
    need packages || return 1
    XDG_CACHE_HOME=$user_cache tests/clients/run --install openai-python openai-node go-openai
}

# build NAME OPTION...: a build directory, made or brought up to date; of `targets`, if there are any
build() {
    need packages || return 1
    local dir=$BUILD/$1 log=$RESULTS/build-$1.log
    shift
    # start.sh makes build/release too, without the tests
    if [[ -f $dir/build.ninja ]]; then
        while [[ $1 == --cross-file ]]; do shift 2; done # the directory's, and not to be changed
        meson configure "$dir" -Dtests=true "$@"
    else
        meson setup "$dir" -Dtests=true "$@"
    fi >"$log" 2>&1 && ninja -C "$dir" "${targets[@]}" >>"$log" 2>&1 ||
        { echo "the build failed ($log):"; tail -n 40 "$log"; return 1; }
    # the compiler's warnings are errors of ours
    ! grep -A5 ' warning: ' "$log" || return 1
}

need_sysroot() {
    need packages || return 1
    [[ $BUILD/sysroot/arm64/sysroot.ini -nt tools/sysroot ]] ||
        tools/sysroot "$BUILD/sysroot/arm64" arm64
}

# The rooms whose unit tests run on aarch64, too: differences of its libraries, and of pages of 16 KiB.
foreign_rooms=(base format json http service api server)
need_aarch64() {
    need sysroot || return 1
    local targets=(src/cli/kinglet tests/kernels/check_kernels) room file
    for room in "${foreign_rooms[@]}"; do
        for file in "tests/unit/$room"/test_*.c; do targets+=("${file%.c}"); done
    done
    build aarch64 --cross-file deploy/aarch64-linux-gnu.ini \
        --cross-file "$BUILD/sysroot/arm64/sysroot.ini" --buildtype=release || return 1
    # for tests of the program, which start one file
    printf '#!/bin/sh\nexec %q %q "$@"\n' "$BUILD/sysroot/arm64/run" \
        "$BUILD/aarch64/src/cli/kinglet" >"$BUILD/aarch64/kinglet" &&
        chmod +x "$BUILD/aarch64/kinglet"
}

need_release_packages() {
    need sysroot || return 1
    tools/release -o "$BUILD/packages" -s "$BUILD/sysroot" >"$RESULTS/release.log" 2>&1 ||
        { tail -n 20 "$RESULTS/release.log"; return 1; }
}

# what it would install is looked up anew; a day later it would be much
need_debian_root() {
    need python || return 1
    export KINGLET_TEST_DEBIAN=$BUILD/debian-root.tar
    [[ -n $(find "$KINGLET_TEST_DEBIAN" -mtime -1 2>/dev/null) ]] ||
        "$VENV/bin/python" tests/tools/make_debian_root.py "$KINGLET_TEST_DEBIAN"
}

need_release() { build release --buildtype=release; }
# -g1: reports name functions and lines; all of -g would take as long again to compile
need_sanitizers() {
    build sanitize --buildtype=debugoptimized -Dtiers=common -Db_sanitize=address,undefined -Db_lundef=false \
        -Dc_args='-g1 -fno-sanitize-recover=all -fno-omit-frame-pointer'
}
need_fuzzers() {
    local targets=() file
    for file in tests/fuzz/targets/fuzz_*.c; do targets+=("${file%.c}"); done
    CC=clang build fuzz --buildtype=debugoptimized -Doptimization=1 -Dtiers=common \
        -Dtests=false -Dfuzzers=true -Dc_args=-g1
}
# The tests of code with threads of its own, by their names in Meson.
threaded=(base/log base/pool base/ring base/worker engine/engine engine/page_store
    engine/prefix_cache engine/request)
need_thread_sanitizer() {
    local targets=(src/cli/kinglet) name
    for name in "${threaded[@]}"; do targets+=("tests/unit/${name/\//\/test_}"); done
    build tsan --buildtype=debugoptimized -Dtiers=common -Db_sanitize=thread -Db_lundef=false -Dc_args=-g1
}

need_model() {
    [[ -n ${KINGLET_TEST_MODEL:-} ]] && return 0
    need release python || return 1
    # the venv's pip: where the Python packages are the only source, pull asks python3 for one
    PATH=$VENV/bin:$PATH XDG_CACHE_HOME=$user_cache "$BUILD/release/src/cli/kinglet" pull "$TEST_MODEL" || return 1
    export KINGLET_TEST_MODEL=$user_cache/kinglet/models/$TEST_MODEL-q4_k_m.gguf
}

need_smollm() {
    [[ -n ${KINGLET_TEST_SMOLLM:-} ]] && return 0
    need release python || return 1
    PATH=$VENV/bin:$PATH XDG_CACHE_HOME=$user_cache "$BUILD/release/src/cli/kinglet" pull "$TEST_SMOLLM" || return 1
    export KINGLET_TEST_SMOLLM=$user_cache/kinglet/models/SmolLM2-135M-Instruct.Q4_1.gguf
}

need_tiny_model() {
    need python || return 1
    export KINGLET_TEST_TINY_MODEL=$BUILD/tiny.gguf
    "$VENV/bin/python" tests/tools/make_tiny_model.py "$KINGLET_TEST_TINY_MODEL"
}

declare -A done_needs
need() {
    local n began lock
    for n in "$@"; do
        if [[ -z ${done_needs[$n]:-} ]]; then
            began=$SECONDS
            exec {lock}>"$RESULTS/need-$n.lock" # of parts that run at a time, one makes it
            flock "$lock"
            "need_$n"
            done_needs[$n]=$?
            exec {lock}>&-
            [[ $((SECONDS - began)) -lt 2 ]] || echo "    $n: $((SECONDS - began)) s"
            [[ ${done_needs[$n]} -eq 0 ]] || echo "    $n: could not be prepared"
        fi
        [[ ${done_needs[$n]} -eq 0 ]] || return 1
    done
}

# ---- the parts; each leaves its results in files named after it -----------------------------------

# meson_test BUILD [TEST...]
meson_test() {
    local dir=$BUILD/$1
    shift
    meson test -C "$dir" --no-rebuild --print-errorlogs --timeout-multiplier 10 \
        --logbase "$part" "$@"
    local code=$?
    cp "$dir/meson-logs/$part.json" "$RESULTS/$part-meson.json" && return "$code"
}

# python_test BUILD NAME ARGUMENT...   ($program: another than the build's)
python_test() {
    local dir=$BUILD/$1 name=$2
    shift 2
    KINGLET_BUILD_DIR=$dir KINGLET_BIN=${program:-$dir/src/cli/kinglet} \
        "$VENV/bin/python" -m pytest -q -rfE --durations=5 --timeout=900 --color=no \
        -o cache_dir="$BUILD/pytest" --junitxml="$RESULTS/$name.xml" "$@"
}

part_format() {
    local found
    need python || return 1
    found=$(find src tests web -name '*.[ch]' -print0 |
        xargs -0 "$VENV/bin/clang-format" --style=file --dry-run -Werror 2>&1) ||
        { grep ' error: ' <<<"$found"; return 1; }
}

part_structure() {
    need python release && python_test release structure tests/structure
}

part_unit() {
    need release tiny_model && meson_test release
}

# The unit tests, some of them with fewer rounds of the same (KINGLET_TEST_BRIEF), and the tests of the
# program but for those that tests/selection.toml names.
part_sanitize() {
    local code=0
    need sanitizers tiny_model node_client || return 1
    KINGLET_TEST_BRIEF=1 meson_test sanitize || code=1
    python_test sanitize sanitize-api --selection sanitize tests/api || code=1
    return $code
}

# The unit tests of code with threads of its own, and the tests of the program, as above.
part_tsan() {
    local code=0
    need thread_sanitizer tiny_model node_client || return 1
    KINGLET_TEST_BRIEF=1 meson_test tsan "${threaded[@]}" || code=1
    python_test tsan tsan-api --selection tsan tests/api || code=1
    return $code
}

# The kernels of other CPUs: each is to choose its tier and get the scalar one's bits; and what is
# not there is never used, since the emulated CPU would not know the instruction.
part_emulated() {
    local code=0
    local products='matmul matmul_company matmul_halves fused'
    need aarch64 release tiny_model || return 1
    emulated_cpu cortex-a72 neon || code=1
    # these tiers have matrix products of their own, and all else of neon
    emulated_cpu cortex-a76 neon-dotprod "$products" || code=1
    emulated_cpu max neon-i8mm "$products" || code=1
    python_test release emulated tests/emulated || code=1
    emulated_program || code=1
    return $code
}

# Differences of a Raspberry Pi 5 other than its kernels: libraries for aarch64, and pages of 16 KiB. Most unit
# tests are portable C, and slow under emulation.
emulated_program() {
    local code=0 names
    need release tiny_model model smollm || return 1
    names=$(meson test -C "$BUILD/aarch64" --no-rebuild --list 2>/dev/null |
        grep -oE "($(IFS='|' && echo "${foreign_rooms[*]}"))/.*$")
    # shellcheck disable=SC2086 # names has one word per test
    { [[ -n $names ]] && QEMU_CPU=cortex-a76 QEMU_PAGESIZE=16384 part=$part-pages \
        meson_test aarch64 $names; } || code=1
    program=$BUILD/aarch64/kinglet KINGLET_NATIVE_BIN=$BUILD/release/src/cli/kinglet \
        python_test aarch64 "$part-program" tests/aarch64 || code=1
    return $code
}

# emulated_cpu CPU TIER [NAMES OF CHECKS]
emulated_cpu() {
    local part=$part-$1
    QEMU_CPU=$1 meson_test aarch64 kernels --test-args="--best $2 ${3:-}"
}

# In a root of Debian of its own, to which only root may change.
part_release() {
    [[ $(id -u) -eq 0 ]] || {
        echo "this part makes a Debian root with debootstrap and needs to be root"
        return 1
    }
    need python release tiny_model debian_root release_packages || return 1
    KINGLET_TEST_PACKAGES=$BUILD/packages python_test release release tests/release
}

# The programs around a deployed server, and every configuration that deploy/ ships: run
# for real. Container images are built in a Debian root, to which only root may change.
part_deploy() {
    [[ $(id -u) -eq 0 ]] || {
        echo "this part builds an image in a Debian root and needs to be root"
        return 1
    }
    need python release tiny_model model debian_root && python_test release deploy tests/deploy
}

part_fidelity() {
    need release tiny_model model smollm && python_test release fidelity tests/fidelity
}

part_api() {
    need release tiny_model model smollm node_client && python_test release api --selection api tests/api
}

part_quick() {
    need release tiny_model node_client && python_test release quick --selection quick tests/api
}

# Real clients of every API, in environments of their own.
part_clients() {
    need release model clients && python_test release clients tests/clients
}

part_llama() {
    need release model && KINGLET_TEST_LLAMA_SUITE=all \
        python_test release llama tests/clients/test_llama_server_tests.py
}

part_web() {
    need release tiny_model model node_client && python_test release web tests/web
}

part_fuzz() {
    need sanitizers fuzzers tiny_model &&
        KINGLET_FUZZ_BUILD=$BUILD/fuzz python_test sanitize fuzz tests/fuzz
}

# ---- the run --------------------------------------------------------------------------------------

case ${1:-} in
-h | --help)
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
    exit 0
    ;;
--list)
    printf '%s\n' "${PARTS[@]}"
    exit 0
    ;;
esac
chosen=("$@")
[[ $* != quick ]] || chosen=(format structure unit quick)
[[ ${#chosen[@]} -gt 0 ]] || chosen=("${PARTS[@]}")
for part in "${chosen[@]}"; do
    [[ " ${PARTS[*]} quick llama " == *" $part "* ]] || {
        echo "test.sh: no part is called '$part'; there are: ${PARTS[*]}, quick and llama" >&2
        exit 2
    }
done

# run_part PART: leaves its exit code and its time in a file named after it
run_part() {
    local part=$1 began=$SECONDS
    echo
    echo "==== $part"
    rm -f "$RESULTS/$part"[-.]*.json "$RESULTS/$part"[-.]*xml "$RESULTS/$part.xml"
    "part_$part"
    echo "$? $((SECONDS - began))" >"$RESULTS/$part.outcome"
}

# The first of the queue, which leaves it.
take_part() (
    flock 9
    head -n 1 "$RESULTS/queue"
    sed -i 1d "$RESULTS/queue"
) 9>"$RESULTS/queue.lock"

# run_queue NAME: the next part that nothing runs yet, until there is none; its output in one piece
run_queue() {
    local part
    export XDG_CACHE_HOME=$BUILD/cache-$1
    while part=$(take_part) && [[ -n $part ]]; do
        run_part "$part" >"$RESULTS/$part.out" 2>&1
        flock "$RESULTS/output.lock" cat "$RESULTS/$part.out"
    done
}

# A part waits for about half of its time: four are run at a time, the longest ones first. Things that
# several parts need are made before.
run_all() {
    need packages || return
    # what is downloaded and unpacked, while the compiler works
    (need python && need sysroot tiny_model node_client clients) &
    need release
    wait $!
    need python && need sysroot tiny_model node_client clients model smollm
    echo "four parts at a time; each is shown when it is done"
    printf '%s\n' "$@" >"$RESULTS/queue"
    local name others=()
    for name in one two three; do
        run_queue "$name" &
        others+=($!)
    done
    # shellcheck disable=SC2064 # these processes
    trap "kill ${others[*]} 2>/dev/null" EXIT
    run_queue four
    wait
    trap - EXIT
}

mkdir -p "$RESULTS"
rm -f "$RESULTS"/*.outcome
if [[ $# -eq 0 ]]; then
    run_all "${chosen[@]}"
else
    for part in "${chosen[@]}"; do run_part "$part"; done
fi

total_passed=0 total_failed=0
echo
echo "==== summary"
for part in "${chosen[@]}"; do
    code=1 seconds=0
    read -r code seconds <"$RESULTS/$part.outcome"
    shopt -s nullglob
    found=("$RESULTS/$part"[-.]*json "$RESULTS/$part"[-.]*xml)
    shopt -u nullglob
    passed=0 failed=0
    if [[ ${#found[@]} -gt 0 ]]; then
        read -r passed failed < <(python3 tests/tools/count_results.py "${found[@]}")
    elif [[ $code -eq 0 ]]; then
        passed=1 # a part that is one check and has nothing to count
    fi
    # a part that failed, or in which nothing ran, is never a success
    if [[ $failed -eq 0 && ($code -ne 0 || $passed -eq 0) ]]; then
        failed=1
    fi
    total_passed=$((total_passed + passed)) total_failed=$((total_failed + failed))
    printf '%-10s %6d passed %4d failed %6d s\n' "$part" "$passed" "$failed" "$seconds"
done

echo
python3 tests/tools/describe_run.py "$RESULTS" "${chosen[@]}"
printf 'in %d min %d s\n' $((SECONDS / 60)) $((SECONDS % 60))
echo "$total_passed passed, $total_failed failed"
[[ $total_failed -eq 0 ]]
