#!/bin/sh
# The version before called the feed handler's unit and its user tickpath-reader. Without a word: prints
# what of that this host still has, one thing a line, and changes nothing. With "rename": gives unit and
# user their names of now. Each step sees what is left to do: where one fails, run it again.
#
# The user is renamed, and no other made: it keeps its number, so all that it owns stays its own, and it
# stays in each group that it was put into. That cannot be while it runs: what ran is stopped, and
# started by its new name. Drop-ins and scripts of yours go on with the old unit's name, which is an alias now.
set -eu
root=${TICKPATH_ROOT:-}
prefix=${root:+--prefix=$root}
old=tickpath-reader
new=tickpath-feed-handler
units=$root/etc/systemd/system

has() { grep -q "^$2:" "$root/etc/$1"; }
has_old_unit() { [ -f "$units/$old@.service" ] && [ ! -L "$units/$old@.service" ]; }
running() {
    systemctl list-units --plain --no-legend --state=active,activating,reloading,deactivating "$old@*" | cut -d ' ' -f 1
}
new_name() { echo "$new@${1#*@}"; }
# What is enabled by hand, besides what tickpath.target starts.
links() { find "$units" -mindepth 2 -maxdepth 2 -type l -name "$old@*.service" \( -path '*.wants/*' -o -path '*.requires/*' \); }
ours() { find "$units" -mindepth 2 -maxdepth 2 -path "*/$old@*.service.d/60-host.conf"; }

look() {
    if has_old_unit; then
        for unit in $(running); do echo "to do: stop $unit, start it as $(new_name "$unit")"; done
        echo "to do: rename the unit $old@.service to $new@.service, the old name as an alias"
    fi
    if has passwd $old; then echo "to do: rename the user $old to $new"; fi
    for path in $(links) $(ours); do echo "to do: move ${path#"$root"} to the unit's new name"; done
    find "$units" -mindepth 2 -path "*/$old@*.service.d/*" -type f ! -name 60-host.conf |
        sed "s|^$root\(.*\)|still under its old name: \1|"
    for folder in systemd/system sysusers.d tmpfiles.d sudoers sudoers.d cron.d security tickpath udev/rules.d; do
        [ ! -e "$root/etc/$folder" ] || grep -rIlw $old "$root/etc/$folder" || true
    done | grep -v -e "/$old@.service\$" -e '/60-host.conf$' -e '/sysusers.d/tickpath-users.conf$' | sed "s|^$root\(.*\)|still says $old: \1|"
}

rename_user() {
    has passwd $old || return 0
    if has passwd $new; then # made by systemd-sysusers after a run that ended before this
        if pgrep -u $new >/dev/null; then
            echo "users $old and $new both exist, and $new runs: stop that, then run this again" >&2
            return 1
        fi
        userdel $prefix $new
        ! has group $new || groupdel $prefix $new
    fi
    usermod $prefix --login $new $old
    ! has group $old || groupmod $prefix --new-name $new $old
}

rename_unit() {
    for path in $(links); do
        ln -sfn "$units/$new@.service" "${path%/*}/$(new_name "$path")"
        rm "$path"
    done
    for path in $(ours); do
        rm "$path"
        rmdir --ignore-fail-on-non-empty "${path%/*}"
    done
    if has_old_unit; then ln -sfn $new@.service "$units/$old@.service"; fi
}

# Whatever became of it: what ran runs again, by the name that its unit has then.
start_again() {
    status=$?
    trap - EXIT
    systemctl daemon-reload
    for unit in $ran; do
        if has_old_unit; then name=$unit; else name=$(new_name "$unit"); fi
        systemctl start "$name" || status=1
    done
    exit $status
}

case ${1:-} in
'') look ;;
rename)
    if has_old_unit; then ran=$(running); else ran=; fi
    trap start_again EXIT
    [ -z "$ran" ] || systemctl stop $ran
    rename_user
    rename_unit
    ;;
*)
    echo "$0 [rename]" >&2
    exit 2
    ;;
esac
