#!/usr/bin/env bash
# The schema of an environment's database.
#   db-migrate.sh ENV --status
#   db-migrate.sh ENV --deploy [--phase pre]
#   db-migrate.sh ENV --create --name NAME [--phase pre|post]     makes a file in migrations/; touches no database
# ENV is dev (docker compose on this machine), staging or prod (in the cluster, with the image that runs there).
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() { die "db-migrate.sh dev|staging|prod --status | --deploy [--phase pre] | --create --name NAME [--phase pre|post]"; }
environment=${1:-}
case "$environment" in dev | staging | prod) shift ;; *) usage ;; esac
verb='' name='' phase=''
while [ $# -gt 0 ]; do
	case "$1" in
	--status | --deploy | --create) [ -z "$verb" ] || usage; verb=$1; shift ;;
	--name) name=${2:-}; shift; shift || usage ;;
	--phase) phase=${2:-}; shift; shift || usage ;;
	*) usage ;;
	esac
done
case "$phase" in '' | pre | post) ;; *) usage ;; esac
load_env "$environment"
case "$environment" in prod) default=neuroroute ;; *) default=neuroroute-$environment ;; esac
NAMESPACE=${NAMESPACE:-$default}

migrate() { # ARGUMENTS of neuroroute migrate, against the environment's database
	if [ "$environment" = dev ]; then
		need docker
		docker compose --file "$ROOT/docker-compose.yml" run --rm gateway migrate "$@"
	else
		need kubectl
		local image
		image=$(kubectl --namespace "$NAMESPACE" get deployment "$RELEASE" --output 'jsonpath={.spec.template.spec.containers[0].image}')
		in_cluster "neuroroute-migrate-$(date -u +%H%M%S)" "$image" migrate "$@"
	fi
}

case "$verb" in
--status) migrate --status ;;
--deploy) if [ "$phase" = pre ]; then migrate up --phase pre; else migrate up; fi ;;
--create)
	[[ "$name" =~ ^[A-Za-z0-9][A-Za-z0-9_\ -]*$ ]] || die "--create needs --name NAME: letters, digits, _, - and spaces"
	phase=${phase:-pre}
	slug=$(printf '%s' "$name" | tr 'A-Z -' 'a-z__')
	last=$(find "$ROOT/migrations" -name '[0-9][0-9][0-9][0-9]_*.sql' -exec basename {} \; | sort | tail -n 1)
	file=$ROOT/migrations/$(printf '%04d' $((10#${last:0:4} + 1)))_${phase}_$slug.sql
	printf -- '-- What changes, and why.\n' >"$file"
	printf '%s\n' "$file"
	;;
*) usage ;;
esac
