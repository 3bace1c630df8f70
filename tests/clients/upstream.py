"""A company's proxy: `upstream.py PORT LOG`. All names lead to this port of this machine. Prints its own port."""

import asyncio
import sys

target, log = int(sys.argv[1]), sys.argv[2]


async def copy(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def serve(reader, writer):
    head = await reader.readuntil(b"\r\n\r\n")
    with open(log, "a") as file:
        print(head.split(b"\r\n")[0].decode(), file=file)
    origin = await asyncio.open_connection("127.0.0.1", target)
    writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
    both = copy(reader, origin[1]), copy(origin[0], writer)
    await asyncio.gather(*both, return_exceptions=True)


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
