import { z } from 'zod';
import { PYTHON_ROOT } from '../app.ts';
import type { Config, Environment } from '../config.ts';
import { childEnvironment } from '../environment.ts';
import { hasNvidiaGpu } from '../provision/flash-attn.ts';
import { proveFlashAttn } from '../provision/flash-proof.ts';
import { jsonOfLastLine } from '../provision/last-line.ts';
import { runProgram } from '../provision/program.ts';
import type { Made } from '../provision/step.ts';
import { withoutSecrets } from '../secrets.ts';
import { type Finding, fault, note, ok } from './finding.ts';

/** What torch says of the device; `lotus_worker.device_report` prints it. */
const reportSchema = z.object({
  torch: z.string(),
  cuda: z.string().nullable(),
  available: z.boolean(),
  reason: z.string().nullable(),
  devices: z.array(
    z.object({
      name: z.string(),
      compute_capability: z.string(),
      memory_bytes: z.number(),
      free_bytes: z.number(),
    }),
  ),
});
type Report = z.infer<typeof reportSchema>;

/** torch's wheels are built for CUDA 12.8. */
const CUDA_HOST_FILTER =
  "Update the driver, or filter the endpoint's hosts by CUDA 12.8 or newer (docs/operations.md).";

/** A driver that is stuck answers nobody, ever; one that is well does within a second or two. */
const DRIVER_LIMIT_MS = 20_000;
/** Importing torch from a volume that nobody has read yet takes minutes. */
const TORCH_LIMIT_MS = 180_000;

interface GpuOptions {
  signal?: AbortSignal | undefined;
  driverLimit?: number;
}

/** Whether the GPU, its driver and the CUDA of torch go together. */
export async function examineGpu(
  config: Config,
  env: Environment,
  made: Partial<Made>,
  { signal, driverLimit = DRIVER_LIMIT_MS }: GpuOptions = {},
): Promise<Finding[]> {
  const driver = await examineDriver(driverLimit, signal);
  if (made.python === undefined) return [driver, note('torch', 'unknown without a venv')];
  const { failed, code, stdout, stderr, shortMessage } = await runProgram(
    made.python,
    ['-P', '-m', 'lotus_worker.device_report'],
    {
      env: { ...childEnvironment(config, env), PYTHONPATH: PYTHON_ROOT },
      onlyThisEnv: true,
      timeout: TORCH_LIMIT_MS,
      signal,
    },
  );
  if (code === 'ETIMEDOUT') return [driver, fault('torch', `${shortMessage}; ${STUCK}`, RESTART)];
  if (failed) {
    const reason = stderr.trim().split('\n').at(-1) || shortMessage;
    return [driver, fault('torch', `does not import: ${reason}`, 'lotus-worker bootstrap')];
  }
  const report = reportSchema.safeParse(jsonOfLastLine(stdout));
  if (!report.success) {
    const said = withoutSecrets(stdout.trim().split('\n').at(-1) || 'nothing').slice(0, 200);
    return [driver, fault('torch', `gives no report, but: ${said}`, 'lotus-worker bootstrap')];
  }
  const attention = await examineAttention(config, env, made, signal);
  return [driver, ...describe(report.data, config), attention];
}

/** Which kernel the UNet's attention will most likely run on; the model process decides it when it loads. */
async function examineAttention(
  config: Config,
  env: Environment,
  { python, flashAttn }: Partial<Made>,
  signal?: AbortSignal,
): Promise<Finding> {
  const torchs = "torch's scaled_dot_product_attention";
  if (!flashAttn || python === undefined) return ok('attention', torchs);
  const proof = await proveFlashAttn({ config, env, python, folder: flashAttn, signal });
  if (!proof.works) {
    return note('attention', `${torchs}; flash-attn does not work here: ${proof.what}`);
  }
  return ok('attention', `${proof.compared ? '' : `${torchs}; `}flash-attn: ${proof.what}`);
}

const STUCK = 'the driver is stuck, or the volume is';
const RESTART = 'restart the machine, or use another one';

async function examineDriver(timeout: number, signal?: AbortSignal): Promise<Finding> {
  const query = ['--query-gpu=name,driver_version,memory.total', '--format=csv,noheader'];
  const { failed, stdout, stderr, code, shortMessage } = await runProgram('nvidia-smi', query, {
    timeout,
    signal,
  });
  if (!failed) return ok('driver', stdout.trim().replaceAll('\n', '; '));
  if (code === 'ETIMEDOUT') return fault('driver', `${shortMessage}: the driver is stuck`, RESTART);
  if (!hasNvidiaGpu()) return note('driver', 'no NVIDIA GPU; the model runs on the CPU, slowly');
  const reason = code === 'ENOENT' ? 'there is no nvidia-smi' : stderr.trim() || shortMessage;
  return note('driver', `a GPU, and ${reason}`);
}

function describe(report: Report, config: Config): Finding[] {
  const built = report.cuda === null ? 'without CUDA' : `with CUDA ${report.cuda}`;
  const torch = `${report.torch}, built ${built}`;
  if (report.available) {
    return [
      ok('torch', torch),
      ...report.devices.map((device, index) =>
        ok(
          `cuda:${index}`,
          `${device.name}, compute capability ${device.compute_capability},` +
            ` ${gib(device.free_bytes)} of ${gib(device.memory_bytes)} GiB free`,
        ),
      ),
    ];
  }
  const why = report.reason ?? 'it sees no device';
  if (config.device === 'cuda') {
    return [fault('torch', `${torch}; LOTUS_DEVICE is cuda, and ${why}`, CUDA_HOST_FILTER)];
  }
  if (!hasNvidiaGpu()) return [ok('torch', torch)];
  // A worker that nobody told to would run on the CPU, a hundred times slower, and be paid for a GPU.
  return [
    fault('torch', `${torch}; there is a GPU, and torch cannot use it: ${why}`, CUDA_HOST_FILTER),
  ];
}

function gib(bytes: number): string {
  return (bytes / 2 ** 30).toFixed(1);
}
