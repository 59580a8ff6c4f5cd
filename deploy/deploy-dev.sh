#!/usr/bin/env bash
# Build this tree and run it on this machine with docker compose. Usage: deploy-dev.sh
# Reads deploy/env.dev. The image that ran before comes back when the new one does not become healthy.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ $# = 0 ] || die "deploy-dev.sh takes no arguments"
load_env dev
need docker curl
compose() { docker compose --file "$ROOT/docker-compose.yml" "$@"; }
PORTS=${PORTS:-3000-3001}
url=${PUBLIC_URL:-http://localhost:${PORTS%%-*}}
before=$(docker image inspect --format '{{.Id}}' neuroroute:latest 2>/dev/null) || before=
build_image neuroroute:latest
back() {
	[ -n "$before" ] || die "it does not become healthy, and there is no image to go back to. Look with: docker compose logs gateway"
	say "roll back to $before"
	docker tag "$before" neuroroute:latest
	compose up --detach --no-build --wait gateway || die "THE ROLL-BACK FAILED TOO: act by hand"
	die "rolled back to the image before"
}
compose up --detach --wait postgres valkey
say "migrate pre"
compose run --rm --no-deps gateway migrate up --phase pre || die "the migrations failed; what ran runs on"
say "roll"
AUTO_MIGRATE=false compose up --detach --no-build --wait gateway || back
health_gate "$url" || back
say "migrate post"
compose run --rm --no-deps gateway migrate up || die "the new version runs and is healthy; migrate post failed: run db-migrate.sh dev --deploy"
say "done: $url"
