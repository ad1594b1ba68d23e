#!/bin/sh
# Prints which of the units given run by older files than those that are there now, however these came
# to be there; has systemd read files that it has not read yet.
set -eu
root=${TICKPATH_ROOT:-}
for unit; do
    if [ "$(systemctl show --property=NeedDaemonReload --value "$unit")" = yes ]; then
        systemctl daemon-reload
        break
    fi
done
for unit; do
    [ "$(systemctl show --property=ActiveState --value "$unit")" = active ] || continue
    # Of its start, not of its being ready: what was written in between it may not have seen.
    since=$(systemctl show --property=InactiveExitTimestamp --value --timestamp=us+utc "$unit")
    date --date="$since" >/dev/null # a time that cannot be read ends this, instead of hiding what is newer
    instance=${unit#*@}
    case $unit in
    tickpath-feed-handler@*) own=$root/etc/tickpath/${instance%.service}.toml alias=tickpath-reader ;;
    *) own=$root/etc/tickpath/strategies alias=${unit%%@*} ;;
    esac
    units=$root/etc/systemd/system
    newer=$(find "$root/opt/tickpath/current" "$own" "$units/$unit" "$units/$unit.d" \
        "$units/${unit%%@*}@.service" "$units/${unit%%@*}@.service.d" \
        "$units/$alias@$instance.d" "$units/$alias@.service.d" -newermt "$since" -print -quit 2>/dev/null || true)
    [ -z "$newer" ] || echo "$unit"
done
