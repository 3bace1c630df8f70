"""Searches files below a directory for values, in the forms in which programs write them: `leaks.py VALUES DIRECTORY`.
VALUES has one value in each line. Prints the names of files that contain one, and fails if there are any."""

import base64
import gzip
import json
import sys
import urllib.parse
from pathlib import Path


def forms(value):
    yield value
    for is_ascii in [True, False]:
        yield json.dumps(value.decode(), ensure_ascii=is_ascii)[1:-1].encode()
    yield value[::-1]
    yield value.hex().encode()
    yield value.decode().encode("utf-16-le")
    quoted = urllib.parse.quote(value, safe="")
    yield quoted.encode()
    yield quoted.replace("%20", "+").encode()
    for offset in range(3):
        # The first and the last group also depend on their neighbours.
        whole = base64.b64encode(b"x" * offset + value)
        yield whole[4:-4]
        yield whole[4:-4].translate(bytes.maketrans(b"+/", b"-_"))


def contents(path):
    data = path.read_bytes()
    yield bytes(path)
    yield data
    if data.startswith(b"\x1f\x8b"):
        yield gzip.decompress(data)


values, directory = Path(sys.argv[1]), Path(sys.argv[2])
searched = {form for value in values.read_bytes().splitlines() for form in forms(value)}
found = [
    path
    for path in directory.rglob("*")
    if path.is_file() and any(form in data for data in contents(path) for form in searched)
]
for path in found:
    print(f"{path} contains a value")
sys.exit(bool(found))
