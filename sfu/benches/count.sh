#!/bin/sh
# Counts the instructions of the shard's forwarding loop under callgrind and fails where a line of
# baseline.txt is more than 2 % up. Only our code is counted: valgrind hides the processor's newest
# instructions, so crypto and memcpy are others there than in life. `count.sh write` writes the file
# anew, to be committed with the change that changes it and a sentence why.
set -eu
cd "$(dirname "$0")/../.."
baseline=sfu/benches/baseline.txt
if ! command -v valgrind >/dev/null; then
    echo "SKIPPED: instruction counts of the forwarding loop (valgrind is not installed)"
    exit 0
fi
bench=$(cargo bench -q -p sfu --bench forward --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*forward-[^"]*\)".*/\1/p' | tail -1)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
number=0
for name in video_1 video_4 video_8 sound; do
    valgrind -q --tool=callgrind --callgrind-out-file="$folder/out" \
        --collect-atstart=no --toggle-collect=counted_loop "$bench" count $number >/dev/null 2>&1
    number=$((number + 1))
    callgrind_annotate --auto=no --inclusive=no --threshold=100 "$folder/out" 2>/dev/null |
        grep -E '^ *[0-9,]+ \(' | grep -vE 'PROGRAM TOTALS|aws.lc|libc\.so|sysdeps|/string/' |
        awk -v name="$name" '{ gsub(",", "", $1); sum += $1 } END { print name, sum + 0 }'
done >"$folder/counts"
if [ "${1-}" = write ]; then
    cp "$folder/counts" "$baseline"
    cat "$baseline"
    exit 0
fi
awk 'NR == FNR { before[$1] = $2; next }
    {
        change = ($2 / before[$1] - 1) * 100
        printf "%-18s %9d instructions, baseline %9d, %+.2f %%\n", $1, $2, before[$1], change
        lines++
        if (!($1 in before) || $2 == 0 || change > 2) bad = 1
    }
    END { exit bad || lines != 4 }' "$baseline" "$folder/counts" || {
    echo "the forwarding loop has become dearer: see sfu/benches/count.sh"
    exit 1
}
