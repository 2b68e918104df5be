# `make demo` and `make test` need Python 3.10+, a C++20 compiler and a package index; the rest they
# fetch into .venv. Nothing is installed again unless a source or a pinned version changed.
PYTHON ?= python3
OUT ?= demo
SECONDS_EACH ?= 60
CALLS ?= 2000000
BROWSER ?= chromium
WINDOW ?= 1400,940
SHOWN ?= 2.13
VENV := .venv
BIN := $(VENV)/bin
RIVALS := build/rivals
PIP := $(BIN)/python -m pip --disable-pip-version-check
BUILD_TOOLS := scikit-build-core pybind11 cmake ninja

# The tested versions.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

# What the compiled libraries are made from, and the list of modules that the installation knows.
SOURCES := pyproject.toml CMakeLists.txt constraints.txt $(shell find csrc cmake -type f -not -name '*.pyc')
MODULES := $(sort $(shell find pyvqa -name '*.py'))
CPP := $(shell find csrc tests -name '*.h' -o -name '*.cpp' -o -name '*.cu')

.PHONY: demo picture test test-slow bench bench-rivals lint fuzz clean always

demo: $(VENV)/.installed
	$(BIN)/pyvqa demo --out $(OUT)

# The picture at the top of the README: the demo's page in a browser.
picture: $(VENV)/.installed
	$(BIN)/pyvqa demo --out build/picture
	$(BROWSER) --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=$(WINDOW) \
		--virtual-time-budget=3000 --screenshot=pyvqa/systems/ns_vqa/results/answers.png \
		"file://$(CURDIR)/build/picture/index.html#$(SHOWN)"

# One thread a process: two processes share the cores better than two thread pools do.
test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile $(ARGS)

# What takes more than half a minute each: killed runs, whole trainings, stores larger than memory.
test-slow: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m 'slow and not cuda' tests $(ARGS)

bench: $(VENV)/.bench
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -s benchmarks $(ARGS)

# Against torchvision and pycocotools, in an environment where both work (several gigabytes, once).
# The wheel in it was built against another torch: the stable ABI is what makes that possible.
bench-rivals: $(RIVALS)/.installed
	cd benchmarks && OMP_NUM_THREADS=1 ../$(RIVALS)/bin/python -m pytest -q --table RIVALS.md \
		$$(grep -lE "rivals|pycocotools" ops/*.py) $(ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(CPP)

fuzz: $(VENV)/.installed
	$(BIN)/python tests/fuzz/run_fuzz.py --seconds $(SECONDS_EACH)
	$(BIN)/python tests/fuzz/op_fuzz.py --calls $(CALLS)

clean:
	rm -rf $(VENV) build

$(VENV)/.torch: constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("pyvqa needs Python 3.10 or later, this is " + sys.version.split()[0] if sys.version_info < (3, 10) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q torch $(BUILD_TOOLS)
	touch $@

# Editable: Python files are used where they lie, only the compiled libraries are placed in .venv.
# Without build isolation the build folder stays valid, so that a change compiles only what it touches.
$(VENV)/.installed: $(VENV)/.torch $(VENV)/.modules $(SOURCES)
	PATH=$(CURDIR)/$(BIN):$$PATH $(PIP) install -q --no-build-isolation -e '.[test]'
	touch $@

# Touched only when a module comes or goes.
$(VENV)/.modules: always
	@mkdir -p $(VENV)
	@echo '$(MODULES)' | cmp -s - $@ || echo '$(MODULES)' > $@

$(VENV)/.bench: $(VENV)/.installed
	$(PIP) install -q pytest pytest-benchmark
	touch $@

$(RIVALS)/.environment: benchmarks/rivals.txt
	$(PYTHON) -m venv $(RIVALS)
	PIP_CONSTRAINT= $(RIVALS)/bin/python -m pip install -q -r benchmarks/rivals.txt
	touch $@

$(RIVALS)/.installed: $(RIVALS)/.environment $(VENV)/.installed $(MODULES)
	PATH=$(CURDIR)/$(BIN):$$PATH $(PIP) wheel -q --no-build-isolation --no-deps -w $(RIVALS)/wheel .
	PIP_CONSTRAINT= $(RIVALS)/bin/python -m pip install -q --no-deps --force-reinstall $(RIVALS)/wheel/*.whl
	touch $@

$(VENV)/.lint: $(VENV)/.installed
	$(PIP) install -q ruff mypy clang-format types-PyYAML types-tqdm
	touch $@
