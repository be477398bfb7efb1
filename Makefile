# Names the commands; each calls the preset or the program that does the work. `make help` lists them.
# Scripts that need the exit code of a conformance run should call build/bin/ublkcheck run: make itself turns
# every failure into 2.
.DEFAULT_GOAL := help
.PHONY: help setup build test property conformance controls lockstep endurance model-page perf perf-exact bench servers servers-broken kernels list lint format asan tsan fuzz clean

KERNEL ?= latest
ARGS ?=
JOBS ?= $(shell nproc)
TIME ?= 60
TARGET ?=
ublkcheck := build/bin/ublkcheck
programs := ublkcheck # and what it takes along
tidy_paths := ublk|conformance|vm|reports|fuzz|property|perf|ci
sources = $(shell git ls-files --cached --others --exclude-standard '*.cpp' '*.hpp')

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 30

conformance: ## judge kernels: KERNEL="6.12 7.3", ARGS="--case UBLK-CTRL-*"
	@ci/setup build vm
	@ci/build release $(programs)
	@$(ublkcheck) run --kernel "$(KERNEL)" $(ARGS) || { code=$$?; \
	    printf '%-10s %s\n' exit "$$code (0 nothing unexpected, 1 unexpected verdicts, 2 usage, 3 could not run)"; \
	    exit $$code; }

controls: ## prove the cases on kernels that are known to be wrong: KERNEL="6.16.12 7.3.4", all of the list if unset
	@ci/setup build vm
	@ci/build release $(programs)
	@$(ublkcheck) controls $(if $(filter-out latest,$(KERNEL)),--kernel "$(KERNEL)") $(ARGS)

lockstep: ## random sequences on kernel and model: KERNEL=7.3, SEED=, STEPS=2000, ARGS="--scenario FILE"
	@ci/setup build vm
	@ci/build release $(programs)
	@$(ublkcheck) lockstep --kernel "$(KERNEL)" $(if $(SEED),--seed $(SEED)) $(if $(STEPS),--steps $(STEPS)) $(ARGS)

endurance: ## kill -9 and recovery, devices made and deleted, over and over: KERNEL=7.3, CYCLES=500, SEED=
	@ci/setup build vm
	@ci/build release $(programs)
	@$(ublkcheck) endurance --kernel "$(KERNEL)" $(if $(SEED),--seed $(SEED)) $(if $(CYCLES),--cycles $(CYCLES)) $(ARGS)

servers: ## judge ublk-serve, each backend, and kublk: KERNEL=7.3, ARGS="--case SERVER-DATA-*"
	@ci/setup build vm
	@ci/build release $(programs)
	@ci/servers "$(KERNEL)" $(ARGS)

servers-broken: ## prove the judge of servers on ones that are wrong on purpose
	@ci/setup build vm
	@ci/build release $(programs) broken_servers_test
	@UBLKCHECK_SELFTEST_KERNEL="$(KERNEL)" build/tests/broken_servers_test $(ARGS)

test: ## unit tests, properties, fuzz corpora, and the harness judged in a VM
	@ci/setup build vm
	@ci/build release
	@ctest --test-dir build --output-on-failure --output-junit '$(CURDIR)/build/tests.xml' -j$(JOBS)

perf: ## ublk-serve beside null_blk, brd and loop: KERNEL=, ARGS="--exact" counts instructions
	@ci/setup build vm
	@ci/build release $(programs)
	@$(ublkcheck) perf run --kernel "$(KERNEL)" $(ARGS)

perf-exact: ## count instructions, the server's own apart, kublk beside: KERNEL=, ARGS="--json FILE"
	@ci/setup build vm
	@ci/build release $(programs)
	@kublk=$$(ci/kublk) && $(ublkcheck) perf run --exact --rounds 3 --kernel "$(KERNEL)" --kublk "$$kublk" $(ARGS)

bench: ## micro-benchmarks of the parts, without a kernel: ARGS="--benchmark_filter=queue"
	@ci/setup build bench
	@cmake --preset release >/dev/null # which finds the library that may just have come
	@ci/build release ublkcheck-bench
	@build/bin/ublkcheck-bench $(ARGS)

property: ## the engine's queue under random steps: SEED= replays a failure, STEPS= goes on for longer
	@ci/setup build
	@ci/build release property_test
	@RC_PARAMS='$(if $(SEED),seed=$(SEED))' PROPERTY_STEPS='$(STEPS)' build/tests/property_test

build: ## build the programs into build/bin
	@ci/setup build
	@ci/build release $(programs)

setup: ## install what building and running need (as root)
	@ci/setup build vm

kernels: build ## the packaged kernels that KERNEL= can name
	@$(ublkcheck) kernels $(ARGS)

model-page: ## print ublk/model/README.md again, from the model's tables
	@ci/setup build
	@ci/build release print_model_page
	@build/bin/print_model_page >ublk/model/README.md

list: build ## the requirement cases
	@$(ublkcheck) list $(ARGS)

lint: ## clang-format and clang-tidy, as a change must pass them
	@ci/setup build dev
	@clang-format-19 --dry-run -Werror $(sources)
	@cmake --preset dev >/dev/null
	@run-clang-tidy-19 -quiet -p build-dev -j $(JOBS) -extra-arg=-Wno-unknown-warning-option '^$(CURDIR)/($(tidy_paths))/'

format: ## clang-format on everything
	@ci/setup dev
	@clang-format-19 -i $(sources)

asan: ## the tests under AddressSanitizer and UndefinedBehaviorSanitizer
tsan: ## the tests under ThreadSanitizer
asan tsan:
	@ci/setup build
	@ci/build $@
	@ctest --test-dir build-$@ --output-on-failure -LE vm -j$(JOBS)

fuzz: ## libFuzzer on all targets: TIME= seconds for each (60), TARGET="events uapi" for some
	@ci/setup build dev
	@ci/build fuzz fuzz_targets
	@fuzz/run --time '$(TIME)' $(TARGET)

clean: ## remove the build trees; what runs left in out/ stays
	rm -rf build build-*
