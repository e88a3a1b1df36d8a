"""How the run tells a program of its own what to do next: a line of JSON in, "ok" or what is wrong
out. The socket stands in the file system, so it reaches into every network namespace.
"""

import asyncio
import json
import socket
import traceback

# The programs do nothing that lasts; under a heavy load a turn of their loop may.
SECONDS = 5
MOST_OCTETS = 4096


async def serve(path, act):
    """Calls `act` with what comes, for ever; `act` may be a coroutine function."""

    async def one(reader, writer):
        try:
            done = act(json.loads(await reader.readline()))
            if asyncio.iscoroutine(done):
                await done
            said = "ok"
        except Exception:
            said = traceback.format_exc(limit=-1)
        writer.write(said.encode())
        writer.close()

    async with await asyncio.start_unix_server(one, str(path), limit=MOST_OCTETS) as server:
        await server.serve_forever()


def tell(path, wanted):
    """Returns once it is done; raises OSError when it is not."""
    with socket.socket(socket.AF_UNIX) as here:
        here.settimeout(SECONDS)
        here.connect(str(path))
        here.sendall(json.dumps(wanted).encode() + b"\n")
        said = here.makefile().read(MOST_OCTETS)
    if said != "ok":
        raise OSError(f"{path}: {said}")


def listens(path):
    try:
        tell(path, {})
    except OSError:
        return False
    return True
