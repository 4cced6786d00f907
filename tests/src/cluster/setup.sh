# First thing inside a cluster's namespaces: the node's network and private mounts.
# $1: the cluster's folder, $2: the node's address.
set -eu

# Nothing that containerd, runc, CNI and iptables keep at fixed paths reaches the machine's own.
mkdir -p /var/lib/cni /var/lib/kubelet
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/lock /run/containerd
mount -t tmpfs tmpfs /var/lib/cni
mount -t tmpfs tmpfs /var/lib/kubelet
mount -t tmpfs tmpfs "$1/etcd"
mount --bind "$1/log" /var/log

# The node needs an address before the first pod: a bridge without ports gives it one.
ip link set lo up
ip link add node0 type bridge
ip address add "$2/32" dev node0
ip link set node0 up
ip route add default dev node0

echo 1 > /proc/sys/net/ipv4/ip_forward
# Answers between two pods of one bridge pass conntrack too, or Services among them break.
if [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]; then
  echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables
fi
