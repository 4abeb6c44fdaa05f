#!/bin/sh
# Indexes the sample footage and runs a few searches. Can be run again: what is indexed is not indexed twice.
set -eu

clipseek=${CLIPSEEK:-target/release/clipseek}
data=${DATA:-target/demo}
footage=tests/fixtures/footage

echo
echo "== Indexing the sample footage: $footage"
"$clipseek" --data "$data" index "$footage"

search() {
    echo
    echo "== clipseek search \"$1\""
    "$clipseek" --data "$data" search "$1" --limit 3
}
search "a red circle moves to the right"
search "a red triangle appears"
search "an orange heart moves to the left"

echo
echo "Try your own words:   $clipseek --data $data search \"a blue star spins clockwise\""
echo "In the browser:       $clipseek --data $data serve $footage, then http://127.0.0.1:7700"
echo "Your own videos:      see \"Your own videos\" in README.md"
