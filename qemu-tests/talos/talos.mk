# Real Talos nodes for the lab, built from Go modules; nothing of it is in the image. Versions are read from each go.mod.
# The programs: out/talos/bin. What a node asks of a registry: out/talos/images, layers as folders.

TALOS_DIR := qemu-tests/talos
TALOS_OUT := out/talos
talos_version_of = $(shell awk '$$1=="$(2)" && $$2!="=>" {print $$2; exit}' $(TALOS_DIR)/$(1)/go.mod)
TALOS_VERSION      := $(call talos_version_of,talos,github.com/siderolabs/talos)
CONTAINERD_VERSION := $(call talos_version_of,containerd,github.com/containerd/containerd/v2)
TALOS_BINARIES := machined init installer talosctl containerd containerd-shim-runc-v2 runc.real runc \
	host-local bridge loopback portmap kubernetes pause
TALOS_BIN := $(addprefix $(TALOS_OUT)/bin/,$(TALOS_BINARIES))

# go_build MODULE,PACKAGE,FLAGS: builds PACKAGE of the module qemu-tests/talos/MODULE into the target.
define talos_go_build
@mkdir -p $(@D)
@echo "talos: building $(@F)"
@cd $(TALOS_DIR)/$(1) && $(CURDIR)/scripts/progress $(@F) env GOWORK=off $(if $(4),$(4),CGO_ENABLED=0) \
	go build -v -mod=readonly -trimpath -buildvcs=false $(3) -o $(CURDIR)/$@ $(2)
endef
TALOS_MODULE = $(TALOS_DIR)/$(1)/go.mod $(TALOS_DIR)/$(1)/go.sum

# The socket folder is Talos's own choice, stamped by its build. Name and version are files of the module.
TALOS_LDFLAGS := -s -w -X golang.zx2c4.com/wireguard/ipc.socketDirectory=/system/wireguard-sock
TALOS_FLAGS = -tags tcell_minimal,grpcnotrace -ldflags "$(TALOS_LDFLAGS)"

$(TALOS_OUT)/bin/machined: $(call TALOS_MODULE,talos)
	$(call talos_go_build,talos,github.com/siderolabs/talos/internal/app/machined,$(TALOS_FLAGS))

$(TALOS_OUT)/bin/init: $(call TALOS_MODULE,talos)
	$(call talos_go_build,talos,github.com/siderolabs/talos/internal/app/init,$(TALOS_FLAGS))

$(TALOS_OUT)/bin/installer: $(call TALOS_MODULE,talos)
	$(call talos_go_build,talos,github.com/siderolabs/talos/cmd/installer,$(TALOS_FLAGS))

$(TALOS_OUT)/bin/talosctl: $(call TALOS_MODULE,talos)
	$(call talos_go_build,talos,github.com/siderolabs/talos/cmd/talosctl,-tags grpcnotrace -ldflags "-s -w")

out/talosctl: $(TALOS_OUT)/bin/talosctl
	@ln -f $< $@

CONTAINERD := github.com/containerd/containerd/v2
$(TALOS_OUT)/bin/containerd $(TALOS_OUT)/bin/containerd-shim-runc-v2: $(call TALOS_MODULE,containerd)
	$(call talos_go_build,containerd,$(CONTAINERD)/cmd/$(@F),-tags "no_btrfs no_devmapper no_zfs" \
		-ldflags "-s -w -X $(CONTAINERD)/version.Version=$(CONTAINERD_VERSION)")

# containerd sends a seccomp profile wherever the kernel has seccomp, hence libseccomp, hence cgo.
$(TALOS_OUT)/bin/runc.real: $(call TALOS_MODULE,runc)
	$(call talos_go_build,runc,github.com/opencontainers/runc,-tags "seccomp netgo osusergo" \
		-ldflags "-s -w -linkmode external -extldflags -static",CGO_ENABLED=1)

$(TALOS_OUT)/bin/runc: $(wildcard $(TALOS_DIR)/runc/wrapper/*.go) $(call TALOS_MODULE,runc)
	$(call talos_go_build,runc,./wrapper,-ldflags "-s -w")

CNI_PLUGINS := github.com/containernetworking/plugins/plugins
$(TALOS_OUT)/bin/host-local: CNI_KIND := ipam
$(TALOS_OUT)/bin/bridge $(TALOS_OUT)/bin/loopback: CNI_KIND := main
$(TALOS_OUT)/bin/portmap: CNI_KIND := meta
$(addprefix $(TALOS_OUT)/bin/,host-local bridge loopback portmap): $(call TALOS_MODULE,cni)
	$(call talos_go_build,cni,$(CNI_PLUGINS)/$(CNI_KIND)/$(@F),-ldflags "-s -w")

# etcd and the Kubernetes programs in one, of the same modules as the image's control plane, which are in the build cache then.
$(TALOS_OUT)/bin/kubernetes: $(TALOS_DIR)/kubernetes/main.go $(call TALOS_MODULE,kubernetes)
	$(call talos_go_build,kubernetes,.,-ldflags "-s -w $(strip $(stamp_version))")

$(TALOS_OUT)/bin/pause: $(TALOS_DIR)/pause.c
	@mkdir -p $(@D)
	@cc -Os -static -s -Wall -Werror -o $@ $<

# What board ns needs; init and installer are for machines with disks.
.PHONY: talos-ns
talos-ns: out/talosctl $(filter-out %/init %/installer,$(TALOS_BIN))

.PHONY: talos
talos: setup out/talosctl $(TALOS_BIN) ## Build real Talos for the nodes of the lab (about 15 minutes with cold caches)

# What board vm boots and installs: Debian's kernel and programs (media/components.toml) with Talos's own.
.PHONY: target/debug/talos-media talos-builtins talos-media talos-packages-update
target/debug/talos-media:
	@scripts/progress talos-media cargo build --locked --workspace --bin talos-media

talos-builtins:
	@RUSTFLAGS="$(strip $(PROGRAM_FLAGS))" scripts/progress talos-builtins cargo build --locked --release \
		--target $(RUST_TARGET) -p talos-builtins

TALOS_MEDIA = target/debug/talos-media --recipe $(TALOS_DIR)/media --programs $(TALOS_OUT)/bin \
	--builtins $(PROGRAMS_DIR)/talos-builtins --out $(TALOS_OUT)/media --cache out/cache/talos \
	--talos-version $(TALOS_VERSION)

talos-media: talos target/debug/talos-media talos-builtins ## Build kernel, initramfs and installer of the lab's Talos machines
	@$(TALOS_MEDIA)

talos-packages-update: target/debug/talos-media talos-builtins ## Take the current Debian packages of the lab's Talos and record them
	@$(TALOS_MEDIA) --update
