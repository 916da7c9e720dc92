#!/bin/sh
# A worker on the gearman command that knows the behaviour `twice`; prints "- HEX-OF-WORKLOAD", for it has no handle.
port=$1 function=$2
exec gearman -h 127.0.0.1 -p "$port" -w -f "$function" -- sh -c '
    file=$(mktemp) && cat >"$file"
    echo "- $(od -An -v -tx1 "$file" | tr -d " \n")" >&2
    cat "$file" "$file"
    rm "$file"' 2>&1
