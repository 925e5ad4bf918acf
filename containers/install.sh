#!/bin/sh
# Installs pyacemaker, PySCF and GPAW into a new virtual environment, in the versions of constraints.txt:
#
#     sh containers/install.sh cpu|cuda DIRECTORY      (from the repository's root; needs a C++ compiler)
#
# Both container recipes use it, so that they hold the same.
set -eu

variant=$1
directory=$2

case $variant in
  cpu) index=https://download.pytorch.org/whl/cpu ;; # without CUDA's libraries, 3 GB smaller
  cuda) index= ;;                                    # the wheels of PyPI bring CUDA's libraries
  *)
    echo "install.sh: unknown variant '$variant'; expected cpu or cuda" >&2
    exit 2
    ;;
esac

python3 -m venv "$directory"
python="$directory/bin/python"
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
export CC=g++ # GPAW is C++; its build would take a C compiler

"$python" -m pip install -c constraints.txt --no-deps torch ${index:+--index-url "$index"} # the rest is on PyPI
"$python" -m pip install -c constraints.txt ".[pyscf,gpaw,report]"

# Compiled once, here: nothing is written beside the modules of a read-only image.
"$python" -m compileall -q "$directory/lib"
"$python" -m pyacemaker --version
"$python" -c "import gpaw, pyscf, torch"
