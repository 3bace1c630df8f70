"""Reads dotenv files with python-dotenv. The protocol is the same as in readers.cjs."""

import logging
import os
import struct
import sys
import tempfile

from dotenv import dotenv_values

logging.disable(logging.CRITICAL)
os.environ.clear()
source, sink = sys.stdin.buffer, sys.stdout.buffer

with tempfile.TemporaryDirectory() as directory:
    path = os.path.join(directory, "f.env")
    while head := source.read(4):
        with open(path, "wb") as file:
            file.write(source.read(struct.unpack("<I", head)[0]))
        try:
            value = dotenv_values(path).get("A")
        except UnicodeDecodeError:
            value = None
        data = (value or "").encode()
        sink.write(struct.pack("<BI", value is not None, len(data)) + data)
