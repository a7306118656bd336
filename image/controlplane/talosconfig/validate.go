package talosconfig

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/go-multierror"
	"github.com/siderolabs/talos/pkg/machinery/config/validation"
)

type validateParams struct {
	Config string `json:"config"`
	// Level: "node" as a node does, "talosctl" as `talosctl validate` does, "strict" as it does with --strict.
	Level string `json:"level"`
	// Mode: "metal" (the default), "cloud" or "container".
	Mode string `json:"mode"`
}

type validateResult struct {
	Valid    bool     `json:"valid"`
	Errors   []string `json:"errors"`
	Warnings []string `json:"warnings"`
	// LoadError is set, and the lists are empty, when the text is no configuration at all.
	LoadError string `json:"loadError,omitempty"`
}

// runtimeMode is the platform's part in validation.
type runtimeMode struct {
	name               string
	install, container bool
}

func (m runtimeMode) String() string        { return m.name }
func (m runtimeMode) RequiresInstall() bool { return m.install }
func (m runtimeMode) InContainer() bool     { return m.container }

func validate(params *validateParams) (*validateResult, error) {
	var mode runtimeMode

	switch params.Mode {
	case "", "metal":
		mode = runtimeMode{name: "metal", install: true}
	case "cloud":
		mode = runtimeMode{name: "cloud"}
	case "container":
		mode = runtimeMode{name: "container", container: true}
	default:
		return nil, input("mode", fmt.Errorf("%q is none of metal, cloud, container", params.Mode))
	}

	var options []validation.Option

	switch params.Level {
	case "", "node":
	case "talosctl":
		options = []validation.Option{validation.WithLocal()}
	case "strict":
		options = []validation.Option{validation.WithLocal(), validation.WithStrict()}
	default:
		return nil, input("level", fmt.Errorf("%q is none of node, talosctl, strict", params.Level))
	}

	result := &validateResult{Errors: []string{}, Warnings: []string{}}

	config, err := loadConfig(params.Config)
	if err != nil {
		failed := new(failure)
		errors.As(err, &failed)
		result.LoadError = failed.Message

		return result, nil
	}

	warnings, err := config.Validate(mode, options...)
	result.Warnings = append(result.Warnings, warnings...)
	result.Errors = append(result.Errors, flatten("", err)...)
	result.Valid = err == nil

	return result, nil
}

// rootPrefix stands before the errors of the document without a kind.
const rootPrefix = "v1alpha1.Config: "

// flatten lists errors singly, each with the document that it is about.
func flatten(prefix string, err error) []string {
	if err == nil {
		return nil
	}

	many := new(multierror.Error)
	if !errors.As(err, &many) {
		return []string{strings.TrimPrefix(prefix+err.Error(), rootPrefix)}
	}

	// What wraps the list is in front of it.
	prefix += strings.TrimSuffix(err.Error(), many.Error())

	var all []string
	for _, single := range many.Errors {
		all = append(all, flatten(strings.TrimPrefix(prefix, rootPrefix), single)...)
	}

	return all
}
