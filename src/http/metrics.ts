import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { LocalJob } from './job.ts';
import type { JobCounts } from './queue.ts';

/** From an image that is refused at once to one that takes all the time that it may. */
const SECONDS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 600];

export interface MetricsSources {
  readonly counts: () => JobCounts;
  readonly isReady: () => boolean;
  /** How often the model process was started again. */
  readonly restarts: () => number;
}

/** What Prometheus is told. */
export interface Metrics {
  readonly registry: Registry;
  /** A job has ended. */
  jobEnded(job: LocalJob): void;
  /** A request's body was read; an answer's was sent. */
  received(bytes: number): void;
  sent(bytes: number): void;
}

export function createMetrics({ counts, isReady, restarts }: MetricsSources): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const counter = (name: string, help: string, ...labelNames: string[]) =>
    new Counter({ name: `lotus_worker_${name}`, help, labelNames, registers });
  const seconds = (name: string, help: string, ...labelNames: string[]) =>
    new Histogram({ name: `lotus_worker_${name}`, help, labelNames, registers, buckets: SECONDS });
  const gauge = (name: string, help: string, value: () => number) =>
    new Gauge({
      name: `lotus_worker_${name}`,
      help,
      registers,
      collect() {
        this.set(value());
      },
    });

  const jobs = counter(
    'jobs_total',
    'Jobs that ended, by how, and by the code of a failure',
    'outcome',
    'code',
  );
  const delay = seconds('job_delay_seconds', 'Time in the queue');
  const execution = seconds('job_execution_seconds', 'Time in the handler');
  const stages = seconds('job_stage_seconds', 'Time of each stage, as the result says it', 'stage');
  const inBytes = counter('received_bytes_total', 'Bodies of requests');
  const outBytes = counter('sent_bytes_total', 'Bodies of answers');
  gauge('jobs_queued', 'Jobs that wait', () => counts().inQueue);
  gauge('jobs_running', 'Jobs that run', () => counts().inProgress);
  gauge('ready', '1 when jobs are run', () => Number(isReady()));
  gauge('model_restarts', 'How often the model process was started again', restarts);

  return {
    registry,
    jobEnded(job) {
      const { output } = job.answer();
      const { code, timings_ms } = fieldsOf(output);
      jobs.inc({ outcome: job.status, code: job.status === 'FAILED' ? labelOf(code) : '' });
      delay.observe(job.times.delayTime / 1000);
      execution.observe(job.times.executionTime / 1000);
      for (const [stage, ms] of Object.entries(fieldsOf(timings_ms))) {
        if (typeof ms === 'number') stages.observe({ stage: labelOf(stage) }, ms / 1000);
      }
    },
    received: (bytes) => inBytes.inc(bytes),
    sent: (bytes) => outBytes.inc(bytes),
  };
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

/** A short word, so that no result can make labels without end. */
function labelOf(value: unknown): string {
  return typeof value === 'string' && /^[a-z0-9_]{1,40}$/.test(value) ? value : 'other';
}
