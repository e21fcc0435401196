#!/usr/bin/env bash
# What `esm-embed template snakemake` prints, run by Snakemake: three shards, of which one is broken
# off and gone on with, and the merge, held against a plain run.
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

cp "$root/fixtures/demo.fasta" "a b.fasta"
"$program" template snakemake >Snakefile
"$program" run "a b.fasta" --model "$root/fixtures/esm2_hd16" --pool mean,max --out plain --quiet

# The first start of shard 2 fails in the middle of its work.
cat >program <<END
#!/usr/bin/env bash
if [ ! -e broken-off ] && [[ "\$*" == *"--shard 2/3"* ]]; then
    touch broken-off
    echo "broken off" >&2
    exit 1
fi
exec "$program" "\$@"
END
chmod +x program

embed() {
    "$snakemake" --cores 2 --config "fasta=a b.fasta" out=emb shards=3 \
        "model=$root/fixtures/esm2_hd16" "options=--pool mean,max" "esm_embed=$work/program" "$@"
}

embed --quiet
[ -e broken-off ] || fail "no shard was broken off"
checksums plain >plain.sha256
checksums emb >emb.sha256
diff plain.sha256 emb.sha256 || fail "the merged output is not that of the plain run"
cat emb.sha256
embed --dry-run | grep -q 'Nothing to be done' || fail "there is still something to do"
echo "the merged output is that of the plain run, byte for byte"
