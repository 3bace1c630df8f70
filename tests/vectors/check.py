#!/usr/bin/env python3
"""A second implementation of the vault format, written from docs/format.md alone.

    check.py                                      recompute every known answer in this folder
    check.py --write                              write them again; the bytes are the same every time
    check.py --open VAULT --passphrase-file FILE  verify a whole vault and print its content as JSON
        --token-file TOKEN                        and open the grant of this token

Needs Python's `cryptography`, version 44 or later. Each file holds one known answer. Its `kind` names the computation
(KINDS), and `section` names the section of the page. Bytes are in hex. Labels, names and metadata fields are text.
Nothing here is hardened. The code is for reading and comparing, not for keeping secrets.
"""

import argparse
import base64
import hashlib
import hmac
import ipaddress
import json
import re
import sqlite3
import sys
import unicodedata
import zlib
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
TEXT = {"label", "name", "tag", "text", "fields", "spellings", "destinations", "error"}  # members of a known answer that are not hex
SUITE, PASSPHRASE, RECOVERY, KEYED, KEYCHAIN, TICKET = 1, 1, 2, 3, 4, 5
KEY_FILE = b"SECRETS-KEY-FILE-1 "
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PREFIXES = {1: "sxr_", 2: "sxu_", 3: "sxm_"}
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
APPLICATION_ID, USER_VERSION = 0x53435254, 3
DIRECTORY = OWNER = bytes(16)


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
    return HKDFExpand(SHA256(), length, b"secrets/v3/" + label.encode() + b"\0" + ctx).derive(key)


def aad(vault_id: bytes, label: str, ctx: bytes) -> bytes:
    return b"secrets/v3\0" + u32(SUITE) + label.encode() + b"\0" + vault_id + ctx


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
    """Returns the key that wraps the root key, and the commitment. The "passphrase" of a recovery code, a keychain or a ticket is 32 bytes."""
    need(len(row["salt"]) == len(row["slot_id"]) == 16)
    if row["type"] in (RECOVERY, KEYCHAIN, TICKET):
        need(len(row["params"]) == (8 if row["type"] == TICKET else 0))
        prk = mac(vault_id, passphrase)
        return expand(prk, "slot-kek", row["slot_id"]), expand(prk, "slot-commit", row["slot_id"])
    need(row["type"] in (PASSPHRASE, KEYED), "unsupported")
    key_file = None
    if row["type"] == KEYED:
        need("key_file" in row, "key-file-needed")
        key_file = read_key_file(row["key_file"])
    need(len(row["params"]) == 12, "unsupported")
    m, t, p = (int.from_bytes(row["params"][at : at + 4], "big") for at in (0, 4, 8))
    need(19 << 10 <= m <= 2 << 20 and 1 <= t <= 64 and 1 <= p <= 16 and m * t <= 1 << 23, "unsupported")
    normal = unicodedata.normalize("NFC", passphrase.decode()).encode()
    need(1 <= len(normal) <= 1024, "wrong-passphrase")
    stretched = Argon2id(salt=row["salt"], length=32, iterations=t, lanes=p, memory_cost=m, secret=key_file).derive(normal)
    prk = mac(vault_id, stretched)  # HKDF-Extract
    return expand(prk, "slot-kek", row["slot_id"]), expand(prk, "slot-commit", row["slot_id"])


def read_key_file(text: bytes) -> bytes:
    """Returns the 32 bytes of a key file, the secret value of Argon2id."""
    lines = [line.strip() for line in text.split(b"\n")]
    keys = [line.removeprefix(KEY_FILE) for line in lines if line.startswith(KEY_FILE)]
    need(len(keys) == 1 and len(keys[0]) == 43, "damaged")
    return base64.urlsafe_b64decode(keys[0] + b"=")


def recovery_text(code: bytes) -> str:
    number = int.from_bytes(code + sha256(b"secrets/v3/recovery\0" + code)[:3], "big")
    digits = "".join(CROCKFORD[number >> 5 * at & 31] for at in reversed(range(56)))
    return "-".join(digits[at : at + 4] for at in range(0, 56, 4))


def slot_ctx(row: Data) -> bytes:
    return b"".join([row["slot_id"], u32(row["type"]), row["params"], row["salt"]])


def open_slot(row: Data, vault_id: bytes, passphrase: bytes) -> bytes:
    kek, commitment = slot_keys(row, vault_id, passphrase)
    wrong = {RECOVERY: "wrong-recovery-code", KEYCHAIN: "wrong-keychain-key", TICKET: "wrong-ticket"}.get(row["type"], "wrong-passphrase")
    wrong = "wrong-passphrase-or-key-file" if "key_file" in row else wrong
    need(hmac.compare_digest(commitment, row["commitment"]), wrong)
    root_key = unseal(kek, vault_id, "slot", slot_ctx(row), row["wrap"])
    need(len(root_key) == 32)
    return root_key


def public_key(seed: bytes) -> Ed25519PublicKey:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key()


def owner_seed(root_key: bytes) -> bytes:
    return expand(root_key, "owner-sign", b"")


def directory_keys(root_key: bytes) -> Data:
    labels = {"pmk": "directory-meta", "pvk": "directory-value", "tik": "directory-index"}
    return {name: expand(root_key, label, b"") for name, label in labels.items()}


def checkpoint_key(root_key: bytes) -> bytes:
    return expand(root_key, "checkpoint", b"")


def head_key(pmk: bytes, pid: bytes) -> bytes:
    return expand(pmk, "head-key", pid)


def policy_key(pmk: bytes, pid: bytes) -> bytes:
    return expand(pmk, "policy-key", pid)


def audit_key(pmk: bytes, pid: bytes) -> bytes:
    return expand(pmk, "audit-key", pid)


def metadata_key(pmk: bytes, pid: bytes, rid: bytes) -> bytes:
    return expand(pmk, "meta-key", pid + rid)


def value_key(keys: Data, pid: bytes, rid: bytes, generation: int, restricted: int) -> bytes:
    return expand(keys["prk" if restricted else "pvk"], "value-key", pid + rid + u32(generation))


def raw_public(seed: bytes) -> bytes:
    return public_key(seed).public_bytes_raw()


def sign(seed: bytes, message: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def verifies(public: bytes, message: bytes, signature: bytes) -> bool:
    # OpenSSL refuses other encodings of R and S. It accepts public keys of small order, which no seed gives.
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


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


# A schema of fields: its number, name, and type. A type is "text", "texts" for a list, "bytes", or the length of a number
# in bytes
Schema = list[tuple[int, str, Any]]
METADATA: Schema = [(1, "tag", "text"), (2, "name", "text"), (3, "description", "text"), (4, "hint", "text")]
METADATA += [(5, "created", 8), (6, "updated", 8), (7, "class", 1), (8, "generation", 4), (9, "destinations", "texts")]
METADATA += [(11, "expires", 8), (12, "source", "text")]
ENTRY: Schema = [(1, "name", "text"), (5, "created", 8), (6, "updated", 8), (16, "pid", "bytes"), (17, "epoch", 4)]
ENTRY += [(18, "policy", "bytes"), (19, "due", 8)]
RING: Schema = [(1, "pmk", "bytes"), (2, "pvk", "bytes"), (3, "prk", "bytes"), (4, "tik", "bytes")]
CHANGE: Schema = [(1, "action", 1), (2, "count", 8), (3, "items", "bytes"), (4, "admitted", "bytes")]
CHANGE += [(5, "removed", "bytes"), (6, "owner_before", "bytes"), (7, "pruned", "bytes")]


def encode_fields(schema: Schema, fields: Data) -> bytes:
    """`later` holds fields of later versions as they are."""
    encoded = b""
    for number, name, kind in schema:
        if name in fields:
            content = fields[name]
            if kind == "text":
                content = content.encode()
            elif kind == "texts":
                content = encode_texts(content)
            elif kind == "bytes":
                content = as_bytes(content)
            else:
                content = content.to_bytes(kind, "big")
            encoded += bytes([number]) + lp(content)
    return encoded + as_bytes(fields.get("later", b""))


def encode_texts(texts: list[str]) -> bytes:
    return b"".join(lp(text.encode()) for text in texts)


def as_bytes(content: Any) -> bytes:
    return bytes.fromhex(content) if isinstance(content, str) else content


def decode_fields(schema: Schema, encoded: bytes) -> Data:
    fields: Data = {}
    known = {number: (name, kind) for number, name, kind in schema}
    at = last = 0
    newer = False
    while at < len(encoded):
        number, length = encoded[at], int.from_bytes(encoded[at + 1 : at + 5], "big")
        field, start = encoded[at + 5 : at + 5 + length], at
        at += 5 + length
        need(last < number and start + 5 <= at <= len(encoded))
        last = number
        if number in known:
            name, kind = known[number]
            fields[name] = decode_field(kind, field)
        elif number < 128:
            newer = True
        else:
            fields["later"] = encoded[start:]
            check_later(encoded[start:])
            break
    need(not newer, "newer")
    for content in fields.values():
        need(not isinstance(content, Refused))
    return fields


def decode_field(kind: Any, field: bytes) -> Any:
    if kind == "text":
        try:
            return field.decode()
        except UnicodeDecodeError:
            return Refused("damaged")
    if kind == "texts":
        return decode_texts(field)
    if kind == "bytes":
        return field
    return int.from_bytes(field, "big") if len(field) == kind else Refused("damaged")


def decode_texts(field: bytes) -> Any:
    texts, at = [], 0
    while at < len(field):
        start = at + 4
        at = start + int.from_bytes(field[at:start], "big")
        text = decode_field("text", field[start:at])
        if not start <= at <= len(field) or isinstance(text, Refused):
            return Refused("damaged")
        texts.append(text)
    return texts


def check_later(encoded: bytes) -> None:
    at = last = 0
    while at < len(encoded):
        number, length = encoded[at], int.from_bytes(encoded[at + 1 : at + 5], "big")
        need(last < number and at + 5 + length <= len(encoded))
        at, last = at + 5 + length, number


def check_tag(tag: str) -> None:
    need(re.fullmatch("[A-Za-z0-9_][A-Za-z0-9_-]{0,127}", tag) is not None and re.search("[A-Za-z0-9]", tag) is not None)
    need(re.fullmatch("se[0-9a-f]{16}", tag_key(tag)) is None)


def check_project_name(name: str) -> None:
    need(re.fullmatch("[A-Za-z0-9_.][A-Za-z0-9_.-]{0,127}", name) is not None)
    need(re.search("[A-Za-z0-9]", name) is not None)


def decode_metadata(encoded: bytes) -> Data:
    fields = decode_fields(METADATA, encoded)
    need(fields.keys() >= {"tag", "hint", "created", "updated"})
    lengths = {"name": 256, "description": 4096, "source": 2048}
    check_tag(fields["tag"])
    need(len(fields["hint"]) <= 9)
    need(all(1 <= len(fields.get(name, "x")) <= most for name, most in lengths.items()))
    need(fields.get("class", 1) == 1 and fields.get("generation", 1) > 0)
    if "destinations" in fields:
        check_destinations(fields["destinations"])
    return fields


METHOD = "[A-Z0-9-]{1,32}"
LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
PATH = r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})*)+"
DESTINATION = rf"(\*|{METHOD}(?:,{METHOD})*) https://((?:\*\.)?[^/: ]+|\[[0-9a-f:.]+\])(:[0-9]+)?({PATH})? (.+)"
HEADER = "[a-z0-9!#$%&'*+.^_`|~-]{1,256}"
TOKEN = "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}"
POINTER = r"/(?:[^~]|~[01])*"
PLACE_TEXT = rf"header:{HEADER}|basic:(?:user|password)|cookie:{TOKEN}|(?:query|form):.+|(?:json|ws):{POINTER}|path|body|sigv4"
FRAMING = ["connection", "content-encoding", "content-length", "cookie", "expect", "host", "keep-alive"]
FRAMING += ["proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "via"]


def check_destinations(texts: list[str]) -> None:
    need(1 <= len(texts) <= 32 and all(len(text.encode()) <= 1024 for text in texts))
    need(texts == sorted(set(texts), key=str.encode))
    for text in texts:
        parts = re.fullmatch(DESTINATION, text)
        need(parts is not None)
        assert parts is not None
        methods, host, port, path, place = parts.groups()
        listed = methods.split(",")
        need(listed == sorted(set(listed)) and not {"CONNECT", "TRACE", "TRACK"} & set(listed))
        check_host(host)
        need(port is None or 1 <= int(port[1:]) <= 65535 and port == f":{int(port[1:])}" and port != ":443")
        check_pattern(path)
        name = place.partition(":")[2]
        need(re.fullmatch(PLACE_TEXT, place) is not None and len(name.encode()) <= 256)
        need(place not in [f"header:{header}" for header in FRAMING])
        need(not any(is_hostile(character) for character in name))


def check_host(host: str) -> None:
    if host.startswith("["):
        need(str(ipaddress.IPv6Address(host[1:-1])) == host[1:-1])
        return
    name = host.removeprefix("*.")
    labels = name.split(".")
    if re.fullmatch("[0-9]+|0x.*", labels[-1]):
        need(name == host and re.fullmatch(r"(?:(?:0|[1-9][0-9]{0,2})(?:\.(?!$)|$)){4}", name) is not None)
        need(all(int(label) < 256 for label in labels))
        return
    need(len(name) <= 253 and all(re.fullmatch(LABEL, label) for label in labels))
    need(name == host or len(labels) >= 2)


def check_pattern(path: str | None) -> None:
    if path is None:
        return
    escapes = [int(digits, 16) for digits in re.findall("%(..)", path)]
    need(not any(chr(byte) in UNRESERVED or byte in (0, 10, 13) for byte in escapes))
    segments = path.split("/")
    need(path not in ("/", "/**") and not {".", ".."} & set(segments))
    need(all(segment == "**" or "**" not in segment for segment in segments))


UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
# Characters that a terminal acts on, or that change how their neighbours look, besides control characters
FORMATS = [(0xAD, 0xAD), (0x34F, 0x34F), (0x600, 0x605), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5)]
FORMATS += [(0x180E, 0x180E), (0x200B, 0x200F), (0x2028, 0x202E), (0x2060, 0x206F), (0x2800, 0x2800)]
FORMATS += [(0x3164, 0x3164), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF9, 0xFFFB), (0xE0000, 0xE007F)]


def is_hostile(character: str) -> bool:
    is_format = any(first <= ord(character) <= last for first, last in FORMATS)
    return unicodedata.category(character) == "Cc" or is_format


def decode_entry(encoded: bytes) -> Data:
    fields = decode_fields(ENTRY, encoded)
    need(fields.keys() >= {"name", "created", "updated", "pid", "epoch"})
    policy = fields.get("policy", u64(1) + bytes(32))
    check_project_name(fields["name"])
    need(len(fields["pid"]) == 16 and len(policy) == 40 and int.from_bytes(policy[:8], "big") > 0)
    return fields


def decode_ring(encoded: bytes) -> Data:
    fields = decode_fields(RING, encoded)
    need(fields.keys() >= {"pmk", "tik"})
    need(all(len(key) == 32 for name, key in fields.items() if name != "later"))
    return fields


def record_ctx(row: Data, version: int) -> bytes:
    return b"".join([row["pid"], row["rid"], u32(row["epoch"]), u64(version)])


def value_ctx(row: Data, generation: int, restricted: int, key: str, destinations: list[str] | None = None) -> bytes:
    target = sha256(lp(key.encode()) + encode_texts(destinations or []))
    return record_ctx(row, row["vver"]) + u32(generation) + bytes([restricted]) + target


def open_metadata(pmk: bytes, vault_id: bytes, row: Data, sealed: bytes) -> bytes:
    key = metadata_key(pmk, row["pid"], row["rid"])
    return unpad(unseal(key, vault_id, "meta", record_ctx(row, row["ver"]), sealed), record_size)


# The binding of a value is its generation, its class, the tag's key and its destinations. That of a key ring has the
# project's name in place of the key.
Binding = tuple[int, int, str, list[str]]


def open_value(keys: Data, vault_id: bytes, row: Data, binding: Binding, sealed: bytes) -> bytes:
    key = value_key(keys, row["pid"], row["rid"], binding[0], binding[1])
    value = unpad(unseal(key, vault_id, "value", value_ctx(row, *binding), sealed), value_size)
    need(len(value) <= 1 << 20)
    return value


def tag_key(tag: str) -> str:
    return re.sub("[A-Z]", lambda letter: letter[0].lower(), tag).replace("-", "_")


def index_of(tik: bytes, key: str) -> bytes:
    return mac(tik, key.encode())[:16]


# Section 5: integrity


def leaf(vault_id: bytes, row: Data) -> bytes:
    numbers = u32(row["epoch"]) + u64(row["ver"]) + u64(row["vver"])
    content = lp(row["tag_ix"]) + lp(row["meta"]) + row["val_hash"]
    return sha256(b"secrets/v3/leaf\0" + vault_id + row["pid"] + row["rid"] + numbers + content)


def bucket(pid: bytes, b: int, rows: list[Data]) -> bytes:
    if not rows:
        return bytes(32)
    entries = (row["tag_ix"] + row["rid"] + row["leaf"] for row in sorted(rows, key=lambda row: row["tag_ix"]))
    return sha256(b"secrets/v3/bucket\0" + pid + bytes([b]) + u32(len(rows)) + b"".join(entries))


def root_hash(pid: bytes, buckets: dict[int, bytes]) -> bytes:
    return sha256(b"secrets/v3/top\0" + pid + b"".join(buckets.get(b, bytes(32)) for b in range(256)))


def slots_hash(slots: list[Data], past: bytes) -> bytes:
    parts = [b"secrets/v3/slots\0", u32(len(slots))]
    for slot in sorted(slots, key=lambda slot: slot["slot_id"]):
        columns = (slot["slot_id"], u32(slot["type"]), slot["params"], slot["salt"], slot["commitment"], slot["wrap"])
        parts += map(lp, columns)
    return sha256(b"".join([*parts, lp(past)]))


def tokens_hash(grants: list[Data]) -> bytes:
    rows = sorted(grants, key=lambda grant: grant["token_id"])
    encoded = (row["token_id"] + u64(row["gen"]) + sha256(row["escrow"]) for row in rows)
    return sha256(b"secrets/v3/tokens\0" + u32(len(rows)) + b"".join(encoded))


HEAD = [("epoch", 4), ("seq", 8), ("count", 8), ("levels", 1), ("root_hash", 32), ("audit_head", 32), ("time", 8)]
HEAD += [("signer_id", 16), ("policy", 32), ("dir_seq", 8), ("dir", 32), ("ancestors", 32 * 16)]
NUMBERS = {"epoch", "seq", "count", "levels", "time", "dir_seq"}


def encode_head(vault_id: bytes, pid: bytes, head: Data) -> bytes:
    members = (head[name].to_bytes(size, "big") if name in NUMBERS else head[name] for name, size in HEAD)
    return b"secrets/v3/head\0" + vault_id + pid + b"".join(members)


def open_head(pmk: bytes, vault_id: bytes, pid: bytes, epoch: int, sealed: bytes) -> Data:
    """Does not verify the signature: the head names its signer."""
    encoded = unseal(head_key(pmk, pid), vault_id, "head", pid + u32(epoch), sealed)
    need(len(encoded) == 741)
    head, at = {}, 48
    for name, size in HEAD:
        head[name] = int.from_bytes(encoded[at : at + size], "big") if name in NUMBERS else encoded[at : at + size]
        at += size
    need(encode_head(vault_id, pid, head) == encoded and head["epoch"] == epoch, "damaged", "head")
    need(head["seq"] > 0 and head["levels"] == 1 and head["dir_seq"] == 0, "damaged", "head")
    for distance in range(1, 33):
        ancestor = head["ancestors"][16 * (distance - 1) : 16 * distance]
        need((ancestor == bytes(16)) == (distance >= head["seq"]), "damaged", "ancestors")
    return head


def encode_policy(vault_id: bytes, pid: bytes, policy: Data) -> bytes:
    writers = (row["token_id"] + row["key"] + u64(row["until"]) for row in policy["writers"])
    numbers = u32(policy["epoch"]) + u64(policy["version"]) + u32(len(policy["writers"]))
    return b"secrets/v3/policy\0" + vault_id + pid + numbers + b"".join(writers)


def open_policy(pmk: bytes, owner: bytes, vault_id: bytes, pid: bytes, row: Data) -> Data:
    ctx = pid + u64(row["v"])
    encoded = unpad(unseal(policy_key(pmk, pid), vault_id, "policy", ctx, row["body"]), record_size)
    need(verifies(owner, encoded, row["sig"]), "damaged", "policy: signature")
    need(len(encoded) >= 66 and (len(encoded) - 66) % 56 == 0)
    starts = range(66, len(encoded), 56)
    writers = [{"token_id": encoded[at : at + 16], "key": encoded[at + 16 : at + 48]} for at in starts]
    writers = [writer | {"until": int.from_bytes(encoded[at + 48 : at + 56], "big")} for writer, at in zip(writers, starts)]
    policy = {"version": int.from_bytes(encoded[54:62], "big"), "epoch": int.from_bytes(encoded[50:54], "big")}
    policy["writers"] = writers
    need(encode_policy(vault_id, pid, policy) == encoded and policy["version"] == row["v"] > 0)
    ids = [writer["token_id"] for writer in writers]
    need(ids == sorted(set(ids)) and len(ids) <= 64)
    return policy


def listed(rows: list[Data], *columns: str) -> bytes:
    encode: dict[str, Callable[[Any], bytes]] = {"name": lambda name: lp(name.encode())}
    return u32(len(rows)) + b"".join(encode.get(name, bytes)(row[name]) for row in rows for name in columns)


LISTS = {"items": ("rid", "name"), "admitted": ("token_id", "key", "name"), "removed": ("token_id",)}
LENGTHS = {"rid": 8, "token_id": 16, "key": 32}


def encode_entry(entry: Data) -> bytes:
    lists = {name: listed(entry[name], *columns) for name, columns in LISTS.items() if entry.get(name)}
    fixed_part = entry["previous"] + entry["signer_id"] + u64(entry["time"]) + entry["root_hash"]
    fields = {name: content for name, content in entry.items() if name not in LISTS}
    if "pruned" in entry:
        mark = entry["pruned"]
        fields["pruned"] = u64(mark["seq"]) + mark["hash"] + listed(mark["signers"], *LISTS["admitted"])
    return fixed_part + encode_fields(CHANGE, fields | lists)


def read_list(encoded: bytes, columns: tuple[str, ...]) -> list[Data]:
    need(len(encoded) >= 4)
    rows, at = [], 4
    for _ in range(int.from_bytes(encoded[:4], "big")):
        row: Data = {}
        for name in columns:
            length = LENGTHS.get(name, int.from_bytes(encoded[at : at + 4], "big"))
            at += 0 if name in LENGTHS else 4
            row[name] = encoded[at : at + length]
            at += length
            need(at <= len(encoded))
        if "name" in row:
            row["name"] = decode_field("text", row["name"])
            need(isinstance(row["name"], str))
        rows.append(row)
    need(bool(rows) and at == len(encoded))
    return rows


def read_mark(encoded: bytes) -> Data:
    need(len(encoded) >= 44 and any(encoded[:8]))
    signers = [] if encoded[40:] == u32(0) else read_list(encoded[40:], LISTS["admitted"])
    return {"seq": int.from_bytes(encoded[:8], "big"), "hash": encoded[8:40], "signers": signers}


def open_entry(pmk: bytes, vault_id: bytes, pid: bytes, row: Data) -> Data:
    """Does not verify the signature, which is in `sig`."""
    ctx = pid + u64(row["seq"]) + u32(row["epoch"])
    plain = unpad(unseal(audit_key(pmk, pid), vault_id, "audit", ctx, row["ct"]), record_size)
    need(len(plain) >= 88 + 64)
    encoded, signature = plain[:-64], plain[-64:]
    entry = {"previous": encoded[:32], "signer_id": encoded[32:48], "time": int.from_bytes(encoded[48:56], "big")}
    entry |= {"root_hash": encoded[56:88]} | decode_fields(CHANGE, encoded[88:])
    need(entry.keys() >= {"action", "count"} and 1 <= entry["action"] <= 21)
    need(len(entry.get("owner_before", bytes(32))) == 32)
    entry |= {name: read_list(entry[name], columns) for name, columns in LISTS.items() if name in entry}
    need(("pruned" in entry) == (entry["action"] == 18))
    if "pruned" in entry:
        entry["pruned"] = read_mark(entry["pruned"])
    return entry | {"sig": signature, "hash": sha256(plain)}


def entry_message(vault_id: bytes, pid: bytes, seq: int, encoded: bytes) -> bytes:
    return b"secrets/v3/audit\0" + vault_id + pid + u64(seq) + encoded


def check_log(vault_id: bytes, pid: bytes, entries: list[tuple[int, Data]], head: Data, owner: bytes) -> None:
    marks = [entry["pruned"] for _, entry in entries if entry["signer_id"] == OWNER and "pruned" in entry]
    mark = marks[-1] if marks else {"seq": 0, "hash": bytes(32), "signers": []}
    need([seq for seq, _ in entries] == list(range(mark["seq"] + 1, head["seq"] + 1)), "damaged", "audit: entries")
    owners = {seq: entry["owner_before"] for seq, entry in entries if entry["signer_id"] == OWNER and "owner_before" in entry}
    writers: dict[bytes, bytes] = {token["token_id"]: token["key"] for token in mark["signers"]}
    previous = mark["hash"]
    for seq, entry in entries:
        owner_then = next((key for at, key in sorted(owners.items()) if at > seq), owner)
        signer = owner_then if entry["signer_id"] == OWNER else writers.get(entry["signer_id"], b"")
        message = entry_message(vault_id, pid, seq, encode_entry(entry))
        need(entry["previous"] == previous and verifies(signer, message, entry["sig"]), "damaged", f"audit: entry {seq}")
        if entry["signer_id"] == OWNER:
            writers |= {token["token_id"]: token["key"] for token in entry.get("admitted", [])}
            for token in entry.get("removed", []):
                writers.pop(token["token_id"], None)
        previous = entry["hash"]
    last = entries[-1][1]
    same = all(last[name] == head[name] for name in ("signer_id", "time", "root_hash"))
    need(same and previous == head["audit_head"], "damaged", "audit: last entry")


# Section 7: checkpoints


def encode_state(state: Data) -> bytes:
    policy = u64(state["policy_version"]) + state["policy"]
    return u32(state["epoch"]) + u64(state["seq"]) + state["head"] + state["ancestors"] + state["audit_head"] + policy


def past_keys(root_key: bytes) -> bytes:
    hk = head_key(directory_keys(root_key)["pmk"], DIRECTORY)
    return checkpoint_key(root_key) + hk + raw_public(owner_seed(root_key))


# Section 8: tokens


def base62(number: int, digits: int) -> str:
    return "".join(BASE62[number // 62**at % 62] for at in reversed(range(digits)))


def from_base62(digits: str) -> int:
    return sum(BASE62.index(digit) * 62**at for at, digit in enumerate(reversed(digits)))


def token_text(level: int, key: bytes) -> str:
    word = PREFIXES[level] + base62(int.from_bytes(key, "big"), 43)
    return word + base62(zlib.crc32(word.encode()), 6)


def parse_token(text: str) -> tuple[int, bytes]:
    need(re.fullmatch("sx[rum]_[0-9A-Za-z]{49}", text) is not None, "invalid")
    number = from_base62(text[4:47])
    need(from_base62(text[47:]) == zlib.crc32(text[:47].encode()) and number < 1 << 256, "invalid")
    level = next(level for level, prefix in PREFIXES.items() if text.startswith(prefix))
    return level, number.to_bytes(32, "big")


def token_keys(key: bytes, vault_id: bytes) -> Data:
    prk = mac(vault_id, key)  # HKDF-Extract
    token_id = expand(prk, "token-id", b"")[:16]
    keys = {"token_id": token_id, "kek": expand(prk, "token-kek", token_id)}
    keys["writer"] = raw_public(expand(prk, "token-sign", b""))
    return keys | {"checkpoint": expand(prk, "checkpoint", b""), "output": expand(prk, "output", b"")}


GRANT: Schema = [(1, "name", "text"), (2, "level", 1), (3, "expires", 8), (4, "strict", 1), (5, "owner", "bytes")]
GRANT += [(6, "project", "bytes"), (7, "replaced", 1)]
GRANTED: Schema = [(1, "pid", "bytes"), (2, "name", "text"), (3, "epoch", 4), (4, "floor", "bytes"), (5, "keys", "bytes")]
GRANTED += [(6, "set", "bytes")]
ESCROW: Schema = [(1, "kek", "bytes"), (2, "writer", "bytes"), (3, "name", "text"), (4, "level", 1), (5, "expires", 8)]
ESCROW += [(6, "strict", 1), (7, "pid", "bytes"), (8, "restricted", 1), (9, "only", "bytes"), (10, "created", 8)]
ESCROW += [(11, "replaced_by", "bytes")]


def encode_grant(grant: Data) -> bytes:
    """`keys` of the project is a key ring, and `set` is a dictionary."""
    project = dict(grant["project"])
    if "keys" in project:
        project["keys"] = encode_fields(RING, project["keys"])
    if "set" in project:
        project["set"] = encode_set(project["set"])
    return encode_fields(GRANT, grant | {"project": encode_fields(GRANTED, project)})


def encode_set(keys: Data) -> bytes:
    encoded = keys["head_key"] + keys["policy_key"] + u32(len(keys["records"]))
    for row in keys["records"]:
        encoded += row["rid"] + bytes([row["class"]]) + u32(row["generation"]) + lp(row["tag"].encode())
        encoded += row["metadata_key"] + lp(row.get("value_key", b""))
    return encoded


def decode_grant(encoded: bytes) -> Data:
    fields = decode_fields(GRANT, encoded)
    need("project" in fields)
    project = decode_granted(fields["project"])
    need(fields.keys() >= {"name", "level", "owner"} and len(fields["owner"]) == 32 and fields.get("replaced", 1) == 1)
    check_token(fields)
    return fields | {"project": project}


def decode_granted(encoded: bytes) -> Data:
    fields = decode_fields(GRANTED, encoded)
    need(fields.keys() >= {"pid", "name", "epoch", "floor"} and ("keys" in fields) != ("set" in fields))
    read = decode_ring if "keys" in fields else decode_set
    keys = {name: read(fields[name]) for name in ("keys", "set") if name in fields}
    need(len(fields["pid"]) == 16 and len(fields["floor"]) == 80 and "later" not in fields)
    check_project_name(fields["name"])
    return fields | keys


def decode_set(encoded: bytes) -> Data:
    need(len(encoded) >= 68)
    records, at = [], 68

    def take(length: int) -> bytes:
        nonlocal at
        at += length
        need(at <= len(encoded))
        return encoded[at - length : at]

    for _ in range(int.from_bytes(encoded[64:68], "big")):
        row: Data = {"rid": take(8), "class": take(1)[0], "generation": int.from_bytes(take(4), "big")}
        row["tag"] = decode_field("text", take(int.from_bytes(take(4), "big")))
        need(row["class"] <= 1 and isinstance(row["tag"], str))
        check_tag(row["tag"])
        row["metadata_key"] = take(32)
        value = take(int.from_bytes(take(4), "big"))
        need(len(value) in (0, 32))
        records.append(row | ({"value_key": value} if value else {}))
    rids = [row["rid"] for row in records]
    need(at == len(encoded) and rids == sorted(set(rids)))
    return {"head_key": encoded[:32], "policy_key": encoded[32:64], "records": records}


def check_token(fields: Data) -> None:
    check_project_name(fields["name"])
    need(len(fields["name"]) <= 64 and fields["level"] in PREFIXES and fields.get("strict", 1) == 1)


def decode_escrow(encoded: bytes) -> Data:
    fields = decode_fields(ESCROW, encoded)
    need(fields.keys() >= {"kek", "writer", "name", "level", "pid", "created"})
    check_token(fields)
    lengths = {"kek": 32, "writer": 32, "pid": 16, "replaced_by": 16}
    need(all(len(fields[name]) == length for name, length in lengths.items() if name in fields))
    need(fields.get("restricted", 1) == 1)
    if "only" in fields:
        only = fields["only"]
        rids = [only[at : at + 8] for at in range(0, len(only), 8)]
        need(len(only) % 8 == 0 and rids == sorted(set(rids)))
        fields["only"] = rids
    return fields


def escrow_key(root_key: bytes) -> bytes:
    return expand(root_key, "escrow", b"")


def open_grant(kek: bytes, vault_id: bytes, row: Data) -> Data:
    need(len(row["body"]) <= 256 << 10)
    padded = unseal(kek, vault_id, "grant", row["token_id"] + u64(row["gen"]), row["body"])
    return decode_grant(unpad(padded, record_size))


def open_escrow(root_key: bytes, vault_id: bytes, row: Data) -> Data:
    need(len(row["escrow"]) <= 64 << 10)
    padded = unseal(escrow_key(root_key), vault_id, "escrow", row["token_id"] + u64(row["gen"]), row["escrow"])
    return decode_escrow(unpad(padded, record_size))


def list_token(root_key: bytes, vault_id: bytes, rings: dict[bytes, Data], row: Data) -> Data:
    """Opens an escrow, and the grant with the key in it. The token's holder can rewrite the grant, so that is no damage."""
    where = f"token {row['token_id'].hex()}"
    need(len(row["token_id"]) == 16, "damaged", where)
    escrow = open_escrow(root_key, vault_id, row)
    need(escrow["pid"] in rings, "damaged", f"{where}: project")
    try:
        grant = open_grant(escrow["kek"], vault_id, row)
        same = all(escrow.get(name) == grant.get(name) for name in ("name", "level", "expires", "strict"))
        same = same and ("replaced_by" in escrow) == ("replaced" in grant)
        same = same and grant["owner"] == raw_public(owner_seed(root_key)) and grant["project"]["pid"] == escrow["pid"]
        need(same, "not from the escrow")
        check_granted_keys(grant["project"], rings[escrow["pid"]])
        state = "current"
    except Refused as refused:
        state = refused.args[0]
    found = {"id": row["token_id"], "generation": row["gen"], "grant": state, **escrow}
    del found["kek"]
    shown: Data = json.loads(json.dumps(found, default=bytes.hex))
    return shown


def check_granted_keys(project: Data, ring: Data) -> None:
    pid = project["pid"]
    if "keys" in project:
        need(all(ring.get(name) == key for name, key in project["keys"].items()), "other keys")
        return
    keys = project["set"]
    need(keys["head_key"] == head_key(ring["pmk"], pid), "other keys")
    need(keys["policy_key"] == policy_key(ring["pmk"], pid), "other keys")
    for row in keys["records"]:
        need(row["metadata_key"] == metadata_key(ring["pmk"], pid, row["rid"]), "other keys")
        value = value_key(ring, pid, row["rid"], row["generation"], row["class"])
        need(row.get("value_key", value) == value, "other keys")


def list_grant(text: str, vault_id: bytes, grants: list[Data]) -> Data:
    """Opens the grant of a token, with the token alone."""
    level, key = parse_token(text)
    keys = token_keys(key, vault_id)
    rows = [row for row in grants if row["token_id"] == keys["token_id"]]
    need(len(rows) == 1, "revoked", "the vault has no grant for this token")
    grant = open_grant(keys["kek"], vault_id, rows[0])
    shown: Data = json.loads(json.dumps(grant | {"label": level}, default=bytes.hex))
    return shown


# A whole vault: section 5, everything that a reader checks

Query = Callable[..., list[Data]]


def open_vault(path: Path, passphrase: bytes, token: str | None) -> Data:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.execute("BEGIN")

    def rows(query: str, *values: Any) -> list[Data]:
        return [dict(row) for row in connection.execute(query, values)]

    check_schema(rows)
    vaults, slots, grants = rows("SELECT * FROM vault"), rows("SELECT * FROM slots"), rows("SELECT * FROM grants")
    need(len(vaults) == 1 and len(vaults[0]["vault_id"]) == 16, "damaged", "vault")
    need(vaults[0]["suite"] == SUITE, "unsupported", "suite")
    vault_id, past = vaults[0]["vault_id"], vaults[0]["past"]
    root_key = open_any_slot(slots, vault_id, passphrase)
    if past:
        keys = unseal(checkpoint_key(root_key), vault_id, "checkpoint-past", b"", past)
        need(len(keys) % 96 == 0 and len(keys) <= 8 * 96, "damaged", "past keys")

    keys, owner = directory_keys(root_key), raw_public(owner_seed(root_key))
    head, records = open_project(rows, vault_id, owner, DIRECTORY, keys, None)
    need(head["dir"] == slots_hash(slots, past), "damaged", "slots")
    need(head["policy"] == tokens_hash(grants) and len(grants) <= 1024, "damaged", "tokens")
    entries = [open_directory_record(rows, vault_id, keys, row) for row in records]
    check_orphans(rows, {DIRECTORY, *(entry["pid"] for entry, _ in entries)})
    found = [list_project(rows, vault_id, owner, entry, ring) for entry, ring in entries]
    rings = {entry["pid"]: ring for entry, ring in entries}
    tokens = [list_token(root_key, vault_id, rings, row) for row in grants]
    listed: Data = {"projects": sorted(found, key=lambda project: project["name"]), "tokens": tokens}
    return listed if token is None else listed | {"grant": list_grant(token, vault_id, grants)}


def check_schema(rows: Query) -> None:
    need(rows("PRAGMA application_id") == [{"application_id": APPLICATION_ID}], "unsupported", "application_id")
    need(rows("PRAGMA user_version") == [{"user_version": USER_VERSION}], "unsupported", "user_version")
    schema = re.findall(r"^(CREATE TABLE (\w+)\(.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    objects = {("table", name, name, sql) for sql, name in schema}
    objects |= {("index", "sqlite_autoindex_records_1", "records", None)}  # created by SQLite for `rid UNIQUE`
    found = {tuple(row.values()) for row in rows("SELECT type, name, tbl_name, sql FROM sqlite_schema")}
    need(len(schema) == 9 and found == objects, "damaged", "schema")


def check_orphans(rows: Query, pids: set[bytes]) -> None:
    for table in ("projects", "policies", "buckets", "records", "audit"):
        found = {row["pid"] for row in rows(f"SELECT DISTINCT pid FROM {table}")}
        need(found <= pids, "damaged", f"orphan rows in {table}")
    need(not rows("SELECT rid FROM vals WHERE rid NOT IN (SELECT rid FROM records)"), "damaged", "orphan values")


def open_any_slot(slots: list[Data], vault_id: bytes, passphrase: bytes) -> bytes:
    for slot in (slot for slot in slots if slot["type"] in (PASSPHRASE, KEYED)):
        try:
            return open_slot(slot, vault_id, passphrase)
        except Refused as refused:
            need(refused.args[0] == "wrong-passphrase", refused.args[0], f"slot {slot['slot_id'].hex()}")
    raise Refused("wrong-passphrase", "no slot")


def open_project(
    rows: Query, vault_id: bytes, owner: bytes, pid: bytes, keys: Data, entry: Data | None
) -> tuple[Data, list[Data]]:
    """Verifies the head, the policy, the audit log, the buckets and the leaves of a project, or of the directory."""
    projects = rows("SELECT * FROM projects WHERE pid = ?", pid)
    need(len(projects) == 1, "damaged", "head")
    epoch = projects[0]["epoch"]
    head = open_head(keys["pmk"], vault_id, pid, epoch, projects[0]["head"])
    signer = check_policy(rows, vault_id, owner, keys, head, entry) if entry else owner
    need(entry is not None or head["signer_id"] == OWNER, "damaged", "signer")
    need(verifies(signer, encode_head(vault_id, pid, head), projects[0]["sig"]), "damaged", "head: signature")

    log = rows("SELECT seq, epoch, ct FROM audit WHERE pid = ? ORDER BY seq", pid)
    opened = [(row["seq"], open_entry(keys["pmk"], vault_id, pid, row)) for row in log]
    check_log(vault_id, pid, opened, head, owner)

    buckets = {row["b"]: row["h"] for row in rows("SELECT b, h FROM buckets WHERE pid = ?", pid)}
    need(all(0 <= b < 256 and len(h) == 32 and any(h) for b, h in buckets.items()), "damaged", "buckets")
    need(root_hash(pid, buckets) == head["root_hash"], "damaged", "root hash")
    records = rows("SELECT * FROM records WHERE pid = ?", pid)
    need(len(records) == head["count"], "damaged", "count")
    sizes = {"rid": 8, "tag_ix": 16, "val_hash": 32, "leaf": 32}
    need(all(len(row[column]) == size for row in records for column, size in sizes.items()), "damaged", "sizes")
    for b in range(256):
        inside = [row for row in records if row["tag_ix"][0] == b]
        need(bucket(pid, b, inside) == buckets.get(b, bytes(32)), "damaged", f"bucket {b}")
    for row in records:
        current = leaf(vault_id, row) == row["leaf"] and row["epoch"] == epoch
        need(current, "damaged", f"se{row['rid'].hex()}: leaf")
    return head, records


def check_policy(rows: Query, vault_id: bytes, owner: bytes, keys: Data, head: Data, entry: Data) -> bytes:
    """Returns the key that verifies the head."""
    pid = entry["pid"]
    need(head["epoch"] == entry["epoch"] and head["dir"] == bytes(32), "damaged", "head")
    stored = rows("SELECT v, body, sig FROM policies WHERE pid = ?", pid)
    need(len(stored) <= 1, "damaged", "policies")
    policy_id, writers = u64(0) + bytes(32), []
    if stored:
        policy = open_policy(keys["pmk"], owner, vault_id, pid, stored[0])
        need(policy["epoch"] == entry["epoch"], "damaged", "policy: epoch")
        policy_id, writers = u64(policy["version"]) + sha256(encode_policy(vault_id, pid, policy)), policy["writers"]
    need(policy_id == entry.get("policy", u64(0) + bytes(32)) and policy_id[8:] == head["policy"], "damaged", "policy")
    if head["signer_id"] == OWNER:
        return owner
    allowed = [row for row in writers if row["token_id"] == head["signer_id"] and head["time"] <= row["until"]]
    need(len(allowed) == 1, "damaged", "signer")
    key: bytes = allowed[0]["key"]
    return key


def stored_value(rows: Query, row: Data) -> bytes:
    values = rows("SELECT val FROM vals WHERE rid = ?", row["rid"])
    need(len(values) == 1 and sha256(values[0]["val"]) == row["val_hash"], "damaged", f"se{row['rid'].hex()}: value")
    sealed: bytes = values[0]["val"]
    return sealed


def open_directory_record(rows: Query, vault_id: bytes, keys: Data, row: Data) -> tuple[Data, Data]:
    entry = decode_entry(open_metadata(keys["pmk"], vault_id, row, row["meta"]))
    need(index_of(keys["tik"], entry["name"]) == row["tag_ix"] and entry["pid"][:8] == row["rid"], "damaged", "entry")
    ring = open_value(keys, vault_id, row, (0, 0, entry["name"], []), stored_value(rows, row))
    return entry, decode_ring(ring)


def list_project(rows: Query, vault_id: bytes, owner: bytes, entry: Data, ring: Data) -> Data:
    head, records = open_project(rows, vault_id, owner, entry["pid"], ring, entry)
    secrets = sorted((open_record(rows, vault_id, ring, row) for row in records), key=lambda one: tag_key(one["tag"]))
    return {"name": entry["name"], "seq": head["seq"], "count": head["count"], "secrets": secrets}


def open_record(rows: Query, vault_id: bytes, keys: Data, row: Data) -> Data:
    name = "se" + row["rid"].hex()
    fields = decode_metadata(open_metadata(keys["pmk"], vault_id, row, row["meta"]))
    key = tag_key(fields["tag"])
    need(index_of(keys["tik"], key) == row["tag_ix"], "damaged", f"{name}: tag")
    binding = (fields.get("generation", 0), fields.get("class", 0), key, fields.get("destinations", []))
    value = open_value(keys, vault_id, row, binding, stored_value(rows, row))
    fields = {name: content.hex() if isinstance(content, bytes) else content for name, content in fields.items()}
    return {"id": name, **fields, "value": base64.b64encode(value).decode()}


# Known answers: the computation of each kind


def known_root_keys(i: Data) -> Data:
    keys = {"owner": raw_public(owner_seed(i["root_key"])), "checkpoint": checkpoint_key(i["root_key"])}
    return keys | directory_keys(i["root_key"])


def known_keyring(i: Data) -> Data:
    pid, rid = i["pid"], i["rid"]
    derived = {"head_key": head_key(i["pmk"], pid), "policy_key": policy_key(i["pmk"], pid)}
    derived |= {"audit_key": audit_key(i["pmk"], pid), "metadata_key": metadata_key(i["pmk"], pid, rid)}
    derived["value_key"] = value_key(i, pid, rid, i["generation"], 0)
    derived["restricted_key"] = value_key(i, pid, rid, i["generation"], 1)
    return {"encoded": encode_fields(RING, i), **derived}


def known_value(i: Data) -> Data:
    padded = pad(i["value"], value_size)
    key = value_key(i, i["pid"], i["rid"], i["generation"], i["class"])
    ctx = value_ctx(i, i["generation"], i["class"], tag_key(i["tag"]), i.get("destinations"))
    message_key, nonce = aead(key, "value", i["salt"])
    sealed = seal(key, i["vault_id"], "value", ctx, padded, i["salt"])
    associated = aad(i["vault_id"], "value", ctx)
    return {"key": message_key, "nonce": nonce, "aad": associated, "padded": padded, "sealed": sealed}


def known_metadata(i: Data) -> Data:
    encoded, key = encode_fields(METADATA, i["fields"]), metadata_key(i["pmk"], i["pid"], i["rid"])
    sealed = seal(key, i["vault_id"], "meta", record_ctx(i, i["ver"]), pad(encoded, record_size), i["salt"])
    return {"encoded": encoded, "sealed": sealed}


def known_slot(i: Data) -> Data:
    kek, commitment = slot_keys(i, i["vault_id"], i["passphrase"])
    wrap = seal(kek, i["vault_id"], "slot", slot_ctx(i), i["root_key"], i["wrap_salt"])
    return {"kek": kek, "commitment": commitment, "wrap": wrap}


def known_recovery(i: Data) -> Data:
    return {"text": recovery_text(i["code"]), **known_slot(i | {"passphrase": i["code"]})}


def known_project_entry(i: Data) -> Data:
    """`epoch` is the directory's; the entry holds the project's own. `keys` is the project's key ring."""
    keys, name = directory_keys(i["root_key"]), i["fields"]["name"]
    row = i | {"pid": DIRECTORY, "rid": as_bytes(i["fields"]["pid"])[:8]}
    encoded, ring = encode_fields(ENTRY, i["fields"]), encode_fields(RING, i["keys"])
    key = metadata_key(keys["pmk"], DIRECTORY, row["rid"])
    meta = seal(key, i["vault_id"], "meta", record_ctx(row, i["ver"]), pad(encoded, record_size), i["salt"])
    key, ctx = value_key(keys, DIRECTORY, row["rid"], 0, 0), value_ctx(row, 0, 0, name)
    val = seal(key, i["vault_id"], "value", ctx, pad(ring, value_size), i["salt"])
    return {"encoded": encoded, "tag_ix": index_of(keys["tik"], name), "rid": row["rid"], "meta": meta, "val": val}


def known_head(i: Data) -> Data:
    encoded = encode_head(i["vault_id"], i["pid"], i)
    sealed = seal(head_key(i["pmk"], i["pid"]), i["vault_id"], "head", i["pid"] + u32(i["epoch"]), encoded, i["salt"])
    return {"encoded": encoded, "hash": sha256(encoded), "sealed": sealed, "sig": sign(i["seed"], encoded)}


def known_head_opened(i: Data) -> Data:
    head = open_head(i["pmk"], i["vault_id"], i["pid"], i["epoch"], i["sealed"])
    need(verifies(i["signer"], encode_head(i["vault_id"], i["pid"], head), i["sig"]), "damaged", "head: signature")
    return head


def known_policy(i: Data) -> Data:
    encoded = encode_policy(i["vault_id"], i["pid"], i)
    key, ctx = policy_key(i["pmk"], i["pid"]), i["pid"] + u64(i["version"])
    body = seal(key, i["vault_id"], "policy", ctx, pad(encoded, record_size), i["salt"])
    return {"encoded": encoded, "hash": sha256(encoded), "body": body, "sig": sign(i["seed"], encoded)}


def known_audit(i: Data) -> Data:
    encoded = encode_entry(i)
    signature = sign(i["seed"], entry_message(i["vault_id"], i["pid"], i["seq"], encoded))
    plain, ctx = encoded + signature, i["pid"] + u64(i["seq"]) + u32(i["epoch"])
    ct = seal(audit_key(i["pmk"], i["pid"]), i["vault_id"], "audit", ctx, pad(plain, record_size), i["salt"])
    return {"encoded": encoded, "sig": signature, "hash": sha256(plain), "ct": ct}


def known_audit_opened(i: Data) -> Data:
    entry = open_entry(i["pmk"], i["vault_id"], i["pid"], i)
    message = entry_message(i["vault_id"], i["pid"], i["seq"], encode_entry(entry))
    return {"hash": entry["hash"], "is_signed": verifies(i["signer"], message, entry["sig"])}


def known_past_keys(i: Data) -> Data:
    past = [past_keys(row["root_key"]) for row in i["past_roots"]]
    sealed = seal(checkpoint_key(i["root_key"]), i["vault_id"], "checkpoint-past", b"", b"".join(past), i["salt"])
    return {"keys": past, "past": sealed}


def known_checkpoint(i: Data) -> Data:
    key, state = checkpoint_key(i["root_key"]), encode_state(i)
    path, vault_id = i["text"].encode(), i["vault_id"]
    place, newest = sha256(path) + i["pid"], pad(lp(path) + state, record_size)
    checkpoint = seal(key, vault_id, "checkpoint", place, pad(state, record_size), i["salt"])
    names = [sha256(vault_id + place)[:16], sha256(vault_id + i["pid"])[:16]]
    newest = seal(key, vault_id, "newest", i["pid"], newest, i["salt"])
    return {"key": key, "state": state, "checkpoint": checkpoint, "newest": newest, "names": names}


def known_witness(i: Data) -> Data:
    return {"text": f"{i['seq']}-{base64.b32encode(i['audit_head'][:20]).decode().lower()}"}


def known_near_file(i: Data) -> Data:
    key, vault_id = checkpoint_key(i["root_key"]), i["vault_id"]
    sealed = seal(key, vault_id, "address", b"", pad(i["address"], record_size), i["salt"])
    digest = sha256(b"secrets/v3/near-slots\0" + slots_hash(i["rows"], b""))
    return {"sealed": sealed, "slots_mac": expand(key, "trust", vault_id + digest)}


def ticket_text(i: Data) -> str:
    content = b"\1" + i["vault_id"] + u64(i["until"]) + i["code"] + lp(i["address"])
    checked = content + sha256(b"secrets/v3/ticket\0" + content)[:4]
    return "srt_" + base64.urlsafe_b64encode(checked).decode().rstrip("=")


def parse_ticket(text: str) -> Data:
    encoded = re.sub(r"[ \t\r\n\f]", "", text).removeprefix("srt_")
    checked = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    content = checked[:-4]
    need(sha256(b"secrets/v3/ticket\0" + content)[:4] == checked[-4:] and content[0] == 1)
    until, length = (int.from_bytes(content[at:end], "big") for at, end in ((17, 25), (57, 61)))
    need(len(content) == 61 + length)
    return {"vault_id": content[1:17], "until": until, "code": content[25:57], "address": content[61:]}


def known_ticket_opened(i: Data) -> Data:
    ticket = parse_ticket(i["text"])
    need(i["params"] == u64(ticket["until"]))
    return {"root_key": open_slot(i, ticket["vault_id"], ticket["code"]), "address": ticket["address"], "until": ticket["until"]}


def known_token(i: Data) -> Data:
    return {"text": token_text(i["level"], i["key"]), **token_keys(i["key"], i["vault_id"])}


def known_token_opened(i: Data) -> Data:
    level, key = parse_token(i["text"])
    return {"level": level, "token_id": token_keys(key, i["vault_id"])["token_id"]}


def known_grant(i: Data) -> Data:
    encoded, ctx = encode_grant(i["grant"]), i["token_id"] + u64(i["gen"])
    sealed = seal(i["kek"], i["vault_id"], "grant", ctx, pad(encoded, record_size), i["salt"])
    return {"encoded": encoded, "sealed": sealed}


def known_escrow(i: Data) -> Data:
    key, ctx = escrow_key(i["root_key"]), i["token_id"] + u64(i["gen"])
    content = {name: b"".join(part) if name == "only" else part for name, part in i["escrow"].items()}
    encoded = encode_fields(ESCROW, content)
    sealed = seal(key, i["vault_id"], "escrow", ctx, pad(encoded, record_size), i["salt"])
    return {"key": key, "encoded": encoded, "sealed": sealed}


def known_opened(padded: bytes, read: Callable[[bytes], Data]) -> Data:
    """Includes the content of the seal, so that a refusal is about the content and not about the seal."""
    try:
        return {"padded": padded, **read(padded)}
    except Refused as refused:
        return {"padded": padded, "error": refused.args[0]}


def known_metadata_opened(i: Data) -> Data:
    key = metadata_key(i["pmk"], i["pid"], i["rid"])
    padded = unseal(key, i["vault_id"], "meta", record_ctx(i, i["ver"]), i["sealed"])
    return known_opened(padded, lambda padded: {"fields": decode_metadata(unpad(padded, record_size))})


def known_value_opened(i: Data) -> Data:
    key = value_key(i, i["pid"], i["rid"], i["generation"], i["class"])
    ctx = value_ctx(i, i["generation"], i["class"], tag_key(i["tag"]), i.get("destinations"))
    padded = unseal(key, i["vault_id"], "value", ctx, i["sealed"])
    return known_opened(padded, lambda padded: {"value": unpad(padded, value_size)})


def known_grant_opened(i: Data) -> Data:
    padded = unseal(i["kek"], i["vault_id"], "grant", i["token_id"] + u64(i["gen"]), i["sealed"])
    return known_opened(padded, lambda padded: {"grant": decode_grant(unpad(padded, record_size))})


def known_escrow_opened(i: Data) -> Data:
    padded = unseal(escrow_key(i["root_key"]), i["vault_id"], "escrow", i["token_id"] + u64(i["gen"]), i["sealed"])
    return known_opened(padded, lambda padded: {"escrow": decode_escrow(unpad(padded, record_size))})


KINDS: dict[str, Callable[[Data], Data]] = {
    "expand": lambda i: {"output": expand(i["key"], i["label"], i["ctx"], i["length"])},
    "slot": known_slot,
    "slot-opened": lambda i: {"root_key": open_slot(i, i["vault_id"], i["passphrase"])},
    "recovery": known_recovery,
    "keychain-opened": lambda i: {"root_key": open_slot(i, i["vault_id"], i["passphrase"])},
    "recovery-opened": lambda i: {"root_key": open_slot(i, i["vault_id"], i["code"])},
    "root-keys": known_root_keys,
    "keyring": known_keyring,
    "keyring-opened": lambda i: decode_ring(i["encoded"]),
    "metadata": known_metadata,
    "metadata-opened": known_metadata_opened,
    "project-entry": known_project_entry,
    "project-entry-opened": lambda i: {"fields": decode_entry(i["encoded"])},
    "value": known_value,
    "value-opened": known_value_opened,
    "value-sizes": lambda i: {"padded": [value_size(4 + length) for length in i["lengths"]]},
    "tag-index": lambda i: {"tag_ix": [index_of(i["tik"], tag_key(tag)) for tag in i["spellings"]]},
    "leaf": lambda i: {"leaf": leaf(i["vault_id"], i)},
    "bucket": lambda i: {"bucket": bucket(i["pid"], i["b"], i["records"])},
    "root_hash": lambda i: {"root_hash": root_hash(i["pid"], {row["b"]: row["h"] for row in i["buckets"]})},
    "slots-hash": lambda i: {"slots": slots_hash(i["rows"], i["past"])},
    "tokens-hash": lambda i: {"tokens": tokens_hash(i["rows"])},
    "head": known_head,
    "head-opened": known_head_opened,
    "policy": known_policy,
    "policy-opened": lambda i: open_policy(i["pmk"], i["owner"], i["vault_id"], i["pid"], i),
    "audit": known_audit,
    "audit-opened": known_audit_opened,
    "token": known_token,
    "token-opened": known_token_opened,
    "grant": known_grant,
    "grant-opened": known_grant_opened,
    "escrow": known_escrow,
    "escrow-opened": known_escrow_opened,
    "past-keys": known_past_keys,
    "checkpoint": known_checkpoint,
    "witness": known_witness,
    "near-file": known_near_file,
    "ticket": lambda i: {"text": ticket_text(i)},
    "ticket-opened": known_ticket_opened,
}

Case = tuple[str, str, str, str, Data]
WHAT = "Sealed by somebody who has the key, badly"


def fixed(name: str, length: int) -> bytes:
    return hashlib.shake_128(name.encode()).digest(length)


VAULT_ID, PID, RID, SALT, ROOT_KEY = fixed("vault", 16), fixed("project", 16), fixed("record", 8), fixed("salt", 24), fixed("root", 32)
RING_KEYS = {name: fixed(name, 32) for name in ("pmk", "pvk", "prk", "tik")}
PMK, SEED = RING_KEYS["pmk"], fixed("signer", 32)
PLACE: Data = {"vault_id": VAULT_ID, "pid": PID, "epoch": 1}
LATER = b"\x80" + lp(b"later") + b"\xff" + lp(b"")


def cases() -> Iterator[Case]:
    """Yields the name, kind, section, description and input of every known answer."""
    ctx = fixed("slot", 16)
    yield "expand", "expand", "2", "EXP", {"key": ROOT_KEY, "label": "slot-kek", "ctx": ctx, "length": 32}
    ctx = b"value\0" + SALT
    yield "expand-44", "expand", "2", "EXP of a seal", {"key": RING_KEYS["pvk"], "label": "aead", "ctx": ctx, "length": 44}
    for part in (slot_cases, recovery_cases, keyring_cases, metadata_cases, project_entry_cases, value_cases):
        yield from part()
    for part in (tree_cases, table_cases, head_cases, policy_cases, audit_cases, checkpoint_cases, token_cases):
        yield from part()
    yield from grant_cases()
    yield from escrow_cases()
    yield from remote_cases()


def slot_cases() -> Iterator[Case]:
    least, default = (b"".join(map(u32, numbers)) for numbers in [(19456, 1, 1), (65536, 3, 4)])
    passphrase = "Zu\u0308rich, A\u030angstro\u0308m, \u2126".encode()  # decomposed; NFC makes it shorter
    slot: Data = {"vault_id": VAULT_ID, "slot_id": fixed("slot", 16), "type": PASSPHRASE, "params": least}
    slot |= {"salt": fixed("argon", 16), "passphrase": passphrase}
    made = {"root_key": ROOT_KEY, "wrap_salt": SALT}
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
        yield f"slot-{name}", "slot-opened", "3", "Refused before any memory is allocated", slot | {"params": params}
    text = KEY_FILE + base64.urlsafe_b64encode(fixed("key file", 32)).rstrip(b"=")
    keyed = slot | {"type": KEYED, "key_file": b"# a comment\n" + text + b"\n"}
    yield "slot-keyed", "slot", "3", "With a key file", keyed | made
    opened = known_slot(keyed | made)
    keyed |= {"commitment": opened["commitment"], "wrap": opened["wrap"]}
    yield "slot-keyed-opened", "slot-opened", "3", "The passphrase and the key file open it", keyed
    other = {"key_file": KEY_FILE + b"A" * 43}
    yield "slot-keyed-other", "slot-opened", "3", "Another key file", keyed | other
    alone = {name: value for name, value in keyed.items() if name != "key_file"}
    yield "slot-keyed-alone", "slot-opened", "3", "Without its key file", alone
    needless = slot | {"key_file": keyed["key_file"]}
    yield "slot-needless-key-file", "slot-opened", "3", "A slot without a key file ignores one", needless


def recovery_cases() -> Iterator[Case]:
    paper: Data = {"vault_id": VAULT_ID, "slot_id": fixed("paper slot", 16), "type": RECOVERY, "params": b""}
    paper |= {"salt": fixed("paper salt", 16), "code": fixed("code", 32)}
    made = {"root_key": ROOT_KEY, "wrap_salt": SALT}
    yield "recovery", "recovery", "3", "A code as it is written, and its slot", paper | made
    opened = known_recovery(paper | made)
    paper |= {"commitment": opened["commitment"], "wrap": opened["wrap"], "text": opened["text"]}
    yield "recovery-opened", "recovery-opened", "3", "The code opens it", paper
    other: Data = {"code": fixed("other code", 32)}
    other |= {"text": recovery_text(other["code"])}
    yield "recovery-wrong", "recovery-opened", "3", "Another code", paper | other
    params = b"".join(map(u32, (19456, 1, 1)))
    yield "recovery-params", "recovery-opened", "3", "It has parameters", paper | {"params": params}
    held: Data = {"vault_id": VAULT_ID, "slot_id": fixed("keychain slot", 16), "type": KEYCHAIN, "params": b""}
    held |= {"salt": fixed("keychain salt", 16), "passphrase": fixed("keychain", 32)}
    opened = known_slot(held | made)
    held |= {"commitment": opened["commitment"], "wrap": opened["wrap"]}
    yield "keychain-opened", "keychain-opened", "3", "The key of a keychain opens its slot", held
    yield "keychain-other", "keychain-opened", "3", "Another key", held | {"passphrase": fixed("other keychain", 32)}
    yield "keychain-as-recovery", "keychain-opened", "3", "The type is bound into the seal", held | {"type": RECOVERY}
    yield "keychain-params", "keychain-opened", "3", "It has parameters", held | {"params": params}


def keyring_cases() -> Iterator[Case]:
    yield "root-keys", "root-keys", "3", "The owner's key and the directory's keys", {"root_key": ROOT_KEY}
    ring = RING_KEYS | {"pid": PID, "rid": RID, "generation": 2}
    yield "keyring", "keyring", "3", "A project's keys, encoded, and the keys that they derive", ring
    yield "keyring-later", "keyring", "4", "Fields of a later version are kept", ring | {"later": LATER}
    runs = [bytes([number]) + lp(RING_KEYS[name]) for number, name, _ in RING]
    encodings = {
        "whole": runs,
        "of-a-reader": [runs[0], runs[3]],
        "later-fields": [*runs, LATER],
        "newer": [*runs, b"\5" + lp(b"?")],
        "no-metadata-key": runs[1:],
        "short-key": [*runs[:3], b"\4" + lp(bytes(31))],
        "twice": [runs[0], *runs],
    }
    for name, run in encodings.items():
        yield f"keyring-{name}", "keyring-opened", "4", "The fields of a key ring", {"encoded": b"".join(run)}


def metadata_cases() -> Iterator[Case]:
    record = PLACE | {"rid": RID, "ver": 7, "pmk": PMK}
    names = {"name": "Datenbank, lesend", "description": "read replica \u2192 reports"}
    fields: Data = {"tag": "DB_PASSWORD", "hint": "ab…yz", "created": 1700000000000, "updated": 1700000000001}
    more = {"class": 1, "generation": 3, "destinations": DESTINATIONS, "expires": 1800000000000}
    more |= {"source": "https://example.com/keys"}
    whole = record | {"salt": SALT, "fields": fields | names | more}
    yield "metadata-full", "metadata", "4", "All eleven fields", whole
    yield "metadata-least", "metadata", "4", "Nothing that may be absent", record | {"salt": SALT, "fields": fields}
    later = record | {"salt": SALT, "fields": fields | {"later": LATER}}
    yield "metadata-later", "metadata", "4", "Fields of a later version are kept", later
    for size in (252, 253):
        described = fields | {"description": "x" * (size - 5 - len(encode_fields(METADATA, fields)))}
        filled = record | {"salt": SALT, "fields": described}
        yield f"metadata-{size}", "metadata", "4", f"{size} bytes and their length", filled
    key = metadata_key(PMK, PID, RID)
    for name, run in bad_metadata(fields).items():
        sealed = seal(key, VAULT_ID, "meta", record_ctx(record, 7), pad(b"".join(run), record_size), SALT)
        yield f"metadata-{name}", "metadata-opened", "4", WHAT, record | {"sealed": sealed}


DESTINATIONS = [
    "* https://[::1]:8443/a%2Fb/*x cookie:SID",
    "GET,POST https://api.example.com/v1/** header:authorization",
    "PUT https://*.example.com json:/auth/api key",
]
BAD_DESTINATIONS = {
    "not-sorted": DESTINATIONS[1::-1],
    "twice": [DESTINATIONS[0]] * 2,
    "without-tls": ["* http://api.example.com path"],
    "no-place": ["* https://api.example.com"],
    "methods-not-sorted": ["POST,GET https://api.example.com path"],
    "host-upper-case": ["* https://API.example.com path"],
    "host-number": ["* https://127.1 path"],
    "host-octal": ["* https://127.0.0.01 path"],
    "all-hosts": ["* https://*.com path"],
    "default-port": ["* https://api.example.com:443 path"],
    "port-with-zero": ["* https://api.example.com:08443 path"],
    "default-path": ["* https://api.example.com/** path"],
    "path-not-canonical": ["* https://api.example.com/%61 path"],
    "path-with-dots": ["* https://api.example.com/a/../b path"],
    "stars": ["* https://api.example.com/a** path"],
    "framing": ["* https://api.example.com header:host"],
    "header-upper-case": ["* https://api.example.com header:X-Key"],
    "bad-pointer": ["* https://api.example.com json:/~2"],
    "bidi": ["* https://api.example.com query:a\u202e"],
    "too-long": ["* https://api.example.com/" + "a" * 1000 + " path"],
    "too-many": [f"* https://api.example.com/{number:02} path" for number in range(33)],
}


def bad_metadata(fields: Data) -> dict[str, list[bytes]]:
    runs = [encode_fields(METADATA, {name: fields[name]}) for name in ("tag", "hint", "created", "updated")]
    return {
        "fields-out-of-order": [runs[0], runs[1], runs[3], runs[2]],
        "field-twice": [runs[0], *runs],
        "no-hint": [runs[0], *runs[2:]],
        "time-too-short": [*runs[:3], b"\6" + lp(bytes(7))],
        "not-utf-8": [b"\1" + lp(b"\xff"), *runs[1:]],
        "cut-short": [*runs[:3], runs[3][:-1]],
        "tag-like-an-id": [b"\1" + lp(b"SE0123456789abcdef"), *runs[1:]],
        "empty-name": [runs[0], b"\2" + lp(b""), *runs[1:]],
        "default-class": [*runs, b"\7" + lp(b"\0")],
        "unknown-class": [*runs, b"\7" + lp(b"\2")],
        "default-generation": [*runs, b"\x08" + lp(bytes(4))],
        "empty-source": [*runs, b"\x0c" + lp(b"")],
        "destinations-empty": [*runs, b"\x09" + lp(b"")],
        "destinations-cut-short": [*runs, b"\x09" + lp(encode_texts(DESTINATIONS)[:-1])],
        "destinations-not-utf-8": [*runs, b"\x09" + lp(lp(b"* https://a.example query:\xff"))],
        **{f"destinations-{name}": [*runs, b"\x09" + lp(encode_texts(texts))] for name, texts in BAD_DESTINATIONS.items()},
        "shape": [*runs, b"\x0a" + lp(b"")],
        "newer": [*runs, b"\x0d" + lp(b"?")],
        "newest": [*runs, b"\x7f" + lp(b"?")],
        "later-twice": [*runs, b"\x80" + lp(b""), b"\x80" + lp(b"")],
    }


def project_entry_cases() -> Iterator[Case]:
    fields: Data = {"name": "web.api", "created": 1700000000000, "updated": 1700000000001, "pid": PID, "epoch": 2}
    more = {"policy": u64(4) + fixed("policy", 32), "due": 1700000000002, "later": LATER}
    where: Data = {"vault_id": VAULT_ID, "root_key": ROOT_KEY, "epoch": 3, "ver": 5, "vver": 5, "salt": SALT, "keys": RING_KEYS}
    yield "project-entry", "project-entry", "4", "A project without a policy", where | {"fields": fields}
    yield "project-entry-full", "project-entry", "4", "All fields", where | {"fields": fields | more}
    order = ("name", "created", "updated", "pid", "epoch")
    runs = [encode_fields(ENTRY, {name: fields[name]}) for name in order]
    encodings = {
        "no-pid": [*runs[:3], runs[4]],
        "bad-name": [b"\1" + lp(b"-x"), *runs[1:]],
        "default-policy": [*runs, b"\x12" + lp(bytes(40))],
        "short-policy": [*runs, b"\x12" + lp(bytes(7) + b"\1")],
        "newer": [*runs, b"\x14" + lp(b"?")],
        "name-of-a-secret": [runs[0], b"\2" + lp(b"label"), *runs[1:]],
    }
    for name, run in encodings.items():
        yield f"project-entry-{name}", "project-entry-opened", "4", "Refused", {"encoded": b"".join(run)}


def value_cases() -> Iterator[Case]:
    keys = {"pvk": RING_KEYS["pvk"], "prk": RING_KEYS["prk"]}
    record = PLACE | keys | {"rid": RID, "vver": 3, "generation": 0, "class": 0, "tag": "DB-Password"}
    whole = record | {"value": b"correct horse battery staple", "salt": SALT}
    yield "seal-value", "value", "2", "EXP, AAD, SEAL and padding of one value", whole
    yield "seal-value-empty", "value", "2", "The empty value", whole | {"value": b""}
    restricted = whole | {"class": 1, "generation": 2}
    yield "seal-value-restricted", "value", "4", "A restricted secret, another generation", restricted
    sent = whole | {"destinations": DESTINATIONS}
    yield "seal-value-destinations", "value", "4", "A secret that may be sent somewhere", sent
    moved = {"sealed": known_value(sent)["sealed"], "destinations": DESTINATIONS[:1]}
    yield "seal-of-other-destinations", "value-opened", "4", "The seal with other destinations", record | moved
    sealed = known_value(whole)["sealed"]
    yield "value-other-spelling", "value-opened", "4", "The tag's key counts", record | {"sealed": sealed, "tag": "DB_PASSWORD"}
    yield "seal-flipped-tag", "value-opened", "2", "The last bit of the tag is another", record | {"sealed": flipped(sealed)}
    others = {"record": {"rid": fixed("another record", 8)}, "tag": {"tag": "OTHER"}, "version": {"vver": 4}, "epoch": {"epoch": 2}}
    others |= {"class": {"class": 1}, "generation": {"generation": 1}, "vault": {"vault_id": fixed("another vault", 16)}}
    for name, other in others.items():
        yield f"seal-of-another-{name}", "value-opened", "4", "The seal of one record in another place", record | {"sealed": sealed} | other
    lengths = {"not-zero": lp(b"x").ljust(255, b"\0") + b"\1", "too-long": u32(253).ljust(256, b"\0")}
    lengths |= {"of-another-size": lp(b"x").ljust(512, b"\0"), "absent": b"\0\0\0"}
    key, ctx = value_key(keys, PID, RID, 0, 0), value_ctx(record, 0, 0, tag_key("DB-Password"))
    for name, padded in lengths.items():
        sealed = seal(key, VAULT_ID, "value", ctx, padded, SALT)
        yield f"padding-{name}", "value-opened", "2", WHAT, record | {"sealed": sealed}
    edges = [0, 1, 252, 253, 508, 509, 1020, 1021, 2044, 2045, 4092, 4093, 4097, 4220, 4221, 8188, 8189, 8444, 8445]
    edges += [65532, 65533, 67580, 67581, 100000, 524284, 524285, 1000000, 1048572, 1048573, 1048576]
    yield "value-sizes", "value-sizes", "4", "From a value's length to its padded size", {"lengths": edges}
    look_up = {"tik": RING_KEYS["tik"], "spellings": ["DB_PASSWORD", "db_password", "Db-Password", "db-password", "DB_PASSWORT"]}
    yield "tag-index", "tag-index", "4", "Four spellings of one tag, and another tag", look_up


def tree_cases() -> Iterator[Case]:
    row = PLACE | {"rid": RID, "ver": 7, "vver": 3}
    row |= {"tag_ix": fixed("index", 16), "meta": fixed("sealed metadata", 296), "val_hash": fixed("sealed value", 32)}
    yield "leaf", "leaf", "5", "One record", row
    columns = {"rid": 8, "leaf": 32}
    rows = [{name: fixed(f"{name} {n}", size) for name, size in columns.items()} for n in range(3)]
    rows = [{"tag_ix": bytes([42] + [n] * 15)} | row for n, row in enumerate(rows)]
    yield "bucket", "bucket", "5", "Three records, ascending", {"pid": PID, "b": 42, "records": rows}
    yield "bucket-empty", "bucket", "5", "No record: zeros", {"pid": PID, "b": 43, "records": []}
    buckets = [{"b": b, "h": fixed(f"bucket {b}", 32)} for b in (0, 42, 255)]
    yield "root-hash", "root_hash", "5", "Three of the 256 buckets have records", {"pid": PID, "buckets": buckets}


def table_cases() -> Iterator[Case]:
    params = b"".join(map(u32, (19456, 1, 1)))
    slot = {"slot_id": fixed("slot", 16), "type": PASSPHRASE, "params": params, "salt": fixed("argon", 16)}
    slot |= {"commitment": fixed("commitment", 32), "wrap": fixed("wrap", 72)}
    paper = slot | {"slot_id": b"\xff" * 16, "type": RECOVERY, "params": b"", "commitment": fixed("other", 32)}
    yield "slots-hash", "slots-hash", "5", "Two slots, ascending", {"rows": [slot, paper], "past": b""}
    yield "slots-hash-past", "slots-hash", "5", "One slot, past keys", {"rows": [slot], "past": fixed("past", 136)}
    grants = [{"token_id": bytes([n] * 16), "gen": n, "escrow": fixed(f"escrow {n}", 80)} for n in (1, 2)]
    yield "tokens-hash", "tokens-hash", "5", "Two tokens, ascending", {"rows": grants}
    yield "tokens-hash-empty", "tokens-hash", "5", "No tokens", {"rows": []}


def head_cases() -> Iterator[Case]:
    head = PLACE | {"seq": 9, "count": 3, "levels": 1, "root_hash": fixed("root hash", 32), "audit_head": fixed("audit", 32)}
    head |= {"time": 1700000000002, "signer_id": OWNER, "policy": fixed("policy", 32), "dir_seq": 0, "dir": bytes(32)}
    head |= {"ancestors": ancestors(8), "pmk": PMK, "seed": SEED, "salt": SALT}
    yield "head", "head", "5", "Encoded, sealed, signed", head
    first = {"seq": 1, "ancestors": bytes(512), "policy": bytes(32)}
    yield "head-first", "head", "5", "The first head of a project", head | first
    directory = {"pid": DIRECTORY, "dir": fixed("slots", 32), "policy": fixed("tokens", 32), "seq": 40, "ancestors": ancestors(32)}
    yield "head-of-directory", "head", "5", "A head of the directory with 32 ancestors", head | directory

    opened = PLACE | {"pmk": PMK, "signer": raw_public(SEED)}
    known = known_head(head)
    good = opened | {"sealed": known["sealed"], "sig": known["sig"]}
    yield "signature-right", "head-opened", "5", "A head that opens", good
    yield "signature-wrong", "head-opened", "5", "Its signature is another", good | {"sig": flipped(known["sig"])}
    other = {"signer": raw_public(fixed("another signer", 32))}
    yield "signature-of-another", "head-opened", "5", "Another key", good | other
    order = (1 << 252) + 27742317777372353535851937790883648493  # of Ed25519's group; S + order is another encoding of S
    unreduced = (int.from_bytes(known["sig"][32:], "little") + order).to_bytes(32, "little")
    yield "signature-malleable", "head-opened", "5", "S is not reduced", good | {"sig": known["sig"][:32] + unreduced}

    middle = ancestors(8)[:48] + bytes(16) + ancestors(8)[64:]
    bad = {
        "one-ancestor-missing": {"ancestors": ancestors(7)},
        "one-ancestor-too-many": {"ancestors": ancestors(9)},
        "no-ancestors": {"ancestors": bytes(512)},
        "ancestor-in-the-middle-missing": {"ancestors": middle},
        "ancestor-of-first": {"seq": 1, "ancestors": ancestors(1)},
        "ancestor-32-missing": {"seq": 33, "ancestors": ancestors(31)},
        "seq-0": {"seq": 0, "ancestors": bytes(512)},
        "other-levels": {"levels": 2},
        "of-a-team": {"dir_seq": 1},
        "other-epoch": {"epoch": 2},
    }
    for name, other in bad.items():
        made = head | other
        encoded = encode_head(VAULT_ID, PID, made)
        sealed = seal(head_key(PMK, PID), VAULT_ID, "head", PID + u32(1), encoded, SALT)
        yield f"head-{name}", "head-opened", "5", WHAT, opened | {"sealed": sealed, "sig": sign(SEED, encoded)}


def ancestors(count: int) -> bytes:
    return fixed("ancestors", 16 * count).ljust(512, b"\0")


def policy_cases() -> Iterator[Case]:
    writers = [{"token_id": bytes([n] * 16), "key": raw_public(fixed(f"writer {n}", 32)), "until": until}
               for n, until in ((1, (1 << 64) - 1), (4, 1800000000000))]
    policy = PLACE | {"version": 3, "writers": writers, "pmk": PMK, "seed": SEED, "salt": SALT}
    yield "policy", "policy", "5", "Two tokens, one expires", policy
    yield "policy-empty", "policy", "5", "Nobody but the owner signs any more", policy | {"writers": [], "version": 4}
    known = known_policy(policy)
    row = {"vault_id": VAULT_ID, "pid": PID, "pmk": PMK, "owner": raw_public(SEED)}
    good = row | {"v": 3, "body": known["body"], "sig": known["sig"]}
    yield "policy-opened", "policy-opened", "5", "A policy that opens", good
    yield "policy-other-signature", "policy-opened", "5", "Its signature is another", good | {"sig": flipped(known["sig"])}
    other = {"owner": raw_public(fixed("another signer", 32))}
    yield "policy-other-owner", "policy-opened", "5", "Another owner", good | other
    yield "policy-other-row", "policy-opened", "5", "The row has another version", good | {"v": 4}
    yield "policy-other-project", "policy-opened", "5", "The row of another project", good | {"pid": fixed("other", 16)}

    many = [writers[0] | {"token_id": u64(n) * 2} for n in range(1, 66)]
    encoded = known["encoded"]
    bad = {
        "not-ascending": encode_policy(VAULT_ID, PID, policy | {"writers": writers[::-1]}),
        "token-twice": encode_policy(VAULT_ID, PID, policy | {"writers": [writers[0], writers[0]]}),
        "65-tokens": encode_policy(VAULT_ID, PID, policy | {"writers": many}),
        "of-another-vault": encode_policy(fixed("another vault", 16), PID, policy),
        "of-another-project": encode_policy(VAULT_ID, fixed("other", 16), policy),
        "of-another-version": encode_policy(VAULT_ID, PID, policy | {"version": 2}),
        "longer": encoded + b"\0",
        "shorter": encoded[:-1],
        "other-name": b"secrets/v3/polic\0\0" + encoded[18:],
    }
    for name, encoded in bad.items():
        ctx = PID + u64(3)
        body = seal(policy_key(PMK, PID), VAULT_ID, "policy", ctx, pad(encoded, record_size), SALT)
        yield f"policy-{name}", "policy-opened", "5", WHAT, row | {"v": 3, "body": body, "sig": sign(SEED, encoded)}
    encoded = encode_policy(VAULT_ID, PID, policy | {"version": 0})
    body = seal(policy_key(PMK, PID), VAULT_ID, "policy", PID + u64(0), pad(encoded, record_size), SALT)
    yield "policy-version-0", "policy-opened", "5", WHAT, row | {"v": 0, "body": body, "sig": sign(SEED, encoded)}


def audit_cases() -> Iterator[Case]:
    entry = PLACE | {"seq": 9, "previous": fixed("previous", 32), "signer_id": OWNER, "time": 1700000000002}
    entry |= {"root_hash": fixed("root hash", 32), "action": 1, "count": 1, "items": [{"rid": RID, "name": "DB_PASSWORD"}]}
    entry |= {"pmk": PMK, "seed": SEED, "salt": SALT}
    yield "audit", "audit", "5", "A secret was created", entry
    begin = {"seq": 1, "previous": bytes(32), "action": 19, "count": 0, "items": []}
    yield "audit-begin", "audit", "5", "The first entry", entry | begin
    token = {"token_id": fixed("token", 16), "key": raw_public(fixed("writer 1", 32)), "name": "deploy.ueber1"}
    removed = [{"token_id": bytes([n] * 16)} for n in (2, 3)]
    full = {"action": 6, "count": 40, "items": [{"rid": bytes([n] * 8), "name": f"tag-{n}"} for n in range(32)]}
    full |= {"admitted": [token], "removed": removed, "owner_before": raw_public(fixed("old owner", 32))}
    yield "audit-full", "audit", "5", "All fields, 32 of 40 items", entry | full

    renamed = [{"rid": RID, "name": name} for name in ("DB_PASSWORD", "database-password")]
    yield "audit-rename", "audit", "5", "A rename names both tags", entry | {"action": 21, "items": renamed}

    mark = {"seq": 8, "hash": fixed("pruned", 32), "signers": [token]}
    prune = entry | {"action": 18, "count": 5, "items": [], "pruned": mark}
    yield "audit-prune", "audit", "5", "Five entries were pruned, and one token could sign after them", prune
    yield "audit-prune-first", "audit", "5", "A mark without signers", prune | {"pruned": mark | {"signers": []}}

    known = known_audit(entry | full)
    row = {"vault_id": VAULT_ID, "pid": PID, "seq": 9, "epoch": 1, "pmk": PMK, "signer": raw_public(SEED)}
    yield "audit-opened", "audit-opened", "5", "An entry that opens", row | {"ct": known["ct"]}
    other = {"signer": raw_public(fixed("another signer", 32))}
    yield "audit-other-signer", "audit-opened", "5", "It opens, but another key signed it", row | {"ct": known["ct"]} | other
    for name, value in (("seq", 10), ("epoch", 2), ("pid", fixed("other", 16))):
        yield f"audit-other-{name}", "audit-opened", "5", "The row of another place", row | {"ct": known["ct"], name: value}
    for name, plain in bad_entries(known_audit(entry)["encoded"]).items():
        yield f"audit-{name}", "audit-opened", "5", WHAT, row | {"ct": sealed_entry(plain, 9)}
    for name, plain in bad_marks(known_audit(prune)["encoded"]).items():
        yield f"audit-{name}", "audit-opened", "5", WHAT, row | {"ct": sealed_entry(plain, 9)}
    moved = known["encoded"] + sign(SEED, entry_message(VAULT_ID, PID, 8, known["encoded"]))
    sealed = seal(audit_key(PMK, PID), VAULT_ID, "audit", PID + u64(9) + u32(1), pad(moved, record_size), SALT)
    yield "audit-signed-elsewhere", "audit-opened", "5", "It opens, but it was signed for another head", row | {"ct": sealed}


def sealed_entry(encoded: bytes, seq: int) -> bytes:
    plain = encoded + sign(SEED, entry_message(VAULT_ID, PID, seq, encoded))
    return seal(audit_key(PMK, PID), VAULT_ID, "audit", PID + u64(seq) + u32(1), pad(plain, record_size), SALT)


def bad_entries(encoded: bytes) -> dict[str, bytes]:
    """Changes the fields of an entry, which begin after 88 bytes: action (6 bytes), count (13 bytes), items."""
    fixed_part, action, count, items = encoded[:88], encoded[88:94], encoded[94:107], encoded[107:]
    rest = count + items
    return {
        "action-0": fixed_part + b"\1" + lp(b"\0") + rest,
        "action-22": fixed_part + b"\1" + lp(b"\x16") + rest,
        "no-action": fixed_part + rest,
        "no-count": fixed_part + action + items,
        "empty-list": fixed_part + action + count + b"\3" + lp(u32(0)),
        "list-too-short": fixed_part + action + count + b"\3" + lp(u32(2) + RID + lp(b"x")),
        "list-too-long": fixed_part + action + count + b"\3" + lp(u32(1) + RID + lp(b"x") + b"\0"),
        "name-not-utf-8": fixed_part + action + count + b"\3" + lp(u32(1) + RID + lp(b"\xff")),
        "short-owner": encoded + b"\6" + lp(bytes(31)),
        "newer": encoded + b"\x08" + lp(b"?"),
        "later-field": encoded + b"\x80" + lp(b"?"),
        "cut-short": encoded[:80],
    }


def bad_marks(encoded: bytes) -> dict[str, bytes]:
    """Changes the fields of a prune, which are action (6 bytes), count (13 bytes), mark."""
    fixed_part, count, mark = encoded[:88], encoded[94:107], encoded[112:]
    prune = fixed_part + b"\1" + lp(b"\x12") + count
    return {
        "prune-without-mark": prune,
        "mark-of-a-rekey": fixed_part + b"\1" + lp(b"\6") + count + b"\7" + lp(mark),
        "mark-of-nothing": prune + b"\7" + lp(bytes(8) + mark[8:]),
        "mark-too-short": prune + b"\7" + lp(mark[:43]),
        "mark-too-long": prune + b"\7" + lp(mark + b"\0"),
    }


def checkpoint_cases() -> Iterator[Case]:
    past = {"root_key": ROOT_KEY, "vault_id": VAULT_ID, "salt": SALT, "past_roots": [{"root_key": fixed(f"root {n}", 32)} for n in (2, 1)]}
    yield "past-keys", "past-keys", "7", "Two earlier root keys, the latest first", past
    state = PLACE | {"root_key": ROOT_KEY, "text": "/home/you/vault.db", "seq": 9, "head": fixed("head", 32)}
    state |= {"ancestors": ancestors(8), "audit_head": fixed("audit", 32), "policy_version": 3, "policy": fixed("policy", 32), "salt": SALT}
    yield "checkpoint", "checkpoint", "7", "What was last seen of a project", state
    directory = {"pid": DIRECTORY, "policy_version": 0, "policy": bytes(32)}
    yield "checkpoint-of-directory", "checkpoint", "7", "What was last seen of the directory", state | directory


TOKEN_KEY = fixed("token key", 32)


def token_cases() -> Iterator[Case]:
    for level, name in enumerate(("read", "use", "manage"), 1):
        token = {"vault_id": VAULT_ID, "level": level, "key": TOKEN_KEY}
        yield f"token-{name}", "token", "8", "A token, and its keys in a vault", token
    other = {"vault_id": fixed("another vault", 16), "level": 1, "key": TOKEN_KEY}
    yield "token-in-another-vault", "token", "8", "Its keys in another vault are others", other
    for name, key in (("least", bytes(32)), ("greatest", b"\xff" * 32)):
        yield f"token-{name}", "token", "8", "A key at the end of the range", token | {"key": key}

    text = token_text(2, TOKEN_KEY)
    too_large = PREFIXES[2] + base62(1 << 256, 43)
    texts = {
        "opened": text,
        "wrong-checksum": text[:-1] + BASE62[BASE62.index(text[-1]) - 1],
        "wrong-key": text[:20] + BASE62[BASE62.index(text[20]) - 1] + text[21:],
        "too-large": too_large + base62(zlib.crc32(too_large.encode()), 6),
        "other-prefix": "sxo_" + text[4:47] + base62(zlib.crc32(b"sxo_" + text[4:47].encode()), 6),
        "other-level": "sxm_" + text[4:],
        "other-character": text[:10] + "-" + text[11:],
        "too-short": text[:-1],
        "too-long": text + "0",
        "with-newline": text + "\n",
        "checksum-too-large": text[:47] + "zzzzzz",
    }
    for name, text in texts.items():
        yield f"token-{name}", "token-opened", "8", "What is typed as a token", {"vault_id": VAULT_ID, "text": text}


def remote_cases() -> Iterator[Case]:
    witness = {"seq": 4096, "audit_head": fixed("audit head", 32)}
    yield "witness", "witness", "7", "What a repository remembers of a project", witness

    address = fixed("address", 90)
    slot: Data = {"slot_id": fixed("slot", 16), "type": PASSPHRASE, "params": b"".join(map(u32, (19456, 1, 1)))}
    slot |= {"salt": fixed("argon", 16), "commitment": fixed("commitment", 32), "wrap": fixed("wrap", 72)}
    near: Data = {"vault_id": VAULT_ID, "root_key": ROOT_KEY, "address": address, "salt": SALT}
    yield "near-file", "near-file", "9", "The address, and one key slot", near | {"rows": [slot]}
    other = slot | {"slot_id": fixed("another slot", 16), "type": KEYCHAIN, "params": b""}
    yield "near-file-two-slots", "near-file", "9", "Two key slots, ascending", near | {"rows": sorted([slot, other], key=lambda row: row["slot_id"])}

    ticket: Data = {"vault_id": VAULT_ID, "until": 1800000000000, "code": fixed("ticket", 32), "address": address}
    yield "ticket", "ticket", "9", "A ticket as it is written", ticket
    row: Data = {"slot_id": fixed("ticket slot", 16), "type": TICKET, "params": u64(ticket["until"]), "salt": fixed("ticket salt", 16)}
    made = known_slot(row | {"vault_id": VAULT_ID, "root_key": ROOT_KEY, "wrap_salt": SALT, "passphrase": ticket["code"]})
    row |= {"commitment": made["commitment"], "wrap": made["wrap"]}
    text = ticket_text(ticket)
    broken = "\r\n ".join(text[at : at + 60] for at in range(0, len(text), 60))
    for name, word in {"opened": text, "in-lines": broken}.items():
        yield f"ticket-{name}", "ticket-opened", "9", "It opens its slot", row | {"text": word}
    wrong = {
        "other-code": ("Another code", ticket | {"code": fixed("other ticket", 32)}, row),
        "other-vault": ("The ticket of another vault", ticket | {"vault_id": fixed("another vault", 16)}, row),
        "later": ("A ticket with another time", ticket | {"until": 1900000000000}, row),
        "later-slot": ("The time of the slot was changed", ticket, row | {"params": u64(1900000000000)}),
        "as-recovery": ("The type is bound into the seal", ticket, row | {"type": RECOVERY, "params": b""}),
    }
    for name, (what, content, place) in wrong.items():
        yield f"ticket-{name}", "ticket-opened", "9", what, place | {"text": ticket_text(content)}


def grant_cases() -> Iterator[Case]:
    keys = token_keys(TOKEN_KEY, VAULT_ID)
    where: Data = {"vault_id": VAULT_ID, "token_id": keys["token_id"], "gen": 3, "kek": keys["kek"]}
    floor = u64(9) + fixed("head", 32) + u64(4) + fixed("policy", 32)
    place = {"pid": PID, "name": "web.api", "epoch": 2, "floor": floor}
    ring = place | {"keys": RING_KEYS}
    reader = place | {"keys": {name: RING_KEYS[name] for name in ("pmk", "tik")}}
    record = {"rid": RID, "class": 0, "generation": 0, "tag": "DB_PASSWORD", "metadata_key": metadata_key(PMK, PID, RID)}
    record["value_key"] = value_key(RING_KEYS, PID, RID, 0, 0)
    second = {"rid": b"\xff" * 8, "class": 1, "generation": 2, "tag": "api-key", "metadata_key": fixed("MK", 32)}
    some = {"head_key": head_key(PMK, PID), "policy_key": policy_key(PMK, PID), "records": [record, second]}
    grant = {"name": "deploy.ueber1", "level": 3, "owner": raw_public(SEED), "project": ring}
    limited = grant | {"level": 2, "project": place | {"set": some}}
    options = {"expires": 1800000000000, "strict": 1}
    good = {
        "": ("The whole project", grant),
        "-reader": ("The keys of a reader, all optional fields", grant | options | {"level": 1, "project": reader, "replaced": 1}),
        "-later": ("Fields of a later version are kept", grant | {"later": LATER}),
        "-set": ("Two secrets, the second without its value", limited),
        "-empty-set": ("No secrets", grant | {"level": 1, "project": place | {"set": some | {"records": []}}}),
    }
    for name, (what, content) in good.items():
        made = where | {"grant": content, "salt": SALT}
        yield f"grant{name}", "grant", "8", what, made
        yield f"grant-opened{name}", "grant-opened", "8", "It opens", where | {"sealed": known_grant(made)["sealed"]}

    sealed = known_grant(where | {"grant": grant, "salt": SALT})["sealed"]
    other = {"gen": 4, "token_id": fixed("other", 16), "vault_id": fixed("another vault", 16), "kek": PMK}
    for name, value in other.items():
        row = where | {"sealed": sealed, name: value}
        yield f"grant-other-{name}", "grant-opened", "8", "The row of another place, or another key", row

    for name, encoded in (bad_grants(grant) | bad_sets(grant, place, some)).items():
        sealed = seal(keys["kek"], VAULT_ID, "grant", keys["token_id"] + u64(3), pad(encoded, record_size), SALT)
        yield f"grant-{name}", "grant-opened", "8", WHAT, where | {"sealed": sealed}
    padded = pad(encode_grant(grant), record_size)
    for name, padded in {"padding": padded[:-1] + b"\1", "padding-too-long": padded + bytes(256)}.items():
        sealed = seal(keys["kek"], VAULT_ID, "grant", keys["token_id"] + u64(3), padded, SALT)
        yield f"grant-{name}", "grant-opened", "8", WHAT, where | {"sealed": sealed}


def bad_grants(grant: Data) -> dict[str, bytes]:
    project = grant["project"]
    runs = [encode_fields(GRANTED, {name: project[name]}) for name in ("pid", "name", "epoch", "floor")]
    ring = b"\5" + lp(encode_fields(RING, project["keys"]))
    inside = {
        "no-keys": runs,
        "both-keys": [*runs, ring, b"\6" + lp(bytes(68))],
        "project-later": [*runs, ring, LATER],
        "project-newer": [*runs, ring, b"\7" + lp(b"?")],
        "no-floor": [*runs[:3], ring],
        "short-floor": [*runs[:3], b"\4" + lp(bytes(79)), ring],
        "short-pid": [b"\1" + lp(bytes(15)), *runs[1:], ring],
        "project-name": [runs[0], b"\2" + lp(b"a b"), *runs[2:], ring],
        "project-order": [runs[1], runs[0], *runs[2:], ring],
        "ring-newer": [*runs, b"\5" + lp(encode_fields(RING, project["keys"]) + b"\5" + lp(b"?"))],
        "ring-short": [*runs, b"\5" + lp(b"\1" + lp(PMK))],
    }
    head = [encode_fields(GRANT, {name: grant[name]}) for name in ("name", "level", "owner")]
    bad = {name: b"".join(head) + b"\6" + lp(b"".join(run)) for name, run in inside.items()}
    last = encode_grant(grant)[len(b"".join(head)) :]
    outside = {
        "no-name": [*head[1:], last],
        "empty-name": [b"\1" + lp(b""), *head[1:], last],
        "name-not-utf-8": [b"\1" + lp(b"\xff"), *head[1:], last],
        "level-0": [head[0], b"\2" + lp(b"\0"), head[2], last],
        "level-4": [head[0], b"\2" + lp(b"\4"), head[2], last],
        "default-strict": [*head[:2], b"\4" + lp(b"\0"), head[2], last],
        "short-expires": [*head[:2], b"\3" + lp(bytes(7)), head[2], last],
        "short-owner": [*head[:2], b"\5" + lp(bytes(31)), last],
        "no-project": head,
        "order": [head[1], head[0], head[2], last],
        "twice": [head[0], *head, last],
        "default-replaced": [*head, last, b"\7" + lp(b"\0")],
        "newer": [*head, last, b"\x08" + lp(b"?")],
        "cut-short": [*head, last[:-1]],
    }
    return bad | {name: b"".join(run) for name, run in outside.items()}


def bad_sets(grant: Data, place: Data, some: Data) -> dict[str, bytes]:
    first, second = some["records"]
    records = {
        "set-order": [second, first],
        "set-twice": [first, first],
        "set-class": [first | {"class": 2}],
        "set-tag": [first | {"tag": "SE0123456789abcdef"}],
        "set-value-key": [first | {"value_key": bytes(31)}],
    }
    encodings = {name: encode_set(some | {"records": rows}) for name, rows in records.items()}
    encoded = encode_set(some)
    encodings |= {"set-longer": encoded + b"\0", "set-shorter": encoded[:-1], "set-count": encoded[:64] + u32(3) + encoded[68:]}
    encodings |= {"set-without-count": encoded[:67]}
    made: dict[str, bytes] = {}
    for name, encoded in encodings.items():
        project = encode_fields(GRANTED, place | {"set": encoded})
        made[name] = encode_fields(GRANT, grant | {"level": 2, "project": project})
    return made


def escrow_cases() -> Iterator[Case]:
    keys = token_keys(TOKEN_KEY, VAULT_ID)
    where: Data = {"vault_id": VAULT_ID, "token_id": keys["token_id"], "gen": 3, "root_key": ROOT_KEY}
    escrow: Data = {"kek": keys["kek"], "writer": keys["writer"], "name": "deploy.ueber1", "level": 3, "pid": PID}
    escrow |= {"created": 1700000000000}
    more = {"level": 2, "expires": 1800000000000, "strict": 1, "restricted": 1, "only": [RID, b"\xff" * 8]}
    more |= {"replaced_by": fixed("other token", 16), "later": LATER}
    for name, content in (("", escrow), ("-full", escrow | more), ("-no-secrets", escrow | {"level": 1, "only": []})):
        made = where | {"escrow": content, "salt": SALT}
        yield f"escrow{name}", "escrow", "8", "What the owner keeps of a token", made
        sealed = known_escrow(made)["sealed"]
        yield f"escrow-opened{name}", "escrow-opened", "8", "It opens", where | {"sealed": sealed}

    other = {"gen": 4, "token_id": fixed("other", 16), "vault_id": fixed("another vault", 16), "root_key": PMK}
    for name, value in other.items():
        row = where | {"sealed": sealed, name: value}
        yield f"escrow-other-{name}", "escrow-opened", "8", "The row of another place, or another key", row

    order = ("kek", "writer", "name", "level", "pid", "created")
    runs = [encode_fields(ESCROW, {name: escrow[name]}) for name in order]
    start, end = runs[:5], runs[5]
    bad = {
        "short-kek": [b"\1" + lp(bytes(31)), *runs[1:]],
        "no-writer": [runs[0], *runs[2:]],
        "empty-name": [*runs[:2], b"\3" + lp(b""), *runs[3:]],
        "level-0": [*runs[:3], b"\4" + lp(b"\0"), *runs[4:]],
        "default-strict": [*runs[:4], b"\6" + lp(b"\0"), *runs[4:]],
        "default-restricted": [*start, b"\x08" + lp(b"\0"), end],
        "only-order": [*start, b"\x09" + lp(b"\xff" * 8 + RID), end],
        "only-twice": [*start, b"\x09" + lp(RID + RID), end],
        "only-cut-short": [*start, b"\x09" + lp(RID[:7]), end],
        "no-created": start,
        "short-replaced-by": [*runs, b"\x0b" + lp(bytes(15))],
        "order": [runs[1], runs[0], *runs[2:]],
        "twice": [runs[0], *runs],
        "newer": [*runs, b"\x0c" + lp(b"?")],
        "cut-short": [*start, end[:-1]],
    }
    for name, run in bad.items():
        ctx = keys["token_id"] + u64(3)
        sealed = seal(escrow_key(ROOT_KEY), VAULT_ID, "escrow", ctx, pad(b"".join(run), record_size), SALT)
        yield f"escrow-{name}", "escrow-opened", "8", WHAT, where | {"sealed": sealed}


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


def texts() -> Iterator[tuple[Path, str]]:
    for name, kind, section, description, item in cases():
        case = {"description": description, "section": section, "kind": kind, "input": item}
        case["expected"] = compute(kind, item)
        text = json.dumps(case, default=bytes.hex, indent=2, ensure_ascii=False)
        yield HERE / f"{name}.json", text + "\n"


def write() -> None:
    for path, text in texts():
        path.write_text(text, encoding="utf-8")


def check() -> int:
    passed = failed = 0
    for path in sorted(HERE.glob("*.json")):
        case = json.loads(path.read_text(encoding="utf-8"))
        expected, found = case["expected"], compute(case["kind"], from_json(case["input"]))
        wrong = [name for name in sorted(expected | found) if expected.get(name) != found.get(name)]
        print(f"WRONG {path.stem}: {', '.join(wrong)}" if wrong else f"ok {path.stem}")
        passed, failed = passed + (not wrong), failed + bool(wrong)
    written = dict(texts())
    stale = [path for path in {*written, *HERE.glob("*.json")} if not path.exists() or path.read_text() != written.get(path)]
    for path in sorted(stale):
        print(f"STALE {path.stem}: it is not what --write writes")
    print(f"{passed} passed, {failed} failed, {len(stale)} stale")
    failed += len(stale)
    return 1 if failed or not passed else 0


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--write", action="store_true", help="write the known answers again")
    arguments.add_argument("--open", type=Path, metavar="VAULT", help="verify a vault and print its content")
    arguments.add_argument("--passphrase-file", type=Path, metavar="FILE", help="one line, for --open")
    arguments.add_argument("--token-file", type=Path, metavar="TOKEN", help="one line, for --open")
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
        token = given.token_file and given.token_file.read_text("ascii").removesuffix("\n")
        print(json.dumps(open_vault(given.open, line, token), ensure_ascii=False, indent=2))
    except Refused as refused:
        print(": ".join(filter(None, refused.args)), file=sys.stderr)
    except (LookupError, OSError, OverflowError, TypeError, ValueError, sqlite3.Error) as error:
        print(f"damaged: {error}", file=sys.stderr)  # a wrong type or length; a hostile file may hold anything
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
