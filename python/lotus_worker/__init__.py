"""The Python half of lotus-worker: one long-lived process that owns the model.

Node starts it with ``python -m lotus_worker`` and talks to it in JSON lines over standard input
and output; `lotus_worker.protocol` describes the conversation. Read `server` for the loop,
`loading` for how a checkpoint becomes a pipeline, `lotus` for what happens to one image.
"""

__version__ = "0.1.0"
