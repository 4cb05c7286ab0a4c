import { InvalidArgumentError, Option } from 'commander';
import type { z } from 'zod';
import { jobOptionsSchema } from '../job/schema.ts';

export function modelOption(): Option {
  const text = 'hub id, or path of a checkpoint folder (default: MODEL_ID)';
  return new Option('--model <id>', text).conflicts('sample');
}

export function sampleOption(): Option {
  return new Option('--sample', 'the sample model: small, no GPU, no download');
}

export function choices(flags: string, field: Field, values: readonly string[]): Option {
  return new Option(flags, help(field)).choices(values);
}

export type Field = keyof typeof jobOptionsSchema.shape;

/** A flag's help is the job field's, without its marks. */
export function help(field: Field): string {
  const schema: z.ZodType = jobOptionsSchema.shape[field];
  const text = (schema.meta()?.description ?? '').replaceAll('`', '');
  return text.charAt(0).toLowerCase() + text.slice(1);
}

export function integer(text: string): number {
  const value = Number(text);
  if (/^-?\d+$/.test(text) && Number.isSafeInteger(value)) return value;
  throw new InvalidArgumentError('It is no integer.');
}
