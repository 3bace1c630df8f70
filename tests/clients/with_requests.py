import os

import requests

from own import show

show()
origin = os.environ["ORIGIN"]

with requests.Session() as session:
    session.headers["Authorization"] = f"Bearer {os.environ['API_KEY']}"
    for path in ["echo", "gzip", "chunked/300000"]:
        answer = session.get(f"{origin}/{path}")
        print(path, answer.status_code, len(answer.content))
        if path != "chunked/300000":
            print(answer.text, answer.headers)

    answer = session.post(f"{origin}/body", data=(b"x" * 1000 for _ in range(300)))
    print("body", answer.status_code, len(answer.content))

cookies = {"theme": "dark", "session": os.environ["SESSION"]}
print(requests.get(f"{origin}/echo?cookies", cookies=cookies).text)
print(requests.get(f"{origin}/echo?basic", auth=("ci", os.environ["PASSWORD"])).text)
