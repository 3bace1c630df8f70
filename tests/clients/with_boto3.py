import io
import os
import sys

import boto3
from botocore.config import Config

from own import show

show()
config = Config(s3={"addressing_style": "path"}, request_checksum_calculation=sys.argv[1])
s3 = boto3.client("s3", config=config)
name = "reports/Q3 + Q4 (ä).txt"
contents = [b"as bytes", b"as a stream"]
for content, body in zip(contents, [contents[0], io.BytesIO(contents[1])]):
    answer = s3.put_object(Bucket="bucket", Key=name, Body=body, Metadata={"note": "a  b"})
    print("put", answer["ResponseMetadata"]["HTTPStatusCode"])
    answer = s3.get_object(Bucket="bucket", Key=name, Range="bytes=0-9999", VersionId="v 1")
    print("get", answer["ResponseMetadata"]["HTTPStatusCode"])
    assert answer["Body"].read() == content
