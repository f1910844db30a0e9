# `make run` builds and serves the sample models; `make test` runs everything.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
ADDRESSES ?=
SEEDS ?= 0:600
SECONDS ?= 60
TARGETS ?=
DEMO ?=
FULL ?= 0
SOAK ?=
LOAD ?=

.PHONY: help run demo drift-demo autoscale-demo hpa-demo simulate build native test lint unit differential fuzz clients chart test-image test-observe test-prefect test-airflow test-h2spec deny audit bench-kernels bench-door bench-drift bench-trace bench-dispatch bench-engines bench-servers bench-tails loadtest models golden clean

help: ## This list.
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

run: native build ## Build, and serve the sample models on 8080 (HTTP), 8081 (gRPC), 8082 (admin).
	exec target/release/hedgerow serve models --config models/hedgerow.toml $(ADDRESSES)

demo: build ## The story of a fraud model against the real server, in four minutes (DEMO="--seed 8").
	@python3 examples/fraud-stream/demo.py --binary target/release/hedgerow $(DEMO)

drift-demo: build ## The customers of a fraud model change, and a real server notices (DEMO="--html drift.html").
	@python3 examples/fraud-stream/drift.py --binary target/release/hedgerow $(DEMO)

autoscale-demo: build ## What autoscaling reads and decides while load rises, in five minutes (DEMO="--window 12").
	@command -v prometheus >/dev/null || { echo "prometheus is missing: apt-get install prometheus" >&2; exit 1; }
	@python3 loadtests/autoscale.py --binary target/release/hedgerow $(DEMO)

hpa-demo: build ## What Kubernetes' own HPA controller decides in nine minutes; it is built once, in twenty (DEMO="--stabilization 300").
	@scripts/hpa.sh --binary target/release/hedgerow $(DEMO)

simulate: tools ## Error rates and power of promotion, by simulation, in full (two minutes).
	@cargo bench --quiet --bench simulate

build: tools ## Build the release binary. No C++ is compiled.
	cargo build --release --bin hedgerow

native: ## Fetch ONNX Runtime and XGBoost for the models that need them (optional).
	@scripts/native.sh || echo "native: not fetched; models that need ONNX Runtime or XGBoost are refused, all others are served"

.PHONY: tools
tools:
	@scripts/tools.sh

test: ## Everything: format, lints, licences, unit and integration tests, real clients.
	@scripts/test.sh

lint: ## Format and lints only.
	@scripts/test.sh lint

unit: ## Unit and integration tests only.
	@scripts/test.sh rust

differential: ## Hundreds of random models of the original libraries, bit for bit (SEEDS=first:end).
	@scripts/differential.sh $(SEEDS)

fuzz: tools ## Fuzz every parser and all requests for SECONDS each (TARGETS="onnx ..." for some).
	@SECONDS_EACH=$(SECONDS) scripts/fuzz.sh $(TARGETS)

clients: ## Real clients only: tritonclient, KServe's, curl.
	@scripts/test.sh clients

test-observe: ## Rules, dashboard and autoscaling against a real Prometheus.
	@scripts/test.sh observe

test-image: ## The Dockerfile's steps in a clean Debian, and its image started (FULL=1: the release build too).
	@FULL=$(FULL) $(if $(filter 1,$(FULL)),scripts/image.sh,scripts/test.sh image)

test-prefect: tools ## Alarms to a real Prefect, fetched from PyPI.
	@cargo test --quiet --test it --no-run
	@scripts/prefect.sh cargo test --quiet --test it hooks::

test-airflow: tools ## Alarms to a real Airflow, fetched from PyPI (AIRFLOW=2: the older one).
	@cargo test --quiet --test it --no-run
	@scripts/airflow.sh cargo test --quiet --test it hooks::

chart: ## The Helm chart and its examples, checked by helm, kubeconform, schemas and the server.
	@cargo build --quiet --bin hedgerow
	@scripts/chart.sh

test-h2spec: tools build ## h2spec against both ports, fetched as a Go module.
	@scripts/h2spec.sh

deny: ## Licences, bans and sources of all dependencies.
	@scripts/test.sh deny

audit: ## Known vulnerabilities; needs the advisory database from the network.
	cargo deny check advisories

bench-kernels: ## Time every kernel on every instruction set of this machine (criterion).
	cargo bench --bench kernels

bench-door: ## Time the rules at the door, in rows per second (criterion).
	cargo bench --bench door

bench-drift: ## Time what watching a row for drift costs (criterion).
	cargo bench --bench drift

bench-trace: ## Time what tracing costs a request (criterion).
	cargo bench --bench trace

models: ## Train the sample models again.
	python3 -m venv .venv/models && .venv/models/bin/pip install -q -r models/requirements.txt
	.venv/models/bin/python models/train.py

golden: ## Record the golden fixtures again, with the original libraries.
	python3 tests/golden/make.py --venvs .venv/golden

bench-dispatch: tools native ## Measure inline, batched and offloaded predictions beside the policy that chooses.
	@cargo bench --quiet --bench dispatch -- --save benches/results/dispatch.md

bench-engines: tools ## Measure the forest beside all peers from PyPI; QUICK=1 leaves out the slowest.
	@benches/engines/run.sh $(BENCH)

bench-servers: tools ## Measure the server beside all others from PyPI and bare ones; QUICK=1 is a sample.
	@loadtests/run.sh servers $(BENCH)

bench-tails: tools ## Measure the server's tails while it is disturbed and overloaded.
	@loadtests/run.sh tails $(BENCH)

loadtest: tools ## Load tests that judge themselves, in some minutes (SOAK=minutes, LOAD="--scenarios swap").
	@loadtests/run.sh scenarios $(if $(SOAK),--soak $(SOAK)) $(LOAD)

clean: ## Remove what was built.
	cargo clean
