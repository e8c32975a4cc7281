# Two commands do all on a fresh machine: `make demo` and `make test`. Both set up .venv and may be repeated. Neither
# needs EFFACE_DATA (real weights and faces); without it the tests and benchmarks that use it are left out.
PYTHON ?= python3
EFFACE_DATA ?= $(realpath ../shared/data)
export EFFACE_DATA

BIN := .venv/bin
READY := .venv/ready

.PHONY: demo demo-diffusion demo-gan test check bench setup

demo: $(READY)
	$(BIN)/efface demo

demo-diffusion: $(READY)
	$(BIN)/efface demo diffusion

demo-gan: $(READY)
	$(BIN)/efface demo gan

test: $(READY)
	$(BIN)/python -m pytest

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

bench: $(READY)
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.people_pairs
	$(BIN)/efface benchmark configs/benchmark/recognition.yaml $(if $(EFFACE_DATA),,--data people)
	$(BIN)/efface benchmark configs/benchmark/diffusion.yaml
	$(BIN)/efface benchmark configs/benchmark/gan.yaml $(if $(EFFACE_DATA),,--data eg3d --data stylegan2 --data random)

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@
