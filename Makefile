# Thin: each target is one line of work. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help setup build dev check check-style check-c check-unit-1 check-unit-2 test lint style \
  c-test sanitize fuzz mutants campaign campaign-sockets py-test readers test-vm vm-image demo zipapp wheelhouse provision format clean

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ASAN_OPTIONS ?= detect_leaks=1:strict_string_checks=1
export UBSAN_OPTIONS ?= print_stacktrace=1:halt_on_error=1
FUZZ_SECONDS ?= 10
# Seconds that all fuzzers share out among themselves, in place of FUZZ_SECONDS each.
FUZZ_SECONDS_SHARED ?=
# A part of the planted faults, as in 3/10: every tenth from the third on. Without it `make test` plants
# none, and `make mutants` all.
MUTANTS_SHARE ?=
# Seconds for that part, its tree included; what is not reached by then is named, and is no failure.
MUTANTS_SECONDS ?= 360
# Of `make campaign`: how many runs of each venue, and the first seed.
RUNS ?= 500
SEED ?= 1
# `make test VM=1` runs the tests of tests/vm as well, in the same run of pytest.
VM ?=
# setup.sh names its build folder after the interpreter.
BUILD = build/$(shell .venv/bin/python -P -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
C_FILES = $$(git ls-files --cached --others --exclude-standard '*.c' '*.h')
# Meson's limits are for an idle machine; a slow or a busy one takes longer, under sanitizers above all.
C_TEST = meson test --no-rebuild --quiet --print-errorlogs --timeout-multiplier=10

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: ## install what is missing: Debian packages (as root), .venv, the built C core
	@./setup.sh

build: setup ## rebuild what changed and install it into .venv

dev: ## build what changed, without LTO, into .venv; `make setup` brings the release build back
	@./setup.sh dev

check: dev ## check what fits in two minutes: style, types, C tests, the unit tests that are not slow
	@ninja -C build/dev --quiet meson-test-prereq
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target check-style check-c check-unit-1 check-unit-2

# Two halves of about one length: the tests of a half run one after another.
CHECK_UNIT = env -u MAKEFLAGS pytest --quiet -m "not slow and not vm"

check-style: style

check-c:
	$(C_TEST) -C build/dev

check-unit-1:
	@$(CHECK_UNIT) tests/unit/test_[a-s]*.py

check-unit-2:
	@$(CHECK_UNIT) tests/unit/test_[t-z]*.py tests/unit/*/

demo: ## set up what running needs, then run the main job for 20 seconds (as root: AF_XDP)
	@./setup.sh run
	@tickpath demo

test: setup ## check everything (FUZZ_SECONDS=10 a fuzzer); whatever fails, all of it runs
	@tests/run_groups.sh lint c-test sanitize fuzz $(if $(MUTANTS_SHARE),mutants) py-test

style:
	ruff check --quiet .
	ruff format --check --quiet .
	mypy --no-error-summary
	clang-format-14 --dry-run -Werror $(C_FILES)

lint: setup style ## check style and types
	cd ansible && yamllint --strict . && ansible-lint --offline --profile production -q

c-test: setup ## run the C tests
	@ninja -C $(BUILD) --quiet meson-test-prereq
	$(C_TEST) -C $(BUILD)

sanitize: setup ## run the C tests under ASan and UBSan
	@test -d build/asan || meson setup build/asan --buildtype=debugoptimized \
	  -Db_sanitize=address,undefined -Db_lundef=false >build/asan-setup.log || { cat build/asan-setup.log; false; }
	@ninja -C build/asan --quiet meson-test-prereq
	$(C_TEST) -C build/asan

fuzz: setup ## run every fuzzer for FUZZ_SECONDS
	@python tests/fuzz/run.py $(if $(FUZZ_SECONDS_SHARED),--shared $(FUZZ_SECONDS_SHARED),--seconds $(FUZZ_SECONDS))

mutants: setup ## plant faults, one at a time, and see the tests catch each (an hour; MUTANTS_SHARE=3/10)
	@python tests/mutants/run.py $(if $(MUTANTS_SHARE),--trust --share $(MUTANTS_SHARE) --seconds $(MUTANTS_SECONDS))

campaign: setup ## suffer seeded faults in virtual time, RUNS=500 of each venue and of mixtures, from SEED=1 on
	@python -m tests.sim.campaign --runs $(RUNS) --seed $(SEED)

campaign-sockets: setup ## the same over kernel sockets and `tickpath run`: RUNS=20 of each
	@python -m tests.sim.socket_campaign --runs $(RUNS) --seed $(SEED)

readers: setup ## make the environment in which hftbacktest and pandas read our exports, once (a cache)
	@python -m tests.readers.environment

py-test: setup ## run the tests in Python
	@python -m tests.readers.environment || true  # a test that needs it says what is missing
	@pytest --quiet --durations=20 $(if $(VM),-m "")

test-vm: setup ## provision, verify and revert a virtual machine (no KVM needed; some 13 minutes)
	@pytest --quiet --capture=no -m vm tests/vm

vm-image: setup ## make the disk of that virtual machine where the cache lacks it (as root)
	@python -m tests.vm.image

zipapp: setup ## pack `tickpath rt` into build/tickpath-rt.pyz, which a bare host's python3 runs
	@python -P -m tickpath.rt.bundle build/tickpath-rt.pyz && echo build/tickpath-rt.pyz

wheelhouse: setup ## pack tickpath and all it needs into build/release, which Ansible installs on hosts
	@python ansible/release.py build/release

provision: zipapp wheelhouse ## tune a Debian host, run tickpath on it: HOST=192.0.2.11 [ARGS="-u root --check --diff"]
	@test -n "$(HOST)" || { echo "make provision: name the host: HOST=192.0.2.11" >&2; exit 2; }
	@cd ansible && ansible-playbook -i '$(HOST),' $(ARGS) playbooks/site.yml

format: setup ## rewrite sources in the project's style
	ruff check --quiet --fix .
	ruff format --quiet .
	clang-format-14 -i $(C_FILES)

clean: ## remove what was built (.venv too)
	rm -rf build build-* .venv .mypy_cache .ruff_cache .pytest_cache typings/tickpath/_core.pyi typings/tickpath/_bench.pyi
