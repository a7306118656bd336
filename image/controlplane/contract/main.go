//go:build cluster_api_contract

// Command contract reads objects as Cluster API's own code reads those of providers, and prints what it found.
//
// The getters are internal to Cluster API: image/controlplane.mk builds this within a copy of the module. Nothing of the
// product is built from it.
//
// Standard input: one JSON object per line, {"contract": "v1beta2", "kind": ..., "object": {...}}; output: a line for each.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"sigs.k8s.io/cluster-api/internal/contract"
)

type request struct {
	Contract string         `json:"contract"`
	Kind     string         `json:"kind"`
	Object   map[string]any `json:"object"`
}

// found gathers what getters return: a field that is absent is null, any other error is one of the contract.
type found map[string]any

func put[T any](f found, name string, value T, err error) {
	switch {
	case err == nil:
		f[name] = value
	case errors.Is(err, contract.ErrFieldNotFound):
		f[name] = nil
	default:
		f[name] = map[string]string{"error": err.Error()}
	}
}

func read(r request) (found, error) {
	object := &unstructured.Unstructured{Object: r.Object}
	f := found{}
	switch r.Kind {
	case "InfrastructureCluster":
		c := contract.InfrastructureCluster()
		provisioned, err := c.Provisioned(r.Contract).Get(object)
		put(f, "provisioned", provisioned, err)
		endpoint, err := c.ControlPlaneEndpoint().Get(object)
		put(f, "controlPlaneEndpoint", endpoint, err)
		domains, err := c.FailureDomains(r.Contract).Get(object)
		put(f, "failureDomains", domains, err)
	case "InfrastructureMachine":
		c := contract.InfrastructureMachine()
		provisioned, err := c.Provisioned(r.Contract).Get(object)
		put(f, "provisioned", provisioned, err)
		provider, err := c.ProviderID().Get(object)
		put(f, "providerID", provider, err)
		addresses, err := c.Addresses().Get(object)
		put(f, "addresses", addresses, err)
		domain, err := c.FailureDomain().Get(object)
		put(f, "failureDomain", domain, err)
	case "Bootstrap":
		c := contract.Bootstrap()
		created, err := c.DataSecretCreated(r.Contract).Get(object)
		put(f, "dataSecretCreated", created, err)
		name, err := c.DataSecretName().Get(object)
		put(f, "dataSecretName", name, err)
	case "ControlPlane":
		c := contract.ControlPlane()
		initialized, err := c.Initialized(r.Contract).Get(object)
		put(f, "initialized", initialized, err)
		version, err := c.Version().Get(object)
		put(f, "version", version, err)
		status, err := c.StatusVersion().Get(object)
		put(f, "statusVersion", status, err)
		versions, err := c.StatusVersions().Get(object)
		put(f, "statusVersions", versions, err)
		for name, getter := range map[string]*contract.Int32{
			"replicas": c.Replicas(), "statusReplicas": c.StatusReplicas(), "readyReplicas": c.ReadyReplicas(),
			"availableReplicas": c.AvailableReplicas(), "upToDateReplicas": c.UpToDateReplicas(r.Contract),
		} {
			value, err := getter.Get(object)
			put(f, name, value, err)
		}
		selector, err := c.Selector().Get(object)
		put(f, "selector", selector, err)
		provisioning, err := c.IsProvisioning(object)
		put(f, "isProvisioning", provisioning, err)
		upgrading, err := c.IsUpgrading(object)
		put(f, "isUpgrading", upgrading, err)
		scaling, err := c.IsScaling(object, r.Contract)
		put(f, "isScaling", scaling, err)
	default:
		return nil, fmt.Errorf("unknown kind %q", r.Kind)
	}
	return f, nil
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 4<<20)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var r request
		// Whole numbers stay whole, as in clients.
		err := utiljson.Unmarshal(lines.Bytes(), &r)
		var f found
		if err == nil {
			f, err = read(r)
		}
		if err == nil {
			err = answers.Encode(f)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "contract:", err)
			os.Exit(1)
		}
	}
}
