#!/usr/bin/env bash
# Becomes the training's container. efficientdet-aimmo.service starts it.
#
# Its image and its flags are files that prepare.sh wrote, the flags one a line.
set -euo pipefail

# Other places are for tests.
readonly ROOT=${EFFICIENTDET_ROOT:-/srv/efficientdet}
readonly SETTINGS=${EFFICIENTDET_SETTINGS:-/etc/efficientdet-aimmo}
readonly DEVICES=${EFFICIENTDET_PREFIX:-}/dev
readonly NAME=efficientdet

image=$(<"$SETTINGS/image")
mapfile -t arguments <"$SETTINGS/arguments"

# --rm has removed the last one, unless docker itself was ended. Two in one model
# folder would end with 73.
left=$(docker ps --all --quiet --filter="name=^$NAME\$")
if [[ -n $left ]]; then
  echo "Removing the container $NAME, which docker left behind."
  docker rm --force "$left"
fi

# By name too: a container that got them by --gpus alone loses them when systemd
# reads its units anew ("Failed to initialize NVML: Unknown Error",
# https://github.com/NVIDIA/nvidia-docker/issues/1730).
devices=()
for device in "$DEVICES"/nvidia[0-9]* "$DEVICES"/nvidia{ctl,-uvm,-uvm-tools}; do
  [[ ! -e $device ]] || devices+=(--device="/dev/${device##*/}")
done

# In the foreground and in place of this shell: docker run hands SIGTERM on to
# the training and ends with its code. The user is the image's. The timeout is
# for a docker that is itself stopped.
exec docker run --rm --name="$NAME" --gpus=all "${devices[@]}" --stop-timeout=300 \
  --volume="$ROOT:/data" --volume=efficientdet-cache:/cache \
  "$image" "${arguments[@]}"
