#!/bin/bash
# Trine with MPICH: a second build in build-mpich/, whose tests start ranks with MPICH's mpiexec. Installs MPICH beside
# Open MPI, which stays the machine's default.
# Usage: scripts/test_mpich.sh
set -euo pipefail
cd "$(dirname "$0")/.."

default_mpi() { readlink -f "$(command -v mpicc)" "$(command -v mpirun)" || true; }

before=$(default_mpi)
scripts/install_packages.sh build test mpich
if [ -n "$before" ] && [ "$(default_mpi)" != "$before" ]; then
  echo "[mpich] installing MPICH changed this machine's mpicc or mpirun. Choose the default again:" \
    "update-alternatives --config mpi; update-alternatives --config mpirun" >&2
  exit 1
fi

scripts/build.sh --mpich comm_mpi_program test_programs
if ! ldd build-mpich/bin/comm_mpi_program | grep -q libmpich; then
  echo "[mpich] build-mpich/ is not linked to MPICH. Remove the folder and start again." >&2
  exit 1
fi
export OMP_NUM_THREADS=1
ctest --test-dir build-mpich --output-on-failure --no-tests=error \
  -R '^comm\.mpi$|UnderMpirun|HarmedRank|MpiEqualsLocal|DamagedData'
