# libholepunch: `make demo` shows it at work, `make test` runs every test, `make help` lists the rest.

PREFIX ?= /usr/local
DESTDIR ?=
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
BINDIR ?= $(PREFIX)/bin
CARGO ?= cargo
CC ?= cc
CFLAGS ?= -O2 -g
STRIP ?= strip

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
ABI := $(shell sed -n 's/^pub const HP_ABI_VERSION: u32 = \([0-9]*\);/\1/p' src/ffi/version.rs)
WARNINGS := -Wall -Wextra -pedantic -Werror

# How often `make natlab` runs each pair, how often with the Go stand-in, which takes 5 s wherever it fails, and any
# further options of tests/natlab/matrix.py.
RUNS ?= 20
BESIDE_RUNS ?= 5
MATRIX ?= --extra --talk

.PHONY: help setup build header examples man demo test natlab lint bench install deb uninstall clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## install the Debian packages that tests and demo need (as root; otherwise says what is missing)
	@scripts/setup.sh

build: ## build the library, hp-server, hp and the C examples (release)
	@CARGO='$(CARGO)' scripts/build.sh
	@mkdir -p build/lib build/bin
	@ln -sf ../../target/c-abi/libholepunch.so build/lib/libholepunch.so.$(ABI)
	@ln -sf libholepunch.so.$(ABI) build/lib/libholepunch.so
	@ln -sf ../../target/c-abi/libholepunch.a build/lib/libholepunch.a
	@ln -sf ../../target/release/hp-server build/bin/hp-server
	@ln -sf ../../target/release/hp build/bin/hp
	@$(MAKE) --no-print-directory examples

EXAMPLES := $(patsubst examples/c/%.c,build/bin/%,$(wildcard examples/c/*.c))
examples: $(EXAMPLES) ## build the C examples into build/bin

build/bin/addresses build/bin/copy: examples/c/exchange.h
build/bin/%: examples/c/%.c include/holepunch.h
	@mkdir -p build/bin
	$(CC) -std=c99 -D_POSIX_C_SOURCE=200809L $(WARNINGS) $(CFLAGS) -Iinclude $< -o $@ \
	    -Lbuild/lib -lholepunch '-Wl,-rpath,$$ORIGIN/../lib'

header: ## generate the C header, Go's copy of it and C#'s native methods from src/ffi
	$(CARGO) check --locked --features codegen --lib
	@cmp -s include/holepunch.h bindings/go/holepunch.h || cp include/holepunch.h bindings/go/holepunch.h

man: ## generate hp-server's manual page, example file and table of settings from its settings
	HP_WRITE_DOCUMENTS=1 $(CARGO) test --locked --quiet --bin hp-server settings::documents

demo: setup build ## two programs behind two NATs find each other and talk
	@scripts/demo.sh

test: setup ## run every test in every language
	@scripts/test.sh

natlab: setup build ## try every pair of NAT kinds RUNS=20 times, as root, beside Go; writes docs/nat-matrix.{svg,json}
	@scripts/natlab.sh --runs $(RUNS) --beside-runs $(BESIDE_RUNS) $(MATRIX) \
	    --json docs/nat-matrix.json --svg docs/nat-matrix.svg

lint: ## check formatting and lints
	@scripts/lint.sh

bench: setup build ## measure connecting, relay and rooms, as ratios against references in the same run
	@CARGO='$(CARGO)' scripts/bench.sh

install: ## install into $(DESTDIR)$(PREFIX): header, libraries, pkg-config and CMake files, hp-server with its manual page, hp
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' LIBDIR='$(LIBDIR)' INCLUDEDIR='$(INCLUDEDIR)' BINDIR='$(BINDIR)' \
	    VERSION='$(VERSION)' ABI='$(ABI)' CARGO='$(CARGO)' scripts/install.sh install

deb: build ## make the Debian package hp-server in build/
	@STRIP='$(STRIP)' scripts/deb.sh build/bin/hp-server build

uninstall: ## remove what `make install` with the same variables put in place
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' LIBDIR='$(LIBDIR)' INCLUDEDIR='$(INCLUDEDIR)' BINDIR='$(BINDIR)' \
	    VERSION='$(VERSION)' ABI='$(ABI)' CARGO='$(CARGO)' scripts/install.sh uninstall

clean: ## remove what was built
	$(CARGO) clean
	rm -rf build
