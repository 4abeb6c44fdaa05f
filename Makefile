# `make help` lists what there is.
.DEFAULT_GOAL := help
.PHONY: help packages build package try-package demo test test-clients test-browser lint lint-features lint-deploy test-models soak bench clean-demo

cargo_target := $(or $(CARGO_TARGET_DIR),target)
release := $(cargo_target)/release
clipseek := $(release)/clipseek
demo_data := $(cargo_target)/demo
python := $(cargo_target)/python/bin/python
features := gst onnx qdrant edge eval otlp
comma := ,
space := $() $()
# None, only the models (for a GPU machine without GStreamer), and all but each one.
feature_sets := "" onnx $(foreach left,$(features),$(subst $(space),$(comma),$(filter-out $(left),$(features))))

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

packages:
	@deploy/install-packages.sh

# GPU=cuda or GPU=tensorrt: with the libraries for NVIDIA's GPUs.
build: packages ## The program and all it needs to run: system packages, ONNX Runtime (GPU=cuda|tensorrt), the shipped model
	@echo "Building (the first time takes 15 to 30 minutes on two cores)"
	@cargo build --release --locked --bin clipseek
	@rm -rf $(release)/bundles && cp -r models/bundles $(release)/bundles
	@deploy/install-onnxruntime.sh $(release)/lib $(GPU)

package: build ## A Debian package: program, ONNX Runtime, shipped model, unit, manual, completions, licences
	@deploy/package.sh $(release) $(cargo_target)/package

try-package: package ## Install, use and remove the package in a plain Debian 12 (mmdebstrap, as root)
	@deploy/install-packages.sh mmdebstrap bc
	@deploy/try-package.sh $(cargo_target)/package/clipseek_*.deb tests/fixtures/footage

demo: build ## Index the sample footage and search it
	@CLIPSEEK=$(clipseek) DATA=$(demo_data) deploy/demo.sh

# Servers and senders that the tests of live streams speak to; without them those tests say that they were not run.
stream_packages := python3-gi gir1.2-gst-rtsp-server-1.0 ffmpeg

test: build ## All tests that need no PyTorch
	@deploy/install-packages.sh $(stream_packages)
	cargo test --release --locked
	$(MAKE) --no-print-directory $(python)
	cd models && $(abspath $(python)) -m pytest -q
	$(MAKE) --no-print-directory test-clients
	$(MAKE) --no-print-directory test-browser

test-clients: build ## A generated client, a fuzzer of the API (schemathesis) and the blocks of README, against a daemon with the sample footage
	@deploy/install-packages.sh $(stream_packages) curl jq
	@test -e $(cargo_target)/clients/complete || { echo "Installing Python packages for the tests of clients" && \
	    python3 -m venv $(cargo_target)/clients && $(cargo_target)/clients/bin/python -m pip install -q --disable-pip-version-check \
	        pytest openapi-python-client==0.29.1 schemathesis==4.32.5 && touch $(cargo_target)/clients/complete; }
	cd tests/clients && CLIPSEEK=$(abspath $(clipseek)) $(abspath $(cargo_target))/clients/bin/python -m pytest -q

test-browser: build ## The page in Debian's Chromium, against a daemon with the sample footage
	@deploy/install-packages.sh chromium
	@command -v npm >/dev/null || deploy/install-packages.sh nodejs npm
	cd tests/browser && npm ci --silent --no-fund && CLIPSEEK=$(abspath $(clipseek)) node --test

# Clippy over what is built anyway: `cargo clippy` would first check all dependencies once more, for ten minutes.
clippy = RUSTC_WORKSPACE_WRAPPER="$$(rustc --print sysroot)/bin/clippy-driver" CLIPPY_ARGS=-Dwarnings__CLIPPY_HACKERY__ \
    cargo build --release --locked --config 'profile.release.package.clipseek.opt-level=0' --lib --bins

lint: packages ## Formatting and lints
	cargo fmt --check
	$(clippy) --tests

lint-features: packages ## Lints with only the models' feature, with none, and with each feature left out
	@set -e; for kept in $(feature_sets); do \
	    echo "Features: $$kept"; \
	    $(clippy) --no-default-features --features "$$kept"; \
	done

lint-deploy: ## Checks of the container, compose and Kubernetes files
	@test -d $(cargo_target)/checks || python3 -m venv $(cargo_target)/checks
	@$(cargo_target)/checks/bin/pip install -q --disable-pip-version-check kubernetes-validate pyyaml
	$(cargo_target)/checks/bin/python deploy/check.py

# Python for the tests of models/: no PyTorch in it.
$(python): models/pyproject.toml
	@echo "Installing Python packages for the tests of models/"
	@python3 -m venv $(cargo_target)/python
	@$(python) -m pip install -q --disable-pip-version-check pytest ./models
	@touch $@

test-models: packages ## Tests of the training package, with PyTorch (several gigabytes)
	@python3 -m venv $(cargo_target)/python-torch
	@$(cargo_target)/python-torch/bin/python -m pip install -q --disable-pip-version-check pytest './models[families,compare]'
	cd models && $(abspath $(cargo_target))/python-torch/bin/python -m pytest -q

soak: build ## Long tests of what outlives a process: 20 000 operations, 300 kills, a million records, 1500 awkward files, 20 returns of cameras, 50 kills of recordings, searches among 100 000 windows, alerts that fire (more than two hours)
	@deploy/install-packages.sh $(stream_packages) nginx-light libnginx-mod-rtmp prometheus
	CLIPSEEK_MODEL_OPERATIONS=20000 CLIPSEEK_KILLS=300 CLIPSEEK_SCALE_MEDIA=100000 CLIPSEEK_SCALE_RECORDS=1000000 \
	    CLIPSEEK_AWKWARD_FILES=1500 CLIPSEEK_STREAM_RETURNS=20 CLIPSEEK_STREAM_KILLS=50 CLIPSEEK_SCALE_SEARCH=100000 CLIPSEEK_ALERTS=1 \
	    cargo test --release --locked --test it -- --nocapture --test-threads 2 archive:: awkward:: kill:: scale:: serve::streams::figures serve::streams::recording serve::many serve::life::a_daemon_that_knows serve::alerts

bench: build ## The figures of the README, side by side on this machine
	@CLIPSEEK=$(clipseek) tests/peers/bench.sh

clean-demo: ## Forget what the demo indexed
	rm -rf $(demo_data)
