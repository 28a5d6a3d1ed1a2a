# The two commands of this project: `make demo` and `make test`. Each does all its set-up.
#
# They need Rust (rustup), a C compiler and make; `make test` also a JDK of 17 or later and Maven, for a real Kafka
# and for the readers of Java that ours are compared with.

.DEFAULT_GOAL := help
SHELL := /bin/bash

# librdkafka needs OpenSSL. Where its headers are not installed, it is built from source: some minutes once, and Perl.
HAS_OPENSSL := $(shell pkg-config --exists openssl 2>/dev/null && echo yes)
FEATURES := $(if $(HAS_OPENSSL),,--features vendored-openssl)

# KAFKA=1 runs the demo on a real Kafka; ONCE=1 ends it after the verdict.
DEMO_FLAGS := --demo $(if $(ONCE),--once) $(if $(KAFKA),--kafka)

.PHONY: help demo test check bench bench-plots reliability sim mutations fuzz need-rust need-kafka need-jdk

help: ## What there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: need-rust ## Close a deal while billing is down, and watch (ONCE=1, KAFKA=1)
	cargo run --quiet --locked $(FEATURES) -- dev $(DEMO_FLAGS)

test: need-rust need-kafka need-jdk ## All tests, on a real Kafka (TIELINE_SKIP_KAFKA=1 leaves out what needs one)
ifeq ($(TIELINE_SKIP_KAFKA),1)
	cargo test --locked --workspace $(FEATURES) --bins --lib
	cargo test --locked $(FEATURES) --test tidy --test fuzz
	cargo test --locked $(FEATURES) --test e2e -- command::
	cargo test --locked -p tieline-delivery -p tieline-schema -p tieline-mapping -p tieline-bus
	@echo "skipped for want of Kafka: $$(cargo test --quiet --locked $(FEATURES) --test e2e -- --list 2>/dev/null | grep ': test$$' | grep -vc '^command::') end-to-end tests, and the sandbox's of its brokers"
else
	cargo test --locked --workspace $(FEATURES)
endif

check: need-rust ## Format, lints, and the definitions' own check and cases
	cargo fmt --check
	cargo clippy --locked --workspace --all-targets $(FEATURES) -- -D warnings
	cargo run --quiet --locked $(FEATURES) -- check --strict
	cargo run --quiet --locked $(FEATURES) -- test

bench: need-rust need-kafka ## What guarantees cost, how they stand trouble; refreshes docs/benchmarks.md (BENCH_WORKLOAD=… does not)
	$(if $(BENCH_WORKLOAD),,BENCH_RESULTS=docs/benchmarks/results.jsonl) cargo bench --locked $(FEATURES) --bench consumer
	$(if $(BENCH_WORKLOAD),,$(MAKE) bench-plots)

bench-plots: need-rust ## Pictures and tables of docs/benchmarks.md, from the results of the last `make bench`
	cargo bench --quiet --locked $(FEATURES) --bench consumer -- plots

reliability: need-rust need-kafka ## Every hazard at its whole figure: hours (RELIABILITY=11 or NAME, RECORDS=100000)
	RELIABILITY="$(RELIABILITY)" $(if $(RECORDS),TIELINE_RELIABILITY_RECORDS=$(RECORDS)) cargo bench --profile dev --locked $(FEATURES) --bench reliability

sim: need-rust ## The simulator: SEEDS=10000 FIRST=1
	SEEDS=$(or $(SEEDS),10000) FIRST=$(or $(FIRST),1) cargo test --locked --release -p tieline-delivery --test sim -- --nocapture

mutations: need-rust ## Each rule of the core broken once, and what finds it: ONLY=part of its words SEEDS=10000
	SEEDS=$(or $(SEEDS),10000) cargo bench --profile dev --locked -p tieline-delivery --bench mutations

# LibFuzzer's own flags of coverage, which a stable compiler takes.
COVERAGE := --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares
FUZZ ?= datum
FUZZ_SECONDS ?= 60

fuzz: need-rust ## A fuzz target under libFuzzer: FUZZ=wire|datum|mapping|webhook|definition FUZZ_SECONDS=60
	@command -v c++ >/dev/null || { echo "a C++ compiler is missing, for libFuzzer (Debian: apt-get install build-essential)" >&2; exit 3; }
	host=$$(rustc -vV | sed -n 's/^host: //p') && mkdir -p target/fuzz/found/$(FUZZ) target/fuzz/failed && \
	RUSTFLAGS="$(COVERAGE)" cargo build --locked --release --manifest-path fuzz/Cargo.toml --target-dir target/fuzz \
		--target $$host --bin $(FUZZ) $(if $(filter webhook,$(FUZZ)),--features webhook) && \
	target/fuzz/$$host/release/$(FUZZ) -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 -rss_limit_mb=1024 \
		-print_final_stats=1 -artifact_prefix=target/fuzz/failed/$(FUZZ)- target/fuzz/found/$(FUZZ) fuzz/corpus/$(FUZZ)

need-rust:
	@command -v cargo >/dev/null || { echo "Rust is missing: install it with rustup, https://rustup.rs" >&2; exit 3; }
	@command -v cc >/dev/null || { echo "a C compiler is missing (Debian: apt-get install build-essential)" >&2; exit 3; }

need-kafka:
ifeq ($(TIELINE_SKIP_KAFKA),1)
ifeq ($(CI),true)
	@echo "TIELINE_SKIP_KAFKA is not for CI: there a real Kafka is required" >&2; exit 3
endif
else
	@command -v $${JAVA_HOME:+$$JAVA_HOME/bin/}java >/dev/null || { echo "Java 17 or later is missing, for a real Kafka (Debian: apt-get install default-jre-headless), or leave out what needs it: TIELINE_SKIP_KAFKA=1 make test" >&2; exit 3; }
	@command -v mvn >/dev/null || { echo "Maven is missing, which downloads Kafka's jars once (Debian: apt-get install maven), or leave out what needs it: TIELINE_SKIP_KAFKA=1 make test" >&2; exit 3; }
endif

need-jdk:
ifneq ($(TIELINE_SKIP_KAFKA),1)
	@command -v $${JAVA_HOME:+$$JAVA_HOME/bin/}javac >/dev/null || { echo "a Java compiler is missing, for the comparison with Java's own Avro and Kafka client (Debian: apt-get install default-jdk-headless), or leave out what needs Java: TIELINE_SKIP_KAFKA=1 make test" >&2; exit 3; }
endif
