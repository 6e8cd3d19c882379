#!/bin/sh
# What a careful person checks by hand, with ls and jq: `careful.sh RUN`. Exit code 1 if something is wrong.
# The files that a resume of Hugging Face Trainer reads are there and not empty, the JSON can be parsed, the step is
# that of the directory's name, no logged loss is NaN, every shard of an index is there, and each torch file is of the
# size that it has in the checkpoint before.
run=$1
wrong=0
say() { echo "$1: $2"; wrong=1; }
before=
[ -n "$(ls -d "$run"/checkpoint-* 2>/dev/null)" ] || say "$run" "no checkpoint"
for checkpoint in $(ls -dv "$run"/checkpoint-* 2>/dev/null); do
    [ -d "$checkpoint" ] || { say "$checkpoint" "is no directory"; continue; }
    step=${checkpoint##*checkpoint-}
    for name in optimizer.pt scheduler.pt trainer_state.json; do
        [ -f "$checkpoint/$name" ] && [ -s "$checkpoint/$name" ] || say "$checkpoint/$name" "is missing or empty"
    done
    ls "$checkpoint"/rng_state*.pth >/dev/null 2>&1 || say "$checkpoint" "no rng_state"
    ls "$checkpoint"/model*.safetensors "$checkpoint"/adapter_model.* "$checkpoint"/*/adapter_model.* 2>/dev/null |
        grep -q . || say "$checkpoint" "no weights"
    for file in "$checkpoint"/*; do
        [ -f "$file" ] && [ -s "$file" ] || [ -d "$file" ] || say "$file" "is empty, or no file"
    done
    for file in "$checkpoint"/*.json "$checkpoint"/*/*.json; do
        [ -f "$file" ] || continue
        jq -e . "$file" >/dev/null 2>&1 || say "$file" "is no JSON"
    done
    state=$checkpoint/trainer_state.json
    if [ -f "$state" ] && jq -e . "$state" >/dev/null 2>&1; then
        [ "$(jq -r '.global_step?' "$state" 2>/dev/null)" = "$step" ] || say "$state" "global_step is not $step"
        jq -e '[.log_history[]? | .loss? | select(. != null) | isnan] | any | not' "$state" >/dev/null 2>&1 ||
            say "$state" "a loss is NaN or no number"
        jq -e --argjson step "${step%%[!0-9]*}" '[.log_history[]?.step] | max // 0 <= $step' "$state" >/dev/null 2>&1 ||
            say "$state" "a log entry is later than the step"
    fi
    index=$checkpoint/model.safetensors.index.json
    if [ -f "$index" ]; then
        for shard in $(jq -r '.weight_map[]' "$index" 2>/dev/null | sort -u); do
            [ -s "$checkpoint/$shard" ] || say "$checkpoint/$shard" "is missing"
        done
    fi
    if [ -n "$before" ]; then
        for name in optimizer.pt adapter_model.safetensors model.safetensors; do
            [ -f "$before/$name" ] && [ -f "$checkpoint/$name" ] || continue
            [ "$(wc -c <"$before/$name")" = "$(wc -c <"$checkpoint/$name")" ] ||
                say "$checkpoint/$name" "is not as large as in $before"
        done
    fi
    before=$checkpoint
done
exit $wrong
