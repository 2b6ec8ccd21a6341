"""loop_asyncio.py HOST PORT COUNT: so many requests at once; prints how many were answered, the
seconds all took, and the longest time a timer of 10 ms did not come."""

import asyncio
import sys
import time


async def tick(gap):
    last = time.monotonic()
    while True:
        await asyncio.sleep(0.01)
        now = time.monotonic()
        gap[0] = max(gap[0], now - last - 0.01)
        last = now


async def ask(host, port):
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return b" 200 OK\r\n" in answer


async def main(host, port, count):
    gap = [0.0]
    ticker = asyncio.create_task(tick(gap))
    await asyncio.sleep(0.05)
    gap[0] = 0.0
    began = time.monotonic()
    good = await asyncio.gather(*(ask(host, port) for _ in range(count)), return_exceptions=True)
    took = time.monotonic() - began
    ticker.cancel()
    print(good.count(True), took, gap[0])


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
