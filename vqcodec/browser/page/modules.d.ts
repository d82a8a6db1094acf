/** What build.mjs makes or embeds. */

declare module "worker-source" {
  const text: string;
  export default text;
}

declare module "shipped-weights" {
  const files: Uint8Array[];
  export default files;
}

declare module "*.wasm" {
  const bytes: Uint8Array<ArrayBuffer>;
  export default bytes;
}
