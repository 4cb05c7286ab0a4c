/** A small line chart as SVG, for the docs. */

export interface Series {
  readonly name: string;
  readonly color: string;
  readonly dashed?: boolean;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

export interface Chart {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly series: readonly Series[];
}

const WIDTH = 720;
const HEIGHT = 280;
const LEFT = 60;
const RIGHT = 20;
const TOP = 36;
const BOTTOM = 64;

/** Charts below each other, each from zero on both axes. */
export function plot(charts: readonly Chart[]): string {
  const body = charts.map(
    (chart, i) => `<g transform="translate(0 ${i * HEIGHT})">${draw(chart)}</g>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT * charts.length}" font-family="sans-serif" font-size="12">`,
    `<title>${charts.map(({ title }) => title).join('; ')}</title>`,
    '<rect width="100%" height="100%" fill="white"/>',
    ...body,
    '</svg>',
    '',
  ].join('\n');
}

function draw({ title, xLabel, yLabel, series }: Chart): string {
  const points = series.flatMap((one) => one.points);
  const xs = ticks(Math.max(...points.map(({ x }) => x)));
  const ys = ticks(Math.max(...points.map(({ y }) => y)));
  const scaleX = scale(xs.at(-1) ?? 1, LEFT, WIDTH - RIGHT);
  const scaleY = scale(ys.at(-1) ?? 1, HEIGHT - BOTTOM, TOP);
  const [bottom, right] = [HEIGHT - BOTTOM, WIDTH - RIGHT];
  return [
    text(LEFT, 20, title, 'font-weight="bold"'),
    ...ys.map((y) => line(LEFT, scaleY(y), right, scaleY(y))),
    ...ys.map((y) => text(LEFT - 6, scaleY(y) + 4, String(y), 'text-anchor="end"')),
    ...xs.map((x) => text(scaleX(x), bottom + 16, String(x), 'text-anchor="middle"')),
    text(right, bottom + 30, xLabel, 'text-anchor="end"'),
    text(right, 20, yLabel, 'text-anchor="end"'),
    ...series.map(({ points: its, color, dashed }) => {
      const path = its
        .map(({ x, y }) => `${scaleX(x).toFixed(1)},${scaleY(y).toFixed(1)}`)
        .join(' ');
      return `<polyline points="${path}" fill="none" ${pen(color, dashed)}/>`;
    }),
    ...series.map(({ name, color }, i) =>
      text(LEFT + i * 160, HEIGHT - 12, name, `fill="${color}"`),
    ),
  ].join('\n');
}

/** Round numbers from zero to one that is not below the largest. */
function ticks(largest: number): number[] {
  const rough = Math.max(largest, 1) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((by) => by * power).find((by) => by >= rough) ?? rough;
  return Array.from({ length: Math.ceil(largest / step) + 1 }, (_, i) => i * step);
}

function scale(largest: number, from: number, to: number): (value: number) => number {
  return (value) => from + (value / largest) * (to - from);
}

function line(
  x1: number,
  y1: number,
  x2: number,
  y2: number,
  color = '#ddd',
  dashed = false,
): string {
  return `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" ${pen(color, dashed)}/>`;
}

function pen(color: string, dashed = false): string {
  return `stroke="${color}" stroke-width="1.5"${dashed ? ' stroke-dasharray="4 3"' : ''}`;
}

function text(x: number, y: number, what: string, more = ''): string {
  return `<text x="${x}" y="${y}" ${more}>${what}</text>`;
}
