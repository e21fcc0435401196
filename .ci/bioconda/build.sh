#!/usr/bin/env bash
set -euxo pipefail

export CARGO_PROFILE_RELEASE_STRIP=symbols

cargo-bundle-licenses --format yaml --output THIRDPARTY.yml
cargo auditable install --locked --no-track --bins --root "$PREFIX" --path .

shell=$PREFIX/share
mkdir -p "$shell/bash-completion/completions" "$shell/zsh/site-functions" "$shell/fish/vendor_completions.d"
if [ "${CONDA_BUILD_CROSS_COMPILATION:-0}" != 1 ]; then
    "$PREFIX/bin/esm-embed" completions bash >"$shell/bash-completion/completions/esm-embed"
    "$PREFIX/bin/esm-embed" completions zsh >"$shell/zsh/site-functions/_esm-embed"
    "$PREFIX/bin/esm-embed" completions fish >"$shell/fish/vendor_completions.d/esm-embed.fish"
    "$PREFIX/bin/esm-embed" man "$shell/man/man1"
fi
