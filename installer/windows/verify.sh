#!/bin/sh
# Runs inside a Debian with 64-bit Wine, in namespaces of its own; started by installer/windows/verify.py.
# Everything it finds goes into /verify/found, a file per question.
set -eu
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /dev/shm
out=/verify/found
mkdir -p "$out"
export HOME=/root WINEPREFIX=/root/wine WINEARCH=win64 WINEDEBUG=-all LANG=C.UTF-8 DISPLAY=:77
# The stand-ins, and no menus, browsers or .NET of Wine. OpenMP asks Wine for what it lacks.
export WINEDLLOVERRIDES="ucrtbase,mscms=n;winemenubuilder.exe=d;mscoree=;mshtml="
export KMP_AFFINITY=disabled OMP_NUM_THREADS=1 QT_QPA_PLATFORM=windows
Xvfb :77 -screen 0 1280x900x24 >/dev/null 2>&1 &
grep -q localhost /etc/hosts || echo "127.0.0.1 localhost" >>/etc/hosts

local="$WINEPREFIX/drive_c/users/root/AppData/Local"
program="$local/Programs/FednnU-Net Desktop"
home="$local/FednnU-Net"

registry() {
    for key in 'Software\Classes\.fedjoin' 'Software\Classes\FednnUNet.Invitation' \
        'Software\Microsoft\Windows\CurrentVersion\Uninstall\FednnUNetDesktop' \
        'Software\FednnUNetDesktop'; do
        wine reg query "HKCU\\$key" /s 2>/dev/null || true
    done | tr -d '\r' | { grep -v '^reg: ' || true; }
}

wait_for() {
    # wait_for SECONDS COMMAND...
    left=$1
    shift
    while ! "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        sleep 1
    done
}

gone() {
    ! wine reg query 'HKCU\Software\FednnUNetDesktop' >/dev/null 2>&1
}

ours() {
    for process in /proc/[0-9]*; do
        tr '\0' ' ' <"$process/cmdline" 2>/dev/null | grep -F 'fednnunet' | grep -v -F setup || true
    done
}

idle() {
    [ -z "$(ours)" ]
}

answers() {
    # answers NAME: note under NAME.json what the service says of itself.
    wine "$program/fednnunet.exe" site status --json >"$out/$1.json" 2>/dev/null
}

home_files() {
    (cd "$home" && find . -type f | sort) 2>/dev/null || true
}

version() {
    wine "$program/fednnunet.exe" --version 2>&1 || true
}

update() {
    # update NAME: run the setup program over what runs, and note under NAME what it found and left.
    home_files >"$out/home-before-$1"
    wine "/verify/$SETUP" /S && echo 0 >"$out/status-of-$1" || echo $? >"$out/status-of-$1"
    wait_for 20 idle || true
    ours >"$out/running-after-$1"
    home_files >"$out/home-after-$1"
    version >"$out/version-after-$1"
}

WINEDLLOVERRIDES="winemenubuilder.exe=d;mscoree=;mshtml=" wineboot --init >/dev/null 2>&1
wineserver --wait
cp /verify/standins/*.dll "$WINEPREFIX/drive_c/windows/system32/"

began=$(date +%s)
wine "/verify/$SETUP" /S
echo $(($(date +%s) - began)) >"$out/install-seconds"
registry >"$out/registry"
find "$program" -type f | wc -l >"$out/files-installed"
ls "$WINEPREFIX/drive_c/users/root/AppData/Roaming/Microsoft/Windows/Start Menu/Programs" >"$out/start-menu" || true
version >"$out/version"

wine "$program/fednnunet.exe" self-test --json 'Z:\verify\found\self-test.json' --device cpu \
    >"$out/self-test.txt" 2>&1 || true
find "$program" -type f | wc -l >"$out/files-after-self-test"

# What a double-click runs, by the command in the registry.
cd /root
wine "$program/fednnunet.exe" coordinator example >study.toml 2>/dev/null || true
wine "$program/fednnunet.exe" coordinator create study.toml --home study --host localhost --port 8443 >"$out/invite.txt" 2>&1 || true
wine "$program/fednnunet.exe" coordinator invite --home study --site clinic --out clinic.fedjoin >>"$out/invite.txt" 2>&1 || true
wine "$program/fednnunet-desktop.exe" 'Z:\root\clinic.fedjoin' >/dev/null 2>&1 &
wait_for 60 answers status || true
sleep 10
ours >"$out/running"
xwd -root -silent -display :77 -out "$out/screen.xwd" 2>/dev/null || true

# The same version again; what runs is ended, what was saved stays.
update update

wine "$program/uninstall.exe" /S
wait_for 600 gone || true
sleep 5
registry >"$out/registry-after"
find "$program" -type f 2>/dev/null | head -50 >"$out/files-after" || true
home_files >"$out/home-after"

if [ -n "$OLDER" ]; then
    # An older version meets the workspace that stayed, and is updated while it runs.
    wine "/verify/$OLDER" /S
    version >"$out/version-of-older"
    find "$program" -type f | sed "s|^$program/||" | sort >"$out/files-of-older"
    wine "$program/fednnunet-desktop.exe" >/dev/null 2>&1 &
    wait_for 60 answers older-status || true
    ours >"$out/running-before-upgrade"
    update upgrade
    find "$program" -type f | sed "s|^$program/||" | sort >"$out/files-after-upgrade"
else
    wine "/verify/$SETUP" /S
fi
wine "$program/uninstall.exe" /S /REMOVE-WORKSPACE
wait_for 600 gone || true
sleep 5
find "$home" "$program" 2>/dev/null | head -50 >"$out/everything-after" || true
wineserver --kill || true
