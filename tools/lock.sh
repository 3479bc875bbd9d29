#!/bin/sh
# Pins requirements/<name>.in in <name>.txt for every Python and system we support.
set -eu
cd "$(dirname "$0")/../requirements"
for name in "$@"; do
    compiled=$("${UV:-uv}" pip compile --quiet --universal --python-version 3.11 \
        --no-header --no-annotate "$name.in")
    {
        echo "# Made by \`make lock\` from $name.in: every version pinned, for Python 3.11 to 3.13."
        # CUDA's own packages are left to pip, which knows the machine.
        printf '%s\n' "$compiled" | grep -v -E '^(nvidia|cuda)-'
    } >"$name.txt"
    echo "requirements/$name.txt: $(grep -c == "$name.txt") versions"
done
