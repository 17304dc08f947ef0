#!/usr/bin/env bash
# deploy/build.sh IMAGE [DOCKER BUILD ARGUMENTS]: builds the image of the jobs with Docker.
set -euo pipefail
checkout=$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

image=${1:?usage: deploy/build.sh IMAGE [DOCKER BUILD ARGUMENTS]}
beam=$(sed -n 's/^apache-beam\(\[.*\]\)\{0,1\}==\([^ ;]*\).*/\2/p' "$checkout/deploy/requirements.lock")
# Of what the workers are, whatever this machine is.
exec docker build --platform linux/amd64 --file "$checkout/deploy/Dockerfile" \
    --build-arg "BEAM_VERSION=$beam" --tag "$image" "${@:2}" "$checkout"
