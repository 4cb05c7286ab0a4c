/** The header that bears the server's key, in any case: of a request here, or of a job's `http.headers`. */
export const KEY_HEADER = 'lotus-api-key';
