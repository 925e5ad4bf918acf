#!/bin/sh
# What a container runs: `pyacemaker "$@"` with everything that is written below the current directory, which is
# the run directory's parent. The image, and the home directory, may be read-only or absent.
#
# PYACEMAKER_CACHE   where kernels are compiled to and downloaded models are kept; default: .pyacemaker-cache here.
set -eu

cache=${PYACEMAKER_CACHE:-$(pwd)/.pyacemaker-cache}
if ! mkdir -p "$cache/home" "$cache/tmp" 2>/dev/null; then
  echo "pyacemaker: $cache cannot be written to; mount a directory that user $(id -u) may write to" >&2
  exit 2
fi
export HOME="$cache/home"               # may not exist for --user 12345
export XDG_CACHE_HOME="$cache"          # MACE's foundation models
export TORCH_HOME="$cache/torch"
export NUMBA_CACHE_DIR="$cache/numba"
export MPLCONFIGDIR="$cache/matplotlib"
export TMPDIR="${TMPDIR:-$cache/tmp}"
export PYTHONDONTWRITEBYTECODE=1

exec pyacemaker "$@"
