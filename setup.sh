#!/usr/bin/env bash
# Makes a working tree usable: Debian packages, .venv, Python packages, the C core.
#
# Called by `make setup`, and by every make target that needs a built tree. A second run finds the
# stamp of the first and ends at once. Nothing outside this folder changes, except that missing
# Debian packages are installed; a service that comes along with one is neither started nor enabled.
#
# Environment: PYTHON=/path/to/python3 takes that interpreter; SETUP_PACKAGES=skip trusts that the
# packages are there under other names (other distributions: untested).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly root=$PWD
readonly venv=$root/.venv
readonly log=$root/build/setup.log
readonly stamp=$venv/tickpath-setup
readonly source_stamp=$venv/tickpath-sources
readonly policy=/usr/sbin/policy-rc.d
policy_is_ours=no

say() { printf 'setup: %s\n' "$*"; }

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

# Runs a command with its output in the log; on failure the end of the log is the explanation.
quietly() {
    local status=0
    printf '\n$ %s\n' "$*" >>"$log"
    "$@" >>"$log" 2>&1 </dev/null || status=$?
    if ((status != 0)); then
        tail -n 30 "$log" >&2
        fail "failed with status $status: $* (all of it: $log)"
    fi
}

# Prints the packages of packages.debian that suit this architecture and are not installed.
missing_packages() {
    local architecture name
    architecture=$(dpkg --print-architecture)
    local -a wanted=()
    while read -r name only _; do
        [[ -z $name || $name == \#* ]] && continue
        [[ $only == \[* && $only != "[$architecture]" ]] && continue
        wanted+=("$name")
    done <packages.debian
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
    command -v dpkg-query >/dev/null || fail "this is not Debian: install what packages.debian" \
        "lists under your distribution's names (untested), then run again with SETUP_PACKAGES=skip"
    local -a missing
    mapfile -t missing < <(missing_packages)
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
        cat setup.sh packages.debian
        # The tables that decide what is installed; a linter's option is no reason to begin anew.
        awk '/^\[/ { wanted = /^\[(build-system|project|tool\.meson-python)/ } wanted' pyproject.toml
    } | sha256sum
}

# What the installed tickpath depends on: every source that the build reads.
source_fingerprint() {
    find proto shm rt netstack engine examples meson.build meson.options pyproject.toml cffi_build.py \
        README.md LICENSE -type f -not -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum | sha256sum
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

install_python_packages() {
    local -a pip=("$venv/bin/python" -m pip --disable-pip-version-check install --no-input)
    local -a build_requires
    mapfile -t build_requires < <("$venv/bin/python" -c '
import tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")')
    say 'installing Python packages (the longest step: a minute or so)'
    quietly "${pip[@]}" "${build_requires[@]}"
    local -a requires
    mapfile -t requires < <("$venv/bin/python" -c '
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = project["optional-dependencies"]
print(*project["dependencies"], *extras["dev"], *extras["bench"], sep="\n")')
    quietly "${pip[@]}" "${requires[@]}"
}

# An ordinary install, not an editable one: that would look for changes at every start of every
# process, a second each. The build folder is kept, so that only what changed is compiled.
install_tickpath() {
    say 'building the C core and installing tickpath'
    local folder
    folder=build/$("$venv/bin/python" -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
    PATH=$venv/bin:$PATH quietly "$venv/bin/python" -m pip --disable-pip-version-check install \
        --no-input --no-build-isolation --no-deps --force-reinstall --config-settings=build-dir="$folder" .
}

main() {
    mkdir -p build
    : >"$log"
    install_packages
    if [[ ! -e $stamp || $(cat "$stamp") != "$(fingerprint)" ]]; then
        rm -f "$stamp" "$source_stamp"
        choose_python
        say "Python environment .venv from $python ($python_is)"
        make_venv
        install_python_packages
        fingerprint >"$stamp"
    fi
    if [[ ! -e $source_stamp || $(cat "$source_stamp") != "$(source_fingerprint)" ]]; then
        rm -f "$source_stamp"
        install_tickpath
        source_fingerprint >"$source_stamp"
        say 'done'
    fi
}

main "$@"
