import path from 'node:path';
import { SAMPLE_ROOT } from '../app.ts';
import { infer } from './infer.ts';

/** `lotus-worker demo`: the sample model on the sample images. Returns the exit code. */
export async function demo(flags: { output: string; json?: boolean }): Promise<number> {
  const code = await infer([path.join(SAMPLE_ROOT, 'images')], { ...flags, sample: true });
  if (code === 0 && !flags.json) {
    process.stderr.write(
      `The maps are in ${path.resolve(flags.output)}. They show noise: the sample model's weights are` +
        ' random, it stands in for the real one so that everything can be tried without a GPU or a' +
        ' download.\nYour own pictures: lotus-worker infer photo.jpg --output depth\n',
    );
  }
  return code;
}
