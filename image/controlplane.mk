# The Go half of the image: the multi-call control plane, kubectl for the machine that builds, and Cluster API's manifest.
# Versions are read from go.mod, the one place that pins them; the stamps make `--version` tell the truth.

CONTROLPLANE_SRC := $(wildcard image/controlplane/*.go image/controlplane/*/*.go) image/controlplane/go.mod image/controlplane/go.sum
gomod_version = $(shell awk '$$1=="$(1)" && $$2!="=>" {print $$2; exit} $$2=="$(1)" {print $$3; exit}' image/controlplane/go.mod)
KUBERNETES_VERSION  := $(call gomod_version,k8s.io/kubernetes)
CLUSTER_API_VERSION := $(call gomod_version,sigs.k8s.io/cluster-api)

kubernetes_major_minor = $(subst ., ,$(patsubst v%,%,$(KUBERNETES_VERSION)))
# Upstream's dates are the commit's; a fixed one keeps two builds identical.
STAMP_DATE := 1970-01-01T00:00:00Z
stamp_version = $(foreach p,k8s.io/component-base/version k8s.io/client-go/pkg/version,\
	-X $(p).gitVersion=$(KUBERNETES_VERSION) -X $(p).gitMajor=$(word 1,$(kubernetes_major_minor)) -X $(p).gitMinor=$(word 2,$(kubernetes_major_minor)) \
	-X $(p).gitTreeState=clean -X $(p).gitCommit=$(KUBERNETES_VERSION) -X $(p).buildDate=$(STAMP_DATE)) \
	-X sigs.k8s.io/cluster-api/version.gitVersion=$(CLUSTER_API_VERSION) \
	-X sigs.k8s.io/cluster-api/version.gitMajor=$(word 1,$(subst ., ,$(patsubst v%,%,$(CLUSTER_API_VERSION)))) \
	-X sigs.k8s.io/cluster-api/version.gitMinor=$(word 2,$(subst ., ,$(patsubst v%,%,$(CLUSTER_API_VERSION)))) \
	-X go.etcd.io/etcd/api/v3/version.GitSHA=module
GO_BUILD = env CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -C image/controlplane -v -trimpath -buildvcs=false \
	-ldflags "-s -w $(strip $(stamp_version))"

out/controlplane: $(CONTROLPLANE_SRC)
	@mkdir -p out
	@echo "controlplane: building etcd, Kubernetes $(KUBERNETES_VERSION) and Cluster API $(CLUSTER_API_VERSION) (about 6 minutes with cold caches)"
	@scripts/progress controlplane $(GO_BUILD) -o ../../out/controlplane .

out/kubectl: $(CONTROLPLANE_SRC)
	@mkdir -p out
	@echo "kubectl: building $(KUBERNETES_VERSION)"
	@scripts/progress kubectl $(GO_BUILD) -o ../../out/kubectl ./kubectl

# Upstream's own kustomization, rendered; mkimage adapts it to a plane without pods (image/mkimage/src/cluster_api.rs). Its
# releases and contracts, as clusterctl asks for them, lie beside it.
out/cluster-api.yaml: image/controlplane/go.mod out/kubectl
	@cd image/controlplane && source="$$(go list -mod=readonly -m -f '{{.Dir}}' sigs.k8s.io/cluster-api)" && \
		install -m 644 "$$source/metadata.yaml" ../../out/cluster-api-metadata.yaml && \
		../../out/kubectl kustomize "$$source/core/config/default" > ../../out/cluster-api.yaml.new
	@mv out/cluster-api.yaml.new out/cluster-api.yaml

# Cluster API's own getters, for a test. They are internal to the module, so the program is built within a copy of it.
out/cluster-api-contract: image/controlplane/contract/main.go image/controlplane/go.mod
	@rm -rf out/contract.src && mkdir -p out/contract.src
	@cd image/controlplane && cp -r "$$(go list -mod=readonly -m -f '{{.Dir}}' sigs.k8s.io/cluster-api)" ../../out/contract.src/module
	@chmod -R u+w out/contract.src && install -D -m 644 image/controlplane/contract/main.go out/contract.src/module/internal/bloomery/main.go
	@cp image/controlplane/go.mod image/controlplane/go.sum out/contract.src/ && echo "replace sigs.k8s.io/cluster-api => $(CURDIR)/out/contract.src/module" >> out/contract.src/go.mod
	@cd image/controlplane && env CGO_ENABLED=0 GOFLAGS=-mod=mod go build -modfile=$(CURDIR)/out/contract.src/go.mod -trimpath -buildvcs=false \
		-tags cluster_api_contract -o ../../out/cluster-api-contract sigs.k8s.io/cluster-api/internal/bloomery
	@rm -rf out/contract.src

# Links by which the programs are called outside the image (tests against the real API server).
CONTROLPLANE_PROGRAMS := etcd kube-apiserver kube-controller-manager cluster-api clusterctl talosconfig
out/controlplane.d: out/controlplane
	@mkdir -p $@ && for p in $(CONTROLPLANE_PROGRAMS); do ln -sfn ../controlplane $@/$$p; done && touch $@
