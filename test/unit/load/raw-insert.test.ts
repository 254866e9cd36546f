import assert from "node:assert/strict";
import { createRequire } from "node:module";
import fc from "fast-check";
import { BSON, Db } from "mongodb";
import { rawInsert } from "../../../src/load/raw-insert.js";

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

/** The command that `rawInsert` gives to the driver's object, or to one that is made as that. */
async function commandOf(bson: Buffer, room: number, made: object = Db.prototype): Promise<object> {
  const commands: object[] = [];
  const db = Object.create(made, {
    command: {
      value: (command: object) => {
        commands.push(command);
        return Promise.resolve({ n: 1 });
      },
    },
  }) as Db;
  await rawInsert(db, "objects", bson, { j: true }, room);
  assert.equal(commands.length, 1);
  return commands[0] as object;
}

async function messageOf(bson: Buffer, room: number): Promise<Buffer> {
  return messageFrom(await commandOf(bson, room));
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

  it("gives plain documents with exact values to another copy of the driver", async () => {
    const value = { _id: 2n ** 62n, size: 1, share: new BSON.Double(2), text: "x" };
    const bson = Buffer.from(BSON.serialize(value));
    const command = (await commandOf(bson, 0, {})) as { documents: unknown };
    assert.ok(Array.isArray(command.documents));
    const [document] = command.documents as [BSON.Document];
    assert.ok(Buffer.from(BSON.serialize(document)).equals(bson));
  });

  it("leaves what others join to the driver", () => {
    const parts = [Buffer.from("one"), Buffer.from("two")];
    assert.equal(ByteUtils.concat(parts).toString(), "onetwo");
    assert.equal(ByteUtils.concat([]).length, 0);
  });
});
