"""An exported model as a service: a photo is posted to /predict, the answer is the JSON of `kzoo predict`.

Source:  FastAPI; the model is what `kzoo export` made, so that the service imports no TensorFlow.
Command: pip install 'kzoo[openvino]' fastapi uvicorn; python recipes/serve.py MODEL; then
         curl --data-binary @cat.jpg http://127.0.0.1:8000/predict
Time:    starts in about a second.
Result:  200 requests, 8 at a time, are all answered, and what is no photo is refused in one line:
         tests/recipes/test_serve.py.
"""

import sys

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from kzoo import deploy
from kzoo.data.encoded import BadImage
from kzoo.data.images import decode, ignore_pillow_warnings
from kzoo.data.photos import ranked

LARGEST = 20_000_000  # bytes of a photo
TOP = 5


def service(model: deploy.Exported) -> FastAPI:
    """The application; requests wait for one another at the engine alone, which uses all cores for each."""
    app, about = FastAPI(), model.description
    height, width, channels = about.input_shape
    size = (height or 224, width or 224)

    def classify(content: bytes) -> dict:
        image = decode(content, size, channels, about.scaling)
        [row] = model.probabilities(image[np.newaxis])
        return {"top": [one._asdict() for one in ranked(row, about.class_names, TOP)]}

    @app.post("/predict")
    async def predict(request: Request) -> dict:
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > LARGEST:
                raise HTTPException(413, f"A photo may have {LARGEST:,} bytes.")
        try:
            return await run_in_threadpool(classify, bytes(content))
        except BadImage as error:
            raise HTTPException(422, f"Not an image that can be read: {error}.") from None

    return app


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python recipes/serve.py MODEL [PORT]")
    ignore_pillow_warnings()
    uvicorn.run(service(deploy.load(sys.argv[1])), port=int(sys.argv[2]) if len(sys.argv) == 3 else 8000)
