#!/bin/sh
# Builds the image and runs the three services on the ORL faces and on rendered data sets, where a Docker engine is:
#     docker/check.sh
# Everything is written below a temporary folder; the environment variables of .env.example (BASE,
# BUILD_NETWORK, PIP_INDEX_URL, ...) reach the build. Ends with the image's size and the time of each part.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "error: $*" >&2
    exit 2
}
docker info >/dev/null 2>&1 || fail "no Docker engine answers; start one, or set DOCKER_HOST"
docker compose version >/dev/null 2>&1 || fail "docker has no compose plugin; install docker-compose version 2"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
mkdir "$scratch/Datasets" "$scratch/runs"
# What is written must belong to an ordinary user, also where root starts this check.
CONTAINER_UID=$(id -u)
CONTAINER_GID=$(id -g)
if [ "$CONTAINER_UID" = 0 ]; then
    CONTAINER_UID=1000
    CONTAINER_GID=1000
    chown -R 1000:1000 "$scratch"
fi
DATASETS=$scratch/Datasets
SHARDS=$scratch/runs
RUNS=$scratch/runs
REPORTS=$scratch/runs
SHARDS_NAME=shards
RUN_NAME=check
RECIPE=tiny
PROCESSES=2
CHECKPOINT=check/final.pt
REPORT_NAME=evaluation
export CONTAINER_UID CONTAINER_GID DATASETS SHARDS RUNS REPORTS SHARDS_NAME RUN_NAME
export RECIPE PROCESSES CHECKPOINT REPORT_NAME

times=$scratch/times.txt
timed() {
    part=$1
    shift
    begin=$(date +%s)
    timeout 3600 "$@"
    echo "$part: $(($(date +%s) - begin)) s" >>"$times"
}

echo "1/5 configuration"
docker compose config --quiet
echo "2/5 build"
timed build docker compose build evaluate
echo "3/5 without a checkpoint: one line, exit status 2"
status=0
docker compose run --rm -T evaluate >"$scratch/out.txt" 2>"$scratch/err.txt" || status=$?
[ "$status" = 2 ] || fail "evaluate without a checkpoint ended with $status, expected 2: $(cat "$scratch/err.txt")"
grep -q "^error: no checkpoint check/final.pt" "$scratch/err.txt" || fail "unexpected: $(cat "$scratch/err.txt")"
echo "4/5 shard and train"
timed shard docker compose run --rm -T shard python -m pipeline.shard --dataset orl --size 32 --out /shards/shards
timed train docker compose run --rm -T train
echo "5/5 evaluate, on ORL and on rendered LFW, SCface, QMUL-SurvFace and TinyFace"
timed render docker compose run --rm -T shard \
    python -m pipeline.synthetic --out /shards/Datasets --identities 20 --photos 4 --layout all
DATASETS=$scratch/runs/Datasets
timed evaluate docker compose up --no-log-prefix --exit-code-from evaluate evaluate
docker compose down --remove-orphans >/dev/null 2>&1

report=$scratch/runs/evaluation
for protocol in LFW SCface QMUL-SurvFace TinyFace ORL; do
    grep -q "^## $protocol" "$report/report.md" || fail "no $protocol in report.md"
done
for name in report.html report.md results.json; do
    [ -s "$report/$name" ] || fail "no $name in the report's folder"
done
owner=$(stat -c %u:%g "$report/report.html")
[ "$owner" = "$CONTAINER_UID:$CONTAINER_GID" ] || fail "report.html belongs to $owner, not to the caller"
size=$(docker image inspect --format '{{.Size}}' low-resolution-face-recognition)
echo "image: $((size / 1000000)) MB"
cat "$times"
