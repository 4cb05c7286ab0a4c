import type { Chart, Series } from './plot.ts';
import type { Sample } from './soak.ts';

const NODE = '#2b7a3d';
const PYTHON = '#1f5fa8';

/** What a soak's samples look like over its jobs. */
export function chartsOf(samples: readonly Sample[], title: string): Chart[] {
  const series = (
    name: string,
    color: string,
    of: (sample: Sample) => number,
    dashed = false,
  ): Series => ({
    name,
    color,
    dashed,
    points: samples.map((sample) => ({ x: sample.jobs, y: of(sample) })),
  });
  const pss = (bytes: number | null) => (bytes ?? 0) / 1e6;
  return [
    {
      title,
      xLabel: 'jobs',
      yLabel: 'memory in MB',
      series: [
        series('Node, RSS', NODE, ({ node }) => node.rss / 1e6),
        series('Node, PSS', NODE, ({ node }) => pss(node.pss), true),
        series('Python, RSS', PYTHON, ({ python }) => python.rss / 1e6),
        series('Python, PSS', PYTHON, ({ python }) => pss(python.pss), true),
      ],
    },
    {
      title: 'Descriptors and threads',
      xLabel: 'jobs',
      yLabel: 'number',
      series: [
        series('Node, descriptors', NODE, ({ node }) => node.descriptors ?? 0),
        series('Node, threads', NODE, ({ node }) => node.threads, true),
        series('Python, descriptors', PYTHON, ({ python }) => python.descriptors ?? 0),
        series('Python, threads', PYTHON, ({ python }) => python.threads, true),
      ],
    },
  ];
}
