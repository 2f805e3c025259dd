#!/bin/sh
# Runs inside a bare Debian, as root, in namespaces of its own; started by installer/linux/verify.py.
# Everything it finds goes into /verify, a line or a file per question.
set -eu
mount -t proc proc /proc
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
out=/verify/found
mkdir -p "$out"

files() {
    # What is no file of the system: process data, caches that apt and ldconfig rebuild, our notes.
    find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /verify -o -path /tmp \
        -o -path /var/cache -o -path /var/log -o -path /var/lib/apt -o -path /var/lib/dpkg \
        -o -path /home \) -prune -o -print | sort
}

running() {
    for process in /proc/[0-9]*; do
        if [ "$(readlink "$process/exe" 2>/dev/null)" = /opt/fednnunet/fednnunet ]; then
            echo "${process#/proc/}"
        fi
    done
}

update() {
    # update NAME COMMAND...: run an update over what runs, and note under NAME what it found and left.
    name=$1
    shift
    as_user "find .local/share/fednnunet -type f | sort | xargs sha256sum" >"$out/home-before-$name"
    running | wc -l >"$out/services-before-$name"
    "$@"
    running | wc -l >"$out/processes-after-$name"
    as_user "find .local/share/fednnunet -type f | sort" >"$out/home-after-$name"
    as_user "fednnunet --version" >"$out/version-after-$name"
}

as_user() {
    # A clean environment, as after logging in.
    su tester -s /bin/sh -c "cd; export LC_ALL=C.UTF-8 XDG_CURRENT_DESKTOP=GNOME; $1"
}

# Every installed system has this; a bare one has not been through its installer.
[ -f /etc/hosts ] || echo "127.0.0.1 localhost" >/etc/hosts

# What the test itself needs; its packages are here before the list of files is made.
apt-get update -q
apt-get install -q -y --no-install-recommends xvfb xauth x11-utils x11-apps dbus libglib2.0-bin procps
useradd --create-home tester

for tool in python3 python gcc cc; do
    if command -v "$tool" >/dev/null; then
        echo "$tool"
    fi
done >"$out/tools-that-should-be-missing"
dpkg-query -W -f '${Package}\n' | sort >"$out/packages-before"
files >"$out/files-before"

apt-get install -q -y --no-install-recommends "/verify/$PACKAGE"
dpkg-query -W -f '${Package}\n' | sort >"$out/packages-installed"

as_user "fednnunet --version" >"$out/version"
as_user "xvfb-run -a fednnunet self-test --json self-test.json --device cpu" >"$out/self-test.txt" 2>&1 ||
    echo failed >"$out/self-test-failed"
cp /home/tester/self-test.json "$out/" || true

# The file type, and what a double-click starts.
as_user "
    fednnunet coordinator example >study.toml
    fednnunet coordinator create study.toml --home coordinator --host localhost --port 8443
    fednnunet coordinator invite --home coordinator --site clinic --out clinic.fedjoin
    gio info -a standard::content-type clinic.fedjoin
    gio mime application/x-fednnunet-invitation
    xdg-mime query default application/x-fednnunet-invitation
" >"$out/file-type" 2>&1
cat >/tmp/open.sh <<'END'
xdg-open clinic.fedjoin >opened.log 2>&1
waited=0
while [ "$waited" -lt 60 ]; do
    sleep 1
    waited=$((waited + 1))
    fednnunet site status --json >status.json 2>status.err && break
done
# The service is asked for the invitation as soon as the window has attached to it.
sleep 5
pgrep -af 'clinic[.]fedjoin' >opened-by.txt
xwininfo -root -tree >windows.txt 2>&1
xwd -root -silent -out screen.xwd
END
chmod 755 /tmp/open.sh
as_user "xvfb-run -a dbus-run-session -- sh /tmp/open.sh" >"$out/open.txt" 2>&1 || true
for name in status.json windows.txt opened.log opened-by.txt screen.xwd; do
    cp "/home/tester/$name" "$out/" || true
done
rm /tmp/open.sh

# Update over a running service: it is asked to end, and its state is there afterwards.
update update apt-get install -q -y --reinstall --no-install-recommends "/verify/$PACKAGE"

apt-get purge -q -y fednnunet
# Without this, apt keeps what other packages only recommend.
apt-get autoremove -q -y --purge -o APT::AutoRemove::RecommendsImportant=false
dpkg-query -W -f '${Package}\n' | sort >"$out/packages-after"
files >"$out/files-after"
as_user "find . -path ./.cache -prune -o -type f -print | sort" >"$out/home-after"

if [ -n "$OLDER" ]; then
    # The same from an older version, which meets the workspace that the newer one has left.
    apt-get install -q -y --no-install-recommends "/verify/$OLDER"
    as_user "fednnunet --version" >"$out/version-of-older"
    as_user "fednnunet site run >site.log 2>&1 & sleep 15; fednnunet site status --json >older-status.json"
    update upgrade apt-get install -q -y --no-install-recommends "/verify/$PACKAGE"
    as_user "fednnunet site run >site.log 2>&1 & sleep 15; fednnunet site status --json >newer-status.json"
    for name in older-status.json newer-status.json; do
        cp "/home/tester/$name" "$out/" || true
    done
    apt-get purge -q -y fednnunet
    running | wc -l >"$out/processes-after-purge"
    files >"$out/files-after-upgrade"
fi

# The self-extracting file, for a user without root; what it needs of the system comes back first.
apt-get install -q -y --no-install-recommends $LIBRARIES
rm -rf /home/tester/.local /home/tester/.config
as_user "find . -type f | sort" >"$out/home-before-portable"
as_user "sh /verify/$PORTABLE --quiet --nochown" >"$out/portable.txt" 2>&1
as_user "xvfb-run -a .local/bin/fednnunet self-test --json portable.json --only window --only keys --only service --only worker --device cpu" \
    >"$out/portable-self-test.txt" 2>&1 || true
cp /home/tester/portable.json "$out/" || true
rm -f /home/tester/portable.json
as_user "gio info -a standard::content-type clinic.fedjoin" >"$out/portable-file-type" 2>&1 || true
as_user ".local/opt/fednnunet/uninstall.sh --remove-workspace" >>"$out/portable.txt" 2>&1
as_user "find . -path ./.cache -prune -o -type f -print | sort" >"$out/home-after-portable"
