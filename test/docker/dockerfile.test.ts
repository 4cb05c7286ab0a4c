import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { APP_ROOT } from '../../src/app.ts';
import { APP, COPIED, MADE } from './layout.ts';

const read = (name: string) => readFileSync(path.join(APP_ROOT, name), 'utf8');

interface Instruction {
  name: string;
  text: string;
}

/** The build stages, each with its instructions; comments left out, continued lines put together. */
function stagesOf(dockerfile: string): Instruction[][] {
  const stages: Instruction[][] = [];
  const lines = dockerfile.replaceAll(/^\s*#.*\n/gm, '').replaceAll(/\\\n\s*/g, '');
  for (const line of lines.split('\n').filter(Boolean)) {
    const [, name = '', text = ''] = /^(\S+)\s+(.*)$/.exec(line) ?? [];
    if (name === 'FROM' || stages.length === 0) stages.push([]); // an ARG may come before the first
    stages.at(-1)?.push({ name, text });
  }
  return stages;
}

const stages = stagesOf(read('Dockerfile'));
const all = stages.flat();
const image = stages.at(-1) ?? [];
const textsOf = (name: string, of = image) =>
  of.filter((instruction) => instruction.name === name).map(({ text }) => text);

/** What each COPY copies, from the checkout or from another stage, and where to. */
function copiesOf(instructions: Instruction[]) {
  return textsOf('COPY', instructions).map((text) => {
    const words = text.split(/\s+/);
    const paths = words.filter((word) => !word.startsWith('--'));
    return {
      isFromCheckout: paths.length === words.length,
      sources: paths.slice(0, -1),
      target: paths.at(-1) ?? '',
    };
  });
}

const fromCheckout = (instructions: Instruction[]) =>
  copiesOf(instructions).flatMap(({ isFromCheckout, sources }) => (isFromCheckout ? sources : []));

describe('the Dockerfile', () => {
  it('builds on CUDA 12.8 with cuDNN, Ubuntu 24.04, and on nothing else', () => {
    const froms = textsOf('FROM', all).map((text) => text.split(/ AS /));
    const named = froms.map(([, name]) => name);
    const outside = froms.map(([from]) => from).filter((from) => !named.includes(from));
    expect(outside.map((name) => name?.replace(/^\$\{(\w+)\}$/, '$1'))).toEqual(['BASE']);
    expect(textsOf('ARG', all)).toEqual(['BASE=nvidia/cuda:12.8.1-cudnn-devel-ubuntu24.04']);
  });

  it('starts the entrypoint under tini, as root, with bootstrap', () => {
    expect(textsOf('ENTRYPOINT').map((text) => JSON.parse(text))).toEqual([
      ['tini', '--', `${APP}/docker/entrypoint`],
    ]);
    expect(textsOf('CMD').map((text) => JSON.parse(text))).toEqual([['bootstrap', '--serve']]);
    expect(textsOf('USER', all)).toEqual([]);
  });

  it('makes the user that the entrypoint changes to', () => {
    const id = /^ID=(\d+)/m.exec(read('docker/entrypoint'))?.[1];
    const home = /^HOME=(\S+)/m.exec(read('docker/entrypoint'))?.[1];
    const [, name] = new RegExp(`useradd --uid ${id} --gid ${id} --create-home (\\S+)`).exec(
      textsOf('RUN', all).join('\n'),
    ) ?? [''];
    expect(home).toBe(`/home/${name}`);
  });

  it('sets nothing that decides about the workspace, and no secret', () => {
    expect(textsOf('ENV')).toEqual([
      'LOTUS_ALLOW_EPHEMERAL=0 NODE_ENV=production MALLOC_ARENA_MAX=2 UV_THREADPOOL_SIZE=16',
    ]);
    expect(textsOf('RUN', all).join('\n')).not.toMatch(/token|secret|password|api_?key/i);
  });

  it('has the app of the tests, no more and no less', () => {
    expect(fromCheckout(image).toSorted()).toEqual(COPIED);
    const made = copiesOf(image).filter(({ isFromCheckout }) => !isFromCheckout);
    expect(made.map(({ target }) => path.normalize(`${target}/`).slice(0, -1)).toSorted()).toEqual(
      MADE,
    );
  });

  it('puts everything where it lies in the checkout', () => {
    expect(textsOf('WORKDIR')[0]).toBe(APP);
    const misplaced = copiesOf(image).flatMap(({ isFromCheckout, sources, target }) => {
      const isInPlace = (file: string) => target === (file.includes('/') ? file : './');
      return isFromCheckout ? sources.filter((file) => file !== target && !isInPlace(file)) : [];
    });
    expect(misplaced).toEqual([]);
  });
});

describe('.dockerignore', () => {
  const patterns = read('.dockerignore')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));

  it('begins by leaving everything out', () => {
    expect(patterns[0]).toBe('*');
  });

  it('lets in what is copied, no more and no less', () => {
    const copied = [...new Set(stages.flatMap(fromCheckout))];
    const outermost = copied.filter((file) => !copied.some((dir) => file.startsWith(`${dir}/`)));
    const until = patterns.findIndex((pattern, at) => at > 0 && !pattern.startsWith('!'));
    const letIn = patterns.slice(1, until).map((pattern) => pattern.slice(1));
    expect(letIn).toEqual(outermost.toSorted());
  });

  it('leaves hidden files and weights out after that, but for the weights of the sample', () => {
    const until = patterns.findIndex((pattern, at) => at > 0 && !pattern.startsWith('!'));
    expect(patterns.slice(until)).toEqual([
      '**/.*',
      '**/*.py[co]',
      '**/__pycache__',
      '**/*.safetensors',
      '!sample/checkpoint/*/*.safetensors',
    ]);
  });
});
