package main

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	k8sversion "k8s.io/apimachinery/pkg/version"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	"k8s.io/apimachinery/pkg/util/sets"
	addonsv1 "sigs.k8s.io/cluster-api/api/addons/v1beta2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ipamv1 "sigs.k8s.io/cluster-api/api/ipam/v1beta2"
	"sigs.k8s.io/cluster-api/controllers/clustercache"
	"sigs.k8s.io/cluster-api/controllers/crdmigrator"
	"sigs.k8s.io/cluster-api/core/reconcilers/cluster"
	"sigs.k8s.io/cluster-api/core/reconcilers/clusterclass"
	"sigs.k8s.io/cluster-api/core/reconcilers/clusterresourceset"
	"sigs.k8s.io/cluster-api/core/reconcilers/clusterresourcesetbinding"
	"sigs.k8s.io/cluster-api/core/reconcilers/machine"
	"sigs.k8s.io/cluster-api/core/reconcilers/machinedeployment"
	"sigs.k8s.io/cluster-api/core/reconcilers/machinehealthcheck"
	"sigs.k8s.io/cluster-api/core/reconcilers/machinepool"
	"sigs.k8s.io/cluster-api/core/reconcilers/machineset"
	topologycluster "sigs.k8s.io/cluster-api/core/reconcilers/topology/cluster"
	topologymachinedeployment "sigs.k8s.io/cluster-api/core/reconcilers/topology/machinedeployment"
	topologymachineset "sigs.k8s.io/cluster-api/core/reconcilers/topology/machineset"
	"sigs.k8s.io/cluster-api/core/setup"
	"sigs.k8s.io/cluster-api/core/webhooks/admission"
	"sigs.k8s.io/cluster-api/core/webhooks/conversion"
	"sigs.k8s.io/cluster-api/feature"
	"sigs.k8s.io/cluster-api/util/index"
)

// Requests of the cluster cache to workload clusters; upstream's defaults.
const (
	workloadQPS   = 20
	workloadBurst = 30
)

// newestVersion picks the newest of a contract label's versions ("v1_v1beta2").
func newestVersion(label string) string {
	newest := ""
	for _, v := range strings.Split(label, "_") {
		if v != "" && (newest == "" || k8sversion.CompareKubeAwareVersionStrings(newest, v) < 0) {
			newest = v
		}
	}
	return newest
}

// step is one piece to add to the manager; all have the same shape.
type step struct {
	name string
	add  func() error
}

func runSteps(kind string, steps []step) error {
	for _, s := range steps {
		if err := s.add(); err != nil {
			return fmt.Errorf("failed to set up %s %s: %w", kind, s.name, err)
		}
	}
	return nil
}

func (c *managerConfig) addReconcilers(ctx context.Context, mgr ctrl.Manager) error {
	if err := index.AddDefaultIndexes(ctx, mgr); err != nil {
		return fmt.Errorf("failed to set up indexes: %w", err)
	}
	secretClient, err := setup.CreateSecretCachingClient(mgr)
	if err != nil {
		return fmt.Errorf("failed to make the secret client: %w", err)
	}
	clusters, err := clustercache.SetupWithManager(ctx, mgr, clustercache.Options{
		SecretClient:     secretClient,
		Cache:            setup.ClusterCacheCacheOptions(),
		Client:           setup.ClusterCacheClientOptions(managerName, workloadQPS, workloadBurst),
		WatchFilterValue: c.watchFilter,
	}, c.options())
	if err != nil {
		return fmt.Errorf("failed to make the cluster cache: %w", err)
	}
	if err := runSteps("controller", c.reconcilers(ctx, mgr, clusters)); err != nil {
		return err
	}
	if feature.Gates.Enabled(feature.ClusterTopology) {
		if err := runSteps("controller", c.topologyReconcilers(ctx, mgr, clusters)); err != nil {
			return err
		}
	}
	return addWebhooks(mgr, clusters)
}

func (c *managerConfig) options() controller.Options {
	return controller.Options{MaxConcurrentReconciles: c.concurrency}
}

func (c *managerConfig) reconcilers(ctx context.Context, mgr ctrl.Manager, clusters clustercache.ClusterCache) []step {
	cl, reader := mgr.GetClient(), mgr.GetAPIReader()
	steps := []step{
		{"CRDMigrator", func() error {
			// One at a time: it patches every object of a kind.
			return (&crdmigrator.CRDMigrator{Client: cl, APIReader: reader, Config: migratedKinds()}).
				SetupWithManager(ctx, mgr, controller.Options{MaxConcurrentReconciles: 1})
		}},
		{"Cluster", func() error {
			return (&cluster.Reconciler{Client: cl, APIReader: reader, ClusterCache: clusters, WatchFilterValue: c.watchFilter,
				RemoteConnectionGracePeriod: c.remoteConnectionGracePeriod}).SetupWithManager(ctx, mgr, c.options())
		}},
		{"Machine", func() error {
			return (&machine.Reconciler{Client: cl, APIReader: reader, ClusterCache: clusters, WatchFilterValue: c.watchFilter,
				RemoteConditionsGracePeriod: c.remoteConditionsGracePeriod}).SetupWithManager(ctx, mgr, c.options())
		}},
		{"MachineSet", func() error {
			return (&machineset.Reconciler{Client: cl, APIReader: reader, ClusterCache: clusters, WatchFilterValue: c.watchFilter,
				PreflightChecks: sets.New(clusterv1.MachineSetPreflightCheckAll)}).SetupWithManager(ctx, mgr, c.options())
		}},
		{"MachineDeployment", func() error {
			return (&machinedeployment.Reconciler{Client: cl, APIReader: reader, WatchFilterValue: c.watchFilter}).SetupWithManager(ctx, mgr, c.options())
		}},
		{"ClusterResourceSet", func() error {
			secrets, err := c.metadataOnlySecretCache(mgr)
			if err != nil {
				return err
			}
			return (&clusterresourceset.Reconciler{Client: cl, ClusterCache: clusters, WatchFilterValue: c.watchFilter}).
				SetupWithManager(ctx, mgr, c.options(), secrets)
		}},
		{"ClusterResourceSetBinding", func() error {
			return (&clusterresourcesetbinding.Reconciler{Client: cl, WatchFilterValue: c.watchFilter}).SetupWithManager(ctx, mgr, c.options())
		}},
		{"MachineHealthCheck", func() error {
			return (&machinehealthcheck.Reconciler{Client: cl, ClusterCache: clusters, WatchFilterValue: c.watchFilter}).SetupWithManager(ctx, mgr, c.options())
		}},
	}
	if feature.Gates.Enabled(feature.MachinePool) {
		steps = append(steps, step{"MachinePool", func() error {
			return (&machinepool.Reconciler{Client: cl, APIReader: reader, ClusterCache: clusters, WatchFilterValue: c.watchFilter}).SetupWithManager(ctx, mgr, c.options())
		}})
	}
	return steps
}

func (c *managerConfig) topologyReconcilers(ctx context.Context, mgr ctrl.Manager, clusters clustercache.ClusterCache) []step {
	cl, reader := mgr.GetClient(), mgr.GetAPIReader()
	return []step{
		{"ClusterClass", func() error {
			return (&clusterclass.Reconciler{Client: cl, WatchFilterValue: c.watchFilter}).SetupWithManager(ctx, mgr, c.options())
		}},
		{"ClusterTopology", func() error {
			return (&topologycluster.Reconciler{Client: cl, APIReader: reader, ClusterCache: clusters, WatchFilterValue: c.watchFilter}).SetupWithManager(ctx, mgr, c.options())
		}},
		{"MachineDeploymentTopology", func() error {
			return (&topologymachinedeployment.Reconciler{Client: cl, APIReader: reader, WatchFilterValue: c.watchFilter}).SetupWithManager(ctx, mgr, c.options())
		}},
		{"MachineSetTopology", func() error {
			return (&topologymachineset.Reconciler{Client: cl, APIReader: reader, WatchFilterValue: c.watchFilter}).SetupWithManager(ctx, mgr, c.options())
		}},
	}
}

// migratedKinds are the kinds whose stored versions the manager moves forward.
func migratedKinds() map[client.Object]crdmigrator.ByObjectConfig {
	withStatus := crdmigrator.ByObjectConfig{UseStatusForStorageVersionMigration: true}
	kinds := map[client.Object]crdmigrator.ByObjectConfig{
		&addonsv1.ClusterResourceSetBinding{}: {},
		&addonsv1.ClusterResourceSet{}:        withStatus,
		&clusterv1.Cluster{}:                  withStatus,
		&clusterv1.MachineDeployment{}:        withStatus,
		&clusterv1.MachineDrainRule{}:         {},
		&clusterv1.MachineHealthCheck{}:       withStatus,
		&clusterv1.Machine{}:                  withStatus,
		&clusterv1.MachineSet{}:               withStatus,
		&ipamv1.IPAddress{}:                   {},
		&ipamv1.IPAddressClaim{}:              withStatus,
	}
	if feature.Gates.Enabled(feature.ClusterTopology) {
		kinds[&clusterv1.ClusterClass{}] = withStatus
	}
	if feature.Gates.Enabled(feature.MachinePool) {
		kinds[&clusterv1.MachinePool{}] = withStatus
	}
	return kinds
}

func addWebhooks(mgr ctrl.Manager, clusters clustercache.ClusterCache) error {
	cl := mgr.GetClient()
	conversion.SetAPIVersionGetter(func(ctx context.Context, gk schema.GroupKind) (string, error) {
		return apiVersionOf(ctx, cl, gk)
	})
	return runSteps("webhook", []step{
		{"ClusterClass", func() error { return (&admission.ClusterClass{Client: cl}).SetupWebhookWithManager(mgr) }},
		{"Cluster", func() error {
			return (&admission.Cluster{Client: cl, ClusterCacheReader: clusters}).SetupWebhookWithManager(mgr)
		}},
		{"Machine", func() error { return (&admission.Machine{}).SetupWebhookWithManager(mgr) }},
		{"MachineSet", func() error { return (&admission.MachineSet{}).SetupWebhookWithManager(mgr) }},
		{"MachineDeployment", func() error { return (&admission.MachineDeployment{}).SetupWebhookWithManager(mgr) }},
		{"MachineDrainRule", func() error { return (&admission.MachineDrainRule{}).SetupWebhookWithManager(mgr) }},
		{"MachinePool", func() error { return (&admission.MachinePool{}).SetupWebhookWithManager(mgr) }},
		{"ClusterResourceSet", func() error { return (&admission.ClusterResourceSet{}).SetupWebhookWithManager(mgr) }},
		{"ClusterResourceSetBinding", func() error { return (&admission.ClusterResourceSetBinding{}).SetupWebhookWithManager(mgr) }},
		{"MachineHealthCheck", func() error { return (&admission.MachineHealthCheck{}).SetupWebhookWithManager(mgr) }},
		{"ExtensionConfig", func() error { return (&admission.ExtensionConfig{}).SetupWebhookWithManager(mgr) }},
		{"IPAddress", func() error { return (&admission.IPAddress{Client: mgr.GetAPIReader()}).SetupWebhookWithManager(mgr) }},
		{"IPAddressClaim", func() error { return (&admission.IPAddressClaim{}).SetupWebhookWithManager(mgr) }},
	})
}
