#!/usr/bin/env bash
# Builds the TensorRT engines into the volume `engines`, so that later starts take seconds: starts the
# server once and waits until it has loaded and warmed up every model. Run it where the GPU is, again
# after every change of GPU, driver, image, models or profiles.
set -euo pipefail
cd "$(dirname "$0")"
wait_s="${1:-3600}"
started=$SECONDS
if ! docker compose up --build --detach --wait --wait-timeout "$wait_s" triton; then
  docker compose logs --tail 100 triton >&2
  echo "the server did not become ready within ${wait_s} s; its last lines are above" >&2
  exit 1
fi
echo "ready after $((SECONDS - started)) s; ready is no proof, so run the canary: docs/serving.md"
docker compose exec -T triton find /var/cache/streetblur -type f -printf '%s %p\n'
