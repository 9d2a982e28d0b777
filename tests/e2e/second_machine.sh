#!/usr/bin/env bash
# Is a second machine: runs a command where nothing of the first one is but the kernel.
#
#   unshare --net --mount --pid --ipc --uts --fork --kill-child bash second_machine.sh \
#       FOLDER CODE PYTHON VENV SHARED INTERFACE ADDRESS/BITS COMMAND…
#
# Called in namespaces of its own; the caller hands an interface in and says so by a line. The disk
# is in memory and empty, but for the system's programs, the Python at PYTHON, and two things that
# lie elsewhere than on the first machine: the environment VENV, and the project's CODE without its
# tests. SHARED is a folder of the first one's, as on a file server. The user has a number and no
# name, an empty home, and no variable but Ray's token.
set -euo pipefail
umask 022
folder=$1 code=$2 python=$3 venv=$4 shared=$5 interface=$6 address=$7
shift 7
read -r _

echo second > /proc/sys/kernel/hostname
ip link set lo up
ip address add "$address" dev "$interface"
ip link set "$interface" up

mount -t tmpfs -o mode=755 second "$folder"
cd "$folder"

lend() {
    mkdir -p ".$2"
    mount --bind -o ro "$1" ".$2"
}
for place in /usr /bin /sbin /lib /lib32 /lib64 /etc; do
    if [[ -L $place ]]; then
        cp -P "$place" ".$place"
    elif [[ -d $place ]]; then
        lend "$place" "$place"
    fi
done
[[ -d .$python ]] || lend "$python" "$python"
lend "$venv" /opt/venv
for room in flows tasks infra configs; do
    lend "$code/$room" "/srv/opencharacter/$room"
done
printf '127.0.0.1 localhost\n%s second\n' "${address%/*}" > hosts
mount --bind -o ro hosts etc/hosts

mkdir -p proc sys dev/shm home/second
mkdir -m 1777 tmp
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=1777 shm dev/shm
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
ln -s /proc/self/fd dev/fd
chown 4321:4321 home/second
chmod 700 home/second

mkdir -p ".$shared"
mount --bind "$shared" ".$shared"

pivot_root . .
umount --lazy .
cd /
# By these, tests that run side by side tell whose a process is: see processes.py.
marks=(SPT_NOENV=1 ${PYTEST_XDIST_WORKER:+"PYTEST_XDIST_WORKER=$PYTEST_XDIST_WORKER"})
# Not with exec: the first process of a machine clears away whoever has nobody else.
env --ignore-environment "${marks[@]}" \
    HOME=/home/second PATH=/opt/venv/bin:/usr/bin:/bin PYTHONPATH=/srv/opencharacter \
    RAY_AUTH_MODE=token RAY_AUTH_TOKEN="$RAY_AUTH_TOKEN" \
    setpriv --reuid=4321 --regid=4321 --clear-groups --no-new-privs --bounding-set=-all "$@"
exit $?
