import json
import os

from websockets.sync.client import connect

from own import show

show()
address = os.environ["ORIGIN"].replace("https://", "wss://") + "/ws"
headers = {"Authorization": f"Bearer {os.environ['API_KEY']}"}
message = json.dumps({"type": "hello", "token": os.environ["STREAM_TOKEN"]})

with connect(address, additional_headers=headers) as socket:
    print("hello", socket.recv())
    socket.send(message)
    answer = socket.recv()
    print("answer", answer)
    assert answer == message
    socket.send(b"\0" * 40000)
    print("bytes", len(socket.recv()))
    print("pong", socket.ping().wait(10))
print("close", socket.close_code)
