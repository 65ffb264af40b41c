# Two commands do everything: `make demo` and `make test`. Both begin with `make install`, which is idempotent.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
SPCONV := $(if $(GPU),cuda,lidar)
STAMP  := $(VENV)/.installed-$(SPCONV)

.PHONY: install demo test compose soak stubs lint check clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; eavesplit needs Python 3.11 or 3.12 (make install PYTHON=python3.12)"; exit 2; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 13) else f"make: $(PYTHON) is Python {v[0]}.{v[1]}; eavesplit needs 3.11 or 3.12 (make install PYTHON=python3.11)")'
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: $(PYTHON) has no venv module; install it (Debian: apt-get install python3.11-venv)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (pins: constraints.txt); about 1.9 GB the first time"
	@$(BIN)/python -m pip uninstall -q -y $(if $(GPU),spconv cumm,spconv-cu120 cumm-cu120) 2>/dev/null || true
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[$(SPCONV),image,radiance,console,dev]'
	@rm -f $(VENV)/.installed-*
	@touch $@

demo: install
	@$(BIN)/eavesplit demo lidar

test: install
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not soak and not compose' -n logical --maxprocesses 4 --dist loadfile

compose: install
	@$(BIN)/python -m pytest -m compose -s tests/compose

soak: install
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m soak --timeout 7200

stubs: install
	@$(BIN)/python -m grpc_tools.protoc -Iwire/pb=proto --python_out=. --pyi_out=. wire/pb/frame.proto

lint: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy wire victims defenses edge cloud attacker lab console
	@$(BIN)/lint-imports --no-cache

check: lint test

clean:
	@rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .hypothesis
