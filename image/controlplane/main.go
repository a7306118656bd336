// Command controlplane is etcd, kube-apiserver, kube-controller-manager, the
// Cluster API core manager, clusterctl and Talos's configuration library in one
// static binary: the program is chosen by the name it is called by. All of them
// are the unmodified upstream modules; sharing one binary shares their common text
// on disk and in memory.
// How often garbage is collected follows the load (package pace).
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"bloomery/controlplane/pace"
	"go.etcd.io/etcd/server/v3/etcdmain"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubeapiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	kubecontrollermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	clusterctl "sigs.k8s.io/cluster-api/cmd/clusterctl/cmd"

	"bloomery/controlplane/talosconfig"
)

// programs maps the name the binary is called by to the program it then is.
var programs = map[string]func(){
	"etcd":                    func() { etcdmain.Main(os.Args) },
	"kube-apiserver":          func() { os.Exit(cli.Run(kubeapiserver.NewAPIServerCommand())) },
	"kube-controller-manager": func() { os.Exit(cli.Run(kubecontrollermanager.NewControllerManagerCommand())) },
	"cluster-api":             clusterAPI,
	"clusterctl":              clusterctl.Execute,
	"talosconfig":             talosconfig.Main,
}

func main() {
	name := filepath.Base(os.Args[0])
	program, ok := programs[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "controlplane: called as %q; call it through a link named after one of its programs: etcd, kube-apiserver, kube-controller-manager, cluster-api, clusterctl, talosconfig\n", name)
		os.Exit(64)
	}
	pace.Collector()
	program()
}
