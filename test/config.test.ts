import os from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { APP_ROOT } from '../src/app.ts';
import { type Config, type Environment, readConfig } from '../src/config.ts';
import { UsageError } from '../src/errors.ts';
import type { Mount } from '../src/mounts.ts';
import { PROFILES, SECRETS, settings } from '../src/settings.ts';

const HOME = { HOME: '/home/user' };
const WORKSPACE = '/home/user/.local/share/lotus-worker';
const COMMIT = 'b737e12238d2a41fc582ee8c6c6b1104d318d799';
const OTHER_COMMIT = '0123456789abcdef0123456789abcdef01234567';
const DEFAULT_MODEL = 'jingheya/lotus-depth-d-v2-0-disparity';

/** A machine of one disk, whatever the one is that the tests run on. */
const DISK: Mount = { point: '/', filesystem: 'ext4', readOnly: false };
const VOLUME: Mount = { point: '/workspace', filesystem: 'nfs4', readOnly: false };

const read = (env: Environment): Config => readConfig({ ...HOME, ...env }, [DISK]);

function refusal(env: Environment): string {
  try {
    read(env);
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
  throw new Error('the configuration was accepted');
}

describe('readConfig with nothing set', () => {
  it('gives the defaults', () => {
    expect(read({})).toEqual({
      workspace: WORKSPACE,
      location: { path: WORKSPACE, origin: 'home', mount: DISK, fault: null },
      profile: undefined,
      apiKey: null,
      concurrency: null,
      shutdownGraceMs: 30_000,
      answerLimits: { run: 10_000_000, runsync: 20_000_000 },
      outputs: { maxAgeMs: null, maxBytes: null },
      flashAttn: 'auto',
      model: { id: DEFAULT_MODEL, name: DEFAULT_MODEL, revision: null, prediction: 'disparity' },
      upstreamDir: `${WORKSPACE}/upstream/${COMMIT}`,
      upstreamSource: { url: 'https://github.com/EnVision-Research/Lotus.git', commit: COMMIT },
      device: 'auto',
      dtype: 'auto',
      loadTimeoutMs: 1_800_000,
      jobTimeoutMs: 600_000,
      supervision: {
        livenessMs: 30_000,
        crashes: { max: 5, windowMs: 600_000 },
        maxGrowth: 4 * 2 ** 30,
      },
      fetch: {
        allow: { names: [], suffixes: [], networks: [] },
        maxBytes: 67_108_864,
        timeoutMs: 30_000,
      },
      uploads: { bucket: null, timeoutMs: 120_000 },
      scratchDir: undefined,
      logLevel: 'warn',
      python: undefined,
      uv: undefined,
      uvCache: `${WORKSPACE}/cache/uv`,
      hfHome: `${WORKSPACE}/cache`,
      hubCache: `${WORKSPACE}/cache/hub`,
    });
  });

  it('reads an empty value as unset, for every setting', () => {
    const empty = Object.fromEntries(Object.keys(settings.shape).map((name) => [name, '']));
    expect(read(empty)).toEqual(read({}));
  });

  it('does not mind other variables', () => {
    const others = { PATH: '/usr/bin', LOTUS_UNHEARD_OF: 'x', device: 'tpu' };
    expect(read(others)).toEqual(read({}));
  });

  it('is frozen, inside too', () => {
    const config = read({});
    expect(Object.isFrozen(config)).toBe(true);
    expect(Object.isFrozen(config.location)).toBe(true);
    expect(Object.isFrozen(config.model)).toBe(true);
    expect(Object.isFrozen(config.upstreamSource)).toBe(true);
  });
});

describe('every setting', () => {
  const LIVE: Record<string, [value: string, of: (config: Config) => unknown, wanted: unknown]> = {
    WORKSPACE: ['/data', (c) => c.workspace, '/data'],
    LOTUS_ALLOW_EPHEMERAL: ['0', (c) => c.location.fault !== null, true],
    MODEL_ID: ['some/model', (c) => c.model.id, 'some/model'],
    MODEL_REVISION: ['v1', (c) => c.model.revision, 'v1'],
    LOTUS_SAMPLE: ['1', (c) => c.model.name, 'sample'],
    LOTUS_UPSTREAM_DIR: ['/lotus', (c) => c.upstreamDir, '/lotus'],
    LOTUS_UPSTREAM_URL: ['/mirror', (c) => c.upstreamSource?.url, '/mirror'],
    LOTUS_UPSTREAM_COMMIT: [OTHER_COMMIT, (c) => c.upstreamSource?.commit, OTHER_COMMIT],
    LOTUS_PROFILE: ['full', (c) => c.profile, 'full'],
    LOTUS_API_KEY: ['sk-mine', (c) => c.apiKey?.reveal(), 'sk-mine'],
    LOTUS_CONCURRENCY: ['5', (c) => c.concurrency, 5],
    LOTUS_SHUTDOWN_GRACE: ['2', (c) => c.shutdownGraceMs, 2000],
    LOTUS_OUTPUT_MAX_AGE: ['86400', (c) => c.outputs.maxAgeMs, 86_400_000],
    LOTUS_OUTPUT_MAX_BYTES: ['5e9', (c) => c.outputs.maxBytes, 5_000_000_000],
    LOTUS_RUN_LIMIT: ['5000', (c) => c.answerLimits.run, 5000],
    LOTUS_RUNSYNC_LIMIT: ['5000', (c) => c.answerLimits.runsync, 5000],
    LOTUS_FLASH_ATTN: ['off', (c) => c.flashAttn, 'off'],
    LOTUS_DEVICE: ['cpu', (c) => c.device, 'cpu'],
    LOTUS_DTYPE: ['float32', (c) => c.dtype, 'float32'],
    LOTUS_LOAD_TIMEOUT: ['2.5', (c) => c.loadTimeoutMs, 2500],
    LOTUS_JOB_TIMEOUT: ['7', (c) => c.jobTimeoutMs, 7000],
    LOTUS_LIVENESS_TIMEOUT: ['2.5', (c) => c.supervision.livenessMs, 2500],
    LOTUS_MAX_CRASHES: ['9', (c) => c.supervision.crashes.max, 9],
    LOTUS_CRASH_WINDOW: ['60', (c) => c.supervision.crashes.windowMs, 60_000],
    LOTUS_MEMORY_GROWTH: ['5000000', (c) => c.supervision.maxGrowth, 5_000_000],
    LOTUS_FETCH_ALLOW: ['a.b', (c) => c.fetch.allow.names[0], 'a.b'],
    LOTUS_FETCH_MAX_BYTES: ['1000', (c) => c.fetch.maxBytes, 1000],
    LOTUS_FETCH_TIMEOUT: ['5', (c) => c.fetch.timeoutMs, 5000],
    LOTUS_UPLOAD_TIMEOUT: ['7', (c) => c.uploads.timeoutMs, 7000],
    LOTUS_SCRATCH_DIR: ['/ramdisk', (c) => c.scratchDir, '/ramdisk'],
    LOTUS_LOG_LEVEL: ['trace', (c) => c.logLevel, 'trace'],
    LOTUS_PYTHON: ['/usr/bin/python3.12', (c) => c.python, '/usr/bin/python3.12'],
    LOTUS_UV: ['/opt/uv', (c) => c.uv, '/opt/uv'],
    UV_CACHE_DIR: ['/cache/uv', (c) => c.uvCache, '/cache/uv'],
    HF_HOME: ['/hf', (c) => c.hfHome, '/hf'],
    HUGGINGFACE_HUB_CACHE: ['/hub', (c) => c.hubCache, '/hub'],
    HF_HUB_CACHE: ['/hub', (c) => c.hubCache, '/hub'],
  };

  it.each(Object.entries(LIVE))('%s takes effect', (name, [value, of, wanted]) => {
    expect(of(read({ [name]: value }))).toBe(wanted);
    expect(of(read({}))).not.toBe(wanted);
  });

  /** Settings that are nothing without others; see below. */
  const TOGETHER = [
    'LOTUS_MODEL_PREDICTION',
    'BUCKET_ENDPOINT_URL',
    'BUCKET_ACCESS_KEY_ID',
    'BUCKET_SECRET_ACCESS_KEY',
    'BUCKET_NAME',
    'BUCKET_REGION',
  ];

  /** Settings that are read somewhere else, and are listed so that they are known and described. */
  const ELSEWHERE = [
    'LOTUS_RUN_AS_ROOT', // docker/entrypoint; test/docker/entrypoint.test.ts
    'HF_TOKEN', // goes to the hub's client alone; test/provision/weights.test.ts
    'HF_ENDPOINT', // the hub's client reads it, as it does the next; the same tests
    'HF_HUB_OFFLINE',
  ];

  it.each(ELSEWHERE)('%s is no part of the configuration', (name) => {
    expect(read({ [name]: '1' })).toEqual(read({}));
  });

  it('is among those tested here', () => {
    const tested = [...Object.keys(LIVE), ...TOGETHER, ...ELSEWHERE];
    expect(tested.toSorted()).toEqual(Object.keys(settings.shape).toSorted());
  });

  it('is described, for the docs', () => {
    for (const [name, schema] of Object.entries(settings.shape)) {
      expect(schema.meta()?.description, name).toMatch(/\w/);
    }
  });
});

describe('the bucket', () => {
  const SET = {
    BUCKET_ENDPOINT_URL: 'https://s3.eu-west-1.amazonaws.com/',
    BUCKET_ACCESS_KEY_ID: 'hunter-id',
    BUCKET_SECRET_ACCESS_KEY: 'hunter-key\n', // of a file that a secret was mounted as
  };

  it('is there with its endpoint and its two keys, which show themselves nowhere', () => {
    const { bucket } = read(SET).uploads;
    expect(bucket).toMatchObject({
      endpoint: 'https://s3.eu-west-1.amazonaws.com',
      name: null,
      region: 'eu-west-1',
    });
    expect(bucket?.accessKeyId.reveal()).toBe('hunter-id');
    expect(bucket?.secretAccessKey.reveal()).toBe('hunter-key');
    expect(JSON.stringify(read(SET))).not.toContain('hunter');
  });

  it('has the name and the region that it is given', () => {
    const { bucket } = read({ ...SET, BUCKET_NAME: 'maps', BUCKET_REGION: 'auto' }).uploads;
    expect(bucket).toMatchObject({ name: 'maps', region: 'auto' });
  });

  it.each(Object.keys(SET))('is refused without %s, which is named', (name) => {
    const message = refusal({ ...SET, [name]: '' });
    expect(message).toMatch(new RegExp(`^${name} not set: a bucket needs `));
    expect(message).not.toContain('hunter');
  });

  it('is refused with one of the three, and the two others are named', () => {
    expect(refusal({ BUCKET_SECRET_ACCESS_KEY: 'hunter-key' })).toMatch(
      /^BUCKET_ENDPOINT_URL and BUCKET_ACCESS_KEY_ID not set: /,
    );
  });

  it.each([
    ['http://minio:9000', { names: ['minio'] }],
    ['http://127.0.0.1:9000', { networks: ['127.0.0.1/32'] }],
    ['http://[::1]:9000', { networks: ['::1/128'] }],
  ])('may be anywhere, also at %s, and only that is opened', (endpoint, opened) => {
    const { allow } = read({ ...SET, BUCKET_ENDPOINT_URL: endpoint }).uploads.bucket ?? {};
    expect(allow).toEqual({ names: [], suffixes: [], networks: [], ...opened });
  });

  it.each(['minio:9000', 'ftp://minio', 'https://hunter:hunter@minio', 'https://minio/?hunter=1'])(
    'is refused at %s',
    (endpoint) => {
      const message = refusal({ ...SET, BUCKET_ENDPOINT_URL: endpoint });
      expect(message).toMatch(/^BUCKET_ENDPOINT_URL="/);
      expect(message).not.toContain('hunter');
    },
  );

  it.each([{ BUCKET_NAME: '../maps' }, { BUCKET_REGION: 'eu west' }])(
    'is refused with %j',
    (more) => {
      expect(refusal({ ...SET, ...more })).toMatch(/must be the name of a/);
    },
  );
});

describe('the workspace', () => {
  it('is in XDG_DATA_HOME', () => {
    expect(read({ XDG_DATA_HOME: '/xdg' }).workspace).toBe('/xdg/lotus-worker');
  });

  it('is below HOME when XDG_DATA_HOME is empty', () => {
    expect(read({ XDG_DATA_HOME: '' }).workspace).toBe(WORKSPACE);
  });

  it('is below the home folder of the user when HOME is not set', () => {
    const home = path.join(os.homedir(), '.local', 'share', 'lotus-worker');
    expect(readConfig({}, [DISK]).workspace).toBe(home);
  });

  it('is made absolute', () => {
    expect(read({ WORKSPACE: 'here' }).workspace).toBe(path.resolve('here'));
  });

  it('is on the volume that is mounted', () => {
    const config = readConfig(HOME, [DISK, VOLUME]);
    expect(config.workspace).toBe('/workspace/Lotus');
    expect(config.location).toMatchObject({ path: config.workspace, origin: 'volume' });
  });

  it('has what is wrong with it said, and is no reason to read nothing else', () => {
    const config = read({ RUNPOD_POD_ID: 'pod', MODEL_ID: 'some/model' });
    expect(config.location.fault).toContain('LOTUS_ALLOW_EPHEMERAL=1');
    expect(config.model.id).toBe('some/model');
  });

  it.each(['1', 'true', 'yes'])('may go away with the container by %s', (value) => {
    const { location } = read({ RUNPOD_POD_ID: 'pod', LOTUS_ALLOW_EPHEMERAL: value });
    expect(location.fault).toBeNull();
  });

  it.each(['0', 'false', 'no'])('must be on a volume by %s', (value) => {
    expect(read({ LOTUS_ALLOW_EPHEMERAL: value }).location.fault).toContain('No volume');
  });

  it('has the caches and upstream in it', () => {
    const config = read({ WORKSPACE: '/data' });
    expect(config).toMatchObject({
      uvCache: '/data/cache/uv',
      hfHome: '/data/cache',
      hubCache: '/data/cache/hub',
      upstreamDir: `/data/upstream/${COMMIT}`,
    });
  });

  it('leaves the hub cache below an HF_HOME of its own', () => {
    expect(read({ HF_HOME: '/hf' }).hubCache).toBe('/hf/hub');
  });
});

describe('the model', () => {
  it.each(['./models/mine', '../mine', '.', '..'])('resolves the path %s', (id) => {
    const full = path.resolve(id);
    expect(read({ MODEL_ID: id }).model).toMatchObject({ id: full, name: path.basename(full) });
  });

  it('shows callers the name of a folder, and not where it is', () => {
    const { model } = read({ MODEL_ID: '/srv/secret/my-lotus/' });
    expect(model).toMatchObject({ id: '/srv/secret/my-lotus', name: 'my-lotus' });
  });

  it('leaves a hub id alone', () => {
    const { model } = read({ MODEL_ID: 'someone/their-lotus' });
    expect(model).toMatchObject({ id: 'someone/their-lotus', name: 'someone/their-lotus' });
  });

  it.each([
    ['jingheya/lotus-depth-d-v1-0', 'depth'],
    ['jingheya/lotus-depth-d-v2-0-disparity', 'disparity'],
    ['jingheya/lotus-depth-g-v2-1-disparity', 'disparity'],
    ['jingheya/lotus-normal-d-v1-1', 'normals'],
    ['/models/lotus-normal-g-v1-1', 'normals'],
    ['/models/lotus-depth-d-v1-0', 'depth'],
    ['/models/lotus-depth-d-v2-0-disparity', 'disparity'],
    ['./lotus-depth-d-v1-0', 'depth'],
    ['/models/unheard-of', 'disparity'],
    ['someone/their-lotus', 'disparity'],
  ])('%s predicts %s', (id, prediction) => {
    expect(read({ MODEL_ID: id }).model.prediction).toBe(prediction);
  });

  it.each([
    ['/models/unheard-of', 'depth'],
    ['/models/lotus-depth-d-v1-0', 'disparity'],
    ['someone/their-lotus', 'normals'],
  ] as const)('%s predicts what LOTUS_MODEL_PREDICTION says: %s', (id, prediction) => {
    const { model } = read({ MODEL_ID: id, LOTUS_MODEL_PREDICTION: prediction });
    expect(model.prediction).toBe(prediction);
  });
});

describe('a released model', () => {
  it('is not said to predict something else', () => {
    const wrong = { MODEL_ID: 'jingheya/lotus-normal-d-v1-1', LOTUS_MODEL_PREDICTION: 'disparity' };
    expect(refusal(wrong)).toContain('jingheya/lotus-normal-d-v1-1 predicts normals');
    expect(read({ ...wrong, LOTUS_MODEL_PREDICTION: 'normals' }).model.prediction).toBe('normals');
  });
});

describe('upstream', () => {
  it('is a checkout of its commit when none is given', () => {
    const config = read({ LOTUS_UPSTREAM_URL: '/mirror', LOTUS_UPSTREAM_COMMIT: OTHER_COMMIT });
    expect(config).toMatchObject({
      upstreamDir: `${WORKSPACE}/upstream/${OTHER_COMMIT}`,
      upstreamSource: { url: '/mirror', commit: OTHER_COMMIT },
    });
  });

  it('is the folder given, and then is not fetched', () => {
    const config = read({ LOTUS_UPSTREAM_DIR: 'lotus', LOTUS_UPSTREAM_COMMIT: OTHER_COMMIT });
    expect(config).toMatchObject({ upstreamDir: path.resolve('lotus'), upstreamSource: null });
  });

  it.each([
    ['short', 'b737e12'],
    ['a branch', 'main'],
    ['in capitals', COMMIT.toUpperCase()],
    ['too long', `${COMMIT}0`],
    ['followed by a newline', `${COMMIT}\n`],
    ['a way out of the folder', '../../../../../../../../../../../../../../'],
  ])('refuses a commit that is %s', (_how, commit) => {
    expect(refusal({ LOTUS_UPSTREAM_COMMIT: commit })).toBe(
      `LOTUS_UPSTREAM_COMMIT=${JSON.stringify(commit)}: must be a full commit hash of 40 hex digits`,
    );
  });
});

describe('LOTUS_SAMPLE', () => {
  const sample = {
    model: {
      id: path.join(APP_ROOT, 'sample', 'checkpoint'),
      name: 'sample',
      revision: null,
      prediction: 'disparity',
    },
    upstreamDir: path.join(APP_ROOT, 'sample', 'upstream'),
    upstreamSource: null,
  };

  it('takes model and upstream from the sample', () => {
    expect(read({ LOTUS_SAMPLE: '1' })).toMatchObject(sample);
  });

  it('wins over what else is set', () => {
    const config = read({
      LOTUS_SAMPLE: '1',
      MODEL_ID: 'jingheya/lotus-depth-g-v1-0',
      MODEL_REVISION: 'v1',
      LOTUS_MODEL_PREDICTION: 'depth',
      LOTUS_UPSTREAM_DIR: '/lotus',
    });
    expect(config).toMatchObject(sample);
  });

  it.each(['1', 'true', 'yes'])('is on with %s', (value) => {
    expect(read({ LOTUS_SAMPLE: value }).model.name).toBe('sample');
  });

  it.each(['0', 'false', 'no', ''])('is off with "%s"', (value) => {
    expect(read({ LOTUS_SAMPLE: value }).model.name).toBe(DEFAULT_MODEL);
  });
});

describe('LOTUS_PROFILE', () => {
  it.each(PROFILES)('may be %s', (profile) => {
    expect(read({ LOTUS_PROFILE: profile }).profile).toBe(profile);
  });

  it('is not the one that the tests are run with', () => {
    expect(refusal({ LOTUS_PROFILE: 'dev' })).toContain('LOTUS_PROFILE="dev"');
  });
});

describe('LOTUS_FLASH_ATTN', () => {
  it.each(['auto', 'off', 'https://mirror/flash_attn.whl', '/wheels/flash_attn.whl'])(
    'may be %s',
    (value) => {
      expect(read({ LOTUS_FLASH_ATTN: value }).flashAttn).toBe(value);
    },
  );
});

describe('LOTUS_FETCH_ALLOW', () => {
  it('is read into names, suffixes and networks', () => {
    const text = ' Images.Internal, *.corp.example.com ,10.1.0.0/16,192.168.0.7,, fd00::1';
    expect(read({ LOTUS_FETCH_ALLOW: text }).fetch.allow).toEqual({
      names: ['images.internal'],
      suffixes: ['.corp.example.com'],
      networks: ['10.1.0.0/16', '192.168.0.7/32', 'fd00::1/128'],
    });
  });
});

describe('a secret', () => {
  /** Without which some secrets are refused. */
  const WHOLE = {
    BUCKET_ENDPOINT_URL: 'https://s3.example.com',
    BUCKET_ACCESS_KEY_ID: 'id',
    BUCKET_SECRET_ACCESS_KEY: 'key',
  };

  it.each(SECRETS)('%s is nowhere in the configuration', (name) => {
    expect(JSON.stringify(read({ ...WHOLE, [name]: 'hunter2' }))).not.toContain('hunter2');
  });

  it.each(SECRETS)('%s is not in what is said of another setting that is wrong', (name) => {
    const message = refusal({ [name]: 'hunter2', LOTUS_DEVICE: 'tpu' });
    expect(message).toContain('LOTUS_DEVICE');
    expect(message).not.toContain('hunter2');
  });
});

describe('a wrong setting', () => {
  it.each([
    ['LOTUS_MODEL_PREDICTION', 'metres', '"disparity"|"depth"|"normals"'],
    ['LOTUS_SAMPLE', 'maybe', '"yes"'],
    ['LOTUS_ALLOW_EPHEMERAL', 'maybe', '"yes"'],
    ['LOTUS_PROFILE', 'everything', '"runtime"|"full"|"cpu"'],
    ['LOTUS_DEVICE', 'tpu', '"cuda"'],
    ['LOTUS_DTYPE', 'bfloat16', '"float16"'],
    ['LOTUS_LOG_LEVEL', 'loud', '"debug"'],
    ['LOTUS_LOAD_TIMEOUT', 'soon', 'number'],
    ['LOTUS_LOAD_TIMEOUT', '86401', '86400'],
    ['LOTUS_FETCH_ALLOW', 'good.example.com, 10.0.0.0/33, *', '10.0.0.0/33, *: no host name'],
    ['LOTUS_FETCH_MAX_BYTES', '0', '>=1'],
    ['LOTUS_FETCH_MAX_BYTES', '1.5', 'int'],
    ['LOTUS_FETCH_TIMEOUT', '0', '>0'],
    ['LOTUS_JOB_TIMEOUT', '0', '>0'],
    ['LOTUS_JOB_TIMEOUT', '-1', '>0'],
    ['LOTUS_JOB_TIMEOUT', 'Infinity', 'number'],
  ])('is named with its value and what is wrong: %s=%s', (name, value, hint) => {
    const message = refusal({ [name]: value });
    expect(message).toContain(`${name}=${JSON.stringify(value)}: `);
    expect(message).toContain(hint);
  });

  it('is named beside all the others', () => {
    const wrong = {
      LOTUS_DEVICE: 'tpu',
      LOTUS_JOB_TIMEOUT: 'soon',
      LOTUS_UPSTREAM_COMMIT: 'main',
      LOTUS_SAMPLE: 'maybe',
    };
    const lines = refusal({ ...wrong, LOTUS_DTYPE: 'float16' }).split('\n');
    expect(lines.map((line) => line.split(':')[0]).toSorted()).toEqual(
      Object.entries(wrong)
        .map(([name, value]) => `${name}="${value}"`)
        .toSorted(),
    );
  });
});
