import os
import urllib.request

from own import show

show()
headers = {"Authorization": f"Bearer {os.environ['API_KEY']}"}
request = urllib.request.Request(f"{os.environ['ORIGIN']}/echo", headers=headers)
with urllib.request.urlopen(request) as answer:
    print(answer.status, answer.read().decode(), answer.headers)
