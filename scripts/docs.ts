/**
 * `npm run docs`: writes the tables in `docs/` that are made from the code, between
 * `<!-- begin NAME -->` and `<!-- end NAME -->`. A test says when they are out of date.
 */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { buildProgram } from '../src/cli/program.ts';
import { ERROR_STATUS } from '../src/errors.ts';
import { API_ERRORS } from '../src/http/errors.ts';
import { jobAnswerSchema, jobRequestSchema } from '../src/http/schemas.ts';
import { API_LIMITS, type ApiLimits } from '../src/http/server.ts';
import { jobInputSchema } from '../src/job/schema.ts';
import { settings } from '../src/settings.ts';

const DOCS = path.join(import.meta.dirname, '..', 'docs');

/** The documents with tables, and how they read with their tables as they should be. */
export async function renderDocs(): Promise<{ file: string; now: string; wanted: string }[]> {
  const tables: Record<string, string> = {
    settings: settingsTable(),
    deployment: settingsTable(DEPLOYMENT),
    job: fieldTable(jobInputSchema),
    errors: codeTable(ERROR_STATUS),
    request: fieldTable(jobRequestSchema(undefined)),
    answer: fieldTable(jobAnswerSchema),
    refusals: codeTable(API_ERRORS),
    limits: limitTable(),
    flags: flagTable('infer'),
  };
  const files = ['settings.md', 'job.md', 'operations.md', 'api.md', 'cli.md'].map((name) =>
    path.join(DOCS, name),
  );
  return await Promise.all(
    files.map(async (file) => {
      const now = await readFile(file, 'utf8');
      const names = [...now.matchAll(/<!-- begin (\w+) -->/g)].map((match) => match[1] ?? '');
      const wanted = names.reduce((text, name) => replaceTable(text, name, tables[name]), now);
      return { file, now, wanted };
    }),
  );
}

function replaceTable(text: string, name: string, table: string | undefined): string {
  if (table === undefined) throw new Error(`there is no table called ${name}`);
  const between = new RegExp(`(<!-- begin ${name} -->\n)[^]*?(<!-- end ${name} -->)`);
  return text.replace(between, (_all, begin, end) => `${begin}${table}${end}`);
}

/** What the operator of an endpoint may want to set. */
const DEPLOYMENT: readonly string[] = [
  'WORKSPACE',
  'LOTUS_ALLOW_EPHEMERAL',
  'LOTUS_API_KEY',
  'LOTUS_CONCURRENCY',
  'LOTUS_SHUTDOWN_GRACE',
  'LOTUS_OUTPUT_MAX_AGE',
  'LOTUS_OUTPUT_MAX_BYTES',
  'LOTUS_FETCH_ALLOW',
  'BUCKET_ENDPOINT_URL',
  'BUCKET_ACCESS_KEY_ID',
  'BUCKET_SECRET_ACCESS_KEY',
  'BUCKET_NAME',
  'BUCKET_REGION',
  'MODEL_ID',
  'MODEL_REVISION',
  'LOTUS_PROFILE',
  'LOTUS_FLASH_ATTN',
  'LOTUS_UPSTREAM_URL',
  'LOTUS_UPSTREAM_COMMIT',
  'LOTUS_RUN_AS_ROOT',
  'LOTUS_LOG_LEVEL',
  'HF_HOME',
  'HF_TOKEN',
] satisfies (keyof typeof settings.shape)[];

function settingsTable(names: readonly string[] = Object.keys(settings.shape)): string {
  const rows = describe(settings)
    .filter(({ name }) => names.includes(name))
    .map(({ name, values, description }) => `| \`${name}\` | ${values} | ${description} |`);
  return `| setting | values | meaning |\n|---|---|---|\n${rows.join('\n')}\n`;
}

function fieldTable(schema: z.ZodType): string {
  const rows = describe(schema).map(
    ({ name, values, description }) => `| \`${name}\` | ${values} | ${description} |`,
  );
  return `| field | values, default | meaning |\n|---|---|---|\n${rows.join('\n')}\n`;
}

function codeTable(codes: Readonly<Record<string, number>>): string {
  const rows = Object.entries(codes).map(([code, status]) => `| \`${code}\` | ${status} |`);
  return `| code | status |\n|---|---|\n${rows.join('\n')}\n`;
}

const LIMIT_MEANINGS: Readonly<Record<keyof ApiLimits, string>> = {
  concurrency: 'jobs that run at once',
  maxQueued: 'jobs that wait; beyond it 429',
  maxQueuedBytes: 'what their requests may have together; beyond it 429',
  executionMs: 'how long a job may run, where its policy says nothing',
  ttlMs: 'how long it may exist, where its policy says nothing',
  keepMs: 'how long a result of `/run` is kept',
  keepSyncMs: 'how long a result of `/runsync` is kept',
  maxKept: 'results that are kept; the oldest go first',
  maxKeptBytes: 'what they may have together; the oldest go first',
  maxBytes: 'the body of `/run`; beyond it 413',
  maxSyncBytes: 'the body of `/runsync`; beyond it 413',
  maxReadBytes:
    'what has come of all bodies that are being read from callers with the key in a header; beyond it 429 for the oldest',
  maxStrangerBytes: 'the same, from all other callers',
  maxOutputBytes: 'the result of a `/run`; what is around the output takes up to 1024 of it',
  maxSyncOutputBytes: 'the result of a `/runsync`, likewise',
  streamWaitMs: 'how long `/stream` waits for something to say',
  headersMs: "how long a request's headers may take",
  requestMs: 'how long a request may take to come in',
  idleMs: 'how long a connection may be idle between requests',
  stallMs: 'how long a connection may stand still in a request or its answer',
  maxConnections:
    'connections at once; beyond it the oldest is closed whose caller has not shown the key',
  lastAnswersMs: 'how long connections may hold up the end, when all jobs have ended',
};

function limitTable(): string {
  const rows = Object.entries(API_LIMITS).map(
    ([name, value]) => `| \`${name}\` | ${value} | ${LIMIT_MEANINGS[name as keyof ApiLimits]} |`,
  );
  return `| limit | default | meaning |\n|---|---|---|\n${rows.join('\n')}\n`;
}

/** A command's flags, as its help has them. */
function flagTable(name: string): string {
  const command = buildProgram(() => {}).commands.find((one) => one.name() === name);
  if (command === undefined) throw new Error(`there is no command called ${name}`);
  const help = command.createHelp();
  const options = help.visibleOptions(command).filter(({ long }) => long !== '--help');
  const rows = options.map((option) => {
    const meaning = help.optionDescription(option).replaceAll(/<[\w<>/.]+\w/g, '`$&`');
    return `| \`${help.optionTerm(option)}\` | ${meaning} |`;
  });
  return `| flag | meaning |\n|---|---|\n${rows.join('\n')}\n`;
}

interface Property {
  type?: string | string[];
  enum?: string[];
  anyOf?: Property[];
  items?: Property;
  properties?: Record<string, Property>;
  default?: unknown;
  minimum?: number;
  maximum?: number;
  description?: string;
}

function describe(schema: z.ZodType) {
  const { properties = {} } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as {
    properties?: Record<string, Property>;
  };
  return Object.entries(properties).map(([name, property]) => {
    const fallback =
      property.default === undefined ? '' : `, default \`${JSON.stringify(property.default)}\``;
    return {
      name,
      values: `${valuesOf(property)}${fallback}`,
      description: property.description ?? '',
    };
  });
}

function valuesOf(property: Property): string {
  if (property.enum) return property.enum.map((value) => `\`${value}\``).join(' ');
  if (property.anyOf) {
    return property.anyOf
      .filter(({ type }) => type !== 'null')
      .map(valuesOf)
      .join(' or ');
  }
  if (property.items) return `list of ${valuesOf(property.items)}`;
  const { minimum, maximum } = property;
  const type = [property.type ?? 'string'].flat().filter((name) => name !== 'null')[0];
  const bounded = maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER;
  if (property.properties)
    return `object: ${Object.keys(property.properties)
      .map((name) => `\`${name}\``)
      .join(', ')}`;
  if (property.type === undefined && property.description !== undefined) return 'any';
  if (minimum === undefined) return String(type);
  return bounded ? `${type} ${minimum}..${maximum}` : `${type} >= ${minimum}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const { file, now, wanted } of await renderDocs()) {
    if (now === wanted) continue;
    await writeFile(file, wanted);
    console.log(`wrote ${path.relative('', file)}`);
  }
}
