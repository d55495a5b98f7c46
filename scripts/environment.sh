# Sourced by ./run and ./test: makes .venv with what they need, once, and again when pyproject.toml changed; the same for
# the packages of the JavaScript client and its lock file.
#
# Needs bash and a Python of 3.11 or later; everything else comes with pip and npm, from wherever they are set up to look.

# Node brings certificates of its own; npm is to trust what this machine trusts, as pip does.
system_certificates=/etc/ssl/certs/ca-certificates.crt
if [ -z "${NODE_EXTRA_CA_CERTS:-}" ] && [ -f "$system_certificates" ]; then
  export NODE_EXTRA_CA_CERTS=$system_certificates
fi

say() {
  if [ -t 2 ]; then printf '\033[2m%s\033[0m\n' "$*" >&2; else printf '%s\n' "$*" >&2; fi
}

die() {
  printf '%s\n' "$*" >&2
  exit 1
}

# The first Python on PATH that is new enough.
find_python() {
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11 python3.14 python; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      command -v "$candidate"
      return
    fi
  done
  die "Python 3.11 or later is needed, and none is on PATH."
}

# What an installed environment was made from: the Python, the requirements, and where the checkout was.
stamp_of() {
  "$1" -c '
import hashlib, os, sys
requirements = open("pyproject.toml", "rb").read()
print(sys.version.split()[0], hashlib.sha256(requirements).hexdigest(), os.getcwd())'
}

# ensure_environment EXTRA: .venv holds this checkout with the extra; to be called in the checkout's directory.
ensure_environment() {
  local extra=$1 python stamp
  if ! .venv/bin/python -c 'import pip' >/dev/null 2>&1; then
    python=$(find_python)
    say "Making .venv with $("$python" --version) …"
    "$python" -m venv --clear .venv ||
      die "The environment could not be made. On Debian and Ubuntu: apt-get install python3-venv"
  fi
  stamp=$(stamp_of .venv/bin/python)
  for done in "$extra" all; do
    if [ "$(cat ".venv/zocket-$done.stamp" 2>/dev/null)" = "$stamp" ]; then return; fi
  done
  say "Installing what zocket[$extra] needs into .venv (once; it takes a minute or two) …"
  rm -f .venv/zocket-*.stamp
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$extra]" ||
    die "pip could not install zocket[$extra]; what it said is above."
  printf '%s\n' "$stamp" >".venv/zocket-$extra.stamp"
}

# The first Node whose test runner can mock dates, which the tests of the JavaScript client do.
node_is_new_enough() {
  node -e 'const [major, minor] = process.versions.node.split(".").map(Number);
           process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)'
}

# ensure_node_modules DIRECTORY: what its package-lock.json names is in its node_modules; 1 if npm cannot have it.
ensure_node_modules() {
  local lock
  lock=$(cksum <"$1/package-lock.json")
  if [ "$(cat "$1/node_modules/.zocket.stamp" 2>/dev/null)" = "$lock" ]; then return; fi
  say "Installing the packages that $1 is built and tested with (once; some seconds) …"
  npm --prefix "$1" ci --ignore-scripts --no-progress --loglevel=error || return 1
  printf '%s\n' "$lock" >"$1/node_modules/.zocket.stamp"
}
