# Sourced by the scripts of this sample OS definition. It does what a real one does, in miniature:
# instead of a file system it writes a header of one block onto the first disk.

set -eu

HEADER_BYTES=4096

die() {
    echo "debian: $*" >&2
    exit 1
}

first_disk() {
    [ "${DISK_COUNT:-0}" -gt 0 ] || die "the instance has no disk to install on"
    [ -n "${DISK_0_PATH:-}" ] || die "disk 0 has no path"
    [ -w "$DISK_0_PATH" ] || die "$DISK_0_PATH cannot be written"
    echo "$DISK_0_PATH"
}

# Write stdin as the header of a disk, padded with NUL bytes to one block.
write_header() {
    dd of="$1" bs="$HEADER_BYTES" count=1 conv=notrunc,sync iflag=fullblock status=none
}

read_header() {
    dd if="$1" bs="$HEADER_BYTES" count=1 status=none | tr -d '\000'
}

header() {
    echo "cairn-sample-os 1"
    echo "os=$INSTANCE_OS"
    echo "variant=$OS_VARIANT"
    echo "hostname=$1"
    i=0
    while [ "$i" -lt "${NIC_COUNT:-0}" ]; do
        eval "echo nic$i=\$NIC_${i}_MAC"
        i=$((i + 1))
    done
    echo "packages=${OSP_PACKAGES:-}"
}
