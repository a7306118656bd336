.DEFAULT_GOAL := help
include image/controlplane.mk
