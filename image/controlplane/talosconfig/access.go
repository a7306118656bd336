package talosconfig

import (
	"crypto"
	stdx509 "crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/siderolabs/crypto/x509"
	clientconfig "github.com/siderolabs/talos/pkg/machinery/client/config"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/role"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/cluster-api/util/certs"
	"sigs.k8s.io/cluster-api/util/kubeconfig"
)

// identity is by and for whom a client certificate of the Talos API is, and for how long.
type identity struct {
	Secrets secretsSource `json:"secrets"`
	// Roles: os:admin if there are none.
	Roles []string `json:"roles"`
	// TTL in seconds; a year if 0.
	TTL int64 `json:"ttl"`
}

// The CA's own life: a certificate that lives longer is no use.
const maxTTL = secrets.CAValidityTime

// issue returns the CA's certificate, and the one that it issues.
func (i *identity) issue() ([]byte, *x509.PEMEncodedCertificateAndKey, error) {
	bundle, err := i.Secrets.osCA()
	if err != nil {
		return nil, nil, err
	}

	roles := role.MakeSet(role.Admin)

	if len(i.Roles) > 0 {
		parsed, unknown := role.Parse(i.Roles)
		if len(unknown) > 0 {
			return nil, nil, input("roles", fmt.Errorf("Talos has no role %q", unknown[0]))
		}

		if roles = parsed; len(roles.Strings()) == 0 {
			return nil, nil, input("roles", errors.New("there is no role"))
		}
	}

	ttl := constants.TalosAPIDefaultCertificateValidityDuration

	if i.TTL != 0 {
		if i.TTL < 0 || i.TTL > int64(maxTTL/time.Second) {
			return nil, nil, input("ttl", fmt.Errorf("%d is not from 1 to %d seconds", i.TTL, int64(maxTTL/time.Second)))
		}

		ttl = time.Duration(i.TTL) * time.Second
	}

	issued, err := bundle.GenerateTalosAPIClientCertificateWithTTL(roles, ttl)
	if err != nil {
		return nil, nil, input("secrets", err)
	}

	return bundle.Certs.OS.Crt, issued, nil
}

type clientCertificateResult struct {
	CA  string `json:"ca"`
	Crt string `json:"crt"`
	Key string `json:"key"`
}

func clientCertificate(params *identity) (*clientCertificateResult, error) {
	ca, issued, err := params.issue()
	if err != nil {
		return nil, err
	}

	return &clientCertificateResult{CA: string(ca), Crt: string(issued.Crt), Key: string(issued.Key)}, nil
}

type talosconfigParams struct {
	// Cluster names the context.
	Cluster   string   `json:"cluster"`
	Endpoints []string `json:"endpoints"`
	identity
}

type talosconfigResult struct {
	Talosconfig string `json:"talosconfig"`
}

func talosconfig(params *talosconfigParams) (*talosconfigResult, error) {
	ca, issued, err := params.issue()
	if err != nil {
		return nil, err
	}

	text, err := clientconfig.NewConfig(params.Cluster, params.Endpoints, ca, issued).Bytes()
	if err != nil {
		return nil, err
	}

	return &talosconfigResult{Talosconfig: string(text)}, nil
}

type kubeconfigParams struct {
	Cluster string `json:"cluster"`
	// Server is the URL of the Kubernetes API.
	Server string `json:"server"`
	// CA is the Kubernetes CA with its key.
	CA keyPair `json:"ca"`
}

type kubeconfigResult struct {
	Kubeconfig string `json:"kubeconfig"`
}

// adminKubeconfig is Cluster API's own, as for all its control plane providers.
func adminKubeconfig(params *kubeconfigParams) (*kubeconfigResult, error) {
	authority, key, err := decodeCA(params.CA)
	if err != nil {
		return nil, err
	}

	made, err := kubeconfig.New(params.Cluster, params.Server, authority, key)
	if err != nil {
		return nil, err
	}

	text, err := clientcmd.Write(*made)
	if err != nil {
		return nil, err
	}

	return &kubeconfigResult{Kubeconfig: string(text)}, nil
}

func decodeCA(ca keyPair) (*stdx509.Certificate, crypto.Signer, error) {
	authority, err := certs.DecodeCertPEM([]byte(ca.Crt))
	if err != nil {
		return nil, nil, input("ca.crt", err)
	}

	if authority == nil {
		return nil, nil, input("ca.crt", errors.New("there is no PEM certificate"))
	}

	key, err := certs.DecodePrivateKeyPEM([]byte(ca.Key))
	if err != nil {
		return nil, nil, input("ca.key", err)
	}

	if key == nil {
		return nil, nil, input("ca.key", errors.New("there is no PEM key"))
	}

	return authority, key, nil
}
