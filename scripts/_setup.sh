# Sourced by the scripts beside it: everything that they need, made where it is missing, skipped where it is there.
# Assumes Python >= 3.11 and nothing else. Debian packages come through apt-get where we are root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export UV_PROJECT_ENVIRONMENT="$PWD/.venv" UV_COMPILE_BYTECODE=1 UV_SYSTEM_CERTS=1 PYTHONUNBUFFERED=1
unset PYTHONDONTWRITEBYTECODE  # our servers start in half the time from compiled files
mkdir -p .venvs

say() { printf '\033[2m%s\033[0m\n' "$*" >&2; }
fail() { printf '%s\n' "$*" >&2; exit 1; }

# debian PACKAGE=COMMAND...: each command is there, or its Debian package is installed, or all that are missing are named.
debian() {
  local missing=() each
  for each in "$@"; do command -v "${each#*=}" >/dev/null 2>&1 || missing+=("${each%%=*}"); done
  [ ${#missing[@]} = 0 ] && return
  if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    say "apt-get install ${missing[*]}"
    apt-get update -qq >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    hash -r
  else
    fail "hubfleet needs what these Debian packages hold, and cannot install them here: apt-get install ${missing[*]}"
  fi
}

find_python() {
  local candidate
  for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null 2>&1 && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
      command -v "$candidate"; return
    fi
  done
  fail "hubfleet needs Python 3.11 or newer, and found none on PATH."
}

python=$(find_python)
uv=.venvs/uv/bin/uv

setup_uv() {
  [ -x "$uv" ] && return
  "$python" -c "import ensurepip, venv" 2>/dev/null || debian python3-venv=pyvenv
  say "installing uv into .venvs/uv"
  "$python" -m venv .venvs/uv
  .venvs/uv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'
}

# The project itself and its development tools, exactly as locked.
setup_project() {
  setup_uv
  [ -d .venv ] || say "installing hubfleet and its tools into .venv"
  "$uv" sync --quiet --locked --python "$python"
}

# environment NAME MARKER INSTALL-ARGUMENTS...: a virtual environment of its own for a client or a peer.
environment() {
  local dir=.venvs/$1 want="${*:2}"
  [ -f "$dir/.installed" ] && [ "$(cat "$dir/.installed")" = "$want" ] && return
  say "installing $1 into $dir"
  "$uv" venv --quiet --clear --python "$python" "$dir"
  "$uv" pip install --quiet --python "$dir/bin/python" "${@:2}"
  printf '%s' "$want" >"$dir/.installed"
}

setup_clients() {
  setup_uv
  environment kbatch-0.5 kbatch==0.5.0b1 'pyyaml>=6'
  environment kbatch-0.4.2 kbatch==0.4.2 'pyyaml>=6'
}

# The peer of scripts/bench batch. It breaks with kubernetes >= 36, which renamed the types that it parses.
setup_peers() {
  setup_uv
  environment kbatch-proxy kbatch-proxy==0.5.0b1 'kubernetes<=31' uvicorn gunicorn
}

# JupyterHub's own proxy, until hubfleet's takes its place.
setup_proxy() {
  local dir=.venvs/node
  [ -x "$dir/node_modules/.bin/configurable-http-proxy" ] && return
  say "installing configurable-http-proxy into $dir"
  mkdir -p "$dir"
  npm install --silent --no-audit --no-fund --prefix "$dir" configurable-http-proxy@5 >/dev/null
}

# What pods and the proxy run on. First of all, for it is what may be missing where we are not root.
setup_system() {
  local wanted=(bubblewrap=bwrap nodejs=node npm=npm "$@")
  # A pod has a network of its own, and network policies, where we may make them; without, localkube says so and goes on.
  if [ "$(id -u)" = 0 ]; then wanted+=(iproute2=ip nftables=nft); fi
  debian "${wanted[@]}"
}
