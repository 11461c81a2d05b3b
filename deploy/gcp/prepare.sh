#!/usr/bin/env bash
# Makes a Google Cloud machine ready: driver, docker, the image, the training.
#
# machine.sh gives it to the machine as its start script, so it runs at every
# start, and again for machine.sh run. What is there it leaves as it is. On a
# machine made in another way: sudo deploy/gcp/prepare.sh, which then stops
# before the image. It ends with 75 where the machine restarts for the driver.
set -euo pipefail

PATH=$PATH:/snap/bin # where Ubuntu has gcloud
export DEBIAN_FRONTEND=noninteractive HOME=${HOME:-/root}
# Other places are for tests.
readonly PREFIX=${EFFICIENTDET_PREFIX:-}
readonly OPT=$PREFIX/opt/efficientdet-aimmo SETTINGS=$PREFIX/etc/efficientdet-aimmo
readonly ROOT=$PREFIX/srv/efficientdet UNITS=$PREFIX/etc/systemd/system
# Exit codes as everywhere in this project (README, Exit codes).
readonly UNUSABLE=69 STOPPED=75
# Branches of the driver, first choice first. CUDA 12.2 needs 525.60.13 or later:
# https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
# 580 is the last for the V100, NVIDIA's Volta:
# https://forums.developer.nvidia.com/t/unix-graphics-feature-deprecation-schedule/60588
# Only the closed modules know Volta: none of Ubuntu's packages with "open".
readonly BRANCHES='580 570 550 535'
# NVIDIA's key for the container toolkit.
readonly KEY=C95B321B61E88C1809C4F759DDCAE044F796ECB0
readonly REPOSITORY=https://nvidia.github.io/libnvidia-container
readonly USER_ID=1000 # the image's

fail() {
  printf 'error: %s\n' "$2" >&2
  exit "$1"
}

# attribute NAME: the machine's metadata of that name, or nothing.
attribute() {
  local code=0 product=$PREFIX/sys/class/dmi/id/product_name
  curl --silent --fail --noproxy '*' --connect-timeout 5 \
    --header 'Metadata-Flavor: Google' \
    "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1" ||
    code=$?
  # 22: the server answers that there is none. Elsewhere there is no server.
  ((code == 0 || code == 22)) || ! grep -qs 'Google Compute Engine' "$product" ||
    fail $UNUSABLE "The machine's metadata cannot be read (curl ended with\
 $code). Start the machine again."
}

# The machine's own updates may hold the lock.
apt() {
  apt-get -o DPkg::Lock::Timeout=900 --quiet --yes "$@"
}

has_driver() {
  nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null
}

install_driver() {
  local found kernel flavour branch
  if found=$(has_driver); then
    echo "driver: $found"
    return
  fi
  grep -qs 0x10de "$PREFIX"/sys/bus/pci/devices/*/vendor ||
    fail $UNUSABLE "The machine has no NVIDIA GPU. Make one with\
 --accelerator=type=nvidia-tesla-v100,count=1 (or -t4), as machine.sh does."
  kernel=$(uname -r)
  flavour=${kernel##*-}
  apt update
  for branch in $BRANCHES; do
    apt-cache show "linux-modules-nvidia-$branch-server-$flavour" \
      >/dev/null 2>&1 && break
    branch=
  done
  [[ $branch ]] ||
    fail $UNUSABLE "There is no package of NVIDIA's driver for the kernel\
 $kernel, expected one of the branches $BRANCHES for Ubuntu's kernel for Google\
 Cloud. Make the machine with --image-family=ubuntu-2404-lts-amd64\
 --image-project=ubuntu-os-cloud, or install a driver yourself."
  # Ubuntu's modules are built and signed for each kernel: nothing is compiled.
  # The kernel's own package as well, as modules are for its newest version.
  apt install --no-install-recommends "linux-$flavour" \
    "linux-modules-nvidia-$branch-server-$flavour" \
    "nvidia-headless-no-dkms-$branch-server" "nvidia-utils-$branch-server"
  modprobe nvidia 2>/dev/null || true # fails where a newer kernel was installed
  if found=$(has_driver); then
    echo "driver: $found"
    return
  fi
  [[ ! -e $SETTINGS/restarted ]] ||
    fail $UNUSABLE "The driver does not work after a restart either. Look at\
 nvidia-smi and at: sudo dmesg | grep -i nvrm"
  mkdir -p "$SETTINGS"
  touch "$SETTINGS/restarted"
  echo "driver: installed for a newer kernel; the machine restarts into it."
  systemctl reboot
  exit $STOPPED
}

# No part that a running training stands on is exchanged under it: after a new
# driver, CUDA fails with "Driver/library version mismatch".
hold_updates() {
  mkdir -p "$PREFIX/etc/apt/apt.conf.d"
  printf '%s\n' 'Unattended-Upgrade::Package-Blacklist {' \
    '  "linux-"; "nvidia-"; "libnvidia-"; "docker"; "containerd"; "runc";' '};' \
    >"$PREFIX/etc/apt/apt.conf.d/52efficientdet-aimmo"
}

install_docker() {
  local keys=$PREFIX/usr/share/keyrings key
  if ! command -v docker >/dev/null; then
    apt update
    apt install --no-install-recommends docker.io
  fi
  if ! command -v nvidia-ctk >/dev/null; then
    # https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/
    mkdir -p "$keys" "$PREFIX/etc/apt/sources.list.d"
    key=$(mktemp)
    curl --silent --show-error --fail --location --output "$key" \
      "$REPOSITORY/gpgkey" || fail $UNUSABLE "$REPOSITORY cannot be reached.\
 The machine needs an address of its own, or Cloud NAT."
    [[ $(gpg --batch --show-keys --with-colons "$key" | grep -c "^fpr:*$KEY:") == 1 ]] ||
      fail $UNUSABLE "The key at $REPOSITORY/gpgkey is not NVIDIA's $KEY.\
 Nothing was installed from there; compare with NVIDIA's documentation."
    gpg --batch --yes --dearmor --output "$keys/nvidia-container-toolkit.gpg" "$key"
    rm -f "$key"
    echo "deb [signed-by=/usr/share/keyrings/nvidia-container-toolkit.gpg]\
 $REPOSITORY/stable/deb/amd64 /" \
      >"$PREFIX/etc/apt/sources.list.d/nvidia-container-toolkit.list"
    apt update
    apt install --no-install-recommends nvidia-container-toolkit
  fi
  if ! docker info --format '{{.Runtimes}}' | grep -q nvidia; then
    nvidia-ctk runtime configure --runtime=docker
    systemctl restart docker
  fi
  echo "docker: $(docker --version)"
}

install_gcloud() {
  command -v gcloud >/dev/null || snap install google-cloud-cli --classic
}

# install_file KEY PATH MODE: from the metadata.
install_file() {
  local content
  content=$(attribute "$1")
  [[ $content ]] ||
    fail $UNUSABLE "The machine's metadata has no $1. Make it with machine.sh."
  install -D --mode="$3" <(printf '%s\n' "$content") "$2"
}

install_files() {
  install_file efficientdet-train "$OPT/train.sh" 755
  install_file efficientdet-store "$OPT/store.sh" 755
  install_file efficientdet-unit "$UNITS/efficientdet-aimmo.service" 644
  install_file efficientdet-store-unit "$UNITS/efficientdet-store.service" 644
  install_file efficientdet-store-timer "$UNITS/efficientdet-store.timer" 644
  mkdir -p "$SETTINGS"
  echo "$bucket" >"$SETTINGS/bucket"
  # Of this machine alone, also when another one gets its name.
  echo "$(hostname) $(cat /etc/machine-id)" >"$SETTINGS/owner"
  install -d --owner=$USER_ID --group=$USER_ID "$ROOT"
  systemctl daemon-reload
}

pull() {
  local host=${image%%/*}
  [[ $host != *.pkg.dev && $host != *gcr.io ]] ||
    gcloud auth configure-docker "$host" --quiet
  docker pull --quiet "$image" || fail $UNUSABLE "The image $image cannot be\
 pulled, docker's message is above. It needs room on the disk, the right name\
 (gcloud artifacts docker images list), and the role Artifact Registry Reader\
 for the machine's account."
  echo "$image" >"$SETTINGS/image"
}

start_training() {
  local before=''
  [[ ! -e $SETTINGS/arguments ]] || before=$(<"$SETTINGS/arguments")
  printf '%s\n' "$arguments" >"$SETTINGS/arguments"
  systemctl enable --now efficientdet-store.timer
  systemctl enable efficientdet-aimmo.service
  if [[ $before && $before != "$arguments" ]]; then
    systemctl stop efficientdet-aimmo.service # which saves
  fi
  # Copies the records first; its messages are in the log.
  systemctl start --no-block efficientdet-aimmo.service
  echo "training: started. machine.sh logs follows it."
}

main() {
  local image bucket arguments
  ((EUID == 0)) || [[ $PREFIX ]] || fail $UNUSABLE "prepare.sh needs root: sudo $0"
  # The start of the machine and machine.sh run may come together.
  mkdir -p "$PREFIX/run"
  exec 9>"$PREFIX/run/efficientdet-prepare.lock"
  flock 9
  hold_updates
  install_driver
  install_docker
  image=$(attribute efficientdet-image)
  bucket=$(attribute efficientdet-bucket)
  arguments=$(attribute efficientdet-arguments)
  if [[ -z $image || -z $bucket ]]; then
    echo "ready: docker run --gpus all works. The machine was not made with" \
      "machine.sh, so nothing more was installed."
    return
  fi
  install_gcloud
  install_files
  pull
  rm -f "$SETTINGS/restarted"
  if [[ $arguments ]]; then
    start_training
  else
    echo "ready: machine.sh run starts a training."
  fi
}

main "$@"
