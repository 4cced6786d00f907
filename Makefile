# `make` only calls `cargo xtask …`, where each task is defined once.
.PHONY: demo demo-down test

# A real Kubernetes on this machine, and a release from push to promotion.
demo:
	cargo xtask demo

# Removes what the demo made.
demo-down:
	cargo xtask demo-down

# Everything that has to pass.
test:
	cargo xtask test
