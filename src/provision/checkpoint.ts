import path from 'node:path';
import { z } from 'zod';
import { exists, readJson } from '../storage/files.ts';

/** diffusers' own: each part's library and class, or null for a part that the model does without. */
const modelIndex = z.record(z.string(), z.unknown());

/** transformers' and diffusers': which shard has which tensor. */
const weightsIndex = z.object({ weight_map: z.record(z.string(), z.string()) });

/** What a part's files are called by diffusers and transformers; of several ways to be whole, one will do. */
const FILES: Readonly<Record<string, readonly (readonly string[])[]>> = {
  unet: weights('diffusion_pytorch_model'),
  vae: weights('diffusion_pytorch_model'),
  text_encoder: weights('model'),
  tokenizer: [['vocab.json', 'merges.txt'], ['tokenizer.json']],
  scheduler: [['scheduler_config.json']],
};

function weights(name: string): string[][] {
  return [
    ['config.json', `${name}.safetensors`],
    ['config.json', `${name}.safetensors.index.json`],
  ];
}

/**
 * What a checkpoint folder lacks at first sight, in a few words; null when nothing does. Whether the weights are
 * a Lotus model's is found out when they are loaded.
 */
export async function checkpointFault(folder: string): Promise<string | null> {
  const index = modelIndex.safeParse(await readJson(path.join(folder, 'model_index.json')));
  if (!index.success) return 'it has no model_index.json that can be read';
  for (const [part, value] of Object.entries(index.data)) {
    if (!Array.isArray(value) || value[0] === null) continue;
    const ways = FILES[part] ?? [];
    const lacking = await Promise.all(ways.map((files) => firstLacking(folder, part, files)));
    if (lacking.length > 0 && !lacking.includes(null)) return `it has no ${lacking[0]}`;
  }
  return null;
}

async function firstLacking(
  folder: string,
  part: string,
  files: readonly string[],
): Promise<string | null> {
  for (const file of files) {
    const name = path.join(part, file);
    if (!(await exists(path.join(folder, name)))) return name;
    if (!name.endsWith('.index.json')) continue;
    const parsed = weightsIndex.safeParse(await readJson(path.join(folder, name)));
    if (!parsed.success) return `${name} that can be read`;
    const shards = [...new Set(Object.values(parsed.data.weight_map))];
    const lacking = await firstLacking(folder, part, shards);
    if (lacking !== null) return lacking;
  }
  return null;
}
