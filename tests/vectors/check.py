#!/usr/bin/env python3
"""A second implementation of the vault format, written from docs/format.md alone.

    check.py                                      recompute every known answer in this folder
    check.py --write                              write them again; the bytes are the same every time
    check.py --open VAULT --passphrase-file FILE  verify a whole vault and print its content as JSON

Needs Python's `cryptography`, version 44 or later. Each file holds one known answer. Its `kind` names the computation
(KINDS), and `section` names the section of the page. Bytes are in hex. Labels, names and metadata fields are text.
Nothing here is hardened. The code is for reading and comparing, not for keeping secrets.
"""

import argparse
import base64
import hashlib
import hmac
import json
import re
import sqlite3
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

Data = dict[str, Any]

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "docs" / "format.md"
TEXT = {"label", "name", "text", "fields", "spellings", "error"}  # members of a known answer that are not hex
SUITE, PASSPHRASE, RECOVERY = 1, 1, 2
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
APPLICATION_ID, USER_VERSIONS = 0x53435254, (1, 2)
FIELDS = ["tag", "name", "description", "hint", "created", "updated"]  # metadata, types 1 to 6


class Refused(Exception):
    """The reason for a refusal: a code, and for a vault also the place."""


def need(condition: bool, code: str = "damaged", where: str = "") -> None:
    if not condition:
        raise Refused(code, where)


# Section 2: notation


def u32(number: int) -> bytes:
    return number.to_bytes(4, "big")


def u64(number: int) -> bytes:
    return number.to_bytes(8, "big")


def lp(data: bytes) -> bytes:
    return u32(len(data)) + data


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def expand(key: bytes, label: str, ctx: bytes, length: int = 32) -> bytes:
    return HKDFExpand(SHA256(), length, b"secrets/v1/" + label.encode() + b"\0" + ctx).derive(key)


def aad(vault_id: bytes, label: str, ctx: bytes) -> bytes:
    return b"secrets/v1\0" + label.encode() + b"\0" + vault_id + ctx


def aead(key: bytes, label: str, salt: bytes) -> tuple[bytes, bytes]:
    both = expand(key, "aead", label.encode() + b"\0" + salt, 44)
    return both[:32], both[32:]


def seal(key: bytes, vault_id: bytes, label: str, ctx: bytes, plaintext: bytes, salt: bytes) -> bytes:
    message_key, nonce = aead(key, label, salt)
    return salt + AESGCM(message_key).encrypt(nonce, plaintext, aad(vault_id, label, ctx))


def unseal(key: bytes, vault_id: bytes, label: str, ctx: bytes, sealed: bytes) -> bytes:
    need(len(sealed) >= 24 + 16, "damaged", f"{label}: seal")
    message_key, nonce = aead(key, label, sealed[:24])
    try:
        plaintext: bytes = AESGCM(message_key).decrypt(nonce, sealed[24:], aad(vault_id, label, ctx))
    except InvalidTag:
        raise Refused("damaged", f"{label}: seal") from None
    return plaintext


def pad(data: bytes, size: Callable[[int], int]) -> bytes:
    return lp(data).ljust(size(4 + len(data)), b"\0")


def unpad(padded: bytes, size: Callable[[int], int]) -> bytes:
    need(len(padded) >= 4)
    data = padded[4 : 4 + int.from_bytes(padded[:4], "big")]
    need(pad(data, size) == padded, "damaged", "padding")
    return data


# Section 3: keys


def slot_keys(row: Data, vault_id: bytes, passphrase: bytes) -> tuple[bytes, bytes]:
    """Returns the key that wraps the root key, and the commitment. A recovery slot's passphrase is 32 bytes of code."""
    need(len(row["salt"]) == len(row["slot_id"]) == 16)
    if row["type"] == RECOVERY:
        need(row["params"] == b"")
        prk = mac(vault_id, passphrase)
        return expand(prk, "slot-kek", row["slot_id"]), expand(prk, "slot-commit", row["slot_id"])
    need(row["type"] == PASSPHRASE, "unsupported")
    need(len(row["params"]) == 12, "unsupported")
    m, t, p = (int.from_bytes(row["params"][at : at + 4], "big") for at in (0, 4, 8))
    need(19 << 10 <= m <= 2 << 20 and 1 <= t <= 64 and 1 <= p <= 16 and m * t <= 1 << 23, "unsupported")
    normal = unicodedata.normalize("NFC", passphrase.decode()).encode()
    need(1 <= len(normal) <= 1024, "wrong-passphrase")
    stretched = Argon2id(salt=row["salt"], length=32, iterations=t, lanes=p, memory_cost=m).derive(normal)
    prk = mac(vault_id, stretched)  # HKDF-Extract
    return expand(prk, "slot-kek", row["slot_id"]), expand(prk, "slot-commit", row["slot_id"])


def recovery_text(code: bytes) -> str:
    number = int.from_bytes(code + sha256(b"secrets/v1/recovery\0" + code)[:3], "big")
    digits = "".join(CROCKFORD[number >> 5 * at & 31] for at in reversed(range(56)))
    return "-".join(digits[at : at + 4] for at in range(0, 56, 4))


def slot_ctx(row: Data) -> bytes:
    return b"".join([row["slot_id"], u32(row["type"]), row["params"], row["salt"]])


def open_slot(row: Data, vault_id: bytes, passphrase: bytes) -> bytes:
    kek, commitment = slot_keys(row, vault_id, passphrase)
    wrong = "wrong-recovery-code" if row["type"] == RECOVERY else "wrong-passphrase"
    need(hmac.compare_digest(commitment, row["commitment"]), wrong)
    root_key = unseal(kek, vault_id, "slot", slot_ctx(row), row["wrap"])
    need(len(root_key) == 32)
    return root_key


def public_key(seed: bytes) -> Ed25519PublicKey:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key()


# Section 4: sealed data


def record_size(length: int) -> int:
    return -(-length // 256) * 256


def value_size(length: int) -> int:
    if length <= 256:
        return 256
    if length <= 4096:
        return 1 << (length - 1).bit_length()
    e = length.bit_length() - 1
    step = 1 << (e - e.bit_length())  # S = floor(log2 E) + 1, the number of bits of E
    return -(-length // step) * step


def encode_fields(fields: Data) -> bytes:
    encoded = b""
    for kind, name in enumerate(FIELDS, 1):
        if name in fields:
            encoded += bytes([kind]) + lp(u64(fields[name]) if kind > 4 else fields[name].encode())
    return encoded


def decode_fields(encoded: bytes) -> Data:
    fields: Data = {}
    at = last = 0
    while at < len(encoded):
        kind, length = encoded[at], int.from_bytes(encoded[at + 1 : at + 5], "big")
        field = encoded[at + 5 : at + 5 + length]
        need(last < kind <= len(FIELDS) and at + 5 + length <= len(encoded))
        need(kind <= 4 or length == 8)
        try:
            fields[FIELDS[kind - 1]] = field.decode() if kind <= 4 else int.from_bytes(field, "big")
        except UnicodeDecodeError:
            raise Refused("damaged") from None
        at, last = at + 5 + length, kind
    need(fields.keys() >= {"tag", "hint", "created", "updated"})
    return fields


def record_ctx(row: Data, version: int) -> bytes:
    return b"".join([row["pid"], row["rid"], u32(row["epoch"]), u64(version)])


def open_metadata(pmk: bytes, vault_id: bytes, row: Data, sealed: bytes) -> Data:
    return decode_fields(unpad(unseal(pmk, vault_id, "meta", record_ctx(row, row["ver"]), sealed), record_size))


def open_value(pvk: bytes, vault_id: bytes, row: Data, sealed: bytes) -> bytes:
    return unpad(unseal(pvk, vault_id, "value", record_ctx(row, row["vver"]), sealed), value_size)


def open_keyring(root_key: bytes, vault_id: bytes, pid: bytes, epoch: int, sealed: bytes) -> Data:
    ring = unpad(unseal(expand(root_key, "projects", b""), vault_id, "project", pid + u32(epoch), sealed), record_size)
    need(len(ring) >= 96)
    return {"pmk": ring[:32], "pvk": ring[32:64], "psk": ring[64:96], "name": ring[96:].decode()}


def tag_key(tag: str) -> str:
    return re.sub("[A-Z]", lambda letter: letter[0].lower(), tag).replace("-", "_")


def tag_index(pmk: bytes, pid: bytes, tag: str) -> bytes:
    return mac(expand(pmk, "tag-index", pid), tag_key(tag).encode())[:16]


# Section 5: integrity


def leaf(vault_id: bytes, row: Data) -> bytes:
    numbers = u32(row["epoch"]) + u64(row["ver"]) + u64(row["vver"])
    content = lp(row["tag_ix"]) + lp(row["meta"]) + row["val_hash"]
    return sha256(b"secrets/v1/leaf\0" + vault_id + row["pid"] + row["rid"] + numbers + content)


def bucket(pid: bytes, b: int, rows: list[Data]) -> bytes:
    if not rows:
        return bytes(32)
    entries = (row["tag_ix"] + row["rid"] + row["leaf"] for row in sorted(rows, key=lambda row: row["tag_ix"]))
    return sha256(b"secrets/v1/bucket\0" + pid + bytes([b]) + u32(len(rows)) + b"".join(entries))


def top(pid: bytes, buckets: dict[int, bytes]) -> bytes:
    return sha256(b"secrets/v1/top\0" + pid + b"".join(buckets.get(b, bytes(32)) for b in range(256)))


HEAD = [("epoch", 4), ("seq", 8), ("count", 8), ("top", 32), ("audit_head", 32), ("time", 8), ("signer_id", 16)]
FORMAT_1 = HEAD + [("previous", 32)]
HEAD += [("ancestors", 32 * 16)]
NUMBERS = {"epoch", "seq", "count", "time"}


def encode_head(vault_id: bytes, pid: bytes, head: Data) -> bytes:
    members = (head[name].to_bytes(size, "big") if name in NUMBERS else head[name] for name, size in (FORMAT_1 if "previous" in head else HEAD))
    return b"secrets/v1/head\0" + vault_id + pid + b"".join(members)


def open_head(keys: Data, vault_id: bytes, pid: bytes, epoch: int, sealed: bytes, signature: bytes) -> Data:
    encoded = unseal(keys["pmk"], vault_id, "head", pid + u32(epoch), sealed)
    try:
        # This is strict for a key that was made from its own seed: OpenSSL refuses other encodings of R and S, and no
        # seed gives a key of small order.
        public_key(keys["psk"]).verify(signature, encoded)
    except InvalidSignature:
        raise Refused("damaged", "head: signature") from None
    need(len(encoded) in (668, 188))
    head, at = {}, 48
    for name, size in HEAD if len(encoded) == 668 else FORMAT_1:
        head[name] = int.from_bytes(encoded[at : at + size], "big") if name in NUMBERS else encoded[at : at + size]
        at += size
    need(encode_head(vault_id, pid, head) == encoded and head["epoch"] == epoch)
    return head


def root_mac(root_key: bytes, vault: Data, slots: list[Data], projects: list[Data], grants: list[Data]) -> bytes:
    def table(rows: list[Data], *columns: str) -> Iterator[bytes]:
        yield u32(len(rows))
        for row in sorted(rows, key=lambda row: row[columns[0]]):
            yield b"".join(lp(encode.get(name, bytes)(row[name])) for name in columns)

    encode: dict[str, Callable[[Any], bytes]] = {"type": u32, "epoch": u32, "gen": u64}
    parts = [b"secrets/v1/root\0", lp(vault["vault_id"]), lp(u32(vault["suite"])), lp(u64(vault["root_seq"]))]
    parts += [lp(vault["ancestors"]), lp(vault["anchor_past"])] if "ancestors" in vault else []
    parts += table(slots, "slot_id", "type", "params", "salt", "commitment", "wrap")
    parts += table(projects, "pid", "epoch", "keys")
    parts += table(grants, "token_id", "gen", "bundle", "admin")
    return mac(expand(root_key, "root-mac", b""), b"".join(parts))


# A whole vault: section 5, "What a reader checks", for a full list


def open_vault(path: Path, passphrase: bytes) -> Data:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.execute("BEGIN")

    def rows(query: str, *values: Any) -> list[Data]:
        return [dict(row) for row in connection.execute(query, values)]

    need(rows("PRAGMA application_id") == [{"application_id": APPLICATION_ID}], "unsupported", "application_id")
    need(rows("PRAGMA user_version")[0]["user_version"] in USER_VERSIONS, "unsupported", "user_version")
    schema = re.findall(r"^(CREATE TABLE (\w+)\(.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    objects = {("table", name, name, sql) for sql, name in schema}
    objects |= {("index", "sqlite_autoindex_records_1", "records", None)}  # created by SQLite for `rid UNIQUE`
    found = {tuple(row.values()) for row in rows("SELECT type, name, tbl_name, sql FROM sqlite_schema")}
    need(len(schema) == 8 and found == objects, "damaged", "schema")

    vaults, slots, grants = rows("SELECT * FROM vault"), rows("SELECT * FROM slots"), rows("SELECT * FROM grants")
    projects = rows("SELECT * FROM projects")
    need(len(vaults) == 1 and len(vaults[0]["vault_id"]) == 16 and not rows("SELECT * FROM audit"), "damaged", "vault")
    need(vaults[0]["suite"] == SUITE, "unsupported", "suite")
    stored, behind = vaults[0]["root_mac"][:32], vaults[0]["root_mac"][32:]
    need(len(stored) == 32 and (not behind or len(behind) >= 32 * 16), "damaged", "root MAC")
    vaults[0] |= {"ancestors": behind[: 32 * 16], "anchor_past": behind[32 * 16 :]} if behind else {}
    root_key = open_any_slot(slots, vaults[0]["vault_id"], passphrase)
    need(root_mac(root_key, vaults[0], slots, projects, grants) == stored, "damaged", "root MAC")
    listed = [list_project(root_key, vaults[0]["vault_id"], project, rows) for project in projects]
    return {"projects": sorted(listed, key=lambda project: project["name"])}


def open_any_slot(slots: list[Data], vault_id: bytes, passphrase: bytes) -> bytes:
    for slot in (slot for slot in slots if slot["type"] == PASSPHRASE):
        try:
            return open_slot(slot, vault_id, passphrase)
        except Refused as refused:
            need(refused.args[0] == "wrong-passphrase", refused.args[0], f"slot {slot['slot_id'].hex()}")
    raise Refused("wrong-passphrase", "no slot")


def list_project(root_key: bytes, vault_id: bytes, project: Data, rows: Callable[..., list[Data]]) -> Data:
    pid, epoch = project["pid"], project["epoch"]
    need(len(pid) == 16, "damaged", "pid")
    keys = open_keyring(root_key, vault_id, pid, epoch, project["keys"])
    head = open_head(keys, vault_id, pid, epoch, project["head"], project["sig"])
    need(head["signer_id"] == bytes(16) and head["audit_head"] == bytes(32), "damaged", "signer")
    buckets = {row["b"]: row["h"] for row in rows("SELECT b, h FROM buckets WHERE pid = ?", pid)}
    need(all(0 <= b < 256 and len(h) == 32 and any(h) for b, h in buckets.items()), "damaged", "buckets")
    need(top(pid, buckets) == head["top"], "damaged", "top")
    records = rows("SELECT * FROM records WHERE pid = ?", pid)
    need(len(records) == head["count"], "damaged", "count")
    sizes = {"rid": 8, "tag_ix": 16, "val_hash": 32, "leaf": 32}
    need(all(len(row[column]) == size for row in records for column, size in sizes.items()), "damaged", "sizes")
    for b in range(256):
        inside = [row for row in records if row["tag_ix"][0] == b]
        need(bucket(pid, b, inside) == buckets.get(b, bytes(32)), "damaged", f"bucket {b}")
    secrets = sorted((open_record(vault_id, keys, row, rows) for row in records), key=lambda one: tag_key(one["tag"]))
    return {"name": keys["name"], "seq": head["seq"], "count": head["count"], "secrets": secrets}


def open_record(vault_id: bytes, keys: Data, row: Data, rows: Callable[..., list[Data]]) -> Data:
    name = "se" + row["rid"].hex()
    need(leaf(vault_id, row) == row["leaf"], "damaged", f"{name}: leaf")
    fields = open_metadata(keys["pmk"], vault_id, row, row["meta"])
    need(tag_index(keys["pmk"], row["pid"], fields["tag"]) == row["tag_ix"], "damaged", f"{name}: tag")
    values = rows("SELECT val FROM vals WHERE rid = ?", row["rid"])
    need(len(values) == 1 and sha256(values[0]["val"]) == row["val_hash"], "damaged", f"{name}: value")
    value = open_value(keys["pvk"], vault_id, row, values[0]["val"])
    return {"id": name, **fields, "value": base64.b64encode(value).decode()}


# Known answers: the computation of each kind


def known_value(i: Data) -> Data:
    ctx, padded = record_ctx(i, i["vver"]), pad(i["value"], value_size)
    key, nonce = aead(i["pvk"], "value", i["salt"])
    sealed = seal(i["pvk"], i["vault_id"], "value", ctx, padded, i["salt"])
    return {"key": key, "nonce": nonce, "aad": aad(i["vault_id"], "value", ctx), "padded": padded, "sealed": sealed}


def known_metadata(i: Data) -> Data:
    encoded, ctx = encode_fields(i["fields"]), record_ctx(i, i["ver"])
    sealed = seal(i["pmk"], i["vault_id"], "meta", ctx, pad(encoded, record_size), i["salt"])
    return {"encoded": encoded, "sealed": sealed}


def known_slot(i: Data) -> Data:
    kek, commitment = slot_keys(i, i["vault_id"], i["passphrase"])
    wrap = seal(kek, i["vault_id"], "slot", slot_ctx(i), i["root_key"], i["wrap_salt"])
    return {"kek": kek, "commitment": commitment, "wrap": wrap}


def known_recovery(i: Data) -> Data:
    return {"text": recovery_text(i["code"]), **known_slot(i | {"passphrase": i["code"]})}


def known_checkpoint(i: Data) -> Data:
    seen = u64(i["root_seq"]) + i["root_mac"] + i["ancestors"] + u32(len(i["projects"]))
    for row in i["projects"]:
        seen += row["pid"] + lp(row["name"].encode()) + u64(row["seq"]) + row["head"] + row["ancestors"] + row["sealed"]
    key = expand(i["root_key"], "anchor", b"")
    keys = b"".join(expand(past["root_key"], "anchor", b"") for past in i["past_roots"])
    past = seal(key, i["vault_id"], "anchor-past", b"", keys, i["salt"])
    return {"key": key, "anchor": seal(key, i["vault_id"], "anchor", i["place"], seen, i["salt"]), "past": past}


def known_keyring(i: Data) -> Data:
    key = expand(i["root_key"], "projects", b"")
    padded = pad(i["pmk"] + i["pvk"] + i["psk"] + i["name"].encode(), record_size)
    sealed = seal(key, i["vault_id"], "project", i["pid"] + u32(i["epoch"]), padded, i["salt"])
    return {"key": key, "ppk": public_key(i["psk"]).public_bytes_raw(), "sealed": sealed}


def known_head(i: Data) -> Data:
    encoded = encode_head(i["vault_id"], i["pid"], i)
    sealed = seal(i["pmk"], i["vault_id"], "head", i["pid"] + u32(i["epoch"]), encoded, i["salt"])
    return {"encoded": encoded, "sealed": sealed, "sig": Ed25519PrivateKey.from_private_bytes(i["psk"]).sign(encoded)}


def known_opened(i: Data, key: str, label: str, version: str, read: Callable[[bytes], Data]) -> Data:
    """Includes the content of the seal, so that a refusal is about the content and not about the seal."""
    padded = unseal(i[key], i["vault_id"], label, record_ctx(i, i[version]), i["sealed"])
    try:
        return {"padded": padded, **read(padded)}
    except Refused as refused:
        return {"padded": padded, "error": refused.args[0]}


def known_metadata_opened(i: Data) -> Data:
    return known_opened(i, "pmk", "meta", "ver", lambda padded: {"fields": decode_fields(unpad(padded, record_size))})


def known_value_opened(i: Data) -> Data:
    return known_opened(i, "pvk", "value", "vver", lambda padded: {"value": unpad(padded, value_size)})


KINDS: dict[str, Callable[[Data], Data]] = {
    "expand": lambda i: {"output": expand(i["key"], i["label"], i["ctx"], i["length"])},
    "slot": known_slot,
    "slot-opened": lambda i: {"root_key": open_slot(i, i["vault_id"], i["passphrase"])},
    "recovery": known_recovery,
    "recovery-opened": lambda i: {"root_key": open_slot(i, i["vault_id"], i["code"])},
    "checkpoint": known_checkpoint,
    "keyring": known_keyring,
    "metadata": known_metadata,
    "metadata-opened": known_metadata_opened,
    "value": known_value,
    "value-opened": known_value_opened,
    "value-sizes": lambda i: {"padded": [value_size(4 + length) for length in i["lengths"]]},
    "tag-index": lambda i: {"tag_ix": [tag_index(i["pmk"], i["pid"], tag) for tag in i["spellings"]]},
    "leaf": lambda i: {"leaf": leaf(i["vault_id"], i)},
    "bucket": lambda i: {"bucket": bucket(i["pid"], i["b"], i["records"])},
    "root_hash": lambda i: {"top": top(i["pid"], {row["b"]: row["h"] for row in i["buckets"]})},
    "head": known_head,
    "head-opened": lambda i: open_head(i, i["vault_id"], i["pid"], i["epoch"], i["sealed"], i["sig"]),
    "root-mac": lambda i: {"root_mac": root_mac(i["root_key"], i, i["slots"], i["projects"], i["grants"])},
}


def fixed(name: str, length: int) -> bytes:
    return hashlib.shake_128(name.encode()).digest(length)


def cases() -> Iterator[tuple[str, str, str, str, Data]]:
    """Yields the name, kind, section, description and input of every known answer."""
    vault_id, pid, root_key = fixed("vault", 16), fixed("project", 16), fixed("root", 32)
    rid, salt = fixed("record", 8), fixed("salt", 24)
    ring = {"pmk": fixed("pmk", 32), "pvk": fixed("pvk", 32), "psk": fixed("psk", 32)}
    pmk, pvk, psk = ring.values()

    yield "expand", "expand", "2", "EXP", {"key": root_key, "label": "slot-kek", "ctx": fixed("slot", 16), "length": 32}
    ctx = b"value\0" + salt
    yield "expand-44", "expand", "2", "EXP of a seal", {"key": pvk, "label": "aead", "ctx": ctx, "length": 44}

    least, default = (b"".join(map(u32, numbers)) for numbers in [(19456, 1, 1), (65536, 3, 4)])
    passphrase = "Zu\u0308rich, A\u030angstro\u0308m, \u2126".encode()  # decomposed; NFC makes it shorter
    slot: Data = {"vault_id": vault_id, "slot_id": fixed("slot", 16), "type": PASSPHRASE, "params": least}
    slot |= {"salt": fixed("argon", 16), "passphrase": passphrase}
    made = {"root_key": root_key, "wrap_salt": salt}
    yield "slot", "slot", "3", "Argon2id's lower bound, a passphrase that needs NFC", slot | made
    yield "slot-default", "slot", "3", "Argon2id as new vaults have it", slot | {"params": default} | made
    opened = known_slot(slot | made)
    slot |= {"commitment": opened["commitment"], "wrap": opened["wrap"]}
    composed = unicodedata.normalize("NFC", passphrase.decode()).encode()
    yield "slot-composed", "slot-opened", "3", "The composed passphrase opens it", slot | {"passphrase": composed}
    other = {"passphrase": b"another one"}
    yield "slot-wrong-passphrase", "slot-opened", "3", "The commitment differs", slot | other
    other = {"wrap": flipped(slot["wrap"])}
    yield "slot-damaged", "slot-opened", "3", "The commitment matches, the seal does not open", slot | other
    for name, numbers in [("memory-too-small", (19455, 3, 1)), ("cost-too-large", (1 << 21, 5, 1))]:
        params = b"".join(map(u32, numbers))
        yield f"slot-{name}", "slot-opened", "3", "Refused before any memory is taken", slot | {"params": params}

    code = {"code": fixed("code", 32)}
    paper: Data = {"vault_id": vault_id, "slot_id": fixed("paper slot", 16), "type": RECOVERY, "params": b""}
    paper |= {"salt": fixed("paper salt", 16)} | code
    yield "recovery", "recovery", "3", "A code as it is written, and its slot", paper | made
    opened = known_recovery(paper | made)
    paper |= {"commitment": opened["commitment"], "wrap": opened["wrap"], "text": opened["text"]}
    yield "recovery-opened", "recovery-opened", "3", "The code opens it", paper
    other = {"code": fixed("other code", 32)}
    other |= {"text": recovery_text(other["code"])}
    yield "recovery-wrong", "recovery-opened", "3", "Another code", paper | other
    yield "recovery-params", "recovery-opened", "3", "It has parameters", paper | {"params": least}

    place = {"vault_id": vault_id, "pid": pid, "epoch": 1}
    inside = place | {"root_key": root_key, **ring, "name": "backend", "salt": salt}
    yield "keyring", "keyring", "4", "A project's keys and name", inside

    record = place | {"rid": rid, "ver": 7, "pmk": pmk}
    names = {"name": "Datenbank, lesend", "description": "read replica \u2192 reports"}
    fields = {"tag": "DB_PASSWORD", "hint": "ab…yz", "created": 1700000000000, "updated": 1700000000001}
    full = record | {"salt": salt, "fields": fields | names}
    yield "metadata-full", "metadata", "4", "All six fields", full
    yield "metadata-least", "metadata", "4", "No name, no description", record | {"salt": salt, "fields": fields}
    for size in (252, 253):
        described = fields | {"description": "x" * (size - 5 - len(encode_fields(fields)))}
        filled = record | {"salt": salt, "fields": described}
        yield f"metadata-{size}", "metadata", "4", f"{size} bytes and their length", filled
    runs = [encode_fields({name: fields[name]}) for name in ("tag", "hint", "created", "updated")]
    bad = {
        "fields-out-of-order": [runs[0], runs[1], runs[3], runs[2]],
        "field-twice": [runs[0], *runs],
        "unknown-field": [*runs, b"\7" + lp(b"?")],
        "no-hint": [runs[0], *runs[2:]],
        "time-too-short": [*runs[:3], b"\6" + lp(bytes(7))],
        "not-utf-8": [b"\1" + lp(b"\xff"), *runs[1:]],
        "cut-short": [*runs[:3], runs[3][:-1]],
    }
    what = "Sealed by who has the key, badly"
    for name, run in bad.items():
        sealed = seal(pmk, vault_id, "meta", record_ctx(record, 7), pad(b"".join(run), record_size), salt)
        yield f"metadata-{name}", "metadata-opened", "4", what, record | {"sealed": sealed}

    record = place | {"rid": rid, "vver": 3, "pvk": pvk}
    whole = record | {"value": b"correct horse battery staple", "salt": salt}
    sealed = known_value(whole)["sealed"]
    yield "seal-value", "value", "2", "EXP, AAD, SEAL and padding of one value", whole
    yield "seal-value-empty", "value", "2", "The empty value", whole | {"value": b""}
    other = {"sealed": flipped(sealed)}
    yield "seal-flipped-tag", "value-opened", "2", "The last bit of the tag is another", record | other
    other = {"sealed": sealed, "rid": fixed("another record", 8)}
    yield "seal-of-another-record", "value-opened", "4", "The seal of one record under another", record | other
    lengths = {"not-zero": lp(b"x").ljust(255, b"\0") + b"\1", "too-long": u32(253).ljust(256, b"\0")}
    lengths |= {"of-another-size": lp(b"x").ljust(512, b"\0"), "absent": b"\0\0\0"}
    for name, padded in lengths.items():
        sealed = seal(pvk, vault_id, "value", record_ctx(record, 3), padded, salt)
        yield f"padding-{name}", "value-opened", "2", what, record | {"sealed": sealed}
    edges = [0, 1, 252, 253, 508, 509, 1020, 1021, 2044, 2045, 4092, 4093, 4097, 4220, 4221, 8188, 8189, 8444, 8445]
    edges += [65532, 65533, 67580, 67581, 100000, 524284, 524285, 1000000, 1048572, 1048573, 1048576]
    yield "value-sizes", "value-sizes", "4", "From a value's length to its padded size", {"lengths": edges}

    spellings = ["DB_PASSWORD", "db_password", "Db-Password", "db-password", "DB_PASSWORT"]
    look_up = {"pid": pid, "pmk": pmk, "spellings": spellings}
    yield "tag-index", "tag-index", "4", "Four spellings of one tag, and another tag", look_up

    row = {"vault_id": vault_id, "pid": pid, "rid": rid, "epoch": 1, "ver": 7, "vver": 3}
    row |= {"tag_ix": fixed("index", 16), "meta": fixed("sealed metadata", 296), "val_hash": fixed("sealed value", 32)}
    yield "leaf", "leaf", "5", "One record", row
    columns = {"rid": 8, "leaf": 32}
    rows = [{name: fixed(f"{name} {n}", size) for name, size in columns.items()} for n in range(3)]
    rows = [{"tag_ix": bytes([42] + [n] * 15)} | row for n, row in enumerate(rows)]
    yield "bucket", "bucket", "5", "Three records, ascending", {"pid": pid, "b": 42, "records": rows}
    yield "bucket-empty", "bucket", "5", "No record: zeros", {"pid": pid, "b": 43, "records": []}
    buckets = [{"b": b, "h": fixed(f"bucket {b}", 32)} for b in (0, 42, 255)]
    yield "top", "top", "5", "Three of the 256 buckets have records", {"pid": pid, "buckets": buckets}

    head = place | {"seq": 9, "count": 3, "top": fixed("top", 32), "audit_head": bytes(32), "time": 1700000000002}
    head |= {"signer_id": bytes(16), "ancestors": fixed("ancestors", 8 * 16) + bytes(24 * 16), "pmk": pmk, "psk": psk, "salt": salt}
    yield "head", "head", "5", "Encoded, sealed, signed", head
    earlier = {name: value for name, value in head.items() if name != "ancestors"} | {"previous": fixed("previous", 32)}
    yield "head-format-1", "head", "7", "A head of format 1", earlier
    known = known_head(head)
    opened = place | {"pmk": pmk, "psk": psk, "sealed": known["sealed"]}
    yield "signature-right", "head-opened", "5", "A head that opens", opened | {"sig": known["sig"]}
    yield "signature-wrong", "head-opened", "5", "Its signature is another", opened | {"sig": flipped(known["sig"])}
    order = (1 << 252) + 27742317777372353535851937790883648493  # of Ed25519's group; S + order is another encoding of S
    unreduced = (int.from_bytes(known["sig"][32:], "little") + order).to_bytes(32, "little")
    yield "signature-malleable", "head-opened", "5", "S is not reduced", opened | {"sig": known["sig"][:32] + unreduced}

    seen = [{"pid": fixed(f"pid {n}", 16), "name": f"project.{n}", "seq": n, "head": fixed(f"head {n}", 32)} for n in (1, 2)]
    seen = [row | {"ancestors": fixed("ancestors", 512), "sealed": fixed("sealed head", 32)} for row in seen]
    seen.sort(key=lambda row: row["pid"])
    anchor = {"root_key": root_key, "vault_id": vault_id, "place": sha256(b"/home/you/vault.db"), "salt": salt}
    anchor |= {"root_seq": 5, "root_mac": fixed("root mac", 32), "ancestors": fixed("root ancestors", 512)}
    anchor |= {"past_roots": [{"root_key": fixed(f"root {n}", 32)} for n in (2, 1)]}
    yield "anchor", "anchor", "7", "What was last seen of two projects; two earlier root keys", anchor | {"projects": seen}

    slots = [{name: slot[name] for name in ("slot_id", "type", "params", "salt", "commitment", "wrap")}]
    slots += [{**slots[0], "slot_id": b"\xff" * 16, "commitment": fixed("commitment", 32)}]
    projects = [{"pid": fixed(f"pid {n}", 16), "epoch": n, "keys": fixed(f"keys {n}", 296)} for n in (1, 2)]
    grants = [{"token_id": fixed("token", 16), "gen": 4, "bundle": fixed("bundle", 80), "admin": b""}]
    projects.sort(key=lambda row: row["pid"])
    everything = {"slots": slots, "projects": projects, "grants": grants}
    root = {"vault_id": vault_id, "suite": SUITE, "root_seq": 5, "root_key": root_key}
    root |= {"ancestors": fixed("root ancestors", 4 * 16) + bytes(28 * 16), "anchor_past": fixed("past", 72)}
    yield "root-mac", "root-mac", "5", "Two slots, two projects, a grant", root | everything
    earlier = {name: value for name, value in root.items() if name not in ("ancestors", "anchor_past")}
    yield "root-mac-format-1", "root-mac", "7", "The same in format 1", earlier | everything


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def from_json(item: Any, name: str = "") -> Any:
    if isinstance(item, dict):
        return item if name in TEXT else {key: from_json(value, key) for key, value in item.items()}
    if isinstance(item, list):
        return item if name in TEXT else [from_json(value, name) for value in item]
    return bytes.fromhex(item) if isinstance(item, str) and name not in TEXT else item


def compute(kind: str, item: Data) -> Data:
    try:
        expected = KINDS[kind](item)
    except Refused as refused:
        expected = {"error": refused.args[0]}
    as_read: Data = json.loads(json.dumps(expected, default=bytes.hex))
    return as_read


def write() -> None:
    for name, kind, section, description, item in cases():
        case = {"description": description, "section": section, "kind": kind, "input": item}
        case["expected"] = compute(kind, item)
        text = json.dumps(case, default=bytes.hex, indent=2, ensure_ascii=False)
        (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def check() -> int:
    passed = failed = 0
    for path in sorted(HERE.glob("*.json")):
        case = json.loads(path.read_text(encoding="utf-8"))
        expected, found = case["expected"], compute(case["kind"], from_json(case["input"]))
        wrong = [name for name in sorted(expected | found) if expected.get(name) != found.get(name)]
        print(f"WRONG {path.stem}: {', '.join(wrong)}" if wrong else f"ok {path.stem}")
        passed, failed = passed + (not wrong), failed + bool(wrong)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--write", action="store_true", help="write the known answers again")
    arguments.add_argument("--open", type=Path, metavar="VAULT", help="verify a vault and print its content")
    arguments.add_argument("--passphrase-file", type=Path, metavar="FILE", help="one line, for --open")
    given = arguments.parse_args()
    if given.write:
        write()
        return 0
    if given.open is None:
        return check()
    if given.passphrase_file is None:
        arguments.error("--open needs --passphrase-file")
    try:
        line = given.passphrase_file.read_bytes().removesuffix(b"\n")
        print(json.dumps(open_vault(given.open, line), ensure_ascii=False, indent=2))
    except Refused as refused:
        print(": ".join(filter(None, refused.args)), file=sys.stderr)
    except (LookupError, OSError, OverflowError, TypeError, ValueError, sqlite3.Error) as error:
        print(f"damaged: {error}", file=sys.stderr)  # a wrong type or length; a hostile file may hold anything
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
