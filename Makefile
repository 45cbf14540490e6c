# Everything here works on a fresh machine with git, make and Python 3.11 or newer with its venv module.

PYTHONS = python3.11 python3.12 python3.13 python3
PYTHON = .venv/bin/python
PIP = $(PYTHON) -m pip --quiet --disable-pip-version-check
FETCH = $(PIP) download --no-deps --require-hashes --dest $(WHEELHOUSE)
IMAGE_LOCKS = requirements/image.txt
CODE = $(wildcard tracer tests benchmarks)
PURE = tests/tekton tests/lifecycle tests/telemetry tests/delivery
WHEELHOUSE = wheelhouse
BASE_PYTHON = 3.13
SBOM = dist/tracer.cdx.json

.PHONY: help demo test quick docs cluster-test cluster-faults tools manifests soak check fmt bench wheelhouse sbom lock clean

help:  ## print this menu
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' Makefile

demo: .venv/.run  ## play a recorded run, needs no cluster (DEMO_ARGS='--help' shows how)
	@.venv/bin/tracer demo $(DEMO_ARGS)

test: check .venv/.jaeger  ## check and test everything that needs no cluster (PYTEST_ARGS='-k name' picks tests)
	@$(PYTHON) -m pytest $(PYTEST_ARGS)

quick: check  ## check everything, test the pure rooms: under a minute
	@$(PYTHON) -m pytest $(PURE) $(PYTEST_ARGS)

docs: .venv/.dev  ## write what is made from the code: docs/reference/, and what else tests/reference/pages.py lists
	@$(PYTHON) -m tests.reference

cluster-test: .venv/.dev .venv/.browser .venv/.jaeger  ## test on a real cluster with a real Jaeger (root on Debian 12; PYTEST_ARGS as above)
	@$(PYTHON) -m pytest tests/cluster $(PYTEST_ARGS)

cluster-faults: .venv/.dev  ## let everything fail on a real cluster, at length: a quarter of an hour
	@$(PYTHON) -m pytest tests/cluster/faults --at-length $(PYTEST_ARGS)

tools: .venv/.dev  ## build helm, which the chart takes (Debian 12, as root); a Helm 3 on the PATH does as well
	@$(PYTHON) -m tests.cluster.lab build helm

manifests: .venv/.dev  ## write what is made of the chart: deploy/install.yaml, deploy/state.yaml, the values' schema
	@$(PYTHON) -m tests.chart.manifests

soak: .venv/.dev  ## a day's faults in ten minutes: is memory flat, is nothing lost?
	@$(PYTHON) -m tests.soak

check: .venv/.dev
	@.venv/bin/ruff format --check
	@.venv/bin/ruff check
	@.venv/bin/mypy $(CODE)
	@.venv/bin/lint-imports --no-logo

fmt: .venv/.dev  ## format the code, mend what ruff can mend
	@.venv/bin/ruff check --fix-only
	@.venv/bin/ruff format

bench: .venv/.dev  ## measure each leg of the journey
	@$(PIP) install --require-hashes -r requirements/bench.txt
	@$(PYTHON) -m benchmarks $(BENCH_ARGS)

wheelhouse: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
wheelhouse: .venv/.dev  ## gather what the image is built of (BASE_PYTHON=3.11 for a base with another Python than 3.13)
	@echo 'fetching the locked wheels for amd64 and arm64 ...'
	@rm -rf build $(WHEELHOUSE)
	@for machine in x86_64 aarch64; do \
		$(FETCH) --only-binary=:all: --implementation cp --python-version $(BASE_PYTHON) \
			--platform manylinux_2_28_$$machine --platform manylinux2014_$$machine $(IMAGE_LOCKS:%=-r %) || exit; \
	done
	@$(FETCH) -r requirements/build.txt
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir $(WHEELHOUSE) .
	@cat $(IMAGE_LOCKS) > $(WHEELHOUSE)/image.txt
	@rm -rf build

sbom: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
sbom: .venv/.sbom  ## name every package that the image has beside its base, as CycloneDX
	@mkdir -p $(dir $(SBOM))
	@$(PYTHON) -c 'import tracer; print(f"[project]\nname = \"tekton-tracer\"\nversion = \"{tracer.__version__}\"")' | \
		PYTHONWARNINGS=ignore .venv/sbom/bin/cyclonedx-py requirements --pyproject /dev/stdin \
			--output-reproducible --output-file $(SBOM) requirements/image.txt

lock: export CUSTOM_COMPILE_COMMAND = make lock
lock: .venv/.dev  ## pin the dependencies again (LOCK_ARGS='--upgrade --uploaded-prior-to P7D' takes newer ones)
	@.venv/bin/pip-compile $(LOCK_ARGS) --output-file requirements/run.txt setup.cfg requirements/run.in
	@.venv/bin/pip-compile $(LOCK_ARGS) --output-file requirements/dev.txt requirements/dev.in
	@.venv/bin/pip-compile $(LOCK_ARGS) --output-file requirements/bench.txt requirements/bench.in
	@.venv/bin/pip-compile $(LOCK_ARGS) --extra uvloop --constraint requirements/run.txt \
		--output-file requirements/image.txt setup.cfg
	@.venv/bin/pip-compile $(LOCK_ARGS) --extra jaeger --constraint requirements/dev.txt --constraint requirements/image.txt \
		--output-file requirements/jaeger.txt setup.cfg
	@.venv/bin/pip-compile $(LOCK_ARGS) --output-file requirements/browser.txt requirements/browser.in
	@.venv/bin/pip-compile $(LOCK_ARGS) --output-file requirements/build.txt requirements/build.in
	@.venv/bin/pip-compile $(LOCK_ARGS) --output-file requirements/sbom.txt requirements/sbom.in

clean:  ## remove whatever make has made
	@rm -rf .venv build dist $(WHEELHOUSE) *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -prune -exec rm -rf {} +

.venv/.dev: requirements/dev.txt .venv/.run
	@echo 'installing the locked tools ...'
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

.venv/.browser: requirements/browser.txt .venv/.dev
	@echo 'installing the locked driver of the browser ...'
	@$(PIP) install --require-hashes -r requirements/browser.txt
	@touch $@

# Its pins may clash with what `make bench` installs; the tests that need it are run in it by tests/test_jaeger.py.
.venv/.jaeger: requirements/jaeger.txt requirements/dev.txt setup.cfg | .venv/bin/pip
	@echo 'installing the locked extra for an old Jaeger ...'
	@$(PYTHON) -m venv --clear .venv/jaeger
	@.venv/jaeger/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes \
		-r requirements/dev.txt -r requirements/jaeger.txt
	@PYTHONWARNINGS=ignore .venv/jaeger/bin/python -m pip --quiet --disable-pip-version-check \
		install --no-deps --no-build-isolation -e .
	@touch $@

.venv/.sbom: requirements/sbom.txt | .venv/bin/pip
	@$(PYTHON) -m venv --clear .venv/sbom
	@.venv/sbom/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes -r requirements/sbom.txt
	@touch $@

.venv/.run: requirements/run.txt setup.cfg | .venv/bin/pip
	@echo 'installing the locked dependencies ...'
	@$(PIP) install --require-hashes -r requirements/run.txt
	@PYTHONWARNINGS=ignore $(PIP) install --no-deps --no-build-isolation -e . # it warns of what is meant
	@touch $@

# Each interpreter is tried, not only looked up: a name on the PATH may be a shim, and Debian's python3 may lack venv.
.venv/bin/pip:
	@for python in $(PYTHONS); do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		$$python -c 'import ensurepip, venv' 2>/dev/null && exec $$python -m venv .venv; \
		bare=$${bare:-$$python}; \
	done; \
	if [ "$$bare" ]; \
	then echo "$$bare has no venv module: install it (on Debian and Ubuntu: apt install $$bare-venv) and run make again." >&2; \
	else echo 'Python 3.11 or newer is missing: install it (with its venv module) and run make again.' >&2; \
	fi; exit 1
