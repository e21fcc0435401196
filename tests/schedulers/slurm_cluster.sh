#!/usr/bin/env bash
# A SLURM cluster of one node, without systemd, for tests. As root:
#
#   tests/schedulers/slurm_cluster.sh up FOLDER      prints the SLURM_CONF to use
#   tests/schedulers/slurm_cluster.sh down FOLDER
#
# Needs Debian's packages slurm-wlm and munge. Everything lies in FOLDER: no file of the system is
# touched. The node has four CPUs whether the machine has them or not, and a partition `low` from
# which jobs are taken for `high`.
set -euo pipefail

verb=${1:?up or down}
folder=$(realpath -m "${2:?folder of the cluster}")
host=$(hostname -s)

daemon_of() {
    [ -s "$folder/$1" ] && kill -0 "$(cat "$folder/$1")" 2>/dev/null
}

up() {
    mkdir -p "$folder"/{state,spool}
    # munged wants nobody else to write into the folders of its key and log.
    mkdir -p -m 0755 "$folder/munge"
    chmod 0755 "$folder/munge"
    if [ ! -s "$folder/munge/key" ]; then
        (umask 077 && head -c 1024 /dev/urandom >"$folder/munge/key")
    fi
    daemon_of munge/munged.pid || munged --force --key-file="$folder/munge/key" \
        --socket="$folder/munge/socket" --pid-file="$folder/munge/munged.pid" \
        --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" --num-threads=2

    local memory
    memory=$(($(awk '/^MemTotal/ {print $2}' /proc/meminfo) / 1024 / 2))
    cat >"$folder/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=bf_interval=1,sched_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=10
MinJobAge=3600
ReturnToService=2
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$folder/completed.txt
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=$memory State=UNKNOWN
PartitionName=low Nodes=$host Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=12
PartitionName=high Nodes=$host PriorityTier=10 PreemptMode=OFF
END
    export SLURM_CONF=$folder/slurm.conf
    daemon_of slurmctld.pid || slurmctld -f "$SLURM_CONF" -i
    daemon_of slurmd.pid || slurmd -f "$SLURM_CONF"
    for _ in $(seq 60); do
        case $(sinfo --noheader --partition=low --format=%t 2>/dev/null) in
        idle | mix)
            echo "$SLURM_CONF"
            return
            ;;
        esac
        sleep 0.5
    done
    tail -n 5 "$folder"/*.log >&2
    echo "the cluster did not come up" >&2
    return 1
}

down() {
    # A node that is stopped under its jobs leaves them running.
    export SLURM_CONF=$folder/slurm.conf
    scancel --quiet --user=root 2>/dev/null || true
    for _ in $(seq 60); do
        [ -n "$(squeue --noheader 2>/dev/null)" ] || break
        sleep 0.5
    done
    for name in slurmd.pid slurmctld.pid munge/munged.pid; do
        if daemon_of "$name"; then
            kill "$(cat "$folder/$name")"
        fi
    done
}

"$verb"
