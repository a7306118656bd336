// Package talosconfig answers questions about Talos machine configurations with
// Talos's own library: it generates, patches, validates and reads them, and makes
// the secrets and client credentials of a cluster.
//
// Each line of standard input is one request, a JSON object; each line of standard
// output is the answer to it, in the same order. The program ends at the end of its
// input. It opens no file and no socket: all that it needs is in the request.
//
//	{"id": 1, "op": "secrets", "params": {"talosVersion": "v1.13"}}
//	{"id": 1, "ok": {"bundle": "cluster:\n…"}}
//	{"id": 2, "op": "validate", "params": {"config": "…", "lvel": "node"}}
//	{"id": 2, "error": {"code": "request", "field": "params", "message": "json: unknown field \"lvel\""}}
package talosconfig

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	jsonpatch "github.com/evanphx/json-patch"
)

const (
	// A machine configuration has some 10 KiB, a Secret that holds one 1 MiB at most.
	maxRequest = 4 << 20
	maxAnswer  = 4 << 20
	// Of upstream's messages: one about unknown keys repeats all that is below them.
	maxMessage = 8 << 10
	// Operations "copy" of a JSON patch double a document each.
	maxCopied = 4 << 20
)

// code says which part of a request is to blame.
type code string

const (
	// codeRequest: the request itself is malformed.
	codeRequest code = "request"
	// codeInput: a value of the request cannot be used.
	codeInput code = "input"
	// codePatchLoad: a patch cannot be read.
	codePatchLoad code = "patchLoad"
	// codePatchApply: a patch does not fit the configuration.
	codePatchApply code = "patchApply"
	// codePanic: Talos's library failed on this request.
	codePanic code = "panic"
	// codeTooLarge: the request or the answer exceeds its limit.
	codeTooLarge code = "tooLarge"
)

// failure is the error of one request.
type failure struct {
	Code    code   `json:"code"`
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
}

func (f *failure) Error() string { return f.Field + ": " + f.Message }

// input blames the value of a field.
func input(field string, err error) *failure {
	return &failure{Code: codeInput, Field: field, Message: err.Error()}
}

type request struct {
	ID     uint64          `json:"id"`
	Op     string          `json:"op"`
	Params json.RawMessage `json:"params"`
}

type answer struct {
	ID    uint64   `json:"id"`
	OK    any      `json:"ok,omitempty"`
	Error *failure `json:"error,omitempty"`
}

// operations by the name in a request.
var operations = map[string]func(json.RawMessage) (any, error){
	"version":         operation(version),
	"secrets":         operation(newSecrets),
	"inspect-secrets": operation(inspectSecrets),
	"generate":        operation(generateConfig),
	"patch":           operation(patchConfig),
	"inspect-config":  operation(inspectConfig),
	"validate":        operation(validate),
	"talosconfig":     operation(talosconfig),
	"client-cert":     operation(clientCertificate),
	"kubeconfig":      operation(adminKubeconfig),
}

// operation reads the parameters strictly and carries the operation out.
func operation[Params, Result any](run func(*Params) (*Result, error)) func(json.RawMessage) (any, error) {
	return func(raw json.RawMessage) (any, error) {
		if len(raw) == 0 {
			raw = json.RawMessage("{}")
		}

		params := new(Params)
		if err := decodeStrictly(raw, params); err != nil {
			return nil, &failure{Code: codeRequest, Field: "params", Message: err.Error()}
		}

		result, err := run(params)
		if err != nil {
			return nil, err
		}

		return result, nil
	}
}

// Main serves standard input until it ends.
func Main() {
	jsonpatch.AccumulatedCopySizeLimit = maxCopied

	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "talosconfig: %v\n", err)
		os.Exit(1)
	}
}

func serve(in io.Reader, out io.Writer) error {
	lines := bufio.NewReaderSize(in, 64<<10)

	for {
		line, tooLong, err := readLine(lines)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("failed to read a request: %w", err)
		}

		if ended := err != nil; ended && len(line) == 0 && !tooLong {
			return nil
		}

		if _, err := out.Write(encode(answerTo(line, tooLong))); err != nil {
			return fmt.Errorf("failed to write an answer: %w", err)
		}
	}
}

// readLine reads to the end of a line, and keeps nothing of one that is too long.
func readLine(in *bufio.Reader) (line []byte, tooLong bool, err error) {
	for {
		part, err := in.ReadSlice('\n')
		if len(line)+len(part) > maxRequest {
			tooLong, line = true, nil
		}

		if !tooLong {
			line = append(line, part...)
		}

		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, tooLong, err
		}
	}
}

func answerTo(line []byte, tooLong bool) answer {
	if tooLong {
		message := fmt.Sprintf("a request has at most %d octets", maxRequest)

		return answer{Error: &failure{Code: codeTooLarge, Message: message}}
	}

	var req request
	if err := decodeStrictly(line, &req); err != nil {
		return answer{ID: req.ID, Error: &failure{Code: codeRequest, Message: err.Error()}}
	}

	result, err := carryOut(&req)
	if err == nil {
		return answer{ID: req.ID, OK: result}
	}

	failed := new(failure)
	if !errors.As(err, &failed) {
		failed = &failure{Code: codeInput, Message: err.Error()}
	}

	return answer{ID: req.ID, Error: failed}
}

// carryOut turns a panic of Talos's library into the error of this request.
func carryOut(req *request) (result any, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			message := fmt.Sprintf("Talos's library failed on this input: %v", cause)
			result, err = nil, &failure{Code: codePanic, Message: message}
		}
	}()

	run, known := operations[req.Op]
	if !known {
		return nil, &failure{Code: codeRequest, Field: "op", Message: fmt.Sprintf("unknown operation %q", req.Op)}
	}

	return run(req.Params)
}

// encode gives one line, whatever is in the answer.
func encode(a answer) []byte {
	if a.Error != nil && len(a.Error.Message) > maxMessage {
		a.Error.Message = strings.ToValidUTF8(a.Error.Message[:maxMessage], "") + " …"
	}

	line, err := json.Marshal(a)
	if err != nil || len(line) > maxAnswer {
		message := fmt.Sprintf("an answer has at most %d octets", maxAnswer)
		if err != nil {
			message = err.Error()
		}

		line, _ = json.Marshal(answer{ID: a.ID, Error: &failure{Code: codeTooLarge, Message: message}})
	}

	return append(line, '\n')
}

// decodeStrictly refuses unknown fields and anything after the value.
func decodeStrictly(raw []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()

	if err := decoder.Decode(into); err != nil {
		return err
	}

	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something after the JSON value")
	}

	return nil
}
