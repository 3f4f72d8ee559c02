"""The warm-up file that TensorFlow's own writer makes is read."""

from pathlib import Path

import tensorflow
from tensorflow_serving.apis import prediction_log_pb2  # noqa: TID251 the messages that the file is made of

from serving import wire
from serving.warmup_file import read_requests
from tests.serving.test_warmup_file import SERVABLE, request


def test_file_that_tensorflow_wrote_is_read(tmp_path: Path) -> None:
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.ParseFromString(request("digits", 1.0))
    path = tmp_path / "tf_serving_warmup_requests"
    with tensorflow.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())

    (body,) = read_requests(path.read_bytes(), SERVABLE)

    assert wire.PredictRequest.FromString(body).model_spec.version.value == 7
