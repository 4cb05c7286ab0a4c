import { type Command, InvalidArgumentError, Option } from 'commander';
import { COLORMAP_NAMES } from '../image/colormap.ts';
import { OUTPUT_FORMATS } from '../job/schema.ts';
import { NORMALIZE_MODES, RESAMPLE_METHODS } from '../worker/protocol.ts';
import { DEFAULT_OUTPUT, SHEET_NAME } from './infer-options.ts';
import { choices, help, integer, modelOption, sampleOption } from './options.ts';

const MORE = `
Examples:
  lotus-worker infer photo.jpg                          depth/photo.png
  lotus-worker infer photos --output maps               maps/trip/a.png for photos/trip/a.jpg
  lotus-worker infer photos --output maps               again: what is there is skipped
  lotus-worker infer photos --format npy --contact-sheet
  cat photo.jpg | lotus-worker infer - > map.png

Maps that are there are skipped when they were made of the same file, with the same options, by the same model;
one run that was interrupted goes on where it was. Inputs are never overwritten, and names that collide get -2, -3
and so on.

Exit codes: 0 all well, 1 some failed, 2 wrong usage, 130 interrupted.`;

const FORMAT_HELP = 'with commas between; png (8 bits) is always made, npy and exr are the floats';

/** `lotus-worker infer`. */
export function addInfer(program: Command, done: (exitCode: number) => void): void {
  program
    .command('infer')
    .description('Write a depth map for each image.')
    .argument('<path...>', 'images (JPEG, PNG, WebP), folders of them, or - for standard input')
    .option(
      '-o, --output <dir>',
      `where the maps go: <dir>/<name>.png; - is standard output (default: ${DEFAULT_OUTPUT}, and for an image from standard input alone -)`,
    )
    .option('--force', 'compute maps again that are there')
    .addOption(
      new Option('--format <list>', FORMAT_HELP).choices(OUTPUT_FORMATS).argParser(formats),
    )
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
    .option(
      '--contact-sheet [name]',
      `the first images, their maps and these in colour as one PNG in the output folder (default: ${SHEET_NAME})`,
    )
    .option('--json', 'one line of JSON an image, on standard output')
    .addHelpText('after', MORE)
    .action(async (paths: string[], flags) => {
      const { infer } = await import('./infer.ts');
      done(await infer(paths, flags));
    });
}

function formats(text: string): string[] {
  const wanted = text.split(',').map((format) => format.trim());
  const known: readonly string[] = OUTPUT_FORMATS;
  const unknown = wanted.filter((format) => !known.includes(format));
  if (unknown.length === 0) return wanted;
  throw new InvalidArgumentError(`Known formats: ${known.join(', ')}.`);
}
