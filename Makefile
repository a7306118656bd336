# The front door. CI calls `make test`; everything else a person needs is in `make help`.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

include image/controlplane.mk
include image/image.mk
include controllers/manager/tests/upstream/upstream.mk
include qemu-tests/talos/talos.mk

# Scales every wait of the lab and the tests: 1 suits this project's slowest machine, software emulation on 2 cores.
export PATIENCE ?= 1
STAGE := scripts/stage
# The cluster of `make run`. Its machines are virtual where KVM works, else Talos runs in namespaces, which only root may
# have; BOARD=vm takes emulated machines all the same.
CONTROL_PLANES ?= 1
WORKERS ?= $(if $(filter 0,$(CONTROL_PLANES)),0,1)
BOARD ?= auto
# Blank machines beside it, one --machine each; they register and are left alone.
MACHINES ?= $(if $(filter-out 0,$(CONTROL_PLANES)),,uefi,bmc=ipmi bios,bmc=http)

.PHONY: help
help: ## Show this help
	@awk -F':.*## ' '/^[a-zA-Z_-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Install the Debian packages that are missing (root or sudo; else names them)
	@scripts/setup

.PHONY: image
image: setup ## Build out/bloomery-amd64.img (the disk image), out/bloomery (the CLI) and out/clusterctl (its repository)
	@$(MAKE) --no-print-directory out/bloomery-amd64.img out/bloomery out/kubectl out/clusterctl

.PHONY: run
run: image ## Boot the image in QEMU and make a Talos cluster (CONTROL_PLANES=1 WORKERS=1 BOARD=vm MACHINES="uefi bios"); Ctrl-C stops it
ifneq ($(CONTROL_PLANES),0)
	@case "$$(out/bloomery lab board $(BOARD))" in vm) $(MAKE) --no-print-directory talos-media;; *) $(MAKE) --no-print-directory talos-ns;; esac
endif
	@out/bloomery lab up --image out/bloomery-amd64.img --out out/lab $(foreach m,$(MACHINES),--machine $(m)) \
		--control-planes $(CONTROL_PLANES) --workers $(WORKERS) --board $(BOARD)

.PHONY: check
check: format lint ## Formatting, lints, documentation: needs Rust, Go and a C compiler

.PHONY: format
format:
	@cargo fmt --all --check
	@test -z "$$(gofmt -l image/controlplane qemu-tests/talos)"

.PHONY: lint
lint:
	@cargo clippy --locked --workspace --all-targets --features bloomery-fuzz/entries --quiet -- -D warnings
	@cargo clippy --locked --workspace --test lab --quiet -- -D warnings
	@RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --locked --workspace --no-deps --document-private-items --quiet

# Always the whole workspace, so that one build of the dependencies serves every stage.
# What this machine cannot run fails and says so; BLOOMERY_INCOMPLETE_TESTS=1 leaves it out (no root, a BMC).
TESTS := cargo test --locked --workspace --quiet --no-fail-fast
# Modules of tests that need the control plane's program: a real etcd and kube-apiserver, Talos's library.
APISERVER := with_api_server with_talos_library
# The same, with upstream's Talos providers beside ours.
UPSTREAM := with_upstream_providers

.PHONY: advisories
advisories: target/debug/mkimage ## Check crates, Go modules and Go against the pinned lists of security advisories
	@target/debug/mkimage advisories --go-version="$$(cd image/controlplane && go env GOVERSION)"

.PHONY: test-unit
test-unit: setup ## Tables, property tests, programs against other programs: all but the control plane's
	@scripts/progress tests cargo test --locked --workspace --no-run
	@$(TESTS) -- $(addprefix --skip=,$(APISERVER) $(UPSTREAM))
	@cd image/controlplane && go test ./pace

.PHONY: test-apiserver
test-apiserver: setup out/controlplane.d out/cluster-api.yaml out/clusterctl out/cluster-api-contract ## Tests against a real etcd and kube-apiserver, and Talos's library
	@BLOOMERY_CONTROLPLANE=$(CURDIR)/out/controlplane.d $(TESTS) --test it --test people -- $(APISERVER)

.PHONY: test-differential
test-differential: setup out/controlplane.d out/cluster-api.yaml out/clusterctl out/cluster-api-contract upstream-providers ## The providers beside upstream's own, with the same objects
	@BLOOMERY_CONTROLPLANE=$(CURDIR)/out/controlplane.d $(TESTS) --test it -- $(UPSTREAM) --nocapture

.PHONY: test-namespaces
# Real Talos nodes have to be built first, and take a quarter of an hour with that.
TALOS_IN_NAMESPACES := in_namespaces::talos in_namespaces::workload
test-namespaces: image ## The whole plane in namespaces
	@$(TESTS) --test lab -- in_namespaces:: $(addprefix --skip=,$(TALOS_IN_NAMESPACES)) --nocapture --test-threads=1
	@$(TESTS) --lib -- --ignored reads_the_index_of_a_debian_kernel

.PHONY: test-talos
test-talos: image talos-ns ## Real Talos nodes in namespaces: alone, and as clusters that the plane makes
	@$(TESTS) --test lab -- $(TALOS_IN_NAMESPACES) --nocapture --test-threads=1

# Real Talos on machines with firmware and disks takes most of half an hour by emulation: on its own.
TALOS_IN_QEMU := in_qemu::talos in_qemu::workload

.PHONY: test-qemu
test-qemu: image ## The image and machines in QEMU
	@$(TESTS) --test lab -- in_qemu:: $(addprefix --skip=,$(TALOS_IN_QEMU)) --nocapture --test-threads=1

.PHONY: test-qemu-talos
test-qemu-talos: image talos-media ## Real Talos on machines in QEMU: install, boot from disk, a workload cluster
	@$(TESTS) --test lab -- $(TALOS_IN_QEMU) --nocapture --test-threads=1

# What is cheap to find wrong is looked at first.
.PHONY: test-fast
test-fast: ## All tests but those in QEMU
	@$(STAGE) --start
	@$(STAGE) "formatting" $(MAKE) --no-print-directory format
	@$(STAGE) "set-up" $(MAKE) --no-print-directory setup
	@$(STAGE) "lints, documentation" $(MAKE) --no-print-directory lint
	@$(STAGE) "unit and property tests" $(MAKE) --no-print-directory test-unit
	@$(STAGE) "security advisories" $(MAKE) --no-print-directory advisories
	@$(STAGE) "build of the control plane (Go)" $(MAKE) --no-print-directory out/controlplane.d out/kubectl
	@$(STAGE) "tests against the API server" $(MAKE) --no-print-directory test-apiserver
	@$(STAGE) "build of the image" $(MAKE) --no-print-directory image
	@$(STAGE) "whole plane in namespaces" $(MAKE) --no-print-directory test-namespaces
	@$(STAGE) "build of Talos (Go)" $(MAKE) --no-print-directory talos-ns
	@$(STAGE) "real Talos nodes in namespaces" $(MAKE) --no-print-directory test-talos
	@$(STAGE) --summary

.PHONY: test
test: test-fast ## All tests but test-qemu-talos (estimated: 72 minutes on 2 cores, cold caches)
	@$(STAGE) "build of upstream's Talos providers (Go)" $(MAKE) --no-print-directory upstream-providers
	@$(STAGE) "our Talos providers beside upstream's" $(MAKE) --no-print-directory test-differential
	@$(STAGE) "QEMU: boot, register, power cut, boot" $(MAKE) --no-print-directory test-qemu
	@$(STAGE) "two builds give the same bits" $(MAKE) --no-print-directory test-reproducible
	@$(STAGE) "the tree is as it was" $(STAGE) --same-tree
	@$(STAGE) --summary

# BENCH names parts and options: `make bench BENCH='--help'`.
.PHONY: bench
bench: image talos-ns ## Measure image, memory, boot time, boot services, many machines and clusters beside their peers
	@RUSTFLAGS="$(strip $(PROGRAM_FLAGS))" scripts/progress bench cargo build --locked --release --target $(RUST_TARGET) -p bench
	$(PROGRAMS_DIR)/bench $(BENCH)

.PHONY: fuzz
fuzz: ## Fuzz each parser of foreign bytes for FUZZ_SECONDS (300), and live a million lives of machines
	@scripts/fuzz

.PHONY: fuzz-keep
fuzz-keep: ## Add to fuzz/corpus what `make fuzz` found and the corpus does not reach
	@scripts/fuzz --keep

.PHONY: clean
clean: ## Remove what was built (downloaded packages stay in out/cache)
	cargo clean
	find out -mindepth 1 -maxdepth 1 ! -name cache -exec rm -rf {} +
