#!/usr/bin/env bash
# Build this commit and roll it out to staging. Usage: deploy-staging.sh [--image IMAGE]
# IMAGE is one that is built and pushed already. Reads deploy/env.staging: REGISTRY, NAMESPACE, PUBLIC_URL.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

load_env staging
NAMESPACE=${NAMESPACE:-neuroroute-staging}
: "${PUBLIC_URL:?PUBLIC_URL: where staging is reached, e.g. https://staging.example.com}"
need kubectl helm curl python3
image=
case "${1:-}" in
--image) image=${2:?--image needs the name of an image} ;;
"") ;;
*) die "deploy-staging.sh [--image IMAGE]" ;;
esac
if [ -z "$image" ]; then
	need docker git
	: "${REGISTRY:?REGISTRY: where images are pushed, e.g. registry.example.com/neuroroute}"
	image=$REGISTRY:$(version_tag)
	build_image "$image"
	docker push "$image"
fi
roll_out staging "$image"
