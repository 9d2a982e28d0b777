#!/bin/sh
# Joins the Ray cluster, puts the flows and automations into the UI, and takes their runs.
set -eu
cd /opt/opencharacter
# A driver needs a Ray node beside it; this one offers nothing. Runs join where RAY_ADDRESS says.
ray start --address="${RAY_ADDRESS:?says where the head is}" --num-cpus=0 --num-gpus=0
prefect work-pool create opencharacter --type process --overwrite
prefect --no-prompt deploy --all --prefect-file infra/deploy/prefect/prefect.yaml
python -m flows.deployments automations
exec prefect worker start --pool opencharacter --type process
