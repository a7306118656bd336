module bloomery/cabpt

go 1.26.6

require github.com/siderolabs/cluster-api-bootstrap-provider-talos v0.6.12

replace github.com/google/cel-go => github.com/google/cel-go v0.22.0
