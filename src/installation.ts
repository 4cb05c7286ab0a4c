/** What a model process is made of: what provisioning gives, and what the process is started with. */
export interface Installation {
  /** The venv's Python, as this machine can run it. */
  readonly python: string;
  /** Upstream's checkout. */
  readonly upstream: string;
  readonly checkpoint: Checkpoint;
  /** The folder that flash-attn is installed in, for the path of modules; null without it. */
  readonly flashAttn: string | null;
}

/** A checkpoint on this machine. */
export interface Checkpoint {
  readonly folder: string;
  /** Its commit on the hub; null for a folder of the operator's own. */
  readonly revision: string | null;
}
