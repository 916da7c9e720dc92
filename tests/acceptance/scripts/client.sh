#!/bin/sh
# A client on the gearman command; see languages.py for the arguments. Reads the workload from standard input.
port=$1 function=$2 mode=$3 unique=$4
case $mode in *high) priority=-I ;; *low) priority=-L ;; esac
case $mode in bg*) background="-b -v" ;; esac
# shellcheck disable=SC2086
gearman -h 127.0.0.1 -p "$port" -t 20000 -f "$function" $background $priority ${unique:+-u "$unique"} |
    if [ -n "$background" ]; then sed 's/^Task created: //'; else cat; fi
