# Shared by quickstart and check: says what it does, installs what is missing, builds. Sourced, not run.

packages=(g++ cmake ninja-build libsystemc-dev libboost-graph-dev nlohmann-json3-dev libfmt-dev libcli11-dev libjs-chart.js libgtest-dev libbenchmark-dev)

say() { printf '\n== %s\n' "$*"; }

# Installs the Debian packages that are missing; does nothing when all are there.
install_missing() {
  local missing=() package
  for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  if [ ${#missing[@]} -eq 0 ]; then
    say "all packages are there: ${packages[*]}"
    return
  fi
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
      echo "These packages are missing, and this is neither root nor a user with sudo: ${missing[*]}" >&2
      exit 1
    fi
    as_root=(sudo)
  fi
  say "installing with apt-get: ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
}

# Configures and builds the release preset; arguments are build targets (none: everything).
build() {
  say "building ${*:-everything} in build/release"
  cmake --preset release >/dev/null
  if [ $# -gt 0 ]; then
    cmake --build --preset release --target "$@"
  else
    cmake --build --preset release
  fi
}
