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
PROGRAM_CODEGEN := -C target-feature=+crt-static
PROGRAM_FLAGS := $(PROGRAM_CODEGEN) --remap-path-prefix=$(CURDIR)=/bloomery \
	--remap-path-prefix=$(CARGO_HOME_DIR)=/cargo

PROGRAM_PACKAGES := -p init -p controllers -p bootsvc -p siderolink -p agent -p appliance -p bloomery

# With --target these flags reach the programs only, not build scripts and macros.
.PHONY: programs
programs:
	@RUSTFLAGS="$(strip $(PROGRAM_FLAGS))" scripts/progress programs cargo build --locked --release --target $(RUST_TARGET) \
		$(PROGRAM_PACKAGES)

# Of the workspace's graph of dependencies in the dev profile, which the tests have as well.
.PHONY: target/debug/mkimage
target/debug/mkimage:
	@scripts/progress mkimage cargo build --locked --workspace --bin mkimage

MKIMAGE = target/debug/mkimage --programs $(PROGRAMS_DIR) --squashfs-level $(SQUASHFS_LEVEL)

# Always asked: cargo and mkimage know what is out of date.
.PHONY: out/bloomery-amd64.img out/rootfs out/bloomery out/clusterctl test-reproducible packages-update
out/bloomery-amd64.img: target/debug/mkimage programs out/controlplane out/cluster-api.yaml
	@$(MKIMAGE) build

out/rootfs: target/debug/mkimage programs out/controlplane out/cluster-api.yaml
	@$(MKIMAGE) build --until rootfs

out/clusterctl: target/debug/mkimage out/controlplane out/cluster-api.yaml
	@$(MKIMAGE) clusterctl

out/bloomery: programs
	@install -D -m 755 $(PROGRAMS_DIR)/bloomery $@

test-reproducible: target/debug/mkimage programs out/controlplane out/cluster-api.yaml ## Build the image (REBUILD=agent or all: programs too) twice and compare every bit
	@RUST_TARGET="$(RUST_TARGET)" PROGRAM_CODEGEN="$(PROGRAM_CODEGEN)" scripts/reproducible-programs $(PROGRAMS_DIR) $(PROGRAM_PACKAGES)
	@$(MKIMAGE) verify-reproducible

packages-update: target/debug/mkimage ## Take the suites' current Debian packages and record them in image/components.lock
	@$(MKIMAGE) packages --update
