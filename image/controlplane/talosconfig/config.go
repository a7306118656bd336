package talosconfig

import (
	"errors"
	"fmt"
	"strings"

	coreconfig "github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/config/configpatcher"
	"github.com/siderolabs/talos/pkg/machinery/config/container"
	"github.com/siderolabs/talos/pkg/machinery/config/encoder"
	"github.com/siderolabs/talos/pkg/machinery/config/generate"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"github.com/siderolabs/talos/pkg/machinery/config/machine"
	"github.com/siderolabs/talos/pkg/machinery/config/types/network"
	"github.com/siderolabs/talos/pkg/machinery/config/types/v1alpha1"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/nethelpers"
	"go.yaml.in/yaml/v4"
)

// configResult is a machine configuration.
type configResult struct {
	Config string `json:"config"`
}

type generateParams struct {
	// Type: init, controlplane, worker, and the provider's "join" and "" (worker).
	Type     string `json:"type"`
	Cluster  string `json:"cluster"`
	Endpoint string `json:"endpoint"`
	// KubernetesVersion with or without "v"; the library's default if empty.
	KubernetesVersion string        `json:"kubernetesVersion"`
	TalosVersion      string        `json:"talosVersion"`
	Secrets           secretsSource `json:"secrets"`
	DNSDomain         string        `json:"dnsDomain"`
	// PodSubnets and ServiceSubnets replace the defaults when given, an empty list too.
	PodSubnets     *[]string `json:"podSubnets"`
	ServiceSubnets *[]string `json:"serviceSubnets"`
	// Install is what the installer is told; nothing of it by default.
	Install installParams `json:"install"`
	// Hostname: when given there is a network section, and, unless it is empty, a static host name.
	Hostname *string     `json:"hostname"`
	Patches  []patchText `json:"patches"`
}

type installParams struct {
	Disk  string `json:"disk"`
	Image string `json:"image"`
}

func generateConfig(params *generateParams) (*configResult, error) {
	machineType, err := machine.ParseType(params.Type)
	if err != nil || machineType == machine.TypeUnknown {
		return nil, input("type", fmt.Errorf("unknown generate type specified: %q", params.Type))
	}

	contract, err := contractOf(params.TalosVersion)
	if err != nil {
		return nil, err
	}

	bundle, err := params.Secrets.complete()
	if err != nil {
		return nil, err
	}

	patches, err := loadPatches(params.Patches)
	if err != nil {
		return nil, err
	}

	generated, err := generateWith(params, machineType, contract, bundle)
	if err != nil {
		return nil, err
	}

	// What is patched is the text, read again: as if it came from a user.
	text, err := generated.EncodeBytes(encoder.WithComments(encoder.CommentsDisabled))
	if err != nil {
		return nil, err
	}

	if hostname := params.staticHostname(); hostname != "" && contract.MultidocNetworkConfigSupported() {
		document, err := hostnamePatch(hostname)
		if err != nil {
			return nil, input("hostname", err)
		}

		// After the user's patches: it wins.
		patches = append(patches, document)
	}

	patched, err := applyPatches(text, patches)
	if err != nil {
		return nil, err
	}

	return &configResult{Config: string(patched)}, nil
}

func (params *generateParams) staticHostname() string {
	if params.Hostname == nil {
		return ""
	}

	return *params.Hostname
}

func generateWith(
	params *generateParams, machineType machine.Type, contract *coreconfig.VersionContract, bundle *secrets.Bundle,
) (coreconfig.Provider, error) {
	options := []generate.Option{
		generate.WithVersionContract(contract),
		generate.WithSecretsBundle(bundle),
		generate.WithInstallDisk(params.Install.Disk),
		generate.WithInstallImage(params.Install.Image),
	}
	if params.DNSDomain != "" {
		options = append(options, generate.WithDNSDomain(params.DNSDomain))
	}

	// Clusters from before discovery have no id to be discovered by.
	if contract != nil && contract.Major < 1 && contract.Minor < 14 {
		options = append(options, generate.WithClusterDiscovery(false))
	}

	kubernetes := strings.TrimPrefix(params.KubernetesVersion, "v")
	if kubernetes == "" {
		kubernetes = constants.DefaultKubernetesVersion
	}

	generator, err := generate.NewInput(params.Cluster, params.Endpoint, kubernetes, options...)
	if err != nil {
		return nil, err
	}

	generated, err := generator.Config(machineType)
	if err != nil {
		return nil, err
	}

	return generated.PatchV1Alpha1(func(config *v1alpha1.Config) error {
		if params.PodSubnets != nil {
			config.ClusterConfig.ClusterNetwork.PodSubnet = *params.PodSubnets
		}

		if params.ServiceSubnets != nil {
			config.ClusterConfig.ClusterNetwork.ServiceSubnet = *params.ServiceSubnets
		}

		if params.Hostname == nil {
			return nil
		}

		if config.MachineConfig.MachineNetwork == nil {
			config.MachineConfig.MachineNetwork = &v1alpha1.NetworkConfig{}
		}

		if !contract.MultidocNetworkConfigSupported() {
			config.MachineConfig.MachineNetwork.NetworkHostname = *params.Hostname
		}

		return nil
	})
}

// hostnamePatch is the document with a static host name, as a patch.
func hostnamePatch(hostname string) (patch, error) {
	off := nethelpers.AutoHostnameKindOff
	document := network.NewHostnameConfigV1Alpha1()
	document.ConfigAuto = &off
	document.ConfigHostname = hostname

	provider, err := container.New(document)
	if err != nil {
		return patch{}, err
	}

	return patch{field: "hostname", strategic: true, loaded: configpatcher.NewStrategicMergePatch(provider)}, nil
}

type inspectConfigParams struct {
	Config string `json:"config"`
}

// inspectConfigResult is what a provider needs of a configuration that a user wrote.
type inspectConfigResult struct {
	// Type: controlplane, init, worker or unknown.
	Type     string `json:"type"`
	Cluster  string `json:"cluster"`
	Endpoint string `json:"endpoint"`
	// Token is the one that machines join with (trustd).
	Token        string   `json:"token"`
	TalosCA      *keyPair `json:"talosCA,omitempty"`
	KubernetesCA *keyPair `json:"kubernetesCA,omitempty"`
	// Bundle holds all secrets, where the configuration has the key of the Talos API CA.
	Bundle string `json:"bundle,omitempty"`
	// Documents are all documents, "kind" or "kind/name"; "v1alpha1" is the one without a kind.
	Documents []string `json:"documents"`
}

func inspectConfig(params *inspectConfigParams) (*inspectConfigResult, error) {
	config, err := loadConfig(params.Config)
	if err != nil {
		return nil, err
	}

	// The library takes the three for granted.
	switch root := config.RawV1Alpha1(); {
	case root == nil:
		return nil, input("config", errors.New("the configuration has no v1alpha1 document"))
	case root.MachineConfig == nil:
		return nil, input("config", errors.New("the configuration has no section machine"))
	case root.ClusterConfig == nil:
		return nil, input("config", errors.New("the configuration has no section cluster"))
	}

	machineConfig, clusterConfig := config.Machine(), config.Cluster()
	result := &inspectConfigResult{
		Type:         machineConfig.Type().String(),
		Cluster:      clusterConfig.Name(),
		Token:        machineConfig.Security().Token(),
		TalosCA:      pairOf(machineConfig.Security().IssuingCA()),
		KubernetesCA: pairOf(clusterConfig.IssuingCA()),
	}

	// Without one clusterConfig.Endpoint panics.
	if plane := config.RawV1Alpha1().ClusterConfig.ControlPlane; plane != nil && plane.Endpoint != nil && plane.Endpoint.URL != nil {
		result.Endpoint = plane.Endpoint.String()
	}

	for _, document := range config.Documents() {
		result.Documents = append(result.Documents, documentName(document))
	}

	if result.TalosCA != nil && result.TalosCA.Key != "" {
		bundle, err := yaml.Marshal(secrets.NewBundleFromConfig(secrets.NewClock(), config))
		if err != nil {
			return nil, err
		}

		result.Bundle = string(bundle)
	}

	return result, nil
}

// loadConfig reads a configuration strictly: unknown keys and kinds are errors.
func loadConfig(text string) (coreconfig.Provider, error) {
	config, err := configloader.NewFromBytes([]byte(text))
	if err != nil {
		return nil, input("config", err)
	}

	return config, nil
}
