"""Uses `secrets mcp` through the Python SDK, as the program of an agent does: `client.py ERA COMMAND PAUSE`. PAUSE is a
program that may run. It writes its process id to a file next to it, and sleeps."""

import asyncio
import logging
import os
import sys
from pathlib import Path

from mcp import Client, MCPError, StdioServerParameters

era, command, pause = sys.argv[1:]
pid_file = Path(f"{pause}.pid")


async def until(done, what):
    for _ in range(200):
        if done():
            return
        await asyncio.sleep(0.025)
    raise AssertionError(f"not in time: {what}")


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def started(client):
    """Starts a call that takes long."""
    pid_file.unlink(missing_ok=True)
    call = asyncio.create_task(client.call_tool("secrets_run", {"command": pause}))
    await until(lambda: pid_file.exists() and pid_file.read_text(), "the start of the program")
    return int(pid_file.read_text()), call


async def use(client):
    tools = (await client.list_tools()).tools
    names = ["list", "check", "refs", "render", "request", "ask", "run"]
    assert [tool.name for tool in tools] == [f"secrets_{name}" for name in names], tools

    listed, asked, ran = await asyncio.gather(
        client.call_tool("secrets_list", {}),
        client.call_tool("secrets_ask", {"tag": "absent-key"}),
        client.call_tool("secrets_run", {"command": "printenv STRIPE_KEY"}),
    )
    tags = [secret["tag"] for secret in listed.structured_content["secrets"]]
    assert tags == ["password", "stripe-key"], listed
    assert asked.structured_content["exists"] is False, asked
    assert ran.structured_content["stdout"] == "‹stripe-key›\n", ran
    assert (await client.call_tool("secrets_ask", {"tag": 1})).is_error
    try:
        raise AssertionError(await client.call_tool("nothing", {}))
    except MCPError as error:
        assert error.code == -32602, error

    pid, call = await started(client)
    call.cancel()
    await until(lambda: not is_running(pid), "the end of a cancelled program")
    asked = await client.call_tool("secrets_ask", {"tag": "stripe-key"})
    assert asked.structured_content["exists"] is True, asked
    return await started(client)


async def main():
    mode = {"handshake": "legacy", "stateless": "auto"}[era]
    async with Client(StdioServerParameters(command=command), mode=mode) as client:
        pid, call = await use(client)
    assert not is_running(pid), "a program runs after the end of the server"
    await asyncio.wait([call])
    assert call.cancelled() or call.exception(), call


class Strict(logging.Handler):
    """Fails for what the client reports, such as a message that it cannot use."""

    def emit(self, record):
        print(record.getMessage(), file=sys.stderr)
        os._exit(1)


logging.getLogger().addHandler(Strict(logging.WARNING))
asyncio.run(main())
