# shellcheck shell=bash
# What the scripts of deploy share. Sourced, never run.
#
# A roll-out is: build, migrate pre, roll, health gate, migrate post. What fails before the roll leaves everything as it was; what fails
# from the roll on brings the old version back, which works on the new schema, since `pre` migrations only add.

DEPLOY_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname "$DEPLOY_DIR")
RELEASE=${RELEASE:-neuroroute}
SECRET=${SECRET:-neuroroute}
HEALTH_TRIES=${HEALTH_TRIES:-30}
HEALTH_PAUSE_S=${HEALTH_PAUSE_S:-2}
ROLL_TIMEOUT=${ROLL_TIMEOUT:-300s}

say() { printf '%s %s\n' "$(date -u +%H:%M:%S)" "$*" >&2; }
die() { say "$*"; exit 1; }

need() {
	local tool
	for tool in "$@"; do command -v "$tool" >/dev/null || die "$tool is needed and was not found"; done
}

load_env() { # NAME: settings of an environment, where there is a file of them
	local file=$DEPLOY_DIR/env.$1
	[ -f "$file" ] || return 0
	set -a
	# shellcheck disable=SC1090
	. "$file"
	set +a
}

version_tag() { # what an image is called: the commit, and "-dirty" where the tree is not it
	local tag
	tag=$(git -C "$ROOT" rev-parse --short=12 HEAD 2>/dev/null) || tag=local
	[ -z "$(git -C "$ROOT" status --porcelain 2>/dev/null)" ] || tag=$tag-dirty
	printf '%s\n' "$tag"
}

build_image() { # IMAGE
	say "build $1"
	docker build --tag "$1" --build-arg "VERSION=${1##*:}" --build-arg "REVISION=$(git -C "$ROOT" rev-parse HEAD 2>/dev/null || echo unknown)" \
		--build-arg "CREATED=$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$ROOT"
}

health_gate() { # URL: it must answer "ready" three times in a row
	local good=0 tries
	for ((tries = 0; tries < HEALTH_TRIES; tries++)); do
		if curl --fail --silent --show-error --max-time 5 "$1/health/ready" >/dev/null 2>&1; then
			good=$((good + 1))
			[ "$good" -ge 3 ] && { say "healthy: $1"; return 0; }
		else
			good=0
		fi
		sleep "$HEALTH_PAUSE_S"
	done
	say "not healthy: $1/health/ready"
	return 1
}

in_cluster() { # NAME IMAGE ARGUMENTS...: run `neuroroute ARGUMENTS` once with the secrets of the release
	local name=$1 image=$2 arguments
	shift 2
	arguments=$(printf '"%s",' "$@")
	kubectl --namespace "$NAMESPACE" run "$name" --rm --attach --quiet --restart=Never --image "$image" --pod-running-timeout=2m --overrides '{
		"apiVersion": "v1",
		"spec": {
			"securityContext": {"runAsNonRoot": true, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
			"volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
			"containers": [{
				"name": "'"$name"'", "image": "'"$image"'", "args": ['"${arguments%,}"'],
				"envFrom": [{"secretRef": {"name": "'"$SECRET"'"}}],
				"securityContext": {"readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
				"volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "tmp", "mountPath": "/tmp"}]
			}]
		}
	}'
}

revision_now() { # the revision of the release that runs; 0 where there is none
	local found
	found=$(helm --namespace "$NAMESPACE" history "$RELEASE" --max 20 --output json 2>/dev/null) || { echo 0; return; }
	printf '%s' "$found" | python3 -c 'import json, sys
rows = [row["revision"] for row in json.load(sys.stdin) if row["status"] == "deployed"]
print(rows[-1] if rows else 0)'
}

roll_back() { # REVISION
	if [ "$1" = 0 ]; then
		die "the first roll-out failed: there is nothing to go back to. Look with: helm --namespace $NAMESPACE status $RELEASE"
	fi
	say "roll back to revision $1"
	helm --namespace "$NAMESPACE" rollback "$RELEASE" "$1" --wait --timeout "$ROLL_TIMEOUT" || die "THE ROLL-BACK FAILED TOO: act by hand"
	health_gate "$PUBLIC_URL" || die "rolled back to revision $1, and it is NOT healthy: act by hand"
	die "rolled back to revision $1, which is healthy"
}

roll_out() { # ENVIRONMENT IMAGE: migrate pre, roll, health gate, migrate post; back to the old version where one of the last three fails
	local environment=$1 image=$2 before id
	id=$(date -u +%H%M%S)
	before=$(revision_now)
	say "migrate pre"
	in_cluster "neuroroute-migrate-pre-$id" "$image" migrate up --phase pre || die "the migrations failed; the old version runs on, nothing was rolled"
	say "roll to $image (revision $before runs now)"
	helm --namespace "$NAMESPACE" upgrade --install "$RELEASE" "$DEPLOY_DIR/helm" --values "$DEPLOY_DIR/helm/values-$environment.yaml" \
		--set "image.repository=${image%:*}" --set "image.tag=${image##*:}" --set "existingSecret=$SECRET" --set-string config.AUTO_MIGRATE=false \
		--wait --timeout "$ROLL_TIMEOUT" || roll_back "$before"
	health_gate "$PUBLIC_URL" || roll_back "$before"
	say "migrate post"
	in_cluster "neuroroute-migrate-post-$id" "$image" migrate up || die "the new version runs and is healthy; migrate post failed: run db-migrate.sh $environment --deploy"
	say "done: $environment runs $image"
}
