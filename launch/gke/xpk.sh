#!/bin/bash
# Pre-training on GKE by XPK (https://github.com/AI-Hypercomputer/xpk), from the project's folder. XPK tells each pod
# its place: by JAX_COORDINATOR_ADDRESS, JAX_COORDINATOR_PORT, NNODES and the pod's index on GPUs, by
# TPU_WORKER_HOSTNAMES, TPU_WORKER_ID and MEGASCALE_* on TPUs; launch/schedulers.py reads them.
set -eu

CLUSTER=CLUSTER            # CHANGE: made by `xpk cluster create`, with the storage attached by `xpk storage attach`
PROJECT=PROJECT            # CHANGE
ZONE=us-east5-b            # CHANGE
WORKLOAD=selfpab-first     # CHANGE for each run
IMAGE=REGISTRY/selfpab:TAG # CHANGE: an image with this project and jax for your accelerator
DATA=/shared/prepared      # CHANGE: a folder of selfpab prepare, on storage that all pods mount
WORKDIR=/shared/runs/first # CHANGE: the run folder, on the same storage

# GPUs, --num-nodes hosts. For TPUs in place of both: --tpu-type=v6e-16 --num-slices=1.
HARDWARE=(--device-type=h100-mega-80gb-8 --num-nodes=2) # CHANGE

# --restart-on-exit-codes: 75 is a run that has saved and stopped because a host goes away; --resume goes on.
xpk workload create --cluster="$CLUSTER" --project="$PROJECT" --zone="$ZONE" --workload="$WORKLOAD" \
    --docker-image="$IMAGE" "${HARDWARE[@]}" \
    --max-restarts=100 --restart-on-exit-codes=75 --termination-grace-period-seconds=300 \
    --command="python -m launch pretrain --config=configs/selfpab.py --config.data.dir=$DATA --workdir=$WORKDIR --resume"
