#!/usr/bin/env node
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import type { z } from 'zod';
import { VERSION } from '../app.ts';
import { LotusError, SetupError, UsageError } from '../errors.ts';
import { COLORMAP_NAMES } from '../image/colormap.ts';
import { jobOptionsSchema, OUTPUT_FORMATS } from '../job/schema.ts';
import { STEP_NAMES } from '../provision/steps.ts';
import { PROFILES } from '../settings.ts';
import { NORMALIZE_MODES, RESAMPLE_METHODS } from '../worker/protocol.ts';

const FORMAT_HELP = 'of png (8 bits, always made), png16, npy and exr (floats), color, uncertainty';

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
/** The official SDK's words for how much is logged. */
const RUNPOD_LEVELS = ['ERROR', 'WARN', 'INFO', 'DEBUG'];
const EXIT_INTERRUPTED = 130; // as a shell reports Ctrl-C: 128 and SIGINT's number

let heard = true;
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    // The reader, `head` say, has had enough: end in order, as at Ctrl-C, but only once.
    if (heard) process.kill(process.pid, 'SIGTERM');
    heard = false;
  });
}
process.exitCode = await main(process.argv);

async function main(argv: readonly string[]): Promise<number> {
  let code = 0;
  const program = buildProgram((exitCode) => {
    code = exitCode;
  });
  try {
    await program.parseAsync(argv);
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
    await logCause(error);
    return report(error);
  }
}

/** A person gets to see the message; what lies behind it is for the log. */
async function logCause(error: unknown): Promise<void> {
  if (!(error instanceof SetupError || error instanceof LotusError) || !error.cause) return;
  const { createLog } = await import('../log.ts');
  const log = await createLog(process.env.LOTUS_LOG_LEVEL || 'warn');
  log[process.stderr.isTTY ? 'debug' : 'error']({ err: error.cause }, error.message);
}

function report(error: unknown): number {
  if (error instanceof UsageError) {
    process.stderr.write(`error: ${error.message}\n`);
    return EXIT_USAGE;
  }
  if (error instanceof LotusError && error.code === 'cancelled') {
    process.stderr.write('interrupted\n');
    return EXIT_INTERRUPTED;
  }
  if (error instanceof SetupError || error instanceof LotusError) {
    const code = error instanceof LotusError ? ` [${error.code}]` : '';
    process.stderr.write(`error: ${error.message}${code}\n`);
    return EXIT_FAILED;
  }
  throw error; // a mistake of ours: Node prints it with its stack
}

/** The commands are imported when they run: --help and --version need none of what they need. */
function buildProgram(done: (exitCode: number) => void): Command {
  const program = new Command('lotus-worker')
    .description('Depth maps from images with Lotus, on a GPU or without one.')
    .version(VERSION)
    .exitOverride()
    .showHelpAfterError('(lotus-worker --help says more)')
    .addHelpText(
      'after',
      `
Examples:
  lotus-worker demo                          the sample model on the sample images
  lotus-worker infer photo.jpg               writes depth/photo.png
  lotus-worker infer photos --output maps --format png,npy
  lotus-worker bootstrap                     makes a volume ready and proves it
  lotus-worker serve                         answers jobs from RunPod's queue
  lotus-worker serve --http                  answers jobs at http://127.0.0.1:8000
  lotus-worker warmup                        loads the model, runs it once, says what took how long
  lotus-worker doctor                        says why it does not work here

Settings are environment variables; docs/settings.md lists them.`,
    );
  addInfer(program, done);
  addBootstrap(program, done);
  addPrefetch(program, done);
  addServe(program, done);
  addWarmup(program, done);
  addDoctor(program, done);
  addDemo(program, done);
  return program;
}

function addInfer(program: Command, done: (exitCode: number) => void): void {
  program
    .command('infer')
    .description('Write a depth map for each image.')
    .argument('<path...>', 'images (JPEG, PNG, WebP), or folders of them')
    .option('-o, --output <dir>', 'where the maps go: <dir>/<name>.png', 'depth')
    .addOption(new Option('--format <list>', FORMAT_HELP).argParser(formats))
    .addOption(choices('--colormap <name>', 'colormap', COLORMAP_NAMES))
    .option('--processing-res <pixels>', help('processing_res'), integer)
    .option('--output-processing-res', help('output_processing_res'))
    .addOption(choices('--resample-method <method>', 'resample_method', RESAMPLE_METHODS))
    .addOption(choices('--upsample-method <method>', 'upsample_method', RESAMPLE_METHODS))
    .addOption(choices('--normalize <mode>', 'normalize', NORMALIZE_MODES))
    .option('--disparity', 'near is bright (default: what the model predicts)')
    .option('--no-disparity', 'far is bright')
    .option('--timestep <n>', help('timestep'), integer)
    .option('--seed <n>', help('seed'), integer)
    .option('--ensemble-size <n>', help('ensemble_size'), integer)
    .addOption(modelOption())
    .addOption(sampleOption())
    .option('--json', 'one line of JSON an image, on standard output')
    .addHelpText(
      'after',
      `
Exit codes: 0 all well, 1 some failed, 2 wrong usage.
Inputs are never overwritten, and names that collide get -2, -3 and so on.`,
    )
    .action(async (paths: string[], flags) => {
      const { infer } = await import('./infer.ts');
      done(await infer(paths, flags));
    });
}

function addBootstrap(program: Command, done: (exitCode: number) => void): void {
  program
    .command('bootstrap')
    .description('Make the volume ready, once, and prove it by running the model.')
    .addOption(
      new Option('--profile <name>', 'which Python packages (default: LOTUS_PROFILE)').choices(
        PROFILES,
      ),
    )
    .option('--prefetch', 'download the model also without a warm-up')
    .option(
      '--no-warmup',
      'do not load the model, or with --serve, do not run it before the first job',
    )
    .addOption(
      new Option(
        '--serve',
        'then answer jobs, with the model that was loaded: see serve',
      ).conflicts(['dryRun', 'json']),
    )
    .option('--dry-run', 'say what is there and what would be made; change nothing')
    .addOption(modelOption())
    .addOption(sampleOption())
    .option('--json', 'one line of JSON, on standard output')
    .addHelpText(
      'after',
      `
Steps: ${STEP_NAMES.join(', ')}. What is there is not made again; what was interrupted
goes on. Of any number that start at once one builds and the others wait.`,
    )
    .action(async (flags) => {
      const { bootstrap } = await import('./bootstrap.ts');
      done(await bootstrap(flags));
    });
}

function addServe(program: Command, done: (exitCode: number) => void): void {
  program
    .command('serve')
    .description("Answer jobs: from RunPod's queue, or by the local API.")
    .option('--http', "the local API, in the shape of RunPod's own")
    .option('--host <address>', 'where the local API listens (default: 127.0.0.1)')
    .option('--port <number>', 'and at which port (default: 8000)', integer)
    .option('--no-warmup', 'do not run the model before the first job')
    .addOption(modelOption())
    .addOption(sampleOption())
    .addOption(new Option('--test_input <json>', 'run one job, print its answer, and exit'))
    .addOption(new Option('--rp_serve_api', 'as --http').hideHelp())
    .addOption(new Option('--rp_api_host <address>', 'as --host').hideHelp())
    .addOption(new Option('--rp_api_port <number>', 'as --port').argParser(integer).hideHelp())
    .addOption(new Option('--rp_api_concurrency <number>').argParser(integer).hideHelp())
    .addOption(new Option('--rp_log_level <level>').choices(RUNPOD_LEVELS).hideHelp())
    .addOption(new Option('--rp_debugger').hideHelp())
    .addHelpText(
      'after',
      `
Without a flag, jobs come from RunPod's queue where RUNPOD_WEBHOOK_GET_JOB is set, else from a
test_input.json in this folder (one job), else by the local API. RunPod's own flags (--rp_serve_api,
--rp_api_host, --rp_api_port, --rp_api_concurrency, --rp_log_level, --rp_debugger, --test_input) work too.

SIGTERM and Ctrl-C finish what runs and deliver it; the second one exits at once.`,
    )
    .action(async (flags) => {
      const { serve } = await import('./serve.ts');
      done(await serve(flags));
    });
}

function addPrefetch(program: Command, done: (exitCode: number) => void): void {
  program
    .command('prefetch')
    .description('Download a model, so that no worker has to.')
    .argument('[model]', 'hub id (default: MODEL_ID)')
    .option('--update', 'look for a newer revision, and check what is there')
    .option('--dry-run', 'say what is there and what would be made; change nothing')
    .option('--json', 'one line of JSON, on standard output')
    .action(async (model: string | undefined, flags) => {
      const { prefetch } = await import('./bootstrap.ts');
      done(await prefetch({ ...flags, ...(model !== undefined && { model }) }));
    });
}

function addDoctor(program: Command, done: (exitCode: number) => void): void {
  program
    .command('doctor')
    .description(
      'Say why it does not work here. Changes nothing; exits with 1 when a job would fail.',
    )
    .addOption(modelOption())
    .addOption(sampleOption())
    .option('--json', 'one line of JSON, on standard output')
    .action(async (flags) => {
      const { doctor } = await import('./doctor.ts');
      done(await doctor(flags));
    });
}

function addWarmup(program: Command, done: (exitCode: number) => void): void {
  program
    .command('warmup')
    .description('Load the model and run it once; say what took how long and what runs on what.')
    .addOption(modelOption())
    .addOption(sampleOption())
    .option('--json', 'one line of JSON, on standard output')
    .action(async (flags) => {
      const { warmup } = await import('./warmup.ts');
      done(await warmup(flags));
    });
}

function addDemo(program: Command, done: (exitCode: number) => void): void {
  program
    .command('demo')
    .description('Run the sample model on the sample images: no GPU, no download.')
    .option('-o, --output <dir>', 'where the maps and their contact sheet go', 'lotus-demo')
    .option('--json', 'one line of JSON an image, on standard output')
    .action(async (flags) => {
      const { demo } = await import('./demo.ts');
      done(await demo(flags));
    });
}

function modelOption(): Option {
  const text = 'hub id, or path of a checkpoint folder (default: MODEL_ID)';
  return new Option('--model <id>', text).conflicts('sample');
}

function sampleOption(): Option {
  return new Option('--sample', 'the sample model: small, no GPU, no download');
}

function choices(flags: string, field: Field, values: readonly string[]): Option {
  return new Option(flags, help(field)).choices(values);
}

type Field = keyof typeof jobOptionsSchema.shape;

/** A flag's help is the job field's, without its marks. */
function help(field: Field): string {
  const schema: z.ZodType = jobOptionsSchema.shape[field];
  const text = (schema.meta()?.description ?? '').replaceAll('`', '');
  return text.charAt(0).toLowerCase() + text.slice(1);
}

function integer(text: string): number {
  const value = Number(text);
  if (/^-?\d+$/.test(text) && Number.isSafeInteger(value)) return value;
  throw new InvalidArgumentError('It is no integer.');
}

function formats(text: string): string[] {
  const wanted = text.split(',').map((format) => format.trim());
  const known: readonly string[] = OUTPUT_FORMATS;
  const unknown = wanted.filter((format) => !known.includes(format));
  if (unknown.length === 0) return wanted;
  throw new InvalidArgumentError(`Known formats: ${known.join(', ')}.`);
}
