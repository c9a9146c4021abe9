# Runs in the init container: `sh unpack.sh SHA256` joins the parts of the user's code, checks them, and unpacks
# them into /code with whatever the image offers: Python's zipfile, else unzip. What is printed last is the reason
# that the user reads when it fails.
set -u
umask 0
parts=/code-parts
zip=/code/.code.zip
fail() { echo "kbatch: the code could not be unpacked: $1" >&2; rm -f "$zip"; exit "$2"; }
cat "$parts"/part-* >"$zip" || fail "its parts cannot be joined in /code" 2
for python in python3 python; do
  command -v "$python" >/dev/null 2>&1 || continue
  "$python" "$parts/unpack.py" "$zip" /code "$1" || fail "see the message above" 1
  rm -f "$zip"
  exit 0
done
command -v unzip >/dev/null 2>&1 ||
  fail "the image has neither python3, python nor unzip; use an image with one of them" 3
if command -v sha256sum >/dev/null 2>&1; then
  echo "$1  $zip" | sha256sum -c - >/dev/null 2>&1 || fail "its checksum is wrong" 1
fi
unzip -q -o "$zip" -d /code || fail "unzip failed" 1
rm -f "$zip"
