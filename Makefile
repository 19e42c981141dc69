# Kiln from a fresh machine: `make run` or `make test` do all that is needed. `make help` lists the rest.
# Needs cargo, a C++ compiler and Python 3 with pip; says which of them is missing.

PREFIX ?= $(HOME)/.local
PYTHON ?= python3
ifeq ($(origin CXX),default)
CXX := c++
endif
# auto, cpu or cuda: which libraries to fetch. auto takes CUDA where there is an NVIDIA driver.
LIBTORCH_SET ?= auto
# Given to kiln by `make run`, to cargo test by `make test`.
ARGS ?=

# A shell passes the tilde of `make install PREFIX=~/.local` on as it is.
override PREFIX := $(patsubst ~/%,$(HOME)/%,$(PREFIX))
TARGET := $(or $(CARGO_TARGET_DIR),target)
FETCH := $(PYTHON) src/torch/fetch_libtorch.py
# Where rustup puts cargo, for shells that were started before it did.
export PATH := $(PATH):$(HOME)/.cargo/bin

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test build release lint fuzz bench reference libtorch prerequisites install uninstall clean

help: ## List these targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 20

run: release ## Build Kiln and open the workbench (headless where there is no terminal)
	@exec $(TARGET)/release/kiln $(ARGS)

test: libtorch ## Build everything and run all tests
	$(PYTHON) -B -m unittest discover --quiet --start-directory src/torch
	cargo build --workspace
	cargo test --workspace $(ARGS)

build: libtorch ## Build everything for development
	cargo build --workspace

release: libtorch
	cargo build --release -p kiln -p kiln-worker

lint: libtorch ## Check formatting and run clippy, warnings being errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

fuzz: ## Ten minutes of random keys, resizes and engine events against the workbench
	KILN_FUZZ_SECONDS=$(or $(SECONDS),600) cargo test -p kiln-tui --lib fuzz::random_inputs_for_long -- --ignored --nocapture

bench: release ## Measure what the README's performance table says
	cargo bench --workspace

reference: release ## Compare with PyTorch (fetches it into a virtual environment)
	tests/reference/run.sh

libtorch: prerequisites ## Fetch libtorch, or find the one that LIBTORCH or Python has
	@$(FETCH) --set $(LIBTORCH_SET)

prerequisites:
	@command -v cargo >/dev/null || { echo "kiln: cargo is missing. Install Rust 1.95 or later with rustup (https://rustup.rs)." >&2; exit 1; }
	@command -v $(firstword $(CXX)) >/dev/null || { echo "kiln: the C++ compiler '$(CXX)' is missing. Install one (Debian, Ubuntu: apt install g++), or name yours with CXX." >&2; exit 1; }
	@command -v $(PYTHON) >/dev/null || { echo "kiln: $(PYTHON) is missing. Install Python 3.9 or later with pip (Debian, Ubuntu: apt install python3 python3-pip)." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 9))' || { echo "kiln: $(PYTHON) is older than 3.9. Name a newer one with PYTHON=." >&2; exit 1; }

# The binaries look for libtorch in ../lib/torch/lib, and libtorch for CUDA's libraries in ../../nvidia from there. Other
# programs may have folders of these names (Debian's driver has /usr/lib/nvidia): ours carry a mark, and no other is touched.
LIB := $(DESTDIR)$(PREFIX)/lib
SHARE := $(DESTDIR)$(PREFIX)/share/kiln

install: release ## Install under PREFIX (default: ~/.local); copies libtorch, so that this folder may go
	@for at in "$(LIB)/torch" "$(LIB)/nvidia"; do \
	    if [ -e "$$at" ] && [ ! -e "$$at/.kiln" ]; then \
	        echo "kiln: $$at is there and not Kiln's. Install under another PREFIX." >&2; exit 1; \
	    fi; \
	done
	rm -rf "$(LIB)/torch" "$(LIB)/nvidia" "$(SHARE)"
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(LIB)/torch" "$(LIB)/nvidia" "$(SHARE)"
	touch "$(LIB)/torch/.kiln" "$(LIB)/nvidia/.kiln"
	install -m 755 $(TARGET)/release/kiln $(TARGET)/release/kiln-worker "$(DESTDIR)$(PREFIX)/bin/"
	cp -R presets assets themes "$(SHARE)/"
	@echo "copying libtorch to $(LIB)"
	@set -e; torch=$$($(FETCH) --where); \
	cp -RL --reflink=auto "$$torch/lib" "$(LIB)/torch/"; \
	if [ -d "$$torch/../nvidia" ]; then cp -RL --reflink=auto "$$torch/../nvidia/." "$(LIB)/nvidia/"; fi
	@case ":$$PATH:" in *":$(PREFIX)/bin:"*) ;; *) echo "kiln is installed; add $(PREFIX)/bin to your PATH." ;; esac

uninstall: ## Remove what `make install` put under PREFIX
	rm -f "$(DESTDIR)$(PREFIX)/bin/kiln" "$(DESTDIR)$(PREFIX)/bin/kiln-worker"
	rm -rf "$(SHARE)"
	for at in "$(LIB)/torch" "$(LIB)/nvidia"; do if [ -e "$$at/.kiln" ]; then rm -rf "$$at"; fi; done

clean: ## Remove what was built (libtorch stays)
	cargo clean
