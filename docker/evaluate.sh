#!/bin/sh
# Evaluates the checkpoint of .env on every data set that is mounted, and on the held-out ORL people.
set -eu
checkpoint=/runs/${CHECKPOINT:-quickstart/run/final.pt}
if [ ! -f "$checkpoint" ]; then
    echo "error: no checkpoint ${CHECKPOINT:-quickstart/run/final.pt} in the folder mounted at /runs;" \
        "run 'make quickstart', or set RUNS and CHECKPOINT in .env" >&2
    exit 2
fi
set -- --checkpoint "$checkpoint" --out /reports --orl
if [ -d /datasets/LFW ]; then set -- "$@" --lfw /datasets/LFW; fi
if [ -d /datasets/SCface ]; then set -- "$@" --scface /datasets/SCface; fi
if [ -d /datasets/QMUL-SurvFace ]; then set -- "$@" --survface /datasets/QMUL-SurvFace; fi
if [ -d /datasets/TinyFace ]; then set -- "$@" --tinyface /datasets/TinyFace; fi
if [ -d /datasets/lists ]; then set -- "$@" --lists /datasets/lists; fi
exec python -m evaluation "$@"
