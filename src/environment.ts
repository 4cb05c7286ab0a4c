import type { Config, Environment } from './config.ts';

/**
 * What the programs that run Python code of others may know of our environment. Everything else stays out, so
 * that no key of ours (LOTUS_API_KEY, RUNPOD_AI_API_KEY, a bucket's) ever reaches them. The hub's token is not
 * in it: it goes to the download alone.
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

/** That part of the environment, and where the hub's files are. */
export function childEnvironment(config: Config, env: Environment): Record<string, string> {
  const passed = Object.entries(env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && isAllowed(entry[0]),
  );
  return {
    ...Object.fromEntries(passed),
    HF_HOME: config.hfHome,
    HF_HUB_CACHE: config.hubCache,
    HF_HUB_DISABLE_TELEMETRY: '1',
    HF_HUB_DISABLE_UPDATE_CHECK: '1',
    HF_HUB_ENABLE_HF_TRANSFER: '0', // an image may set it; its package is not among ours
    PYTHONUTF8: '1',
    PYTHONUNBUFFERED: '1',
  };
}

function isAllowed(name: string): boolean {
  if (name === 'HF_TOKEN') return false;
  return ALLOWED.has(name) || ALLOWED_PREFIXES.some((prefix) => name.startsWith(prefix));
}
