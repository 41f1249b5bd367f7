"""A TCP relay that delays: latency for a host, on kernels without netem.

Run inside the controller's namespace: `relay.py ADDRESS PORT ONE_WAY_SECONDS`.
It prints the port on which it listens. It imports nothing of the lab, so that it
starts fast.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial

_CHUNK = 64 << 10
# What may be under way at once: enough to fill 100 Mbit/s at a second of delay.
_CHUNKS_UNDER_WAY = 256


async def _delayed(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float
) -> None:
    """Pass bytes on, each as much later as a longer wire would deliver it."""
    clock = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_UNDER_WAY)

    async def receive() -> None:
        data = b"start"
        while data:
            try:
                data = await reader.read(_CHUNK)
            except ConnectionError:
                data = b""
            await under_way.put((clock.time() + seconds, data))

    receiving = asyncio.create_task(receive())
    try:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(due - clock.time())
            if not data:
                break
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        # The other end is gone: ENOTCONN is no ConnectionError.
        pass
    finally:
        receiving.cancel()


async def _relay(
    client_reader: asyncio.StreamReader,
    client_writer: asyncio.StreamWriter,
    *,
    address: str,
    port: int,
    seconds: float,
) -> None:
    # The handshake of the connection crosses the longer wire as well.
    await asyncio.sleep(2 * seconds)
    try:
        reader, writer = await asyncio.open_connection(address, port)
    except OSError:
        client_writer.close()
        return
    await asyncio.gather(
        _delayed(client_reader, writer, seconds), _delayed(reader, client_writer, seconds)
    )
    writer.close()
    client_writer.close()


async def _serve(address: str, port: int, seconds: float) -> None:
    handle = partial(_relay, address=address, port=port, seconds=seconds)
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - its one answer
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
