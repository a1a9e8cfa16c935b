# Everything a person or CI does with this checkout. `make` alone lists it.

include scripts/versions
SHELL := bash

export JAMAIS_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/jamais
# RocksDB and librdkafka take twenty minutes to compile: CI keeps them out of its fresh clone.
export CARGO_TARGET_DIR ?= $(if $(CI),$(JAMAIS_CACHE),$(CURDIR))/target
export JAMAIS_KAFKA_LIBS ?= $(JAMAIS_CACHE)/kafka-$(KAFKA_VERSION)/libs
export ORT_DYLIB_PATH ?= $(JAMAIS_CACHE)/onnxruntime-$(ONNXRUNTIME_VERSION)/libonnxruntime.$(if $(filter Darwin,$(shell uname -s)),dylib,so)

# One profile everywhere, so that the C++ libraries are compiled once.
CARGO_FLAGS := --release --locked
first_build = $(if $(wildcard $(CARGO_TARGET_DIR)/release),,@echo "make: the first build compiles RocksDB and librdkafka: 15 to 25 minutes on two cores")

.DEFAULT_GOAL := help
.PHONY: help demo test bench lint

help: ## Lists the targets
	@awk -F ': ## ' '/^[a-z]+: ##/ { printf "  make %-6s %s\n", $$1, $$2 }' Makefile

demo: ## Builds jamais and runs the demo (BROKERS=host:port for a real Kafka, DEMO_ARGS=... for more)
	@scripts/setup demo
	$(first_build)
	cargo build $(CARGO_FLAGS) --bin jamais
	"$(CARGO_TARGET_DIR)/release/jamais" demo $(if $(BROKERS),--brokers $(BROKERS)) $(DEMO_ARGS)

test: ## Runs every test and doc test, against a real Kafka broker where Java is to be had
	@scripts/setup test
	$(first_build)
	set -o pipefail; cargo test $(CARGO_FLAGS) --workspace --no-fail-fast 2>&1 | scripts/count

bench: ## Runs the benchmarks
	@scripts/setup demo
	$(first_build)
	cargo bench --locked

lint: ## Checks formatting, clippy, the documentation and that the benchmarks compile
	@scripts/setup demo
	$(first_build)
	cargo fmt --all --check
	cargo clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc $(CARGO_FLAGS) --workspace --no-deps
	cargo bench --locked --no-run
