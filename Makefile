# Debian 12 or later, as root, with Rust: `make demo` shows it, `make test` tests it.
CARGO ?= cargo
export PATH := $(PATH):/usr/sbin:/sbin

# The scenarios measure time; builds beside them would disturb.
.NOTPARALLEL:
.PHONY: help build tools demo test test-units test-netns bench-natf bench-dns fuzz clean

help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

build: ## build the daemons (release)
	$(CARGO) build --release --locked -p natf-routerd -p natf-endd -p tsn-dnsd

tools: ## install what demo and tests need (apt)
	tests/install-tools.sh

demo: ## real programs on a simulated internet; cleans up after itself
	tests/lab/demo.sh

test: tools test-units test-netns ## everything: unit tests, vectors, simulation, network namespaces

test-units: ## only what needs no root and no namespaces
	$(CARGO) test --locked --workspace
	python3 tests/vectors/check.py

test-netns: build ## only the scenarios in tests/netns (root)
	tests/run-netns.sh

bench-natf: tools build ## measure NAT-f; figures also in target/bench/natf.json
	tests/bench/natf.sh

bench-dns: tools ## measure tsn-dnsd beside dnsmasq and unbound; figures also in target/bench/dns.json
	tests/bench/dns.sh

fuzz: ## fuzz every parser, guided by coverage; SECONDS for each target (600)
	tests/fuzz/fuzz.sh $(or $(SECONDS),600)

clean: ## remove what was built
	$(CARGO) clean
