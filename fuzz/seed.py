#!/usr/bin/env python3
"""Writes the checked-in seeds of every target to corpus/TARGET/NAME.seed.

Seeds are small inputs with high coverage. They are made from the known answers in tests/vectors, the exports in
tests/fixtures/import, the examples and docs/. The same tree gives the same seeds. Each target's file in src/ describes its
input."""

import json
import pathlib
import re
import shutil
import struct
import zlib

FUZZ = pathlib.Path(__file__).resolve().parent
ROOT = FUZZ.parent
VECTORS = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "tests/vectors").glob("*.json"))}


def write(target, name, data):
    data = data.encode() if isinstance(data, str) else data
    assert len(data) <= 16 * 1024, (target, name)
    (FUZZ / "corpus" / target / f"{name}.seed").write_bytes(data)


def lp(data):
    return struct.pack(">I", len(data)) + data


def agent():
    """Frames of protocol 4, see crates/runtime/src/agent/protocol.rs."""
    u32, u64 = (lambda number: struct.pack(">I", number)), (lambda number: struct.pack(">Q", number))
    path, vault, ticket = lp(b"/home/you/.local/share/secrets/vault.db"), bytes(range(16)), lp(b"t" * 99)
    row = bytes(15) + b"\1" + u32(1) + lp(b"h" * 60) + lp(b"s" * 64)
    policy = u64(1) + lp(b"p" * 66) + lp(b"s" * 64)
    wanted = b"r" * 8 + u32(0) + b"\0"
    requests = {
        0: b"", 1: path + lp(vault), 3: path, 11: path, 12: path + u32(2) + lp(b"web") + lp(b"api"),
        13: path + vault + lp(b"rows"), 14: path + vault + lp(b"rows") + lp(b"i" * 16),
        15: path + ticket + u32(2) + wanted + lp(b"") + wanted + lp(b"s" * 24),
        16: path + ticket + row + u32(1) + policy + lp(b"h" * 60) + lp(b"c" * 9),
        17: path + vault + lp(b"rows") + b"\1" + u32(1) + lp(b"web"), 18: path + ticket + row,
    }
    for kind, fields in requests.items():
        write("agent", f"request-{kind}", bytes([4, kind]) + fields)
    opened = u32(2) + b"\0\1" + lp(b"entry") + lp(b"keys") + ticket
    answers = {
        128: b"\1", 129: b"\1" + u64(900_000) + u64(300_000), 130: lp(b"bytes"), 132: b"\1" + bytes(4),
        133: u32(1) + b"o" * 32 + lp(b"head"), 134: opened, 135: lp(b"k" * 68),
        136: lp(b"head") + lp(b"s" * 64) + lp(b"entry") + lp(b"s" * 64), 137: lp(b"head") + opened + lp(b"changes"),
    }
    for kind, fields in answers.items():
        write("agent", f"answer-{kind}", bytes([4, kind]) + fields)
    write("agent", "answer-locked", bytes([4, 129]) + bytes(17))
    write("agent", "another-version", bytes([3, 1]) + path)


def answer():
    text = b'{"echo":"Bearer \x01","n":[1,2]}' * 3
    write("answer", "plain", b"\0\5" + text + b"\x01 value-of-the-key")
    write("answer", "gzip", b"\1\3" + zlib.compress(b"value-of-the-key-7f3a9c " * 9, wbits=31))
    write("answer", "deflate", b"\2\1" + zlib.compress(b"value-of-the-key-7f3a9c"))
    write("answer", "br", b"\3\4" + bytes.fromhex("8b0b8076616c75652d6f662d7468652d6b65792d37663361396303"))
    frame = b"\x28\xb5\x2f\xfd\x20\x17" + struct.pack("<I", 23 << 3 | 1)[:3] + b"value-of-the-key-7f3a9c"
    write("answer", "zstd", b"\4\2" + frame)
    write("answer", "expands", b"\1\7" + zlib.compress(bytes(200_000), wbits=31))
    write("answer", "cut", b"\1\7" + zlib.compress(bytes(900), wbits=31)[:-5])


def path():
    for number, (one, pattern) in enumerate((
        ("/v1/charges", "/v1/**"), ("/v1/../%2e%2e/admin", "/v1/**"), ("/a%2Fb//c;x=1/%252e", "/a/*/c/**"),
        ("/V1/refunds.json/", "/v1/refunds/**"), ("/a/%c0%ae", "/**"), ("/x-%C3%A4-y", "/x-*-y"), ("/a?b", "/a%3Fb"),
    )):
        write("path", str(number), bytes([len(one)]) + one.encode() + pattern.encode())


def request():
    def one(name, method, own, target, headers, body=b""):
        fields = b"".join(bytes([number, len(value)]) + value for number, value in headers)
        write("request", name, bytes([method, own, len(target)]) + target + bytes([len(headers)]) + fields + body)

    one("header", 0, 0, b"/v1/x?y=1", [(0, b"\1"), (4, b"plain")])
    one("wrong-header", 0, 0, b"/v1/x", [(4, b"\1")])
    one("wrong-method", 2, 0, b"/v1/x", [(0, b"\1")])
    one("query", 0, 0, b"/x?q=\1&r=2", [])
    one("path", 0, 0, b"/x/\1/y", [])
    one("bearer", 0, 0, b"/x", [(1, b"Bearer \1")])
    one("cookie", 0, 0, b"/x", [(2, b"a=b; c=\2")])
    one("json", 1, 1, b"/x", [(3, b"application/json")], b'{"a":{"b":"x \1","b":"\1"},"c":"d"}')
    one("json-of-a-program", 1, 0, b"/x", [(3, b"application/json")], b'{"a":{"b":"\1"},"c":"\2"}')
    one("form", 1, 0, b"/x", [(3, b"application/x-www-form-urlencoded")], b"f=\1&g=\2&%66=1")
    one("override", 0, 0, b"/v1/x", [(0, b"\1"), (8, b"DELETE")])


def dotenv():
    write("dotenv", "values", (ROOT / "tests/fixtures/import/values.env").read_bytes())
    write("dotenv", "quotes", "\ufeff# c\r\nexport A=\"x\\n\\\"y\" # c\nB='1\n2'\nC=`\"'`\nD=a b#c #d\nE=\n")
    write("dotenv", "unclosed", "A=1\nB=\"never closed\nC=2\n")
    write("dotenv", "names", "a.b-c=1\n_=2\nexport=3\nexport = 4\nexport export=5\n")


def patches(target, places, end):
    write(target, "as-it-is", b"\0")
    for name, at in places:
        write(target, f"other-{name}", b"\0" + struct.pack(">HB", at, 8) + bytes(range(1, 9)))
    write(target, "cut", b"\0" + struct.pack(">HB", 100, 0))
    write(target, "longer", b"\0" + struct.pack(">HB", end + 59, 0))
    write(target, "sealed", b"\1" + struct.pack(">HB", 30, 1) + b"x")
    write(target, "signature", b"\2" + struct.pack(">HB", 63, 1) + b"\xff")


def head():
    patches("head", (("name", 0), ("vault", 16), ("epoch", 48), ("numbers", 52), ("levels", 68), ("root-hash", 69),
                     ("signer", 141), ("policy", 157), ("directory", 189), ("ancestors", 229)), 741)
    write("head", "one-ancestor-less", b"\0" + struct.pack(">HB", 229, 16) + bytes(16))
    write("head", "other-seq", b"\0" + struct.pack(">HB", 59, 1) + b"\1")


def policy():
    patches("policy", (("name", 0), ("vault", 18), ("epoch", 50), ("version", 54), ("count", 62), ("token", 66),
                       ("until", 114)), 178)
    write("policy", "empty", b"\0" + struct.pack(">HB", 62, 4) + bytes(4) + struct.pack(">HB", 66, 0))
    write("policy", "one-token", b"\0" + struct.pack(">HB", 62, 4) + b"\0\0\0\1" + struct.pack(">HB", 122, 0))
    write("policy", "not-ascending", b"\0" + struct.pack(">HB", 66, 1) + b"\4")


def api():
    """A method, a target with its length, a document."""
    def request(name, method, target, document=b""):
        write("api", name, bytes([method, len(target)]) + target + document)

    request("list", 0, b"?page=1&pageSize=%32")
    request("get", 0, b"/stripe%2Dkey")
    request("describe", 0, b"/api/v1/openapi.json")
    request("create", 1, b"", b'{"tag":"a","name":"n","secret":"\x01"}')
    request("update", 2, b"/a", b'{"secret":["\x01",{"\x01":null}],"name":1e9}')
    request("twice", 1, b"", b'{"secret":"\x01","secret":"\\ud83d\\ude00"}')
    request("delete", 3, b"/se0123456789abcdef")


def audit():
    for name, case in VECTORS.items():
        if case["kind"] == "audit":
            encoded = bytes.fromhex(case["expected"]["encoded"])
            write("audit", name, b"\0" + encoded[88:])
            write("audit", f"{name}-signed", b"\1" + encoded + bytes.fromhex(case["expected"]["sig"]))
    plain = encoded + bytes(64)
    write("audit", "padded", b"\2" + lp(plain).ljust(-(-(4 + len(plain)) // 256) * 256, b"\0"))
    write("audit", "sealed", b"\3" + bytes.fromhex(VECTORS["audit"]["expected"]["ct"]))
    write("audit", "many-items", b"\0\1" + lp(b"\1") + b"\2" + lp(bytes(8)) + b"\3" + lp(b"\xff" * 4 + bytes(12)))


def grant():
    """Plaintexts of grants and escrows, valid and not."""
    for name, case in VECTORS.items():
        for number, kind in enumerate(("grant", "escrow")):
            if case["kind"] == f"{kind}-opened" and "padded" in case["expected"]:
                padded = bytes.fromhex(case["expected"]["padded"])
                length = struct.unpack(">I", padded[:4])[0]
                write("grant", name, bytes([number]) + padded[4:4 + length])
                if "error" not in case["expected"] or "padding" in name:
                    write("grant", f"{name}-padded", bytes([2 + number]) + padded)
            elif case["kind"] == kind:
                write("grant", f"{name}-sealed", bytes([4 + number]) + bytes.fromhex(case["expected"]["sealed"]))


def token():
    for name, case in VECTORS.items():
        if case["kind"] == "token":
            write("token", name, b"\0" + case["expected"]["text"].encode())
            write("token", f"{name}-parts", bytes([1, case["input"]["level"] - 1]) + case["expected"]["text"][4:47].encode())
        elif case["kind"] == "token-opened":
            write("token", name, b"\0" + case["input"]["text"].encode())


def imports():
    for number, prefix, name in ((0, 0, "values.env"), (1, 1, "values.json"), (2, 0, "1password.csv"),
                                 (3, 0, "bitwarden.json"), (3, 1, "bitwarden.csv"), (4, 0, "keepass.xml"),
                                 (4, 1, "keepassxc.csv")):
        data = (ROOT / "tests/fixtures/import" / name).read_bytes()
        write("import", name, bytes([number, prefix]) + data)
    write("import", "json-numbers", b"\1\0" + b'{"a": 1.50, "b": null, "c": "\\u00e9\\n", "a_b": "x", "A-B": "y", "d": [1]}')
    write("import", "one-tag", b"\0\0a.b=1\nA_B_3=2\na-b=3\na_b-1=4\na_b=5\n")
    page = (ROOT / "docs/export.md").read_text()
    write("import", "export-document", b"\5\0" + page.split("```json\n")[1].split("```")[0].encode())
    write("import", "age-header", b"\5\0age-encryption.org/v1\n-> scrypt " + b"A" * 22 + b" 10\n" + b"A" * 43
          + b"\n--- " + b"A" * 43 + b"\n" + bytes(48))
    write("import", "xml-entities", b"\4\0" + b"<KeePassFile><Root><Group><Entry><String><Key>Password</Key><Value>&amp;"
          b"&#x41;<![CDATA[<x>]]></Value></String></Entry></Group></Root></KeePassFile>")


def keyring():
    for name, case in VECTORS.items():
        if case["kind"] == "keyring-opened":
            write("keyring", name, b"\0" + bytes.fromhex(case["input"]["encoded"]))
    plain = bytes.fromhex(VECTORS["keyring"]["expected"]["encoded"])
    write("keyring", "padded", b"\1" + lp(plain).ljust(256, b"\0"))
    write("keyring", "sealed", b"\2" + bytes.fromhex(VECTORS["project-entry"]["expected"]["val"]))


def manifest():
    page = (ROOT / "docs/integrations.md").read_text()
    write("manifest", "integrations", page.split("```toml\n")[1].split("```")[0])
    write("manifest", "every-key", 'project = "web"\n[secrets.database-url]\ndescription = "PostgreSQL URL"\n'
          '[secrets.session-key]\ngenerate = { length = 64, alphabet = "hex" }\n[secrets.dsn]\noptional = true\n'
          '[[render]]\ntemplate = "./config/app.env.tmpl"\noutput = ".env"\nmode = "640"\nescape = "json"\n'
          'delimiters = "[[,]]"\nnamespaced = true\n[run.env]\nB = "{{ secrets.database-url }}"\nA = \'1\'\n')
    write("manifest", "a-value-in-it", '[secrets.key]\nvalue = "sk_live_1234567890"\n')
    write("manifest", "a-text-for-a-table", '[secrets]\nkey = "sk_live_1234567890"\n')
    write("manifest", "wrong-types", 'project = ["x"]\nsecrets.a = """x"""\nrun = "y"\n')
    write("manifest", "not-a-word", '[secrets.a]\ngenerate = { alphabet = "x expected y" }\n')
    write("manifest", "unclosed", '[run.env]\nA = "\\q\nB = "{{ secrets.! }}"\n')


def mask():
    values = [b"s3cret/with+odd characters", b"line one\nline \"two\"", b"s3cret/with"]
    head = bytes([2]) + b"".join(bytes([len(value)]) + value for value in values)
    write("mask", "whole-and-halves", head + b"\3\1" + b"a \xf8 b \xf9\xfa c \xfb\xfd\xfc\xfe d \xf8\xf8")
    write("mask", "forms", head + b"\0\2" + b"s3cret%2Fwith%2Bodd%20characters czNjcmV0L3dpdGgrb2RkIGNoYXJhY3RlcnM= "
          b'line one\\nline \\"two\\" 7333637265742f77697468')
    write("mask", "short", bytes([0, 7]) + b"hunter2" + b"\5\0hunter2 hunter2")


def mcp():
    """Lines of JSON-RPC."""
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}

    def lines(name, *messages):
        write("mcp", name, b"\n".join(json.dumps({"jsonrpc": "2.0"} | one, separators=(",", ":")).encode() for one in messages))

    lines("handshake", {"id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}},
          {"method": "notifications/initialized"}, {"id": "x", "method": "ping"})
    lines("stateless", {"id": 1, "method": "server/discover", "params": {"_meta": meta}},
          {"id": 2, "method": "tools/list", "params": {"_meta": meta}})
    lines("call", {"id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"a": [1]}}},
          {"method": "notifications/cancelled", "params": {"requestId": 1}})
    write("mcp", "garbage", b'[{"jsonrpc":"2.0"}]\n{"id":null,"method":1}\n\xff\n{')


def metadata():
    for name, case in VECTORS.items():
        if case["kind"] == "metadata":
            write("metadata", name, b"\0" + bytes.fromhex(case["expected"]["encoded"]))
        elif case["kind"] == "metadata-opened":
            write("metadata", name, b"\1" + bytes.fromhex(case["expected"]["padded"]))
        elif case["kind"] == "value-opened" and "padded" in case["expected"]:
            write("metadata", name, b"\3" + bytes.fromhex(case["expected"]["padded"]))
        elif case["kind"] == "project-entry":
            write("metadata", name, b"\4" + bytes.fromhex(case["expected"]["encoded"]))
        elif case["kind"] == "project-entry-opened":
            write("metadata", name, b"\4" + bytes.fromhex(case["input"]["encoded"]))
    write("metadata", "value", b"\2a value")
    write("metadata", "value-padded", b"\3" + lp(b"a value").ljust(256, b"\0"))


def git():
    write("git", "config", b"\0[core]\n\tbare = false ; c\n excludesFile = \"~/a b\"\n[include] path = x\\\n y\n[remote \"o\"]\n url=z\n")
    entry = lambda name, mode=0o100644, flags=0, more=b"": (
        bytes(24) + struct.pack(">I", mode) + bytes(12) + b"i" * 20 + struct.pack(">H", flags | len(name)) + more + name)
    padded = lambda data: data + bytes(8 - len(data) % 8)
    head = lambda version, count: b"DIRC" + struct.pack(">II", version, count)
    two = head(2, 2) + padded(entry(b"a/b")) + padded(entry(b"c", 0o120000)) + bytes(20)
    three = head(3, 1) + padded(entry(b"a", 0o100644, 0x4000, b"\x60\0")) + bytes(20)
    four = head(4, 2) + entry(b"", 0o100644, 0, b"\0a/b\0") + entry(b"", 0o040000, 0, b"\1c/\0") + b"sdir" + bytes(4) + bytes(20)
    bits = lambda word: struct.pack(">IIQQI", 64, 2, 1 << 33, word, 0)
    link = b"i" * 20 + bits(1) + bits(2)
    split = head(2, 2) + padded(entry(b"")) + padded(entry(b"z")) + b"link" + struct.pack(">I", len(link)) + link + bytes(20)
    for name, data in (("two", two), ("three", three), ("four", four)):
        write("git", f"index-{name}", b"\1\0\0" + data)
    write("git", "index-split", b"\1" + struct.pack(">H", len(two)) + two + split)
    write("git", "tree", b"\2100644 a\0" + b"i" * 20 + b"40000 b\0" + b"i" * 20)
    write("git", "delta", b"\3\x13the quick brown fox\x13\x12\x90\x04\x05slow \x91\x0a\x09")
    blob = b"\xb3\x01" + zlib.compress(b"the quick brown fox")
    change = zlib.compress(b"\x13\x12\x90\x04\x05slow \x91\x0a\x09")
    near = b"\x6d" + bytes([len(blob)]) + change
    named = b"\x7d" + b"\x10" * 20 + change
    data = b"PACK" + struct.pack(">II", 2, 3) + blob + near + named
    write("git", "pack", b"\4" + struct.pack(">HHHH", 12, 12 + len(blob), 12 + len(blob) + len(near), 12) + data)
    write("git", "pack-circle", b"\4" + struct.pack(">HHHH", 12, 12 + len(named), 12, 12)
          + b"PACK" + bytes(8) + b"\x7d" + b"\x11" * 20 + change + named)


def slot():
    for name, shape, m, t, p in (("default", 0, 65536, 3, 4), ("least", 0, 19456, 1, 1), ("less", 0, 19455, 1, 1),
                                 ("most", 0, 2097152, 4, 16), ("more", 0, 2097152, 5, 16), ("all", 0, 2**32 - 1, 64, 16)):
        write("slot", name, bytes(4) + bytes([shape]) + struct.pack(">III", m, t, p) + b"i" * 16 + b"s" * 16 + b"c" * 32)
    write("slot", "lengths", bytes([15, 17, 33, 39, 2 + 4 + 8 + 16]) + struct.pack(">III", 65536, 3, 4) + b"x" * 99)
    write("slot", "long-parameters", bytes(4) + bytes([1, 13]) + b"\0" * 80)


def template():
    example = (ROOT / "examples/app.env.tmpl").read_bytes()
    write("template", "example", b"\0\7" + example)
    write("template", "escapes", b"\0\1" + rb"\{{ secrets.x }} \\{{X}} $\{{ X }} ${{{X}}} {{{{X}}}} \{{ .v }} {{A}}\{{B}}")
    write("template", "malformed", b"\0\2{{ secrets.\n{{ secrets.x | upper }} {{ secrets.{{X}} {{ secrets.se0123456789abcdef }}")
    write("template", "filters", b"\x08\x03{{ X | json | shell|url\t| base64|trim }}{{secrets.my-secret}}")
    write("template", "brackets", b"\x02\x04[[X]] [[[X]]] $[[ secrets.x | url ]] {{X}}")
    write("template", "one-sign", b"\x03\x05%X%Y%%secrets.x%%")
    write("template", "again-and-again", b"\x80\x06{{{{ secrets.")
    for before in (1, 2, 9, 20):
        write("template", f"window-ends-after-{before}", bytes([0x40, 40, before]) + rb"\{{ secrets.x }} {{ Y }}")
    write("template", "namespaced", b"\x10\x08{{ X }} {{ secrets.X }}")


def vault():
    patch = lambda page, at, data: bytes([0, page]) + struct.pack(">HB", at, len(data)) + data
    cases = {
        "as-it-is": b"", "patched": patch(9, 4000, b"xyz"), "flipped": bytes([1, 3]) + struct.pack(">HB", 4090, 1),
        "cells": bytes([2, 5, 1, 0, 200]), "pointer": bytes([3, 5, 4, 1, 0]), "kind": bytes([4, 6, 2]),
        "loop": bytes([5, 6, 7]), "copied": bytes([6, 10, 11]), "swapped": bytes([7, 10, 11]),
        "emptied": bytes([2, 5, 1, 0, 0, 4, 6, 2, 2, 6, 1, 0, 0]),
        "cut": bytes([8, 14, 0, 100]), "grown": bytes([9, 10]), "wal": bytes([10, 0, 1]) + b"\2\2",
        "free-pages": bytes([10, 0, 5, 0, 0, 0, 5]), "moved": bytes([11, 10]) + struct.pack(">HBHB", 3000, 11, 3000, 250),
        "schema": patch(0, 3900, b"CREATE VIEW"), "journal": bytes([12]) + struct.pack(">IIIII", 1, 0, 16, 512, 4096),
    }
    for name, mutation in cases.items():
        write("vault", name, b"\0" + mutation)
    write("vault", "written", b"\1" + cases["loop"])


def uses():
    for kind, offsets in ((0, (0, 5, 13, 18, 24, 29, 37, 42)), (1, (0, 8, 24, 28, 36, 68, 72, 76, 84, 108, 364, 396)), (2, (0, 16, 20, 28, 36, 68, 100))):
        write("uses", f"{kind}-as-it-is", bytes([kind]))
        write("uses", f"{kind}-cut", bytes([kind]) + struct.pack(">HB", 30, 0))
        for offset in offsets:
            write("uses", f"{kind}-at-{offset}", bytes([kind]) + struct.pack(">HB", offset, 1) + b"\1")


def rows():
    """What is read, how the server answers, from which answer and for how many it lies, and changes of rows."""
    head = lambda chosen, how: bytes([chosen, how, 0, 255])
    column = lambda table, row, number, at, data: bytes([0, table, row, number]) + struct.pack(">HB", at, len(data)) + data
    cases = {"as-it-is": b"", "own-row": column(8, 0, 0, 3, b"x"), "suite": column(8, 0, 1, 3, b"\2"),
             "sealed": column(5, 4, 6, 30, b"x"), "version": column(5, 4, 4, 7, b"\7"), "value": column(6, 4, 1, 40, b"x"),
             "swapped-values": bytes([1, 6, 4, 1, 5]), "moved-record": bytes([1, 5, 4, 0, 0]), "old-head": bytes([1, 1, 1, 2, 2]),
             "policy-of-another": bytes([1, 3, 0, 2, 1]), "log": column(4, 2, 3, 50, b"x"), "removed": bytes([2, 5, 5, 0]),
             "twice": bytes([3, 5, 5, 0]), "two-heads": bytes([3, 1, 1, 0]), "two-policies": bytes([3, 3, 1, 0]),
             "order": bytes([4, 2, 1, 2]), "no-rows": bytes([5, 5, 0, 0]), "no-projects": bytes([5, 1, 1, 0]),
             "no-grant": bytes([5, 7, 0, 0]), "grant": column(7, 0, 2, 60, b"x"), "generation": column(7, 0, 1, 7, b"\3")}
    for name, change in cases.items():
        for how in (0, 3, 4, 7):
            write("rows", f"{name}-{how}", head(2, how) + change)
    for name in ("as-it-is", "value", "log", "removed"):
        write("rows", f"{name}-written", head(1, 1) + cases[name])
        write("rows", f"{name}-refused", head(1, 8) + cases[name])
        write("rows", f"{name}-later", bytes([1, 1, 2, 2]) + cases[name])


def link():
    """Messages in postcard's encoding."""
    pid, rid = bytes(range(16)), bytes(range(8))
    scope = b"\1" + pid + b"\2ss\5\1" + b"\1" + pid + b"\2" + b"\1" + rid + b"\1\3"
    write("link", "request-read", b"\0\1\0" + scope + b"\1\0")
    write("link", "request-write", b"\0\1\1\1\0\0\0\0\0\2\5\1" + rid + b"\6")
    write("link", "request-many", b"\0\0\0\0\0\0\0\xff\xff\xff\xff\x0f")
    write("link", "update-empty", b"\1" + bytes(24))
    write("link", "update-large", b"\1\1\1" + pid + b"\xff\xff\xff\xff\x0f")
    write("link", "rows-empty", b"\2" + bytes(11))
    write("link", "rows", b"\2\1" + pid + b"\1\2xx\0\1" + pid + b"\1" + pid + b"\1\2hh\2ss" + bytes(7))
    write("link", "handover", b"\3\x0d/run/u/x.sock\3adr\x80\x04")


def ticket():
    host = lambda name, port: lp(name) + struct.pack(">H", port)
    server = struct.pack(">I", 2) + host(b"db.example.com", 5432) + host(b"::1", 5433) + lp(b"app") + lp(b"vault") + struct.pack(">I", 10)
    socket = struct.pack(">I", 1) + host(b"/run/postgresql", 5432) + lp(b"app") + lp(b"vault") + struct.pack(">I", 600)
    write("ticket", "word", b"\0srt_AQMDAwMDAwMDAwMDAwMDAwMAAAAAAAAABw")
    write("ticket", "address-plain", b"\1\1" + socket + b"\0\0")
    write("ticket", "address-tls", b"\1\1" + server + b"\1\0\0\0")
    write("ticket", "address-password", b"\1\1" + server + b"\1\0\0\1" + lp(b"password"))
    write("ticket", "address-certificates", b"\1\1" + server + b"\1\1" + lp(b"-----BEGIN") + b"\1" + lp(b"a") + lp(b"b") + b"\0")
    for name, url in (("named", "postgres://app@db.example.com:5433/vault?connect_timeout=5"),
                      ("hosts", "postgresql://app@a,[::1]:6000,10.0.0.1/vault?sslmode=verify-full&channel_binding=require"),
                      ("socket", "postgres://app@/vault?host=/run/postgresql&port=5433"),
                      ("escaped", "postgres://a%40b@h/v%C3%A4?sslmode=disable"), ("password", "postgres://app:x@h/v"),
                      ("wrong", "postgres://app@h:0/v?x=%zz")):
        write("ticket", f"url-{name}", b"\2" + url.encode())
    write("ticket", "witness", b"\3" + b"42-" + b"abcdefghijklmnopqrstuvwxyz234567")
    write("ticket", "witness-zeros", b"\3" + b"00-" + b"a" * 32)


if __name__ == "__main__":
    makers = {"agent": agent, "answer": answer, "api": api, "audit": audit, "dotenv": dotenv, "git": git, "grant": grant, "head": head, "import": imports, "keyring": keyring, "link": link,
              "manifest": manifest, "mask": mask, "mcp": mcp, "metadata": metadata, "path": path, "policy": policy, "request": request, "rows": rows,
              "slot": slot, "template": template, "ticket": ticket,
              "token": token, "uses": uses, "vault": vault}
    for target, make in makers.items():
        shutil.rmtree(FUZZ / "corpus" / target, ignore_errors=True)
        (FUZZ / "corpus" / target).mkdir(parents=True)
        make()
