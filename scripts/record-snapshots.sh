#!/usr/bin/env bash
# Records a pair of snapshots of every scenario on JDK 17 into
# testdata/snapshots, for the replay test. A pair is kept only when the live
# test of its scenario passes. Then doc/scenario-matrix.md is written anew.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/test-prereqs.sh
mkdir -p testdata/snapshots
LEAKSCOPE_RECORD=$PWD/testdata/snapshots go test -count 1 -timeout 20m -parallel 4 -run 'TestLive/.*/jdk17' ./cmd/leakscope
go test -count 1 -run TestScenarioMatrix ./cmd/leakscope -update-matrix
