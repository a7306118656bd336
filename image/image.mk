# The Rust half of the image and the image itself. Variables to override:
#   SQUASHFS_LEVEL  zstd level of the root: 19 ships; 3 builds in seconds and is 15 % larger
#   BLOOMERY_MIRROR, BLOOMERY_SECURITY_MIRROR  Debian mirrors, when not those of this machine's apt
#   SOURCE_DATE_EPOCH  time of everything in the image; without it the day of the last commit
SQUASHFS_LEVEL ?= 19

# glibc, linked statically: the programs run as /init, where no loader is.
RUST_TARGET := x86_64-unknown-linux-gnu
PROGRAMS_DIR := target/$(RUST_TARGET)/release
# Neither this directory nor the home directory may show in the programs: two machines build the same bits.
CARGO_HOME_DIR := $(or $(CARGO_HOME),$(HOME)/.cargo)
PROGRAM_FLAGS := -C target-feature=+crt-static --remap-path-prefix=$(CURDIR)=/bloomery \
	--remap-path-prefix=$(CARGO_HOME_DIR)=/cargo

# With --target these flags reach the programs only, not build scripts and macros.
.PHONY: programs
programs:
	@RUSTFLAGS="$(strip $(PROGRAM_FLAGS))" cargo build --locked --quiet --release --target $(RUST_TARGET) \
		-p init -p controllers -p bootsvc -p agent -p appliance -p bloomery

MKIMAGE := cargo run --locked --quiet --release -p mkimage -- --programs $(PROGRAMS_DIR) --squashfs-level $(SQUASHFS_LEVEL)

# Always asked: cargo and mkimage know what is out of date.
.PHONY: out/bloomery-amd64.img out/rootfs out/bloomery test-reproducible packages-update
out/bloomery-amd64.img: programs out/controlplane out/cluster-api.yaml
	@$(MKIMAGE) build

out/rootfs: programs out/controlplane out/cluster-api.yaml
	@$(MKIMAGE) build --until rootfs

out/bloomery: programs
	@install -D -m 755 $(PROGRAMS_DIR)/bloomery $@

test-reproducible: programs out/controlplane out/cluster-api.yaml ## Build the image twice and compare every bit
	@$(MKIMAGE) verify-reproducible

packages-update: ## Take the suites' current Debian packages and record them in image/components.lock
	@$(MKIMAGE) packages --update
