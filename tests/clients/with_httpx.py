import asyncio
import os
import sys

import httpx

from own import show

show()
origin = os.environ["ORIGIN"]


async def main():
    headers = {"x-api-key": os.environ["API_KEY"]}
    async with httpx.AsyncClient(http2=sys.argv[1] == "2", headers=headers) as client:
        answers = await asyncio.gather(*(client.get(f"{origin}/echo?n={n}") for n in range(20)))
        for answer in answers:
            print(answer.http_version, answer.status_code, answer.text, answer.headers)

        credentials = {"grant_type": "client_credentials", "client_secret": os.environ["CLIENT_SECRET"]}
        answer = await client.post(f"{origin}/echo?form", data=credentials)
        print(answer.http_version, answer.status_code, answer.text)

        async with client.stream("GET", f"{origin}/sse/1") as answer:
            events = [line async for line in answer.aiter_lines() if line]
        print("events", len(events), events[0])


asyncio.run(main())
