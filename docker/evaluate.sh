#!/bin/sh
# Evaluates the checkpoint of .env on every data set that is mounted, and on the held-out ORL people.
set -eu
name=${CHECKPOINT:-quickstart/run/final.pt}
if [ ! -f "/runs/$name" ]; then
    echo "error: no checkpoint $name in the folder mounted at /runs;" \
        "run 'make quickstart', or set RUNS and CHECKPOINT in .env" >&2
    exit 2
fi
if [ ! -w /reports ]; then
    echo "error: user $(id -u):$(id -g) may not write to the folder mounted at /reports;" \
        "set REPORTS in .env to a folder of yours, and CONTAINER_UID and CONTAINER_GID to your own numbers" >&2
    exit 2
fi
set -- --checkpoint "/runs/$name" --out "/reports/${REPORT_NAME:-evaluation}" --orl "$@"
if [ -d /datasets/LFW ]; then set -- "$@" --lfw /datasets/LFW; fi
if [ -d /datasets/SCface ]; then set -- "$@" --scface /datasets/SCface; fi
if [ -d /datasets/QMUL-SurvFace ]; then set -- "$@" --survface /datasets/QMUL-SurvFace; fi
if [ -d /datasets/TinyFace ]; then set -- "$@" --tinyface /datasets/TinyFace; fi
if [ -d /datasets/lists ]; then set -- "$@" --lists /datasets/lists; fi
exec python -m evaluation "$@"
