# Each target does the set-up it needs, in $(VENV), from pyproject.toml and constraints.txt.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# `make demo DATA="my series.dm4" OUT=results`; without DATA the notebook simulates a series.
DATA   :=
OUT    := demo_output
# More arguments for pytest: `make test PYTEST_ARGS="-x -k css"`.
PYTEST_ARGS ?=

QUICKSTART := notebooks/01_quickstart.ipynb
# nbval sets no parameters: of these it gets copies with quick ones.
QUICK      := 02_training 03_evaluation 04_paper_figures 05_trust
UV_INSTALL  = $(BIN)/uv pip install --python $(BIN)/python --quiet --compile-bytecode -c constraints.txt

# uv does not read pip's settings: hand the user's own find-links on (empty on most machines).
UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export DATA OUT UV_FIND_LINKS
# Without compiled bytecode every notebook kernel takes seconds longer to start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test install lint format bench book book-vendor clean

help:
	@echo 'make demo [DATA=file] [OUT=folder]  denoise a file (default: a simulated series) with the quickstart notebook'
	@echo 'make test [PYTEST_ARGS=...]         run the tests and the notebooks'
	@echo 'make install                        set up for development, in $(VENV)'
	@echo 'make lint, make format              check, or put right, style and notebooks'
	@echo 'make book                           the documentation, in book/_build/html'
	@echo 'make bench                          tables of quality and speed'
	@echo 'make clean                          remove the environment and what was built'
	@echo 'Another Python: make demo PYTHON=python3.12'

$(BIN)/uv:
	$(PYTHON) -m venv "$(VENV)"
	$(BIN)/python -m pip install --quiet uv

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/uv
	$(UV_INSTALL) -e ".[notebooks]"
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/uv
	$(UV_INSTALL) -e ".[all,baselines,browser,selfsupervised,cluster,fabric,tensorboard,tests,dev]"
	@touch $@

$(VENV)/.book: pyproject.toml constraints.txt | $(BIN)/uv
	$(UV_INSTALL) -e ".[docs]"
	@touch $@

demo: $(VENV)/.demo
	@set -e; \
	absolute() { $(BIN)/python -c 'import os, sys; print(os.path.abspath(os.path.expanduser(sys.argv[1])))' "$$1"; }; \
	out=$$(absolute "$$OUT"); \
	set -- -r output_dir "$$out"; \
	if [ -n "$$DATA" ]; then \
		data=$$(absolute "$$DATA"); \
		[ -e "$$data" ] || { echo "make demo: there is no file '$$data'; give its path as DATA=..." >&2; exit 2; }; \
		set -- "$$@" -r path "$$data"; \
	fi; \
	mkdir -p "$$out"; \
	$(BIN)/python -m papermill -k python3 --cwd notebooks $(QUICKSTART) "$$out/$(notdir $(QUICKSTART))" "$$@"; \
	echo "The executed notebook, the denoised series and the figure are in $$out"; \
	ls "$$out"

test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)
	$(BIN)/python tests/quick_notebooks.py build/nbval $(QUICK)
	$(BIN)/python -m pytest --nbval-lax --nbval-current-env $(QUICKSTART) $(QUICK:%=build/nbval/%.ipynb)

install: $(VENV)/.test

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/nbstripout --verify notebooks/*.ipynb

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/nbstripout notebooks/*.ipynb

bench: $(VENV)/.test
	$(BIN)/python tests/benchmarks/quality.py
	$(BIN)/python tests/benchmarks/speed.py

VENDOR := book/_vendor/static/vendor
# where the widgets of a notebook's page look for their icons
ICONS  := book/_vendor/root/notebooks/@jupyter-widgets/html-manager/dist

book: $(VENV)/.book
	@[ -d $(VENDOR) ] || $(MAKE) --no-print-directory book-vendor || echo 'make book: without npm the pages load MathJax and widgets from their public servers'
	$(BIN)/python book/execute.py
	$(BIN)/python book/figures.py
	$(BIN)/jupyter-book build -W --keep-going book

# MathJax, require.js and the embedder of the widgets: with them the pages are whole without a network.
book-vendor:
	@command -v npm > /dev/null
	rm -rf book/_vendor build/vendor && mkdir -p build/vendor
	cd build/vendor && npm pack --silent mathjax@3.2.2 requirejs@2.3.8 @jupyter-widgets/html-manager@1.0.15
	cd build/vendor && for one in *.tgz; do mkdir "$${one%.tgz}" && tar -xzf "$$one" -C "$${one%.tgz}" --strip-components 1; done
	mkdir -p $(VENDOR)/mathjax/output/chtml
	cp build/vendor/mathjax-*/es5/tex-mml-chtml.js $(VENDOR)/mathjax/
	cp -r build/vendor/mathjax-*/es5/output/chtml/fonts $(VENDOR)/mathjax/output/chtml/
	cp build/vendor/requirejs-*/require.js build/vendor/jupyter-widgets-html-manager-*/dist/embed-amd.js $(VENDOR)/
	mkdir -p $(ICONS) && cp build/vendor/jupyter-widgets-html-manager-*/dist/*.woff2 $(ICONS)/
	du -sh $(VENDOR)

clean:
	rm -rf "$(VENV)" build dist .pytest_cache .ruff_cache book/_build book/_vendor book/notebooks book/images/made \
		book/reference/api book/reference/api.md book/reference/_*.md
