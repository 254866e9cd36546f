import assert from "node:assert/strict";
import { createRequire } from "node:module";
import fc from "fast-check";
import { BSON } from "mongodb";
import { rawInsert } from "../../../src/load/raw-insert.js";
import type { Db } from "mongodb";

const fromHere = createRequire(import.meta.url);
const { ByteUtils } = fromHere("mongodb/lib/bson.js") as {
  ByteUtils: { concat(parts: readonly Uint8Array[]): Buffer };
};
const { OpMsgRequest, DocumentSequence } = fromHere("mongodb/lib/cmap/commands.js") as {
  OpMsgRequest: new (
    database: string,
    command: object,
    options: object,
  ) => { toBin(): Uint8Array[] };
  DocumentSequence: new (field: string) => { push(document: object, bytes: Uint8Array): number };
};

/** The command that `rawInsert` gives to the driver, as the driver makes a message of it. */
async function messageOf(bson: Buffer, room: number): Promise<Buffer> {
  let message: Buffer | undefined;
  const db = {
    command: (command: object) => {
      message = messageFrom(command);
      return Promise.resolve({ n: 1 });
    },
  };
  await rawInsert(db as unknown as Db, "objects", bson, { j: true }, room);
  return message as Buffer;
}

function messageFrom(command: object): Buffer {
  return ByteUtils.concat(new OpMsgRequest("leaks", command, { requestId: 7 }).toBin());
}

/** The same by the driver alone. */
function expectedMessage(bson: Buffer): Buffer {
  const documents = new DocumentSequence("documents");
  documents.push({}, bson);
  const rest = { ordered: false, writeConcern: { j: true } };
  return messageFrom({ insert: "objects", documents, ...rest });
}

describe("rawInsert", () => {
  it("makes the driver's own message, byte by byte, and in the documents' memory where that has room", () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ _id: fc.integer(), text: fc.string() }), { minLength: 1 }),
        fc.integer({ min: 0, max: 600 }),
        async (values, room) => {
          const documents = Buffer.concat(values.map((value) => BSON.serialize(value)));
          const memory = Buffer.alloc(room + documents.length); // Not of the pool that small buffers share.
          const bson = memory.subarray(room);
          documents.copy(bson);
          const expected = expectedMessage(Buffer.from(documents));
          const message = await messageOf(bson, room);
          assert.ok(message.equals(expected));
          assert.ok(bson.equals(documents));
          const bytesBefore = expected.length - documents.length;
          assert.equal(message.buffer === memory.buffer, room >= bytesBefore);
          // Once more, as after a lost reply.
          assert.ok((await messageOf(bson, room)).equals(expected));
        },
      ),
    ));

  it("leaves what others join to the driver", () => {
    const parts = [Buffer.from("one"), Buffer.from("two")];
    assert.equal(ByteUtils.concat(parts).toString(), "onetwo");
    assert.equal(ByteUtils.concat([]).length, 0);
  });
});
