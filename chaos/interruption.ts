/** Aborts on Ctrl-C and SIGTERM, so that what was started is ended; the second one is the system's again. */
function interruption(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => controller.abort());
  return controller.signal;
}

/** Runs to the end, or until it is interrupted, which is no error. */
export async function untilInterrupted(run: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const interrupted = interruption();
  try {
    await run(interrupted);
  } catch (error) {
    if (!interrupted.aborted) throw error;
    console.error('interrupted; all that was started is gone');
    process.exitCode = 130;
  }
}
