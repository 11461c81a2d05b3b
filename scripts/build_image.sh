#!/bin/sh
# Builds the container image, with docker or with buildah; docs/image.md.
#
#   scripts/build_image.sh [gpu|cpu] [--tag=NAME]
#
# From the environment, for machines behind a mirror:
#   BASE_IMAGE     in place of python:3.11-slim-bookworm
#   BUILD_FLAGS    more flags for the build, as --volume=/etc/pip.conf:/etc/pip.conf:ro
#                  (buildah) or --network=host; divided at blanks
#   BUILDER        docker or buildah, where both are there
set -eu

fail() {
    echo "error: $*" >&2
    exit 64
}

variant=
tag=
for argument; do
    case $argument in
        cpu | gpu)
            [ -z "$variant" ] || fail "two variants: $variant and $argument. Give one."
            variant=$argument
            ;;
        --tag=?*) tag=${argument#--tag=} ;;
        --help | -h)
            sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
            exit 0
            ;;
        *) fail "'$argument' is neither gpu, cpu nor --tag=NAME." ;;
    esac
done
variant=${variant:-gpu}
cd "$(dirname "$0")/.."

has_docker() {
    docker version --format '{{.Server.Version}}' >/dev/null 2>&1
}
builder=${BUILDER:-}
if [ -z "$builder" ]; then
    if has_docker; then
        builder=docker
    elif command -v buildah >/dev/null; then
        builder=buildah
    else
        echo "error: no docker whose daemon answers and no buildah was found." \
            "Start or install one (on Debian and Ubuntu: the package buildah)." >&2
        exit 69
    fi
fi
case $builder in
    docker) has_docker || { echo "error: BUILDER=docker, and no daemon of docker answers." >&2; exit 69; } ;;
    buildah) command -v buildah >/dev/null || { echo "error: BUILDER=buildah, which is not installed." >&2; exit 69; } ;;
    *) fail "BUILDER=$builder is neither docker nor buildah." ;;
esac

version=$(sed -n 's/^version = //p' setup.cfg)
# As a run's run.json has it; nothing outside of a checkout.
revision=$(git rev-parse HEAD 2>/dev/null || true)
if [ -n "$revision" ] && [ -n "$(git status --porcelain --untracked-files=no)" ]; then
    revision="$revision with changes"
fi
tag=${tag:-efficientdet-aimmo:$version-$variant}

set -- --file Dockerfile --tag "$tag" --build-arg "VARIANT=$variant" \
    --build-arg "VERSION=$version" --build-arg "REVISION=$revision"
[ -z "${BASE_IMAGE:-}" ] || set -- "$@" --build-arg "BASE_IMAGE=$BASE_IMAGE"
echo "building $tag with $builder"
# Divided on purpose: these are several flags.
# shellcheck disable=SC2086
if [ "$builder" = docker ]; then
    DOCKER_BUILDKIT=1 docker build "$@" ${BUILD_FLAGS:-} .
    bytes=$(docker image inspect --format '{{.Size}}' "$tag")
    size="$((bytes / 1000000)) MB"
else
    # Without --layers nothing would be kept for the next build.
    buildah build --layers "$@" ${BUILD_FLAGS:-} .
    size=$(buildah images --format '{{.Size}}' "$tag")
fi
echo "built $tag: $size"
