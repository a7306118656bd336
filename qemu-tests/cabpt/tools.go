//go:build tools

package cabpt

import _ "github.com/siderolabs/cluster-api-bootstrap-provider-talos"
