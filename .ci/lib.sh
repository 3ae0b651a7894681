# Shared by .ci/run and .ci/long: where things go, how a step is timed, which tools are needed.
# Sourced, not run. shellcheck shell=bash

cd "$(dirname "${BASH_SOURCE[0]}")/.."
shopt -s inherit_errexit                         # a failure inside `$( )` is a failure
exec </dev/null                                  # nothing here may ask a question

# One target folder for everything, absolute, so that steps in scratch copies share the built dependencies.
mkdir -p "${CARGO_TARGET_DIR:-target}"
CARGO_TARGET_DIR="$(cd "${CARGO_TARGET_DIR:-target}" && pwd)"
export CARGO_TARGET_DIR
export CARGO_INCREMENTAL="${CARGO_INCREMENTAL:-0}"   # built once and thrown away
export MAINSTAY_REQUIRE_SERVICES=1               # a service test that finds no service fails instead of passing by
export RUST_BACKTRACE="${RUST_BACKTRACE:-1}"

ci="$CARGO_TARGET_DIR/ci"                        # tools and scratch copies of the checkout
mkdir -p "$ci"
export PATH="$ci/tools/bin:$PATH"

die() {
    printf 'ci: %s\n' "$*" >&2
    exit 1
}

# install_package PACKAGE: Debian's package, where that is allowed.
install_package() {
    if command -v apt-get >/dev/null && [[ $(id -u) == 0 ]]; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$1"
    fi
}

# need_command NAME PACKAGE: installs Debian's package where the command is missing and that is allowed; a step that
# needs one is never skipped.
need_command() {
    command -v "$1" >/dev/null || install_package "$2"
    command -v "$1" >/dev/null || die "no \`$1\`: install it (Debian: apt-get install $2)"
}

# need_compiler cc|c++
need_compiler() {
    need_command "$1" build-essential
}

# need_postgres: the server that tests and an example start. Debian keeps its programs out of PATH, and a `psql` there
# says nothing about a server.
need_postgres() {
    local programs='/usr/lib/postgresql/*/bin/initdb'
    command -v initdb >/dev/null || compgen -G "$programs" >/dev/null || install_package postgresql
    command -v initdb >/dev/null || compgen -G "$programs" >/dev/null ||
        die "no PostgreSQL server: install it (Debian: apt-get install postgresql)"
}

# tool CRATE VERSION [ARG...]: installs the cargo subcommand CRATE at exactly VERSION into the target folder. Built
# without optimisation: they run for seconds, and optimising them would take minutes.
tool() {
    local crate=$1 version=$2
    shift 2
    [[ -e "$ci/tools/$crate-$version" ]] && return
    CARGO_TARGET_DIR="$ci/tools-target" cargo install --locked --debug --force --root "$ci/tools" \
        --version "=$version" "$crate" "$@"
    touch "$ci/tools/$crate-$version"
    rm -rf "$ci/tools-target"                    # half a gigabyte that nobody needs again
}

# scratch NAME: a copy of the checkout that a step may change; prints its path. Always at the same path, so that a
# second run reuses what the first one built.
scratch() {
    local copy="$ci/scratch/$1"
    rm -rf "$copy"
    mkdir -p "$copy"
    # Named one by one, so that neither a target folder nor an editor's leavings come along.
    tar -cf - --exclude=./fuzz/target --exclude=./benches/peers/target Cargo.toml Cargo.lock README.md \
        ARCHITECTURE.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE clippy.toml deny.toml rustfmt.toml \
        src tests examples benches fuzz | tar -xf - -C "$copy"
    printf '%s\n' "$copy"
}

# targets example|bench: the names of all of them, as cargo itself lists them when it misses one.
targets() {
    local command=run names
    [[ $1 == bench ]] && command=bench
    names=$({ cargo "$command" "--$1" 2>&1 || true; } | sed -n 's/^    \([a-z0-9_-]*\)$/\1/p')
    [[ -n $names ]] || die "cargo lists no $1"
    printf '%s\n' "$names"
}

# fuzz_all SECONDS: builds every target and runs it that long, from its corpus.
#
# Plain libFuzzer on the stable compiler: coverage instrumentation needs only flags that are stable. The sanitizers
# (nightly) are not missed: the library forbids `unsafe`. `--target` keeps the flags off build scripts and macros.
fuzz_all() {
    local host names name found
    need_compiler c++
    host=$(rustc -vV | sed -n 's/^host: //p')
    names=$(sed -n 's/^name = "\(.*\)"$/\1/p' fuzz/Cargo.toml | tail -n +2)
    [[ -n $names ]] || die "no fuzz targets found"
    RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1" \
        cargo build --locked --release --manifest-path fuzz/Cargo.toml --target "$host"
    for name in $names; do
        printf '\n--- %s\n' "$name"
        [[ -n $(ls -A "fuzz/corpus/$name") ]] || die "fuzz target $name has no corpus"
        # What it finds goes to the target folder; the committed corpus is only read.
        found="$ci/fuzz/$name"
        mkdir -p "$found/corpus"
        "$CARGO_TARGET_DIR/$host/release/$name" "$found/corpus" "fuzz/corpus/$name" \
            -max_total_time="$1" -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$found/" -verbosity=0 -print_final_stats=1
    done
}

# run_steps STEP...: runs each `step_NAME` in a shell of its own, goes on after a failure, prints the times, and fails
# if any step failed.
run_steps() {
    local summary="" failed=0 begun=$SECONDS step started status
    for step; do
        printf '\n=== %s\n' "$step"
        started=$SECONDS
        # Not `if ( .. )`: in a condition, `set -e` is off.
        set +e
        (
            set -e
            "step_${step//-/_}"
        )
        status=$?
        set -e
        if ((status == 0)); then
            summary+=$(printf '  %-12s ok     %5d s' "$step" $((SECONDS - started)))$'\n'
        else
            summary+=$(printf '  %-12s FAILED %5d s' "$step" $((SECONDS - started)))$'\n'
            failed=$((failed + 1))
        fi
    done
    printf '\n=== summary\n%s  %-12s %12d s\n' "$summary" total $((SECONDS - begun))
    if ((failed)); then
        die "$failed of $# steps failed"
    fi
}

# main ALL... -- [STEP...]: the steps named on the command line, or all of them in order.
main() {
    local all=() step
    while [[ $1 != -- ]]; do
        all+=("$1")
        shift
    done
    shift
    for step; do
        [[ " ${all[*]} " == *" $step "* ]] || die "no step \`$step\`; there are: ${all[*]}"
    done
    if (($# == 0)); then
        set -- "${all[@]}"
    fi
    run_steps "$@"
}
