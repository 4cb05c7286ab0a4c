import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { PYTHON_ROOT } from '../app.ts';
import type { Profile } from '../settings.ts';

/** The kind of machine that packages are for; laptops of several may share a disk. */
export const MACHINE = `${process.platform}-${process.arch}`;

const REQUIREMENTS = path.join(PYTHON_ROOT, 'requirements');

const profiles = z.record(
  z.string(),
  z.object({
    /** About, on Linux with CUDA where the profile has it. */
    installedBytes: z.number(),
    /** The profiles that may be asked for and get this one: it holds their packages too. */
    serves: z.array(z.string()),
    /** What a venv of it must be able to run. */
    proof: z.string(),
  }),
);

/** A set of Python packages, as `python/requirements/` has it. */
export interface PackageSet {
  readonly profile: Profile;
  /** The file that names every package with its hashes. */
  readonly lock: string;
  /** The lock's digest, short. */
  readonly digest: string;
  /** The venv's name: another lock gives another venv, and so does another kind of machine. */
  readonly name: string;
  readonly installedBytes: number;
  readonly proof: string;
}

/** The sets that give what a profile promises, itself first. Nothing asked for: any set that runs the model. */
export async function setsFor(asked: Profile | undefined): Promise<PackageSet[]> {
  const all = profiles.parse(
    JSON.parse(await readFile(path.join(REQUIREMENTS, 'profiles.json'), 'utf8')),
  );
  const names = Object.keys(all) as Profile[];
  const wanted = asked ?? 'runtime';
  const fit = names.filter((name) => asked === undefined || all[name]?.serves.includes(asked));
  const ordered = [wanted, ...fit.filter((name) => name !== wanted)];
  return await Promise.all(
    ordered.map(async (profile) => {
      const facts = all[profile];
      if (facts === undefined) throw new Error(`profiles.json has no ${profile}`);
      const lock = path.join(REQUIREMENTS, `${profile}.lock`);
      const digest = createHash('sha256')
        .update(await readFile(lock))
        .digest('hex')
        .slice(0, 12);
      return { ...facts, profile, lock, digest, name: `${profile}-${MACHINE}-${digest}` };
    }),
  );
}
