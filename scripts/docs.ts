/**
 * `npm run docs`: writes the tables in `docs/` that are made from the code, between
 * `<!-- begin NAME -->` and `<!-- end NAME -->`. A test says when they are out of date.
 */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { settings } from '../src/config.ts';
import { ERROR_STATUS } from '../src/errors.ts';
import { jobInputSchema } from '../src/job/schema.ts';

const DOCS = path.join(import.meta.dirname, '..', 'docs');

/** The documents with tables, and how they read with their tables as they should be. */
export async function renderDocs(): Promise<{ file: string; now: string; wanted: string }[]> {
  const tables: Record<string, string> = {
    settings: settingsTable(),
    deployment: settingsTable(DEPLOYMENT),
    job: jobTable(),
    errors: errorTable(),
  };
  const files = ['settings.md', 'job.md', 'operations.md'].map((name) => path.join(DOCS, name));
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

function jobTable(): string {
  const rows = describe(jobInputSchema).map(
    ({ name, values, description }) => `| \`${name}\` | ${values} | ${description} |`,
  );
  return `| field | values, default | meaning |\n|---|---|---|\n${rows.join('\n')}\n`;
}

function errorTable(): string {
  const rows = Object.entries(ERROR_STATUS).map(([code, status]) => `| \`${code}\` | ${status} |`);
  return `| code | status |\n|---|---|\n${rows.join('\n')}\n`;
}

interface Property {
  type?: string | string[];
  enum?: string[];
  anyOf?: Property[];
  items?: Property;
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
