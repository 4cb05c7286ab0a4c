import { z } from 'zod';
import { PYTHON_ROOT } from '../app.ts';
import type { Config, Environment } from '../config.ts';
import { childEnvironment } from '../environment.ts';
import { hasNvidiaGpu, proveFlashAttn } from '../provision/flash-attn.ts';
import { runProgram } from '../provision/program.ts';
import type { Made } from '../provision/step.ts';
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

/** Whether the GPU, its driver and the CUDA of torch go together. */
export async function examineGpu(
  config: Config,
  env: Environment,
  made: Partial<Made>,
  signal?: AbortSignal,
): Promise<Finding[]> {
  const driver = await examineDriver(signal);
  if (made.python === undefined) return [driver, note('torch', 'unknown without a venv')];
  const { failed, stdout, stderr } = await runProgram(
    made.python,
    ['-P', '-m', 'lotus_worker.device_report'],
    {
      env: { ...childEnvironment(config, env), PYTHONPATH: PYTHON_ROOT },
      onlyThisEnv: true,
      signal,
    },
  );
  if (failed) {
    const reason = stderr.trim().split('\n').at(-1) ?? '';
    return [driver, fault('torch', `does not import: ${reason}`, 'lotus-worker bootstrap')];
  }
  const report = reportSchema.parse(JSON.parse(stdout));
  return [driver, ...describe(report, config), await examineAttention(made, signal)];
}

/** Which kernel the UNet's attention will most likely run on; the model process decides it when it loads. */
async function examineAttention(made: Partial<Made>, signal?: AbortSignal): Promise<Finding> {
  const torchs = "torch's scaled_dot_product_attention";
  if (!made.flashAttn || made.python === undefined) return ok('attention', torchs);
  const proof = await proveFlashAttn(made.python, made.flashAttn, signal);
  if (proof.works) return ok('attention', `flash-attn: ${proof.what}`);
  return note('attention', `${torchs}; flash-attn does not work here: ${proof.what}`);
}

async function examineDriver(signal?: AbortSignal): Promise<Finding> {
  const query = ['--query-gpu=name,driver_version,memory.total', '--format=csv,noheader'];
  const { failed, stdout, stderr, code, shortMessage } = await runProgram('nvidia-smi', query, {
    signal,
  });
  if (!failed) return ok('driver', stdout.trim().replaceAll('\n', '; '));
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
