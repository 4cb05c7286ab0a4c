import { describe, expect, it } from 'vitest';
import {
  asLotusError,
  ERROR_STATUS,
  type ErrorCode,
  LotusError,
  messageOf,
  SetupError,
  UsageError,
} from '../src/errors.ts';

/** As `docs/job.md` promises them to callers. */
const CONTRACT: Record<number, ErrorCode[]> = {
  400: [
    'invalid_input',
    'no_image',
    'invalid_image',
    'image_too_large',
    'unsupported_format',
    'fetch_refused',
    'fetch_failed',
    'model_not_allowed',
    'shape_not_admitted',
  ],
  401: ['unauthorized'],
  408: ['timed_out'],
  499: ['cancelled'],
  500: ['internal', 'worker_crashed', 'poison_job', 'non_finite_map'],
  503: ['model_unavailable', 'out_of_memory', 'shutting_down'],
};

const codes = Object.keys(ERROR_STATUS) as ErrorCode[];

describe('LotusError', () => {
  it.each(
    Object.entries(CONTRACT).flatMap(([status, of]) => of.map((code) => [code, Number(status)])),
  )('gives %s the status %i', (code, status) => {
    expect(new LotusError(code as ErrorCode, 'text').status).toBe(status);
  });

  it('has no code that the contract does not name', () => {
    expect(codes.toSorted()).toEqual(Object.values(CONTRACT).flat().toSorted());
  });

  it('is worth another try only where nothing about the job was wrong', () => {
    const retryable = codes.filter((code) => new LotusError(code, 'text').retryable);
    expect(retryable.toSorted()).toEqual([
      'model_unavailable',
      'out_of_memory',
      'shutting_down',
      'timed_out',
      'worker_crashed',
    ]);
  });

  it('keeps its message, its code and its cause', () => {
    const cause = new Error('why');
    const error = new LotusError('no_image', 'The image is empty.', { cause });
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({
      name: 'LotusError',
      code: 'no_image',
      message: 'The image is empty.',
      cause,
    });
  });
});

describe('UsageError and SetupError', () => {
  it.each([
    ['UsageError', new UsageError('text')],
    ['SetupError', new SetupError('text')],
  ])('bears its own name: %s', (name, error) => {
    expect(error).toMatchObject({ name, message: 'text' });
    expect(error).not.toBeInstanceOf(LotusError);
  });
});

describe('asLotusError', () => {
  it('gives back the same LotusError', () => {
    const error = new LotusError('cancelled', 'Cancelled.');
    expect(asLotusError(error)).toBe(error);
  });

  it.each([
    ['an error', new TypeError('secret: /home/me')],
    ['a usage error', new UsageError('secret: /home/me')],
    ['a string', 'secret: /home/me'],
    ['nothing', undefined],
  ])('makes %s internal, and keeps it from the caller', (_what, thrown) => {
    const error = asLotusError(thrown);
    expect(error).toMatchObject({ code: 'internal', status: 500, retryable: false });
    expect(error.message).not.toContain('secret');
    expect(error.cause).toBe(thrown);
  });
});

describe('messageOf', () => {
  it.each([
    ['an error', new Error('broken'), 'broken'],
    ['a string', 'broken', 'broken'],
    ['null', null, 'null'],
    ['undefined', undefined, 'undefined'],
    ['a number', 7, '7'],
  ])('says what was thrown: %s', (_what, thrown, message) => {
    expect(messageOf(thrown)).toBe(message);
  });
});
