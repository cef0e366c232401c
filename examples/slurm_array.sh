#!/bin/bash
# One sweep on a SLURM array: independent processes, each with its shard, fill one store.
#
#     sbatch --array=0-9 examples/slurm_array.sh benign_overfitting
#
# Submit it from the folder that holds sweeps/. Two minutes before its time is up a task commits
# what it has in hand and is requeued; preempted tasks are requeued by SLURM. The same command
# goes on where it stopped, so nothing is to be cleaned up, whatever happens.
#SBATCH --job-name=tsframe
#SBATCH --array=0-9
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%A_%a.log
# With GPUs: #SBATCH --gpus-per-task=1; each has one worker by default.

study=${1:?name the study, e.g. sbatch examples/slurm_array.sh benign_overfitting}
shift
shard="$((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN))/$SLURM_ARRAY_TASK_COUNT"

tsframe run "$study" --shard "$shard" --grace 100 --no-figures "$@" &
run=$!
trap 'time_is_up=1; kill -USR1 "$run"' USR1
trap 'kill -TERM "$run"' TERM

wait "$run"
code=$?
while kill -0 "$run" 2>/dev/null; do # a signal ends the wait, not the run
    wait "$run"
    code=$?
done
if [ -n "$time_is_up" ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$code"
