#!/usr/bin/env bash
# Copies a training's folders between this machine and its bucket.
#
#     store.sh restore   records, and the model folder of a machine that has none
#     store.sh save      the model folder, checkpoints whole or not at all
#     store.sh finish    end the training, save, let another machine take over
#
# A checkpoint is whole where its meta.json is (docs/reliability.md). So in the
# bucket meta.json comes last and goes first.
set -euo pipefail

# Where snap puts gcloud; services do not look there.
PATH=$PATH:/snap/bin
# Other places are for tests.
readonly ROOT=${EFFICIENTDET_ROOT:-/srv/efficientdet}
readonly SETTINGS=${EFFICIENTDET_SETTINGS:-/etc/efficientdet-aimmo}
readonly MODEL=$ROOT/model STAGED=$ROOT/.saving RESTORING=$ROOT/.restoring
# Exit codes as everywhere in this project (README, Exit codes).
readonly USAGE=64 DATA=65 IN_USE=73 DISK=74
readonly USER_ID=1000 # the image's

fail() {
  printf 'error: %s\n' "$2" >&2
  exit "$1"
}

# One machine writes to a model folder: this one's name stands beside it.
claim() {
  local owner=$bucket/model-owner found
  # 0: only if there is none yet, which the bucket decides.
  if gcloud storage cp --if-generation-match=0 "$SETTINGS/owner" "$owner" \
    >/dev/null 2>&1; then
    return
  fi
  found=$(gcloud storage cat "$owner") ||
    fail $DISK "$bucket cannot be written, gcloud's message is above. The\
 machine's account needs the role Storage Object User on the bucket."
  [[ $found == "$(<"$SETTINGS/owner")" ]] ||
    fail $IN_USE "$bucket belongs to the machine '$found', and this one is\
 '$(<"$SETTINGS/owner")'. Take another folder for this run, or, if that machine\
 is gone for good: gcloud storage rm $owner"
}

restore() {
  local found
  found=$(gcloud storage ls "$bucket/") && [[ $found == *"$bucket/records/"* ]] ||
    fail $DATA "There are no records in $bucket/records, or it cannot be read. Copy those that the\
 conversion wrote: gcloud storage rsync --recursive records $bucket/records"
  claim
  # As they are there: a shard of an older conversion would be trained on too.
  gcloud storage rsync --recursive --delete-unmatched-destination-objects \
    "$bucket/records" "$ROOT/records" ||
    fail $DISK "The records of $bucket cannot be copied, gcloud's message is above."
  if [[ -d $MODEL/checkpoints ]]; then
    check_newest
  elif [[ $found == *"$bucket/model/"* ]]; then
    rm -rf "$RESTORING"
    mkdir -p "$RESTORING"
    gcloud storage rsync --recursive "$bucket/model" "$RESTORING" ||
      fail $DISK "The model of $bucket cannot be copied, gcloud's message is above."
    drop_unfinished "$RESTORING/checkpoints"
    drop_unfinished "$RESTORING/best"
    chown -R "$USER_ID:$USER_ID" "$RESTORING"
    rm -rf "$MODEL"
    mv "$RESTORING" "$MODEL"
    echo "The model folder was restored from $bucket."
  fi
}

# newest: the last of the checkpoints in a listing, one a line, or nothing.
newest() {
  grep -o 'step-[0-9]*' | sort --version-sort | tail -n 1 || true
}

# This machine's folder is gone on with, unless another machine went further.
check_newest() {
  local here there
  here=$(find "$MODEL/checkpoints" -name 'step-*' -printf '%f\n' | newest)
  # Nothing there is no fault: a first copy may be due.
  there=$(gcloud storage ls "$bucket/model/checkpoints/*/meta.json" 2>/dev/null |
    newest) || true
  if [[ $there && $(printf '%s\n' "$here" "$there" | newest) != "$here" ]]; then
    fail $IN_USE "The bucket's model is at $there, this machine's at\
 ${here:-no step}: another machine went on. To take the bucket's:\
 sudo rm -r $MODEL"
  fi
  echo "The model folder is on this machine, at ${here:-no step}."
}

# What an upload left that was cut off.
drop_unfinished() {
  local folder
  for folder in "$1"/*/; do
    [[ ! -d $folder || -f $folder/meta.json ]] || rm -rf "$folder"
  done
}

# Holds the model folder still: $STAGED gets what is in it now.
#
# A folder with a meta.json is linked, file by file: its files are never
# changed, but the folder is renamed and then emptied when it has had its time.
# If it still has its place afterwards, all of it was there. The rest is copied,
# as the files for TensorBoard grow.
stage() {
  local folder file before
  rm -rf "$STAGED"
  mkdir -p "$STAGED"
  cd "$MODEL"
  while IFS= read -r -d '' folder; do
    before=$(stat --format=%i "$folder" 2>/dev/null) || continue
    mkdir -p "$STAGED/$folder"
    if ! cp --archive --link --no-target-directory "$folder" "$STAGED/$folder" ||
      [[ $(stat --format=%i "$folder" 2>/dev/null) != "$before" ]]; then
      echo "$folder was being removed; it is left out."
      rm -rf "${STAGED:?}/$folder"
    fi
  done < <(find . -mindepth 1 -name '.*' -prune -o \
    -name meta.json -printf '%h\0')
  while IFS= read -r -d '' file; do
    # In a folder that is whole, or was: done above.
    [[ ! -f ${file%/*}/meta.json && $file != ./checkpoints/*/* && \
      $file != ./best/*/* ]] || continue
    if ! cp --archive --parents "$file" "$STAGED"; then
      [[ ! -e $file ]] ||
        fail $DISK "$MODEL/$file cannot be copied, the reason is above."
    fi
  done < <(find . -mindepth 1 -name '.*' -prune -o -type f -print0)
}

save() {
  local parent folder folders
  [[ -d $MODEL ]] || { echo "There is no model folder yet." && return; }
  claim
  # One at a time: the timer's, and that of a training that ends.
  exec 9>"$ROOT/.store.lock"
  flock 9
  stage
  upload --exclude='.*meta\.json$'
  upload
  for parent in checkpoints best; do
    # Without a new one in the bucket nothing old goes.
    compgen -G "$STAGED/$parent/*/meta.json" >/dev/null || continue
    folders=$(gcloud storage ls "$bucket/model/$parent/")
    for folder in $folders; do
      [[ -e $STAGED/$parent/$(basename "$folder") ]] || remove "$folder"
    done
  done
  rm -rf "$STAGED"
  echo "The model folder was copied to $bucket/model."
}

upload() {
  gcloud storage rsync --recursive "$@" "$STAGED" "$bucket/model" ||
    fail $DISK "The model folder was not copied to $bucket, gcloud's message is\
 above. The next copy is tried when its time comes."
}

# Removes a checkpoint of the bucket that the run has removed.
remove() {
  local folder=${1%/} objects object rest=()
  objects=$(gcloud storage ls "$folder/")
  for object in $objects; do
    if [[ $object == "$folder/meta.json" ]]; then
      gcloud storage rm "$object"
    else
      rest+=("$object")
    fi
  done
  ((${#rest[@]} == 0)) || gcloud storage rm "${rest[@]}"
}

finish() {
  local found
  systemctl stop efficientdet-aimmo.service efficientdet-store.timer
  save
  # Not that of another machine, nor where nothing was ever begun.
  found=$(gcloud storage cat "$bucket/model-owner" 2>/dev/null) || return 0
  [[ $found != "$(<"$SETTINGS/owner")" ]] ||
    gcloud storage rm "$bucket/model-owner"
}

case ${1-} in
  restore | save | finish)
    bucket=$(<"$SETTINGS/bucket")
    "$1"
    ;;
  *) fail $USAGE "'${1-}' is no verb of store.sh, expected restore, save or finish." ;;
esac
