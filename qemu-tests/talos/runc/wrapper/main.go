// Command wrapper is runc on a host whose root lacks CAP_SYS_RESOURCE: it takes
// from the bundle what such a kernel refuses, a lower oom_score_adj and raised
// limits, and becomes the real runc. Elsewhere it changes nothing.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const runc = "/usr/bin/runc.real"

// mayRaise tells whether this process has CAP_SYS_RESOURCE.
func mayRaise() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

// lower rewrites the bundle's process so that nothing in it needs CAP_SYS_RESOURCE.
func lower(bundle string) error {
	path := filepath.Join(bundle, "config.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	// Numbers as they are written: a 64-bit limit does not pass through a float.
	decoder.UseNumber()
	var config map[string]any
	if err := decoder.Decode(&config); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	process, ok := config["process"].(map[string]any)
	if !ok {
		return fmt.Errorf("%s: no process", path)
	}
	if score, ok := process["oomScoreAdj"].(json.Number); ok && strings.HasPrefix(score.String(), "-") {
		delete(process, "oomScoreAdj")
	}
	delete(process, "rlimits")
	text, err = json.Marshal(config)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

// bundle is the folder that `runc create` is given, or empty.
func bundle(args []string) string {
	if !slices.Contains(args, "create") {
		return ""
	}
	for i, arg := range args {
		if value, ok := strings.CutPrefix(arg, "--bundle="); ok {
			return value
		}
		if (arg == "--bundle" || arg == "-b") && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
}

func main() {
	if path := bundle(os.Args[1:]); path != "" && !mayRaise() {
		if err := lower(path); err != nil {
			fmt.Fprintln(os.Stderr, "runc wrapper:", err)
			os.Exit(1)
		}
	}
	err := unix.Exec(runc, os.Args, os.Environ())
	fmt.Fprintln(os.Stderr, "runc wrapper:", err)
	os.Exit(1)
}
