/** What build.mjs makes or embeds. */

declare module "worker-source" {
  const text: string;
  export default text;
}

declare module "shipped-weights" {
  const files: { modelId: string; gzipped: Uint8Array<ArrayBuffer> }[];
  export default files;
}

declare module "*.wasm" {
  const gzipped: Uint8Array<ArrayBuffer>;
  export default gzipped;
}
