package talosconfig

import (
	"encoding/json"
	"errors"
	"fmt"

	jsonpatch "github.com/evanphx/json-patch"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/config/configpatcher"
	"github.com/siderolabs/talos/pkg/machinery/config/container"
	"github.com/siderolabs/talos/pkg/machinery/config/encoder"
	"github.com/siderolabs/talos/pkg/machinery/config/types/v1alpha1"
)

// patchText is a patch of a request: one of the two.
type patchText struct {
	// JSON6902 is a list of operations (RFC 6902).
	JSON6902 json.RawMessage `json:"json6902"`
	// Strategic is documents to merge, or, as upstream has it, a list of operations.
	Strategic *string `json:"strategic"`
}

// patch is a patch that was read.
type patch struct {
	field     string
	strategic bool
	loaded    configpatcher.Patch
}

type patchParams struct {
	Config string `json:"config"`
	// Strict reads the configuration and writes it again, without comments, before any patch.
	Strict  bool        `json:"strict"`
	Patches []patchText `json:"patches"`
}

func patchConfig(params *patchParams) (*configResult, error) {
	patches, err := loadPatches(params.Patches)
	if err != nil {
		return nil, err
	}

	text := []byte(params.Config)

	if params.Strict {
		config, err := loadConfig(params.Config)
		if err != nil {
			return nil, err
		}

		if text, err = config.EncodeBytes(encoder.WithComments(encoder.CommentsDisabled)); err != nil {
			return nil, err
		}
	}

	patched, err := applyPatches(text, patches)
	if err != nil {
		return nil, err
	}

	return &configResult{Config: string(patched)}, nil
}

// loadPatches reads all patches before the first is applied.
func loadPatches(texts []patchText) ([]patch, error) {
	patches := make([]patch, 0, len(texts))

	for i, text := range texts {
		loaded, err := loadPatch(fmt.Sprintf("patches[%d]", i), text)
		if err != nil {
			return nil, err
		}

		patches = append(patches, loaded)
	}

	return patches, nil
}

func loadPatch(field string, text patchText) (patch, error) {
	operations := text.JSON6902 != nil && string(text.JSON6902) != "null"
	if operations == (text.Strategic != nil) {
		message := "a patch has either json6902 or strategic"

		return patch{}, &failure{Code: codeRequest, Field: field, Message: message}
	}

	var (
		loaded configpatcher.Patch
		err    error
	)

	if text.Strategic != nil {
		loaded, err = configpatcher.LoadPatch([]byte(*text.Strategic))
	} else {
		loaded, err = jsonpatch.DecodePatch(text.JSON6902)
	}

	if err != nil {
		return patch{}, &failure{Code: codePatchLoad, Field: field, Message: err.Error()}
	}

	return patch{field: field, strategic: text.Strategic != nil, loaded: loaded}, nil
}

// applyPatches applies them in order. After the last strategic one the result is read
// strictly and written anew; JSON patches alone leave what they made, its keys sorted.
func applyPatches(text []byte, patches []patch) ([]byte, error) {
	current := configpatcher.WithBytes(text)
	strategic := false

	for _, patch := range patches {
		strategic = strategic || patch.strategic

		next, err := applyPatch(current, patch)
		if err != nil {
			if failed := new(failure); errors.As(err, &failed) {
				return nil, failed
			}

			return nil, &failure{Code: codePatchApply, Field: patch.field, Message: err.Error()}
		}

		current = next
	}

	if !strategic {
		return current.Bytes()
	}

	patched, err := current.Config()
	if err != nil {
		return nil, &failure{Code: codePatchApply, Field: patches[len(patches)-1].field, Message: err.Error()}
	}

	return patched.EncodeBytes(encoder.WithComments(encoder.CommentsDisabled))
}

func applyPatch(current configpatcher.Input, patch patch) (next configpatcher.Output, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			message := fmt.Sprintf("Talos's library failed on this patch: %v", cause)
			err = &failure{Code: codePanic, Field: patch.field, Message: message}
		}
	}()

	next, err = configpatcher.Apply(current, []configpatcher.Patch{patch.loaded})
	if err != nil {
		return nil, err
	}

	if _, merged := patch.loaded.(configpatcher.StrategicMergePatch); merged {
		return withoutSelectors(next)
	}

	return next, nil
}

// withoutSelectors drops what a patch wanted to delete from documents that are not
// there: the library (1.13) takes such a deletion for a document, appends it, and
// later writes "{}" or panics on it. Later releases do nothing, and so does this.
func withoutSelectors(patched configpatcher.Output) (configpatcher.Output, error) {
	provider, err := patched.Config()
	if err != nil {
		return nil, err
	}

	documents := provider.Documents()
	kept := make([]config.Document, 0, len(documents))

	for _, document := range documents {
		if _, selector := document.(configloader.Selector); !selector {
			kept = append(kept, document)
		}
	}

	if len(kept) == 0 {
		return nil, errors.New("the patch leaves no document of the configuration")
	}

	if len(kept) == len(documents) {
		return configpatcher.WithConfig(provider), nil
	}

	rest, err := container.New(kept...)
	if err != nil {
		return nil, err
	}

	return configpatcher.WithConfig(rest), nil
}

func documentName(document config.Document) string {
	if _, root := document.(*v1alpha1.Config); root {
		return v1alpha1.Version
	}

	name := document.Kind()
	if named, ok := document.(config.NamedDocument); ok {
		name += "/" + named.Name()
	}

	return name
}
