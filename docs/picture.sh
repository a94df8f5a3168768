#!/usr/bin/env bash
# Makes docs/report.png, the picture in the README: the top of the real report of redis-down. Needs chromium.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --release --locked -q
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

target/release/seawall simulate redis-down --report "$work/report.html" >"$work/report.txt" || [ $? -eq 1 ]
chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
  --disable-component-update --disable-sync --hide-scrollbars --user-data-dir="$work/profile" \
  --screenshot="$work/report.png" --window-size=1280,1440 "file://$work/report.html" 2>/dev/null
mv "$work/report.png" docs/report.png
ls -l docs/report.png
