import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LotusError } from '../../src/errors.ts';
import {
  imageId,
  jobInputSchema,
  parseImageItem,
  parseJobInput,
  parseJobOptions,
} from '../../src/job/schema.ts';

/** `shared/job.md`, as far as this version has it. */
const DEFAULTS = {
  timestep: 999,
  output_processing_res: false,
  resample_method: 'bilinear',
  upsample_method: 'nearest',
  seed: 0,
  output_formats: ['png'],
  normalize: 'minmax',
  colormap: 'Spectral',
  ensemble_size: 1,
};

function refusal(parse: (value: unknown) => unknown, value: unknown): string {
  try {
    parse(value);
  } catch (error) {
    expect(error).toMatchObject({ name: 'LotusError', code: 'invalid_input', status: 400 });
    return (error as LotusError).message;
  }
  throw new Error('it was accepted');
}

describe('parseJobOptions', () => {
  it('fills in the defaults', () => {
    expect(parseJobOptions({})).toEqual(DEFAULTS);
  });

  it('takes undefined for unset, as the command line gives it', () => {
    const unset = Object.fromEntries(Object.keys(DEFAULTS).map((field) => [field, undefined]));
    expect(parseJobOptions(unset)).toEqual(DEFAULTS);
  });

  it.each([
    ['model_id', 'jingheya/lotus-depth-d-v1-0'],
    ['timestep', 0],
    ['timestep', 999],
    ['processing_res', 0],
    ['processing_res', 4096],
    ['output_processing_res', true],
    ['resample_method', 'bicubic'],
    ['resample_method', 'nearest'],
    ['upsample_method', 'bilinear'],
    ['upsample_method', 'bicubic'],
    ['disparity', true],
    ['disparity', false],
    ['seed', 0],
    ['seed', Number.MAX_SAFE_INTEGER],
    ['normalize', 'percentile'],
    ['normalize', 'none'],
  ])('takes %s=%s', (field, value) => {
    expect(parseJobOptions({ [field]: value })).toEqual({ ...DEFAULTS, [field]: value });
  });

  it.each(['processing_res', 'disparity'] as const)('takes null for an unset %s', (field) => {
    expect(parseJobOptions({ [field]: null })[field] ?? 'unset').toBe('unset');
  });

  it.each([
    [[], ['png']],
    [['png'], ['png']],
    [['npy'], ['png', 'npy']],
    [
      ['npy', 'png'],
      ['png', 'npy'],
    ],
    [
      ['npy', 'npy', 'png', 'png'],
      ['png', 'npy'],
    ],
  ])('makes of the formats %j the formats %j', (given, formats) => {
    expect(parseJobOptions({ output_formats: given }).output_formats).toEqual(formats);
  });

  it.each([
    ['model_id', 5],
    ['model_id', null],
    ['timestep', -1],
    ['timestep', 1000],
    ['timestep', 1.5],
    ['timestep', '999'],
    ['timestep', null],
    ['timestep', true],
    ['processing_res', -1],
    ['processing_res', 4097],
    ['processing_res', 0.5],
    ['processing_res', '768'],
    ['processing_res', false],
    ['output_processing_res', 1],
    ['output_processing_res', 'true'],
    ['output_processing_res', null],
    ['resample_method', 'lanczos'],
    ['resample_method', 'Bilinear'],
    ['resample_method', 1],
    ['upsample_method', ''],
    ['upsample_method', null],
    ['disparity', 'near'],
    ['disparity', 0],
    ['seed', -1],
    ['seed', 0.1],
    ['seed', '3'],
    ['seed', Number.MAX_SAFE_INTEGER + 1],
    ['seed', 1e300],
    ['seed', [1]],
    ['output_formats', 'png'],
    ['output_formats', null],
    ['output_formats', { 0: 'png' }],
    ['normalize', 'MinMax'],
    ['normalize', ['minmax']],
  ])('refuses %s=%j, naming both', (field, value) => {
    const message = refusal(parseJobOptions, { [field]: value });
    expect(message).toContain(`${field}: `);
    expect(message).toContain(`got ${JSON.stringify(value)}`);
  });

  it.each(['jpg', 'PNG', 'png8', 'tiff', '', 5, null])('refuses the format %j', (format) => {
    const message = refusal(parseJobOptions, { output_formats: ['png', format] });
    expect(message).toContain('output_formats.1: ');
    expect(message).toContain('"png"|"png16"|"npy"|"color"|"exr"|"uncertainty"');
    expect(message).toContain(`got ${JSON.stringify(format)}`);
  });

  it.each([
    ['resample_method', ['bilinear', 'bicubic', 'nearest']],
    ['upsample_method', ['bilinear', 'bicubic', 'nearest']],
    ['normalize', ['minmax', 'percentile', 'none']],
    ['colormap', ['Spectral', 'turbo', 'inferno', 'magma', 'viridis', 'gray']],
  ])('says what %s may be', (field, choices) => {
    const message = refusal(parseJobOptions, { [field]: 'x' });
    for (const choice of choices) expect(message).toContain(`"${choice}"`);
  });

  it('names every unknown field', () => {
    const message = refusal(parseJobOptions, { sead: 3, colour: 'map' });
    expect(message).toBe('Invalid input: unknown field "sead", "colour".');
  });

  it('takes no image', () => {
    expect(refusal(parseJobOptions, { image_base64: 'AAAA' })).toContain('"image_base64"');
  });

  it('names everything that is wrong at once', () => {
    const message = refusal(parseJobOptions, { timestep: 1000, seed: -1, normalize: 7, sead: 3 });
    for (const part of ['timestep', '1000', 'seed', '-1', 'normalize', '7', '"sead"']) {
      expect(message).toContain(part);
    }
  });

  it.each([
    ['a string', 'y'.repeat(5000)],
    ['a list', Array.from({ length: 5000 }, (_, i) => i)],
    ['an object', { key: 'y'.repeat(5000) }],
  ])('cuts %s that is long', (_what, value) => {
    const message = refusal(parseJobOptions, { seed: value });
    expect(message).toMatch(/^Invalid input: seed: .{1,120}\.\.\.\.$/);
  });

  it.each([null, undefined, 'text', 7, true, []])('refuses %j instead of an object', (value) => {
    expect(refusal(parseJobOptions, value)).toContain('expected object');
  });

  it.each(['__proto__', 'constructor', 'toString'])('does not know a field %s', (field) => {
    const value: unknown = JSON.parse(`{"${field}": {"seed": 3}}`);
    expect(refusal(parseJobOptions, value)).toContain(`unknown field "${field}"`);
  });

  it('does not look at a list that is too long one by one', () => {
    const message = refusal(parseJobOptions, { output_formats: Array(1_000_000).fill('') });
    expect(message).toMatch(/^Invalid input: output_formats: Too many: at most 32 entries, got \[/);
    expect(parseJobOptions({ output_formats: Array(32).fill('npy') })).toMatchObject({
      output_formats: ['png', 'npy'],
    });
  });

  it('keeps its message short, however much is wrong', () => {
    const formats = refusal(parseJobOptions, { output_formats: Array(32).fill('jpg') });
    const field = refusal(parseJobOptions, { ['y'.repeat(5000)]: 1 });
    expect(formats.length).toBeLessThan(2000);
    expect(field.length).toBeLessThan(2000);
  });
});

describe('parseImageItem', () => {
  it('gives where the image is, whatever its id', () => {
    expect(parseImageItem({ image_base64: 'AAAA' })).toEqual({ base64: 'AAAA' });
    expect(parseImageItem({ image_url: 'u', image_base64: null, id: 'a' })).toEqual({ url: 'u' });
  });

  it.each([{}, { id: 'a' }, { image_url: null }])('says that there is no image in %j', (item) => {
    expect(() => parseImageItem(item)).toThrow(expect.objectContaining({ code: 'no_image' }));
  });

  it.each([
    [{ image_url: ['hunter2'] }, 'image_url: expected string'],
    [{ image_url: 'hunter2', image_base64: 'AAAA' }, 'send one of them'],
    [{ image_url: 'hunter2', seed: 1 }, 'unknown field "seed"'],
    [{ image_url: 'hunter2', id: 'x'.repeat(201) }, 'id: Too long: at most 200 characters'],
    ['hunter2', 'expected object'],
  ])('refuses %j, and repeats no address', (item, wanted) => {
    const message = refusal(parseImageItem, item);
    expect(message).toContain(wanted);
    expect(message).not.toContain('hunter2');
  });
});

describe('imageId', () => {
  it.each([
    [{ id: 'a' }, 'a'],
    [{ id: 'a', image_url: 7, more: 1 }, 'a'],
    [{ id: 7 }, undefined],
    [{ id: 'x'.repeat(201) }, undefined],
    [{}, undefined],
    [null, undefined],
    ['a', undefined],
  ])('of %j is %j, whatever else is wrong', (item, id) => {
    expect(imageId(item)).toBe(id);
  });
});

describe('parseJobInput', () => {
  it('gives the image as it came, and the defaults', () => {
    const input = { image: { base64: 'AAAA' }, uploadUrl: null, options: DEFAULTS };
    expect(parseJobInput({ image_base64: 'AAAA' })).toEqual(input);
    expect(parseJobInput({ image_base64: 'AAAA', image_url: null })).toEqual(input);
  });

  it('gives the address as it came, and the defaults', () => {
    const input = { image: { url: 'not looked at here' }, uploadUrl: null, options: DEFAULTS };
    expect(parseJobInput({ image_url: 'not looked at here' })).toEqual(input);
    expect(parseJobInput({ image_url: 'not looked at here', image_base64: null })).toEqual(input);
  });

  it('takes all that the options take', () => {
    const options = { seed: 3, disparity: false, output_formats: ['npy'], processing_res: 512 };
    expect(parseJobInput({ image_base64: 'AAAA', ...options })).toEqual({
      image: { base64: 'AAAA' },
      uploadUrl: null,
      options: parseJobOptions(options),
    });
  });

  it('gives the address that the picture is to be put to as it came', () => {
    const input = { image_base64: 'AAAA', upload_url: 'not looked at here' };
    expect(parseJobInput(input).uploadUrl).toBe('not looked at here');
    expect(parseJobInput({ ...input, upload_url: null }).uploadUrl).toBe(null);
  });

  it('gives no key on', () => {
    const input = parseJobInput({ image_base64: 'AAAA', api_key: 'hunter2' });
    expect(JSON.stringify(input)).not.toContain('hunter2');
  });

  it.each(['hunter2', 7_777_777, ['hunter2'], { hunter2: 1 }, null])(
    'says nothing of the key %j, whatever else is wrong',
    (api_key) => {
      const message = refusal(parseJobInput, { api_key, seed: -1, sead: 3 });
      expect(message).toMatch(/^Invalid input: seed: .*, got -1; unknown field "sead"\.$/);
    },
  );

  it.each([{}, { image_base64: null, image_url: null }, { api_key: 'k', seed: 3 }])(
    'says that there is no image in %j',
    (input) => {
      expect(() => parseJobInput(input)).toThrow(
        expect.objectContaining({
          code: 'no_image',
          status: 400,
          message: 'There is no image: send image_base64 or image_url.',
        }),
      );
    },
  );

  it('refuses two images, and repeats neither', () => {
    const both = { image_base64: 'AAAA', image_url: 'https://example.com/?hunter2' };
    expect(refusal(parseJobInput, both)).toBe(
      'Invalid input: there are image_url and image_base64; send one of them.',
    );
  });

  it.each([5, true, ['AAAA'], { base64: 'AAAA' }])('refuses the image %j', (image) => {
    const message = refusal(parseJobInput, { image_base64: image });
    expect(message).toContain('image_base64: ');
    expect(message).toContain('expected string');
  });

  it.each(['image_url', 'upload_url'])(
    'refuses an %s that is no text, and does not repeat it',
    (name) => {
      const message = refusal(parseJobInput, { [name]: ['https://example.com/?hunter2'] });
      expect(message).toContain(`${name}: `);
      expect(message).toContain('got a list of 1');
      expect(message).not.toContain('hunter2');
    },
  );

  it('gives several images as they came, for each to be looked at alone', () => {
    const images = [{ image_url: 'not looked at here' }, 7];
    const input = { images, uploadUrl: null, options: DEFAULTS };
    expect(parseJobInput({ images })).toEqual(input);
    expect(parseJobInput({ images, image_url: null, upload_url: null })).toEqual(input);
  });

  it('takes as many images as it says, and refuses more, and none, by their number', () => {
    expect(parseJobInput({ images: Array(16).fill({}) }).images).toHaveLength(16);
    expect(refusal(parseJobInput, { images: Array(17).fill({ image_url: 'hunter2' }) })).toBe(
      'Invalid input: images: Too many: at most 16 images a job, got a list of 17.',
    );
    expect(refusal(parseJobInput, { images: [] })).toBe(
      'Invalid input: images: Empty: send at least one image, got a list of 0.',
    );
    expect(refusal(parseJobInput, { images: 'https://example.com/?hunter2' })).toBe(
      'Invalid input: images: expected array, received string, got string.',
    );
  });

  it.each([
    [{ image_url: 'u', images: [{}] }, 'image_url and images'],
    [{ image_base64: 'AAAA', images: [{}] }, 'image_base64 and images'],
    [
      { image_base64: 'AAAA', image_url: 'u', images: [{}] },
      'image_url and image_base64 and images',
    ],
  ])('refuses several images beside another: %j', (input, fields) => {
    expect(refusal(parseJobInput, input)).toBe(
      `Invalid input: there are ${fields}; send one of them.`,
    );
  });

  it('refuses to put several pictures to one address', () => {
    const input = { images: [{}], upload_url: 'https://example.com/?hunter2' };
    const message = refusal(parseJobInput, input);
    expect(message).toMatch(/^Invalid input: upload_url takes one picture, and there are images;/);
    expect(message).not.toContain('hunter2');
  });

  it('does not repeat an image that is under a wrong name', () => {
    const message = refusal(parseJobInput, { image: 'A'.repeat(5000) });
    expect(message).toBe('Invalid input: unknown field "image".');
  });

  it('describes every field, for the docs', () => {
    for (const [field, schema] of Object.entries(jobInputSchema.shape)) {
      expect(schema.meta()?.description, field).toMatch(/\w/);
    }
  });

  const fields = Object.keys(jobInputSchema.shape);
  const anything = fc.oneof(
    fc.jsonValue(),
    fc.dictionary(fc.constantFrom(...fields), fc.jsonValue()),
    fc.record({ image_base64: fc.string(), seed: fc.nat(), timestep: fc.integer() }),
  );

  it('gives options or an invalid_input for any JSON value, and nothing else', () => {
    fc.assert(
      fc.property(anything, (value) => {
        try {
          const input = parseJobInput(value);
          if (input.image) expect(typeof Object.values(input.image)[0]).toBe('string');
          else expect(input.images.length).toBeGreaterThan(0);
          expect(input.options.output_formats[0]).toBe('png');
        } catch (error) {
          if (!(error instanceof LotusError)) throw error;
          expect(['invalid_input', 'no_image']).toContain(error.code);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('gives an invalid_input for a value however deep', () => {
    const deep: unknown = JSON.parse('['.repeat(20_000) + ']'.repeat(20_000));
    expect(refusal(parseJobInput, { image_base64: deep })).toContain('image_base64: ');
  });
});
