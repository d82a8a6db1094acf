/** A decoder of .vqc files. */

export * from "./decode.js";
