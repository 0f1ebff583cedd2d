# Debian 12 or later, as root, with Rust: `make demo` shows it, `make test` tests it.
CARGO ?= cargo
export PATH := $(PATH):/usr/sbin:/sbin

# The scenarios measure time; builds beside them would disturb.
.NOTPARALLEL:
.PHONY: help build tools demo test test-units test-netns test-openwrt test-luci test-arch test-packages test-reproducible bench bench-natf bench-dns audit soak fuzz sim
.PHONY: cross ipk opkg-feed apk apk-feed deb sizes test-boards test-board-mipsel test-board-be bench-board screenshots clean

help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

build: ## build the daemons (release)
	$(CARGO) build --release --locked -p natf-routerd -p natf-endd -p tsn-dnsd

tools: ## install what demo and tests need (apt)
	tests/install-tools.sh

demo: ## real programs on a simulated internet; cleans up after itself
	tests/lab/demo.sh

test: tools test-units test-openwrt test-luci build ## everything: unit tests, vectors, simulation, network namespaces, an emulated MIPS router
	$(CARGO) build --release --locked -p natf-bench
	tests/run-netns.sh --with tests/boards/mipsel.sh

test-units: ## only what needs no root and no namespaces
	$(CARGO) test --locked --workspace
	python3 tests/vectors/check.py
	tests/luci/translations.py
	tests/docs.py
	tests/dependencies.py

test-openwrt: build ## init scripts, dnsmasq and ubus of the OpenWrt packages, without OpenWrt (root)
	tests/openwrt/init-scripts.sh
	tests/openwrt/natf-endd.sh
	tests/openwrt/dnsmasq.sh
	tests/openwrt/rpcd.sh
	tests/openwrt/pipes.sh

test-luci: build ## only the web interface, in a headless Chromium (root)
	$(CARGO) build --release --locked -p natf-bench
	tests/luci/run.sh

screenshots: build ## pictures of the web interface for docs/images/luci (root)
	$(CARGO) build --release --locked -p natf-bench
	tests/luci/screenshots.sh

test-netns: build ## only the scenarios in tests/netns (root)
	$(CARGO) build --release --locked -p natf-bench
	tests/run-netns.sh

test-arch: ## unit tests of wire formats and configuration on each OpenWrt architecture (qemu-user); ARCHES="..."
	openwrt/build/test-arch.sh $(ARCHES)

test-boards: build ## the package natf on emulated routers, MIPS and x86_64 (root; downloads Debian's kernels)
	tests/boards/run.sh mipsel x86_64

test-board-mipsel: build ## the same, MIPS only
	tests/boards/run.sh mipsel

test-board-be: build ## the same on a big-endian MIPS router, whose kernel and programs are built first
	tests/boards/run.sh mips

bench-board: build ## what the packages cost on a small router, beside the bars; figures also in target/bench/board.json (root)
	$(CARGO) build --release --locked -p natf-bench
	openwrt/build/cross.sh mipsel_24kc natf-routerd tsn-dnsd
	openwrt/build/ipk.sh mipsel_24kc natf tsn-dnsd
	tests/boards/bench.sh $(or $(CARGO_TARGET_DIR),target)/release

test-packages: ## .ipk, feed and .deb: same bytes twice, right content, installable
	openwrt/build/test.sh
	packaging/deb/test.sh

bench: tools ## all benchmarks, and docs/benchmarks.md anew; QUICK=1 for a look (root, a quarter of an hour)
	tests/bench/bench.sh

test-reproducible: ## two builds of the last commit give the same bytes; 10 minutes and more; ARCH=aarch64_cortex-a53
	openwrt/build/test-reproducible.sh $(or $(ARCH),aarch64_cortex-a53)

bench-natf: tools ## only those of NAT-f: start-up, mapping requests, throughput; headlines in target/bench/natf.json (root)
	tests/bench/bench.sh startup mapping throughput

bench-dns: tools ## only those of tsn-dnsd, beside dnsmasq and unbound; headlines in target/bench/dns.json (root)
	tests/bench/bench.sh dns distance

soak: tools build ## an hour under fire; SECONDS for less; figures and plot in target/soak
	$(CARGO) build --release --locked -p natf-bench
	SOAK_SECONDS=$(or $(SECONDS),3600) SCENARIO_SECONDS=$$(($(or $(SECONDS),3600) + 300)) SOAK_DIR=$(CURDIR)/target/soak tests/run-netns.sh under-fire
	tests/soak/plot.py target/soak

audit: ## dependencies by cargo-deny (built in target/tools) and the RustSec database (network)
	$(CARGO) install --locked --quiet --root target/tools cargo-deny
	target/tools/bin/cargo-deny check licenses bans sources
	target/tools/bin/cargo-deny check advisories

fuzz: ## fuzz every parser and core, guided by coverage; SECONDS for each target (600)
	tests/fuzz/fuzz.sh $(or $(SECONDS),600)

sim: ## simulate worlds until one fails to hold what must hold; SEEDS of them (100000)
	$(CARGO) run --release --locked -p natf-sim -- 0 $(or $(SEEDS),100000)

# All of OpenWrt's architectures that are built for; ARCHES="mipsel_24kc" for one.
ARCHES ?= mips_24kc mipsel_24kc arm_cortex-a7 aarch64_cortex-a53 x86_64

cross: ## the daemons for OpenWrt's architectures, static, in target/openwrt/ARCH
	for arch in $(ARCHES); do openwrt/build/cross.sh $$arch || exit 1; done

ipk: cross ## packages for opkg in target/openwrt/ipk/ARCH, without an SDK
	for arch in $(ARCHES); do openwrt/build/ipk.sh $$arch || exit 1; done

opkg-feed: ipk ## signed feed directories in target/openwrt/feed/ARCH; FEED_KEY=NAME signs with NAME.sec
	openwrt/build/feed.sh $(ARCHES)

apk: cross ## packages for apk (OpenWrt 25.12) in target/openwrt/apk/ARCH; needs apk-tools 3, APK=PROGRAM
	for arch in $(ARCHES); do openwrt/build/apk.sh $$arch || exit 1; done

apk-feed: apk ## signed feed directories in target/openwrt/apk-feed/ARCH; FEED_KEY=NAME signs with NAME.pem
	openwrt/build/apk-feed.sh $(ARCHES)

deb: ## Debian packages of natf-endd and tsn-dnsd in target/deb
	packaging/deb/build.sh

sizes: ## what each crate costs in flash (mipsel_24kc)
	openwrt/build/sizes.sh

clean: ## remove what was built
	$(CARGO) clean
