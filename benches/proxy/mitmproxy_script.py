"""A script for mitmproxy that does the least of what our proxy does, for one secret: it puts the value into headers,
and takes it out of responses, only as it is. With BENCH_STREAM, bodies pass in pieces, and a value that is cut by two
pieces stays."""

import os

VALUE = os.environ["BENCH_VALUE"].encode()
PLACEHOLDER = os.environ["BENCH_PLACEHOLDER"].encode()
STREAM = bool(os.environ.get("BENCH_STREAM"))


def replace(message, old, new):
    for name, field in message.headers.fields:
        if old in field:
            message.headers[name.decode()] = field.replace(old, new).decode()


def requestheaders(flow):
    replace(flow.request, PLACEHOLDER, VALUE)
    flow.request.stream = STREAM


def responseheaders(flow):
    replace(flow.response, VALUE, PLACEHOLDER)
    if STREAM:
        flow.response.stream = lambda piece: piece.replace(VALUE, PLACEHOLDER)


def response(flow):
    if not STREAM and VALUE in (flow.response.content or b""):
        flow.response.content = flow.response.content.replace(VALUE, PLACEHOLDER)
