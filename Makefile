# `make help` lists the targets. Needs Python 3.11 or 3.12 and make; everything else goes into .venv.
SHELL := /bin/bash
VENV := .venv
RUN := $(VENV)/bin/python
# --no-compile: byte code is written when a module is first imported, which halves the time of the install.
PIP := $(RUN) -m pip install -qq --no-input --no-compile --disable-pip-version-check --use-pep517
PYTHON ?= python3
# A PYTHON given by the caller is taken at its word; otherwise other names are tried.
CANDIDATES := $(if $(filter file,$(origin PYTHON)),python3 python3.12 python3.11,$(PYTHON))
# The published Linux build of torch brings several GB of CUDA; the tests need only its CPU build (+cpu). Elsewhere than
# on Linux the published build is the CPU build.
TORCH ?= $(shell sed -n 's/^\(torch==[^ ;]*\).*/\1/p' requirements-dev.lock)$(if $(filter Linux,$(shell uname -s)),+cpu)
PYTEST_ARGS ?= -n 2 --dist loadfile
DEMO_ARGS = $(if $(DATA),--data "$(DATA)" --workdir "runs/demo-$(notdir $(DATA:%/=%))",--workdir runs/demo)

.PHONY: help demo test test-slurm lint lock clean
.DELETE_ON_ERROR:

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 19

demo: $(VENV)/project.stamp  ## prepare, pre-train and probe; DATA=folder of csv files instead of a synthetic cohort
	@$(VENV)/bin/selfpab demo $(DEMO_ARGS)

test: $(VENV)/dev.stamp  ## the tests; PYTEST_ARGS="tests/train -x" for some of them
	@$(RUN) -m pytest $(PYTEST_ARGS)

test-slurm: $(VENV)/dev.stamp  ## launch/slurm on a SLURM of its own on this machine; as root, with slurmctld slurmd munge
	@$(RUN) -m pytest -s -m slow tests/slurm

lint: $(VENV)/dev.stamp  ## ruff over everything
	@$(RUN) -m ruff check .

LOCK = UV_CUSTOM_COMPILE_COMMAND="make lock" $(RUN) -m uv pip compile -q pyproject.toml --universal \
	--python-version 3.11 --no-annotate $(LOCK_ARGS)

lock: $(VENV)/project.stamp  ## bring both lock files in line with pyproject.toml; LOCK_ARGS=--upgrade for newer releases
	@$(PIP) "uv>=0.8,<1"
	@$(LOCK) -o requirements.lock
	@$(LOCK) --extra dev -c requirements.lock -o requirements-dev.lock
	@# What torch wants for CUDA is left to pip on the machines that have it: its CPU build needs none of it.
	@sed -i.all -E '/^(nvidia-|cuda-|triton)/d' requirements-dev.lock && rm requirements-dev.lock.all

clean:  ## remove .venv and caches; runs/ stays
	rm -rf $(VENV) .pytest_cache .ruff_cache build dist

$(RUN):
	@for python in $(CANDIDATES); do \
		if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then \
			echo "making $(VENV) with $$($$python --version)"; \
			$$python -m venv $(VENV) && exit 0; \
			rm -rf $(VENV); \
			echo "$$python cannot make a virtual environment (on Debian: apt install python3-venv)" >&2; exit 1; \
		fi; \
	done; \
	echo "Python 3.11 or 3.12 is needed; tried: $(CANDIDATES). Name yours: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; \
	exit 1

# A stamp is written only after its step has succeeded, so that a second call installs nothing again.
$(VENV)/core.stamp: requirements.lock | $(RUN)
	@echo "installing the locked dependencies: about 1 GB, half a minute from a warm package cache"
	@$(PIP) --no-deps -r requirements.lock
	@touch $@

$(VENV)/project.stamp: pyproject.toml $(VENV)/core.stamp
	@echo "installing the project itself: a few seconds"
	@$(PIP) --no-deps -e .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/project.stamp
	@echo "installing the test tools and $(TORCH): half a minute from a warm package cache"
	@grep -v '^torch==' requirements-dev.lock > $(VENV)/dev-without-torch.txt
	@$(PIP) --no-deps -r $(VENV)/dev-without-torch.txt
	@$(PIP) "$(TORCH)" 2> $(VENV)/torch.log || { \
		echo "note: no $(TORCH) for this Python here, so the tests that compare with PyTorch will be skipped."; \
		echo "      The published build (several GB on Linux): $(VENV)/bin/pip install $(firstword $(subst +, ,$(TORCH)))"; }
	@touch $@
