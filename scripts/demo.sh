#!/usr/bin/env bash
# The main job on real files: archive, prove, verify and restore some hundreds of this machine's own files, with odd ones among them.
# Everything happens in a temporary folder that is removed at the end (KEEP=1 keeps it).
set -euo pipefail

work=$(mktemp -d "${TMPDIR:-/tmp}/muniment-demo.XXXXXX")
service=""
finish() {
    if [ -n "$service" ]; then kill "$service" 2>/dev/null || true; wait "$service" 2>/dev/null || true; fi
    if [ "${KEEP:-}" != 1 ]; then chmod -R u+rwX "$work"; rm -rf "$work"; fi
}
trap finish EXIT
export MUNIMENT_HOME="$work/home"
# No calendar is asked: a demonstration needs no network. The timestamp waits in the queue, as it would while offline.
export MUNIMENT_CALENDARS=""

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }

say "1. A collection of real files"
collection="$work/collection"
mkdir -p "$collection"
# Up to 500 files of this machine, at most 2 MiB each, spread over many folders and kinds.
# None is set-user-ID or set-group-ID: those bits are not restored, on purpose (docs/guides/restoring.md).
find /usr/share /usr/lib /etc -xdev -type f -readable ! -perm /6000 -size -2048k -print0 2>/dev/null \
    | { LC_ALL=C sort -z || true; } \
    | awk -v RS='\0' -v ORS='\0' '{ n = split($0, part, "."); kind = part[n]; if (seen[kind]++ < 6 && total++ < 500) print }' \
    | tar --create --null --files-from=- --file=- --ignore-failed-read 2>/dev/null \
    | tar --extract --file=- --directory="$collection"
mkdir -p "$collection/odd names/empty folder"
printf 'a name with a line feed' >"$collection/odd names/two
lines.txt"
printf 'not UTF-8' >"$collection/odd names/"$'caf\xe9.txt'
printf 'Unicode' >"$collection/odd names/été – 証拠 📁.txt"
printf 'a long name' >"$collection/odd names/$(printf 'n%.0s' {1..250}).txt"
: >"$collection/odd names/empty file"
ln -s "empty file" "$collection/odd names/link"
ln -s /nowhere/at/all "$collection/odd names/dangling link"
ln "$collection/odd names/empty file" "$collection/odd names/hard link"
truncate -s 64M "$collection/sparse.img"
head -c 48M /dev/urandom >"$collection/large.bin"
cp "$collection/large.bin" "$collection/the same again.bin"
chmod 0600 "$collection/large.bin"
touch -d '1999-12-31 23:59:59.123456789' "$collection/odd names/empty file"
chmod 0750 "$collection/odd names"
printf '%s files, %s folders, %s links, %s\n' \
    "$(find "$collection" -type f -printf . | wc -c)" "$(find "$collection" -type d -printf . | wc -c)" \
    "$(find "$collection" -type l -printf . | wc -c)" "$(du -sh --apparent-size "$collection" | cut -f1)"

say "2. An archive, and the collection in it"
run muniment init --organization-id demo --name "Demonstration" --recovery-kit "$work/recovery-kit.txt"
run muniment archive "$collection"
commit=$(muniment --json commits | python3 -c 'import json, sys; print(json.load(sys.stdin)["commits"][0]["commit_id"])')

say "3. The commit and the proof of one of its files"
run muniment show "$commit"
run muniment show "$commit" --proof "$collection/large.bin"

say "4. Verified: signature, tree, every file decrypted and hashed again"
run muniment verify --deep

say "5. Restored, and compared: contents, names, modes, times, links"
run muniment restore --target "$work/restored"
describe() { (cd "$1" && find . -printf '%P\0%y %m %s %T@ %l\n\0' | LC_ALL=C sort -z); }
diff -r --no-dereference "$collection" "$work/restored$collection"
cmp <(describe "$collection") <(describe "$work/restored$collection")
echo "diff -r: no difference; modes and times: no difference"

say "6. Without Muniment: one file of plain Python reads the same commit"
run .venv/bin/python standalone/muniment_commit.py verify "$MUNIMENT_HOME/store/commits/$commit" --identity "$MUNIMENT_HOME/keys/identity.txt"

say "7. The same as a service: files uploaded over HTTP, archived, downloaded, and one of them proven"
field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$@"; }
echo "\$ muniment org create demo Demonstration; muniment serve"
muniment org create demo Demonstration --home "$work/service" --recovery-kit "$work/service-kit.txt" --json >"$work/organization.json"
muniment serve --home "$work/service" --port 0 --json >"$work/serving.json" &
service=$!
for _ in $(seq 300); do if [ -s "$work/serving.json" ]; then break; fi; sleep 0.1; done
MUNIMENT_URL=$(field "$work/serving.json" url)
MUNIMENT_API_KEY=$(field "$work/organization.json" api_key)
export MUNIMENT_URL MUNIMENT_API_KEY
run muniment archive "$collection/usr" "$collection/large.bin"
commit=$(muniment --json commits | python3 -c 'import json, sys; print(json.load(sys.stdin)["commits"][0]["commit_id"])')
run muniment restore --target "$work/downloaded"
cmp "$collection/large.bin" "$work"/downloaded/*/large.bin
echo "large.bin: no difference"
run muniment show "$commit" --proof "$(date -u +%Y-%m-%d)/large.bin"
run muniment verify
kill "$service" && wait "$service" || true
service=""

say "Done in $SECONDS s."
