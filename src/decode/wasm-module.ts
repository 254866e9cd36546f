import { readFileSync } from "node:fs";

/** Of WebAssembly's API, what is used here: neither Node's types nor the language's have it without a browser's. */
export type WasmMemory = {
  readonly buffer: ArrayBuffer;
  /** @param pages - of 64 KiB; views of the old buffer are empty afterwards */
  grow(pages: number): number;
};
/** A global of 32 bits. */
export type WasmGlobal = { readonly value: number };

type Functions = Readonly<Record<string, (...values: number[]) => number>>;
type Api = {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (
    module: object,
    imports: Readonly<Record<string, Functions>>,
  ) => { readonly exports: object };
};

const { Module, Instance } = (globalThis as unknown as { readonly WebAssembly: Api }).WebAssembly;

const compiled = new Map<string, object>();

/**
 * A new instance of a module of `wasm/`, with a memory of its own. The module is compiled once a thread.
 *
 * @returns its exports
 */
export function instanceOf(name: string, imports: Functions): object {
  let module = compiled.get(name);
  if (module === undefined) {
    module = new Module(readFileSync(new URL(`./wasm/${name}.wasm`, import.meta.url)));
    compiled.set(name, module);
  }
  return new Instance(module, { [name]: imports }).exports;
}
