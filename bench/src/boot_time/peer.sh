#!/bin/busybox sh
# The least that starts etcd and kube-apiserver on this kernel: no waiting that is not needed, state in memory.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
hostname peer

# The root slot of the same image.
modprobe virtio_blk
modprobe squashfs
until slot=$(grep -l '^PARTNAME=root-a$' /sys/class/block/*/uevent); do usleep 20000; done
mount -t squashfs -o ro "/dev/$(basename "$(dirname "$slot")")" /sysroot
modules=/sysroot/lib/modules
[ -d "$modules" ] || modules=/sysroot/usr/lib/modules
mount --bind "$modules" /lib/modules
modprobe virtio_net

ip link set lo up
until [ -e /sys/class/net/eth0 ]; do usleep 20000; done
ip addr add @ADDRESS@/24 dev eth0
ip link set eth0 up

mount -t proc proc /sysroot/proc
mount --bind /dev /sysroot/dev
mount -t tmpfs run /sysroot/run
cp -r /keys /sysroot/run/keys

chroot /sysroot /usr/bin/etcd \
    --data-dir /run/etcd \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
    --initial-cluster default=http://127.0.0.1:2380 >/run/etcd.log 2>&1 &
chroot /sysroot /usr/bin/kube-apiserver \
    --etcd-servers http://127.0.0.1:2379 \
    --advertise-address @ADDRESS@ --bind-address 0.0.0.0 --secure-port 6443 \
    --tls-cert-file /run/keys/tls.crt --tls-private-key-file /run/keys/tls.key \
    --service-account-issuer https://peer --service-account-key-file /run/keys/sa.pub \
    --service-account-signing-key-file /run/keys/sa.key \
    --authorization-mode RBAC &
echo "peer: started"
while :; do wait; sleep 3600; done
