#!/usr/bin/env bash
# Roll an image out to production. Usage: deploy-prod.sh --image IMAGE [--yes]
# It builds nothing: what runs in production is what ran in staging. Reads deploy/env.prod: NAMESPACE, PUBLIC_URL.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

load_env prod
NAMESPACE=${NAMESPACE:-neuroroute}
: "${PUBLIC_URL:?PUBLIC_URL: where production is reached, e.g. https://llm.example.com}"
need kubectl helm curl python3
image='' yes=''
while [ $# -gt 0 ]; do
	case "$1" in
	--image) image=${2:?--image needs the name of an image}; shift 2 ;;
	--yes) yes=1; shift ;;
	*) die "deploy-prod.sh --image IMAGE [--yes]" ;;
	esac
done
[ -n "$image" ] || die "deploy-prod.sh --image IMAGE [--yes]: production takes an image that staging has run"
case "$image" in
*-dirty | *:latest) die "$image: production takes an image of a commit, not -dirty and not latest" ;;
*:*) ;;
*) die "$image: the image needs a tag" ;;
esac
if [ -z "$yes" ]; then
	read -r -p "Roll $image out to production ($NAMESPACE)? Type production: " answer
	[ "$answer" = production ] || die "nothing was done"
fi
roll_out prod "$image"
