#!/usr/bin/env bash
# Runs make targets one after another, whatever fails; fails if one of them did. Called by `make test`.
#
# The last one is pytest: tests/conftest.py prints, before pytest's own closing line, how those before
# it ended (TICKPATH_GROUPS).
set -uo pipefail

TICKPATH_GROUPS=
export TICKPATH_GROUPS
failed=0
trap 'exit 130' INT
for group in "$@"; do
    started=$SECONDS
    outcome=passed
    make --no-print-directory "$group" || outcome=FAILED
    [[ $outcome == passed ]] || failed=1
    TICKPATH_GROUPS+="$group: $outcome in $((SECONDS - started)) s"$'\n'
done
exit $failed
