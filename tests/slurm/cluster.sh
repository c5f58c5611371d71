#!/bin/bash
# A SLURM cluster of one node, this machine, for the tests:
#   cluster.sh start FOLDER   its configuration, daemons and logs; clients find it by SLURM_CONF=FOLDER/slurm.conf
#   cluster.sh stop FOLDER    ends the daemons that `start` began, by their process ids
# Needs slurmctld, slurmd, slurm-client and munge (Debian's packages of that name), and root.
set -eu
export PATH=$PATH:/usr/sbin
folder=$(realpath -m "$2")

stop() {
    local name pid
    for name in slurmd slurmctld munged; do
        [ -e "$folder/$name.pid" ] || continue
        pid=$(<"$folder/$name.pid")
        kill "$pid" 2>/dev/null || true
        for _ in $(seq 100); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -9 "$pid" 2>/dev/null || true
        rm -f "$folder/$name.pid"
    done
}

# What it runs has no tie to the caller's terminal and pipes.
daemon() {
    local name=$1
    setsid "$@" </dev/null >>"$folder/$name.out" 2>&1 &
    echo $! >"$folder/$name.pid"
}

start() {
    local host
    host=$(hostname -s)
    mkdir -p "$folder/state" "$folder/spool"
    chmod 755 "$folder"
    (umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
    cat >"$folder/slurm.conf" <<CONF
ClusterName=selfpab
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$CTLD_PORT
SlurmdPort=$SLURMD_PORT
SlurmUser=root
AuthType=auth/munge
# A requeued job waits until its first start's credentials have expired: 120 s by default.
AuthInfo=socket=$folder/munge.socket,cred_expire=10
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.own.pid
SlurmdPidFile=$folder/slurmd.own.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SelectType=select/linear
SchedulerParameters=batch_sched_delay=0,sched_interval=2
SlurmdParameters=config_overrides
KillWait=60
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000
PartitionName=all Nodes=ALL Default=YES OverSubscribe=NO
CONF
    export SLURM_CONF=$folder/slurm.conf
    daemon munged --foreground --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
        --pid-file="$folder/munged.own.pid" --log-file="$folder/munged.log" --seed-file="$folder/munged.seed"
    for _ in $(seq 50); do [ -S "$folder/munge.socket" ] && break; sleep 0.1; done
    daemon slurmctld -D -i
    for _ in $(seq 100); do scontrol ping 2>/dev/null | grep -q ' UP' && break; sleep 0.1; done
    daemon slurmd -D
    for _ in $(seq 200); do [ "$(sinfo -h -o %t)" = idle ] && return; sleep 0.1; done
    echo "cluster.sh: the node did not come up" >&2
    tail -n 20 "$folder"/*.log "$folder"/*.out >&2
    stop
    return 1
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'; }
CTLD_PORT=$(free_port) SLURMD_PORT=$(free_port)
"$1"
