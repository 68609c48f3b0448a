# leakscope: build, test, demo. Two commands need no set-up of your own:
#   make demo   the main job on a live leaking target
#   make test   every test, with what they need installed
SHELL := bash
GO ?= go

GOFUMPT_VERSION := v0.12.0
GOLANGCI_VERSION := v2.15.0
TOOLS := $(CURDIR)/bin/tools

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)

.PHONY: all build demo record-demo test test-jdks stability test-prereqs race lint vet fumpt bench scenarios clean

all: build

build:
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/leakscope ./cmd/leakscope

# The demo needs a JDK: install one where that is possible, else run on what was
# recorded, and say so.
demo: build
	scripts/demo-prereqs.sh
	bin/leakscope demo

record-demo: build
	rm -f internal/demo/recorded/*.lscope
	bin/leakscope demo --keep internal/demo/recorded >/dev/null

test-prereqs:
	scripts/test-prereqs.sh

# -p 2: live tests start JVMs; more at once only make them wait.
test: test-prereqs
	$(GO) test -race -p 2 -timeout 20m ./...

# The live tests on JDKs that this machine does not have installed: see
# scripts/jdks.sh. One package after the other: each starts JVMs side by side.
test-jdks: test-prereqs
	scripts/jdks.sh
	LEAKSCOPE_TEST_JDKS=all $(GO) test -p 1 -parallel 4 -timeout 60m ./internal/scenario ./capture ./capture/hotspot ./capture/vmstructs
	LEAKSCOPE_TEST_JDKS=all $(GO) test -parallel 4 -timeout 60m -run 'TestLive' ./cmd/leakscope

# Captures without a pause while the target allocates and collects: how many are
# accepted, that no wrong one is, and what the target notices. Some minutes.
stability: test-prereqs
	LEAKSCOPE_CAPTURES=100 $(GO) test -v -timeout 120m -run 'TestStability|TestNoTrace|TestCollectedOften|TestMarked|TestMovers|TestVirtual' ./capture -args -update-zero-pause

lint: vet fumpt $(TOOLS)/golangci-lint
	$(TOOLS)/golangci-lint run ./...

vet:
	$(GO) vet ./...

fumpt: $(TOOLS)/gofumpt
	@out=$$($(TOOLS)/gofumpt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$out" ]; then echo "gofumpt: not formatted:"; echo "$$out"; exit 1; fi

# Tools are built once for each version, outside the module.
$(TOOLS)/gofumpt: $(TOOLS)/.gofumpt-$(GOFUMPT_VERSION)
$(TOOLS)/.gofumpt-$(GOFUMPT_VERSION):
	mkdir -p $(TOOLS)
	GOBIN=$(TOOLS) $(GO) install mvdan.cc/gofumpt@$(GOFUMPT_VERSION)
	rm -f $(TOOLS)/.gofumpt-* && touch $@

$(TOOLS)/golangci-lint: $(TOOLS)/.golangci-$(GOLANGCI_VERSION)
$(TOOLS)/.golangci-$(GOLANGCI_VERSION):
	mkdir -p $(TOOLS)
	GOBIN=$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	rm -f $(TOOLS)/.golangci-* && touch $@

bench: build
	scripts/bench.sh

scenarios: test-prereqs
	$(GO) test -v -timeout 20m -parallel 4 -run "TestLive|TestScenarioMatrix" ./cmd/leakscope

clean:
	rm -rf bin
