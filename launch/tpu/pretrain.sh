#!/bin/bash
# Pre-training on all workers of a TPU VM, from any machine with gcloud. The same command starts a run and goes on with
# one that was stopped. Ctrl-C here does not end it: `launch/tpu/pretrain.sh stop` does, after it has saved.
set -eu

TPU=TPU_NAME                         # CHANGE: made by `gcloud compute tpus tpu-vm create`
PROJECT=PROJECT                      # CHANGE
ZONE=us-east5-b                      # CHANGE
FOLDER='~/selfpab_jax'               # CHANGE: the project on every worker, installed with jax[tpu] into .venv
DATA=/mnt/shared/prepared            # CHANGE: a folder of selfpab prepare, on a file system that all workers mount
WORKDIR=/mnt/shared/runs/first       # CHANGE: the run folder, on the same file system
CONFIG=configs/selfpab.py

every_worker() {
    gcloud compute tpus tpu-vm ssh "$TPU" --project="$PROJECT" --zone="$ZONE" --worker=all --command="$1"
}

# --coordinator=auto: these machines know their place from Google's metadata server only, which jax asks.
case ${1:-start} in
start)
    every_worker "cd $FOLDER || exit
        nohup .venv/bin/python -m launch pretrain --config=$CONFIG --config.data.dir=$DATA --workdir=$WORKDIR --resume \
            --coordinator=auto >>pretrain.log 2>&1 </dev/null &
        echo \$! >pretrain.pid"
    ;;
stop) every_worker "kill \$(cat $FOLDER/pretrain.pid)" ;;
log) every_worker "tail -n 3 $FOLDER/pretrain.log" ;;
*) echo "usage: $0 [start|stop|log]" >&2; exit 2 ;;
esac
