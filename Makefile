# Everything a fresh machine needs: Python 3.11+, git and make. The rest is installed here, into .venv.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PEERS := .peers
# The tools of this checkout, whatever environment the caller has active.
RUN := env -u VIRTUAL_ENV -u PYTHONPATH -u PYTHONHOME PATH="$(CURDIR)/$(BIN):$$PATH"

.DEFAULT_GOAL := help
.PHONY: help map venv system-packages test-packages bench-packages demo test check format torture docs bench requirements clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

demo: venv  ## carry a real model from commit to pip install, on this machine
	@$(RUN) conveyor demo $(DEMO_OPTIONS)

test: test-packages venv  ## run the tests (a bounded share of the long rounds included)
	$(RUN) python -m pytest $(PYTEST_OPTIONS)

check: venv  ## ruff, mypy strict, import-linter
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports

format: venv  ## let ruff mend and format the code
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

map: venv  ## write the module tables of docs/map.md and the tables of docs/reference anew, from the code
	$(RUN) python docs/_ext/room_finder.py
	$(RUN) python docs/_ext/command_reference.py

torture: test-packages venv  ## the long rounds in full: kills, matrices, soak
	$(RUN) python -m pytest -m torture --torture $(PYTEST_OPTIONS)

docs: venv  ## build the documentation into docs/_build/html, warnings are errors
	$(RUN) python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

bench: bench-packages $(PEERS)/devpi/.complete  ## measure what is fast, each against a baseline in the same run
	$(RUN) python -m benchmarks

requirements: venv  ## compile requirements/*.txt anew from their .in files and pyproject.toml
	cd requirements && for target in bootstrap build; do \
		$(COMPILE) $$target.in -o $$target.txt || exit 1; done
	cd requirements && $(COMPILE) ../pyproject.toml --extra all -o runtime.txt
	cd requirements && $(COMPILE) ../pyproject.toml --extra all dev.in -o dev.txt
	cd requirements/peers && for peer in *.in; do $(COMPILE) $$peer -o $${peer%.in}.txt || exit 1; done
	cd requirements/clients && for client in *.in; do \
		[ $$client = installers.in ] || $(COMPILE) $$client -o $${client%.in}.txt || exit 1; done
	cd requirements/clients && grep -v '^#' installers.in | while read -r one; do \
		echo "$$one" | $(COMPILE) - || exit 1; done >installers.new && mv installers.new installers.txt

COMPILE = $(CURDIR)/$(BIN)/uv --no-config pip compile -q --upgrade --universal --python-version 3.11 \
	--generate-hashes --no-header --no-annotate

clean:  ## remove everything these targets made
	rm -rf $(VENV) $(PEERS) docs/_build dist build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# --- the environment -------------------------------------------------------------------------------------

venv: system-packages $(VENV)/.complete  ## make or refresh .venv from the pinned requirements

$(VENV)/.complete: requirements/bootstrap.txt requirements/dev.txt requirements/build.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or call make PYTHON=/path/to/python3"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the pinned requirements into $(VENV)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@$(RUN) VIRTUAL_ENV=$(VENV) uv pip sync -q --require-hashes requirements/dev.txt
	@$(RUN) VIRTUAL_ENV=$(VENV) uv pip install -q --no-deps --no-build-isolation -e .
	@touch $@

# A store that the benchmarks measure against, in an environment of its own.
$(PEERS)/%/.complete: requirements/peers/%.txt | venv
	@echo "installing the pinned $* into $(PEERS)/$*"
	@$(RUN) uv venv -q --clear $(PEERS)/$*
	@$(RUN) VIRTUAL_ENV=$(PEERS)/$* uv pip sync -q --require-hashes $<
	@touch $@

# Programs that no Python package brings: checked one by one, installed by apt when we may.
system-packages:
	@missing=""; \
	command -v git >/dev/null || missing="$$missing git"; \
	command -v ssh-keygen >/dev/null || missing="$$missing openssh-client"; \
	command -v gpgv >/dev/null || missing="$$missing gpgv"; \
	command -v bwrap >/dev/null || missing="$$missing bubblewrap"; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
	$(INSTALL_MISSING)

# What only the tests use: a real PostgreSQL, started by the tests for themselves; what makes disks fail; what
# copies a checkout for a runner, and the Groovy of Jenkins.
test-packages: system-packages
	@missing=""; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$$missing postgresql"; \
	command -v strace >/dev/null || missing="$$missing strace"; \
	PATH="$$PATH:/usr/sbin" command -v runc >/dev/null || missing="$$missing runc"; \
	command -v git-lfs >/dev/null || missing="$$missing git-lfs"; \
	command -v pypy3 >/dev/null || missing="$$missing pypy3"; \
	command -v rsync >/dev/null || missing="$$missing rsync"; \
	command -v java >/dev/null || missing="$$missing default-jre-headless"; \
	test -d /usr/share/groovy || missing="$$missing groovy"; \
	command -v gpg >/dev/null || missing="$$missing gpg"; \
	command -v gpg-agent >/dev/null || missing="$$missing gpg-agent"; \
	PATH="$$PATH:/usr/sbin" command -v sshd >/dev/null || missing="$$missing openssh-server"; \
	PATH="$$PATH:/usr/sbin:/sbin" command -v mkfs.ext4 >/dev/null || missing="$$missing e2fsprogs"; \
	$(INSTALL_MISSING)

# What the benchmarks measure against, and with.
bench-packages: system-packages
	@missing=""; \
	PATH="$$PATH:/usr/sbin" command -v nginx >/dev/null || missing="$$missing nginx-light"; \
	command -v wrk >/dev/null || missing="$$missing wrk"; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$$missing postgresql"; \
	$(INSTALL_MISSING)

INSTALL_MISSING = test -z "$$missing" && exit 0; \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		echo "installing system packages:$$missing"; \
		(apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing) >/dev/null; \
	else echo "please install:$$missing (on Debian: apt-get install$$missing), then call make again"; exit 1; fi
