import { HeapdumpError } from "../errors.js";

/**
 * What stood before damage in the dump, and then the damage, told. Every other error goes on as it is: a read that
 * fails or is broken off says nothing of the dump, and half a line must not be taken for one.
 */
export async function* untilDamage<T>(
  source: AsyncIterable<T>,
  onDamage: (error: HeapdumpError) => void,
): AsyncGenerator<T> {
  try {
    yield* source;
  } catch (error) {
    if (!(error instanceof HeapdumpError && error.code === "decode/corrupt")) throw error;
    onDamage(error);
  }
}
