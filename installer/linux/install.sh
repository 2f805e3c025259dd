#!/bin/sh
# Runs inside the self-extracting file: installs for this user, without root and without network.
#     ./fednnunet-VERSION-linux-x86_64.run [-- --folder DIR]
# Removing: run uninstall.sh in the installed folder.
set -eu
folder="$HOME/.local/opt/fednnunet"
while [ $# -gt 0 ]; do
    case "$1" in
        --folder)
            folder="${2:?--folder needs a folder}"
            shift 2
            ;;
        *)
            echo "install.sh [--folder DIR]" >&2
            exit 2
            ;;
    esac
done
here=$(cd "$(dirname "$0")" && pwd)
data="${XDG_DATA_HOME:-$HOME/.local/share}"
case "$folder" in
    /*) ;;
    *) folder="$PWD/$folder" ;;
esac
if [ -e "$folder" ] && [ ! -x "$folder/fednnunet" ]; then
    echo "$folder is in the way: it is no installation of FednnU-Net Desktop" >&2
    exit 1
fi
mkdir -p "$(dirname "$folder")" "$HOME/.local/bin"
# The new program is complete before the old one goes; a crash in between leaves one of them.
new="$folder.new"
rm -rf "$new"
cp -R "$here/fednnunet" "$new"
sed -e "s|@FOLDER@|$folder|g" "$here/uninstall.sh" >"$new/uninstall.sh"
chmod +x "$new/uninstall.sh"
if [ -d "$folder" ]; then
    "$folder/uninstall.sh" --keep-workspace --quiet
fi
mv "$new" "$folder"
ln -sf "$folder/fednnunet" "$HOME/.local/bin/fednnunet"
mkdir -p "$data/applications" "$data/mime/packages" \
    "$data/icons/hicolor/scalable/apps" "$data/icons/hicolor/scalable/mimetypes"
sed -e "s|@COMMAND@|\"$folder/fednnunet\"|" "$here/fednnunet.desktop" >"$data/applications/fednnunet.desktop"
cp "$here/fednnunet.xml" "$data/mime/packages/fednnunet.xml"
cp "$here/fednnunet.svg" "$data/icons/hicolor/scalable/apps/fednnunet.svg"
cp "$here/invitation.svg" \
    "$data/icons/hicolor/scalable/mimetypes/application-x-fednnunet-invitation.svg"
if command -v update-desktop-database >/dev/null; then
    update-desktop-database -q "$data/applications" || true
fi
if command -v update-mime-database >/dev/null; then
    update-mime-database "$data/mime" || true
fi
echo "installed in $folder; start it from the menu or with $HOME/.local/bin/fednnunet"
