# Upstream's own Talos providers, for the differential tests: nothing of them is in the image. Versions are read from each go.mod.

UPSTREAM_DIR := controllers/manager/tests/upstream
UPSTREAM_OUT := out/upstream-providers.d
UPSTREAM_PROVIDERS := bootstrap controlplane
upstream_bootstrap := github.com/siderolabs/cluster-api-bootstrap-provider-talos
upstream_controlplane := github.com/siderolabs/cluster-api-control-plane-provider-talos

# The unmodified program, and its definitions and webhooks as upstream's kustomizations render these.
$(addprefix $(UPSTREAM_OUT)/,$(UPSTREAM_PROVIDERS)): $(UPSTREAM_OUT)/%: $(UPSTREAM_DIR)/%/go.mod $(UPSTREAM_DIR)/%/go.sum out/kubectl
	@mkdir -p $(@D)
	@echo "upstream: building the provider $* (some minutes with cold caches)"
	@cd $(UPSTREAM_DIR)/$* && $(CURDIR)/scripts/progress upstream-$* env CGO_ENABLED=0 GOWORK=off \
		go build -v -mod=readonly -trimpath -buildvcs=false -ldflags "-s -w" -o $(CURDIR)/$@.new $(upstream_$*)
	@cd $(UPSTREAM_DIR)/$* && source="$$(go list -mod=readonly -m -f '{{.Dir}}' $(upstream_$*))" && \
		for part in crd webhook; do echo ---; $(CURDIR)/out/kubectl kustomize "$$source/config/$$part" 2>/dev/null; done > $(CURDIR)/$@.yaml
	@mv $@.new $@

.PHONY: upstream-providers
upstream-providers: $(addprefix $(UPSTREAM_OUT)/,$(UPSTREAM_PROVIDERS)) ## Build upstream's Talos providers for the differential tests
