"""The two TCP proxies as a process of their own, so that what holds up the clients does not hold up the service.

A request is a line of JSON on standard input, its answer a line on standard output. It ends when its input does, and so
never outlives who started it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import Any, Final

from tests.support.tcp_proxy import Fault, TcpProxy, tcp_proxy

RESET_PAUSE_S: Final = 0.15


async def serve(server_ports: dict[str, int]) -> None:
    """Proxies for servers on these ports of loopback, by name, until standard input ends."""
    async with AsyncExitStack() as stack:
        proxies = {
            name: await stack.enter_async_context(tcp_proxy("127.0.0.1", port)) for name, port in server_ports.items()
        }
        _say({name: proxy.port for name, proxy in proxies.items()})
        while line := await asyncio.to_thread(sys.stdin.readline):
            request = json.loads(line)
            _say(await _do(proxies[request["proxy"]], request))


async def _do(proxy: TcpProxy, request: dict[str, Any]) -> Any:
    match request["do"]:
        case "delay":
            proxy.delay_s = request["seconds"]
        case "reset":
            for _ in range(request["times"]):
                proxy.reset()
                await asyncio.sleep(RESET_PAUSE_S)
        case "black hole":
            proxy.arm(Fault.BLACK_HOLE)
        case "swallow append":
            return await _struck(proxy, request["seconds"])
        case "heal":
            proxy.fault, proxy.delay_s, proxy.is_refusing = Fault.NONE, 0.0, False
        case other:
            raise ValueError(f"a proxy does not know how to {other}")
    return True


async def _struck(proxy: TcpProxy, within_s: float) -> bool:
    """Whether an append came by, whose answer was swallowed; its client cannot come back before `heal`."""
    proxy.arm(Fault.SWALLOW_APPEND, then_refuse=True)
    try:
        async with asyncio.timeout(within_s):
            await proxy.struck.wait()
    except TimeoutError:
        proxy.fault = Fault.NONE
        return False
    return True


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
