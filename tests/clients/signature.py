"""Computes the SigV4 signature of each request on stdin, which are lines of the origin's log, with the key in
SIGNING_KEY. Fails if one has another signature. Prints the number of requests."""

import hashlib
import hmac
import json
import os
import sys


def canonical(request, signed):
    path, _, query = request["target"].partition("?")
    pairs = sorted(pair if "=" in pair else pair + "=" for pair in query.split("&") if pair)
    headers = {"host": [request["authority"]], **request["headers"]}
    fields = [f"{name}:{','.join(' '.join(field.split()) for field in headers[name])}\n" for name in signed]
    parts = [request["method"], path, "&".join(pairs), "".join(fields), ";".join(signed)]
    return "\n".join([*parts, headers["x-amz-content-sha256"][0]])


def signature(request):
    method, _, fields = request["headers"]["authorization"][0].partition(" ")
    assert method == "AWS4-HMAC-SHA256", method
    fields = dict(field.strip().split("=", 1) for field in fields.split(","))
    scope = fields["Credential"].split("/")[1:]
    hashed = hashlib.sha256(canonical(request, fields["SignedHeaders"].split(";")).encode()).hexdigest()
    text = "\n".join([method, request["headers"]["x-amz-date"][0], "/".join(scope), hashed])
    key = b"AWS4" + os.environ["SIGNING_KEY"].encode()
    for part in [*scope, text]:
        key = hmac.digest(key, part.encode(), "sha256")
    return fields["Signature"], key.hex()


count = 0
for line in sys.stdin:
    found, wanted = signature(json.loads(line))
    assert found == wanted, f"another signature: {line}"
    count += 1
print(count)
