#!/bin/sh
# Removes an installation made by the self-extracting file. Asks whether the workspace stays:
# keys, the joined study, models, verdicts. --keep-workspace and --remove-workspace do not ask.
set -eu
folder="@FOLDER@"
workspace="ask"
quiet=""
while [ $# -gt 0 ]; do
    case "$1" in
        --keep-workspace) workspace="keep" ;;
        --remove-workspace) workspace="remove" ;;
        --quiet) quiet="yes" ;;
        *)
            echo "uninstall.sh [--keep-workspace | --remove-workspace] [--quiet]" >&2
            exit 2
            ;;
    esac
    shift
done
data="${XDG_DATA_HOME:-$HOME/.local/share}"
home="${FEDNNUNET_HOME:-$data/fednnunet}"
if [ "$workspace" = "ask" ]; then
    workspace="keep"
    if [ -d "$home" ] && [ -t 0 ]; then
        printf 'Also remove the workspace %s (keys, study, models, verdicts)? [y/N] ' "$home"
        read -r answer
        case "$answer" in
            y | Y | yes) workspace="remove" ;;
        esac
    fi
fi

running() {
    for process in /proc/[0-9]*; do
        if [ "$(readlink "$process/exe" 2>/dev/null)" = "$folder/fednnunet" ]; then
            echo "${process#/proc/}"
        fi
    done
}

for number in $(running); do
    kill "$number" 2>/dev/null || true
done
waited=0
while [ -n "$(running)" ] && [ "$waited" -lt 30 ]; do
    sleep 1
    waited=$((waited + 1))
done
for number in $(running); do
    kill -9 "$number" 2>/dev/null || true
done
rm -f "$HOME/.local/bin/fednnunet" "$data/applications/fednnunet.desktop" \
    "$data/mime/packages/fednnunet.xml" "$data/icons/hicolor/scalable/apps/fednnunet.svg" \
    "$data/icons/hicolor/scalable/mimetypes/application-x-fednnunet-invitation.svg"
if command -v update-desktop-database >/dev/null; then
    update-desktop-database -q "$data/applications" || true
fi
if command -v update-mime-database >/dev/null; then
    update-mime-database "$data/mime" || true
fi
rm -rf "$folder"
if [ "$workspace" = "remove" ]; then
    rm -rf "$home"
fi
if [ -z "$quiet" ]; then
    if [ -d "$home" ]; then
        echo "removed; the workspace stays in $home"
    else
        echo "removed"
    fi
fi
