#!/usr/bin/env bash
# A training on a machine of Google Cloud with one V100 or T4, from here.
#
#     deploy/gcp/machine.sh VERB --project=P --zone=Z [flags] [-- train ...]
#
# deploy/gcp/README.md says what each verb does; --help lists them.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly HERE
# Exit codes as everywhere in this project (README, Exit codes).
readonly USAGE=64 UNUSABLE=69 STOPPED=75
# https://cloud.google.com/compute/docs/images/os-details
readonly OS_FAMILY=ubuntu-2404-lts-amd64 OS_PROJECT=ubuntu-os-cloud
# What the machine keeps of this folder, by the key of its metadata.
readonly FILES=(
  startup-script=prepare.sh
  efficientdet-train=train.sh
  efficientdet-store=store.sh
  efficientdet-unit=efficientdet-aimmo.service
  efficientdet-store-unit=efficientdet-store.service
  efficientdet-store-timer=efficientdet-store.timer
)
# Between the parts of --metadata, instead of a comma, which flags may contain.
readonly MARK='<|>'
# shellcheck disable=SC2016  # the machine's shell expands it
readonly ITS_IMAGE='"$(cat /etc/efficientdet-aimmo/image)"'
readonly SSH_TRIES=20 SSH_PAUSE_S=15

usage() {
  cat <<'TEXT'
usage: machine.sh VERB --project=ID --zone=ZONE [FLAGS] [-- train TRAINING FLAGS]

verbs:
  create       make the machine; it installs driver, docker and the image's needs
  run          start a training there: everything after -- goes to the image
  doctor       check GPU, driver and image on the machine
  logs         follow what the training and the machine's start say
  tensorboard  show the training at http://localhost:PORT, through an SSH tunnel
  sync         copy the model folder to the bucket now
  start        start a machine that Google took back (Spot); the training goes on
  delete       stop the training, copy the model folder, delete the machine

flags:
  --project=ID          the project (all verbs)
  --zone=ZONE           the zone, such as europe-west4-a (all verbs)
  --name=NAME           the machine's name (default: efficientdet)
  --dry_run             print the gcloud commands instead of running them
  --iap                 reach the machine through Identity-Aware Proxy
  --gpu=v100|t4         create: the GPU
  --bucket=gs://B/RUN   create: where records lie and the model is copied to
  --image=IMAGE         create, run: the image, such as
                        europe-docker.pkg.dev/ID/REPOSITORY/efficientdet-aimmo:TAG
  --spot                create: a Spot machine, cheaper, which Google may take back
  --machine_type=TYPE   create: an n1 machine (default: n1-standard-8)
  --disk_gb=N           create: size of the disk (default: 100)
  --service_account=A   create: the account (default: Compute Engine's own)
  --port=N              tensorboard: the port here (default: 6006)
  --without_saving      delete: without reaching the machine first
TEXT
}

# fail CODE MESSAGE: says what is wrong and ends.
fail() {
  printf 'error: %s\n' "$2" >&2
  exit "$1"
}

# Prints a command so that a shell would run it, or prints and runs it.
call() {
  { printf '%q ' "$@" | sed 's/ $//'; echo; } >&"$((dry_run ? 1 : 2))"
  ((dry_run)) || "$@"
}

# call, with one message if gcloud fails: its own stands above.
gcloud_call() {
  call gcloud "$@" || fail "$UNUSABLE" "gcloud ended with $?, its message is\
 above. deploy/gcp/README.md, Troubleshooting, has the common ones."
}

# on_machine COMMAND [ARGUMENTS OF ssh...]: as call, on the machine.
on_machine() {
  call gcloud "${ssh_base[@]}" --command="$1" "${@:2}"
}

expect() { # expect NAME VALUE PATTERN EXPECTED: the whole value fits
  [[ -n $2 ]] || fail "$USAGE" "--$1 is missing, expected $4."
  [[ $2 =~ ^($3)$ ]] || fail "$USAGE" "--$1 is '$2', expected $4."
}

read_flags() {
  verb=$1
  shift
  project='' zone='' name=efficientdet gpu='' bucket='' image='' port=6006
  machine_type=n1-standard-8 disk_gb=100 service_account=''
  spot=0 dry_run=0 iap=0 without_saving=0 given=' '
  training=()
  while (($#)); do
    case $1 in
      --) training=("${@:2}") && return ;;
      --help) usage && exit 0 ;;
      --spot | --dry_run | --iap | --without_saving)
        printf -v "${1#--}" 1
        ;;
      --project=* | --zone=* | --name=* | --gpu=* | --bucket=* | --image=* | \
        --port=* | --machine_type=* | --disk_gb=* | --service_account=*)
        local flag=${1%%=*}
        printf -v "${flag#--}" %s "${1#*=}"
        ;;
      *)
        fail "$USAGE" "'$1' is no flag of $verb, or lacks its =VALUE. Flags\
 of the training stand after --; machine.sh --help lists the others."
        ;;
    esac
    given+="${1%%=*} "
    shift
  done
}

# Each flag is of the verb that it is given to, and well formed.
check_flags() {
  local of flag
  local -A verbs=(
    [--gpu]=create [--bucket]=create [--image]='create run' [--spot]=create
    [--machine_type]=create [--disk_gb]=create [--service_account]=create
    [--port]=tensorboard [--without_saving]=delete
  )
  for flag in $given; do
    of=${verbs[$flag]-$verb}
    [[ " $of " == *" $verb "* ]] ||
      fail "$USAGE" "$flag has no meaning for $verb, only for $of."
  done
  expect project "$project" '[a-z][a-z0-9:.-]+' "a project's ID"
  expect zone "$zone" '[a-z]+-[a-z]+[0-9]+-[a-z]' 'a zone such as europe-west4-a'
  expect name "$name" '[a-z]([a-z0-9-]{0,61}[a-z0-9])?' \
    'lower-case letters, digits and hyphens'
  expect port "$port" '[0-9]{2,5}' 'a port such as 6006'
  local image_form='[a-z0-9][A-Za-z0-9.:_/@-]+'
  [[ -z $image ]] || expect image "$image" "$image_form" 'an image'
  if [[ $verb == create ]]; then
    expect gpu "$gpu" 'v100|t4' 'v100 or t4'
    expect image "$image" "$image_form" 'an image that the machine can pull'
    expect bucket "$bucket" 'gs://[a-z0-9][a-z0-9._-]{2,}(/[A-Za-z0-9._-]+)*' \
      'gs://BUCKET or gs://BUCKET/FOLDER without a slash at the end'
    expect machine_type "$machine_type" 'n1-[a-z0-9-]+' \
      'an n1 machine: V100 and T4 are attached to no other'
    # 50: the image unpacked, the kernel cache, and room for a run.
    expect disk_gb "$disk_gb" '[1-9][0-9]{1,4}' 'gigabytes, at least 50'
    ((disk_gb >= 50)) ||
      fail "$USAGE" "--disk_gb is '$disk_gb', expected gigabytes, at least 50."
  fi
  [[ $verb == run ]] || ((${#training[@]} == 0)) ||
    fail "$USAGE" "'${training[0]}' stands after --, which only run takes."
}

# What follows -- is a training whose model folder is the one that is copied.
check_training() {
  local argument model_dir=''
  [[ ${training[0]-} == train ]] ||
    fail "$USAGE" "'${training[0]-}' stands after --, expected train and its\
 flags: run -- train --mode=train_and_eval --model_dir=model ..."
  for argument in "${training[@]}"; do
    [[ $argument != *$'\n'* && $argument != *"$MARK"* ]] ||
      fail "$USAGE" "'$argument' has a line break or $MARK in it, which cannot\
 be handed on to the machine."
    [[ $argument != --model_dir=* ]] || model_dir=${argument#*=}
  done
  [[ $model_dir == model || $model_dir == /data/model ]] ||
    fail "$USAGE" "--model_dir of the training is '$model_dir', expected model:\
 that folder is copied to the bucket, and no other."
}

create() {
  local accelerator=nvidia-tesla-$gpu found file metadata_files=()
  local kind=(--provisioning-model=STANDARD --restart-on-failure)
  local list=(compute accelerator-types list --project="$project"
    --filter="name=$accelerator AND zone:$zone" --format='value(name)')
  if ((dry_run)); then
    call gcloud "${list[@]}"
  else
    found=$(call gcloud "${list[@]}") || fail "$UNUSABLE" "gcloud cannot list\
 the GPUs of $zone, its message is above."
    [[ $found == *"$accelerator"* ]] ||
      fail "$UNUSABLE" "$zone has no $accelerator. Zones that have it:
  gcloud compute accelerator-types list --project=$project --filter=name=$accelerator"
  fi
  local root=${bucket#gs://}
  gcloud_call storage buckets describe "gs://${root%%/*}" \
    --project="$project" --format='value(location)'
  for file in "${FILES[@]}"; do
    metadata_files+=("${file%%=*}=$HERE/${file#*=}")
  done
  ((spot)) &&
    kind=(--provisioning-model=SPOT --instance-termination-action=STOP)
  local account=()
  [[ -z $service_account ]] || account=(--service-account="$service_account")
  gcloud_call compute instances create "$name" "${where[@]}" \
    --machine-type="$machine_type" \
    --accelerator="type=$accelerator,count=1" \
    --maintenance-policy=TERMINATE "${kind[@]}" \
    --image-family="$OS_FAMILY" --image-project="$OS_PROJECT" \
    --boot-disk-size="${disk_gb}GB" --boot-disk-type=pd-balanced \
    --scopes=storage-rw,logging-write "${account[@]}" \
    --labels=app=efficientdet-aimmo \
    --metadata="efficientdet-image=$image,efficientdet-bucket=$bucket" \
    --metadata-from-file="$(IFS=, && echo "${metadata_files[*]}")"
  echo "The machine installs its driver now, which takes some minutes." \
    "machine.sh run waits for it, machine.sh logs shows it." >&2
}

wait_for_ssh() {
  local try
  ((dry_run)) && on_machine true && return
  for ((try = 1; try <= SSH_TRIES; try++)); do
    on_machine true && return
    echo "$name does not answer over SSH yet (try $try of $SSH_TRIES)." >&2
    sleep "$SSH_PAUSE_S"
  done
  on_machine true || fail "$UNUSABLE" "$name cannot be reached over SSH, gcloud's\
 message is above. deploy/gcp/README.md, Troubleshooting, has the common ones."
}

run() {
  check_training
  local lines metadata code=0
  lines=$(printf '%s\n' "${training[@]}")
  metadata="^$MARK^efficientdet-arguments=$lines"
  [[ -z $image ]] || metadata+="${MARK}efficientdet-image=$image"
  gcloud_call compute instances add-metadata "$name" "${where[@]}" \
    --metadata="$metadata"
  # The machine's own start script, not piped, so that nothing reads it.
  local key=computeMetadata/v1/instance/attributes/startup-script
  local again="script=\$(curl -sSf -H 'Metadata-Flavor: Google'\
 http://metadata.google.internal/$key) && sudo bash -c \"\$script\" prepare.sh"
  wait_for_ssh
  on_machine "$again" || code=$?
  # A restart for the driver: prepare.sh said so. 255: SSH broke off by it.
  if ((code == STOPPED || code == 255)); then
    echo "$name restarts; waiting for it." >&2
    sleep "$SSH_PAUSE_S"
    wait_for_ssh
    code=0
    on_machine "$again" || code=$?
  fi
  ((code == 0)) || fail "$code" "$name could not start the training ($code),\
 its message is above."
}

tensorboard() {
  # On the machine's loopback address. A terminal (-t): Ctrl-C ends it there too.
  local serve='sudo docker run --rm --network=host'
  serve+=" --volume=/srv/efficientdet:/data:ro $ITS_IMAGE tensorboard"
  serve+=' --logdir=/data/model --host=127.0.0.1 --port=6006'
  echo "TensorBoard: http://localhost:$port, until Ctrl-C" >&2
  on_machine "$serve" -- -t -L "127.0.0.1:$port:localhost:6006"
}

delete() {
  if ! ((without_saving)); then
    on_machine 'sudo /opt/efficientdet-aimmo/store.sh finish' ||
      fail "$UNUSABLE" "$name was not deleted: its model folder could not be\
 copied to the bucket, the reason is above. machine.sh start starts a machine\
 that is stopped; --without_saving deletes what is not in the bucket."
  fi
  gcloud_call compute instances delete "$name" "${where[@]}"
}

main() {
  case ${1-} in
    --help) usage && exit 0 ;;
    create | run | doctor | logs | tensorboard | sync | start | delete) ;;
    *)
      usage >&2
      fail "$USAGE" "'${1-}' is no verb, expected one of those above."
      ;;
  esac
  read_flags "$@"
  check_flags
  ((dry_run)) || command -v gcloud >/dev/null ||
    fail "$UNUSABLE" "gcloud is not installed, see\
 https://cloud.google.com/sdk/docs/install"
  where=(--project="$project" --zone="$zone")
  ssh_base=(compute ssh "$name" "${where[@]}")
  ((iap)) && ssh_base+=(--tunnel-through-iap)
  case $verb in
    doctor) on_machine "sudo docker run --rm --gpus=all $ITS_IMAGE doctor" ;;
    logs)
      on_machine 'sudo journalctl --follow --lines=200\
 --unit=efficientdet-aimmo --unit=google-startup-scripts'
      ;;
    sync)
      on_machine 'sudo systemctl start efficientdet-store &&\
 sudo journalctl --lines=5 --unit=efficientdet-store'
      ;;
    start) gcloud_call compute instances start "$name" "${where[@]}" ;;
    *) "$verb" ;;
  esac
}

main "$@"
