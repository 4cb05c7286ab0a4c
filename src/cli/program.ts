import { Command, Option } from 'commander';
import { VERSION } from '../app.ts';
import { STEP_NAMES } from '../provision/steps.ts';
import { PROFILES } from '../settings.ts';
import { addCompletion } from './completion/completion.ts';
import { addInfer } from './infer-command.ts';
import { integer, modelOption, sampleOption } from './options.ts';

/** The official SDK's words for how much is logged. */
const RUNPOD_LEVELS = ['ERROR', 'WARN', 'INFO', 'DEBUG'];

/** The commands are imported when they run: --help and --version need none of what they need. */
export function buildProgram(done: (exitCode: number) => void): Command {
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
  addCompletion(program);
  return program;
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
