import type { Config } from '../config.ts';
import { modelRequest } from '../job/run.ts';
import { parseJobOptions } from '../job/schema.ts';
import { roundMs, Stopwatch } from '../job/stopwatch.ts';
import { chooseView } from '../job/view.ts';
import type { Model } from '../worker/model.ts';
import { interruptSignal, openSession, type SettingFlags, startModel } from './session.ts';
import { Terminal, table } from './terminal.ts';

/** The size of the picture that is run: a photograph's usual shape. */
const WIDTH = 1024;
const HEIGHT = 768;

/**
 * `lotus-worker warmup`: load the model and run it once, in the process that would serve, and say what
 * took how long and what runs on what. Returns the exit code.
 *
 * @throws SetupError, or LotusError when the model cannot be loaded or run.
 */
export async function warmup(flags: SettingFlags & { json?: boolean }): Promise<number> {
  const session = await openSession(flags, new Terminal());
  const signal = interruptSignal();
  const model = await startModel(session, signal, { maxProcesses: 1 });
  try {
    const report = await measure(model, session.config.model, signal);
    session.terminal.result(flags.json ? JSON.stringify(report) : describe(report));
    return 0;
  } finally {
    await model.stop();
  }
}

/** Run the model once, and say what took how long. */
export async function measure(
  model: Model,
  { name, prediction }: Config['model'],
  signal: AbortSignal,
) {
  const clock = new Stopwatch();
  // As a job that asks for nothing in particular.
  const options = parseJobOptions({});
  const request = modelRequest(options, chooseView(prediction, options), signal);
  const map = await model.run({ pixels: testCard(), width: WIDTH, height: HEIGHT }, request);
  clock.add(map.timings_ms);
  const { ready, start } = model;
  return {
    model: name,
    revision: ready.revision,
    device: ready.device,
    dtype: map.dtype,
    attention: ready.attention,
    versions: start.versions,
    start_ms: { ...ready.timings_ms, total: roundMs(start.startedInMs) },
    run: {
      width: WIDTH,
      height: HEIGHT,
      processing_width: map.processing_width,
      processing_height: map.processing_height,
      timings_ms: clock.timings(),
    },
  };
}

type Report = Awaited<ReturnType<typeof measure>>;

/** That, for people. */
export function describe(report: Report): string {
  const { run, attention } = report;
  const versions = Object.entries(report.versions).filter(([, version]) => version !== null);
  const kernel = attention.version ? `${attention.kernel} ${attention.version}` : attention.kernel;
  const size = `${run.width}x${run.height} at ${run.processing_width}x${run.processing_height}`;
  return [
    'What runs',
    table([
      ['model', report.model],
      ['revision', report.revision ?? '-'],
      ['device', report.device],
      ['dtype', report.dtype],
      ['attention', attention.reason ? `${kernel} (${attention.reason})` : kernel],
      ['versions', versions.map(([name, version]) => `${name} ${version}`).join(', ')],
    ]),
    '\nStart, ms',
    table(Object.entries(report.start_ms)),
    `\nFirst run, ${size}, ms`,
    table(Object.entries(run.timings_ms)),
  ].join('\n');
}

/** Gradients with a checkerboard over them: something to see for every part of the model. */
function testCard(): Buffer {
  const pixels = Buffer.alloc(WIDTH * HEIGHT * 3);
  for (let y = 0; y < HEIGHT; y += 1) {
    for (let x = 0; x < WIDTH; x += 1) {
      const dark = ((x >> 6) + (y >> 6)) & 1 ? 0.5 : 1;
      const at = (y * WIDTH + x) * 3;
      pixels[at] = (255 * x * dark) / WIDTH;
      pixels[at + 1] = (255 * y * dark) / HEIGHT;
      pixels[at + 2] = 128 * dark;
    }
  }
  return pixels;
}
