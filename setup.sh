#!/usr/bin/env bash
# Makes a working tree usable: Debian packages, .venv, Python packages, the C core.
#
# setup.sh       everything, and the release build; called by `make setup` and whatever needs it
# setup.sh run   the release build and only what running it needs; called by `make demo`
# setup.sh dev   everything, and the development build in place of the release build: no LTO, only
#                what changed is compiled. The next setup.sh brings the release build back.
#
# A second run finds the stamp of the first and ends at once. Nothing outside this folder changes,
# except that missing Debian packages are installed; a service that comes along with one is neither
# started nor enabled.
#
# Environment: PYTHON=/path/to/python3 takes that interpreter; SETUP_PACKAGES=skip trusts that the
# packages are there under other names (other distributions: untested).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly root=$PWD
readonly venv=$root/.venv
readonly log=$root/build/setup.log
readonly stamp=$venv/tickpath-setup
readonly run_stamp=$venv/tickpath-setup-run
readonly source_stamp=$venv/tickpath-sources
readonly dev_build=build/dev
readonly policy=/usr/sbin/policy-rc.d
policy_is_ours=no

say() { printf 'setup: %s\n' "$*"; }

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

# The seconds so far and the newest line of the log, until it is stopped or setup.sh ends.
show_progress() {
    local started=$SECONDS line
    while kill -0 $$ 2>/dev/null; do
        line=$(tail -n 1 "$log" | tr -d '[:cntrl:]')
        printf '\r\033[K  %3d s  %.70s' $((SECONDS - started)) "$line"
        sleep 0.5
    done
}

# Runs a command with its output in the log; on failure the end of the log is the explanation.
quietly() {
    local status=0 progress=
    printf '\n$ %s\n' "$*" >>"$log"
    if [[ -t 1 ]]; then
        show_progress &
        progress=$!
    fi
    "$@" >>"$log" 2>&1 </dev/null || status=$?
    if [[ -n $progress ]]; then
        kill "$progress"
        wait "$progress" 2>/dev/null || true
        printf '\r\033[K'
    fi
    if ((status != 0)); then
        tail -n 30 "$log" >&2
        fail "failed with status $status: $* (all of it: $log)"
    fi
}

# Prints the packages of these lists that suit this architecture and are not installed.
missing_packages() {
    local architecture name only
    architecture=$(dpkg --print-architecture)
    local -a wanted=()
    while read -r name only _; do
        [[ -z $name || $name == \#* ]] && continue
        [[ $only == \[* && $only != "[$architecture]" ]] && continue
        wanted+=("$name")
    done < <(cat "$@")
    local installed
    installed=$(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' "${wanted[@]}" 2>/dev/null || true)
    for name in "${wanted[@]}"; do
        grep -qx "ii *$name" <<<"$installed" || printf '%s\n' "$name"
    done
}

# Debian starts a service as soon as its package is installed, unless this file says no. Where the
# administrator already has one, theirs decides.
deny_service_start() {
    [[ -e $policy ]] && return
    policy_is_ours=yes
    trap allow_service_start EXIT
    printf '#!/bin/sh\n# tickpath setup.sh: removed when it ends.\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}

allow_service_start() {
    [[ $policy_is_ours == yes ]] && rm -f "$policy"
    policy_is_ours=no
}

# These are only ever started by the tests, from configurations of their own.
readonly services=(nginx prometheus redis-server)

# Without systemctl the tool of the maintainer scripts does it, which wants to be told for which
# package.
disable_service() {
    if command -v systemctl >/dev/null; then
        quietly systemctl disable "$1.service"
    else
        quietly env DPKG_MAINTSCRIPT_PACKAGE="$1" deb-systemd-helper disable "$1.service"
    fi
    quietly update-rc.d "$1" disable
}

install_packages() {
    [[ ${SETUP_PACKAGES:-} == skip ]] && return
    command -v dpkg-query >/dev/null || fail "this is not Debian: install what $* lists under" \
        "your distribution's names (untested), then run again with SETUP_PACKAGES=skip"
    local -a missing
    mapfile -t missing < <(missing_packages "$@")
    ((${#missing[@]} == 0)) && return
    if ((EUID != 0)); then
        fail "these Debian packages are missing; as root: apt-get install --no-install-recommends" \
            "${missing[*]}"
    fi
    say "installing ${#missing[@]} Debian packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    local service
    local -a brought=()
    for service in "${services[@]}"; do
        command -v "$service" >/dev/null || brought+=("$service")
    done
    deny_service_start
    quietly apt-get -q update
    quietly apt-get -q -y --no-install-recommends install "${missing[@]}"
    allow_service_start
    for service in "${brought[@]}"; do
        command -v "$service" >/dev/null && disable_service "$service"
    done
    return 0
}

# Prints "VERSION_OK OPTIMISED DESCRIPTION" of an interpreter. Debian builds its Python with
# profile-guided optimisation and LTO but does not record that in CONFIG_ARGS, so that there the
# packaged interpreter itself is the evidence.
describe_python() {
    local packaged=no
    if dpkg-query -S "$(readlink -f "$1")" >/dev/null 2>&1; then
        packaged=yes
    fi
    "$1" - "$packaged" <<'PYTHON'
import sys
import sysconfig

flag = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
optimised = flag or sys.argv[1] == "yes"
try:
    import ensurepip
    import venv
except ImportError:
    complete = False
else:
    complete = True
reason = "optimised build" if flag else "the distribution's optimised build" if optimised else (
    "not an optimised build: rings are read 20-35 % slower"
)
print(
    "yes" if complete and sys.version_info >= (3, 11) else "no",
    "yes" if optimised else "no",
    f"Python {sys.version.split()[0]}, {reason}",
)
PYTHON
}

# Sets python and python_is: the first optimised interpreter that is new enough, else the first
# that is new enough.
choose_python() {
    local -a candidates=(/usr/bin/python3 python3.14 python3.13 python3.12 python3.11 python3)
    [[ -n ${PYTHON:-} ]] && candidates=("$PYTHON")
    local candidate path new_enough optimised description
    python=
    for candidate in "${candidates[@]}"; do
        path=$(command -v "$candidate") || continue
        read -r new_enough optimised description < <(describe_python "$path" 2>/dev/null) || continue
        [[ $new_enough == yes ]] || continue
        if [[ -z $python || $optimised == yes ]]; then
            python=$path
            python_is=$description
        fi
        [[ $optimised == yes ]] && break
    done
    [[ -n $python ]] || fail "no Python 3.11 or newer with venv among: ${candidates[*]};" \
        "install one, or name it: make setup PYTHON=/path/to/python3"
}

# What the environment depends on.
fingerprint() {
    {
        printf '%s\n' "$root" "${PYTHON:-}"
        cat setup.sh packages.debian packages-test.debian
        # The tables that decide what is installed; a linter's option is no reason to begin anew.
        awk '/^\[/ { wanted = /^\[(build-system|project|tool\.meson-python)/ } wanted' pyproject.toml
    } | sha256sum
}

# What the installed tickpath depends on: every source that the build reads.
source_fingerprint() {
    find proto shm rt netstack engine examples meson.build meson.options pyproject.toml cffi_build.py \
        cffi_stub.py README.md LICENSE -type f -not -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum |
        sha256sum
}

make_venv() {
    if [[ -x $venv/bin/python ]] && [[ $(cat "$venv/tickpath-python" 2>/dev/null) == "$python" ]] &&
        "$venv/bin/python" -c '' 2>/dev/null; then
        return
    fi
    rm -rf "$venv"
    quietly "$python" -m venv "$venv"
    printf '%s\n' "$python" >"$venv/tickpath-python"
}

# Prints what pip must install for "run" or "test", one requirement a line.
python_requirements() {
    "$venv/bin/python" - "$1" <<'PYTHON'
import sys
import tomllib

with open("pyproject.toml", "rb") as file:
    content = tomllib.load(file)
project = content["project"]
extras = ("dev", "bench") if sys.argv[1] == "test" else ()
for group in (
    content["build-system"]["requires"],
    project["dependencies"],
    *(project["optional-dependencies"][extra] for extra in extras),
):
    print(*group, sep="\n")
PYTHON
}

install_python_packages() {
    local -a requires
    mapfile -t requires < <(python_requirements "$1")
    quietly "$venv/bin/python" -m pip --disable-pip-version-check install --no-input "${requires[@]}"
}

# An ordinary install, not an editable one: that would look for changes at every start of every
# process, a second each. The build folder is kept, so that only what changed is compiled; that of
# "run" is another, because it is configured without the C tests: cmocka is not there.
install_tickpath() {
    say 'building the C core and installing tickpath'
    local folder
    local -a settings=()
    folder=build/$("$venv/bin/python" -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
    if [[ $1 == run ]]; then
        folder+=-run
        settings=(--config-settings=setup-args=-Dtests=false)
    fi
    # Built before the one that is there goes: a build that is interrupted leaves that in place.
    rm -rf build/wheel
    PATH=$venv/bin:$PATH quietly "$venv/bin/python" -m pip --disable-pip-version-check wheel \
        --no-input --no-build-isolation --no-deps --wheel-dir build/wheel \
        --config-settings=build-dir="$folder" "${settings[@]}" .
    remove_development_build
    quietly "$venv/bin/python" -m pip --disable-pip-version-check install \
        --no-input --no-deps --force-reinstall build/wheel/*.whl
    show_mypy_the_core "$folder"
}

# mypy reads the tree, not what is installed: what the build wrote for it goes beside the rooms.
show_mypy_the_core() {
    cp "$1/_core.pyi" "$1/_bench.pyi" typings/tickpath/
}

# What the development build left must not outlive it: pip removes only what pip installed.
remove_development_build() {
    [[ $(cat "$source_stamp" 2>/dev/null) == dev ]] || return 0
    "$venv/bin/python" -c '
import pathlib, shutil, sysconfig
shutil.rmtree(pathlib.Path(sysconfig.get_path("platlib"), "tickpath"), ignore_errors=True)'
}

# The same files at the same places as pip installs them, from a build folder of its own.
install_development_build() {
    export PATH=$venv/bin:$PATH
    if [[ ! -f $dev_build/build.ninja ]]; then
        quietly meson setup "$dev_build" --buildtype=debugoptimized -Db_ndebug=false \
            --prefix="$venv" -Dpython.install_env=venv
    fi
    printf 'dev\n' >"$source_stamp"
    local output
    output=$(ninja -C "$dev_build" --quiet 2>&1) || fail "the development build failed:"$'\n'"$output"
    quietly meson install -C "$dev_build" --no-rebuild --quiet
    show_mypy_the_core "$dev_build"
}

# Debian and Python packages, for "run" or "test". Sets level to what there is.
prepare() {
    local -a lists=(packages.debian)
    local mine=$run_stamp wanted
    if [[ $1 == test ]]; then
        lists+=(packages-test.debian)
        mine=$stamp
    fi
    install_packages "${lists[@]}"
    wanted=$(fingerprint)
    if [[ $(cat "$stamp" 2>/dev/null) == "$wanted" ]]; then
        level=test # which suffices for running
        return
    fi
    [[ $(cat "$mine" 2>/dev/null) == "$wanted" ]] && return
    rm -f "$mine" "$source_stamp"
    choose_python
    say "Python environment .venv from $python ($python_is)"
    make_venv
    say "installing Python packages to $1 tickpath (a minute or so)"
    install_python_packages "$1"
    printf '%s\n' "$wanted" >"$mine"
}

main() {
    local level=test
    case ${1:-} in
        '' | dev) ;;
        run) level=run ;;
        *) fail "unknown argument: $1; expected none, run or dev" ;;
    esac
    mkdir -p build
    : >"$log"
    prepare "$level"
    if [[ ${1:-} == dev ]]; then
        install_development_build
    elif [[ ! -e $source_stamp || $(cat "$source_stamp") != "$(source_fingerprint)" ]]; then
        install_tickpath "$level"
        source_fingerprint >"$source_stamp"
        say 'done'
    fi
}

main "$@"
