/** What is refused, by the names that docs/format.md has for it. */

export type ErrorCode =
  | "NotVqcError"
  | "UnsupportedVersionError"
  | "TruncatedError"
  | "CorruptError"
  | "TooLargeError"
  | "UnknownModelError"
  | "ModelError";

/** A file, or weights, that cannot be used; `code` says why in a word, the message in a line. */
export class VqcError extends Error {
  override readonly name = "VqcError";

  constructor(
    readonly code: ErrorCode,
    message: string,
  ) {
    super(message);
  }
}
