"""RunPod's Hub looks for a file of this name. The worker is a Node process: this hands over to it."""

import os

ENTRYPOINT = "/opt/lotus-worker/docker/entrypoint"

if __name__ == "__main__":
    os.execv(ENTRYPOINT, [ENTRYPOINT, "bootstrap", "--serve"])
