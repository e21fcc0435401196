#!/usr/bin/env bash
# Runs the output of `esm-embed template snakemake` in Snakemake: three shards, one of which is
# interrupted and resumed, then the merge; and all of it again after the FASTA file has changed. Compares the
# results with plain runs.
#
#   pip install snakemake
#   tests/schedulers/snakemake.sh [ESM_EMBED] [SNAKEMAKE]
set -euo pipefail
cd "$(dirname "$0")/../.."

program=$(realpath "${1:-target/release/esm-embed}")
snakemake=${2:-snakemake}
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() {
    echo "FAILED: $*"
    exit 1
}

checksums() {
    (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum)
}

for i in $(seq 90); do
    cat "$root/fixtures/demo.fasta" | sed "s/^>.*/& copy $i/; /^>/!s/\$/$(printf 'A%.0s' $(seq "$i"))/"
done >"a b.fasta"
"$program" template snakemake >Snakefile
"$program" run "a b.fasta" --model "$root/fixtures/esm2_hd16" --pool mean,max --out plain --quiet

# The first start of shard 2 may write files of 500 KB at most, and fails in the middle of its work.
cat >program <<END
#!/usr/bin/env bash
if [ ! -e broken-off ] && [[ "\$*" == *"--shard 2/3"* ]]; then
    touch broken-off
    ulimit -f 1000
    "$program" "\$@"
    code=\$?
    cp emb.shards/2-of-3/.partial/journal journal
    exit \$code
fi
exec "$program" "\$@"
END
chmod +x program

embed() {
    "$snakemake" --cores 2 --config "fasta=a b.fasta" out=emb shards=3 \
        "model=$root/fixtures/esm2_hd16" "options=--pool mean,max --max-tokens 64" \
        "esm_embed=$work/program" "$@"
}

embed --quiet
[ -s journal ] || fail "no shard was broken off in the middle of its work"
went_on='[1-9][0-9,]* of [0-9,]* distinct sequences* wa*e*r*s*e* already done'
grep "$went_on" emb.shards/2-of-3.log || fail "shard 2 did not go on where it was"
checksums plain >plain.sha256
checksums emb >emb.sha256
diff plain.sha256 emb.sha256 || fail "the merged output is not that of the plain run"
cat emb.sha256
embed --dry-run | grep -q 'Nothing to be done' || fail "there is still something to do"
echo "the merged output is that of the plain run, byte for byte"

# Another FASTA file under the same name is planned and embedded again.
sleep 1
printf '>new\nMKTAYIAKQR\n' >>"a b.fasta"
"$program" run "a b.fasta" --model "$root/fixtures/esm2_hd16" --pool mean,max --out plain --force --quiet
embed --quiet
checksums plain >plain.sha256
checksums emb >emb.sha256
diff plain.sha256 emb.sha256 || fail "the output of the changed file is not that of a plain run"
echo "so it is after the file has changed"
