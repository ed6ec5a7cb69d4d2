#!/bin/bash
# build.sh smoltcp|lwip: builds that stack's program into target/ and says where it is. Needs cargo (and, the first
# time, its registry), or gcc and Debian's liblwip-dev. cargo builds only what has changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
case ${1-} in
smoltcp)
  cargo build --release --locked --quiet --manifest-path smoltcp/Cargo.toml --target-dir target
  echo "$PWD/target/release/smoltcp-peer"
  ;;
lwip)
  [ -r /usr/include/lwip/lwip/tcp.h ] || { echo "build.sh: no lwIP here; Debian has it in liblwip-dev" >&2; exit 1; }
  mkdir -p target
  gcc -std=gnu11 -O2 -Wall -Wextra -Werror -I/usr/include/lwip -rdynamic -o target/lwip-peer lwip/*.c -llwip
  echo "$PWD/target/lwip-peer"
  ;;
*)
  echo 'usage: build.sh smoltcp|lwip' >&2
  exit 2
  ;;
esac
