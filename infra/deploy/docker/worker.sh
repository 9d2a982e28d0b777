#!/bin/sh
# Joins the Ray cluster, puts the flows and automations into the UI, and takes their runs.
set -eu
cd /opt/opencharacter
# A driver needs a Ray node beside it; this one offers nothing.
ray start --address="$RAY_HEAD" --num-cpus=0 --num-gpus=0
prefect work-pool create opencharacter --type process --overwrite
prefect --no-prompt deploy --all --prefect-file infra/deploy/prefect/prefect.yaml
python -m flows.deployments automations
exec prefect worker start --pool opencharacter --type process
