/** The codes of this API's own refusals, each with its HTTP status; a job's errors are the handler's. */
export const API_ERRORS = {
  invalid_request: 400,
  not_retryable: 400,
  unauthorized: 401,
  not_found: 404,
  body_too_large: 413,
  busy: 429,
  queue_full: 429,
  internal: 500,
  shutting_down: 503,
} as const;

export type ApiErrorCode = keyof typeof API_ERRORS;

/** A request that is refused; the message is for its caller. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly code: ApiErrorCode;

  constructor(code: ApiErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }

  get status(): number {
    return API_ERRORS[this.code];
  }
}
