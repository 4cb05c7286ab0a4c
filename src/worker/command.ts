import path from 'node:path';
import { PYTHON_ROOT } from '../app.ts';
import type { Config, Environment } from '../config.ts';
import type { WorkerCommand } from './process.ts';

/**
 * What the Python process may know of our environment. Everything else stays out, so that no key of
 * ours (LOTUS_API_KEY, RUNPOD_AI_API_KEY, a bucket's) ever reaches it. HF_TOKEN is the hub's own, and
 * only passes while the model comes from there.
 */
const ALLOWED = new Set([
  'PATH',
  'HOME',
  'USER',
  'LANG',
  'LC_ALL',
  'LC_CTYPE',
  'TZ',
  'TMPDIR',
  'LD_LIBRARY_PATH',
  'LD_PRELOAD',
  // certificates and proxies, for the download of weights
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'REQUESTS_CA_BUNDLE',
  'CURL_CA_BUNDLE',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
  'http_proxy',
  'https_proxy',
  'no_proxy',
]);
const ALLOWED_PREFIXES = [
  'CUDA_',
  'CUBLAS_',
  'CUDNN_',
  'NVIDIA_',
  'NCCL_',
  'OMP_',
  'MKL_',
  'GOMP_',
  'PYTORCH_',
  'TORCH_',
  'TORCHINDUCTOR_',
  'TRITON_',
  'HF_',
];

/** The command that starts the Python side: the workspace's venv, our package, an environment of its own. */
export function workerCommand(config: Config, env: Environment): WorkerCommand {
  return {
    file: path.join(config.workspace, 'venv', 'bin', 'python'),
    // -P: the folder we were started in is not searched for modules.
    args: ['-P', '-m', 'lotus_worker'],
    env: workerEnvironment(config, env),
  };
}

export function workerEnvironment(config: Config, env: Environment): Record<string, string> {
  const passed = Object.entries(env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && isAllowed(entry[0]),
  );
  const fromFolder = path.isAbsolute(config.model.id);
  const { HF_TOKEN: token, ...rest } = Object.fromEntries(passed);
  return {
    ...rest,
    PYTHONPATH: PYTHON_ROOT,
    PYTHONUTF8: '1',
    PYTHONUNBUFFERED: '1',
    TOKENIZERS_PARALLELISM: 'false',
    MPLCONFIGDIR: path.join(config.workspace, 'cache', 'matplotlib'),
    HF_HOME: config.hfHome,
    HF_HUB_CACHE: config.hubCache,
    HF_HUB_DISABLE_TELEMETRY: '1',
    HF_HUB_ENABLE_HF_TRANSFER: '0', // an image may set it; its package is not among ours
    ...(fromFolder ? { HF_HUB_OFFLINE: '1' } : token !== undefined && { HF_TOKEN: token }),
  };
}

function isAllowed(name: string): boolean {
  return ALLOWED.has(name) || ALLOWED_PREFIXES.some((prefix) => name.startsWith(prefix));
}
