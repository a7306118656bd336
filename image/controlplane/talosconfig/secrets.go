package talosconfig

import (
	"errors"
	"fmt"
	"time"

	"github.com/siderolabs/crypto/x509"
	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/gendata"
	"go.yaml.in/yaml/v4"
)

// keyPair is a certificate and its key, PEM.
type keyPair struct {
	Crt string `json:"crt"`
	Key string `json:"key,omitempty"`
}

func pairOf(pair *x509.PEMEncodedCertificateAndKey) *keyPair {
	if pair == nil || len(pair.Crt) == 0 {
		return nil
	}

	return &keyPair{Crt: string(pair.Crt), Key: string(pair.Key)}
}

// secretsSource is a secrets bundle as the Secret <cluster>-talos holds it: in one
// text, or in the three sections of old providers.
type secretsSource struct {
	Bundle      string `json:"bundle"`
	Certs       string `json:"certs"`
	KubeSecrets string `json:"kubeSecrets"`
	TrustdInfo  string `json:"trustdInfo"`
}

// load reads the bundle. It may lack parts: see complete and osCA.
func (s *secretsSource) load() (*secrets.Bundle, error) {
	// One time for all that one request makes.
	bundle := &secrets.Bundle{Clock: secrets.NewFixedClock(time.Now())}

	if s.Bundle != "" {
		if err := yaml.Unmarshal([]byte(s.Bundle), bundle); err != nil {
			return nil, input("secrets.bundle", err)
		}

		return bundle, nil
	}

	if s.Certs == "" && s.KubeSecrets == "" && s.TrustdInfo == "" {
		return nil, input("secrets.bundle", errors.New("the secrets bundle is empty"))
	}

	// The old kind knows neither id nor secret of the cluster.
	bundle.Cluster = &secrets.Cluster{}

	for _, section := range []struct {
		field, text string
		into        any
	}{
		{"secrets.certs", s.Certs, &bundle.Certs},
		{"secrets.kubeSecrets", s.KubeSecrets, &bundle.Secrets},
		{"secrets.trustdInfo", s.TrustdInfo, &bundle.TrustdInfo},
	} {
		if err := yaml.Unmarshal([]byte(section.text), section.into); err != nil {
			return nil, input(section.field, err)
		}
	}

	return bundle, nil
}

// complete loads a bundle and makes sure that the generator, which takes each part
// for granted, finds them all.
func (s *secretsSource) complete() (*secrets.Bundle, error) {
	bundle, err := s.load()
	if err != nil {
		return nil, err
	}

	sections := []struct {
		name  string
		there bool
	}{
		{"cluster", bundle.Cluster != nil},
		{"secrets", bundle.Secrets != nil},
		{"trustdinfo", bundle.TrustdInfo != nil},
		{"certs", bundle.Certs != nil},
		{"certs.etcd", bundle.Certs != nil && bundle.Certs.Etcd != nil},
		{"certs.k8s", bundle.Certs != nil && bundle.Certs.K8s != nil},
		{"certs.k8saggregator", bundle.Certs != nil && bundle.Certs.K8sAggregator != nil},
		{"certs.k8sserviceaccount", bundle.Certs != nil && bundle.Certs.K8sServiceAccount != nil},
		{"certs.os", bundle.Certs != nil && bundle.Certs.OS != nil},
	}
	for _, section := range sections {
		if !section.there {
			return nil, input("secrets", fmt.Errorf("the secrets bundle has no %s", section.name))
		}
	}

	return bundle, nil
}

// osCA loads a bundle of which the CA of the Talos API is needed alone.
func (s *secretsSource) osCA() (*secrets.Bundle, error) {
	bundle, err := s.load()
	if err != nil {
		return nil, err
	}

	if bundle.Certs == nil || bundle.Certs.OS == nil || len(bundle.Certs.OS.Crt) == 0 || len(bundle.Certs.OS.Key) == 0 {
		return nil, input("secrets", errors.New("the secrets bundle has no certificate and key of the Talos API CA (certs.os)"))
	}

	return bundle, nil
}

// contractOf reads a Talos version; nil, the newest, for none.
func contractOf(talosVersion string) (*config.VersionContract, error) {
	if talosVersion == "" {
		return config.TalosVersionCurrent, nil
	}

	contract, err := config.ParseContractFromVersion(talosVersion)
	if err != nil {
		return nil, input("talosVersion", fmt.Errorf("invalid talos-version: %w", err))
	}

	return contract, nil
}

type versionParams struct{}

type versionResult struct {
	// Machinery is the release of Talos that the library belongs to.
	Machinery string `json:"machinery"`
	// Contract is the newest that it knows: newer ones get what this one gets.
	Contract string `json:"contract"`
	// Kubernetes is the version that a request without one gets.
	Kubernetes string `json:"kubernetes"`
}

func version(*versionParams) (*versionResult, error) {
	contract, err := config.ParseContractFromVersion(gendata.VersionTag)
	if err != nil {
		return nil, err
	}

	return &versionResult{
		Machinery:  gendata.VersionTag,
		Contract:   contract.String(),
		Kubernetes: constants.DefaultKubernetesVersion,
	}, nil
}

type newSecretsParams struct {
	TalosVersion string `json:"talosVersion"`
}

type newSecretsResult struct {
	Bundle string `json:"bundle"`
}

func newSecrets(params *newSecretsParams) (*newSecretsResult, error) {
	contract, err := contractOf(params.TalosVersion)
	if err != nil {
		return nil, err
	}

	bundle, err := secrets.NewBundle(secrets.NewFixedClock(time.Now()), contract)
	if err != nil {
		return nil, err
	}

	text, err := yaml.Marshal(bundle)
	if err != nil {
		return nil, err
	}

	return &newSecretsResult{Bundle: string(text)}, nil
}

type inspectSecretsParams struct {
	Secrets secretsSource `json:"secrets"`
}

type inspectSecretsResult struct {
	TalosCA      *keyPair `json:"talosCA,omitempty"`
	KubernetesCA *keyPair `json:"kubernetesCA,omitempty"`
}

func inspectSecrets(params *inspectSecretsParams) (*inspectSecretsResult, error) {
	bundle, err := params.Secrets.load()
	if err != nil {
		return nil, err
	}

	if bundle.Certs == nil {
		return nil, input("secrets", errors.New("the secrets bundle has no certs"))
	}

	return &inspectSecretsResult{TalosCA: pairOf(bundle.Certs.OS), KubernetesCA: pairOf(bundle.Certs.K8s)}, nil
}
