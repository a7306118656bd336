package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/logs"
	logsv1 "k8s.io/component-base/logs/api/v1"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	addonsv1beta1 "sigs.k8s.io/cluster-api/api/addons/v1beta1"
	addonsv1 "sigs.k8s.io/cluster-api/api/addons/v1beta2"
	clusterv1beta1 "sigs.k8s.io/cluster-api/api/core/v1beta1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ipamv1alpha1 "sigs.k8s.io/cluster-api/api/ipam/v1alpha1"
	ipamv1beta1 "sigs.k8s.io/cluster-api/api/ipam/v1beta1"
	ipamv1 "sigs.k8s.io/cluster-api/api/ipam/v1beta2"
	runtimev1alpha1 "sigs.k8s.io/cluster-api/api/runtime/v1alpha1"
	runtimev1 "sigs.k8s.io/cluster-api/api/runtime/v1beta2"
	"sigs.k8s.io/cluster-api/controllers/remote"
	"sigs.k8s.io/cluster-api/core/setup"
	"sigs.k8s.io/cluster-api/feature"
	"sigs.k8s.io/cluster-api/util/apiwarnings"
	"sigs.k8s.io/cluster-api/util/contract"
	"sigs.k8s.io/cluster-api/util/flags"
	"sigs.k8s.io/cluster-api/version"
)

// Upstream's manager is a `package main` and parts of it are internal, so it
// cannot be linked; this file composes the same exported reconcilers, webhooks
// and set-up functions, with the flags of upstream that this image uses, under
// their names and with their defaults.

const (
	managerName = "cluster-api-controller-manager"

	// leaderElectionID is upstream's, so that a manager from upstream's own
	// release and this one never act on the same API server at once.
	leaderElectionID = "controller-leader-election-capi"

	// Upstream's: caches of a large plane need more than the 2 minutes of
	// controller-runtime to fill.
	cacheSyncTimeout = 5 * time.Minute
)

// managerConfig is everything the command line of the manager says.
type managerConfig struct {
	kubeconfig                  string
	leaderElect                 bool
	webhookHost                 string
	webhookPort                 int
	webhookCertDir              string
	healthAddr                  string
	watchNamespace              string
	watchFilter                 string
	syncPeriod                  time.Duration
	kubeAPIQPS                  float32
	kubeAPIBurst                int
	remoteConnectionGracePeriod time.Duration
	remoteConditionsGracePeriod time.Duration
	concurrency                 int
	manager                     flags.ManagerOptions
	logs                        *logs.Options
}

func (c *managerConfig) addFlags(fs *pflag.FlagSet) {
	logsv1.AddFlags(c.logs, fs)
	fs.StringVar(&c.kubeconfig, "kubeconfig", "", "Path of the kubeconfig; empty means the one of the pod it runs in.")
	fs.BoolVar(&c.leaderElect, "leader-elect", false, "Elect a leader among several managers.")
	fs.StringVar(&c.webhookHost, "webhook-host", "127.0.0.1", "Address the webhook server binds to.")
	fs.IntVar(&c.webhookPort, "webhook-port", 9443, "Port of the webhook server.")
	fs.StringVar(&c.webhookCertDir, "webhook-cert-dir", "/tmp/k8s-webhook-server/serving-certs/", "Directory of the webhook server's tls.crt and tls.key.")
	fs.StringVar(&c.healthAddr, "health-addr", ":9440", "Address of the health endpoint.")
	fs.StringVar(&c.watchNamespace, "namespace", "", "Namespace to watch; empty means all.")
	fs.StringVar(&c.watchFilter, "watch-filter", "", "Value of the label "+clusterv1.WatchLabel+" to watch; empty means all objects.")
	fs.DurationVar(&c.syncPeriod, "sync-period", 10*time.Minute, "Longest time between two looks at an object.")
	fs.Float32Var(&c.kubeAPIQPS, "kube-api-qps", 100, "Requests a second to the Kubernetes API.")
	fs.IntVar(&c.kubeAPIBurst, "kube-api-burst", 200, "Burst of requests to the Kubernetes API.")
	fs.DurationVar(&c.remoteConnectionGracePeriod, "remote-connection-grace-period", 50*time.Second, "Time without connection after which RemoteConnectionProbe becomes False.")
	fs.DurationVar(&c.remoteConditionsGracePeriod, "remote-conditions-grace-period", 5*time.Minute, "Time without connection after which remote conditions become Unknown.")
	fs.IntVar(&c.concurrency, "concurrency", 10, "Objects of one kind reconciled at once.")
	flags.AddManagerOptions(fs, &c.manager)
	feature.MutableGates.AddFlag(fs)
}

// clusterAPI runs the Cluster API core manager until it is told to stop.
func clusterAPI() {
	cfg := managerConfig{logs: logs.NewOptions()}
	fs := pflag.NewFlagSet("cluster-api", pflag.ExitOnError)
	showVersion := fs.Bool("version", false, "Print the version and exit.")
	cfg.addFlags(fs)
	fs.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	if err := fs.Set("v", "2"); err != nil {
		fatal(err)
	}
	// ExitOnError: a bad flag ends the process with the usage.
	_ = fs.Parse(os.Args[1:])
	if *showVersion {
		fmt.Printf("Cluster API %s\n", version.Get().GitVersion)
		return
	}
	if err := cfg.run(ctrl.SetupSignalHandler()); err != nil {
		fatal(err)
	}
}

func fatal(err error) {
	fmt.Fprintf(os.Stderr, "cluster-api: %v\n", err)
	os.Exit(1)
}

func (c *managerConfig) run(ctx context.Context) error {
	if err := logsv1.ValidateAndApply(c.logs, nil); err != nil {
		return fmt.Errorf("failed to apply the log options: %w", err)
	}
	ctrl.SetLogger(klog.Background())
	// The client of runtime extensions is internal to upstream's module.
	if feature.Gates.Enabled(feature.RuntimeSDK) {
		return fmt.Errorf("the feature gate RuntimeSDK is not available in this image; remove it from --feature-gates")
	}
	// Upstream's bounds: below them the connection prober cannot keep up.
	if c.remoteConditionsGracePeriod < 2*time.Minute || c.remoteConditionsGracePeriod <= c.remoteConnectionGracePeriod {
		return fmt.Errorf("--remote-conditions-grace-period must be at least 2m and more than --remote-connection-grace-period")
	}
	mgr, err := c.newManager()
	if err != nil {
		return err
	}
	if err := c.addReconcilers(ctx, mgr); err != nil {
		return err
	}
	klog.InfoS("Starting manager", "version", version.Get().GitVersion)
	return mgr.Start(ctx)
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, storagev1.AddToScheme,
		clusterv1beta1.AddToScheme, clusterv1.AddToScheme,
		addonsv1beta1.AddToScheme, addonsv1.AddToScheme,
		runtimev1alpha1.AddToScheme, runtimev1.AddToScheme,
		ipamv1alpha1.AddToScheme, ipamv1beta1.AddToScheme, ipamv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("failed to register API types: %w", err)
		}
	}
	return scheme, nil
}

func (c *managerConfig) newManager() (ctrl.Manager, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	rest, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("failed to load the kubeconfig: %w", err)
	}
	rest.QPS, rest.Burst = c.kubeAPIQPS, c.kubeAPIBurst
	rest.UserAgent = remote.DefaultClusterAPIUserAgent(managerName)
	rest.WarningHandler = apiwarnings.DefaultHandler(klog.Background().WithName("API Server Warning"))
	minimum := version.MinimumKubernetesVersion
	if feature.Gates.Enabled(feature.ClusterTopology) {
		minimum = version.MinimumKubernetesVersionClusterTopology
	}
	if err := version.CheckKubernetesVersion(rest, minimum); err != nil {
		return nil, err
	}
	tlsOptions, metrics, err := flags.GetManagerOptions(c.manager)
	if err != nil {
		return nil, fmt.Errorf("invalid flags: %w", err)
	}
	priorityQueue := feature.Gates.Enabled(feature.PriorityQueue)
	mgr, err := ctrl.NewManager(rest, ctrl.Options{
		Controller:             config.Controller{UsePriorityQueue: &priorityQueue, CacheSyncTimeout: cacheSyncTimeout},
		Scheme:                 scheme,
		LeaderElection:         c.leaderElect,
		LeaderElectionID:       leaderElectionID,
		HealthProbeBindAddress: c.healthAddr,
		Metrics:                *metrics,
		Cache:                  setup.ManagerCacheOptions(scheme, managerName, c.watchNamespace, c.syncPeriod),
		Client:                 setup.ManagerClientOptions(),
		WebhookServer: webhook.NewServer(webhook.Options{
			Host: c.webhookHost, Port: c.webhookPort, CertDir: c.webhookCertDir, TLSOpts: tlsOptions,
		}),
	})
	if err != nil {
		return nil, fmt.Errorf("failed to make the manager: %w", err)
	}
	started := mgr.GetWebhookServer().StartedChecker()
	if err := mgr.AddReadyzCheck("webhook", started); err != nil {
		return nil, err
	}
	return mgr, mgr.AddHealthzCheck("webhook", started)
}

// metadataOnlySecretCache holds the metadata of all secrets, for reconcilers
// that watch secrets which belong to no cluster.
func (c *managerConfig) metadataOnlySecretCache(mgr ctrl.Manager) (cache.Cache, error) {
	namespaces := map[string]cache.Config{}
	if c.watchNamespace != "" {
		namespaces[c.watchNamespace] = cache.Config{}
	}
	secrets, err := cache.New(mgr.GetConfig(), cache.Options{
		Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient(),
		SyncPeriod: &c.syncPeriod, DefaultNamespaces: namespaces,
		DefaultTransform: func(in any) (any, error) {
			object, ok := in.(*metav1.PartialObjectMetadata)
			if !ok || object.GroupVersionKind() != corev1.SchemeGroupVersion.WithKind("Secret") {
				return nil, fmt.Errorf("the secret cache was given a %T", in)
			}
			return cache.TransformStripManagedFields()(object)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("failed to make the secret cache: %w", err)
	}
	return secrets, mgr.Add(secrets)
}

// contractLabels are the contracts this version of Cluster API can work with,
// newest first; the label's value lists a CRD's versions that fulfil one.
var contractLabels = []string{clusterv1.GroupVersion.Group + "/v1beta2", clusterv1.GroupVersion.Group + "/v1beta1"}

// apiVersionOf finds the version of a kind that fulfils the newest contract,
// from the labels of its CRD; conversion of references needs it.
func apiVersionOf(ctx context.Context, c client.Client, gk schema.GroupKind) (string, error) {
	crd := &metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	name := contract.CalculateCRDName(gk.Group, gk.Kind)
	if err := c.Get(ctx, client.ObjectKey{Name: name}, crd); err != nil {
		return "", fmt.Errorf("failed to get CRD %s of kind %s: %w", name, gk.Kind, err)
	}
	for _, label := range contractLabels {
		if newest := newestVersion(crd.Labels[label]); newest != "" {
			return schema.GroupVersion{Group: gk.Group, Version: newest}.String(), nil
		}
	}
	return "", fmt.Errorf("CRD %s has none of the contract labels %v", name, contractLabels)
}
